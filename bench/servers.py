"""The servers that are measured: their certificates, their configurations, their processes."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from attrs import frozen

from sipmesh.operator.authority import create_authority, issue

HERE = Path(__file__).resolve().parent
LOCAL = "127.0.0.1"
PARTNERS = 20
"""Entries of the federation allow list, each with a CA of its own. The load comes from servers of ours."""

_PORTS = range(20000, 30000)
"""Linux gives connections ports above: a probe of a port there might connect to itself."""

_START = 20.0
"""Seconds that a server has to begin to listen."""


class Trouble(Exception):
    """Why there is nothing to measure."""


@frozen
class Rig:
    """Where everything is.

    :ivar directory: a scratch directory with the certificates.
    :ivar port: where the server under test listens.
    :ivar uas: where the next hop listens, with TLS.
    """

    directory: Path
    port: int
    uas: int


@frozen
class Running:
    """:ivar started: seconds from its start to listening."""

    pid: int
    started: float


def free_port() -> int:
    """A port of loopback that nobody uses at the moment, and that no outgoing connection gets by chance.

    :raises Trouble: if there is none.
    """
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOCAL, port))
            return port
    raise Trouble("no free port")


def make_certificates(directory: Path) -> None:
    """``ca.pem``; ``NAME.pem`` and ``NAME.key`` for the proxy and both ends; a CA for each partner."""
    now = datetime.now(UTC)
    authority = create_authority("bench", now, days=2)
    (directory / "ca.pem").write_bytes(authority.certificate_pem)
    for name in ("proxy", "uac", "uas"):
        made = issue(authority, [name], now, days=1)
        (directory / f"{name}.pem").write_bytes(made.certificate_pem)
        (directory / f"{name}.key").touch(0o600)
        (directory / f"{name}.key").write_bytes(made.key_pem)
    for number in range(PARTNERS):
        pem = create_authority(f"partner {number}", now, days=2).certificate_pem
        (directory / f"partner{number}.pem").write_bytes(pem)


# SipMesh --------------------------------------------------------------------------------------------------

_SIPMESH = """
[server]
name = "proxy"
domains = []
port = {port}
[tls]
certificate = "proxy.pem"
key = "proxy.key"
[trust]
enterprise = ["ca.pem"]
[[listen]]
endpoint = "tcp:{port}:interface=127.0.0.1"
peers = "servers"
[limits]
connections_per_address = 20000
[[server_list]]
policy = "server-list.static"
names = ["uac", "uas"]
[[federation]]
policy = "federation.allow"
{partners}
[[routing]]
policy = "routing.static"
[[routing.routes]]
domain = "b.example"
next_hop = "sip:uas:{uas}"
[[routing]]
policy = "routing.federated"
[resolver]
servers = ["127.0.0.1:9"]
hosts = "hosts"
"""
_PARTNER = '[[federation.partners]]\ndomain = "partner{0}.example"\nca = "partner{0}.pem"'


def sipmesh(rig: Rig) -> list[str]:
    """The command of SipMesh with all policies on: server list, federation, routing."""
    partners = "\n".join(_PARTNER.format(number) for number in range(PARTNERS))
    text = _SIPMESH.format(port=rig.port, uas=rig.uas, partners=partners)
    (rig.directory / "sipmesh.toml").write_text(text)
    (rig.directory / "hosts").write_text(f"{LOCAL} uas\n")
    twistd = "from twisted.scripts.twistd import run; run()"
    return [sys.executable, "-c", twistd, "--nodaemon", "--pidfile=", "sipmesh"]


# Kamailio -------------------------------------------------------------------------------------------------


def kamailio(rig: Rig) -> list[str]:
    """The command of Kamailio as it is fastest: its packaged default allocator costs 2.6 times as much."""
    modules = next(Path("/usr/lib").glob("*/kamailio/modules/tls.so"), None)
    if modules is None:
        raise Trouble("Kamailio has no TLS: install the package kamailio-tls-modules")
    put = {
        "__DIR__": str(rig.directory),
        "__MODULES__": str(modules.parent),
        "__PORT__": str(rig.port),
        "__NEXT__": str(rig.uas),
    }
    for name in ("kamailio.cfg", "kamailio-tls.cfg"):
        text = (HERE / name).read_text()
        for mark, value in put.items():
            text = text.replace(mark, value)
        (rig.directory / name).write_text(text)
    fast = ["-X", "fm", "-x", "fm", "-m", "512", "-M", "32"]
    return [
        "kamailio",
        "-DD",
        "-E",
        *fast,
        "-f",
        str(rig.directory / "kamailio.cfg"),
        "-Y",
        str(rig.directory),
    ]


SERVERS: dict[str, Callable[[Rig], list[str]]] = {"SipMesh": sipmesh, "Kamailio": kamailio}


# Processes ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def running(name: str, rig: Rig) -> Iterator[Running]:
    """Start a server; it is ended at the end, and whatever it had started.

    :raises Trouble: if it ends at once, or does not listen.
    """
    log = rig.directory / f"{name}.log"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), *filter(None, sys.path[1:])])
    }
    command = SERVERS[name](rig)
    begin = time.monotonic()
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=rig.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_for_port(rig.port, process, log)
        yield Running(process.pid, time.monotonic() - begin)
    finally:
        end(process)


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until it listens.

    :raises Trouble: with the end of its log, if it does not.
    """
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((LOCAL, port)) == 0:
                return
        time.sleep(0.01)
    said = log.read_text(errors="replace")[-2000:] if log.exists() else ""
    raise Trouble(f"{process.args!r} does not listen on port {port}:\n{said}")


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a session of its own, and its children."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                continue
