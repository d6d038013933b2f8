"""Kamailio beside SipMesh, over mutual TLS: as a server of the enterprise, as a partner, and as neither."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import field, frozen
from kamailio import CLIENTS, Kamailio
from processes import Company, Node, Watch, loopback_address, running
from sip_client import SipClient

_ALICE = "sip:alice@a.example"
_LISTED = """
[[server_list]]
policy = "server-list.static"
names = ["pbx.a.example"]
"""
_REGISTERED = """
[[routing]]
policy = "routing.registered"
"""
_TO_PBX = """
[[routing]]
policy = "routing.static"
[[routing.routes]]
domain = "pbx.a.example"
next_hop = "sip:pbx.a.example:5061"
"""
_TO_PARTNERS = """
[[routing]]
policy = "routing.federated"
"""


def _partner(ca: Path) -> str:
    return f"""
[[federation]]
policy = "federation.allow"
[[federation.partners]]
domain = "b.example"
ca = "{ca}"
next_hop = "sip:edge.b.example:5061"
"""


@frozen
class Pair:
    """A SipMesh server with the user alice@a.example, and a Kamailio with the user bob.

    :ivar bob: his address.
    :ivar known: what the SipMesh server's trace calls the Kamailio.
    """

    company: Company
    node: Node
    kamailio: Kamailio
    bob: str
    known: str


@contextmanager
def _pair(
    company: Company,
    policies: str,
    name: str,
    domain: str,
    credential: tuple[Path, Path],
    cas: tuple[Path, ...] = (),
    known: str = "",
    by_name: bool = False,
) -> Iterator[Pair]:
    """Run both.

    :param name: the Kamailio's.
    :param cas: what it trusts beside the enterprise CA.
    """
    kamailio = Kamailio(
        company,
        name,
        domain,
        ("a.example", address := loopback_address()),
        (company.ca, *cas),
        credential,
        by_name=by_name,
    )
    node = Node(
        company,
        "a.example",
        policies,
        domains=("a.example",),
        users={"alice": "secret"},
        hosts={name: kamailio.address},
        address=address,
    )
    with running(node, kamailio):
        yield Pair(company, node, kamailio, f"sip:bob@{domain}", known)


@frozen
class Users:
    """Alice, registered at SipMesh; bob, registered at Kamailio; and a look at what SipMesh does, from then on."""

    pair: Pair
    alice: SipClient
    bob: SipClient
    watch: Watch
    _seen: int = field(init=False)

    @_seen.default
    def _now(self) -> int:
        return len(self.pair.kamailio.saw())

    def beginning_with(self, name: str) -> tuple[SipClient, SipClient, str, str]:
        """That user, the other one, and the addresses of both."""
        if name == "alice":
            return self.alice, self.bob, _ALICE, self.pair.bob
        return self.bob, self.alice, self.pair.bob, _ALICE

    def kamailio_saw(self) -> list[tuple[str, ...]]:
        """What came to Kamailio from SipMesh since then."""
        return self.pair.kamailio.saw()[self._seen :]

    def unchallenged(self) -> bool:
        """Whether no 401 or 407 was in the traffic since then, so far as it was looked at."""
        seen = {event.get("status") for event in self.watch.events}
        assert 200 in seen
        return not seen & {401, 407} and not {"401", "407"} & {one[-1] for one in self.kamailio_saw()}


@contextmanager
def _users(pair: Pair) -> Iterator[Users]:
    alice = SipClient(pair.node.address, pair.company.ca, "a.example")
    assert alice.register(_ALICE, "secret").status == 200
    # Who has registered at Kamailio, and with which certificate it proves itself, is not what is tested here.
    ca = pair.kamailio.directory / "ca.pem"
    bob = SipClient(pair.kamailio.address, ca, port=CLIENTS)
    assert bob.register(pair.bob, "").status == 200
    watch = pair.node.watch()
    try:
        yield Users(pair, alice, bob, watch)
        assert alice.register(_ALICE, "secret", expires=0).status == 200
    finally:
        watch.close()
        alice.close()
        bob.close()


@pytest.fixture(scope="module", params=["listed", "listed by name", "partner", "partner by name"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Each standing that Kamailio may have, with an IP address or its name in its Record-Route."""
    standing, _, by_name = str(request.param).partition(" ")
    company = Company(tmp_path_factory.mktemp("a"), "a.example")
    cas: tuple[Path, ...] = ()
    if standing == "listed":
        credential = company.certificate("pbx.a.example")
        name = domain = "pbx.a.example"
        policies = _LISTED + _REGISTERED + _TO_PBX
        known = "trusted server pbx.a.example"
    else:
        other = Company(tmp_path_factory.mktemp("b"), "b.example")
        credential, cas = other.certificate("edge.b.example"), (other.ca,)
        name, domain = "edge.b.example", "b.example"
        policies = _partner(other.ca) + _REGISTERED + _TO_PARTNERS
        known = "partner b.example (edge.b.example)"
    with _pair(company, policies, name, domain, credential, cas, known, bool(by_name)) as both:
        yield both


@pytest.fixture
def users(pair: Pair) -> Iterator[Users]:
    with _users(pair) as both:
        yield both


@pytest.mark.parametrize("who_hangs_up", ["caller", "callee"])
@pytest.mark.parametrize("who_calls", ["alice", "bob"])
def test_call(users: Users, who_calls: str, who_hangs_up: str) -> None:
    caller, callee, from_, to = users.beginning_with(who_calls)
    call_id = caller.ask("INVITE", to, from_, body="v=0\r\n")
    invite = callee.request("INVITE")
    assert invite.body == b"v=0\r\n"
    hosts = [value.partition(b"@")[2] or value for value in invite.values(b"record-route")]
    assert any(b"a.example:5061" in host for host in hosts)
    callee.respond(invite, 180)
    callee.respond(invite, 200, f"Contact: <sip:callee@{callee.here};transport=tls>")
    answer = caller.response()
    assert answer.status == 200
    caller.in_dialog("ACK", answer, answer.cseq.number)
    callee.request("ACK")
    if who_hangs_up == "caller":
        caller.in_dialog("BYE", answer, answer.cseq.number + 1)
        callee.respond(callee.request("BYE"), 200)
        assert caller.response().status == 200
    else:
        callee.in_dialog_back("BYE", invite, 1)
        caller.respond(caller.request("BYE"), 200)
        assert callee.response().status == 200
    users.watch.until(lambda event: _is(event, "BYE", call_id) and event.get("status") == 200)
    assert users.unchallenged()
    steps = [(event["step"], event["peer"]) for event in users.watch.events if _is(event, "INVITE", call_id)]
    assert (("forward" if who_calls == "alice" else "request"), users.pair.known) in steps


@pytest.mark.parametrize("who_writes", ["alice", "bob"])
def test_message(users: Users, who_writes: str) -> None:
    writer, reader, from_, to = users.beginning_with(who_writes)
    call_id = writer.ask("MESSAGE", to, from_, "Content-Type: text/plain", "hello")
    message = reader.request("MESSAGE")
    assert message.body == b"hello"
    reader.respond(message, 200)
    assert writer.response().status == 200
    users.watch.until(lambda event: _is(event, "MESSAGE", call_id) and event.get("status") == 200)
    assert users.unchallenged()
    seen = ("request", "MESSAGE") if who_writes == "alice" else ("answer", "MESSAGE", "200")
    assert users.kamailio_saw() == [seen]


def test_busy(users: Users) -> None:
    users.bob.ask("INVITE", _ALICE, users.pair.bob)
    users.alice.respond(users.alice.request("INVITE"), 486)
    users.alice.request("ACK")
    answer = users.bob.response()
    assert answer.status == 486
    users.bob.acknowledge(answer, _ALICE)


@pytest.mark.parametrize("who_calls", ["alice", "bob"])
def test_cancel(users: Users, who_calls: str) -> None:
    caller, callee, from_, to = users.beginning_with(who_calls)
    caller.ask("INVITE", to, from_)
    invite = callee.request("INVITE")
    callee.respond(invite, 180)
    caller.cancel(caller.provisional(180), to)
    callee.respond(callee.request("CANCEL"), 200)
    callee.respond(invite, 487)
    callee.request("ACK")
    answers = {answer.cseq.method: answer for answer in (caller.response(), caller.response())}
    assert {method: answer.status for method, answer in answers.items()} == {b"CANCEL": 200, b"INVITE": 487}
    caller.acknowledge(answers[b"INVITE"], to)


def test_identity_is_asserted_to_ours_and_to_no_partner(users: Users) -> None:
    users.alice.ask("MESSAGE", users.pair.bob, _ALICE, "Content-Type: text/plain", "hello")
    message = users.bob.request("MESSAGE")
    users.bob.respond(message, 200)
    if users.pair.known.startswith("trusted"):
        assert message.all(b"p-asserted-identity") == [b"<sip:alice@a.example>"]
    else:
        assert not message.has(b"p-asserted-identity")
    assert users.alice.response().status == 200


def test_identity_that_a_peer_asserts_does_not_reach_a_client(users: Users) -> None:
    users.bob.ask("MESSAGE", _ALICE, users.pair.bob, f"P-Asserted-Identity: <{_ALICE}>", "hello")
    message = users.alice.request("MESSAGE")
    assert not message.has(b"p-asserted-identity")
    users.alice.respond(message, 200)
    assert users.bob.response().status == 200


def test_partner_speaks_for_itself_only_and_is_not_relayed(tmp_path: Path) -> None:
    a, b = Company(tmp_path / "a", "a.example"), Company(tmp_path / "b", "b.example")
    policies = _partner(b.ca) + _REGISTERED + _TO_PARTNERS
    credential = b.certificate("edge.b.example")
    with (
        _pair(a, policies, "edge.b.example", "b.example", credential, (b.ca,)) as pair,
        _users(pair) as users,
    ):
        users.bob.ask("MESSAGE", _ALICE, "sip:carol@a.example")
        refused = users.bob.response()
        assert (refused.status, refused.reason) == (403, b"Forbidden (not-their-domain)")
        users.bob.ask("MESSAGE", "sip:somebody@c.example", pair.bob)
        refused = users.bob.response()
        assert (refused.status, refused.reason) == (403, b"Forbidden (no-relay)")


def test_unlisted_server_is_refused_both_ways(tmp_path: Path) -> None:
    a = Company(tmp_path, "a.example")
    credential = a.certificate("new.a.example")
    to_new = _TO_PBX.replace("pbx.a.example", "new.a.example")
    policies = _LISTED + _REGISTERED + to_new
    with _pair(a, policies, "new.a.example", "new.a.example", credential) as pair, _users(pair) as users:
        assert b"not-listed" in _refused_inbound(users)
        users.alice.ask("MESSAGE", pair.bob, _ALICE)
        assert users.alice.response().status == 403
        assert "on no server list" in _last_because(users)
        assert ("request", "MESSAGE") not in users.kamailio_saw()


def test_our_name_from_a_partners_ca_is_refused_both_ways(tmp_path: Path) -> None:
    a, b = Company(tmp_path / "a", "a.example"), Company(tmp_path / "b", "b.example")
    policies = _LISTED + _partner(b.ca) + _REGISTERED + _TO_PBX
    credential = b.certificate("pbx.a.example")
    with (
        _pair(a, policies, "pbx.a.example", "pbx.a.example", credential, (b.ca,)) as pair,
        _users(pair) as users,
    ):
        assert b"wrong-anchors" in _refused_inbound(users)
        users.alice.ask("MESSAGE", pair.bob, _ALICE)
        assert users.alice.response().status == 403
        assert "does not verify within the anchors enterprise" in _last_because(users)
        assert ("request", "MESSAGE") not in users.kamailio_saw()


def test_another_name_than_the_one_meant_is_refused(tmp_path: Path) -> None:
    a = Company(tmp_path, "a.example")
    credential = a.certificate("other.a.example")
    with (
        _pair(a, _LISTED + _REGISTERED + _TO_PBX, "pbx.a.example", "pbx.a.example", credential) as pair,
        _users(pair) as users,
    ):
        users.alice.ask("MESSAGE", pair.bob, _ALICE)
        assert users.alice.response().status == 403
        assert "pbx.a.example was meant, but" in _last_because(users)
        assert ("request", "MESSAGE") not in users.kamailio_saw()


def _is(event: dict[str, object], method: str, call_id: str) -> bool:
    return event.get("method") == method and event.get("call_id") == call_id


def _refused_inbound(users: Users) -> bytes:
    """Bob calls alice through a server that is not to be trusted; the reason that he gets."""
    users.bob.ask("INVITE", _ALICE, users.pair.bob)
    answer = users.bob.response()
    users.bob.acknowledge(answer, _ALICE)
    assert answer.status == 403
    assert ("answer", "INVITE", "403") in users.kamailio_saw()
    refused = users.watch.until(lambda event: event["step"] == "refused")
    assert refused["direction"] == "inbound"
    return answer.reason


def _last_because(users: Users) -> str:
    """Why SipMesh gave its own answer to alice's request."""
    answer = users.watch.until(lambda event: event["step"] == "answer" and event.get("status") == 403)
    return str(answer["because"])
