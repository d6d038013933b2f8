"""Digest authentication: challenges, credentials, responses, nonces. Pure.

RFC 3261 §22 as RFC 8760 updates it, on RFC 7616: SHA-256 first, MD5 for those who know nothing better, and
``qop=auth`` only (without a qop there is no count, and a replay would look like a request).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from enum import Enum

from attrs import field, frozen

from .errors import SipSyntaxError

SHA_256 = "SHA-256"
MD5 = "MD5"
ALGORITHMS = (SHA_256, MD5)
"""What can be spoken, strongest first."""

_MAX_VALUE = 4096
_MAX_PARAMS = 32

_TOKEN = rb"[A-Za-z0-9.!%*_+`'~-]++"
_SCHEME = re.compile(rb"digest[ \t]+", re.IGNORECASE)
# The loops are possessive: hostile input costs its length, once.
_PARAM = re.compile(
    rb"[ \t,]*+(" + _TOKEN + rb")[ \t]*+=[ \t]*+"
    rb'(?:"([^"\\]*+(?:\\.[^"\\]*+)*+)"|(' + _TOKEN + rb"))[ \t]*+(?:,|\Z)",
    re.DOTALL,
)
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_HEX_RESPONSE = re.compile(r"[0-9A-Fa-f]{32,64}")
_HEX_COUNT = re.compile(r"[0-9A-Fa-f]{8}")


# Challenges and credentials --------------------------------------------------------------------------------


def format_challenge(realm: str, nonce: str, algorithm: str, stale: bool) -> bytes:
    """The value of a WWW-Authenticate or Proxy-Authenticate field (RFC 3261 §20.44, RFC 7616 §3.3).

    :param stale: say that it was the nonce that did not do, so that the client does not ask its user again.
    :raises ValueError: if the realm or the nonce has control characters, or the algorithm is unknown.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"{algorithm!r} is not one of {', '.join(ALGORITHMS)}")
    value = b'Digest realm=%b, nonce=%b, qop="auth", algorithm=%b' % (
        _quoted(realm),
        _quoted(nonce),
        algorithm.encode("ascii"),
    )
    return value + b", stale=true" if stale else value


def _quoted(text: str) -> bytes:
    raw = text.encode("utf-8")
    if _CONTROL.search(raw):
        raise ValueError("control character in a quoted string")
    return b'"' + raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


@frozen
class DigestCredentialsHeader:
    """The value of an Authorization or Proxy-Authorization field (RFC 3261 §20.7, RFC 7616 §3.4).

    Quoted strings are held, and hashed, without their quotes and escapes.

    :ivar uri: the digest-uri as written.
    :ivar response: 32 to 64 lower-case hex digits.
    :ivar algorithm: in upper case; MD5 where none is given (RFC 7616 §3.4).
    :ivar cnonce: given whenever ``qop`` is.
    :ivar qop: in lower case; None where none is given.
    :ivar nc: as written, eight hex digits; given whenever ``qop`` is.
    """

    username: str
    realm: str
    nonce: str
    uri: str
    response: str = field(repr=False)
    algorithm: str = MD5
    cnonce: str | None = None
    qop: str | None = None
    nc: str | None = None
    opaque: str | None = None

    @property
    def count(self) -> int:
        """``nc`` as a number; 0, which no client may send, where there is none."""
        return int(self.nc or "0", 16)


def parse_credentials(value: bytes) -> DigestCredentialsHeader:
    """Parse the value of one Authorization or Proxy-Authorization field.

    Unknown parameters are passed over; tokens may be quoted, as many clients do.

    :raises SipSyntaxError: if it is malformed, too long, of another scheme than Digest, names a parameter
        twice, or lacks one that is required.
    """
    params = _parse_params(value)
    for name in ("username", "realm", "nonce", "uri", "response"):
        if name not in params:
            raise SipSyntaxError(f"credentials without {name}")
    if _HEX_RESPONSE.fullmatch(params["response"]) is None:
        raise SipSyntaxError("the response in credentials is not a hash in hex")
    nc = params.get("nc")
    if nc is not None and _HEX_COUNT.fullmatch(nc) is None:
        raise SipSyntaxError("nc in credentials is not eight hex digits")
    qop = params.get("qop")
    if qop is not None and (nc is None or "cnonce" not in params):
        raise SipSyntaxError("credentials with qop need nc and cnonce")
    return DigestCredentialsHeader(
        username=params["username"],
        realm=params["realm"],
        nonce=params["nonce"],
        uri=params["uri"],
        response=params["response"].lower(),
        algorithm=params.get("algorithm", MD5).upper(),
        cnonce=params.get("cnonce"),
        qop=None if qop is None else qop.lower(),
        nc=nc,
        opaque=params.get("opaque"),
    )


def _parse_params(value: bytes) -> dict[str, str]:
    # What is wrong is named by its place only: the text may hold a secret.
    if len(value) > _MAX_VALUE:
        raise SipSyntaxError(f"credentials longer than {_MAX_VALUE} bytes")
    if _CONTROL.search(value):
        raise SipSyntaxError("control character in credentials")
    value = value.rstrip(b" \t,")
    scheme = _SCHEME.match(value)
    if scheme is None:
        raise SipSyntaxError("credentials of another scheme than Digest")
    params: dict[str, str] = {}
    at = scheme.end()
    while at < len(value):
        m = _PARAM.match(value, at)
        if m is None:
            raise SipSyntaxError(f"malformed credentials at byte {at}")
        name = m[1].decode("ascii").lower()
        if name in params:
            # Two readers that pick differently would check different things.
            raise SipSyntaxError(f"credentials with {name[:40]} twice")
        if len(params) == _MAX_PARAMS:
            raise SipSyntaxError(f"credentials with more than {_MAX_PARAMS} parameters")
        raw = m[3] if m[2] is None else _ESCAPED.sub(rb"\1", m[2])
        try:
            params[name] = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise SipSyntaxError(f"{name[:40]} in credentials is not UTF-8") from None
        at = m.end()
    return params


# Responses -------------------------------------------------------------------------------------------------


def _hash(algorithm: str, text: bytes) -> str:
    if algorithm == SHA_256:
        return hashlib.sha256(text).hexdigest()
    if algorithm == MD5:
        return hashlib.md5(text).hexdigest()  # noqa: S324 (RFC 8760 keeps it for clients that know no other)
    raise ValueError(f"{algorithm!r} is not one of {', '.join(ALGORITHMS)}")


def ha1(algorithm: str, username: str, realm: str, password: str | bytes) -> str:
    """``H(username:realm:password)`` in lower-case hex (RFC 7616 §3.4.2). To be kept like the password.

    :raises ValueError: if the algorithm is unknown.
    """
    secret = password.encode("utf-8") if isinstance(password, str) else password
    return _hash(algorithm, f"{username}:{realm}:".encode() + secret)


def expected_response(algorithm: str, ha1: str, method: bytes, header: DigestCredentialsHeader) -> str:
    """The response that a client gives that knows the secret, in lower-case hex (RFC 7616 §3.4.1).

    Compare with :func:`hmac.compare_digest`.

    :param ha1: what :func:`ha1` gave for the same algorithm.
    :param method: the request's method.
    :raises ValueError: if the algorithm is unknown, or the header's qop is not ``auth``.
    """
    if header.qop != "auth":
        raise ValueError("only qop=auth has a response here")
    ha2 = _hash(algorithm, method + b":" + header.uri.encode("utf-8"))
    text = f"{ha1}:{header.nonce}:{header.nc}:{header.cnonce}:auth:{ha2}"
    return _hash(algorithm, text.encode("utf-8"))


# Nonces ----------------------------------------------------------------------------------------------------


class NonceState(Enum):
    """What a nonce is worth."""

    VALID = "valid"
    STALE = "stale"
    FORGED = "forged"


_STAMP = 8
_SALT = 9
_MAC = 16
# 33 bytes are 44 characters to the bit: one nonce has one spelling, so none gets a second count.
_NONCE = re.compile(r"[A-Za-z0-9_-]{44}", re.ASCII)


@frozen(eq=False)
class NonceFactory:
    """Makes nonces and knows them again without remembering any (RFC 7616 §5.4).

    ``base64url(stamp || salt || HMAC-SHA256(key, stamp || salt || binding)[:16])``, the stamp being
    microseconds.

    :ivar key: at least 16 secret bytes.
    :ivar lifetime: seconds that a nonce is good for.
    """

    key: bytes = field(repr=False)
    lifetime: float

    @key.validator
    def _long_enough(self, _attribute: object, value: bytes) -> None:
        if len(value) < 16:
            raise ValueError("the key for nonces is shorter than 16 bytes")

    def make(self, now: float, binding: bytes) -> str:
        """A fresh nonce.

        :param now: Unix time, seconds.
        :param binding: what identifies the flow; the nonce is worth nothing on another.
        """
        head = int(now * 1_000_000).to_bytes(_STAMP, "big") + secrets.token_bytes(_SALT)
        return base64.urlsafe_b64encode(head + self._mac(head, binding)).decode("ascii")

    def check(self, nonce: str, now: float, binding: bytes) -> NonceState:
        """What a nonce that came back is worth.

        ``STALE`` is one that we made for this flow, now too old, or from the future because the clock was
        set back. All else is ``FORGED``; so is one that we made for another flow: nothing tells it from an
        invention.
        """
        if _NONCE.fullmatch(nonce) is None:
            return NonceState.FORGED
        raw = base64.urlsafe_b64decode(nonce)
        head, mac = raw[: _STAMP + _SALT], raw[_STAMP + _SALT :]
        if not hmac.compare_digest(mac, self._mac(head, binding)):
            return NonceState.FORGED
        age = now - int.from_bytes(head[:_STAMP], "big") / 1_000_000
        # A microsecond of slack: the stamp was rounded, and a nonce may be used the instant that it is made.
        return NonceState.VALID if -1e-6 <= age <= self.lifetime else NonceState.STALE

    def _mac(self, head: bytes, binding: bytes) -> bytes:
        # The head has a fixed length, so the binding cannot run into it.
        return hmac.digest(self.key, head + binding, "sha256")[:_MAC]


class NonceCounts:
    """The highest count accepted for each of the last few nonces of one flow (RFC 7616 §3.4, ``nc``).

    It belongs on the flow, which is what the nonces are bound to. A nonce that was pushed out would be
    accepted anew; only the client at the other end of the flow could do that, to repeat what it said itself.
    """

    __slots__ = ("_highest",)

    KEPT = 4

    def __init__(self) -> None:
        """Nothing accepted yet."""
        self._highest: dict[str, int] = {}

    def accept(self, nonce: str, nc: int) -> bool:
        """Whether this count is new, that is, higher than any before; if so it is remembered.

        :param nonce: one that :meth:`NonceFactory.check` found valid for this flow.
        """
        if nc <= self._highest.get(nonce, 0):
            return False
        # Taken out and put back, so that the nonce longest unused stands first.
        self._highest.pop(nonce, None)
        self._highest[nonce] = nc
        if len(self._highest) > self.KEPT:
            del self._highest[next(iter(self._highest))]
        return True
