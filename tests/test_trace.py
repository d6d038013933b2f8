"""The record of decisions: what sipmesh trace shows, what it never shows, and what it costs unwatched."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from processes import PATIENCE, Company, Node, running, wait_for
from sip_client import SipClient
from zope.interface import implementer

from sipmesh.interfaces import ITraceObserver
from sipmesh.operator.commands import sipmesh
from sipmesh.operator.trace import for_people
from sipmesh.proxy.trace import Tracer, without_secrets

_ROUTING = '[[routing]]\npolicy = "routing.registered"\n'
_PASSWORD = "correct-horse"


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Company:
    return Company(tmp_path_factory.mktemp("a"), "a.example")


@pytest.fixture(scope="module")
def node(company: Company) -> Iterator[Node]:
    users = {"alice": _PASSWORD, "bob": _PASSWORD, "carol": _PASSWORD}
    node = Node(company, "fe1.a.example", _ROUTING, domains=("a.example",), users=users)
    with running(node):
        yield node


class Command:
    """``sipmesh trace`` as a process of its own."""

    def __init__(self, node: Node, *args: str) -> None:
        script = "from sipmesh.operator.commands import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, "trace", *args],
            cwd=node.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert self.process.stderr is not None
        # Connected: what happens on connections made after this is seen.
        assert self.process.stderr.readline().startswith("watching ")

    def end(self) -> tuple[int, list[str], str]:
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out.splitlines(), err


# The command ----------------------------------------------------------------------------------------------


def test_a_person_reads_peers_decisions_and_why(company: Company, node: Node) -> None:
    command = Command(node, "--count", "5")
    bob = SipClient(node.address, company.ca, "a.example")
    bob.register("sip:bob@a.example", _PASSWORD)
    status, lines, _ = command.end()
    assert status == 0
    # Aligned: when, whose, the step and what came of it begin in the same columns in each line.
    steps = [(line[43:51].rstrip(), line[53:]) for line in lines]
    assert [step for step, _ in steps] == ["admitted", "request", "answer", "request", "answer"]
    assert steps[0][1].startswith("inbound client, not proven yet: ")
    assert steps[1][1] == "sip:a.example from client, not proven yet"
    assert steps[2][1] == "401 to client, not proven yet: no credentials for our realm"
    assert steps[4][1] == "200 to client sip:bob@a.example: registrar, for sip:bob@a.example"
    bob.close()


def test_the_way_of_one_request(company: Company, node: Node) -> None:
    carol = SipClient(node.address, company.ca, "a.example")
    carol.register("sip:carol@a.example", _PASSWORD)
    command = Command(node, "--json", "--method", "message", "--count", "6")
    alice = SipClient(node.address, company.ca, "a.example")
    alice.ask("MESSAGE", "sip:carol@a.example", "sip:alice@a.example")
    assert alice.response().status == 407
    alice.register("sip:alice@a.example", _PASSWORD)
    call_id = alice.ask("MESSAGE", "sip:carol@a.example", "sip:alice@a.example")
    carol.respond(carol.request("MESSAGE"), 200)
    assert alice.response().status == 200
    status, lines, _ = command.end()
    assert status == 0
    events = [json.loads(line) for line in lines][2:]
    assert [event["step"] for event in events] == ["request", "route", "forward", "response"]
    assert {event["call_id"] for event in events} == {call_id}
    assert events[1]["policy"] == "routing.registered"
    assert events[1]["because"] == "sip:carol@a.example is registered with 1 contact(s)"
    assert events[2]["peer"] == "client sip:carol@a.example"
    assert events[3]["status"] == 200
    carol.close()
    alice.close()


def test_only_one_call(company: Company, node: Node) -> None:
    command = Command(node, "--json", "--call-id", "only-this", "--count", "2")
    alice = SipClient(node.address, company.ca, "a.example")
    for call_id in ("not-this", "only-this-one"):
        alice.send(
            f"OPTIONS sip:bob@a.example SIP/2.0\nVia: SIP/2.0/TLS {alice.here};branch=z9hG4bK{call_id}\n"
            f"From: <sip:alice@a.example>;tag=1\nTo: <sip:bob@a.example>\nCall-ID: {call_id}\n"
            "CSeq: 1 OPTIONS\nMax-Forwards: 70"
        )
        alice.response()
    status, lines, _ = command.end()
    assert status == 0
    assert [json.loads(line)["call_id"] for line in lines] == ["only-this-one"] * 2
    alice.close()


def test_it_ends_with_control_c(node: Node) -> None:
    command = Command(node)
    command.process.send_signal(signal.SIGINT)
    assert command.end() == (0, [], "")


@pytest.mark.parametrize(("args", "status"), [((), 0), (("--count", "1000"), 1)])
def test_it_ends_with_the_server(company: Company, args: tuple[str, ...], status: int) -> None:
    node = Node(company, "fe2.a.example", _ROUTING)
    with running(node):
        command = Command(node, *args)
    ended, lines, err = command.end()
    assert (ended, lines, err) == (status, [], "the server stopped\n")
    assert not (node.directory / "trace.sock").exists()


def test_what_is_wrong_is_said(tmp_path: Path, company: Company) -> None:
    def said(*args: str | Path) -> str:
        result = CliRunner().invoke(sipmesh, ["trace", *map(str, args)])
        assert result.exit_code == 1
        assert result.output.startswith("Error: ")
        return result.output

    left, file = tmp_path / "left.sock", tmp_path / "file"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(left))
    file.touch()
    assert "no server is running" in said("--socket", tmp_path / "none.sock")
    assert "no server is running" in said("--socket", left)
    assert "not a socket" in said("--socket", file)
    assert "a file that can be read" in said("--config", tmp_path / "none.toml")
    node = Node(company, "fe3.a.example", _ROUTING)
    configuration = node.directory / "sipmesh.toml"
    assert "no server is running" in said("--config", configuration)
    without = tmp_path / "sipmesh.toml"
    without.write_text(configuration.read_text().replace('socket = "trace.sock"', ""))
    assert "no socket in [trace]" in said("--config", without)
    without.write_text(configuration.read_text().replace('socket = "trace.sock"', "socket = 7"))
    assert "trace.socket: expected" in said("--config", without)


def test_who_may_not_look_is_told_who_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("sipmesh.operator.trace.socket.socket.connect", refuse, raising=True)
    result = CliRunner().invoke(sipmesh, ["trace", "--socket", str(tmp_path / "x")])
    assert result.exit_code == 1
    assert "for the server's user alone" in result.output


def test_a_line_holds_no_control_character() -> None:
    event: dict[str, object] = {
        "time": 0.5,
        "peer": "client",
        "method": "INVITE",
        "uri": "sip:\x1b[2Jb\r\n@b",
        "call_id": "\x9b1m",
        "cseq": 1,
        "step": "request",
        "because": "\x07",
    }
    line = for_people(event)
    assert "sip:" in line
    assert line.isprintable()
    red = for_people(event | {"step": "answer", "status": 403})
    assert "\x1b[31m" in red  # click.echo takes colours off where nobody sees them
    assert "\x1b[2J" not in red


# The socket -----------------------------------------------------------------------------------------------


def test_the_socket_is_its_owners(node: Node) -> None:
    mode = (node.directory / "trace.sock").stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_what_a_crash_left_is_replaced(company: Company) -> None:
    node = Node(company, "fe4.a.example", _ROUTING)
    node.start()
    node.kill()
    assert (node.directory / "trace.sock").exists()
    with running(node):
        node.watch().close()


@pytest.mark.parametrize("kind", ["file", "link", "directory", "server"])
def test_what_is_not_left_over_is_left_alone(company: Company, kind: str) -> None:
    node = Node(company, f"fe5-{kind}.a.example", _ROUTING)
    path, other = node.directory / "trace.sock", node.directory / "other"
    other.write_text("precious")
    with socket.socket(socket.AF_UNIX) as server:
        if kind == "file":
            path.write_text("precious")
        elif kind == "link":
            path.symlink_to(other)
        elif kind == "directory":
            path.mkdir()
        else:
            server.bind(str(path))
            server.listen()
        before = path.lstat()
        with running(node):  # it serves calls nevertheless
            wait_for(lambda: "no trace socket" in node.log.read_text(), "nothing in the log")
    assert path.lstat().st_ino == before.st_ino
    assert other.read_text() == "precious"
    said = "another server is listening" if kind == "server" else "something else than a socket"
    assert said in node.log.read_text()
    assert "Traceback" not in node.log.read_text()


def test_a_missing_directory_is_said(company: Company) -> None:
    node = Node(company, "fe6.a.example", _ROUTING)
    file = node.directory / "sipmesh.toml"
    file.write_text(file.read_text().replace('"trace.sock"', '"run/trace.sock"'))
    with running(node):
        wait_for(lambda: "no trace socket" in node.log.read_text(), "nothing in the log")
    assert "run: there is no such directory" in node.log.read_text()


def test_sixteen_may_look_and_no_more(company: Company) -> None:
    node = Node(company, "fe8.a.example", _ROUTING)
    with running(node):
        watches = [node.watch() for _ in range(16)]
        result = CliRunner().invoke(sipmesh, ["trace", "--socket", str(node.directory / "trace.sock")])
        assert result.exit_code == 1
        assert "16 others are watching" in result.output
        watches.pop().close()
        one = SipClient(node.address, company.ca, "fe8.a.example")
        for watch in watches:
            watch.until(lambda event: event["step"] == "admitted")
        watches.append(node.watch())
        other = SipClient(node.address, company.ca, "fe8.a.example")
        watches[-1].until(lambda event: event["step"] == "admitted")
        one.close()
        other.close()
    for watch in watches:
        watch.close()


def test_what_waits_for_who_does_not_read_is_bounded(company: Company, node: Node) -> None:
    idle = node.watch()
    client = SipClient(node.address, company.ca, "a.example")
    filler = "x" * 6000
    for _ in range(300):  # two events each, of 6 kB: twelve times what two buffers hold
        client.ask("OPTIONS", f"sip:bob@a.example;x={filler}", "sip:alice@a.example")
        assert client.response().status == 407
    client.ask("OPTIONS", "sip:last@a.example", "sip:alice@a.example")
    client.response()
    missed = idle.until(lambda event: event["step"] == "missed")
    number = int(str(missed["because"]).split()[0])
    assert number + len(idle.events) - 1 <= 605
    assert number > 300  # they were not kept for it
    idle.close()
    client.close()


# What is in it, and what is not ---------------------------------------------------------------------------


def test_no_secret_is_in_an_event(company: Company, node: Node) -> None:
    watch = node.watch()
    client = SipClient(node.address, company.ca, "a.example")
    client.register("sip:alice@a.example", _PASSWORD)
    secret = "s3cr3t"
    for uri in (f"sip:dave:{secret}@a.example", f"sip:dave@a.example?Key={secret}", f"x:y:{secret}@z"):
        for header in (f'Digest username="bob", response="{secret}"', f"Basic {secret}", f'Digest "{secret}'):
            client.ask(
                "MESSAGE",
                uri,
                "sip:alice@a.example",
                f"Proxy-Authorization: {header}\nX-Key: {secret}",
                secret,
            )
            client.response()
    client.ask("OPTIONS", "sip:last@a.example", "sip:alice@a.example")
    client.response()
    watch.until(lambda event: event.get("uri") == "sip:last@a.example" and event["step"] == "answer")
    told = json.dumps(watch.events)
    assert told.count('"request"') == 12
    for word in (secret, _PASSWORD, "nonce", "response=", "Digest "):
        assert word not in told
    watch.close()
    client.close()


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sip:bob@b.example;transport=tls", "sip:bob@b.example;transport=tls"),
        ("sip:b.example:5061", "sip:b.example:5061"),
        ("sip:bob:pw@b.example:5061", "sip:bob@b.example:5061"),
        ("sip:bob;x=1:pw@b.example", "sip:bob;x=1@b.example"),
        ("sip:bob:p@w@b.example", "sip:bob@b.example"),
        ("sip:bob@b.example?Authorization=pw@x", "sip:bob@b.example"),
        ("sips:b.example?Authorization=pw", "sips:b.example"),
        ("http://bob:pw@b.example/", "http://bob@b.example/"),
        ("tel:+49;phone-context=a.example", "tel:+49;phone-context=a.example"),
        ("\xff@", "\ufffd@"),
    ],
)
def test_a_uri_as_it_may_be_shown(uri: str, shown: str) -> None:
    assert without_secrets(uri.encode("latin-1")) == shown


# Cost -----------------------------------------------------------------------------------------------------


def test_who_is_not_watched_makes_no_event(company: Company) -> None:
    """In the server's own process the tracer ends it when an event is made: calls go through all the same."""
    node = Node(company, "fe7.a.example", _ROUTING, domains=("a.example",), users={"alice": _PASSWORD})
    (node.directory / "fatal.py").write_text(_FATAL)
    file = node.directory / "sipmesh.toml"
    file.write_text(file.read_text().replace('policy = "routing.registered"', 'policy = "fatal:Fatal"'))
    with running(node):
        client = SipClient(node.address, company.ca, "a.example")
        assert client.register("sip:alice@a.example", _PASSWORD).status == 200
        client.ask("MESSAGE", "sip:nobody@a.example", "sip:alice@a.example")
        assert client.response().status == 404
        watch = node.watch()  # now one is made: the check can fail
        other = SipClient(node.address, company.ca, "a.example")
        with pytest.raises(AssertionError, match="closed its trace"):
            watch.until(lambda event: False)
        client.close()
        other.close()
        wait_for(lambda: "an event was made" in node.log.read_text(), "nothing in the log")


_FATAL = """
import os
from attrs import frozen
from zope.interface import implementer
from sipmesh.interfaces import IRoutingPolicy
from sipmesh.proxy.trace import Tracer

def _emit(self, flow, what):
    os.write(2, b"an event was made\\n")
    os._exit(1)

Tracer._emit = _emit

@implementer(IRoutingPolicy)
@frozen
class Fatal:
    def route(self, request, context):
        return None
"""


def test_a_tracer_is_watched_while_somebody_is_attached() -> None:
    @implementer(ITraceObserver)
    class Observer:
        def observe(self, event: dict[str, object]) -> None:
            pass

    tracer, one, other = Tracer(lambda: 0.0, "a"), Observer(), Observer()
    assert not tracer.watched
    tracer.attach(one)
    tracer.attach(other)
    tracer.detach(one)
    tracer.detach(one)
    assert tracer.watched
    tracer.detach(other)
    assert not tracer.watched
