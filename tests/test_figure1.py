"""The demonstration of ``make demo``, as a process: that it succeeds, and that it can fail."""

from __future__ import annotations

import re
import subprocess
import sys
from os import environ
from pathlib import Path

import pytest

FIGURE1 = Path(__file__).parent.parent / "examples" / "figure1" / "figure1.py"


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For its temporary files, where it may leave nothing. The name of a Unix socket has to be short."""
    return tmp_path_factory.mktemp("f")


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(FIGURE1), *arguments],
        env={**environ, "TMPDIR": str(directory)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def outcomes(output: str) -> dict[int, bool]:
    """For each step, by its number, whether it was as it has to be."""
    steps = re.split(r"^ {1,2}(\d+)  ", output, flags=re.MULTILINE)[1:]
    return {
        int(number): "\n     ok\n" in text and "DIFFERS" not in text
        for number, text in zip(steps[::2], steps[1::2], strict=True)
    }


def test_every_step_is_as_it_has_to_be(directory: Path) -> None:
    done = run(directory)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert outcomes(done.stdout) == dict.fromkeys(range(1, 11), True)
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert "BYE      bob ----> sip.b.example ====> edge.a.example ====> fe1.a.example ----> alice" in lines
    assert "edge.a.example      proved edge.a.example, a.example" in lines
    assert "partner b.example: b.example is a name of the allowed partner b.example" in lines
    assert "edge.a.example refuses: TLS alert unknown_ca" in lines
    assert "edge.a.example refuses: 403 Forbidden (wrong-anchors)" in lines
    assert list(directory.iterdir()) == []


def test_trust_that_should_not_be_is_noticed(directory: Path) -> None:
    """Each sabotage lets somebody in whom a step wants refused: these steps differ, and no other."""
    done = run(directory, "--sabotage=list-c", "--sabotage=trust-b", "--sabotage=list-fe9")
    assert done.returncode == 1, done.stdout + done.stderr
    differing = {number for number, fine in outcomes(done.stdout).items() if not fine}
    assert differing == {6, 7, 8, 9}
    assert done.stdout.rstrip().endswith("4 of 10 steps differ.")
    assert list(directory.iterdir()) == []
