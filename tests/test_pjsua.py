"""pjsua2 registers with SHA-256, calls, sends messages, and verifies the server's chain and name.

Its DNS client asks port 53 alone, so the server is ``localhost`` here, on a port of its own.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from processes import PATIENCE, Company, Node, running

_ROUTING = """
[[routing]]
policy = "routing.registered"
"""
_PHONE = Path(__file__).with_name("pjsua_phone.py")


class Pjsua:
    """A phone that is a process of its own; see ``pjsua_phone.py``."""

    def __init__(self, server: str, ca: Path, log: Path) -> None:
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(_PHONE), server, str(ca)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        self._received = b""
        self.seen: list[list[object]] = []
        self.until("ready")

    def command(self, *words: str) -> None:
        self._in.write(json.dumps(words).encode() + b"\n")
        self._in.flush()

    def until(self, *wanted: object) -> list[object]:
        """The next event that begins with this; those before it are passed over."""
        while True:
            event = self._event()
            self.seen.append(event)
            if event[: len(wanted)] == list(wanted):
                return event

    def _event(self) -> list[object]:
        while b"\n" not in self._received:
            assert select.select([self._out], [], [], PATIENCE)[0], f"nothing happens; seen: {self.seen}"
            data = os.read(self._out.fileno(), 65536)
            assert data, f"the phone ended; seen: {self.seen}"
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        event: list[object] = json.loads(line)
        return event

    def close(self) -> None:
        self._in.close()
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
            self._out.close()


def _node(company: Company, credential: tuple[Path, Path] | None = None) -> Node:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Node(
        company,
        "localhost",
        _ROUTING,
        domains=("localhost",),
        users={"alice": "secret", "bob": "secret"},
        algorithms="SHA-256",
        address="127.0.0.1",
        port=port,
        credential=credential,
    )


@contextmanager
def _phone(node: Node, ca: Path, user: str, password: str = "secret") -> Iterator[Pjsua]:
    phone = Pjsua(f"localhost:{node.port}", ca, node.directory / f"{user}.log")
    try:
        phone.command("register", user, password)
        yield phone
    finally:
        phone.close()


def test_pjsua_registers_calls_and_sends_messages(tmp_path: Path) -> None:
    company = Company(tmp_path, "a")
    node = _node(company)
    with running(node), _phone(node, company.ca, "alice") as alice, _phone(node, company.ca, "bob") as bob:
        for one in (alice, bob):
            one.until("registered", 200)
        to_bob = f"sip:bob@localhost:{node.port};transport=tls"
        alice.command("dial", to_bob)
        alice.until("call", "CONFIRMED")
        bob.until("call", "CONFIRMED")
        bob.command("hang up")
        alice.until("call", "DISCONNECTED", 200)
        bob.until("call", "DISCONNECTED", 200)
        alice.command("message", to_bob, "hello")
        assert bob.until("message")[2] == "hello"
        alice.until("message status", 200)


def test_pjsua_refuses_a_server_of_another_ca(tmp_path: Path) -> None:
    node = _node(Company(tmp_path / "a", "a"))
    other = Company(tmp_path / "other", "other")
    with running(node), _phone(node, other.ca, "alice") as alice:
        assert "certificate verification" in str(alice.until("not registered")[2])


def test_pjsua_refuses_a_server_that_proves_another_name(tmp_path: Path) -> None:
    company = Company(tmp_path, "a")
    node = _node(company, company.certificate("b.example"))
    with running(node), _phone(node, company.ca, "alice") as alice:
        assert "certificate verification" in str(alice.until("not registered")[2])


def test_pjsua_is_refused_with_a_wrong_password(tmp_path: Path) -> None:
    company = Company(tmp_path, "a")
    node = _node(company)
    with running(node), _phone(node, company.ca, "alice", "wrong") as alice:
        alice.until("not registered", 401)
