"""What SipMesh does with the torture test messages of RFC 4475, and with those of RFC 5118."""

from __future__ import annotations

import pytest
from torture_messages import (
    CASES,
    DISCARDED,
    LOST,
    MULTIPART,
    REFUSED,
    SDP,
    SERVED,
    UNREADABLE,
    UNUSUAL,
    WAITING,
    Case,
)

from sipmesh.sip import (
    MalformedRequest,
    OtherUri,
    Request,
    Response,
    SipSyntaxError,
    SipUri,
    TelUri,
    parse_message,
)
from sipmesh.sip.framing import Limits, StreamFramer
from sipmesh.sip.headers import parse_address, parse_delta_seconds, parse_via
from sipmesh.sip.message import MalformedResponse
from sipmesh.sip.splice import Splice

NEXT = b"OPTIONS sip:next@example.com SIP/2.0\r\nCall-ID: next\r\nl: 0\r\n\r\n"


def verdict(raw: bytes) -> str:
    """What a stream makes of a message with another after it; and the other is seen if it should be."""
    framer = StreamFramer(Limits())
    try:
        items = list(framer.feed(raw + NEXT))
    except MalformedRequest as error:
        return f"{LOST}{error.status}"
    if not items:
        assert framer.partial
        return WAITING
    item, following = items
    assert isinstance(following, Request)
    assert following.raw == NEXT
    if isinstance(item, MalformedRequest):
        assert item.request.raw == raw
        return f"{REFUSED}{item.status}"
    if isinstance(item, MalformedResponse):
        return DISCARDED
    assert isinstance(item, Request | Response)
    assert item.raw == raw
    return _readable(item)


def _readable(message: Request | Response) -> str:
    failed = []
    for name in ["via", "cseq", "from_", "to", "call_id"] + ["uri", "max_forwards"] * isinstance(
        message, Request
    ):
        try:
            getattr(message, name)
        except SipSyntaxError as error:
            failed.append(name if error.status == 400 else f"{name} ({error.status})")
    return UNREADABLE + " ".join(failed) if failed else SERVED


def test_all_of_them_are_here() -> None:
    assert len(CASES) == 49


@pytest.mark.parametrize("torture", CASES.values(), ids=lambda c: f"{c.section}-{c.name}")
def test_verdict(torture: Case) -> None:
    assert verdict(torture.raw) == torture.verdict


@pytest.mark.parametrize("torture", [c for c in CASES.values() if c.verdict == SERVED], ids=lambda c: c.name)
def test_what_is_forwarded_is_as_it_came(torture: Case) -> None:
    message = parse_message(torture.raw)
    splice = Splice(message)
    splice.prepend(b"via", b"Via: SIP/2.0/TLS p.example.com;branch=z9hG4bKp")
    forwarded = parse_message(splice.to_bytes())
    assert forwarded.via.host == b"p.example.com"
    back = Splice(forwarded)
    back.remove_first_value(b"via")
    assert back.to_bytes() == torture.raw


def request(name: str) -> Request:
    message = parse_message(CASES[name].raw)
    assert isinstance(message, Request)
    return message


# What is to be seen in those that are served ----------------------------------------------------------------


def test_wsinv() -> None:
    message = request("wsinv")
    assert message.to.tag == "1918181833n"
    assert (message.from_.display, message.from_.tag) == ('J Rosenberg \\"', "98asjd8")
    assert message.max_forwards == 68
    assert (message.cseq.number, message.cseq.method) == (9, b"INVITE")
    vias = [parse_via(v) for v in message.values(b"via")]
    assert [(v.transport, v.host, v.branch) for v in vias] == [
        ("UDP", b"192.0.2.2", b"390skdjuw"),
        ("TCP", b"spindle.example.com", b"z9hG4bK9ikj8"),
        ("UDP", b"192.168.255.111", b"z9hG4bK30239"),
    ]
    assert message.first(b"subject") == b""
    assert message.header("NewFangledHeader") == "newfangled value continued newfangled value"
    assert message.header("UnknownHeaderWithUnusualValue") == ";;,,;;,;"
    route = parse_address(message.values(b"route")[0]).uri
    assert isinstance(route, SipUri)
    assert route.param("lr") == ""
    contact = parse_address(message.first(b"contact") or b"")
    assert contact.display == 'Quoted string ""'
    assert contact.params == (("newparam", "newvalue"), ("secondparam", None), ("q", "0.33"))
    assert message.body == SDP


def test_intmeth() -> None:
    message = request("intmeth")
    assert message.method == message.cseq.method == UNUSUAL
    assert isinstance(message.uri, SipUri)
    assert message.uri.password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert message.to.display == "BEL:\x07 NUL:\x00 DEL:\x7f"
    assert message.from_.display == "token1~` token2'+_ token3*%!.-"
    assert message.from_.tag == "_token~1'+`*%!-."
    assert message.call_id.endswith(b'word`~)(><:\\/"][?}{')
    assert message.max_forwards == 255


def test_escapes() -> None:
    message = request("esc01")
    assert isinstance(message.uri, SipUri)
    assert (message.uri.scheme, message.uri.host) == ("sip", "example.net")
    assert isinstance(message.to.uri, SipUri)
    assert message.to.uri.aor == "sip:user@example.com"
    contact = parse_address(message.first(b"contact") or b"").uri
    assert isinstance(contact, SipUri)
    assert contact.param("lr") == ""
    one, two = (parse_address(v).uri for v in request("escnull").values(b"contact"))
    assert not one.equivalent(two)


def test_a_percent_sign_is_no_escape_in_a_method_or_a_display_name() -> None:
    message = request("esc02")
    assert message.method == b"RE%47IST%45R"
    assert message.to.display == "%Z%45"


def test_other_details() -> None:
    assert request("lwsdisp").from_.display == "caller"
    assert len(request("longreq").values(b"via")) == 29
    semi = request("semiuri").uri
    assert isinstance(semi, SipUri)
    assert (semi.user, semi.params) == ("user;par=u%40example.net", ())
    assert [parse_via(v).transport for v in request("transports").values(b"via")] == [
        "UDP",
        "SCTP",
        "TLS",
        "UNKNOWN",
        "TCP",
    ]
    assert request("mpart01").body == MULTIPART
    assert request("badbranch").via.branch == b"z9hG4bK"
    assert request("zeromf").max_forwards == 0
    assert request("bext01").tokens(b"proxy-require") == {
        "noproxiessupportthis",
        "nordoanyproxiessupportthis",
    }
    for name in ("unreason", "noreason"):
        reply = parse_message(CASES[name].raw)
        assert isinstance(reply, Response)
        assert reply.reason == CASES[name].raw.partition(b"\r\n")[0][12:]


def test_unknown_schemes_are_told_apart() -> None:
    """A proxy answers 416 to these as a Request-URI."""
    for name in ("unkscm", "novelsc"):
        assert isinstance(request(name).uri, OtherUri)
    message = request("unksm2")
    assert isinstance(message.to.uri, OtherUri)
    assert message.from_.tag == "3234233"


def test_the_methods_that_differ_can_be_seen() -> None:
    for name in ("mismatch01", "mismatch02"):
        message = request(name)
        assert message.cseq.method != message.method


def test_contact_parameters() -> None:
    outside = parse_address(request("cparam01").first(b"contact") or b"")
    assert outside.param("unknownparam") == ""
    inside = parse_address(request("cparam02").first(b"contact") or b"")
    assert inside.params == ()
    assert isinstance(inside.uri, SipUri)
    assert inside.uri.param("unknownparam") == ""
    escaped = parse_address(request("regescrt").first(b"contact") or b"").uri
    assert isinstance(escaped, SipUri)
    assert escaped.headers == "Route=%3Csip:sip.example.com%3E"


def test_what_only_a_registrar_reads() -> None:
    for name, field in (("regbadct", b"contact"), ("badinv01", b"contact")):
        with pytest.raises(SipSyntaxError):
            parse_address(request(name).first(field) or b"")
    scalars = request("scalar02")
    with pytest.raises(SipSyntaxError):
        parse_delta_seconds(scalars.first(b"expires") or b"")
    with pytest.raises(SipSyntaxError):
        parse_delta_seconds(parse_address(scalars.first(b"contact") or b"").param("expires") or "")


def test_where_a_datagram_would_end() -> None:
    """Without a stream a body can be seen to be too short, and Content-Length may be missing."""
    with pytest.raises(MalformedRequest, match="shorter"):
        parse_message(CASES["clerr"].raw)
    old = request("inv2543")
    assert old.via.branch == b""
    assert old.from_.tag is None
    assert old.max_forwards is None
    assert isinstance(old.to.uri, SipUri)
    assert old.to.param("user") == "phone"


# RFC 5118: the same for IPv6 ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("via", "received"),
    [
        (b"SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bKas3", b"[2001:db8::9:255]"),
        (b"SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255;branch=z9hG4bKas3", b"2001:db8::9:255"),
    ],
)
def test_received_with_and_without_brackets(via: bytes, received: bytes) -> None:
    """RFC 5118 §4.5."""
    assert parse_via(via).param(b"received") == received
    assert parse_via(via).branch == b"z9hG4bKas3"


def test_ipv6_hosts() -> None:
    """RFC 5118 §4.1 to §4.4 and §4.10."""

    def uri(text: bytes) -> SipUri | TelUri | OtherUri:
        return parse_address(b"<" + text + b">").uri

    good = uri(b"sip:user@[2001:db8::10]:5070")
    assert isinstance(good, SipUri)
    assert (good.host, good.port) == ("[2001:db8::10]", 5070)
    # The port inside the brackets is ambiguous to the eye, and a part of the address to the grammar.
    odd = uri(b"sip:[2001:db8::10:5070]")
    assert isinstance(odd, SipUri)
    assert (odd.host, odd.port) == ("[2001:db8::10:5070]", None)
    for text in (b"sip:2001:db8::10", b"sip:user@[2001:db8:::192.0.2.1]", b"sip:user@2001:db8::10"):
        with pytest.raises(SipSyntaxError):
            uri(text)
