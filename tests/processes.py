"""Real servers for tests: each a process of its own, on loopback addresses of its own, with real certificates."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from os import environ, getpid
from pathlib import Path
from typing import Protocol

from sipmesh.operator.authority import Credential, create_authority, issue
from sipmesh_plugins.users_database import add_user, create_schema

PATIENCE = 20.0
"""Seconds until something that has to happen has failed to."""

_numbers = count(1)


def loopback_address() -> str:
    """An address of 127.0.0.0/8 that no other test in this run uses, so that every server may have port 5061."""
    worker = int(environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    number = next(_numbers)
    return f"127.{16 + worker}.{getpid() % 200 + number // 250}.{number % 250 + 2}"


class Company:
    """A CA and a directory for what it issued."""

    def __init__(self, directory: Path, name: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.authority = create_authority(f"CA of {name}", datetime.now(UTC))
        self.ca = directory / "ca.pem"
        self.ca.write_bytes(self.authority.certificate_pem)

    def certificate(self, *names: str, authority: Credential | None = None) -> tuple[Path, Path]:
        """Files of a certificate and its key that prove these names; from this company's CA, if no other is given."""
        made = issue(authority or self.authority, names, datetime.now(UTC))
        stem = f"{names[0]}-{next(_numbers)}"
        certificate, key = self.directory / f"{stem}.pem", self.directory / f"{stem}.key"
        certificate.write_bytes(made.certificate_pem)
        key.write_bytes(made.key_pem)
        key.chmod(0o600)
        return certificate, key


class Node:
    """A server: ``twistd sipmesh`` with a configuration, in a directory of its own."""

    def __init__(
        self,
        company: Company,
        name: str,
        policies: str,
        *,
        domains: tuple[str, ...] = (),
        users: dict[str, str] | None = None,
        hosts: dict[str, str] | None = None,
        peers: str = "both",
        credential: tuple[Path, Path] | None = None,
        address: str | None = None,
        port: int = 5061,
        algorithms: str = "",
        more: str = "",
    ) -> None:
        """:param policies: the sections ``[[server_list]]``, ``[[federation]]`` and ``[[routing]]``.

        :param users: user names of the first domain, with their passwords.
        :param hosts: addresses by name, in place of DNS.
        :param algorithms: the only digest algorithm to challenge with; ``""`` for the server's choice.
        """
        self.name = name
        self.address = address or loopback_address()
        self.port = port
        self.directory = company.directory / f"{name}-{next(_numbers)}"
        self.directory.mkdir()
        self.log = self.directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        certificate, key = credential or company.certificate(name, *domains)
        (self.directory / "hosts").write_text("".join(f"{a} {n}\n" for n, a in (hosts or {}).items()))
        only = f'algorithms = ["{algorithms}"]' if algorithms else ""
        sections = _USERS.format(only=only) if users is not None else ""
        if users is not None:
            create_schema(self.directory / "users.db")
            for user, password in users.items():
                add_user(self.directory / "users.db", user, domains[0], domains[0], password, md5=True)
        (self.directory / "sipmesh.toml").write_text(
            _CONFIGURATION.format(
                name=name,
                domains=json.dumps(list(domains)),
                certificate=certificate,
                key=key,
                ca=company.ca,
                address=self.address,
                port=port,
                peers=peers,
            )
            + sections
            + policies
            + more
        )

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self.begin()
        self.wait_until_listening()

    def begin(self) -> None:
        """Start it."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _TWISTD, "--nodaemon", "--pidfile=", "sipmesh", "-c", "sipmesh.toml"],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_until_listening(self) -> None:
        """Wait for what :meth:`begin` began."""
        wait_for(self._listens, f"{self.name} does not listen: see {self.log}")

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex((self.address, self.port)) == 0

    @property
    def pid(self) -> int:
        """Of the server's process."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(PATIENCE)

    def stop(self) -> None:
        """End it as an administrator would; it must not have died before, and has to end cleanly."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(PATIENCE)

    def wait_for_log(self, text: str) -> str:
        """Wait until a line with this text is in the log, and return that line."""
        wait_for(lambda: text in self.log.read_text(), f"{text!r} does not come to be in {self.log}")
        return next(line for line in self.log.read_text().splitlines() if text in line)

    def watch(self) -> Watch:
        """Look at what happens from now on, as ``sipmesh trace`` does."""
        return Watch(self.directory / "trace.sock")


class Watch:
    """What a server's trace socket tells."""

    def __init__(self, path: Path) -> None:
        self.events: list[dict[str, object]] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._socket.settimeout(PATIENCE)
        self._lines = self._socket.makefile("rb")

    def until(self, wanted: Callable[[dict[str, object]], bool]) -> dict[str, object]:
        """Read until an event comes that is wanted; all others are kept in :attr:`events`."""
        for line in self._lines:
            event: dict[str, object] = json.loads(line)
            self.events.append(event)
            if wanted(event):
                return event
        raise AssertionError(f"the server closed its trace; seen: {self.events}")

    def close(self) -> None:
        """Look away."""
        self._lines.close()
        self._socket.close()


class Runnable(Protocol):
    """What can be started and ended: a :class:`Node`, or somebody else's server."""

    def begin(self) -> None:
        """Start it."""

    def wait_until_listening(self) -> None:
        """Wait for what :meth:`begin` began."""

    def stop(self) -> None:
        """End it."""


@contextmanager
def running(*nodes: Runnable) -> Iterator[None]:
    """Start all; end them in the reverse order."""
    try:
        for node in nodes:
            node.begin()
        for node in nodes:
            node.wait_until_listening()
        yield
    finally:
        for node in reversed(nodes):
            node.stop()


@contextmanager
def name_server(records: dict[str, list[str]]) -> Iterator[str]:
    """A DNS server with these records (see :func:`sipmesh.testing.dns.zone_server`); its ``address:port``."""
    process = subprocess.Popen(
        [sys.executable, "-c", _NAME_SERVER, json.dumps(records)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def wait_for(true: Callable[[], bool], otherwise: str) -> None:
    """Ask again and again until something is so; fail when patience has run out."""
    over = threading.Event()
    timer = threading.Timer(PATIENCE, over.set)
    timer.start()
    try:
        while not true():
            assert not over.is_set(), otherwise
            select.select([], [], [], 0.02)
    finally:
        timer.cancel()


_TWISTD = "from twisted.scripts.twistd import run; run()"
_NAME_SERVER = """
import json, sys
from twisted.internet import reactor
from sipmesh.testing.dns import zone_server
server = zone_server(reactor, json.loads(sys.argv[1]))
print(f"{server.address}:{server.port}", flush=True)
reactor.run()
"""
_CONFIGURATION = """
[server]
name = "{name}"
domains = {domains}
port = {port}

[tls]
certificate = "{certificate}"
key = "{key}"

[trust]
enterprise = ["{ca}"]

[[listen]]
endpoint = "tcp:{port}:interface={address}"
peers = "{peers}"

[resolver]
servers = ["127.0.0.1:9"]
hosts = "hosts"

[trace]
socket = "trace.sock"
"""

_USERS = """
[users]
policy = "users.sqlite"
database = "users.db"
{only}

[location]
policy = "location.sqlite"
database = "location.db"
"""
