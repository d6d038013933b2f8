"""What is answered before anybody is asked: RFC 3261 §16.3, loops, what can't be served, 100, Max-Forwards."""

from __future__ import annotations

from itertools import count

import pytest
from policies import ByDomain, Says, to

from sipmesh.decisions import RequestContext
from sipmesh.sip import MalformedRequest, Request, Response, SipSyntaxError, parse_message, parse_sip_uri
from sipmesh.sip.framing import Limits
from sipmesh.testing.mesh import MemoryFlow, PolicyBench

BOB = "sip:bob@b.example"
FE2 = parse_sip_uri("sip:fe2.a.example")
numbers = count(1)
Scene = tuple[PolicyBench, MemoryFlow, MemoryFlow]


@pytest.fixture
def scene() -> Scene:
    bench = PolicyBench(ByDomain())
    return bench, bench.client("sip:alice@a.example"), bench.partner("b.example")


@pytest.mark.parametrize(
    ("headers", "uri", "status"),
    [
        (["CSeq: 1 BYE"], BOB, 400),
        (["CSeq: x MESSAGE"], BOB, 400),
        (["CSeq: 2147483648 MESSAGE"], BOB, 400),
        (["From: <sip:alice@a.example>"], BOB, 400),
        (["From: alice"], BOB, 400),
        (["From:"], BOB, 400),
        (["To: <sip:bob"], BOB, 400),
        (["Call-ID:"], BOB, 400),
        (["Max-Forwards: 256"], BOB, 400),
        (["Max-Forwards: many"], BOB, 400),
        ([], "sip:bob@b.example:0", 400),
        ([], "sip:bob@b.example?Subject=x", 400),
        (["Route: nonsense"], BOB, 400),
        (["Route: <urn:x:y>"], BOB, 400),
        ([], "urn:service:sos", 416),
        ([], "http://b.example", 416),
        (["Proxy-Require: magic", "Proxy-Require: more"], BOB, 420),
        (["Max-Forwards: 0"], BOB, 483),
    ],
)
def test_what_can_not_be_served(scene: Scene, headers: list[str], uri: str, status: int) -> None:
    bench, alice, b = scene
    sent = alice.ask("MESSAGE", uri, *headers)
    response = alice.response()
    assert response.status == status
    assert response.values(b"via") == sent.values(b"via")
    assert response.values(b"unsupported") == ([b"magic", b"more"] if status == 420 else [])
    assert b.take() == []
    assert len(bench.proxy.transactions) == 0


def test_another_version_is_answered_and_the_flow_stays(scene: Scene) -> None:
    bench, alice, _ = scene
    text = alice.ask("MESSAGE", BOB, "CSeq: 1 BYE").raw.replace(b"SIP/2.0\r\n", b"SIP/3.0\r\n", 1)
    alice.take()
    with pytest.raises(MalformedRequest) as bad:
        parse_message(text)
    bench.proxy.malformed(alice, bad.value)
    assert alice.response().status == 505
    assert alice.alive


def test_a_malformed_request_that_can_not_be_answered_closes_its_flow(scene: Scene) -> None:
    bench, alice, b = scene
    request = parse_message(b"MESSAGE sip:bob@b.example SIP/2.0\r\nCSeq: 1 MESSAGE\r\n\r\n")
    assert isinstance(request, Request)
    bench.proxy.malformed(alice, MalformedRequest("x", request))
    assert not alice.alive
    assert b.alive


def test_a_request_without_a_readable_via_is_the_flows_end(scene: Scene) -> None:
    _, alice, _ = scene
    with pytest.raises(SipSyntaxError):
        alice.ask("MESSAGE", BOB, "Via: SIP/2.0/TLS")


def test_only_an_invite_gets_100(scene: Scene) -> None:
    _, alice, b = scene
    alice.ask("INVITE", BOB, "Timestamp: 54")
    trying = alice.sent[0]
    assert isinstance(trying, Response)
    assert (trying.status, trying.to.tag, trying.first(b"timestamp")) == (100, None, b"54")
    alice.take()
    alice.ask("MESSAGE", BOB)
    assert alice.take() == []
    assert [one.method for one in b.take() if isinstance(one, Request)] == [b"INVITE", b"MESSAGE"]


@pytest.mark.parametrize(
    ("given", "forwarded"), [("Max-Forwards: 70", b"69"), ("Max-Forwards: 1", b"0"), ("Max-Forwards:", b"70")]
)
def test_max_forwards(scene: Scene, given: str, forwarded: bytes) -> None:
    _, alice, b = scene
    alice.ask("MESSAGE", BOB, given)
    assert b.request().all(b"max-forwards") == [forwarded]


@pytest.mark.parametrize("uri", ["sip:a.example", "sip:fe1.a.example:5061"])
def test_options_to_the_server_itself_are_answered_however_few_hops_are_left(scene: Scene, uri: str) -> None:
    _, alice, _ = scene
    alice.ask("OPTIONS", uri, "Max-Forwards: 0")
    response = alice.response()
    assert response.status == 200
    assert response.has(b"allow")


def test_the_request_uri_goes_through_as_it_came(scene: Scene) -> None:
    _, alice, b = scene
    alice.ask("MESSAGE", "sip:bob@B.Example;X=%41")
    assert b.request().uri_bytes == b"sip:bob@B.Example;X=%41"


def test_a_contact_gives_no_header_fields_to_the_request_uri() -> None:
    bench = PolicyBench(Says(to("sip:bob@b.example;x?Subject=x")))
    alice, b = bench.client("sip:alice@a.example"), bench.partner("b.example")
    alice.ask("MESSAGE", "sip:bob@a.example")
    assert b.request().uri_bytes == b"sip:bob@b.example;x"


# Size --------------------------------------------------------------------------------------------------------

LIMITS = Limits()


@pytest.mark.parametrize(
    "headers",
    [
        [f"X{n}: y" for n in range(LIMITS.fields - 9)],
        ["X: " + "y" * 8000] * 4,
    ],
)
def test_a_request_that_grows_too_long_on_its_way_is_answered_here(scene: Scene, headers: list[str]) -> None:
    """The next hop would close the flow, and everybody else's calls with it."""
    bench, alice, b = scene
    sent = alice.ask("INVITE", BOB, *headers, "Y: " + "y" * 400)
    assert LIMITS.allow(sent.raw)
    assert alice.response().status == 513
    assert b.take() == []
    alice.ask("MESSAGE", BOB, *headers[:-1])
    assert b.request("MESSAGE")
    assert bench.proxy.transactions


def test_a_long_message_too(scene: Scene) -> None:
    _, alice, b = scene
    head = len(alice.ask("MESSAGE", BOB).raw)
    assert b.request("MESSAGE")
    assert LIMITS.allow(alice.ask("MESSAGE", BOB, body="y" * (LIMITS.message - head - 10)).raw)
    assert alice.response().status == 513
    alice.ask("MESSAGE", BOB, body="y" * (LIMITS.message - head - 200))
    assert b.request("MESSAGE")


def test_a_response_that_is_too_long_to_go_back_is_replaced(scene: Scene) -> None:
    _, alice, b = scene
    vias = ["Via: SIP/2.0/TLS x;branch=z9hG4bKx;y=" + "y" * 7000] * 3
    alice.ask("INVITE", BOB, "Via: " + ",".join(via[5:] for via in vias))
    invite = b.request("INVITE")
    short = parse_message(invite.raw.replace(b"yyyyyyyyyy", b""))
    assert isinstance(short, Request)
    b.respond(short, 180, "Z: " + "z" * 8000, "Z: " + "z" * 8000)
    b.respond(short, 486, "Z: " + "z" * 8000, "Z: " + "z" * 8000)
    assert [one.status for one in alice.take() if isinstance(one, Response)] == [100, 500]


# Loops and spirals -------------------------------------------------------------------------------------------


def sent_back(request: Request, uri: bytes = b"") -> bytes:
    """As a server forwards it that has only its Via to add."""
    via = b"\r\nVia: SIP/2.0/TLS fe2.a.example;branch=z9hG4bK%d.000000000000\r\n" % next(numbers)
    raw = request.raw.replace(b"\r\n", via, 1)
    return raw.replace(request.uri_bytes, uri, 1) if uri else raw


def around() -> tuple[PolicyBench, MemoryFlow, MemoryFlow]:
    """A server that sends all to fe2, which sends it back."""
    bench = PolicyBench(Says(lambda request, context: to(str(request.uri), next_hop=FE2)))
    return bench, bench.server("fe3.a.example"), bench.server("fe2.a.example")


def test_a_loop_is_found_when_a_request_comes_from_the_same_side_again() -> None:
    _, fe3, fe2 = around()
    fe3.ask("MESSAGE", "sip:bob@c.example")
    fe2.says(sent_back(fe2.request()))
    fe2.says(sent_back(fe2.request()))
    assert [one.status for one in fe2.take() if isinstance(one, Response)] == [482]


def test_a_spiral_is_no_loop() -> None:
    _, fe3, fe2 = around()
    fe3.ask("MESSAGE", "sip:bob@c.example")
    fe2.says(sent_back(fe2.request()))
    fe2.says(sent_back(fe2.request(), b"sip:carol@c.example"))
    assert fe2.request().uri_bytes == b"sip:carol@c.example"


def test_a_policy_that_routes_by_peer_makes_no_loop() -> None:
    """In on one side, out on the other, and back: the same request, but not the same way."""

    def route(request: Request, context: RequestContext) -> object:
        there = "sip:fe2.a.example" if context.peer.name == "fe3.a.example" else "sip:fe3.a.example"
        return to(there)

    bench = PolicyBench(Says(route))
    fe3, fe2 = bench.server("fe3.a.example"), bench.server("fe2.a.example")
    fe3.ask("MESSAGE", "sip:bob@c.example")
    out = fe2.request()
    fe2.says(sent_back(out, b"sip:bob@c.example"))
    assert fe3.request().method == b"MESSAGE"


def test_somebody_elses_via_with_our_name_is_no_loop(scene: Scene) -> None:
    _, alice, b = scene
    for via in (
        "SIP/2.0/TLS fe1.a.example:5061;branch=z9hG4bKx.000000000000",
        "SIP/2.0/TLS !fe1.a.example:5061",
    ):
        alice.ask("MESSAGE", BOB, "Via: SIP/2.0/TLS alice;branch=z9hG4bK" + via[-9:] + "," + via)
        assert b.request()
