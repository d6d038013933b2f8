"""Where requests go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from attrs import evolve, frozen
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer
from zope.interface.verify import verifyObject

from sipmesh.decisions import (
    Binding,
    Bindings,
    BindingsLater,
    Client,
    FederatedPartner,
    Forward,
    Reach,
    Refuse,
    Reject,
    RequestContext,
    Target,
    TrustedServer,
)
from sipmesh.interfaces import ILocationStore, IRoutingPolicy
from sipmesh.sip import Request, SipUri, Uri, parse_message, parse_sip_uri
from sipmesh_plugins.routing_federated import FederatedDomains
from sipmesh_plugins.routing_registered import RegisteredUsers
from sipmesh_plugins.routing_static import StaticRoute, StaticRoutes

EDGE, INNER, C = (parse_sip_uri(f"sip:{host}.example") for host in ("edge.a", "fe1.a", "sip.c"))
SERVER = TrustedServer("fe1.a.example", "a test says so")
PARTNER = FederatedPartner("b.example", "b.example", "a test says so", "partner:b.example")
USER = RequestContext(
    Client("a test says so"), "sip:alice@a.example", frozenset({"a.example"}), None, lambda n: None
)
FROM_USER, FROM_SERVER = USER, evolve(USER, peer=SERVER, user=None)
FROM_PARTNER, FROM_STRANGER = evolve(USER, peer=PARTNER, user=None), evolve(USER, user=None)


def request(uri: str) -> Request:
    message = parse_message(f"INVITE {uri} SIP/2.0\r\nFrom: <sip:x@x.example>;tag=1\r\n\r\n".encode())
    assert isinstance(message, Request)
    return message


@pytest.mark.parametrize("policy", [RegisteredUsers(), FederatedDomains(), StaticRoutes(())])
def test_each_is_a_routing_policy(policy: IRoutingPolicy) -> None:
    assert verifyObject(IRoutingPolicy, policy)


@pytest.mark.parametrize(
    "policy", [RegisteredUsers(), FederatedDomains(), StaticRoutes((StaticRoute("*", EDGE),))]
)
def test_a_number_is_in_nobodys_domain(policy: IRoutingPolicy) -> None:
    assert policy.route(request("tel:+4930123"), FROM_USER) is None


# Registered users -------------------------------------------------------------------------------------------

DESK = Binding(
    "sip:alice@192.0.2.7:5061;transport=tls", 2e9, 0.5, "1@x", 1, ("<sip:token@fe1.a.example;lr>",)
)
MOBILE = Binding("sips:alice@mobile.example", 2e9, 1.0, "2@x", 1)


@implementer(ILocationStore)
@frozen
class Locations:
    """What ``bindings`` answers, and whether at once."""

    found: dict[str, Bindings]
    at_once: bool = True

    def bindings(self, aor: str) -> BindingsLater:
        found = self.found.get(aor, ())
        return found if self.at_once else succeed(found)

    def update(self, aor: str, change: Callable[[Bindings], Bindings]) -> Awaitable[Bindings]:
        """No policy changes what is registered."""
        raise AssertionError(aor)


def answer(routed: Any) -> object:
    """What comes out in the end of what did not answer at once."""
    return Deferred.fromCoroutine(routed).result


def registered(at_once: bool = True) -> RequestContext:
    return evolve(FROM_PARTNER, locations=Locations({"sip:alice@a.example": (DESK, MOBILE)}, at_once))


def test_a_registered_user_is_called_on_all_contacts_at_once() -> None:
    decision = RegisteredUsers().route(request("sip:%61lice@A.example.:5061;x=y"), registered())
    assert isinstance(decision, Forward)
    assert decision.targets == (
        Target(parse_sip_uri(DESK.contact), None, ("<sip:token@fe1.a.example;lr>",), 0.5),
        Target(parse_sip_uri(MOBILE.contact)),
    )
    assert "sip:alice@a.example" in decision.because


def test_a_store_that_has_to_look_may_answer_later() -> None:
    at_once = RegisteredUsers().route(request("sip:alice@a.example"), registered())
    later = RegisteredUsers().route(request("sip:alice@a.example"), registered(at_once=False))
    assert answer(later) == at_once
    assert isinstance(at_once, Forward)


def test_about_a_user_without_contacts_there_is_no_opinion() -> None:
    assert RegisteredUsers().route(request("sip:bob@a.example"), registered()) is None
    assert answer(RegisteredUsers().route(request("sip:bob@a.example"), registered(at_once=False))) is None


def test_other_domains_have_no_registered_users_here() -> None:
    context = evolve(registered(), locations=Locations({"sip:alice@b.example": (DESK,)}))
    assert RegisteredUsers().route(request("sip:alice@b.example"), context) is None


def test_a_server_that_registers_nobody_has_no_opinion() -> None:
    assert RegisteredUsers().route(request("sip:alice@a.example"), FROM_USER) is None


# Federated domains ------------------------------------------------------------------------------------------


def reach(name: str) -> Reach | Refuse | None:
    """b and c.example are partners, c with a next hop; d.example is refused; fe2.a.example is ours."""
    answers: dict[str, Reach | Refuse] = {
        "b.example": Reach("b.example", "b is a partner", "partner:b.example", None, "b.example"),
        "c.example": Reach("c.example", "c is a partner", "partner:c.example", C, "c.example"),
        "d.example": Refuse("d is blocked", "blocked"),
        "fe2.a.example": Reach("fe2.a.example", "ours", "enterprise"),
        "a.example": Reach("a.example", "a is a partner?", "partner:a.example", None, "a.example"),
    }
    return answers.get(name)


def federated(uri: str, context: RequestContext) -> Forward | Reject | None:
    return FederatedDomains().route(request(uri), evolve(context, reach=reach))


@pytest.mark.parametrize("context", [FROM_USER, FROM_SERVER])
def test_our_own_reach_partners(context: RequestContext) -> None:
    b, c = "sip:bob@B.example.;x=y", "sip:carol@c.example"
    assert federated(b, context) == Forward((Target(parse_sip_uri(b)),), "b is a partner")
    assert federated(c, context) == Forward((Target(parse_sip_uri(c), C),), "c is a partner")


def test_a_refused_domain_is_rejected() -> None:
    assert federated("sip:dan@d.example", FROM_USER) == Reject(403, "d is blocked")


@pytest.mark.parametrize("uri", ["sip:x@unknown.example", "sip:x@a.example", "sip:x@fe2.a.example"])
def test_who_is_no_partner_is_not_federated_with(uri: str) -> None:
    assert federated(uri, FROM_USER) is None


@pytest.mark.parametrize("context", [FROM_PARTNER, FROM_STRANGER])
@pytest.mark.parametrize("domain", ["b.example", "c.example", "d.example"])
def test_nobody_else_reaches_partners_through_us(context: RequestContext, domain: str) -> None:
    assert federated(f"sip:x@{domain}", context) is None


# Static routes ----------------------------------------------------------------------------------------------

ROUTES = StaticRoutes((StaticRoute("*", EDGE), StaticRoute("A.example.", INNER), StaticRoute("c.example", C)))


def static(
    uri: str, context: RequestContext, routes: StaticRoutes = ROUTES
) -> list[tuple[Uri, SipUri | None]] | None:
    decision = routes.route(request(uri), context)
    return None if decision is None else [(target.uri, target.next_hop) for target in decision.targets]


@pytest.mark.parametrize("context", [FROM_USER, FROM_SERVER])
def test_our_own_are_routed_by_domain_and_by_default(context: RequestContext) -> None:
    for uri, next_hop in (
        ("sip:x@C.example.", C),
        ("sips:x@other.example:5071;y", EDGE),
        ("sip:192.0.2.9", EDGE),
    ):
        assert static(uri, context) == [(parse_sip_uri(uri), next_hop)]


@pytest.mark.parametrize("context", [FROM_USER, FROM_SERVER, FROM_PARTNER])
def test_our_own_domain_is_routed_for_all(context: RequestContext) -> None:
    assert static("sip:alice@a.example", context) == [(parse_sip_uri("sip:alice@a.example"), INNER)]


@pytest.mark.parametrize("context", [FROM_PARTNER, FROM_STRANGER])
@pytest.mark.parametrize("uri", ["sip:x@c.example", "sip:x@other.example", "sip:192.0.2.9"])
def test_nobody_else_gets_further_than_our_domains(context: RequestContext, uri: str) -> None:
    assert static(uri, context) is None


@pytest.mark.parametrize("context", [FROM_USER, FROM_SERVER, FROM_PARTNER])
def test_the_default_route_leaves_our_own_domains_out(context: RequestContext) -> None:
    assert static("sip:nobody@a.example", context, StaticRoutes((StaticRoute("*", EDGE),))) is None


def test_a_domain_without_a_route_has_none() -> None:
    assert static("sip:x@other.example", FROM_USER, StaticRoutes((StaticRoute("c.example", C),))) is None
    assert static("sip:x@sub.c.example", FROM_USER, StaticRoutes((StaticRoute("c.example", C),))) is None


def test_two_routes_for_a_domain_are_refused() -> None:
    with pytest.raises(ValueError, match=r"two routes for the domain c\.example"):
        StaticRoutes((StaticRoute("c.example", C), StaticRoute("C.example.", EDGE)))


@pytest.mark.parametrize("domain", ["*.c.example", "", "192.0.2.1"])
def test_a_route_for_something_else_is_refused(domain: str) -> None:
    with pytest.raises(ValueError, match=r"no host name|IP address"):
        StaticRoute(domain, C)


def test_a_next_hop_needs_a_name() -> None:
    with pytest.raises(ValueError, match="IP address"):
        StaticRoute("c.example", parse_sip_uri("sip:192.0.2.1:5061"))
