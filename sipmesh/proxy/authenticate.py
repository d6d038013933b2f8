"""Is the client who it says it is? Digest over twisted.cred.

RFC 3261 §22, RFC 8760. What a nonce is worth is :mod:`sipmesh.sip.digest`'s to say, who a user is the
portal's.

Each answer that turns on the nonce says ``stale``, whether it is too old, was made for an earlier flow, was
invented, or was used up. RFC 7616 §3.3: a client that is told ``stale=false`` has to take its password for
wrong and ask its user, so one that merely reconnected would trouble its user for nothing; and ``stale=true``
gives nothing away, as the response has not been looked at.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from attrs import Attribute, define, field, frozen
from twisted.cred.error import LoginFailed, UnhandledCredentials
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from sipmesh.interfaces import ISipDigestCredentials, IUser
from sipmesh.sip import Request, SipSyntaxError, SipUri, parse_uri
from sipmesh.sip.digest import (
    ALGORITHMS,
    DigestCredentialsHeader,
    NonceCounts,
    NonceFactory,
    NonceState,
    expected_response,
    format_challenge,
    ha1,
    parse_credentials,
)

# A client carries credentials for the few realms on its way; more are not worth the parsing.
_MAX_CREDENTIALS = 8


@frozen
class Proven:
    """The client proved that it is this user."""

    user: IUser


@frozen
class NotProven:
    """The client proved nothing: challenge it.

    :ivar stale: what the challenge is to say of the nonce.
    :ivar because: why, for the trace and the log; never for the client.
    """

    stale: bool
    because: str


AuthResult = Proven | NotProven


@implementer(ISipDigestCredentials)
@define(eq=False)
class SipDigestCredentials:
    """What a checker gets to check.

    :ivar checked: whether a checker has looked at the response.
    """

    _header: DigestCredentialsHeader
    _method: bytes
    checked: bool = field(default=False, init=False)

    @property
    def username(self) -> bytes:
        """As the client gave it."""
        return self._header.username.encode("utf-8")

    @property
    def realm(self) -> str:
        """The realm of the challenge."""
        return self._header.realm

    @property
    def algorithm(self) -> str:
        """``SHA-256`` or ``MD5``."""
        return self._header.algorithm

    def checkPassword(self, password: bytes | str) -> bool:
        """Whether the response was made with this password."""
        header = self._header
        return self.checkHash(ha1(header.algorithm, header.username, header.realm, password))

    def checkHash(self, digestHash: bytes | str) -> bool:
        """Whether the response was made with this ``H(username:realm:password)`` in hex."""
        self.checked = True
        known = digestHash.decode("ascii") if isinstance(digestHash, bytes) else digestHash
        header = self._header
        expected = expected_response(header.algorithm, known.lower(), self._method, header)
        return hmac.compare_digest(expected, header.response)


def _strongest_first(algorithms: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(algorithms, key=lambda a: ALGORITHMS.index(a) if a in ALGORITHMS else -1))


@frozen(eq=False)
class Authenticator:
    """Challenges clients of one realm and judges what they answer. Reactor's thread.

    :ivar portal: gives an :class:`~sipmesh.interfaces.IUser` for ISipDigestCredentials.
    :ivar realm: what users' clients show them, and part of what they hash.
    :ivar algorithms: those offered and accepted, of :data:`sipmesh.sip.digest.ALGORITHMS`.
    :ivar now: the time, in seconds of Unix time.
    """

    portal: Portal
    realm: str
    nonces: NonceFactory
    algorithms: tuple[str, ...] = field(converter=_strongest_first)
    now: Callable[[], float]

    @algorithms.validator
    def _known(self, _attribute: Attribute[tuple[str, ...]], value: tuple[str, ...]) -> None:
        if not value or not set(value) <= set(ALGORITHMS):
            raise ValueError(f"algorithms must be some of {', '.join(ALGORITHMS)}, not {value!r}")

    def challenge(self, binding: bytes, stale: bool = False) -> list[bytes]:
        """The values of the challenge: one header field each, strongest first, as RFC 8760 §2.3 has it.

        :param binding: what identifies the flow that the challenge goes to.
        """
        nonce = self.nonces.make(self.now(), binding)
        return [format_challenge(self.realm, nonce, algorithm, stale) for algorithm in self.algorithms]

    def check(
        self, request: Request, header_name: bytes, binding: bytes, counts: NonceCounts
    ) -> AuthResult | Deferred[AuthResult]:
        """Does the request prove its user? At once if the portal answers at once.

        :param header_name: ``AUTHORIZATION`` for a registrar, ``PROXY_AUTHORIZATION`` for a proxy, as
            :mod:`sipmesh.sip.names` has them.
        :param binding: what identifies the flow that the request came on.
        :param counts: what that flow remembers of its nonces.
        :raises Exception: whatever a checker or the realm raises that is no refusal. A Deferred fails with
            the same.
        :raises UnhandledCredentials: if no checker of the portal can check digest responses: our fault, which
            must not pass for the user's.
        """
        picked = self._pick(request.all(header_name))
        if isinstance(picked, NotProven):
            return picked
        trouble = self._trouble(picked, request, binding, counts)
        return trouble if trouble is not None else self._log_in(SipDigestCredentials(picked, request.method))

    def _pick(self, values: list[bytes]) -> DigestCredentialsHeader | NotProven:
        """One a request, so that a request is one guess."""
        because = "no credentials for our realm"
        for value in values[:_MAX_CREDENTIALS]:
            try:
                header = parse_credentials(value)
            except SipSyntaxError as error:
                because = error.reason
                continue
            if header.realm != self.realm:
                continue
            if header.algorithm in self.algorithms:
                return header
            because = f"the algorithm {header.algorithm[:20]!r} was not offered"
        return NotProven(False, because)

    def _trouble(
        self, header: DigestCredentialsHeader, request: Request, binding: bytes, counts: NonceCounts
    ) -> NotProven | None:
        if header.qop != "auth":
            return NotProven(False, "credentials without qop=auth")
        if not _same_resource(header.uri, request):
            return NotProven(False, f"the digest uri {header.uri[:80]!r} is not the Request-URI")
        state = self.nonces.check(header.nonce, self.now(), binding)
        if state is not NonceState.VALID:
            what = "has expired" if state is NonceState.STALE else "was not made for this flow"
            return NotProven(True, f"the nonce {what}")
        # Counted before the password is checked: while a checker takes its time, no copy may slip through.
        if not counts.accept(header.nonce, header.count):
            return NotProven(True, f"nc {header.nc} was used before: a replay")
        return None

    def _log_in(self, credentials: SipDigestCredentials) -> AuthResult | Deferred[AuthResult]:
        def proven(login: tuple[type[Interface], object, Callable[[], None]]) -> AuthResult:
            _, avatar, log_out = login
            # The user is a value and stands for no session: what the realm holds for one, it can let go.
            log_out()
            return Proven(IUser(avatar))

        def refused(failure: Failure) -> AuthResult:
            error = failure.value
            if isinstance(error, UnhandledCredentials) or not isinstance(error, LoginFailed):
                failure.raiseException()
            if not credentials.checked:
                # A checker that does not know the user has not hashed anything: the time must not tell.
                credentials.checkPassword(b"")
            name = credentials.username.decode("utf-8")
            return NotProven(False, f"wrong user name or password for {name[:80]!r}")

        login = self.portal.login(credentials, None, IUser)
        return _now_if_settled(login.addCallbacks(proven, refused))


def _same_resource(written: str, request: Request) -> bool:
    """Whether a digest-uri and the Request-URI name the same thing.

    RFC 3261 §22.4 lets a server ask for less than equality. Clients differ from themselves in what surrounds
    the address: a parameter, the port left out, ``sips`` for ``sip``. That is not worth a refusal; another
    user or host is.
    """
    if written.encode("utf-8") == request.uri_bytes:
        return True
    try:
        uri, wanted = parse_uri(written), request.uri
    except SipSyntaxError:
        return False
    if not isinstance(uri, SipUri) or not isinstance(wanted, SipUri):
        return uri.equivalent(wanted)
    ports = {uri.port, wanted.port} - {None}
    return len(ports) < 2 and uri.domain == wanted.domain and _user(uri) == _user(wanted)


def _user(uri: SipUri) -> bytes | None:
    return None if uri.user is None else unquote_to_bytes(uri.user.encode("utf-8", "surrogateescape"))


def _now_if_settled(later: Deferred[AuthResult]) -> AuthResult | Deferred[AuthResult]:
    settled: list[AuthResult | Failure] = []

    def note(outcome: AuthResult | Failure) -> AuthResult | Failure:
        settled.append(outcome)
        return outcome

    later.addBoth(note)
    if not settled:
        return later
    outcome = settled[0]
    if isinstance(outcome, Failure):
        later.addErrback(lambda _: None)  # raised here instead
        outcome.raiseException()
    return outcome
