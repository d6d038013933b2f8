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

A name that is not there is NXDOMAIN; one that has no record of the type asked, an empty answer. A CNAME is
followed as far as the names lead. An answer over UDP that is longer than 512 bytes is truncated and has to be
asked for over TCP.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorTCP, IReactorTime, IReactorUDP
from twisted.internet.task import deferLater
from twisted.names import dns
from twisted.names.server import DNSServerFactory

DEFAULT_TTL = 300
"""Seconds, for a record that says nothing else."""

SERVFAIL = "SERVFAIL"
"""Stands in place of a name's records: every question for it fails."""
SILENCE = "SILENCE"
"""Stands in place of a name's records: no question for it is answered."""

_LONGEST_DATAGRAM = 512  # RFC 1035 §4.2.1
_LONGEST_QUERY = 8192
_PORT_TRIES = 20
_MOST_ALIASES = 16


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
    _reactor: IReactorUDP

    async def stop(self) -> None:
        """Stop listening and end all connections; return when nothing is left of them."""
        for port in self._ports:
            await maybeDeferred(port.stopListening)
        for connection in tuple(self._factory.connections):
            connection.transport.abortConnection()
        await deferLater(IReactorTime(self._reactor), 0)  # an aborted connection is lost in the next turn


def zone_server(
    reactor: IReactorUDP,
    records: Mapping[str, Sequence[str]],
    address: str = "127.0.0.1",
    port: int = 0,
) -> ZoneServer:
    """Start a DNS server.

    :param reactor: provides ``IReactorUDP`` and ``IReactorTCP``.
    :param records: for each name, ``[TTL] TYPE DATA``: the TTL in seconds, the type one of A, AAAA, CNAME and
        SRV, the data as in a zone file; names are absolute, with or without the trailing dot. Or a single
        :data:`SERVFAIL` or :data:`SILENCE`.
    :param address: IP address to listen on.
    :param port: UDP and TCP port; 0 for any that is free for both.
    :raises ValueError: if a record can't be read, or *address* is no IP address.
    :raises CannotListenError: if the port is taken.
    """
    factory = _ZoneFactory({_key(name): _Name.read(name, lines) for name, lines in records.items()})
    for attempt in range(_PORT_TRIES):
        stream = IReactorTCP(reactor).listenTCP(port, factory, 50, address)
        here: Any = stream.getHost()
        try:
            datagrams = reactor.listenUDP(here.port, _Datagrams(factory, reactor), address, _LONGEST_QUERY)
        except CannotListenError:
            stream.stopListening()
            if port or attempt == _PORT_TRIES - 1:
                raise
        else:
            return ZoneServer(address, here.port, (stream, datagrams), factory, reactor)
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
            return  # an answer with a forged address: to reply would make two servers talk for ever
        query = message.queries[0]
        answers, last = self._look_up(query.name.name, query.type)
        if last.special == SILENCE:
            return
        reply = dns.Message(message.id, answer=1, auth=True, recDes=message.recDes, maxSize=0)
        reply.queries = message.queries
        reply.answers = answers
        if last.special == SERVFAIL:
            reply.rCode = dns.ESERVER
        elif last is _NOBODY and not answers:  # where a CNAME led is another's to deny
            reply.rCode = dns.ENAME
        if address is None:
            protocol.writeMessage(reply)
        else:
            if len(reply.toStr()) > _LONGEST_DATAGRAM:
                reply.answers, reply.trunc = [], 1
            protocol.writeMessage(reply, address)

    def _look_up(self, name: bytes, kind: int) -> tuple[list[dns.RRHeader], _Name]:
        answers: list[dns.RRHeader] = []
        for _ in range(_MOST_ALIASES):
            known = self._names.get(name.lower(), _NOBODY)
            found = [r for r in known.records if r.type == kind]
            aliases = [r for r in known.records if r.type == dns.CNAME]
            if found or not aliases:
                break
            answers += aliases[:1]
            payload: Any = aliases[0].payload
            name = payload.name.name
        return answers + found, known


_Datagrams: Callable[..., Any] = dns.DNSDatagramProtocol


def _wire(name: str) -> bytes:
    return name.removesuffix(".").encode("ascii")


def _key(name: str) -> bytes:
    return _wire(name).lower()


def _number(text: str) -> int:
    number = int(text)
    if not 0 <= number < 2**16:
        raise ValueError(f"{number} is not between 0 and 65535")
    return number


# For each type: what makes the record (twisted.names has no types), and what reads each word of its data.
_TYPES: dict[str, tuple[Callable[..., Any], tuple[Callable[[str], Any], ...]]] = {
    "A": (dns.Record_A, (str,)),
    "AAAA": (dns.Record_AAAA, (str,)),
    "CNAME": (dns.Record_CNAME, (_wire,)),
    "SRV": (dns.Record_SRV, (_number, _number, _number, _wire)),
}


def _record(name: str, line: str) -> dns.RRHeader:
    words = line.split()
    ttl = int(words.pop(0)) if words and words[0].isdigit() else DEFAULT_TTL
    kind = words.pop(0) if words else ""
    if kind not in _TYPES:
        raise ValueError(f"{name}: {line!r} is not '[TTL] TYPE DATA' with a type of {', '.join(_TYPES)}")
    make, readers = _TYPES[kind]
    try:
        payload = make(*(read(word) for read, word in zip(readers, words, strict=True)), ttl=ttl)
    except (OSError, ValueError) as reason:
        raise ValueError(f"{name}: {line!r}: {reason}") from reason
    return dns.RRHeader(_wire(name), payload.TYPE, dns.IN, ttl, payload, auth=True)
