"""Messages as bytes with an index: RFC 3261 §7."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipmesh.sip import MalformedRequest, Message, Request, Response, SipSyntaxError, parse_message
from sipmesh.sip.message import Head, MalformedResponse
from sipmesh.sip.respond import make_response

INVITE = (
    b"INVITE sip:bob@example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/TLS pc.example.com:5061;branch=z9hG4bK1;rport,"
    b" SIP/2.0/TLS old.example.com;branch=z9hG4bK0\r\n"
    b"v: SIP/2.0/TLS older.example.com\r\n"
    b'From: "Alice, of course"\r\n <sip:alice@example.com>\r\n\t;tag=a1\r\n'
    b"To: Bob <sip:bob@example.com>\r\n"
    b"Call-ID: c1@pc.example.com\r\n"
    b"CSeq: 7 INVITE\r\n"
    b"Max-Forwards: 70\r\n"
    b"Supported: path\r\n"
    b"k:outbound , GRUU\r\n"
    b"X-Own :  kept  as it is \r\n"
    b"Content-Length: 4\r\n"
    b"\r\n"
    b"body"
)
REPLY = (
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS pc.example.com;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n"
    b"To: <sip:b@b>;tag=2\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\nContent-Length: 0\r\n\r\n"
)


def request(raw: bytes) -> Request:
    message = parse_message(raw)
    assert isinstance(message, Request)
    return message


def head_of(*lines: bytes, start: bytes = b"OPTIONS sip:b@c SIP/2.0") -> bytes:
    return b"\r\n".join([start, *lines, b"", b""])


def test_request() -> None:
    invite = request(INVITE)
    assert (invite.method, invite.uri_bytes, str(invite.uri)) == (
        b"INVITE",
        b"sip:bob@example.com",
        "sip:bob@example.com",
    )
    assert invite.via.host == b"pc.example.com"
    assert (invite.cseq.number, invite.cseq.method) == (7, b"INVITE")
    assert (invite.from_.display, invite.from_.tag) == ("Alice, of course", "a1")
    assert invite.to.tag is None
    assert invite.call_id == b"c1@pc.example.com"
    assert invite.max_forwards == 70
    assert invite.body == b"body"
    assert invite.raw == INVITE
    assert invite.via is invite.via


def test_response() -> None:
    reply = parse_message(REPLY)
    assert isinstance(reply, Response)
    assert (reply.status, reply.reason, reply.body) == (200, b"OK", b"")


def test_fields_by_name() -> None:
    invite = request(INVITE)
    assert invite.has(b"via")
    assert not invite.has(b"route")
    assert invite.first(b"route") is None
    assert invite.all(b"route") == invite.values(b"route") == []
    assert len(invite.all(b"via")) == 2
    assert [v.split(b";")[0] for v in invite.values(b"via")] == [
        b"SIP/2.0/TLS pc.example.com:5061",
        b"SIP/2.0/TLS old.example.com",
        b"SIP/2.0/TLS older.example.com",
    ]
    assert invite.tokens(b"supported") == {"path", "outbound", "gruu"}
    assert invite.header("SUPPORTED") == invite.header("k") == "path"
    assert invite.header("x-own") == "kept  as it is"
    assert invite.header("none") is None
    assert invite.header("ünlike a name") is None


def test_folding_is_one_space() -> None:
    message = request(head_of(b"Subject: one\t \r\n\t two\r\n  \r\n three", b"Empty:", b"Only:\r\n  folded"))
    assert message.first(b"subject") == b"one two  three"
    assert message.first(b"empty") == b""
    assert message.first(b"only") == b"folded"


def test_index_covers_the_message() -> None:
    """Start line, lines of fields, empty line and body, end to end, are all the bytes."""
    invite = request(INVITE)
    at = len(b"INVITE sip:bob@example.com SIP/2.0\r\n")
    for _, line, value, end in invite.fields:
        assert line == at
        assert invite.raw[value - 1 : value] == b":"
        at = end + 2
    assert invite.raw[at : at + 2] == b"\r\n"
    assert invite.body_start == at + 2


def test_what_is_missing_is_said() -> None:
    message = request(head_of(b"Call-ID:", b"X: y"))
    for read in ("via", "cseq", "from_", "to", "call_id"):
        with pytest.raises(SipSyntaxError, match="missing or empty"):
            getattr(message, read)
    assert message.max_forwards is None


@pytest.mark.parametrize(("value", "number"), [(b"0", 0), (b"0068", 68), (b"255", 255), (b"0000000255", 255)])
def test_max_forwards(value: bytes, number: int) -> None:
    assert request(head_of(b"Max-Forwards: " + value)).max_forwards == number


@pytest.mark.parametrize("value", [b"", b"-1", b"256", b"300", b"7 0", b"+7", b"\xb2", b"9" * 5000, b"0x7"])
def test_max_forwards_malformed(value: bytes) -> None:
    with pytest.raises(SipSyntaxError):
        _ = request(head_of(b"Max-Forwards: " + value)).max_forwards


# Start lines --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start",
    [b"OPTIONS sip:b@c sip/2.0", b"OPTIONS sip:b@c SIP/2.0", b"x sip:b@c SIP/2.0", b"-.!%*_+`'~ * SIP/2.0"],
)
def test_request_lines(start: bytes) -> None:
    assert request(head_of(b"A: b", start=start)).method == start.split()[0]


@pytest.mark.parametrize(
    ("start", "method", "status"),
    [
        (b"OPTIONS sip:b@c;  lr SIP/2.0", b"OPTIONS", 400),
        (b"OPTIONS  sip:b@c  SIP/2.0", b"OPTIONS", 400),
        (b"OPTIONS sip:b@c SIP/2.0  ", b"OPTIONS", 400),
        (b" OPTIONS sip:b@c SIP/2.0", b"OPTIONS", 400),
        (b"OPTIONS\tsip:b@c\tSIP/2.0", b"OPTIONS", 400),
        (b"OPTIONS sip:b\x00@c SIP/2.0", b"OPTIONS", 400),
        (b"OPTIONS sip:b@c SIP/7.0", b"OPTIONS", 505),
        (b"OPTIONS sip:b@c SIP/2.1", b"OPTIONS", 505),
    ],
)
def test_a_malformed_request_line_can_be_answered(start: bytes, method: bytes, status: int) -> None:
    with pytest.raises(MalformedRequest) as caught:
        parse_message(head_of(b"Call-ID: x", start=start))
    assert caught.value.status == status
    assert caught.value.request.method == method
    assert caught.value.request.call_id == b"x"


@pytest.mark.parametrize(
    "start",
    [b"", b"GET / HTTP/1.1", b"OPTIONS sip:b@c", b"OPTIONS SIP/2.0", b"(x) sip:b@c SIP/2.0",
     b"OPTIONS sip:b@c SIP/2",
     b"HTTP/1.1 200 OK", b"\x16\x03\x01", b"OPTIONS sip:b@c SIP/2.0x"],
)  # fmt: skip
def test_what_is_no_start_line(start: bytes) -> None:
    with pytest.raises(SipSyntaxError) as caught:
        parse_message(head_of(b"Call-ID: x", start=start))
    assert type(caught.value) is SipSyntaxError


@pytest.mark.parametrize(
    ("start", "status", "reason"),
    [
        (b"SIP/2.0 100 ", 100, b""),
        (b"SIP/2.0 100", 100, b""),
        (b"sip/2.0 699 Some  words \xd0\xb3", 699, b"Some  words \xd0\xb3"),
        (b"SIP/2.0 200 = 2**3 * 5**2", 200, b"= 2**3 * 5**2"),
    ],
)
def test_status_lines(start: bytes, status: int, reason: bytes) -> None:
    message = parse_message(head_of(b"A: b", start=start))
    assert isinstance(message, Response)
    assert (message.status, message.reason) == (status, reason)


@pytest.mark.parametrize(
    "start",
    [b"SIP/2.0 4294967301 better not break the receiver", b"SIP/2.0 2000", b"SIP/2.0 099 No",
     b"SIP/2.0 700 No",
     b"SIP/2.0 20 No", b"SIP/2.0  200 OK", b"SIP/7.0 200 OK", b"SIP/2.0", b"SIP/2.0 OK", b"SIP/2.0 200OK"],
)  # fmt: skip
def test_malformed_status_lines(start: bytes) -> None:
    with pytest.raises(MalformedResponse):
        parse_message(head_of(b"A: b", start=start))


# Header fields ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [b"no colon", b": no name", b"two words: x", b"Vi\xe4: x", b"Via\x00: x", b"(a): x", b"X\x0b: y",
     b"X: \x00", b'X: "\\\\\x00"', b"Content-Length: 1 2"],
)  # fmt: skip
def test_malformed_fields(line: bytes) -> None:
    with pytest.raises(MalformedRequest) as caught:
        parse_message(head_of(b"Call-ID: x", line, b"CSeq: 1 OPTIONS"))
    assert caught.value.status == 400
    assert caught.value.request.cseq.number == 1
    with pytest.raises(MalformedResponse):
        parse_message(head_of(b"Call-ID: x", line, b"CSeq: 1 OPTIONS", start=b"SIP/2.0 200 OK"))


def test_nul_may_be_quoted() -> None:
    """RFC 3261 §25.1 quoted-pair, RFC 4475 §3.1.1.2."""
    assert b"\x00" in (request(head_of(b'To: "\\\x00 \\\\\\\x00" <sip:a@b>')).first(b"to") or b"")


def test_a_fold_before_the_first_field() -> None:
    with pytest.raises(MalformedRequest, match="white space"):
        parse_message(head_of(b" folded: x", b"Call-ID: x"))


@pytest.mark.parametrize(
    "line", [b"From: <sip:x@y>", b"t:<sip:x@y>", b"I: z", b"cseq: 7 INVITE", b"MAX-FORWARDS: 1"]
)
def test_what_may_come_once(line: bytes) -> None:
    raw = INVITE.replace(b"X-Own", line + b"\r\nX-Own")
    with pytest.raises(MalformedRequest, match="more than one"):
        parse_message(raw)
    with pytest.raises(MalformedResponse, match="more than one"):
        parse_message(REPLY.replace(b"Content-Length", line + b"\r\nMax-Forwards: 2\r\nContent-Length"))


@pytest.mark.parametrize(
    "smuggled",
    [
        b"X: a\nContent-Length: 9",
        b"X: a\n\nINVITE",
        b"X: a\rTo: b",
        b"X: a\r",
        b"X: a\r\r",
        b"X: a\n",
        b"\nX: a",
        b"\rX: a",
    ],
)
def test_cr_and_lf_alone(smuggled: bytes) -> None:
    """What another reader may take for the end of a line or of the header is refused, and is not echoed."""
    for line in (smuggled, b"Via: SIP/2.0/TLS a.b;x=" + smuggled):
        with pytest.raises(MalformedRequest, match="CR or LF") as caught:
            parse_message(head_of(b"Call-ID: x", line, b"CSeq: 1 OPTIONS", b"Content-Length: 0"))
        answer = make_response(caught.value.request, 400)
        assert b"Call-ID: x\r\n" in answer
        assert b"CSeq: 1 OPTIONS\r\n" in answer
        assert answer.count(b"\r") == answer.count(b"\n") == answer.count(b"\r\n")


def test_a_request_uri_with_header_fields() -> None:
    """RFC 4475 §3.1.2.11."""
    message = request(head_of(start=b"INVITE sip:user@example.com?Route=%3Csip:example.com%3E SIP/2.0"))
    for _ in range(2):
        with pytest.raises(SipSyntaxError):
            _ = message.uri


def test_a_body_that_is_cut_off() -> None:
    with pytest.raises(MalformedRequest, match="shorter"):
        parse_message(INVITE[:-1])
    with pytest.raises(SipSyntaxError, match="empty line"):
        parse_message(INVITE.partition(b"\r\n\r\n")[0] + b"\r\n")


@pytest.mark.parametrize(
    ("lines", "length"),
    [
        ([b"Content-Length: 5"], 5),
        ([b"l:5", b"Content-Length: 05"], 5),
        ([b"CONTENT-length\t:\r\n 5 "], 5),
        ([], None),
    ],
)
def test_content_length(lines: list[bytes], length: int | None) -> None:
    head = Head(b"\r\n".join([b"A b SIP/2.0", *lines]))
    assert (head.content_length, head.lost) == (length, "")


@pytest.mark.parametrize(
    "lines",
    [
        [b"Content-Length: -1"], [b"Content-Length:"], [b"l: 5, 5"], [b"l: 5 5"], [b"l: +5"], [b"l: 0x5"],
         [b"l: 1\r\n 5"],
        [b"l: 5", b"Content-Length: 6"], [b"l: 5", b"l: x"], [b"no field", b"l: 5", b"l: x"],
         [b"l: " + b"9" * 5000],
        [b"l: \xd9\xa5"], [b"l: 5\n"],
    ],
)  # fmt: skip
def test_content_length_that_can_not_be_known(lines: list[bytes]) -> None:
    head = Head(b"\r\n".join([b"A b SIP/2.0", *lines]))
    assert head.lost
    assert head.trouble


def test_no_password_is_shown() -> None:
    raw = head_of(b"To: <sip:b:hunter2@c>", start=b"OPTIONS sip:b:hunter2@c SIP/2.0")
    assert repr(request(raw)) == "<Request OPTIONS to c>"


# What strangers send ------------------------------------------------------------------------------------


def read_everything(message: Message) -> None:
    """Call whatever a caller may: the only thing that may come of it is a :class:`SipSyntaxError`."""
    names = {name for name, *_ in message.fields} | {b"via", b"route"}
    for name in names:
        assert message.has(name) == (message.first(name) is not None) == bool(message.all(name))
        assert all(message.values(name))
        message.tokens(name)
        message.header(name.decode())
    for read in ("via", "cseq", "from_", "to", "call_id", "uri", "max_forwards"):
        with suppress(SipSyntaxError):
            getattr(message, read, None)
    assert message.raw.endswith(message.body)
    repr(message)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid message with a few places overwritten, cut out or doubled."""
    raw = bytearray(draw(st.sampled_from([INVITE, REPLY])))
    noise = st.one_of(
        st.binary(max_size=3),
        st.sampled_from([b"\r\n", b"\r", b"\n", b"\0", b",", b'"', b"<", b";", b":", b" "]),
    )
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw)))
        raw[at : at + draw(st.integers(0, 8))] = draw(noise)
    return bytes(raw)


@given(st.one_of(st.binary(), mutated(), st.binary(max_size=40).map(lambda b: head_of(b"From: x", b))))
def test_nothing_but_a_syntax_error(raw: bytes) -> None:
    try:
        message: Message = parse_message(raw)
    except MalformedRequest as error:
        message = error.request
        make_response(error.request, error.status, error.reason)
    except SipSyntaxError:
        return
    else:
        head = message.raw[: message.body_start]
        assert head.count(b"\r") == head.count(b"\n") == head.count(b"\r\n")
        assert message.raw == raw
    assert len(message.raw) == len(raw)
    read_everything(message)
