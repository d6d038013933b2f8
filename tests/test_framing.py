"""A byte stream cut into messages: RFC 3261 §18.3 and §7.5, RFC 5626 §3.5.1."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sipmesh.sip import MalformedRequest, Request, Response, SipSyntaxError
from sipmesh.sip import framing as framing_module
from sipmesh.sip.framing import KeepAlive, Limits, StreamFramer
from sipmesh.sip.message import Head, MalformedResponse

Item = Request | Response | KeepAlive | MalformedRequest | MalformedResponse


def options(number: int, body: bytes = b"", *lines: bytes) -> bytes:
    return b"\r\n".join(
        [
            b"OPTIONS sip:b@c SIP/2.0",
            b"Via: SIP/2.0/TLS a.b;branch=z9hG4bK%d" % number,
            b"Call-ID: %d" % number,
            b"CSeq: %d OPTIONS" % number,
            *lines,
            b"Content-Length: %d" % len(body),
            b"",
            body,
        ]
    )


def reply(number: int) -> bytes:
    return b"SIP/2.0 200 OK\r\nCall-ID: %d\r\nl: 0\r\n\r\n" % number


def fed(*chunks: bytes, limits: Limits | None = None) -> list[Item]:
    framer = StreamFramer(limits or Limits())
    return [item for chunk in chunks for item in framer.feed(chunk)]


def raws(items: list[Item]) -> list[bytes]:
    return [item.raw for item in items if isinstance(item, Request | Response)]


def lost(*chunks: bytes, limits: Limits | None = None) -> tuple[list[Item], SipSyntaxError]:
    """What came out before the stream was given up, and the error that gave it up."""
    framer = StreamFramer(limits or Limits())
    items: list[Item] = []
    try:
        for chunk in chunks:
            for item in framer.feed(chunk):
                items.append(item)
    except SipSyntaxError as error:
        return items, error
    pytest.fail("the stream was not given up")


# Cutting ------------------------------------------------------------------------------------------------


def test_several_messages_in_one_piece() -> None:
    stream = [options(1), options(2, b"body"), reply(3)]
    items = fed(b"".join(stream))
    assert raws(items) == stream
    assert [type(item) for item in items] == [Request, Request, Response]
    assert isinstance(items[1], Request)
    assert items[1].body == b"body"


def test_byte_by_byte() -> None:
    stream = [options(1, b"\r\n\r\n"), b"\r\n\r\n", reply(2), options(3)]
    assert raws(fed(*(bytes([c]) for c in b"".join(stream)))) == [stream[0], stream[2], stream[3]]


_message = st.one_of(
    st.builds(options, st.integers(0, 99), st.binary(max_size=30)),
    st.builds(options, st.integers(0, 99), st.sampled_from([b"\r\n", b"\r\n\r\n", options(7, b"inner")])),
    st.integers(0, 99).map(reply),
)
_between = st.sampled_from([b"", b"", b"\r\n", b"\r\n\r\n", b"\r\n\r\n\r\n"])


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    ends = [0, *sorted(p % (len(stream) + 1) for p in places), len(stream)]
    return [stream[a:b] for a, b in pairwise(ends)]


@given(
    st.lists(st.tuples(_between, _message), max_size=5), _between, st.lists(st.integers(0, 2000), max_size=12)
)
def test_cuts_change_nothing(parts: list[tuple[bytes, bytes]], tail: bytes, places: list[int]) -> None:
    stream = b"".join(between + message for between, message in parts) + tail
    framer = StreamFramer(Limits())
    items = [item for chunk in cut(stream, places) for item in framer.feed(chunk)]
    assert raws(items) == [message for _, message in parts]
    assert not framer.partial
    assert all(isinstance(raw, bytes) for raw in raws(items))


@given(
    st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=3)), max_size=3), st.lists(st.integers(0, 400))
)
@example([(24, b"\n")], [25])
@example([(0, b"\r")], [1])
@example([(130, b"-")], [])
def test_cuts_change_no_verdict_either(noise: list[tuple[int, bytes]], places: list[int]) -> None:
    """Whatever comes, in one piece or in many: the same messages, the same refusals, the same end."""
    stream = options(1, b"abc") + reply(2) + options(3)
    for at, new in noise:
        at %= len(stream)
        stream = stream[:at] + new + stream[at + 1 :]

    def told(chunks: list[bytes]) -> tuple[list[object], object]:
        framer, items = StreamFramer(Limits()), list[object]()
        try:
            for chunk in chunks:
                for item in framer.feed(chunk):
                    if isinstance(item, MalformedRequest):
                        items.append((item.request.raw, item.reason, item.status))
                    elif isinstance(item, Request | Response):
                        items.append(item.raw)
                    elif isinstance(item, MalformedResponse):
                        items.append(item.reason)
        except SipSyntaxError as error:
            return items, (type(error), error.reason, error.status)
        return items, framer.partial

    assert told([stream]) == told(cut(stream, places))


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_nothing_but_a_syntax_error(chunks: list[bytes]) -> None:
    framer = StreamFramer(Limits(head=100, message=150, fields=5, field=40))
    try:
        for chunk in chunks:
            list(framer.feed(chunk))
    except SipSyntaxError:
        return


# Keep-alives --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunks", "items"),
    [
        ([b"\r\n\r\n"], [KeepAlive.PING]),
        ([b"\r\n"], [KeepAlive.PONG]),
        ([b"\r", b"\n"], [KeepAlive.PONG]),
        ([b"\r", b"\n\r\n"], [KeepAlive.PING]),
        ([b"\r\n\r", b"\n"], [KeepAlive.PING]),
        ([b"\r\n" * 30000], [KeepAlive.PING]),
        ([b"\r\n", b"\r\n"], [KeepAlive.PONG, KeepAlive.PONG]),
        ([b"\r\n\r\n", b"\r\n\r\n"], [KeepAlive.PING, KeepAlive.PING]),
    ],
)
def test_keep_alives(chunks: list[bytes], items: list[KeepAlive]) -> None:
    assert fed(*chunks) == items


def test_keep_alives_between_messages() -> None:
    items = fed(b"\r\n" + options(1) + b"\r\n\r\n" + reply(2) + b"\r\n")
    assert [type(item) for item in items] == [KeepAlive, Request, KeepAlive, Response, KeepAlive]
    assert items[0] is items[4] is KeepAlive.PONG
    assert items[2] is KeepAlive.PING


def test_a_cr_before_a_start_line() -> None:
    assert fed(b"\r") == []
    _, error = lost(b"\r", b"O")
    assert error.reason == "CR without LF before a start line"


def test_partial() -> None:
    framer = StreamFramer(Limits())
    assert not framer.partial
    whole = options(1, b"abc")
    for end in (1, 60, len(whole) - 1):
        framer = StreamFramer(Limits())
        assert list(framer.feed(whole[:end])) == []
        assert framer.partial
        assert raws(list(framer.feed(whole[end:]))) == [whole]
        assert not framer.partial


# Bounds -------------------------------------------------------------------------------------------------

SMALL = Limits(message=600, head=400, fields=10, field=120)


def padded(head: int, body: int) -> bytes:
    """A message whose head, without the empty line, has that many bytes, in fields that are not too long."""
    raw = options(1, b"x" * body)
    missing = head - raw.index(b"\r\n\r\n")
    lines = []
    while missing > 0:
        length = min(missing, 60) if missing - 60 >= 10 or missing <= 60 else missing - 10
        lines.append(b"X: ".ljust(length - 2, b"x"))
        missing -= length
    raw = options(1, b"x" * body, *lines)
    assert raw.index(b"\r\n\r\n") == head
    return raw


def test_head_bound() -> None:
    longest = padded(400, 0)
    assert len(fed(longest, limits=SMALL)) == 1
    assert len(fed(*(bytes([c]) for c in longest), limits=SMALL)) == 1
    for raw in (padded(401, 0), padded(401, 0)[:-1] + b"x", b"x" * 404, b"OPTIONS " * 200):
        items, error = lost(raw, limits=SMALL)
        assert (items, error.status) == ([], 513)
        assert "400 bytes" in error.reason


def test_message_bound() -> None:
    assert len(fed(padded(400, 196), limits=SMALL)) == 1
    _, error = lost(padded(400, 197), limits=SMALL)
    assert isinstance(error, MalformedRequest)
    assert error.status == 513
    assert error.request.call_id == b"1"


@pytest.mark.parametrize("length", [65536, 10**9, 9999999999])
def test_a_huge_content_length_is_refused_before_the_body_comes(length: int) -> None:
    head = options(1).replace(b"Content-Length: 0", b"Content-Length: %d" % length)
    _, error = lost(head)
    assert isinstance(error, MalformedRequest)
    assert error.status == 513
    _, error = lost(reply(1).replace(b"l: 0", b"l: %d" % length))
    assert not isinstance(error, MalformedRequest)


def test_bound_on_the_number_of_fields() -> None:
    assert len(fed(options(1, b"", *[b"X: y"] * 6), limits=SMALL)) == 1
    _, error = lost(options(1, b"", *[b"X: y"] * 7), limits=SMALL)
    assert error.status == 513
    _, error = lost(options(1, b"", b"X: y" + b"\r\n y" * 6), limits=SMALL)
    assert error.status == 513


@pytest.mark.parametrize(
    "long",
    [
        options(1, b"", b"X: " + b"y" * 118),
        options(1, b"", b"X: y\r\n " + b"y" * 120),
        options(1).replace(b"b@c", b"b" * 120 + b"@c"),
    ],
)
def test_bound_on_a_line(long: bytes) -> None:
    """The stream stays in step: only this request is refused."""
    items = fed(long + options(2), limits=SMALL)
    assert isinstance(items[0], MalformedRequest)
    assert items[0].status == 400
    assert "longer than 120 bytes" in items[0].reason
    assert raws(items) == [options(2)]


def test_the_longest_line_there_may_be() -> None:
    assert len(raws(fed(options(1, b"", b"X: " + b"y" * 117), limits=SMALL))) == 1


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_what_is_held_is_bounded(chunks: list[bytes]) -> None:
    framer = StreamFramer(SMALL)
    try:
        for chunk in chunks:
            list(framer.feed(chunk))
            assert len(framer._buffer) <= SMALL.message
    except SipSyntaxError:
        return


# Work ---------------------------------------------------------------------------------------------------


class Counting(bytearray):
    """A buffer that counts the bytes looked through for the end of the head."""

    looked = 0

    def find(self, what: bytes, start: int = 0) -> int:  # type: ignore[override]  # as it is called here
        Counting.looked += len(self) - start
        return super().find(what, start)


def test_a_dribbled_head_is_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing_module, "bytearray", Counting, raising=False)
    Counting.looked = 0
    heads: list[bytes] = []

    def counted(head: bytes) -> Head:
        heads.append(head)
        return Head(head)

    monkeypatch.setattr(framing_module, "Head", counted)
    whole = options(1, b"b" * 30000, *[b"X: " + b"y" * 150] * 190)
    assert raws(fed(*(whole[n : n + 1] for n in range(len(whole))), limits=Limits(fields=300))) == [whole]
    assert len(heads) == 1
    assert 0 < Counting.looked < 5 * len(whole)


def test_a_dribbled_message_is_not_copied_for_each_byte() -> None:
    framer = StreamFramer(Limits())
    whole = options(1, b"b" * 1000)
    list(framer.feed(whole[:300]))
    list(framer.feed(whole[300:301]))
    held = framer._buffer
    list(framer.feed(whole[301:-1]))
    assert framer._buffer is held


# Out of step --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        [], [b"Content-Length: -1"], [b"Content-Length: x"], [b"Content-Length:"], [b"l: 1", b"l: 2"],
        [b"l: 0, 0"],
        [b"l: 0", b"Content-Length: 1"], [b"no field", b"l: 0", b"l: x"], [b"X: a\nl: 5", b"l: 0"],
         [b"X: a\rb", b"l: 0"],
    ],
)  # fmt: skip
def test_a_request_that_loses_the_stream_can_be_answered(lines: list[bytes]) -> None:
    head = b"\r\n".join([b"OPTIONS sip:b@c SIP/2.0", b"Call-ID: x", *lines, b"", b""])
    items, error = lost(options(1) + head + options(2))
    assert raws(items) == [options(1)]
    assert isinstance(error, MalformedRequest)
    assert error.status == 400
    assert error.request.call_id == b"x"
    items, error = lost(b"\r\n".join([b"SIP/2.0 200 OK", b"Call-ID: x", *lines, b"", b""]))
    assert items == []
    assert not isinstance(error, MalformedRequest)


@pytest.mark.parametrize(
    "stream",
    [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
     b"\0\0\0\r\n\r\n", b"\n\n\r\n\r\n",
     b"hello\r\nl: 0\r\n\r\n"],
)  # fmt: skip
def test_what_is_no_sip_loses_the_stream(stream: bytes) -> None:
    _, error = lost(stream)
    assert not isinstance(error, MalformedRequest)


# In step ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (options(1, b"body", b"not a field"), 400),
        (options(1, b"body", b"X: \x00"), 400),
        (options(1, b"body", b"CSeq: 2 OPTIONS"), 400),
        (options(1, b"body").replace(b"SIP/2.0\r\n", b"SIP/7.0\r\n"), 505),
        (options(1, b"body").replace(b"b@c", b"b@c ;lr"), 400),
    ],
)
def test_a_malformed_request_leaves_the_stream_in_step(bad: bytes, status: int) -> None:
    items = fed(bad + options(2))
    assert isinstance(items[0], MalformedRequest)
    assert (items[0].status, items[0].request.body) == (status, b"body")
    assert raws(items) == [options(2)]


@pytest.mark.parametrize(
    "bad",
    [
        reply(1).replace(b"200 OK", b"4294967301 better"),
        reply(1).replace(b"l:", b"X: \0\r\nl:"),
        reply(1).replace(b"l:", b"i: 2\r\nl:"),
    ],
)
def test_a_malformed_response_is_for_the_bin(bad: bytes) -> None:
    """A flow between servers carries other calls too: these go on (RFC 3261 §18.3)."""
    items = fed(bad + options(2))
    assert isinstance(items[0], MalformedResponse)
    assert raws(items) == [options(2)]
