"""The server as a Twisted service: start its parts, open its ports, close all again."""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..interfaces import ITraceObserver
from ..transaction.wheel import TICK
from ..transport.listener import tls_factory
from .composition import IReactor, compose
from .configuration import Configuration
from .policies import Policies

_FAREWELL = 1.0
"""Seconds that flows have for their goodbyes when the server stops."""


class SipMeshService(Service):
    """A SIP server. Add it to an application, or call ``startService`` and ``stopService``.

    :ivar started: fires with the list of addresses when all ports are open; fails when one part could not start,
        and then nothing is open.
    :raises ConfigurationError: when made, if it can't work.
    """

    name: str = "sipmesh"
    _log = Logger()

    def __init__(self, reactor: IReactor, configuration: Configuration, policies: Policies) -> None:
        self._reactor = reactor
        self._parts = compose(configuration, policies, reactor)
        self._ports: list[IListeningPort] = []
        self._started_parts: list[Any] = []
        self._loops: list[LoopingCall] = []
        self.started: Deferred[list[Any]] = Deferred()

    def attach(self, observer: ITraceObserver) -> None:
        """Let an observer see what happens to each flow and request, from now on."""
        self._parts.tracer.attach(observer)

    def detach(self, observer: ITraceObserver) -> None:
        """The end of that."""
        self._parts.tracer.detach(observer)

    def startService(self) -> None:
        """Start the parts, then open the ports. Watch :attr:`started` for how it went."""
        Service.startService(self)
        Deferred.fromCoroutine(self._start()).addErrback(self._not_started).addErrback(self.started.errback)

    async def _start(self) -> None:
        for part in self._parts.lifecycles:
            self._started_parts.append(part)
            await maybeDeferred(part.start, self._reactor)
        for interval, work in ((TICK, self._turn), (1.0, self._parts.pool.sweep)):
            loop = LoopingCall(work)
            loop.clock = self._reactor
            self._loops.append(loop)
            loop.start(interval, now=False)
        for endpoint, tls in self._parts.listeners:
            port = await serverFromString(self._reactor, endpoint).listen(tls_factory(tls, self._parts.pool))
            self._ports.append(port)
            self._log.info(
                "listening on {address} for {peers}", address=port.getHost(), peers=tls.peers.value
            )
        self.started.callback([port.getHost() for port in self._ports])

    async def _stop(self) -> None:
        for port in self._ports:
            await maybeDeferred(port.stopListening)
        self._ports.clear()
        self._parts.pool.close_all()
        end = self._reactor.seconds() + _FAREWELL
        while len(self._parts.pool) and self._reactor.seconds() < end:
            await deferLater(self._reactor, 0.02)
        self._parts.pool.abort_all()
        await self._parts.dns.close()
        for loop in self._loops:
            if loop.running:
                loop.stop()
        self._loops.clear()
        stopping = [maybeDeferred(part.stop) for part in reversed(self._started_parts)]
        self._started_parts.clear()
        for ok, result in await DeferredList(stopping, consumeErrors=True):
            if not ok:
                self._log.failure("a part did not stop cleanly", result)

    def stopService(self) -> Deferred[None]:
        """Close ports and flows, then stop the parts. Fires when nothing is left."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    def _not_started(self, failure: Failure) -> Deferred[Failure]:
        self._log.critical("SipMesh could not start: {why}", why=failure.getErrorMessage())
        return Deferred.fromCoroutine(self._stop()).addCallback(lambda _: failure)

    def _turn(self) -> None:
        try:
            self._parts.wheel.turn()
        except Exception:
            # One timer's trouble is that timer's; the wheel goes on turning.
            self._log.failure("a timer failed")
