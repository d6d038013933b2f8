"""A policy that forwards to a user of ours means that user's contacts (RFC 3261 §16.5)."""

from __future__ import annotations

from attrs import frozen
from policies import ByDomain
from zope.interface import implementer

from sipmesh.decisions import Binding, Forward, RequestContext, Target
from sipmesh.interfaces import IRoutingPolicy
from sipmesh.sip import Request, SipUri, parse_sip_uri
from sipmesh.testing.locations import MemoryLocations
from sipmesh.testing.mesh import MemoryFlow, PolicyBench
from sipmesh_plugins.routing_registered import RegisteredUsers


@implementer(IRoutingPolicy)
@frozen
class Forwardings:
    """Users who are to be looked for elsewhere."""

    targets: dict[str, tuple[str, ...]]

    def route(self, request: Request, context: RequestContext) -> Forward | None:
        uri = request.uri
        targets = self.targets.get(uri.aor, ()) if isinstance(uri, SipUri) else ()
        return Forward(tuple(Target(parse_sip_uri(one)) for one in targets), "forwarded") if targets else None


def make_bench(**targets: tuple[str, ...]) -> PolicyBench:
    forwardings = Forwardings({f"sip:{user}@a.example": given for user, given in targets.items()})
    locations = MemoryLocations(lambda: 0.0)
    return PolicyBench(forwardings, RegisteredUsers(), ByDomain(), locations=locations)


def registered(bench: PolicyBench, user: str) -> MemoryFlow:
    client = bench.client(user)
    binding = Binding("sip:x@192.0.2.1", 60.0, 1.0, "call", 1, path=(bench.path_to(client),))
    assert isinstance(bench.locations, MemoryLocations)
    bench.locations.update(user, lambda bindings: (*bindings, binding))
    return client


def test_the_contacts_of_who_was_named_are_asked() -> None:
    bench = make_bench(boss=("sip:desk@a.example",))
    desk, alice = registered(bench, "sip:desk@a.example"), bench.client("sip:alice@a.example")
    alice.ask("MESSAGE", "sip:boss@a.example")
    message = desk.request("MESSAGE")
    assert message.uri_bytes == b"sip:x@192.0.2.1"
    desk.respond(message, 200)
    assert alice.response().status == 200


def test_one_of_ours_and_one_of_theirs() -> None:
    bench = make_bench(boss=("sip:desk@a.example", "sip:boss@b.example"))
    desk, alice = registered(bench, "sip:desk@a.example"), bench.client("sip:alice@a.example")
    theirs = bench.partner("b.example")
    alice.ask("INVITE", "sip:boss@a.example")
    assert desk.request("INVITE").uri_bytes == b"sip:x@192.0.2.1"
    assert theirs.request("INVITE").uri_bytes == b"sip:boss@b.example"


def test_forwarded_again_and_again_is_a_loop() -> None:
    bench = make_bench(one=("sip:two@a.example",), two=("sip:one@a.example",))
    alice = bench.client("sip:alice@a.example")
    alice.ask("MESSAGE", "sip:one@a.example")
    assert alice.response().status == 482


def test_who_is_not_there_is_not_found() -> None:
    bench = make_bench(boss=("sip:desk@a.example",))
    alice = bench.client("sip:alice@a.example")
    alice.ask("MESSAGE", "sip:boss@a.example")
    assert alice.response().status == 404
