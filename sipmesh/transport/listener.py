"""Listening: any Twisted endpoint, with TLS put on top of it here."""

from __future__ import annotations

from typing import cast

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol

from .contexts import ListenerTLS
from .eager import TLSFactory
from .flow import Wire
from .pool import FlowPool


class _Refused(Protocol):
    """A connection over its address's bound: closed before a byte of TLS costs anything."""

    def connectionMade(self) -> None:
        cast(Wire, self.transport).abortConnection()


class FlowFactory(Factory):
    """Makes the flows of a listener, within the bound on connections from one address."""

    noisy = False

    def __init__(self, pool: FlowPool) -> None:
        self._pool = pool

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Called by Twisted for each connection."""
        return self._pool.accept(getattr(addr, "host", "")) or _Refused()


def tls_factory(tls: ListenerTLS, pool: FlowPool) -> TLSFactory:
    """The factory to give to an endpoint's ``listen``: TLS around flows of this pool."""
    return TLSFactory(tls, False, FlowFactory(pool))
