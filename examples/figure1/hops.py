"""What the servers' traces tell of a request: the servers that it passed, who proved what to whom, who decided."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IAddress, IReactorTime, IReactorUNIX
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.protocols.basic import LineOnlyReceiver

PATIENCE = 4.0
"""Seconds that an event may take from the server's trace to us."""

Event = dict[str, Any]
_T = TypeVar("_T")


@frozen
class Neighbour:
    """Who stands at the other end of a connection, as a server sees it.

    :ivar peer: who it was judged to be.
    :ivar proven: the names that its certificate proved.
    :ivar because: which policy let it in; no part of what is compared, as it is prose.
    """

    peer: str
    proven: tuple[str, ...] = ()
    because: str = field(default="", eq=False)


@frozen
class Hop:
    """A server that a request passed.

    :ivar source: who sent it; None for an ACK, of which the trace tells only where it goes.
    :ivar policy: who decided where it goes; ``""`` where nobody was asked.
    :ivar because: why there; no part of what is compared.
    :ivar target: who it was sent to; None if nobody.
    """

    server: str
    source: Neighbour | None
    policy: str
    target: Neighbour | None
    because: str = field(default="", eq=False)


class Record:
    """All that the servers told since we look."""

    def __init__(self, reactor: IReactorUNIX) -> None:
        self.events: list[Event] = []
        self._reactor = reactor
        self._looking: list[Callable[[], None]] = []

    async def watch(self, socket: Path) -> None:
        """Look at one more server. It opens its ports first, and its trace a moment later."""
        clock = IReactorTime(self._reactor)
        give_up = clock.seconds() + PATIENCE
        while True:
            try:
                await UNIXClientEndpoint(self._reactor, str(socket)).connect(_Watching(self._add))
            except ConnectError:
                if clock.seconds() > give_up:
                    raise
                await deferLater(clock, 0.02)
            else:
                return

    def _add(self, event: Event) -> None:
        self.events.append(event)
        for look in list(self._looking):
            look()

    def settled(self, find: Callable[[], _T], wanted: Callable[[_T], bool]) -> Deferred[_T]:
        """What *find* finds in the events once it is what is wanted; or what it finds when patience is out."""
        found: Deferred[_T] = Deferred()

        def look() -> None:
            if not found.called and wanted(find()):
                found.callback(find())

        def done(result: _T) -> _T:
            self._looking.remove(look)
            return result

        self._looking.append(look)
        look()
        found.addTimeout(PATIENCE, IReactorTime(self._reactor), lambda *_: find())
        return found.addBoth(done)

    def hops(self, call_id: bytes, method: str) -> tuple[Hop, ...]:
        """The servers that a request passed, in the order in which it did."""
        events = [e for e in self.events if (e.get("call_id"), e.get("method")) == (call_id.decode(), method)]
        events.sort(key=lambda event: float(event["time"]))
        return tuple(
            self._hop(server, [event for event in events if event["server"] == server])
            for server in dict.fromkeys(event["server"] for event in events)
        )

    def _hop(self, server: str, events: list[Event]) -> Hop:
        steps = {str(event["step"]): event for event in events}
        route: Event = steps.get("route", {})
        source, target = (self._neighbour(steps.get(step)) for step in ("request", "forward"))
        return Hop(server, source, route.get("policy", ""), target, route.get("because", ""))

    def _neighbour(self, event: Event | None) -> Neighbour | None:
        if event is None:
            return None
        flow = event["server"], event["flow"]
        admissions = [e for e in self.events if (e["server"], e["flow"]) == flow and e["step"] == "admitted"]
        because = str(admissions[0]["because"]) if admissions else "(before we looked)"
        return Neighbour(str(event["peer"]), tuple(event["proven"]), because)

    def flows(self, server: str, step: str) -> list[Event]:
        """What happened to a server's connections: ``admitted``, ``refused`` or ``closed``."""
        return [e for e in self.events if (e["server"], e["step"]) == (server, step) and "method" not in e]


class _Lines(LineOnlyReceiver):
    delimiter = b"\n"
    MAX_LENGTH = 1 << 18

    def __init__(self, add: Callable[[Event], None]) -> None:
        self._add = add

    def lineReceived(self, line: bytes) -> None:
        self._add(json.loads(line))


class _Watching(Factory):
    noisy = False

    def __init__(self, add: Callable[[Event], None]) -> None:
        self._add = add

    def buildProtocol(self, addr: IAddress | None) -> _Lines:
        return _Lines(self._add)


# What a request inside a dialog has to do, given what its INVITE did -------------------------------------


def acknowledging(invite: Iterable[Hop]) -> tuple[Hop, ...]:
    """The hops of the ACK: the same servers, nobody asked."""
    return tuple(evolve(hop, source=None, policy="") for hop in invite)


def inside(invite: Iterable[Hop]) -> tuple[Hop, ...]:
    """The hops of a BYE from the caller: the same servers and connections, and no policy is asked."""
    return tuple(evolve(hop, policy="(dialog)") for hop in invite)


def back(invite: Iterable[Hop]) -> tuple[Hop, ...]:
    """The hops of a BYE from the callee: the other way."""
    return tuple(evolve(hop, source=hop.target, target=hop.source) for hop in reversed(inside(invite)))
