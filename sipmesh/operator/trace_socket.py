"""The server's end of ``sipmesh trace``: a Unix socket, for its owner alone, that tells what happens, live.

One JSON object a line. While nobody is connected nobody observes, so nothing is recorded.
"""

from __future__ import annotations

import json
import socket
import stat
from errno import EADDRINUSE, EEXIST, ENOENT
from pathlib import Path
from typing import cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.interfaces import IAddress, IListeningPort, IPushProducer, IReactorUNIX
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..interfaces import ITraceObserver
from ..server.service import SipMeshService

_WATCHERS = 16
"""So many may look at once: each costs the reactor's thread a line for each step."""


def _line(event: dict[str, object]) -> bytes:
    return json.dumps(event).encode() + b"\n"


@implementer(ITraceObserver, IPushProducer)
class _Watcher(Protocol):
    """One who looks. Who reads too slowly misses events, and is told how many: what waits stays bounded."""

    def __init__(self, factory: _Watchers, server: SipMeshService) -> None:
        self._factory = factory
        self._server = server
        self._paused = False
        self._missed = 0

    def connectionMade(self) -> None:
        self._wire = cast(Connection, self.transport)
        self._wire.registerProducer(self, True)
        self._factory.watchers.add(self)
        self._server.attach(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._factory.watchers.discard(self)
        self._server.detach(self)

    def observe(self, event: dict[str, object]) -> None:
        if self._paused:
            self._missed += 1
        else:
            self._wire.write(_line(event))

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        if self._missed:
            missed, self._missed = self._missed, 0
            self.observe({"step": "missed", "because": f"{missed} events, as they were read too slowly"})

    def stopProducing(self) -> None:
        pass

    def end(self) -> None:
        """The server stops. Who does not read is not waited for."""
        if self._paused:
            self._wire.abortConnection()
        else:
            self._wire.loseConnection()


class _TurnedAway(Protocol):
    """One too many."""

    def connectionMade(self) -> None:
        wire = cast(Connection, self.transport)
        wire.write(_line({"step": "full", "because": f"{_WATCHERS} others are watching already"}))
        wire.loseConnection()


class _Watchers(Factory):
    noisy = False

    def __init__(self, server: SipMeshService) -> None:
        self._server = server
        self.watchers: set[_Watcher] = set()

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        full = len(self.watchers) >= _WATCHERS
        return _TurnedAway() if full else _Watcher(self, self._server)


class TraceSocket(Service):
    """A socket that can't be opened is an error in the log and no more: calls do not depend on it.

    :param path: where the socket is to be, in a directory that is there. A socket that an earlier run left
        there is replaced, and nothing else.
    """

    name: str = "sipmesh trace"
    _log = Logger()

    def __init__(self, reactor: IReactorUNIX, path: Path, server: SipMeshService) -> None:
        self._reactor = reactor
        self._path = path
        self._watchers = _Watchers(server)
        self._port: IListeningPort | None = None

    def startService(self) -> None:
        """Open the socket."""
        Service.startService(self)
        try:
            _make_room(self._path)
        except OSError as error:
            self._log.error(
                "no trace socket: {path}: {why}", path=error.filename or self._path, why=error.strerror
            )
            return
        # Between bind and chmod nobody can connect: Twisted listens after both.
        endpoint = UNIXServerEndpoint(self._reactor, str(self._path), mode=0o600, wantPID=False)
        endpoint.listen(self._watchers).addCallbacks(self._listening, self._not_listening)

    def _listening(self, port: IListeningPort) -> None:
        self._port = port

    def _not_listening(self, failure: Failure) -> None:
        self._log.error("no trace socket: {why}", why=failure.getErrorMessage())

    def stopService(self) -> Deferred[None]:
        """Close the socket, and what is connected to it."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for watcher in tuple(self._watchers.watchers):
            watcher.end()
        port, self._port = self._port, None
        if port is not None:
            try:
                await maybeDeferred(port.stopListening)
            except FileNotFoundError:
                self._log.warn("the trace socket {path} had been removed", path=self._path)


def _make_room(path: Path) -> None:
    """Remove the socket of a server that is no more.

    :raises OSError: if there is no room: with the file, and why.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(ENOENT, "there is no such directory; make it, mode 0700", str(path.parent))
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(EEXIST, "something else than a socket is there, and is left alone", str(path))
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # somebody listens, and is busy
    raise OSError(EADDRINUSE, "another server is listening there", str(path))
