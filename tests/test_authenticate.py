"""Authentication through twisted.cred: who gets in, who does not, and what each is told."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import define, field
from twisted.cred.checkers import FilePasswordDB, ICredentialsChecker, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import LoginDenied, UnauthorizedLogin, UnhandledCredentials
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from sipmesh.interfaces import ISipDigestCredentials, IUser
from sipmesh.proxy.authenticate import Authenticator, AuthResult, NotProven, Proven, SipDigestCredentials
from sipmesh.proxy.users import User, UserRealm
from sipmesh.sip import Request, SipUri, parse_message, parse_uri
from sipmesh.sip.digest import MD5, SHA_256, NonceCounts, NonceFactory, ha1, parse_credentials
from sipmesh.sip.names import AUTHORIZATION, PROXY_AUTHORIZATION

FLOW = b"flow-1"
REALM = "a.example"
URI = "sip:bob@a.example"
HASHES: dict[str, Callable[[bytes], str]] = {
    SHA_256: lambda b: hashlib.sha256(b).hexdigest(),
    MD5: lambda b: hashlib.md5(b).hexdigest(),
}


@define
class Scene:
    """An authenticator, a flow to it and a client on that flow, which computes its responses for itself."""

    checker: ICredentialsChecker = field(
        factory=lambda: InMemoryUsernamePasswordDatabaseDontUse(alice=b"wonderland")
    )
    algorithms: tuple[str, ...] = (MD5, SHA_256)
    clock: Clock = field(factory=Clock)
    counts: NonceCounts = field(factory=NonceCounts)
    nonces: NonceFactory = field(factory=lambda: NonceFactory(bytes(32), 300))

    @property
    def authenticator(self) -> Authenticator:
        portal = Portal(UserRealm("a.example"), [self.checker])
        return Authenticator(portal, REALM, self.nonces, self.algorithms, self.clock.seconds)

    def nonce(self, flow: bytes = FLOW) -> str:
        return nonce_in(self.authenticator.challenge(flow)[0])

    def check(
        self, *values: bytes, method: bytes = b"INVITE", uri: str = URI
    ) -> AuthResult | Deferred[AuthResult]:
        request = a_request(PROXY_AUTHORIZATION, values, method, uri)
        return self.authenticator.check(request, PROXY_AUTHORIZATION, FLOW, self.counts)


def nonce_in(challenge: bytes) -> str:
    m = re.search(rb'nonce="([^"]+)"', challenge)
    assert m is not None
    return m[1].decode()


def a_request(name: bytes, values: tuple[bytes, ...], method: bytes = b"INVITE", uri: str = URI) -> Request:
    lines = b"".join(name + b": " + value + b"\r\n" for value in values)
    request = parse_message(
        method + b" " + uri.encode() + b" SIP/2.0\r\n" + lines + b"Content-Length: 0\r\n\r\n"
    )
    assert isinstance(request, Request)
    return request


def answer(
    nonce: str,
    password: bytes = b"wonderland",
    username: str = "alice",
    algorithm: str = SHA_256,
    nc: int = 1,
    uri: str = URI,
    method: bytes = b"INVITE",
    realm: str = REALM,
    qop: str = "auth",
) -> bytes:
    hashed = HASHES[algorithm]
    secret = hashed(f"{username}:{realm}:".encode() + password)
    resource = hashed(method + b":" + uri.encode())
    response = hashed(f"{secret}:{nonce}:{nc:08x}:c0:{qop}:{resource}".encode())
    return (
        f'Digest username="{username}", realm="{realm}", nonce="{nonce}", uri="{uri}", '
        f'response="{response}", algorithm={algorithm}, cnonce="c0", qop={qop}, nc={nc:08x}'
    ).encode()


def refused(result: object, stale: bool = False) -> str:
    assert isinstance(result, NotProven)
    assert result.stale is stale, result
    return result.because


ALICE = Proven(User("sip:alice@a.example"))


# Who gets in


@pytest.mark.parametrize("algorithm", [SHA_256, MD5])
def test_right_password_proves_the_user_at_once(algorithm: str) -> None:
    scene = Scene()
    assert scene.check(answer(scene.nonce(), algorithm=algorithm)) == ALICE


def test_password_file_works_as_it_is(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_bytes(b"bob:builder\nalice:wonderland\n")
    password_file: Callable[[str], ICredentialsChecker] = FilePasswordDB
    scene = Scene(password_file(str(users)))
    assert scene.check(answer(scene.nonce())) == ALICE
    assert "wrong" in refused(scene.check(answer(scene.nonce(), b"builder")))


def test_registrar_reads_authorization_and_proxy_its_own() -> None:
    scene = Scene()
    request = a_request(AUTHORIZATION, (answer(scene.nonce()),))
    assert "no credentials" in refused(
        scene.authenticator.check(request, PROXY_AUTHORIZATION, FLOW, NonceCounts())
    )
    assert scene.authenticator.check(request, AUTHORIZATION, FLOW, NonceCounts()) == ALICE


def test_our_realm_is_found_among_others() -> None:
    scene = Scene()
    nonce = scene.nonce()
    others = (b"Bearer x", answer(nonce, realm="b.example"), b"Digest garbage")
    assert scene.check(*others, answer(nonce)) == ALICE


def test_of_credentials_for_our_realm_an_algorithm_offered_is_picked() -> None:
    scene = Scene(algorithms=(SHA_256,))
    nonce = scene.nonce()
    assert scene.check(answer(nonce, algorithm=MD5), answer(nonce)) == ALICE


def test_next_request_counts_on() -> None:
    scene = Scene()
    nonce = scene.nonce()
    assert [scene.check(answer(nonce, nc=nc)) for nc in (1, 2, 5)] == [ALICE] * 3


# Who does not


@pytest.mark.parametrize("values", [(), (b"Digest garbage",), (b"",), (b"Basic YTpi",)])
def test_no_usable_credentials(values: tuple[bytes, ...]) -> None:
    refused(Scene().check(*values))


def test_only_so_many_credentials_are_read() -> None:
    scene = Scene()
    nonce = scene.nonce()
    refused(scene.check(*[answer(nonce, realm="b.example")] * 8, answer(nonce)))


def test_wrong_password_and_unknown_user_look_alike() -> None:
    scene = Scene()
    wrong = refused(scene.check(answer(scene.nonce(), b"wrong")))
    unknown = refused(scene.check(answer(scene.nonce(), username="mallory")))
    assert wrong.replace("alice", "mallory") == unknown


def test_unknown_user_costs_the_same_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []

    def counted(*args: str) -> str:
        hashed.append(args[1])
        return ha1(*args)

    monkeypatch.setattr("sipmesh.proxy.authenticate.ha1", counted)
    scene = Scene()
    for username in ("alice", "mallory"):
        scene.check(answer(scene.nonce(), b"wrong", username))
    assert hashed == ["alice", "mallory"]


def test_algorithm_that_was_not_offered() -> None:
    scene = Scene(algorithms=(SHA_256,))
    assert "not offered" in refused(scene.check(answer(scene.nonce(), algorithm=MD5)))


@pytest.mark.parametrize("qop", ["auth-int", "none"])
def test_qop_that_was_not_offered(qop: str) -> None:
    scene = Scene()
    assert "qop" in refused(scene.check(answer(scene.nonce(), qop=qop)))


def test_response_for_another_method() -> None:
    scene = Scene()
    assert "wrong" in refused(scene.check(answer(scene.nonce(), method=b"BYE")))


def test_expired_nonce_is_stale() -> None:
    scene = Scene()
    nonce = scene.nonce()
    scene.clock.advance(301)
    assert "expired" in refused(scene.check(answer(nonce)), stale=True)


@pytest.mark.parametrize("password", [b"wonderland", b"wrong"])
def test_nonce_of_another_flow_or_of_nobody_is_stale(password: bytes) -> None:
    scene = Scene()
    for nonce in (scene.nonce(b"flow-2"), "invented", "A" * 44):
        assert "not made for this flow" in refused(scene.check(answer(nonce, password)), stale=True)


def test_replay_is_stale() -> None:
    scene = Scene()
    value = answer(scene.nonce())
    assert scene.check(value) == ALICE
    assert "replay" in refused(scene.check(value), stale=True)


def test_a_guess_uses_its_count_up() -> None:
    scene = Scene()
    nonce = scene.nonce()
    refused(scene.check(answer(nonce, b"wrong")))
    refused(scene.check(answer(nonce)), stale=True)


# The digest-uri


@pytest.mark.parametrize(
    ("written", "requested"),
    [
        ("sip:bob@a.example;transport=tls", "sip:bob@a.example"),
        ("sip:%62ob@A.EXAMPLE:5061", "sip:bob@a.example"),
        ("sips:bob@a.example.", "sip:bob@a.example;user=phone"),
        ("sip:a.example", "sip:a.example;transport=tls"),
        ("tel:+1-555-0100", "tel:+15550100"),
        ("urn:service:sos", "urn:service:sos"),
    ],
)
def test_equivalent_uri_is_accepted(written: str, requested: str) -> None:
    scene = Scene()
    assert scene.check(answer(scene.nonce(), uri=written), uri=requested) == ALICE


@pytest.mark.parametrize(
    ("written", "requested"),
    [
        ("sip:carol@a.example", "sip:bob@a.example"),
        ("sip:Bob@a.example", "sip:bob@a.example"),
        ("sip:bob@b.example", "sip:bob@a.example"),
        ("sip:bob@a.example:5062", "sip:bob@a.example:5061"),
        ("sip:a.example", "sip:bob@a.example"),
        ("tel:+15550100", "sip:+15550100@a.example"),
        ("urn:service:sos.fire", "urn:service:sos"),
        ("sip:bob@", "sip:bob@a.example"),
        ("*", "sip:bob@a.example"),
    ],
)
def test_uri_of_something_else_is_refused(written: str, requested: str) -> None:
    scene = Scene()
    assert "Request-URI" in refused(scene.check(answer(scene.nonce(), uri=written), uri=requested))


# Checkers that take their time, or fail


@implementer(ICredentialsChecker)
@define
class Slow:
    credentialInterfaces = (ISipDigestCredentials,)
    asked: list[Deferred[bytes | tuple[()]]] = field(factory=list)

    def requestAvatarId(self, credentials: object) -> Deferred[bytes | tuple[()]]:
        self.asked.append(Deferred())
        return self.asked[-1]


@implementer(ICredentialsChecker)
@define
class Failing:
    error: Exception
    credentialInterfaces = (ISipDigestCredentials,)

    def requestAvatarId(self, credentials: object) -> Deferred[bytes | tuple[()]]:
        raise self.error


@implementer(ICredentialsChecker)
class Cleartext:
    credentialInterfaces = (IUsernamePassword,)

    def requestAvatarId(self, credentials: object) -> Deferred[bytes | tuple[()]]:
        raise AssertionError("never asked")


def pending(result: AuthResult | Deferred[AuthResult]) -> list[AuthResult | Failure]:
    assert isinstance(result, Deferred)
    settled: list[AuthResult | Failure] = []
    result.addBoth(settled.append)
    assert not settled
    return settled


@pytest.mark.parametrize("avatar", [b"alice", b"alice@a.example"])
def test_slow_checker_gives_a_deferred(avatar: bytes) -> None:
    checker = Slow()
    scene = Scene(checker)
    settled = pending(scene.check(answer(scene.nonce())))
    checker.asked[0].callback(avatar)
    assert settled == [ALICE]


def test_slow_refusal_and_slow_trouble() -> None:
    checker = Slow()
    scene = Scene(checker)
    no = pending(scene.check(answer(scene.nonce())))
    trouble = pending(scene.check(answer(scene.nonce())))
    checker.asked[0].errback(UnauthorizedLogin())
    checker.asked[1].errback(OSError("the disk is gone"))
    refused(no[0])
    assert isinstance(trouble[0], Failure)
    assert isinstance(trouble[0].value, OSError)


def test_a_copy_does_not_slip_through_while_the_checker_thinks() -> None:
    scene = Scene(Slow())
    value = answer(scene.nonce())
    pending(scene.check(value))
    refused(scene.check(value), stale=True)


def test_login_denied_is_a_refusal() -> None:
    scene = Scene(Failing(LoginDenied()))
    refused(scene.check(answer(scene.nonce())))


def test_trouble_of_the_checker_is_no_refusal() -> None:
    scene = Scene(Failing(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        scene.check(answer(scene.nonce()))


def test_checker_for_cleartext_only_is_a_fault_of_ours() -> None:
    scene = Scene(Cleartext())
    with pytest.raises(UnhandledCredentials):
        scene.check(answer(scene.nonce()))


# Challenges, credentials, users


def test_challenges_come_strongest_first_whatever_the_configuration() -> None:
    challenges = Scene(algorithms=(MD5, SHA_256)).authenticator.challenge(FLOW, stale=True)
    assert [c.rpartition(b"algorithm=")[2] for c in challenges] == [
        b"SHA-256, stale=true",
        b"MD5, stale=true",
    ]


@pytest.mark.parametrize("algorithms", [(), ("SHA-1",), (SHA_256, "SHA-512-256")])
def test_algorithms_that_nobody_speaks_are_refused(algorithms: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="algorithms must be some of"):
        _ = Scene(algorithms=algorithms).authenticator


def test_credentials_keep_the_contract() -> None:
    value = answer("n")
    credentials = SipDigestCredentials(parse_credentials(value), b"INVITE")
    assert verifyObject(ISipDigestCredentials, credentials)
    assert (credentials.username, credentials.realm, credentials.algorithm) == (b"alice", REALM, SHA_256)
    known = ha1(SHA_256, "alice", REALM, "wonderland")
    assert credentials.checkHash(known)
    assert credentials.checkHash(known.encode())
    assert not credentials.checkHash("0" * 64)
    assert credentials.checkPassword("wonderland")
    assert credentials.checkPassword(b"wonderland")
    assert not credentials.checkPassword("Wonderland")
    assert parse_credentials(value).response not in repr(credentials)


@pytest.mark.parametrize(
    ("avatar", "aor"),
    [
        (b"alice", "sip:alice@a.example"),
        ("alice", "sip:alice@a.example"),
        (b"alice@B.example.", "sip:alice@b.example"),
        ("zoë".encode(), "sip:zoë@a.example"),
    ],
)
def test_avatar_id_becomes_the_aor(avatar: bytes | str, aor: str) -> None:
    _, user, _ = UserRealm("a.example").requestAvatar(avatar, None, IUser)
    assert verifyObject(IUser, user)
    assert user == User(aor)
    uri = parse_uri(aor)
    assert isinstance(uri, SipUri)
    assert uri.aor == aor


@pytest.mark.parametrize("avatar", [b"", b"@a.example", b"alice@", b"alice@a@b"])
def test_avatar_id_that_names_nobody(avatar: bytes) -> None:
    with pytest.raises(ValueError, match="avatar id"):
        UserRealm("a.example").requestAvatar(avatar, None, IUser)


def test_anonymous_is_nobody() -> None:
    with pytest.raises(UnauthorizedLogin):
        UserRealm("a.example").requestAvatar((), None, IUser)


def test_realm_gives_users_only() -> None:
    with pytest.raises(NotImplementedError):
        UserRealm("a.example").requestAvatar(b"alice", None, ISipDigestCredentials)
