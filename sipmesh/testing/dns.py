"""A small DNS server for demonstrations and tests: a few names, written down, on one address of the loopback.

::

    server = zone_server(reactor, {
        "b.example": ["A 127.0.0.2", "AAAA ::1"],
        "_sips._tcp.b.example": ["60 SRV 10 5 5061 sip.b.example", "SRV 20 0 5061 sip2.b.example"],
        "sip.b.example": ["CNAME host.b.example"],
        "host.b.example": ["0 A 127.0.0.2"],
        "_sips._tcp.closed.example": ["SRV 0 0 0 ."],
        "broken.example": ["SERVFAIL"],
        "silent.example": ["SILENCE"],
    })
    dns = make_dns(reactor, servers=[(server.address, server.port)])
    ...
    await server.stop()

A name that is not there is NXDOMAIN; one that has no record of the type asked, an empty answer. A CNAME is followed
as far as the names lead, as a recursive server would. An answer over UDP that is longer than 512 bytes is
truncated and has to be asked for over TCP.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorTCP, IReactorUDP
from twisted.names import dns
from twisted.names.server import DNSServerFactory

DEFAULT_TTL = 300
"""Seconds, for a record that says nothing else."""

SERVFAIL = "SERVFAIL"
"""Stands in place of a name's records: every question for it fails."""
SILENCE = "SILENCE"
"""Stands in place of a name's records: no question for it is answered."""

_LONGEST_DATAGRAM = 512  # RFC 1035 §4.2.1
_PORT_TRIES = 20
_MOST_ALIASES = 16

# Text after the type -> the record. twisted.names gives its records no types.
_RECORDS: dict[str, Callable[[list[str], int], Any]] = {
    "A": lambda data, ttl: dns.Record_A(data[0], ttl),
    "AAAA": lambda data, ttl: dns.Record_AAAA(data[0], ttl),
    "CNAME": lambda data, ttl: dns.Record_CNAME(_wire(data[0]), ttl),
    "SRV": lambda data, ttl: dns.Record_SRV(*(int(n) for n in data[:3]), _wire(data[3]), ttl),
}
_WORDS = {"A": 1, "AAAA": 1, "CNAME": 1, "SRV": 4}


@frozen
class ZoneServer:
    """A DNS server that runs.

    :ivar address: IP address that it listens on, UDP and TCP.
    :ivar port: its port.
    """

    address: str
    port: int
    _ports: tuple[IListeningPort, ...]
    _factory: _ZoneFactory

    async def stop(self) -> None:
        """Stop listening and end all connections."""
        for port in self._ports:
            await maybeDeferred(port.stopListening)
        self._factory.hang_up()


def zone_server(
    reactor: IReactorUDP,
    records: Mapping[str, Sequence[str]],
    address: str = "127.0.0.1",
    port: int = 0,
) -> ZoneServer:
    """Start a DNS server.

    :param reactor: provides ``IReactorUDP`` and ``IReactorTCP``.
    :param records: for each name, ``[TTL] TYPE DATA``: the TTL in seconds, the type one of A, AAAA, CNAME and SRV,
        the data as in a zone file; names are absolute, with or without the trailing dot. Or a single
        :data:`SERVFAIL` or :data:`SILENCE`.
    :param address: IP address to listen on.
    :param port: UDP and TCP port; 0 for any that is free for both.
    :raises ValueError: if a record can't be read, or *address* is no IP address.
    :raises CannotListenError: if the port is taken.
    """
    factory = _ZoneFactory({_key(name): _Name.read(name, lines) for name, lines in records.items()})
    for attempt in range(_PORT_TRIES):
        stream = IReactorTCP(reactor).listenTCP(port, factory, 50, address)
        chosen: int = stream.getHost().port
        try:
            datagrams = reactor.listenUDP(chosen, _datagrams(factory, reactor), address, 8192)
        except CannotListenError:
            stream.stopListening()
            if port or attempt == _PORT_TRIES - 1:
                raise
        else:
            return ZoneServer(address, chosen, (stream, datagrams), factory)
    raise AssertionError("the last attempt returns or raises")


@frozen
class _Name:
    """What is known of one name; *special* is ``""`` where there are records."""

    special: str
    records: tuple[dns.RRHeader, ...]

    @classmethod
    def read(cls, name: str, lines: Sequence[str]) -> _Name:
        if len(lines) == 1 and lines[0] in (SERVFAIL, SILENCE):
            return cls(lines[0], ())
        return cls("", tuple(_record(name, line) for line in lines))


_NOBODY = _Name("", ())


class _ZoneFactory(DNSServerFactory):
    """Answers queries from a dictionary; reading, writing and connections are twisted.names' part."""

    noisy = False

    def __init__(self, names: Mapping[bytes, _Name]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # twisted.names gives it no types
        self._names = names

    def handleQuery(self, message: dns.Message, protocol: Any, address: Any) -> None:
        if message.answer:
            return  # somebody else's answer, with a forged address: to reply would make two servers talk for ever
        query = message.queries[0]
        answers, last = self._look_up(query.name.name, query.type)
        if last.special == SILENCE:
            return
        reply = dns.Message(message.id, answer=1, auth=1, recDes=message.recDes, maxSize=0)
        reply.queries = message.queries
        reply.answers = answers
        if last.special == SERVFAIL:
            reply.rCode = dns.ESERVER
        elif last is _NOBODY:
            reply.rCode = dns.ENAME
        if address is not None and len(reply.toStr()) > _LONGEST_DATAGRAM:
            reply.answers, reply.trunc = [], 1
        self.sendReply(protocol, reply, address)

    def _look_up(self, name: bytes, kind: int) -> tuple[list[dns.RRHeader], _Name]:
        answers: list[dns.RRHeader] = []
        for _ in range(_MOST_ALIASES):
            known = self._names.get(name.lower(), _NOBODY)
            found = [r for r in known.records if r.type == kind]
            aliases = [r for r in known.records if r.type == dns.CNAME]
            if found or not aliases:
                # The name of a foreign zone that a CNAME leads to is not ours to deny.
                break
            answers += aliases[:1]
            payload: Any = aliases[0].payload
            name = payload.name.name
        return answers + found, known

    def hang_up(self) -> None:
        for connection in tuple(self.connections):
            connection.transport.abortConnection()


def _datagrams(factory: _ZoneFactory, reactor: IReactorUDP) -> Any:
    make: Callable[..., Any] = dns.DNSDatagramProtocol
    return make(factory, reactor)


def _wire(name: str) -> bytes:
    return name.removesuffix(".").encode("ascii")


def _key(name: str) -> bytes:
    return _wire(name).lower()


def _record(name: str, line: str) -> dns.RRHeader:
    words = line.split()
    ttl = int(words.pop(0)) if words and words[0].isdigit() else DEFAULT_TTL
    kind, data = (words[0], words[1:]) if words else ("", [])
    if _WORDS.get(kind) != len(data):
        raise ValueError(f"{name}: {line!r} is not '[TTL] TYPE DATA' with a type of {', '.join(_WORDS)}")
    try:
        payload = _RECORDS[kind](data, ttl)
    except (OSError, ValueError) as reason:
        raise ValueError(f"{name}: {line!r}: {reason}") from reason
    return dns.RRHeader(_wire(name), payload.TYPE, dns.IN, ttl, payload, auth=True)
