"""Who says whom a request is from, to whom (RFC 3325), and whose credentials go further (RFC 3261 §22.3)."""

from __future__ import annotations

import pytest
from mesh_checks import nothing_is_left
from policies import ByDomain, Says, to
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal

from sipmesh.decisions import Challenge, FederatedPartner, Refuse, RequestContext
from sipmesh.proxy.authenticate import Authenticator
from sipmesh.proxy.users import UserRealm
from sipmesh.sip import Request
from sipmesh.sip.digest import MD5, DigestCredentialsHeader, NonceFactory, expected_response, ha1
from sipmesh.testing.mesh import MemoryFlow, PolicyBench

ASSERTED = "P-Asserted-Identity: <sip:carol@a.example>"
BOTH = "P-Asserted-Identity: <sip:carol@a.example>, <tel:+4930>"
PREFERRED = "P-Preferred-Identity: <sip:dave@a.example>"
KINDS = ("client", "server", "partner")


def peer(bench: PolicyBench, kind: str, name: str) -> MemoryFlow:
    if kind == "client":
        return bench.client(f"sip:{name}@a.example")
    return bench.server(f"{name}.example") if kind == "server" else bench.partner(f"{name}.example")


def between(source: str, destination: str) -> tuple[PolicyBench, MemoryFlow, MemoryFlow]:
    policy = Says(None)
    bench = PolicyBench(policy, ByDomain())
    sender, receiver = peer(bench, source, "x"), peer(bench, destination, "y")
    if destination == "client":
        # To a client one gets through its Path, as a registrar hands it out.
        policy.answer = to("sip:y@192.0.2.9", route=(bench.path_to(receiver),))
    return bench, sender, receiver


def passed(source: str, destination: str) -> tuple[list[bytes], bool]:
    """What arrives of the identities: asserted, and whether a preferred one does."""
    _, sender, receiver = between(source, destination)
    sender.ask("MESSAGE", "sip:bob@y.example", ASSERTED, "p-asserted-identity: <tel:+4930>", PREFERRED)
    request = receiver.request("MESSAGE")
    assert not request.has(b"route")
    return request.values(b"p-asserted-identity"), request.has(b"p-preferred-identity")


KEPT = [b"<sip:carol@a.example>", b"<tel:+4930>"]


@pytest.mark.parametrize("destination", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_identity_crosses_only_where_both_are_trusted(source: str, destination: str) -> None:
    asserted, preferred = passed(source, destination)
    if destination != "server":
        assert asserted == []
    elif source == "client":
        assert asserted == [b"<sip:x@a.example>"]
    else:
        assert asserted == (KEPT if source == "server" else [])
    # §5: what a stranger prefers is for us, the first who trust nobody's word.
    assert preferred == (source == "server")


@pytest.mark.parametrize("destination", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_the_same_for_responses(source: str, destination: str) -> None:
    _, sender, receiver = between(source, destination)
    sender.ask("MESSAGE", "sip:bob@y.example")
    receiver.respond(receiver.request(), 200, BOTH)
    trusted = source == destination == "server"
    assert sender.response().values(b"p-asserted-identity") == (KEPT if trusted else [])


def test_a_user_name_that_needs_escapes_gets_them() -> None:
    bench = PolicyBench(ByDomain())
    alice, fe2 = bench.client('sip:a <b>"\r\nc@a.example'), bench.server("fe2.a.example")
    alice.ask("MESSAGE", "sip:bob@fe2.a.example", "From: <sip:a%20%3cb%3e%22%0d%0ac@a.example>;tag=1")
    (asserted,) = fe2.request().values(b"p-asserted-identity")
    assert asserted.lower() == b"<sip:a%20%3cb%3e%22%0d%0ac@a.example>"


# Clients prove themselves -------------------------------------------------------------------------------------


def authenticator() -> Authenticator:
    checker = InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret", bob=b"hidden")
    return Authenticator(
        Portal(UserRealm("a.example"), [checker]),
        "a.example",
        NonceFactory(bytes(32), 300),
        (MD5,),
        lambda: 0.0,
    )


def proof(challenge: bytes, user: str, password: str, method: str, uri: str) -> str:
    nonce = challenge.split(b'nonce="')[1].split(b'"')[0].decode()
    header = DigestCredentialsHeader(user, "a.example", nonce, uri, "", MD5, "c", "auth", "00000001")
    response = expected_response(MD5, ha1(MD5, user, "a.example", password), method.encode(), header)
    return (
        f'Digest username="{user}", realm="a.example", nonce="{nonce}", uri="{uri}", response="{response}", '
        f'cnonce="c", qop=auth, nc=00000001'
    )


BOB = "sip:bob@b.example"
FOREIGN = (
    'Proxy-Authorization: Digest username="x", realm="b.example", nonce="n", uri="u", response="'
    + "0" * 32
    + '"'
)


def test_a_client_is_asked_once_and_its_own_credentials_go_no_further() -> None:
    bench = PolicyBench(ByDomain(), authenticator=authenticator())
    alice, partner = bench.client(), bench.partner("b.example")
    alice.ask("MESSAGE", BOB, "From: <sip:alice@a.example>;tag=1")
    challenged = alice.response()
    assert challenged.status == 407
    own = proof(challenged.first(b"proxy-authenticate") or b"", "alice", "secret", "MESSAGE", BOB)
    alice.ask(
        "MESSAGE",
        BOB,
        "From: <sip:alice@a.example>;tag=1",
        FOREIGN,
        f"Proxy-Authorization: {own}",
        f"Authorization: {own}",
        "Authorization: Basic eDp5",
        "Proxy-Authorization: Basic eDp5",
    )
    request = partner.request()
    assert [line.split(b",")[1].strip() for line in request.all(b"proxy-authorization")] == [
        b'realm="b.example"'
    ]
    assert request.all(b"authorization") == [b"Basic eDp5"]
    alice.ask("MESSAGE", BOB, "From: <sip:alice@a.example>;tag=2")
    assert partner.request()


@pytest.mark.parametrize("who", ["mallory", "sip:alice@b.example", "tel:+4930", "sip:alicE@a.example"])
def test_a_client_is_held_to_who_it_proved_to_be(who: str) -> None:
    bench = PolicyBench(ByDomain())
    alice, partner = bench.client("sip:alice@a.example"), bench.partner("b.example")
    uri = who if ":" in who else f"sip:{who}@a.example"
    alice.ask("MESSAGE", BOB, f"From: <{uri}>;tag=1")
    assert alice.response().status == 403
    assert partner.take() == []


def test_without_users_no_client_is_served() -> None:
    bench = PolicyBench(ByDomain())
    client, partner = bench.client(), bench.partner("b.example")
    client.ask("INVITE", BOB)
    assert client.response().status == 403
    assert partner.take() == []
    nothing_is_left(bench)


def test_a_policy_may_challenge_who_has_proven_itself() -> None:
    forward = to("sip:bob@b.example")
    bench = PolicyBench(Says(Challenge("sure?")), Says(forward), authenticator=authenticator())
    alice, partner = bench.client("sip:alice@a.example"), bench.partner("b.example")
    alice.ask("MESSAGE", BOB)
    challenge = alice.response().first(b"proxy-authenticate") or b""
    own = proof(challenge, "alice", "secret", "MESSAGE", BOB)
    alice.ask("MESSAGE", BOB, f"Proxy-Authorization: {own}")
    assert partner.request()


def test_a_challenge_does_not_let_one_user_speak_for_another() -> None:
    bench = PolicyBench(Says(Challenge("sure?")), Says(to(BOB)), authenticator=authenticator())
    alice, partner = bench.client("sip:alice@a.example"), bench.partner("b.example")
    alice.ask("MESSAGE", BOB)
    challenge = alice.response().first(b"proxy-authenticate") or b""
    other = proof(challenge, "bob", "hidden", "MESSAGE", BOB)
    alice.ask("MESSAGE", BOB, f"Proxy-Authorization: {other}")
    assert alice.response().status == 403
    assert partner.take() == []


def test_a_peer_that_nobody_judged_is_served_nothing() -> None:
    bench = PolicyBench(ByDomain())
    nobody, partner = bench.client(), bench.partner("b.example")
    nobody.peer = None
    nobody.ask("MESSAGE", BOB)
    assert nobody.response().status == 403
    nobody.ask("MESSAGE", BOB, "Route: <sip:b.example;lr>")
    assert nobody.response().status == 403
    assert partner.take() == []


def test_a_peer_that_was_refused_is_told_so_once() -> None:
    bench = PolicyBench(ByDomain())
    nobody = bench.server("fe2.a.example")
    nobody.peer, nobody.refusal, nobody.trusted = None, Refuse("secret reasons", "not-listed"), False
    nobody.ask("MESSAGE", BOB)
    response = nobody.response()
    assert (response.status, nobody.alive) == (403, False)
    assert b"not-listed" in response.reason
    assert b"secret" not in response.raw


# Partners -------------------------------------------------------------------------------------------------------


class Judging:
    """A federation policy that judges only."""

    def __init__(self, verdict: object) -> None:
        self.verdict = verdict

    def judge(self, request: Request, partner: FederatedPartner, context: RequestContext) -> object:
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict


@pytest.mark.parametrize(
    ("verdict", "status"),
    [(None, 200), (Refuse("no"), 403), (ZeroDivisionError(), 500), (False, 500), ("no", 500), (Refuse, 500)],
)
def test_a_partners_request_is_judged_and_nonsense_is_no_consent(verdict: object, status: int) -> None:
    federation: list = [Judging(None), Judging(verdict)]  # type: ignore[type-arg]
    bench = PolicyBench(Says(to("sip:fe2.a.example")), federation=federation)
    partner, fe2 = bench.partner("b.example"), bench.server("fe2.a.example")
    partner.ask("MESSAGE", "sip:bob@a.example")
    if status == 200:
        fe2.respond(fe2.request(), 200)
    assert partner.response().status == status
    assert fe2.take() == []
