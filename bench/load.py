"""The load: SIPp behind stunnel, and idle TLS connections."""

from __future__ import annotations

import csv
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from attrs import frozen
from measure import cpu_seconds, memory_kib
from servers import HERE, LOCAL, Rig, Running, Trouble, end, free_port, wait_for_port

_STUNNEL = """
foreground = yes
pid =
debug = 4
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
CAfile = ca.pem
verifyChain = yes
[uac]
client = yes
accept = 127.0.0.1:{entrance}
connect = 127.0.0.1:{port}
cert = uac.pem
key = uac.key
[uas]
accept = 127.0.0.1:{uas}
connect = 127.0.0.1:{answering}
cert = uas.pem
key = uas.key
"""
"""TLS for a SIPp that has none: a tunnel to the server under test, and one in front of who answers."""


@contextmanager
def answering(rig: Rig, flow: str) -> Iterator[int]:
    """The tunnels, with somebody behind who answers ``flow``; the port that leads to the tested server."""
    entrance, port = free_port(), free_port()
    text = _STUNNEL.format(entrance=entrance, port=rig.port, uas=rig.uas, answering=port)
    (rig.directory / "stunnel.conf").write_text(text)
    with ExitStack() as stack:
        for name, command, listens in (
            ("stunnel", ["stunnel4", str(rig.directory / "stunnel.conf")], rig.uas),
            ("uas", _sipp(rig, "uas", flow, port, contact=rig.uas), port),
        ):
            log = rig.directory / f"{name}.log"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    command,
                    cwd=rig.directory,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            stack.callback(end, process)
            if name == "stunnel":  # SIPp would take a probe for its caller
                wait_for_port(listens, process, log)
        yield entrance


def drive(rig: Rig, server: Running, flow: str, entrance: int, calls: int, rate: int) -> float:
    """Send so many, after a tenth as many to warm up.

    :param rate: in a second.
    :return: milliseconds of server CPU for each.
    :raises Trouble: if one of them fails: what is left undone costs nothing, so there is nothing to compare.
    """
    _generate(rig, flow, entrance, max(100, calls // 10), rate)
    before = cpu_seconds(server.pid)
    _generate(rig, flow, entrance, calls, rate)
    return (cpu_seconds(server.pid) - before) * 1e3 / calls


def _generate(rig: Rig, flow: str, entrance: int, calls: int, rate: int) -> None:
    statistics = rig.directory / "statistics.csv"
    statistics.unlink(missing_ok=True)
    port, limit = free_port(), calls // rate + 60
    command = _sipp(rig, "uac", flow, port, contact=port)
    command += [f"{LOCAL}:{entrance}", "-m", str(calls), "-r", str(rate), "-l", "2000"]
    command += ["-timeout", str(limit), "-timeout_error", "-trace_stat", "-stf", str(statistics), "-fd", "1"]
    try:
        subprocess.run(
            command,
            cwd=rig.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=limit + 10,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Trouble(f"SIPp did not end within {limit + 10} seconds") from error
    with statistics.open(newline="") as file:
        last = list(csv.DictReader(file, delimiter=";"))[-1]
    good = int(last["SuccessfulCall(C)"])
    if good != calls:
        logs = (rig.directory / "uac.err", *rig.directory.glob("*.log"))
        said = "\n".join(
            f"{log.name}: {log.read_text(errors='replace')[-1500:]}" for log in logs if log.exists()
        )
        raise Trouble(f"{good} of {calls} went through ({flow}):\n{said}")


def _sipp(rig: Rig, side: str, flow: str, port: int, contact: int) -> list[str]:
    scenario = HERE / "scenarios" / f"{side}_{flow}.xml"
    command = ["sipp", "-sf", str(scenario), "-t", "t1", "-i", LOCAL, "-p", str(port), "-nostdin"]
    command += ["-key", "contact_port", str(contact)]
    return [*command, "-trace_err", "-error_file", str(rig.directory / f"{side}.err")]


# Idle connections -----------------------------------------------------------------------------------------


@frozen
class Idle:
    """What connections cost a server.

    :ivar kib: memory for each that is idle.
    :ivar milliseconds: CPU for each full handshake.
    """

    kib: float
    milliseconds: float


def idle_connections(rig: Rig, server: Running, count: int) -> Idle:
    """Open so many connections with mutual TLS, and hold them for a moment."""
    context = ssl.create_default_context(cafile=str(rig.directory / "ca.pem"))
    context.load_cert_chain(rig.directory / "uac.pem", rig.directory / "uac.key")
    with ExitStack() as held:
        # The first few make what a server makes once.
        _connect(context, rig, held, 20)
        cpu, memory = cpu_seconds(server.pid), memory_kib(server.pid)
        _connect(context, rig, held, count)
        return Idle((memory_kib(server.pid) - memory) / count, (cpu_seconds(server.pid) - cpu) * 1e3 / count)


def _connect(context: ssl.SSLContext, rig: Rig, held: ExitStack, count: int) -> None:
    for _ in range(count):
        raw = held.enter_context(socket.create_connection((LOCAL, rig.port), 10))
        held.enter_context(context.wrap_socket(raw, server_hostname="proxy"))
    time.sleep(1.5)  # let the server finish its side of the last
