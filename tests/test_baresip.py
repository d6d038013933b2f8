"""Debian's baresip registers, calls and hangs up; and does neither with a wrong CA or password.

The server challenges with MD5 alone: libre 1.1.0 gives up on a response that has a SHA-256 challenge in it, even
where an MD5 one stands beside it ("Function not implemented").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from baresip import Baresip
from processes import Company, Node, name_server, running

_ROUTING = """
[[routing]]
policy = "routing.registered"
"""

Phone = Callable[..., Baresip]


@pytest.fixture
def company(tmp_path: Path) -> Company:
    return Company(tmp_path / "a", "a.example")


@pytest.fixture
def server(company: Company) -> Iterator[Node]:
    users = {"alice": "secret", "bob": "secret"}
    node = Node(company, "a.example", _ROUTING, domains=("a.example",), users=users, algorithms="MD5")
    with running(node):
        yield node


@pytest.fixture
def phone(tmp_path: Path, company: Company, server: Node) -> Iterator[Phone]:
    """Makes phones that find the server by DNS, as RFC 3263 has it."""
    records = {
        "_sips._tcp.a.example": ["SRV 0 0 5061 a.example"],
        "a.example": [f"A {server.address}"],
    }
    with name_server(records) as names, ExitStack() as stack:

        def make(user: str, password: str = "secret", ca: Path = company.ca) -> Baresip:
            account = (
                f"<sip:{user}@a.example;transport=tls>;auth_user={user};auth_pass={password};answermode=auto"
            )
            made = Baresip(tmp_path / user, account, ca, names)
            stack.callback(made.close)
            return made

        yield make


def _call(caller: Baresip, callee: Baresip, uri: str) -> None:
    caller.command("dial", uri)
    caller.until("CALL_ESTABLISHED")
    callee.until("CALL_ESTABLISHED")  # so the ACK came
    for one in (caller, callee):
        one.until("CALL_RTPESTAB")  # and they hear each other
    caller.command("hangup")
    callee.until("CALL_CLOSED")  # so the BYE came


def test_baresip_registers_and_calls_both_ways(phone: Phone) -> None:
    alice, bob = phone("alice"), phone("bob")
    for one in (alice, bob):
        one.wait_for_log("200 OK")
    _call(alice, bob, "sip:bob@a.example")
    _call(bob, alice, "sip:alice@a.example")


def test_baresip_refuses_a_server_of_another_ca(tmp_path: Path, phone: Phone, server: Node) -> None:
    other = Company(tmp_path / "other", "other.example")
    alice = phone("alice", ca=other.ca)
    alice.wait_for_log("Register: Protocol error")
    server.wait_for_log("alert unknown ca")


def test_baresip_is_refused_with_a_wrong_password(phone: Phone) -> None:
    phone("alice", password="wrong").wait_for_log("reg: sip:alice@a.example: 401 Unauthorized")
