"""The examples, run as their readme says: each as twistd runs it, with certificates that sipmesh init made."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from processes import PATIENCE, loopback_address, wait_for
from sip_client import SipClient

EXAMPLES = Path(__file__).parent.parent / "examples"
_PASSWORD = "correct-horse"
_ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


class Example:
    """A copy of an example, with an address of its own in place of 127.0.0.1."""

    def __init__(self, directory: Path, tac: Path, *modules: Path) -> None:
        self.directory = directory
        self.address = loopback_address()
        self.ca = directory / "site" / "ca.pem"
        self._log = directory / "log"
        text = tac.read_text()
        assert "tcp:5061:interface=127.0.0.1" in text
        (directory / tac.name).write_text(text.replace("127.0.0.1", self.address))
        for module in modules:
            shutil.copy(module, directory)
        self._tac = tac.name
        self._sipmesh("init", "site", "--name", "sip.a.example", "--domain", "a.example")
        for user in ("alice", "bob"):
            arguments = ("user", "add", f"{user}@a.example", "--config", "site/sipmesh.toml")
            self._sipmesh(*arguments, given=f"{_PASSWORD}\n{_PASSWORD}\n")

    def _sipmesh(self, *args: str, given: str = "") -> None:
        script = "from sipmesh.operator.commands import main; main()"
        command = [sys.executable, "-c", script, *args]
        done = subprocess.run(
            command,
            cwd=self.directory,
            input=given,
            capture_output=True,
            text=True,
            env=_ENVIRONMENT,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    @contextmanager
    def running(self, *ports: int) -> Iterator[None]:
        """Wait until it listens; at the end it has to stop cleanly, with nothing to complain of."""
        twistd = "from twisted.scripts.twistd import run; run()"
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", twistd, "--nodaemon", "--pidfile=", "--python", self._tac],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_ENVIRONMENT,
            )

        def listens() -> bool:
            assert process.poll() is None, self._log.read_text()
            return all(_connects(self.address, port) for port in ports)

        try:
            wait_for(listens, f"nothing listens: see {self._log}")
            yield
        finally:
            process.terminate()
            status = process.wait(PATIENCE)
        said = self._log.read_text()
        # twistd, when all is shut down, ends by the signal that it was told to stop with.
        assert status == -signal.SIGTERM, said
        assert "Server Shut Down" in said
        assert "Traceback" not in said
        assert "Unhandled" not in said

    def client(self, user: str) -> SipClient:
        """A client that has registered."""
        client = SipClient(self.address, self.ca, "a.example")
        assert client.register(f"sip:{user}@a.example", _PASSWORD).status == 200
        return client


def _connects(address: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


@pytest.fixture
def standalone(tmp_path: Path) -> Iterator[Example]:
    example = Example(tmp_path, EXAMPLES / "standalone.tac")
    with example.running(5061):
        yield example


@pytest.fixture
def web_application(tmp_path: Path) -> Iterator[Example]:
    source = EXAMPLES / "web_application"
    example = Example(tmp_path, source / "application.tac", source / "switchboard.py")
    with example.running(5061, 8080):
        yield example


def _call(alice: SipClient, bob: SipClient) -> None:
    """alice calls bob, who answers; then she hangs up."""
    alice.ask("INVITE", "sip:bob@a.example", "sip:alice@a.example")
    invite = bob.request("INVITE")
    bob.respond(invite, 200, f"Contact: <sip:bob@{bob.here};transport=tls>")
    answer = alice.response()
    assert answer.status == 200
    alice.in_dialog("ACK", answer, answer.cseq.number)
    bob.request("ACK")
    alice.in_dialog("BYE", answer, answer.cseq.number + 1)
    bob.respond(bob.request("BYE"), 200)
    assert alice.response().status == 200


def test_a_call_through_the_server_composed_in_python(standalone: Example) -> None:
    _call(standalone.client("alice"), standalone.client("bob"))


def test_the_composed_server_refuses_by_default(standalone: Example) -> None:
    stranger = SipClient(standalone.address, standalone.ca, "a.example")
    stranger.ask("INVITE", "sip:bob@a.example", "sip:alice@a.example")
    assert stranger.response().status == 407


def test_what_is_clicked_on_the_page_decides_about_calls(web_application: Example) -> None:
    def page(click: str = "") -> str:
        data = urllib.parse.urlencode({"aor": click}).encode() if click else None
        with urllib.request.urlopen(f"http://{web_application.address}:8080/", data, PATIENCE) as answer:
            shown: bytes = answer.read()
            return shown.decode()

    assert page().count("not registered") == 2
    alice, bob = web_application.client("alice"), web_application.client("bob")
    shown = page()
    assert shown.count("not registered") == 0
    assert f"sip:bob@{bob.here}" in shown
    _call(alice, bob)

    assert "let calls through" in page(click="sip:bob@a.example")
    alice.ask("INVITE", "sip:bob@a.example", "sip:alice@a.example")
    refused = alice.response()
    assert (refused.status, refused.reason) == (480, b"Do Not Disturb")
    alice.acknowledge(refused, "sip:bob@a.example")

    assert "let calls through" not in page(click="sip:bob@a.example")
    _call(alice, bob)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        page(click="sip:mallory@a.example")


def test_every_example_is_named_in_the_readme() -> None:
    readme = (EXAMPLES / "README.md").read_text()
    for path in EXAMPLES.iterdir():
        assert path.name == "README.md" or f"]({path.name}" in readme
