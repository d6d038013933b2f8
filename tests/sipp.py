"""Load from SIPp, as real processes. SIPp has no TLS of its own that shows certificates: stunnel gives it that."""

from __future__ import annotations

import csv
import socket
import subprocess
from pathlib import Path

from attrs import frozen
from processes import PATIENCE, Company, loopback_address, wait_for

SCENARIOS = Path(__file__).with_name("sipp")
CALLING, ANSWERING = 5060, 5062


@frozen
class Outcome:
    """What SIPp says of a run."""

    successful: int
    failed: int


class Answering:
    """A trusted server that answers all: SIPp, behind stunnel on port 5061, which demands a certificate.

    :param company: whose CA issues its certificate; the CA of those that may connect, too.
    :param kind: the scenario, ``call`` or ``message``.
    """

    def __init__(self, company: Company, name: str, kind: str) -> None:
        self.address = loopback_address()
        self._processes = _Processes(company.directory / f"answering-{name}-{self.address}")
        self._company = company
        self._name = name
        self._kind = kind

    def begin(self) -> None:
        """Start it."""
        self._processes.sipp(f"uas_{self._kind}", self.address, ANSWERING)
        self._processes.stunnel(
            self._company,
            self._name,
            f"accept = {self.address}:5061\nconnect = {self.address}:{ANSWERING}\nrequireCert = yes\n",
        )

    def wait_until_listening(self) -> None:
        """Wait for what :meth:`begin` began."""
        self._processes.wait_for_port(self.address, ANSWERING)
        self._processes.wait_for_port(self.address, 5061)

    def stop(self) -> None:
        """End it."""
        self._processes.stop()


class Calling:
    """A trusted server that calls: SIPp, with stunnel between it and ``address``.

    :param company: whose CA issues its certificate, and that of the server at ``address``.
    :param meant: the name that that server's certificate has to prove.
    """

    def __init__(self, company: Company, name: str, address: str, meant: str) -> None:
        self.address = loopback_address()
        self._processes = _Processes(company.directory / f"calling-{name}-{self.address}")
        self._company = company
        self._name = name
        self._to = f"accept = {self.address}:{CALLING}\nconnect = {address}:5061\ncheckHost = {meant}\nsni = {meant}\n"

    def begin(self) -> None:
        """Start the way to the server."""
        self._processes.stunnel(self._company, self._name, f"client = yes\n{self._to}")

    def wait_until_listening(self) -> None:
        """Wait for what :meth:`begin` began."""
        self._processes.wait_for_port(self.address, CALLING)

    def stop(self) -> None:
        """End it."""
        self._processes.stop()

    def drive(self, kind: str, caller: str, callee: str, calls: int, rate: int) -> Outcome:
        """Make calls or send messages, over one connection, and wait for the last to end.

        :param kind: the scenario, ``call`` or ``message``.
        :param calls: how many.
        :param rate: how many a second.
        """
        return self._processes.drive(kind, self.address, caller, callee, calls, rate)


class _Processes:
    """What runs in a directory."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._directory = directory
        self._running: list[subprocess.Popen[bytes]] = []

    def sipp(self, scenario: str, address: str, port: int) -> None:
        self._start(_sipp(scenario, address, port))

    def stunnel(self, company: Company, name: str, service: str) -> None:
        certificate, key = company.certificate(name)
        (self._directory / "stunnel.conf").write_text(
            f"foreground = yes\npid =\ndebug = 5\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n"
            f"CAfile = {company.ca}\nverifyChain = yes\n[sip]\n{service}cert = {certificate}\nkey = {key}\n"
        )
        self._start(["stunnel4", "stunnel.conf"])

    def drive(self, kind: str, address: str, caller: str, callee: str, calls: int, rate: int) -> Outcome:
        expected = calls / rate
        arguments = [
            *_sipp(f"uac_{kind}", address, ANSWERING),
            *("-key", "caller", caller, "-key", "callee", callee),
            *("-m", str(calls), "-r", str(rate), "-l", str(calls)),
            *("-timeout", f"{expected + PATIENCE:.0f}s", "-timeout_error"),
            *("-trace_stat", "-stf", "statistics.csv", "-fd", "1"),
            f"{address}:{CALLING}",
        ]
        with (self._directory / "log").open("ab") as log:
            subprocess.run(
                arguments,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=expected + 2 * PATIENCE,
                check=False,  # what failed is counted
            )
        with (self._directory / "statistics.csv").open(newline="") as statistics:
            last = list(csv.DictReader(statistics, delimiter=";"))[-1]
        return Outcome(int(last["SuccessfulCall(C)"]), int(last["FailedCall(C)"]))

    def _start(self, arguments: list[str]) -> None:
        with (self._directory / "log").open("ab") as log:
            self._running.append(
                subprocess.Popen(
                    arguments, cwd=self._directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            )

    def wait_for_port(self, address: str, port: int) -> None:
        log = self._directory / "log"
        wait_for(lambda: self._listens(address, port), f"port {port} is not open: see {log}")

    def _listens(self, address: str, port: int) -> bool:
        for process in self._running:
            assert process.poll() is None, (self._directory / "log").read_text(errors="replace")
        with socket.socket() as probe:
            return probe.connect_ex((address, port)) == 0

    def stop(self) -> None:
        for process in self._running:
            process.terminate()
        for process in self._running:
            process.wait(PATIENCE)


def _sipp(scenario: str, address: str, port: int) -> list[str]:
    here = ["-t", "t1", "-i", address, "-p", str(port)]
    return ["sipp", "-sf", str(SCENARIOS / f"{scenario}.xml"), *here, "-nostdin", "-trace_err"]
