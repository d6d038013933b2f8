"""What is true of a server at the end of each test."""

from __future__ import annotations

from sipmesh.testing.mesh import PolicyBench


def nothing_is_left(bench: PolicyBench, seconds: float = 64.5) -> None:
    """However long it takes, no transaction and no timer stays."""
    bench.advance(seconds)
    assert (len(bench.proxy.transactions), len(bench.wheel)) == (0, 0)
