"""Inside a dialog: Record-Route, the tokens in it, loose routing, ACK, and who may go where."""

from __future__ import annotations

import pytest
from mesh_checks import nothing_is_left
from policies import ByDomain, Says, to

from sipmesh.proxy.tokens import RouteTokens, neighbour
from sipmesh.sip import Request, Response
from sipmesh.testing.mesh import MemoryFlow, PolicyBench

BOB = "sip:bob@b.example"


class Call:
    """Alice, a client, talks to bob at a partner; the partner record-routes, we do."""

    def __init__(self) -> None:
        self.bench = PolicyBench(ByDomain())
        self.alice = self.bench.client("sip:alice@a.example")
        self.partner = self.bench.partner("b.example")
        self.invite = self.alice.ask("INVITE", BOB)
        self.forwarded = self.partner.request("INVITE")
        (self.route,) = self.forwarded.values(b"record-route")
        self.partner.respond(self.forwarded, 200)
        answer = self.alice.response()
        self.alice.take()
        self.call_id = self.invite.call_id.decode()
        self.to = f"<{BOB}>;tag={answer.to.tag}"
        self.from_ = f"<sip:alice@a.example>;tag={self.invite.from_.tag}"

    def inside(
        self, who: MemoryFlow, method: str, uri: str, *headers: str, backwards: bool = False
    ) -> Request:
        """Send a request inside the dialog, with our Record-Route as Route if no other is given."""
        here, there = (self.to, self.from_) if backwards else (self.from_, self.to)
        route = (
            () if any(line.startswith("Route:") for line in headers) else (f"Route: {self.route.decode()}",)
        )
        lines = (f"From: {here}", f"To: {there}", f"Call-ID: {self.call_id}", "CSeq: 2 " + method)
        return who.ask(method, uri, *lines, *route, *headers)


def methods(flow: MemoryFlow) -> list[bytes]:
    return [one.method for one in flow.take() if isinstance(one, Request)]


def status(flow: MemoryFlow) -> int:
    return flow.response().status


def test_a_dialog_runs_through_us_both_ways_and_nobody_is_challenged() -> None:
    call = Call()
    # Inside a dialog From need be no address of a user's, and the Request-URI may be anywhere.
    call.inside(call.alice, "BYE", "sip:bob@192.0.2.77:5099")
    bye = call.partner.request("BYE")
    assert (bye.uri_bytes, bye.has(b"route"), bye.has(b"record-route")) == (
        b"sip:bob@192.0.2.77:5099",
        False,
        False,
    )
    call.partner.respond(bye, 200)
    assert status(call.alice) == 200
    call.inside(call.partner, "INFO", "sip:alice@192.0.2.1", backwards=True)
    assert methods(call.alice) == [b"INFO"]


@pytest.mark.parametrize("method", ["INVITE", "SUBSCRIBE", "REFER", "NOTIFY", "MESSAGE", "BYE", "OPTIONS"])
def test_what_forms_a_dialog_is_record_routed(method: str) -> None:
    bench = PolicyBench(ByDomain())
    alice, partner = bench.client("sip:alice@a.example"), bench.partner("b.example")
    alice.ask(method, BOB)
    assert partner.request().has(b"record-route") == (method in ("INVITE", "SUBSCRIBE", "REFER", "NOTIFY"))


@pytest.mark.parametrize(("scheme", "expected"), [("sip", b"transport=tls;lr"), ("sips", b"<sips:")])
def test_record_route_is_as_secure_as_the_request_uri(scheme: str, expected: bytes) -> None:
    bench = PolicyBench(ByDomain())
    alice, partner = bench.client("sip:alice@a.example"), bench.partner("b.example")
    alice.ask("INVITE", f"{scheme}:bob@b.example", "Record-Route: <sip:before.a.example;lr>")
    ours, before = partner.request().values(b"record-route")
    assert expected in ours
    assert before == b"<sip:before.a.example;lr>"


def test_the_ack_for_a_2xx_goes_its_own_way_and_leaves_nothing() -> None:
    call = Call()
    call.inside(call.alice, "ACK", "sip:bob@192.0.2.77", "P-Preferred-Identity: <sip:x@a.example>")
    ack = call.partner.request("ACK")
    assert ack.max_forwards == 69
    assert not ack.has(b"p-preferred-identity")
    nothing_is_left(call.bench)


@pytest.mark.parametrize(
    "header", ["Max-Forwards: 0", "Max-Forwards: x", "Route: <nonsense", "Route: <sip:x;lr>"]
)
def test_an_ack_that_can_not_be_served_is_dropped(header: str) -> None:
    call = Call()
    call.inside(call.alice, "ACK", "sip:bob@192.0.2.77", header)
    assert methods(call.partner) == []
    assert [one for one in call.alice.take() if isinstance(one, Response)] == []
    assert call.bench.trace[-1]["step"] == "dropped"


def test_an_ack_to_a_failure_ends_here() -> None:
    bench = PolicyBench(ByDomain())
    alice, partner = bench.client("sip:alice@a.example"), bench.partner("b.example")
    invite = alice.ask("INVITE", BOB)
    partner.respond(partner.request(), 486)
    alice.acknowledge(invite, alice.response())
    assert methods(partner) == [b"ACK"]  # ours, for the failure: one, not two
    assert len(bench.proxy.transactions) == 0


def test_an_ack_whose_neighbour_is_gone_is_dropped() -> None:
    call = Call()
    call.alice.lose()
    call.inside(call.partner, "ACK", "sip:alice@192.0.2.1", backwards=True)
    assert call.bench.trace[-1]["step"] == "dropped"


def test_a_request_to_a_client_that_is_gone_gets_430() -> None:
    call = Call()
    call.alice.lose()
    call.inside(call.partner, "BYE", "sip:alice@192.0.2.1", backwards=True)
    assert status(call.partner) == 430


def test_a_server_may_have_another_flow_by_then() -> None:
    call = Call()
    call.partner.lose()
    anew = call.bench.partner("b.example")
    call.inside(call.alice, "BYE", "sip:bob@192.0.2.77")
    assert methods(anew) == [b"BYE"]


# Who may not ----------------------------------------------------------------------------------------------------


def forged(route: bytes) -> list[str]:
    text = route.decode()
    seal, _, rest = text.partition("~")
    return [
        "Route: " + text.replace("~", "A~", 1),
        "Route: " + seal[:-1] + ("A" if seal[-1] != "A" else "B") + "~" + rest,
        "Route: " + text.replace("~nb.example", "~nc.example"),
        "Route: " + text.replace("~f", "~f1"),
        "Route: <sip:fe1.a.example;lr>",
        "Route: <sip:x~y@fe1.a.example;lr>",
        "Route: <sip:~~@fe1.a.example;lr>",
    ]


@pytest.mark.parametrize("number", range(7))
def test_a_forged_token_leads_nowhere(number: int) -> None:
    call = Call()
    call.bench.partner("c.example")
    call.inside(call.alice, "BYE", "sip:bob@192.0.2.77", forged(call.route)[number])
    assert status(call.alice) == 404
    assert methods(call.partner) == []
    nothing_is_left(call.bench)


def test_a_token_of_another_call_leads_nowhere() -> None:
    call, route = Call(), b""
    other = call.alice.ask("INVITE", BOB)
    (route,) = call.partner.request().values(b"record-route")
    assert other.call_id.decode() != call.call_id
    call.alice.take()
    call.inside(call.alice, "BYE", "sip:bob@192.0.2.77", f"Route: {route.decode()}")
    assert status(call.alice) == 404


def test_a_token_leads_only_from_one_of_the_two_to_the_other() -> None:
    call = Call()
    third = [
        call.bench.client("sip:alice@a.example"),
        call.bench.partner("c.example"),
        call.bench.server("fe2.a.example"),
    ]
    for who in third:
        call.inside(who, "BYE", "sip:bob@192.0.2.77")
        assert status(who) in (403, 404)
        call.inside(who, "ACK", "sip:bob@192.0.2.77")
    assert methods(call.partner) == methods(call.alice) == []


def test_a_stranger_with_a_token_is_a_stranger() -> None:
    call = Call()
    stranger = call.bench.client()
    call.inside(stranger, "BYE", "sip:bob@192.0.2.77")
    assert status(stranger) == 403
    assert methods(call.partner) == []


def test_a_partner_can_not_be_relayed_by_route() -> None:
    bench = PolicyBench(ByDomain())
    partner, other = bench.partner("b.example"), bench.partner("c.example")
    fe2 = bench.server("fe2.a.example")
    for routes in ("<sip:c.example;lr>", "<sip:fe1.a.example;lr>, <sip:fe2.a.example;lr>"):
        partner.ask("MESSAGE", "sip:x@c.example", f"Route: {routes}")
        assert status(partner) == 403
    assert methods(other) == methods(fe2) == []


# Loose routing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ours",
    [
        "<sip:fe1.a.example;lr>",
        "<sip:FE1.a.example.:5061;lr>",
        "<sip:fe1.a.example;lr>, <sip:192.0.2.254:5061;lr>",
        "<sip:192.0.2.254;lr>",
    ],
)
def test_what_is_ours_in_a_route_goes_and_the_next_is_followed(ours: str) -> None:
    bench = PolicyBench(ByDomain())
    alice, fe2 = bench.client("sip:alice@a.example"), bench.server("fe2.a.example")
    alice.ask("MESSAGE", BOB, f"Route: {ours}", "Route: <sip:fe2.a.example;lr>, <sip:b.example;lr>")
    request = fe2.request()
    assert request.uri_bytes == BOB.encode()
    assert request.values(b"route") == [b"<sip:fe2.a.example;lr>", b"<sip:b.example;lr>"]


def test_a_route_to_where_nobody_lets_us_is_refused() -> None:
    bench = PolicyBench(ByDomain())
    alice = bench.client("sip:alice@a.example")
    alice.ask("MESSAGE", BOB, "Route: <sip:stranger.example;lr>")
    assert status(alice) == 403


def test_another_port_of_our_host_is_not_us() -> None:
    bench = PolicyBench(ByDomain())
    alice = bench.client("sip:alice@a.example")
    alice.ask("MESSAGE", BOB, "Route: <sip:fe1.a.example:5099;lr>")
    assert status(alice) == 403


def test_a_dialog_that_came_by_twice_skips_who_did_not_record_route() -> None:
    """Alice, us, fe2, us again, b.example: fe2 is in no Route set, so it is not to see the rest."""
    bench = PolicyBench(
        Says(lambda request, context: to(str(request.uri), next_hop=None) if context.user is None else FE2)
    )
    alice, fe2, partner = (
        bench.client("sip:alice@a.example"),
        bench.server("fe2.a.example"),
        bench.partner("b.example"),
    )
    alice.ask("INVITE", BOB)
    first = fe2.request()
    via = b"\r\nVia: SIP/2.0/TLS fe2.a.example;branch=z9hG4bKfe2\r\n"
    fe2.says(first.raw.replace(b"\r\n", via, 1))
    second = partner.request()
    routes = [value.decode() for value in second.values(b"record-route")]
    assert len(routes) == 2
    lines = (f"Call-ID: {second.call_id.decode()}", f"To: <{BOB}>;tag=x", "CSeq: 2 BYE")
    alice.ask("BYE", "sip:bob@192.0.2.77", *lines, f"Route: {', '.join(reversed(routes))}")
    assert (methods(fe2), methods(partner)) == ([], [b"BYE"])
    partner.ask("BYE", "sip:alice@192.0.2.1", *lines, f"Route: {', '.join(routes)}")
    assert (methods(fe2), methods(alice)) == ([], [b"BYE"])


FE2 = to("sip:bob@b.example", next_hop=to("sip:fe2.a.example").targets[0].uri)


# Tokens by themselves ---------------------------------------------------------------------------------------


def test_tokens_are_worth_something_with_their_key_only() -> None:
    bench = PolicyBench()
    flow = bench.client()
    mine, other = RouteTokens(b"k" * 32), RouteTokens(b"l" * 32)
    token = mine.for_dialog(b"call", "f1", "nb.example")
    assert mine.neighbours(token, b"call") == ("f1", "nb.example")
    assert mine.neighbours(token, b"other") is None
    assert other.neighbours(token, b"call") is None
    path = mine.for_path(flow)
    assert mine.path_flow(path) == flow.id
    assert other.path_flow(path) is None
    # Neither passes for the other.
    assert mine.path_flow(token) is None
    assert mine.neighbours(path, b"") is None


@pytest.mark.parametrize(
    "token", ["", "~", "~~", "é~f1~f2", "x~f\u0661", "x~f", "x~f1", "x~f-1", "\udcff~f1~f2"]
)
def test_nonsense_is_no_token(token: str) -> None:
    tokens = RouteTokens(b"k" * 32)
    assert tokens.neighbours(token, b"call") is None
    assert tokens.path_flow(token) is None


def test_neighbours_are_told_apart_by_kind() -> None:
    bench = PolicyBench()
    names = {neighbour(bench.client()), neighbour(bench.client()), neighbour(bench.server("f1")), "nf1"}
    assert len(names) == 3
