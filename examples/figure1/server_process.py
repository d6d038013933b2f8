"""``twistd sipmesh`` as a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

_TWISTD = "from twisted.scripts.twistd import run; run()"
_COMMAND = (sys.executable, "-c", _TWISTD, "--nodaemon", "--pidfile=", "sipmesh", "-c", "sipmesh.toml")
_LOG = 8192  # bytes of a server's log that are kept: its last words, should it not start
_PATIENCE = 4.0  # seconds to end in peace


class ServerProcess(ProcessProtocol):
    """One server.

    :param home: the directory with its ``sipmesh.toml``.
    :ivar listening: fires when its port is open; fails with its last words if it ends before.
    """

    def __init__(self, reactor: IReactorProcess, name: str, home: Path) -> None:
        self.name = name
        self.home = home
        self.listening: Deferred[None] = Deferred()
        self._reactor = reactor
        self._ended: Deferred[None] = Deferred()
        self._log = b""

    def start(self) -> None:
        """Start it; :attr:`listening` says when it has."""
        self._reactor.spawnProcess(self, sys.executable, _COMMAND, env=None, path=str(self.home))

    def stop(self) -> Deferred[None]:
        """End it as an administrator would; if it does not end then, as a crash would."""
        if self.transport is not None:
            self._signal("TERM")
            killing = IReactorTime(self._reactor).callLater(_PATIENCE, self._signal, "KILL")
            self._ended.addCallback(lambda _: killing.cancel() if killing.active() else None)
        else:
            self._ended.callback(None)
        return self._ended

    def outReceived(self, data: bytes) -> None:
        """Called by Twisted: the log."""
        self._log = (self._log + data)[-_LOG:]
        if not self.listening.called and b"listening on" in self._log:
            self.listening.callback(None)

    def errReceived(self, data: bytes) -> None:
        """Called by Twisted: what is so bad that it did not get into the log."""
        self.outReceived(data)

    def processEnded(self, reason: Failure) -> None:
        """Called by Twisted."""
        if not self.listening.called:
            words = self._log.decode("utf-8", "replace")
            self.listening.errback(RuntimeError(f"{self.name} did not start:\n{words}"))
        self._ended.callback(None)

    def _signal(self, name: str) -> None:
        try:
            if self.transport is not None:
                self.transport.signalProcess(name)
        except ProcessExitedAlready:
            return
