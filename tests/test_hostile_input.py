"""Hostile input over real sockets: what is wrong is answered or cut at its bound, and the server goes on serving."""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from processes import PATIENCE, Company, Node, running, wait_for
from sip_client import SipClient

from sipmesh.sip import Response

_USERS = {"alice": "secret", "bob": "secret"}
_LIMITS = """
[limits]
partial = 0.5
handshake = 0.5
"""
_POLICIES = """
[[server_list]]
policy = "server-list.static"
names = ["fe2.a.example"]

[[federation]]
policy = "federation.allow"
[[federation.partners]]
domain = "b.example"
ca = "{b}"
[[federation.partners]]
domain = "c.example"
ca = "{c}"

[[routing]]
policy = "routing.registered"
[[routing]]
policy = "routing.federated"
"""
_OPTIONS = b"""OPTIONS sip:a.example SIP/2.0
Via: SIP/2.0/TLS client.invalid;branch=z9hG4bK1;rport
From: <sip:alice@a.example>;tag=1
To: <sip:a.example>
Call-ID: 1@client.invalid
CSeq: 1 OPTIONS
Max-Forwards: 70
Content-Length: 0

""".replace(b"\n", b"\r\n")


class Mesh:
    """The CAs of a.example and of its partners, and a server of a.example."""

    def __init__(self, directory: Path) -> None:
        self.a, self.b, self.c = (Company(directory / name, f"{name}.example") for name in "abc")
        policies = _POLICIES.format(b=self.b.ca, c=self.c.ca)
        self.node = Node(self.a, "a.example", policies, domains=("a.example",), users=_USERS, more=_LIMITS)

    def client(self, certificate: tuple[Path, Path] | None = None) -> SipClient:
        return SipClient(self.node.address, self.a.ca, "a.example", certificate)

    def alice(self) -> SipClient:
        """One that proved to be alice."""
        client = self.client()
        assert client.register("sip:alice@a.example", "secret").status == 200
        return client


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """One server for all: what one test does to it is there for the next, and in the end it has to serve a call."""
    mesh = Mesh(tmp_path_factory.mktemp("mesh"))
    with running(mesh.node):
        pid = mesh.node.pid
        yield mesh
        _call(mesh)
        assert mesh.node.pid == pid


def _call(mesh: Mesh) -> None:
    alice, bob = mesh.alice(), mesh.client()
    assert bob.register("sip:bob@a.example", "secret").status == 200
    alice.ask("INVITE", "sip:bob@a.example", "sip:alice@a.example", body="v=0\r\n")
    bob.respond(bob.request("INVITE"), 200, f"Contact: <sip:bob@{bob.here};transport=tls>")
    answer = alice.response()
    assert answer.status == 200
    alice.in_dialog("ACK", answer, answer.cseq.number)
    bob.request("ACK")
    alice.in_dialog("BYE", answer, answer.cseq.number + 1)
    bob.respond(bob.request("BYE"), 200)
    assert alice.response().status == 200


def _assert_closed(client: SipClient) -> None:
    with pytest.raises((ConnectionError, ssl.SSLEOFError)):
        client.response()


# Malformed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        (b"CSeq: 1 OPTIONS", b"CSeq: 1 INVITE", "CSeq method mismatch"),
        (b"CSeq: 1 OPTIONS", b"CSeq: 4294967296 OPTIONS", "CSeq"),
        (b"Max-Forwards: 70", b"Max-Forwards: many", "Max-Forwards"),
        (b"Max-Forwards: 70", b"Max-Forwards: 70\r\nno colon here", "header"),
        (b";tag=1", b"", "From has no tag"),
        (b"From: <sip:alice@a.example>", b"From: <sip:alice@", "malformed address"),
        (b"To: <sip:a.example>", b"To: <sip:%zz@a.example>", "begins no escape"),
        (b"Call-ID: 1@client.invalid\r\n", b"", "Call-ID"),
        (b"sip:a.example SIP", b"sip:a.example:99999999 SIP", "malformed sip URI"),
    ],
)
def test_malformed_request_is_told_what_is_wrong(mesh: Mesh, good: bytes, bad: bytes, said: str) -> None:
    client = mesh.client()
    assert good in _OPTIONS
    client.socket.sendall(_OPTIONS.replace(good, bad, 1))
    answer = client.response()
    assert answer.status == 400
    assert said.lower() in answer.reason.decode().lower()


def test_request_without_via_closes_its_flow(mesh: Mesh) -> None:
    client = mesh.client()
    via = b"Via: SIP/2.0/TLS client.invalid;branch=z9hG4bK1;rport\r\n"
    assert via in _OPTIONS
    client.socket.sendall(_OPTIONS.replace(via, b""))
    _assert_closed(client)


def test_two_lengths_are_answered_and_close_the_flow(mesh: Mesh) -> None:
    client = mesh.client()
    client.socket.sendall(
        _OPTIONS.replace(b"Content-Length: 0", b"Content-Length: 0\r\nContent-Length: 5") + b"hello"
    )
    assert client.response().status == 400
    _assert_closed(client)


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"\x00\xff" * 20000,
        b"\r" * 100,
        b"SIP/2.0\r\n\r\n",
        b"OPTIONS sip:a.example SIP/3.0\r\n\r\n",
        b"\x16\x03\x01\x02\x00" + b"\x00" * 40000,
    ],
    ids=["HTTP", "noise", "CR", "status line", "SIP 3", "TLS in TLS"],
)
def test_garbage_closes_its_flow(mesh: Mesh, garbage: bytes) -> None:
    client = mesh.client()
    client.socket.sendall(garbage)
    _assert_closed(client)


def test_plain_text_is_no_handshake(mesh: Mesh) -> None:
    with socket.create_connection((mesh.node.address, 5061), PATIENCE) as plain:
        plain.sendall(_OPTIONS)
        while plain.recv(4096):
            pass


# Bounds --------------------------------------------------------------------------------------------------


def test_a_body_beyond_the_bound_is_refused_before_it_is_sent(mesh: Mesh) -> None:
    client = mesh.client()
    client.socket.sendall(_OPTIONS.replace(b"Content-Length: 0", b"Content-Length: 65536"))
    assert client.response().status == 513
    _assert_closed(client)


@pytest.mark.parametrize("more", [b"X: " + b"x" * 40000, b"\r\n".join([b"X: x"] * 300)], ids=["long", "many"])
def test_a_head_beyond_the_bound_closes_the_flow(mesh: Mesh, more: bytes) -> None:
    client = mesh.client()
    client.socket.sendall(_OPTIONS.replace(b"Max-Forwards: 70", b"Max-Forwards: 70\r\n" + more))
    _assert_closed(client)


def test_a_field_beyond_the_bound_is_told_so(mesh: Mesh) -> None:
    client = mesh.client()
    client.socket.sendall(_OPTIONS.replace(b"Max-Forwards: 70", b"Max-Forwards: 70\r\nX: " + b"x" * 9000))
    answer = client.response()
    assert answer.status in (400, 513)
    assert b"longer than 8192 bytes" in answer.reason


def _trickle(client: SipClient) -> None:
    """A byte now and then, so that there is always something new; until the server has had enough."""
    for _ in range(int(PATIENCE / 0.05)):
        client.socket.sendall(b"x")
        if select.select([client.socket], [], [], 0.05)[0]:
            client.receive()


def test_a_message_that_trickles_in_is_cut(mesh: Mesh) -> None:
    client = mesh.client()
    client.socket.sendall(_OPTIONS[:40])
    with pytest.raises((ConnectionError, ssl.SSLEOFError)):
        _trickle(client)
    mesh.node.wait_for_log("a message took more than 0.5 seconds to arrive")


def test_who_begins_no_handshake_is_cut(mesh: Mesh) -> None:
    with socket.create_connection((mesh.node.address, 5061), PATIENCE) as silent, suppress(ConnectionError):
        assert silent.recv(1) == b""
    mesh.node.wait_for_log("no TLS handshake within 0.5 seconds")


def test_connections_from_one_address_are_bounded(tmp_path: Path) -> None:
    company = Company(tmp_path, "a.example")
    node = Node(company, "a.example", "", more="[limits]\nconnections_per_address = 3\n")

    def connect() -> SipClient:
        return SipClient(node.address, company.ca, "a.example")

    def accepted() -> bool:
        try:
            connect()
        except (ConnectionError, ssl.SSLEOFError):
            return False
        return True

    with running(node):
        # The probe that saw the port open has to be gone, as it is one of the three.
        node.wait_for_log("no flow with")
        clients = [connect() for _ in range(3)]
        assert not accepted()
        clients.pop().close()
        wait_for(accepted, "a connection that went does not make room for another")


def test_a_flood_of_keep_alives_is_answered_and_does_no_harm(mesh: Mesh) -> None:
    client = mesh.alice()
    client.socket.sendall(b"\r\n\r\n" * 20000)
    assert client.socket.recv(2) == b"\r\n"
    client.ask("OPTIONS", "sip:a.example", "sip:alice@a.example")
    assert client.response().status == 200


def test_pipelined_requests_are_all_answered(mesh: Mesh) -> None:
    client = mesh.alice()
    asked = range(50)
    client.socket.sendall(
        b"".join(
            _OPTIONS.replace(b"z9hG4bK1", b"z9hG4bK-%d" % n).replace(b"Call-ID: 1@", b"Call-ID: %d@" % n)
            for n in asked
        )
    )
    answers = [client.response() for _ in asked]
    assert {answer.status for answer in answers} == {200}
    assert {answer.call_id for answer in answers} == {b"%d@client.invalid" % n for n in asked}


# Trust ---------------------------------------------------------------------------------------------------


def _refused(mesh: Mesh, credential: tuple[Path, Path]) -> bytes:
    """What a server is told that shows this certificate and sends a request; its flow has to close then."""
    server = mesh.client(credential)
    server.ask("MESSAGE", "sip:alice@a.example", "sip:x@a.example")
    answer = server.response()
    assert answer.status == 403
    _assert_closed(server)
    return answer.reason


def test_an_unlisted_server_of_our_own_ca_is_refused(mesh: Mesh) -> None:
    assert b"(not-listed)" in _refused(mesh, mesh.a.certificate("fe9.a.example"))
    line = mesh.node.wait_for_log("[not-listed]")
    assert "fe9.a.example is on no server list and admitted by no federation policy" in line
    assert "'CN=fe9.a.example' issued by 'CN=CA of a.example'" in line


@pytest.mark.parametrize(
    ("name", "company", "anchors"),
    [("fe2.a.example", "b", "enterprise"), ("b.example", "c", "b.example"), ("b.example", "a", "b.example")],
    ids=["our server from a partner's CA", "a partner from another's CA", "a partner from our CA"],
)
def test_a_ca_vouches_only_for_its_own(mesh: Mesh, name: str, company: str, anchors: str) -> None:
    issuer: Company = getattr(mesh, company)
    assert b"(wrong-anchors)" in _refused(mesh, issuer.certificate(name))
    line = mesh.node.wait_for_log(f"'CN={name}' issued by 'CN=CA of {company}.example'")
    assert f"{name} was presented, but" in line
    assert "does not verify within the anchors" in line
    assert anchors in line


@pytest.mark.parametrize(
    ("uri", "sender", "more", "code"),
    [
        ("sip:x@c.example", "sip:x@b.example", "", b"no-relay"),
        ("sip:x@evil.example", "sip:x@b.example", "", b"no-relay"),
        ("sip:alice@a.example", "sip:x@b.example", "Route: <sip:c.example;lr>", b"no-relay"),
        (
            "sip:alice@a.example",
            "sip:x@b.example",
            "Route: <sip:a.example;lr>, <sip:c.example;lr>",
            b"no-relay",
        ),
        ("sip:alice@a.example", "sip:x@c.example", "", b"not-their-domain"),
        ("sip:alice@a.example", "sip:bob@a.example", "", b"not-their-domain"),
    ],
)
def test_a_partner_is_no_relay_and_speaks_for_itself(
    mesh: Mesh, uri: str, sender: str, more: str, code: bytes
) -> None:
    partner = mesh.client(mesh.b.certificate("b.example"))
    partner.ask("MESSAGE", uri, sender, more)
    answer = partner.response()
    assert answer.status == 403
    assert code in answer.reason


@pytest.mark.parametrize("route", ["", "Route: <sip:made~f1~f2@a.example:5061;transport=tls;lr>"])
def test_a_partner_gets_no_further_with_a_dialog_that_it_made_up(mesh: Mesh, route: str) -> None:
    partner = mesh.client(mesh.b.certificate("b.example"))
    lines = [
        "BYE sip:x@c.example SIP/2.0",
        "Via: SIP/2.0/TLS b.example;branch=z9hG4bKmade-up",
        "From: <sip:x@b.example>;tag=1",
        "To: <sip:y@c.example>;tag=2",
        f"Call-ID: {partner.here}",
        "CSeq: 1 BYE",
        "Max-Forwards: 70",
        route,
    ]
    partner.send("\n".join(line for line in lines if line))
    assert partner.response().status == 404


# Clients -------------------------------------------------------------------------------------------------


def test_who_has_proven_nothing_is_challenged(mesh: Mesh) -> None:
    client = mesh.client()
    client.ask("MESSAGE", "sip:bob@a.example", "sip:alice@a.example")
    answer = client.response()
    assert answer.status == 407
    assert answer.has(b"proxy-authenticate")


def test_from_has_to_be_the_proven_user(mesh: Mesh) -> None:
    client = mesh.alice()
    client.ask("MESSAGE", "sip:bob@a.example", "sip:bob@a.example")
    answer = client.response()
    assert (answer.status, answer.reason) == (403, b"From is not the proven user")


def test_nobody_registers_for_another(mesh: Mesh) -> None:
    client = mesh.alice()
    client.ask("REGISTER", "sip:a.example", "sip:alice@a.example", to="sip:bob@a.example")
    answer = client.response()
    assert (answer.status, answer.reason) == (403, b"To is not the proven user")


# kill -9 -------------------------------------------------------------------------------------------------


def test_an_acknowledged_registration_survives_kill(tmp_path: Path) -> None:
    company = Company(tmp_path, "a.example")
    node = Node(company, "a.example", "", domains=("a.example",), users=_USERS)
    with running(node):
        before = SipClient(node.address, company.ca, "a.example")
        assert before.register("sip:alice@a.example", "secret").status == 200
        node.kill()
        node.start()
        after = SipClient(node.address, company.ca, "a.example")
        answer: Response = after.register("sip:alice@a.example", "secret")
        contacts = b" ".join(answer.values(b"contact")).decode()
        assert before.here in contacts
        assert after.here in contacts
