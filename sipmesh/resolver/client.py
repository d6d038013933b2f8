"""A DNS client in the manner of :class:`twisted.names.client.Resolver`, for a server that runs for months.

It is made of the same parts, and differs where that one does not suit:

* it can be closed, with nothing left behind;
* whatever goes wrong with one server (nothing can be sent, SERVFAIL, the connection is lost), the next is
  asked, where ``client.Resolver`` goes on only after a timeout;
* no name is lost for good, where there a failure to open a port leaves all later queries for it waiting;
* an answer to another question is not taken for one to ours (RFC 5452 §9.1);
* a truncated answer is fetched from the server that gave it, over a connection of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet import defer, endpoints
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReactorTCP, IReactorUDP, ITCPTransport
from twisted.names import common, dns, error
from twisted.names.hosts import searchFileForAll
from twisted.python.filepath import FilePath

from .nameservers import ResolvConf, Server, server

HOSTS_TTL = 5
"""Seconds for which an address from the hosts file is kept: an edit is seen soon."""

_LONGEST_DATAGRAM = 8192  # longer than any server sends without EDNS

Result = tuple[Sequence[dns.RRHeader], Sequence[dns.RRHeader], Sequence[dns.RRHeader]]

# twisted.names gives these no types.
_Query: Callable[[bytes, int, int], dns.Query] = dns.Query
_Datagrams: Callable[..., dns.DNSDatagramProtocol] = dns.DNSDatagramProtocol
_Stream: Callable[..., dns.DNSProtocol] = dns.DNSProtocol
_connect: Callable[..., Deferred[dns.DNSProtocol]] = endpoints.connectProtocol
_addresses_in: Callable[[FilePath[str], bytes], list[str]] = searchFileForAll
_RECORDS: dict[int, Callable[[str, int], Any]] = {dns.A: dns.Record_A, dns.AAAA: dns.Record_AAAA}

_ERRORS = {
    dns.EFORMAT: error.DNSFormatError,
    dns.ESERVER: error.DNSServerError,
    dns.ENOTIMP: error.DNSNotImplementedError,
    dns.EREFUSED: error.DNSQueryRefusedError,
}


class _Unusable(Exception):
    """What a server sent back is no answer to the question."""


class DnsClient(common.ResolverBase):
    """Asks DNS servers, and a hosts file before them. Provides ``IResolver``; reactor thread only.

    Queries fail with what :mod:`twisted.names.error` names, ``defer.TimeoutError``, or what kept them from
    being sent. They are not cached, nor are equal ones shared: :class:`~sipmesh.resolver.Locator` does that.

    :param servers: called for each query, gives the servers to ask, in their order.
    :param hosts: a hosts(5) file, read for each query; None for none.
    :param timeout: seconds for which each server is waited for: in the first round, in the second, and so on.
    """

    def __init__(
        self,
        reactor: IReactorUDP,
        servers: Callable[[], Sequence[Server]],
        hosts: Path | None,
        timeout: Sequence[float],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # twisted.names gives it no types
        self._reactor = reactor
        self._servers = servers
        self._hosts = None if hosts is None else FilePath(str(hosts))
        self._timeout = tuple(timeout)
        self._running: set[Deferred[Result]] = set()
        self._closed = False
        self._closing: list[Deferred[None]] = []

    async def close(self) -> None:
        """End all queries, which fail with ``CancelledError``; return when their ports are closed."""
        self._closed = True
        for query in tuple(self._running):
            query.cancel()
        if self._running:
            idle: Deferred[None] = Deferred()
            self._closing.append(idle)
            await idle

    def _lookup(self, name: bytes, cls: int, type: int, timeout: Sequence[float] | None) -> Deferred[Result]:
        if self._closed:
            return defer.fail(error.ResolverError("the resolver is closed"))
        known = self._in_hosts(name, type)
        if known is not None:
            return defer.succeed((known, (), ()))
        asking = Deferred.fromCoroutine(self._ask_servers(_Query(name, type, cls), timeout or self._timeout))
        result: Deferred[Result] = Deferred(lambda _: asking.cancel())
        self._running.add(asking)
        asking.chainDeferred(result)  # before _ended: whoever asked has been told when close() returns
        asking.addBoth(self._ended, asking)
        return result

    def _ended(self, _: object, asking: Deferred[Result]) -> None:
        self._running.remove(asking)
        while self._closing and not self._running:
            self._closing.pop().callback(None)

    def _in_hosts(self, name: bytes, type: int) -> list[dns.RRHeader] | None:
        """What the file has of that type; None if it does not have the name, and DNS is to be asked."""
        if self._hosts is None or type not in _RECORDS:
            return None
        addresses = _addresses_in(self._hosts, name)
        if not addresses:
            return None
        return [
            dns.RRHeader(name, type, dns.IN, HOSTS_TTL, _RECORDS[type](address, HOSTS_TTL))
            for address in addresses
            if (":" in address) == (type == dns.AAAA)
        ]

    async def _ask_servers(self, query: dns.Query, timeout: Sequence[float]) -> Result:
        left = list(self._servers())
        failed: Exception = error.ResolverError("there is no DNS server to ask")
        for seconds in timeout:
            for address in tuple(left):
                try:
                    message = await self._ask_one(address, query, seconds)
                except defer.CancelledError:
                    raise
                except error.DNSQueryTimeoutError:
                    failed = defer.TimeoutError(f"no answer from {address[0]}")
                except Exception as reason:  # whatever it is: it is this server's, and there is the next
                    left.remove(address)
                    failed = reason
                else:
                    if message.rCode == dns.ENAME:
                        raise error.DNSNameError(message)
                    return message.answers, message.authority, message.additional
        raise failed

    async def _ask_one(self, address: Server, query: dns.Query, seconds: float) -> dns.Message:
        message = await self._over_udp(address, query, seconds)
        if message.trunc:
            message = await self._over_tcp(address, query, seconds)
        if not message.answer or message.queries != [query]:
            raise _Unusable(f"{address[0]} answered another question")
        if message.rCode not in (dns.OK, dns.ENAME):
            raise _ERRORS.get(message.rCode, error.DNSUnknownError)(message)
        return message

    async def _over_udp(self, address: Server, query: dns.Query, seconds: float) -> dns.Message:
        # A new port for each query: its number is half of what a forger has to guess (RFC 5452 §9.2).
        protocol = _Datagrams(_Ended(), self._reactor)
        port = self._reactor.listenUDP(0, protocol, "::" if ":" in address[0] else "", _LONGEST_DATAGRAM)
        try:
            return await protocol.query(address, [query], seconds)
        finally:
            _forget(protocol)
            await defer.maybeDeferred(port.stopListening)

    async def _over_tcp(self, address: Server, query: dns.Query, seconds: float) -> dns.Message:
        host, port = address
        make = endpoints.TCP6ClientEndpoint if ":" in host else endpoints.TCP4ClientEndpoint
        ended = _Ended()
        protocol = await _connect(
            make(IReactorTCP(self._reactor), host, port, timeout=seconds), _Stream(ended, self._reactor)
        )
        try:
            return await protocol.query([query], seconds)
        finally:
            _forget(protocol)
            ITCPTransport(protocol.transport).abortConnection()
            await ended.lost


class _Ended:
    """What the protocols of twisted.names report to.

    :ivar lost: fires when the connection is gone.
    """

    def __init__(self) -> None:
        self.lost: Deferred[None] = Deferred()

    def messageReceived(self, message: dns.Message, protocol: object, address: object = None) -> None:
        """A late, repeated or forged answer: of no use."""

    def connectionMade(self, protocol: dns.DNSProtocol) -> None:
        """Nothing to do: whoever connected asks."""

    def connectionLost(self, protocol: dns.DNSProtocol) -> None:
        """What was asked over it is not answered any more."""
        for answer in _forget(protocol):
            answer.errback(ConnectionLost())
        self.lost.callback(None)


def _forget(protocol: dns.DNSMixin) -> list[Deferred[dns.Message]]:
    """Give up what it has asked, with its timers.

    :return: what nobody will fire any more.
    """
    asked = list(protocol.liveMessages.values())
    protocol.liveMessages.clear()
    for _, timer in asked:
        timer.cancel()
    return [answer for answer, _ in asked]


def make_dns(
    reactor: IReactorUDP,
    servers: Sequence[tuple[str, int]] = (),
    hosts: Path | None = None,
    timeout: Sequence[float] = (1, 2, 4),
) -> DnsClient:
    """The resolver that a configuration describes.

    :param reactor: provides ``IReactorUDP``, ``IReactorTCP`` and ``IReactorTime``.
    :param servers: IP address and port of the DNS servers to ask, in this order; none means those that the
        system uses, and those that it uses later, when ``/etc/resolv.conf`` has changed.
    :param hosts: a hosts(5) file; a name that is in it has the addresses that it has there, and DNS is not
        asked for any. SRV records are asked from DNS all the same.
    :param timeout: seconds for which each server is waited for: in the first round, in the second, and so on.
    :raises ValueError: if a server is given by a name, or its port is none.
    :raises OSError: if the hosts file can't be read.
    """
    if hosts is not None:
        hosts.read_bytes()  # twisted.names takes one that it can't read for an empty one
    given = tuple(server(*each) for each in servers)
    return DnsClient(reactor, (lambda: given) if given else ResolvConf().servers, hosts, timeout)
