"""Collect what is sent while one read is dealt with, and write it in one go for each flow.

A read may complete many messages, and each may make several others go out: to each flow they leave in one TLS
record and one system call. When the read has been dealt with they leave, not a turn of the reactor later.
"""

from __future__ import annotations

from typing import Protocol


class Sender(Protocol):
    """A flow that holds something back."""

    def flush(self) -> None:
        """Write it. Does not raise."""


class Outbox:
    """One for all flows of a server; they are dealt with in one thread."""

    __slots__ = ("_senders",)

    def __init__(self) -> None:
        self._senders: list[Sender] | None = None

    def open(self) -> bool:
        """Collect from now on. False if that is so already, and then closing it is somebody else's."""
        if self._senders is not None:
            return False
        self._senders = []
        return True

    def takes(self, sender: Sender) -> bool:
        """Whether this sender's data may be held back: it is told to flush when the outbox is closed."""
        if self._senders is None:
            return False
        self._senders.append(sender)
        return True

    def close(self) -> None:
        """Let everything go."""
        senders, self._senders = self._senders or (), None
        for sender in senders:
            sender.flush()
