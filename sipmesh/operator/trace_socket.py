"""The server's end of ``sipmesh trace``: a Unix socket, for its owner alone, that tells what happens, live.

One JSON object a line. While nobody is connected nobody observes, so nothing is recorded.
"""

from __future__ import annotations

import json
from pathlib import Path

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.interfaces import IAddress, IListeningPort, IPushProducer, IReactorUNIX
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..interfaces import ITraceObserver
from ..server.service import SipMeshService


@implementer(ITraceObserver, IPushProducer)
class _Watcher(Protocol):
    """One who looks. Who reads too slowly misses events, and is told how many."""

    def __init__(self, server: SipMeshService) -> None:
        self._server = server
        self._paused = False
        self._missed = 0

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)
        self._server.attach(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._server.detach(self)

    def observe(self, event: dict[str, object]) -> None:
        if self._paused:
            self._missed += 1
        else:
            self.transport.write(json.dumps(event).encode() + b"\n")

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        if self._missed:
            missed, self._missed = self._missed, 0
            self.observe({"step": "missed", "because": f"{missed} events, as they were read too slowly"})

    def stopProducing(self) -> None:
        pass


class _Watchers(Factory):
    noisy = False

    def __init__(self, server: SipMeshService) -> None:
        self._server = server

    def buildProtocol(self, addr: IAddress | None) -> _Watcher:
        return _Watcher(self._server)


class TraceSocket(Service):
    """:param path: where the socket is; what an earlier run left there is replaced."""

    name: str = "sipmesh trace"
    _log = Logger()

    def __init__(self, reactor: IReactorUNIX, path: Path, server: SipMeshService) -> None:
        self._reactor = reactor
        self._path = path
        self._server = server
        self._port: IListeningPort | None = None

    def startService(self) -> None:
        """Open the socket."""
        super().startService()
        self._path.unlink(missing_ok=True)
        endpoint = UNIXServerEndpoint(self._reactor, str(self._path), mode=0o600, wantPID=False)
        endpoint.listen(_Watchers(self._server)).addCallbacks(
            self._listening, lambda f: self._log.failure("no trace socket at {path}", f, path=self._path)
        )

    def _listening(self, port: IListeningPort) -> None:
        self._port = port

    def stopService(self) -> Deferred[None]:
        """Close the socket."""
        super().stopService()
        port, self._port = self._port, None
        return maybeDeferred(port.stopListening if port else lambda: None)
