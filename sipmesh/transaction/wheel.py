"""Many timers on one wheel.

A transaction starts several timers, of which nearly none ever runs out: starting and stopping must cost next to
nothing, and exactness is worth nothing. So timers share buckets of a tick each, stopping marks an entry and
leaves it, and the clock is told to the wheel from outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable

TICK = 0.1
"""Seconds; a timer never runs out early, and has run out at the first turn that is this much after it was due."""


class Timer:
    """A running timer."""

    __slots__ = ("_arguments", "_callback")

    def __init__(self, callback: Callable[..., object], arguments: tuple[object, ...]) -> None:
        self._callback: Callable[..., object] | None = callback
        self._arguments = arguments

    @property
    def active(self) -> bool:
        """Whether it neither ran out nor was stopped."""
        return self._callback is not None

    def stop(self) -> None:
        """Let it never run out. Lets go of the callback at once; harmless when it ran out already."""
        self._callback = None
        self._arguments = ()

    def run_out(self) -> None:
        """For the wheel alone."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback(*self._arguments)


class TimerWheel:
    """:param seconds: the clock, such as ``reactor.seconds``."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._buckets: dict[int, list[Timer]] = {}
        self._done = math.floor(seconds() / TICK)

    def start(self, delay: float, callback: Callable[..., object], *arguments: object) -> Timer:
        """Call ``callback`` with these arguments once, ``delay`` seconds from now."""
        timer = Timer(callback, arguments)
        tick = max(math.ceil((self._seconds() + delay) / TICK), self._done + 1)
        bucket = self._buckets.get(tick)
        if bucket is None:
            self._buckets[tick] = [timer]
        else:
            bucket.append(timer)
        return timer

    def turn(self) -> None:
        """Run out what is due. The owner of the clock calls this at least once a tick.

        An exception from a callback is the callback's fault alone: the rest still runs, then the first such
        exception is raised.
        """
        now = math.floor(self._seconds() / TICK)
        trouble: Exception | None = None
        buckets = self._buckets
        due = range(self._done + 1, now + 1)
        if len(due) > len(buckets):  # after a long stop of the clock
            ticks = sorted(tick for tick in buckets if tick <= now)
        else:
            ticks = [tick for tick in due if tick in buckets]
        self._done = max(self._done, now)
        for tick in ticks:
            for timer in buckets.pop(tick):
                try:
                    timer.run_out()
                except Exception as error:
                    trouble = trouble or error
        if trouble is not None:
            raise trouble

    def __len__(self) -> int:
        """How many timers are running."""
        return sum(timer.active for bucket in self._buckets.values() for timer in bucket)
