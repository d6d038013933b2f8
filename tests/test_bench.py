"""The bench: a short real run, and what it says when it can't run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parent.parent / "bench"


def bench(*args: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    if path is not None:
        environment["PATH"] = path
    command = [sys.executable, str(BENCH / "bench.py"), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)


def test_a_short_run_measures_everything_and_keeps_it() -> None:
    results = BENCH / "results"
    before = set(results.glob("*.json")) if results.is_dir() else set()
    ran = bench(
        "--runs",
        "1",
        "--calls",
        "60",
        "--rate",
        "60",
        "--messages",
        "60",
        "--message-rate",
        "60",
        "--connections",
        "200",
    )
    assert ran.returncode == 0, ran.stderr
    (file,) = set(results.glob("*.json")) - before
    medians = json.loads(file.read_text())["medians"]
    file.unlink()  # of so few calls nobody learns anything
    assert set(medians) == {"SipMesh", "Kamailio"}
    for values in medians.values():
        assert set(values) == {"start", "call", "message", "idle", "handshake"}
        assert values["idle"] > 1
        assert values["start"] > 0
    table = ran.stdout.strip().splitlines()
    assert table[0].split() == ["SipMesh", "Kamailio", "ratio", "at", "most"]
    assert [line.partition(",")[0] for line in table[1:]] == [
        "CPU per call",
        "CPU per MESSAGE",
        "memory per idle TLS connection",
        "from start to listening",
    ]


def test_what_is_missing_is_named_with_its_package(tmp_path: Path) -> None:
    ran = bench(path=str(tmp_path))
    assert ran.returncode == 1
    assert ran.stderr.startswith("missing: apt-get install sip-tester stunnel4")
    assert ran.stdout == ""


def test_help_says_what_and_how() -> None:
    ran = bench("--help")
    assert ran.returncode == 0
    for word in ("--runs", "--calls", "--rate", "--connections", "median"):
        assert word in ran.stdout
    assert bench("--runs", "0").returncode == 2
    assert bench("--rate", "fast").returncode == 2
