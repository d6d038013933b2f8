"""What a process and its children cost, from Linux's /proc."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all its descendants, in seconds, to a hundredth or so."""
    return sum(int(fields[11]) + int(fields[12]) for fields in map(_stat, _tree(pid)) if fields) / _TICKS


def memory_kib(pid: int) -> int:
    """Memory of a process and all its descendants, in KiB; what several share is counted once (PSS)."""
    total = 0
    for one in _tree(pid):
        try:
            found = re.search(r"^Pss:\s+(\d+)", (_PROC / str(one) / "smaps_rollup").read_text(), re.MULTILINE)
        except OSError:
            continue  # it has ended
        total += int(found[1]) if found else 0
    return total


def _tree(pid: int) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    todo = [pid]
    while todo:
        one = todo.pop()
        yield one
        todo += children.get(one, [])


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the command, which may hold anything; none if it has ended."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
