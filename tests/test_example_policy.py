"""A policy in a package of its own: installed and found as a stranger's would be, and what it decides."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

Ask = Callable[..., dict[str, Any]]

EXAMPLE = Path(__file__).parent.parent / "examples" / "office_hours"

# Found and built as the server does it, then asked at the clock times that come in.
ASK = """
import json, sys
from datetime import datetime
from pathlib import Path
from attrs import evolve
from twisted.plugin import getPlugins
from sipmesh.decisions import Client, RequestContext
from sipmesh.interfaces import IPolicyPlugin, IRoutingPolicy
from sipmesh.server.configuration import PolicySection
from sipmesh.server.policies import load_policy
from sipmesh.sip import parse_message

keys, questions = json.load(sys.stdin)
plugins = [plugin for plugin in getPlugins(IPolicyPlugin) if plugin.name == "routing.office-hours"]
section = PolicySection("routing.office-hours", "routing[0]", keys)
policy = load_policy(section, IRoutingPolicy, Path("sipmesh.toml").absolute(), plugins)
client = Client("a test says so")
context = RequestContext(client, "sip:x@a.example", frozenset({"a.example"}), None, lambda name: None)

def ask(method, uri, at):
    clock = datetime.fromisoformat(at).timestamp
    request = parse_message(f"{method} {uri} SIP/2.0\\r\\n\\r\\n".encode())
    decision = evolve(policy, clock=clock).route(request, context)
    return decision and [str(target.uri) for target in decision.targets]

answers = [ask(*question) for question in questions]
json.dump({"targets": [plugin.target for plugin in plugins], "answers": answers}, sys.stdout)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, installed by pip into a directory of its own."""
    directory = tmp_path_factory.mktemp("office_hours")
    source, target = directory / "source", directory / "installed"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
    # A setuptools that can build wheels itself needs nothing from elsewhere; else pip gets one to build with.
    offline = ["--no-build-isolation", "--no-index"] if find_spec("setuptools.command.bdist_wheel") else []
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps"]
    done = subprocess.run(
        [*pip, *offline, "--target", target, source], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def ask(installed: Path, tmp_path: Path) -> Ask:
    """Put questions (method, Request-URI, time) to the policy built from these keys, in another process."""

    def ask(keys: dict[str, object], *questions: tuple[str, str, str]) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-c", ASK],
            input=json.dumps([keys, questions]),
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), *filter(None, sys.path)])},
        )
        assert done.returncode == 0, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    return ask


KEYS: dict[str, object] = {
    "desk": "sip:night@desk.a.example",
    "opens": 9,
    "closes": 17,
    "timezone": "Europe/Berlin",
}
CALL = ("INVITE", "sip:alice@a.example")


def test_it_is_found_once_and_decides_by_the_clock_of_its_time_zone(ask: Ask) -> None:
    said = ask(
        KEYS,
        (*CALL, "2025-07-01T08:59:59+02:00"),
        (*CALL, "2025-07-01T07:00:00+00:00"),
        (*CALL, "2025-07-01T16:59:59+02:00"),
        (*CALL, "2025-07-01T17:00:00+02:00"),
        (*CALL, "2025-01-01T07:59:59+00:00"),
        (*CALL, "2025-01-01T08:00:00+00:00"),
    )
    closed, opened = [KEYS["desk"]], None
    assert said["targets"] == ["office_hours:OfficeHours"]
    assert said["answers"] == [closed, opened, opened, closed, closed, opened]


def test_it_has_an_opinion_about_calls_to_our_domains_only(ask: Ask) -> None:
    night = "2025-07-01T23:00:00+02:00"
    said = ask(
        KEYS,
        ("MESSAGE", "sip:alice@a.example", night),
        ("INVITE", "sip:bob@b.example", night),
        ("INVITE", "tel:+4930", night),
    )
    assert said["answers"] == [None, None, None]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"opens": 17, "closes": 9}, "the office can't be open from 17 to 9 o'clock"),
        ({"closes": 25}, "the office can't be open from 9 to 25 o'clock"),
        ({"timezone": "Europe/Atlantis"}, "Europe/Atlantis"),
        ({"clock": "sundial"}, "clock"),
    ],
)
def test_keys_that_do_not_fit_keep_the_server_from_starting(
    ask: Ask, change: dict[str, object], complaint: str
) -> None:
    with pytest.raises(AssertionError, match="ConfigurationError") as refused:
        ask(KEYS | change)
    assert complaint in str(refused.value)
