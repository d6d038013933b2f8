"""Edits of a message that leave all else as it arrived."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipmesh.sip import Message, Request, SipSyntaxError, parse_message
from sipmesh.sip.names import MAX_FORWARDS, RECORD_ROUTE, ROUTE, VIA
from sipmesh.sip.splice import Splice, received_via

INVITE = (
    b"INVITE sip:bob@example.com SIP/2.0\r\n"
    b"v:SIP/2.0/TLS a.example.com;branch=z9hG4bK1;rport ,\r\n\t SIP/2.0/TLS b.example.com\r\n"
    b'Route: <sip:p1.example.com;lr>,<sip:p2.example.com;lr> , "x,y" <sip:p3.example.com;lr>;a=","\r\n'
    b"VIA : SIP/2.0/TLS c.example.com\r\n"
    b"max-FORWARDS  :  070  \r\n"
    b"Subject: folded\r\n  and \xff odd\r\n"
    b"route:<sip:p4.example.com;lr>\r\n"
    b"From: <sip:a@b>;tag=1\r\n"
    b"To: <sip:b@b>\r\n"
    b"Call-ID: c\r\n"
    b"CSeq: 1 INVITE\r\n"
    b"l: 9\r\n"
    b"\r\n"
    b"Via: body"
)
START = b"INVITE sip:bob@example.com SIP/2.0\r\n"
BARE = b"OPTIONS sip:b@c SIP/2.0\r\n\r\n"


def spliced(edit: Callable[[Splice], None], raw: bytes = INVITE) -> bytes:
    splice = Splice(parse_message(raw))
    edit(splice)
    return splice.to_bytes()


def test_no_edit() -> None:
    assert spliced(lambda s: None) == INVITE


def test_start_line() -> None:
    new = b"INVITE sip:bob@192.0.2.1 SIP/2.0"
    assert spliced(lambda s: s.start_line(new)) == INVITE.replace(START, new + b"\r\n")
    assert spliced(lambda s: s.start_line(b"X y SIP/2.0"), BARE) == b"X y SIP/2.0\r\n\r\n"


@pytest.mark.parametrize(
    ("name", "before"),
    [(VIA, b"v:SIP"), (ROUTE, b"Route:"), (MAX_FORWARDS, b"max-FORWARDS"), (RECORD_ROUTE, b"v:SIP")],
)
def test_prepend(name: bytes, before: bytes) -> None:
    assert spliced(lambda s: s.prepend(name, b"X: y\r\nX: z")) == INVITE.replace(
        before, b"X: y\r\nX: z\r\n" + before, 1
    )


def test_append() -> None:
    assert spliced(lambda s: s.append(b"X: y")) == INVITE.replace(b"l: 9\r\n", b"l: 9\r\nX: y\r\n")
    for insert in (
        lambda s: s.append(b"X: y"),
        lambda s: s.prepend(VIA, b"X: y"),
        lambda s: s.replace(VIA, b"X: y"),
    ):
        assert spliced(insert, BARE) == BARE[:-2] + b"X: y\r\n\r\n"


def test_replace() -> None:
    assert spliced(lambda s: s.replace(MAX_FORWARDS, b"Max-Forwards: 69")) == INVITE.replace(
        b"max-FORWARDS  :  070  ", b"Max-Forwards: 69"
    )
    assert spliced(lambda s: s.replace(b"subject", b"s: x")) == INVITE.replace(
        b"Subject: folded\r\n  and \xff odd", b"s: x"
    )
    assert spliced(lambda s: s.replace(RECORD_ROUTE, b"X: y")) == spliced(lambda s: s.append(b"X: y"))


def test_remove() -> None:
    without = spliced(lambda s: s.remove(VIA))
    assert not parse_message(without).has(VIA)
    assert without.endswith(b"\r\n\r\nVia: body")
    assert spliced(lambda s: s.remove(RECORD_ROUTE)) == INVITE


def test_remove_field() -> None:
    assert spliced(lambda s: s.remove_field(4)) == INVITE.replace(
        b"Subject: folded\r\n  and \xff odd\r\n", b""
    )


VALUES = {
    VIA: [
        b"SIP/2.0/TLS a.example.com;branch=z9hG4bK1;rport", b"SIP/2.0/TLS b.example.com",
        b"SIP/2.0/TLS c.example.com",
    ],
    ROUTE: [
        b"<sip:p1.example.com;lr>", b"<sip:p2.example.com;lr>", b'"x,y" <sip:p3.example.com;lr>;a=","',
        b"<sip:p4.example.com;lr>",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "count"), [(name, count) for name, all_ in VALUES.items() for count in range(1, len(all_) + 2)]
)
def test_remove_first_values(name: bytes, count: int) -> None:
    after = parse_message(spliced(lambda s: s.remove_first_value(name, count)))
    assert parse_message(INVITE).values(name) == VALUES[name]
    assert after.values(name) == VALUES[name][count:]
    assert after.has(name) == (count < len(VALUES[name]))
    others = [f[0] for f in parse_message(INVITE).fields if f[0] != name]
    assert [f[0] for f in after.fields if f[0] != name] == others
    assert after.body == b"Via: body"


def test_what_is_left_of_a_line_is_left_as_it_was() -> None:
    after = spliced(lambda s: s.remove_first_value(ROUTE, 1))
    assert after == INVITE.replace(b"Route: <sip:p1.example.com;lr>,<", b"Route: <")
    after = spliced(lambda s: s.remove_first_value(VIA, 1))
    assert after == INVITE.replace(
        b"v:SIP/2.0/TLS a.example.com;branch=z9hG4bK1;rport ,\r\n\t SIP", b"v: SIP"
    )


@pytest.mark.parametrize(
    "line", [b"Route: <sip:a>,", b"Route: ,<sip:a>,,", b"Route:\r\n <sip:a>", b"Route: <sip:a>\r\n ,"]
)
def test_one_value_and_commas(line: bytes) -> None:
    raw = b"OPTIONS sip:b@c SIP/2.0\r\nA: b\r\n" + line + b"\r\nC: d\r\n\r\n"
    assert spliced(lambda s: s.remove_first_value(ROUTE), raw) == raw.replace(line + b"\r\n", b"")


def test_a_proxys_edits_together() -> None:
    def edit(splice: Splice) -> None:
        splice.replace(VIA, b"Via: replaced")
        splice.start_line(b"INVITE sip:x SIP/2.0")
        splice.prepend(VIA, b"Via: one")
        splice.prepend(VIA, b"Via: two")
        splice.remove_first_value(ROUTE, 4)
        splice.prepend(ROUTE, b"Route: new")
        splice.append(b"X-New: y")
        splice.replace(b"content-length", b"Content-Length: 9")

    after = parse_message(spliced(edit))
    assert isinstance(after, Request)
    assert after.uri_bytes == b"sip:x"
    assert after.all(VIA) == [b"one", b"two", b"replaced", b"SIP/2.0/TLS c.example.com"]
    assert after.all(ROUTE) == [b"new"]
    assert [f[0] for f in after.fields[-2:]] == [b"content-length", b"x-new"]
    assert after.body == b"Via: body"


# Properties ---------------------------------------------------------------------------------------------

_name = st.sampled_from([b"Via", b"v", b"VIA ", b"Route", b"X-Own", b"Subject", b"m", b"Record-Route\t"])
_text = st.lists(
    st.sampled_from([b"a", b"<sip:a,b@c;lr>", b'"x,\\"y"', b" ", b"\r\n ", b"\xff", b",", b";p=1"]),
    max_size=6,
)
_line = st.tuples(_name, _text).map(
    lambda t: t[0] + b":" + b"".join(t[1]).replace(b"\r\n \r\n", b"\r\n") + b"."
)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A whole request with odd fields."""
    lines = draw(st.lists(_line, max_size=8))
    return b"\r\n".join([b"OPTIONS sip:b@c SIP/2.0", *lines, b"", draw(st.binary(max_size=20))])


@given(messages(), _name, st.integers(1, 3))
def test_what_was_inserted_and_removed_again(raw: bytes, name: bytes, count: int) -> None:
    canonical = parse_message(name.strip().join([b"A b SIP/2.0\r\n", b": x\r\n\r\n"])).fields[0][0]

    def insert(splice: Splice) -> None:
        for number in range(count):
            splice.prepend(canonical, b"%s: inserted %d" % (name.strip(), number))

    there = spliced(insert, raw)
    assert len(there) > len(raw)
    assert spliced(lambda s: s.remove_first_value(canonical, count), there) == raw


@given(messages(), st.data())
def test_what_is_not_touched_stays(raw: bytes, data: st.DataObject) -> None:
    """Each line that no edit is about is there afterwards, byte by byte, in its place among the others."""
    message = parse_message(raw)
    name = data.draw(st.sampled_from([VIA, ROUTE, b"x-own", b"subject"]))
    count = data.draw(st.integers(1, 4))

    def others(m: Message) -> list[bytes]:
        return [m.raw[line:end] for known, line, _, end in m.fields if known != name]

    removed = spliced(lambda s: s.remove_first_value(name, count), raw)
    after = parse_message(removed)
    assert others(after) == others(message)
    assert after.values(name) == message.values(name)[count:]
    assert after.body == message.body
    if after.has(name):
        value = next(value for known, _, value, _ in after.fields if known == name)
        assert raw.endswith(removed[value:].lstrip(b" \t\r\n"))
    assert parse_message(spliced(lambda s: s.remove(name), raw)).body == message.body
    assert others(parse_message(spliced(lambda s: s.replace(name, name + b": new"), raw))) == others(message)


# Where a request came from ------------------------------------------------------------------------------


def noted(via: bytes, address: str = "192.0.2.1", port: int = 4444) -> bytes:
    raw = b"OPTIONS sip:b@c SIP/2.0\r\nA: b\r\nVia:" + via + b"\r\nCSeq: 1 OPTIONS\r\nCall-ID: x\r\n\r\nbody"
    before = parse_message(raw)
    assert isinstance(before, Request)
    line = received_via(before, address, port)
    if line is None:
        value = before.first(VIA)
        assert value is not None
        return value
    assert line.startswith(b"Via: ")
    assert b"\n" not in line
    return line[5:]


@pytest.mark.parametrize(
    ("via", "expected"),
    [
        (b" SIP/2.0/TLS a.b;branch=1", b"SIP/2.0/TLS a.b;branch=1;received=192.0.2.1"),
        (b"SIP/2.0/TLS a.b", b"SIP/2.0/TLS a.b;received=192.0.2.1"),
        (b" SIP/2.0/TLS a.b;rport;branch=1", b"SIP/2.0/TLS a.b;rport=4444;branch=1;received=192.0.2.1"),
        (b" SIP/2.0/TLS 192.0.2.1;rport", b"SIP/2.0/TLS 192.0.2.1;rport=4444;received=192.0.2.1"),
        (b" SIP/2.0/TLS 192.0.2.1;branch=1", b"SIP/2.0/TLS 192.0.2.1;branch=1"),
        (b" SIP/2.0/TLS a.b;branch=1,SIP/2.0/TLS c.d;rport",
         b"SIP/2.0/TLS a.b;branch=1;received=192.0.2.1,SIP/2.0/TLS c.d;rport"),
        (b' SIP/2.0/TLS a.b;x="y,z" , SIP/2.0/TLS c.d',
         b'SIP/2.0/TLS a.b;x="y,z";received=192.0.2.1 , SIP/2.0/TLS c.d'),
        (b' SIP/2.0/TLS a.b;x=";rport";rport', b'SIP/2.0/TLS a.b;x=";rport";rport=4444;received=192.0.2.1'),
    ],
)  # fmt: skip
def test_received(via: bytes, expected: bytes) -> None:
    assert noted(via) == expected


@pytest.mark.parametrize(
    "lie",
    [b";received=6.6.6.6", b";Received = 6.6.6.6", b"; \r\n received\r\n =\r\n 6.6.6.6", b";received",
     b";received=6.6.6.6;received=7.7.7.7",
     b';x=";received=1";received=6.6.6.6'],
)  # fmt: skip
@pytest.mark.parametrize("host", [b"a.b", b"192.0.2.1"])
def test_a_client_does_not_say_where_it_was_received_from(lie: bytes, host: bytes) -> None:
    value = noted(b" SIP/2.0/TLS " + host + lie + b";branch=1")
    assert b"6.6.6.6" not in value
    assert b"7.7.7.7" not in value
    assert value.endswith(b";branch=1;received=192.0.2.1")
    value = noted(b" SIP/2.0/TLS " + host + lie + b";rport")
    assert b"6.6.6.6" not in value
    assert value.endswith(b";rport=4444;received=192.0.2.1")


def test_received_from_ipv6() -> None:
    assert noted(b" SIP/2.0/TLS [2001:db8::1]:5061;branch=1", "2001:db8::1").endswith(b"branch=1")
    assert noted(b" SIP/2.0/TLS [2001:db8::2]", "2001:db8::1").endswith(b";received=2001:db8::1")


def test_received_without_a_via() -> None:
    message = parse_message(BARE)
    assert isinstance(message, Request)
    with pytest.raises(SipSyntaxError):
        received_via(message, "192.0.2.1", 1)
