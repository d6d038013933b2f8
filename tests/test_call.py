"""A call and a message through one server and through two companies, over real TLS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Company, Node, loopback_address, running
from sip_client import SipClient

from sipmesh.sip import Response

_LOCAL = """
[[routing]]
policy = "routing.registered"
[[routing]]
policy = "routing.federated"
"""


def _federation(domain: str, ca: Path) -> str:
    return f"""
[[federation]]
policy = "federation.allow"
[[federation.partners]]
domain = "{domain}"
ca = "{ca}"
next_hop = "sip:{domain}:5061"
"""


@pytest.fixture
def two_companies(tmp_path: Path) -> Iterator[tuple[Company, Node, Company, Node]]:
    a, b = Company(tmp_path / "a", "a.example"), Company(tmp_path / "b", "b.example")
    addresses = {"a.example": loopback_address(), "b.example": loopback_address()}
    nodes = []
    for company, partner, domain, other, user in (
        (a, b, "a.example", "b.example", "alice"),
        (b, a, "b.example", "a.example", "bob"),
    ):
        policies = _federation(other, partner.ca) + _LOCAL
        nodes.append(
            Node(
                company,
                domain,
                policies,
                domains=(domain,),
                users={user: "secret", user + "2": "secret"},
                hosts=addresses,
                address=addresses[domain],
            )
        )
    with running(*nodes):
        yield a, nodes[0], b, nodes[1]


def test_call_between_two_companies(two_companies: tuple[Company, Node, Company, Node]) -> None:
    a, node_a, b, node_b = two_companies
    alice, bob = SipClient(node_a.address, a.ca, "a.example"), SipClient(node_b.address, b.ca, "b.example")
    assert alice.register("sip:alice@a.example", "secret").status == 200
    assert bob.register("sip:bob@b.example", "secret").status == 200

    alice.ask("INVITE", "sip:bob@b.example", "sip:alice@a.example", body="v=0\r\n")
    invite = bob.request("INVITE")
    assert invite.body == b"v=0\r\n"
    assert len(invite.values(b"record-route")) == 2
    assert not invite.has(b"p-asserted-identity")  # b is a partner, not one of us
    bob.respond(invite, 180)
    bob.respond(invite, 200, f"Contact: <sip:bob@{bob.here};transport=tls>")
    answer = alice.response()
    assert answer.status == 200
    alice.in_dialog("ACK", answer, answer.cseq.number)
    bob.request("ACK")
    alice.in_dialog("BYE", answer, answer.cseq.number + 1)
    bob.respond(bob.request("BYE"), 200)
    assert alice.response().status == 200


def test_message_comes_back(two_companies: tuple[Company, Node, Company, Node]) -> None:
    a, node_a, b, node_b = two_companies
    alice, bob = SipClient(node_a.address, a.ca, "a.example"), SipClient(node_b.address, b.ca, "b.example")
    alice.register("sip:alice@a.example", "secret")
    bob.register("sip:bob@b.example", "secret")
    bob.ask("MESSAGE", "sip:alice@a.example", "sip:bob@b.example", "Content-Type: text/plain", "hello")
    message = alice.request("MESSAGE")
    assert message.body == b"hello"
    alice.respond(message, 200)
    assert bob.response().status == 200


def test_wrong_password_proves_nothing(two_companies: tuple[Company, Node, Company, Node]) -> None:
    a, node_a, _, _ = two_companies
    alice = SipClient(node_a.address, a.ca, "a.example")
    assert alice.register("sip:alice@a.example", "wrong").status == 401


def test_busy_comes_back_and_is_acknowledged_hop_by_hop(
    two_companies: tuple[Company, Node, Company, Node],
) -> None:
    a, node_a, b, node_b = two_companies
    alice, bob = SipClient(node_a.address, a.ca, "a.example"), SipClient(node_b.address, b.ca, "b.example")
    alice.register("sip:alice@a.example", "secret")
    bob.register("sip:bob@b.example", "secret")
    alice.ask("INVITE", "sip:bob@b.example", "sip:alice@a.example")
    bob.respond(bob.request("INVITE"), 486)
    bob.request("ACK")
    answer = alice.response()
    assert answer.status == 486
    alice.acknowledge(answer, "sip:bob@b.example")


def test_cancel_reaches_the_callee(two_companies: tuple[Company, Node, Company, Node]) -> None:
    a, node_a, b, node_b = two_companies
    alice, bob = SipClient(node_a.address, a.ca, "a.example"), SipClient(node_b.address, b.ca, "b.example")
    alice.register("sip:alice@a.example", "secret")
    bob.register("sip:bob@b.example", "secret")
    alice.ask("INVITE", "sip:bob@b.example", "sip:alice@a.example")
    invite = bob.request("INVITE")
    bob.respond(invite, 180)
    ringing = alice.receive()
    while ringing.status == 100:
        ringing = alice.receive()
    via, from_, call_id = (ringing.first(n).decode() for n in (b"via", b"from", b"call-id"))
    alice.send(
        f"CANCEL sip:bob@b.example SIP/2.0\nVia: {via}\nFrom: {from_}\nTo: <sip:bob@b.example>\n"
        f"Call-ID: {call_id}\nCSeq: {ringing.cseq.number} CANCEL\nMax-Forwards: 70"
    )
    bob.respond(bob.request("CANCEL"), 200)
    bob.respond(invite, 487)
    bob.request("ACK")
    answers = {
        (m.cseq.method, m.status) for m in (alice.response(), alice.response()) if isinstance(m, Response)
    }
    assert answers == {(b"CANCEL", 200), (b"INVITE", 487)}
