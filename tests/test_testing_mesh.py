"""The kit for authors of policies, as an author uses it."""

from __future__ import annotations

import pytest
from attrs import frozen
from zope.interface import implementer

from sipmesh.decisions import Binding, Forward, Reject, RequestContext, Target
from sipmesh.interfaces import IRoutingPolicy
from sipmesh.sip import Request, SipUri, parse_sip_uri
from sipmesh.testing.locations import MemoryLocations
from sipmesh.testing.mesh import MemoryFlow, PolicyBench
from sipmesh_plugins.routing_registered import RegisteredUsers

DESK = parse_sip_uri("sip:desk@pbx.a.example")


@implementer(IRoutingPolicy)
@frozen
class FrontDesk:
    """Calls from partners to the boss ring at the front desk; nobody else may send them messages."""

    boss: str

    def route(self, request: Request, context: RequestContext) -> Forward | Reject | None:
        uri = request.uri
        if not isinstance(uri, SipUri) or uri.aor != self.boss or context.user is not None:
            return None
        if request.method == b"INVITE":
            return Forward((Target(DESK),), "calls from outside are for the front desk")
        return Reject(403, "from outside the boss can only be called")


BOSS = "sip:boss@a.example"


@pytest.fixture
def bench() -> PolicyBench:
    return PolicyBench(FrontDesk(BOSS), RegisteredUsers(), locations=MemoryLocations(lambda: 0.0))


def registered(bench: PolicyBench, user: str) -> MemoryFlow:
    client = bench.client(user)
    binding = Binding("sip:x@192.0.2.1", 60.0, 1.0, "call", 1, path=(bench.path_to(client),))
    locations = bench.locations
    assert isinstance(locations, MemoryLocations)
    locations.update(user, lambda bindings: (*bindings, binding))
    return client


def test_a_partner_calls_the_desk(bench: PolicyBench) -> None:
    partner, pbx = bench.partner("b.example"), bench.server("pbx.a.example")
    partner.ask("INVITE", BOSS)
    pbx.respond(pbx.request("INVITE"), 486)
    assert partner.response().status == 486
    assert bench.decision["because"] == "calls from outside are for the front desk"


def test_a_partner_can_not_write_to_the_boss(bench: PolicyBench) -> None:
    partner = bench.partner("b.example")
    partner.ask("MESSAGE", BOSS, body="buy!")
    assert partner.response().status == 403


def test_our_own_users_reach_the_boss(bench: PolicyBench) -> None:
    boss, alice = registered(bench, BOSS), bench.client("sip:alice@a.example")
    invite = alice.ask("INVITE", BOSS)
    ringing = boss.request("INVITE")
    boss.respond(ringing, 180)
    alice.cancel(invite)
    boss.respond(boss.request("CANCEL"), 200)
    boss.respond(ringing, 487)
    assert [alice.response().status for _ in range(3)] == [180, 200, 487]


def test_who_looks_for_what_did_not_come_is_told_what_did(bench: PolicyBench) -> None:
    alice = bench.client("sip:alice@a.example")
    with pytest.raises(AssertionError, match="nothing was decided"):
        _ = bench.decision
    alice.ask("MESSAGE", "sip:nobody@a.example")
    with pytest.raises(AssertionError, match=r"no request came, but \[<Response 404"):
        alice.request()
    assert alice.response().status == 404
    with pytest.raises(AssertionError, match="no response came"):
        alice.response()


def test_time_goes_by_only_when_told(bench: PolicyBench) -> None:
    alice = bench.client("sip:alice@a.example")
    bench.server("pbx.a.example")
    bench.partner("b.example").ask("INVITE", BOSS)
    bench.advance(31.5)
    assert len(bench.proxy.transactions) == 2
    bench.advance(1)
    assert bench.clock.seconds() == pytest.approx(32.5)
    assert alice.take() == []
    assert bench.decision["status"] == 408
