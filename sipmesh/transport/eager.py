"""TLS that sends at once what the socket takes.

Twisted's TCP transport sends when the reactor says that the socket is writable: for each write that is two changes of
the set that epoll watches and one more turn of the loop, while the socket of a flow that keeps up is writable
always. Measured: a tenth of a MESSAGE's CPU time.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import ISystemHandle, ITransport
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import directlyProvides, providedBy


class EagerWriter:
    """A TCP transport whose ``write`` tries the socket first. All else is the transport's.

    The first time that the socket does not take everything, the rest goes to the transport, and so does all that
    follows on this connection: order is never at stake.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._send = transport.getHandle().send
        self._eager = True
        directlyProvides(self, providedBy(transport))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send, or leave it to the transport, which also finds out and tells when the connection is lost."""
        if self._eager:
            try:
                sent = self._send(data)
            except OSError:
                sent = 0
            if sent == len(data):
                return
            self._eager = False
            data = data[sent:]
        self._transport.write(data)


class EagerTLS(TLSMemoryBIOProtocol):
    """Twisted's TLS over such a transport, where it is one that has a socket.

    Not its buffering one: :mod:`.outbox` does that, without a turn of the reactor for each flow.
    """

    def makeConnection(self, transport: ITransport) -> None:
        """Called by Twisted when the TCP connection is there."""
        TLSMemoryBIOProtocol.makeConnection(
            self, EagerWriter(transport) if ISystemHandle.providedBy(transport) else transport
        )


class TLSFactory(TLSMemoryBIOFactory):
    """TLS around the protocols of another factory."""

    noisy = False
    protocol = EagerTLS
