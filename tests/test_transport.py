"""The transport without sockets: what is held back, what is sent at once, which flow is used again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock

from sipmesh.decisions import Client
from sipmesh.transport.eager import EagerWriter
from sipmesh.transport.flow import FlowLimits
from sipmesh.transport.outbox import Outbox
from sipmesh.transport.pool import FlowPool


class Sender:
    def __init__(self) -> None:
        self.flushed = 0

    def flush(self) -> None:
        self.flushed += 1


def test_outbox_tells_each_who_was_held_back_once() -> None:
    outbox, one, other = Outbox(), Sender(), Sender()
    assert outbox.open()
    assert outbox.takes(one)
    assert outbox.takes(other)
    assert (one.flushed, other.flushed) == (0, 0)
    outbox.close()
    assert (one.flushed, other.flushed) == (1, 1)


def test_outbox_holds_nothing_back_while_it_is_closed() -> None:
    outbox = Outbox()
    assert not outbox.takes(Sender())
    outbox.open()
    outbox.close()
    assert not outbox.takes(Sender())


def test_outbox_is_opened_by_one_alone() -> None:
    outbox = Outbox()
    assert outbox.open()
    assert not outbox.open()


class Tcp:
    """A TCP transport whose socket takes ``room`` bytes, and then no more."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.by_socket = b""
        self.by_reactor = b""

    def getHandle(self) -> Any:
        return SimpleNamespace(send=self._send)

    def _send(self, data: bytes) -> int:
        if not self.room:
            raise BlockingIOError
        taken = data[: self.room]
        self.room -= len(taken)
        self.by_socket += taken
        return len(taken)

    def write(self, data: bytes) -> None:
        self.by_reactor += data


def test_what_the_socket_takes_leaves_at_once() -> None:
    tcp = Tcp(100)
    writer = EagerWriter(tcp)
    writer.write(b"one")
    writer.write(b"two")
    assert (tcp.by_socket, tcp.by_reactor) == (b"onetwo", b"")


@pytest.mark.parametrize("room", range(7))
def test_what_the_socket_does_not_take_follows_in_order(room: int) -> None:
    tcp = Tcp(room)
    writer = EagerWriter(tcp)
    writer.write(b"one")
    tcp.room += 1  # there is room again, but what waits goes first
    writer.write(b"two")
    assert tcp.by_socket + tcp.by_reactor == b"onetwo"
    assert len(tcp.by_socket) <= room + 1


def make_pool() -> FlowPool:
    reactor: Any = None  # nothing here connects
    connector: Any = None
    return FlowPool(reactor, Clock(), connector, lambda presented: Client("x"), Client, FlowLimits())  # type: ignore[arg-type]


def make_flow(*names: str) -> Any:
    return SimpleNamespace(address="192.0.2.1", identities=names, alive=True, scope=names[0], id=1)


def test_a_server_that_asked_for_it_is_reached_over_the_flow_that_it_opened() -> None:
    pool, flow = make_pool(), make_flow("b.example", "sip.b.example")
    pool.alias(flow, 5061)
    assert pool.at("192.0.2.1", 5061, "b.example") is flow
    assert pool.at("192.0.2.1", 5061, "sip.b.example") is flow


def test_an_alias_is_for_proven_names_and_its_own_address_and_port_only() -> None:
    pool, flow = make_pool(), make_flow("b.example")
    pool.alias(flow, 5061)
    assert pool.at("192.0.2.1", 5061, "c.example") is None
    assert pool.at("192.0.2.2", 5061, "b.example") is None
    assert pool.at("192.0.2.1", 5062, "b.example") is None


def test_an_alias_takes_nobodys_place() -> None:
    pool, first, second = make_pool(), make_flow("b.example"), make_flow("b.example")
    pool.alias(first, 5061)
    pool.alias(second, 5061)
    assert pool.at("192.0.2.1", 5061, "b.example") is first


def test_a_flow_that_is_closing_is_not_used_again() -> None:
    pool, flow = make_pool(), make_flow("b.example")
    pool.alias(flow, 5061)
    flow.alive = False
    assert pool.at("192.0.2.1", 5061, "b.example") is None


def test_connections_of_one_address_are_bounded_over_all_listeners() -> None:
    pool = make_pool()
    flows = [pool.accept("192.0.2.7") for _ in range(pool.limits.connections_per_address)]
    assert None not in flows
    assert pool.accept("192.0.2.7") is None
    assert pool.accept("192.0.2.8") is not None
