"""A client that comes back again and again, as a phone on a bad network does."""

from __future__ import annotations

from pathlib import Path

from processes import Company, Node, running
from sip_client import SipClient

_ROUTING = """
[[routing]]
policy = "routing.registered"

[registrar]
contacts = 3
"""


def test_lost_connections_do_not_keep_a_user_out(tmp_path: Path) -> None:
    company = Company(tmp_path, "a.example")
    node = Node(
        company, "a.example", _ROUTING, domains=("a.example",), users={"alice": "secret", "bob": "secret"}
    )
    with running(node):
        for _ in range(5):
            phone = SipClient(node.address, company.ca, "a.example")
            assert phone.register("sip:alice@a.example", "secret").status == 200
            phone.close()
        alice = SipClient(node.address, company.ca, "a.example")
        assert alice.register("sip:alice@a.example", "secret").status == 200
        bob = SipClient(node.address, company.ca, "a.example")
        bob.register("sip:bob@a.example", "secret")
        bob.ask("MESSAGE", "sip:alice@a.example", "sip:bob@a.example", body="there?")
        alice.respond(alice.request("MESSAGE"), 200)
        assert bob.response().status == 200


def test_connections_that_are_up_do_count(tmp_path: Path) -> None:
    company = Company(tmp_path, "a.example")
    node = Node(company, "a.example", _ROUTING, domains=("a.example",), users={"alice": "secret"})
    with running(node):
        phones = [SipClient(node.address, company.ca, "a.example") for _ in range(4)]
        statuses = [phone.register("sip:alice@a.example", "secret").status for phone in phones]
    assert statuses == [200, 200, 200, 403]
