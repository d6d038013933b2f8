"""Calls and messages at load, from SIPp, over mutual TLS: nothing fails, and nothing stays behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from attrs import frozen
from processes import Company, Node, loopback_address, running, wait_for
from sip_client import SipClient
from sipp import Answering, Calling, Outcome

_COUNTING = Path(__file__).with_name("counting.py")
_COUNTED = """
[[routing]]
policy = "counting:Counting"
accepted = 1.0
"""
_TO_ANSWERING = """
[[routing]]
policy = "routing.static"
[[routing.routes]]
domain = "b.example"
next_hop = "sip:answering.b.example:5061"
"""
_TO_PARTNERS = """
[[routing]]
policy = "routing.federated"
"""


def _listed(*names: str) -> str:
    return f"""
[[server_list]]
policy = "server-list.static"
names = {list(names)}
"""


def _partner(domain: str, ca: Path) -> str:
    return f"""
[[federation]]
policy = "federation.allow"
[[federation.partners]]
domain = "{domain}"
ca = "{ca}"
next_hop = "sip:{domain}:5061"
"""


@frozen
class Holds:
    """What a server has in memory."""

    transactions: int
    objects: int


@frozen
class Load:
    """SIPp as alice@a.example, one server or more, and SIPp as bob@b.example.

    :ivar servers: each with a way to ask it for what it holds.
    """

    calling: Calling
    servers: tuple[Callable[[], Holds], ...]

    def drive(self, kind: str, calls: int, rate: int) -> Outcome:
        """See :meth:`.Calling.drive`."""
        return self.calling.drive(kind, "sip:alice@a.example", "sip:bob@b.example", calls, rate)

    def at_rest(self) -> list[Holds]:
        """What the servers hold when all transactions have ended."""
        wait_for(lambda: not any(ask().transactions for ask in self.servers), "transactions stay behind")
        return [ask() for ask in self.servers]


def _asked(node: Node, company: Company, domain: str, name: str) -> Callable[[], Holds]:
    client = SipClient(node.address, company.ca, node.name, company.certificate(name))

    def ask() -> Holds:
        client.ask("MESSAGE", f"sip:counts@{domain}", "sip:test@a.example")
        answer = client.response()
        assert answer.status == 480
        return Holds(*map(int, answer.reason.split()))

    return ask


def _node(
    company: Company, name: str, domain: str, policies: str, hosts: dict[str, str], address: str
) -> Node:
    node = Node(
        company, name, _COUNTED + policies, domains=(domain,), hosts=hosts, address=address, peers="servers"
    )
    shutil.copy(_COUNTING, node.directory)
    return node


@contextmanager
def _one_server(directory: Path, kind: str) -> Iterator[Load]:
    company = Company(directory, "b.example")
    answering = Answering(company, "answering.b.example", kind)
    policies = _listed("answering.b.example", "calling.b.example", "test.b.example") + _TO_ANSWERING
    hosts = {"answering.b.example": answering.address}
    node = _node(company, "fe1.b.example", "b.example", policies, hosts, loopback_address())
    calling = Calling(company, "calling.b.example", node.address, node.name)
    with running(node, answering, calling):
        yield Load(calling, (_asked(node, company, "b.example", "test.b.example"),))


@contextmanager
def _two_companies(directory: Path, kind: str) -> Iterator[Load]:
    a, b = Company(directory / "a", "a.example"), Company(directory / "b", "b.example")
    answering = Answering(b, "answering.b.example", kind)
    hosts = {"answering.b.example": answering.address, "b.example": loopback_address()}
    policies = _listed("calling.a.example", "test.a.example") + _partner("b.example", b.ca) + _TO_PARTNERS
    node_a = _node(a, "a.example", "a.example", policies, hosts, loopback_address())
    policies = _listed("answering.b.example", "test.b.example") + _partner("a.example", a.ca) + _TO_ANSWERING
    node_b = _node(b, "b.example", "b.example", policies, hosts, hosts["b.example"])
    calling = Calling(a, "calling.a.example", node_a.address, node_a.name)
    with running(node_a, node_b, answering, calling):
        asked_a = _asked(node_a, a, "a.example", "test.a.example")
        asked_b = _asked(node_b, b, "b.example", "test.b.example")
        yield Load(calling, (asked_a, asked_b))


@pytest.mark.parametrize("servers", [_one_server, _two_companies])
@pytest.mark.parametrize(("kind", "number", "rate"), [("call", 500, 100), ("message", 1000, 200)])
def test_load(
    tmp_path: Path,
    servers: Callable[[Path, str], AbstractContextManager[Load]],
    kind: str,
    number: int,
    rate: int,
) -> None:
    with servers(tmp_path, kind) as load:
        assert load.drive(kind, number // 10, rate) == Outcome(number // 10, 0)
        before = load.at_rest()
        assert load.drive(kind, number, rate) == Outcome(number, 0)
        # One object a call that stayed behind would be twice this.
        for one, earlier in zip(load.at_rest(), before, strict=True):
            assert one.objects - earlier.objects < number / 2
