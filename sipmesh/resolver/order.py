"""In which order the targets of an SRV record set are tried (RFC 2782, Priority and Weight)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate, groupby
from random import Random

from .answer import Service


def in_order(services: Iterable[Service], rng: Random) -> Iterator[Service]:
    """Lowest priority first; within one, at random by weight.

    :param rng: asked as the iterator advances.
    """
    for _, equals in groupby(sorted(services, key=lambda s: s.priority), key=lambda s: s.priority):
        yield from _by_weight(list(equals), rng)


def _by_weight(services: list[Service], rng: Random) -> Iterator[Service]:
    # Shuffled first, as the RFC's draw alone would always put the same one first where all weights are 0.
    # Then those with weight 0 go to the front, as it demands, which leaves them a small chance.
    rng.shuffle(services)
    services.sort(key=lambda s: s.weight > 0)
    while services:
        mark = rng.randint(0, sum(s.weight for s in services))
        running = accumulate(s.weight for s in services)
        yield services.pop(next(i for i, total in enumerate(running) if total >= mark))
