#!/usr/bin/env python3
"""SipMesh and Kamailio side by side: what a call, a message, an idle connection and a start cost."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))

from attrs import frozen
from load import answering, drive, idle_connections
from servers import HERE, SERVERS, Rig, Trouble, free_port, make_certificates, running

_PROGRAMS = {"sipp": "sip-tester", "stunnel4": "stunnel4", "kamailio": "kamailio kamailio-tls-modules"}
_EPILOG = """
All of it runs on loopback, with certificates made for the occasion. The servers get the same load one after
the other, in each run; shown are the medians of the runs. Only the server's own CPU counts: user and system
time of its whole process tree. bench/README.md says how to read the table; bench/results/ keeps all figures.
Exit status: 0 if everything could be measured, whatever came out; 1 if not.
"""


@frozen
class Measure:
    """A line of the table.

    :ivar ratio: the bound in the issue is on SipMesh's value over Kamailio's, not on its value.
    """

    key: str
    title: str
    digits: int
    bound: float
    ratio: bool


_MEASURES = (
    Measure("call", "CPU per call, ms", 3, 3.0, ratio=True),
    Measure("message", "CPU per MESSAGE, ms", 3, 3.0, ratio=True),
    Measure("idle", "memory per idle TLS connection, KiB", 1, 64.0, ratio=False),
    Measure("start", "from start to listening, s", 2, 1.5, ratio=False),
)

Values = dict[str, list[float]]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and keep what came out."""
    given = _arguments().parse_args(argv)
    lacking = [package for name, package in _PROGRAMS.items() if shutil.which(name, path=_path()) is None]
    if lacking:
        print(f"missing: apt-get install {' '.join(lacking)}", file=sys.stderr)
        return 1
    os.environ["PATH"] = _path()
    found: dict[str, Values] = {name: {} for name in SERVERS}
    try:
        with tempfile.TemporaryDirectory(prefix="sipmesh-bench-") as directory:
            make_certificates(Path(directory))
            for run in range(1, given.runs + 1):
                for name in SERVERS:
                    values = _once(name, Path(directory), given, last=run == given.runs)
                    for key, value in values.items():
                        found[name].setdefault(key, []).append(value)
                    _say(f"run {run} of {given.runs}, {name}: {_listed(values)}")
    except Trouble as trouble:
        print(f"nothing measured: {trouble}", file=sys.stderr)
        return 1
    medians = {
        name: {key: statistics.median(all_) for key, all_ in values.items()} for name, values in found.items()
    }
    print(table(medians))
    _say(f"kept in {_keep(given, found, medians)}")
    return 0


def _once(name: str, directory: Path, given: argparse.Namespace, *, last: bool) -> dict[str, float]:
    """One server from its start to its end; idle connections, which vary little, in the last run only."""
    rig = Rig(directory, free_port(), free_port())
    values = {}
    with running(name, rig) as server:
        values["start"] = server.started
        for flow, number, rate in (
            ("call", given.calls, given.rate),
            ("message", given.messages, given.message_rate),
        ):
            with answering(rig, flow) as entrance:
                values[flow] = drive(rig, server, flow, entrance, number, rate)
    if last:
        with running(name, rig) as server:  # anew: what calls left in its memory is no connection's
            idle = idle_connections(rig, server, given.connections)
        values |= {"idle": idle.kib, "handshake": idle.milliseconds}
    return values


# Showing --------------------------------------------------------------------------------------------------


def table(medians: dict[str, dict[str, float]]) -> str:
    """The one table."""
    ours, theirs = (medians[name] for name in SERVERS)
    rows = [("", *SERVERS, "ratio", "at most")]
    for one in _MEASURES:
        ratio = ours[one.key] / theirs[one.key] if theirs[one.key] > 0 else float("inf")
        over = (ratio if one.ratio else ours[one.key]) > one.bound
        bound = f"{one.bound:g} times" if one.ratio else f"{one.bound:g}"
        values = (f"{side[one.key]:.{one.digits}f}" for side in (ours, theirs))
        rows.append((one.title, *values, f"{ratio:.2f}", bound + "  EXCEEDED" * over))
    width = max(len(row[0]) for row in rows)
    return "\n" + "\n".join(
        f"{row[0]:{width}}" + "".join(f"{cell:>11}" for cell in row[1:4]) + f"   {row[4]}" for row in rows
    )


def _listed(values: dict[str, float]) -> str:
    titles = {one.key: one for one in _MEASURES}
    return ", ".join(f"{titles[k].title} {v:.{titles[k].digits}f}" for k, v in values.items() if k in titles)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _keep(given: argparse.Namespace, found: dict[str, Values], medians: object) -> Path:
    now = datetime.now(UTC)
    kamailio = subprocess.run(["kamailio", "-v"], capture_output=True, text=True, check=False).stdout
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    file = results / f"{now:%Y%m%dT%H%M%SZ}.json"
    document = {
        "time": now.isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "system": platform.platform()},
        "versions": {
            "python": platform.python_version(),
            "twisted": version("twisted"),
            "pyopenssl": version("pyopenssl"),
            "kamailio": kamailio.partition("\n")[0],
        },
        "given": vars(given),
        "medians": medians,
        "runs": found,
    }
    file.write_text(json.dumps(document, indent=2) + "\n")
    return file


# The command line -----------------------------------------------------------------------------------------


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    numbers: Iterable[tuple[str, int, int, str]] = (
        ("runs", 3, 50, "of each server"),
        ("calls", 2000, 100000, "in each run"),
        ("rate", 300, 2000, "calls in a second; keep it well under what one core bears"),
        ("messages", 6000, 100000, "MESSAGEs in each run"),
        (
            "message-rate",
            900,
            5000,
            "MESSAGEs in a second; thrice the calls, as a call is 13 messages and a MESSAGE 4",
        ),
        ("connections", 400, 10000, "idle ones"),
    )
    for name, default, most, text in numbers:
        parser.add_argument(
            f"--{name}",
            type=_up_to(most),
            default=default,
            metavar="N",
            help=f"{text} (default {default}, at most {most})",
        )
    return parser


def _up_to(most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if not 1 <= value <= most:
            raise ValueError(text)
        return value

    return number


def _path() -> str:
    """Where Debian puts servers is not on everybody's PATH."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])


if __name__ == "__main__":
    sys.exit(main())
