"""SIP, SIPS and tel URIs: parse, write, compare.

RFC 3261 §19.1 and §25.1 for ``sip:`` and ``sips:``, RFC 3966 for ``tel:``. Text is ``str``; bytes that are
no UTF-8 survive a round trip as surrogate escapes.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from attrs import evolve, field, frozen

from .errors import SipSyntaxError

_SIP = re.compile(
    r"(?P<scheme>sips?):"
    r"(?:(?P<user>[^@:\s<>\"]+)(?::(?P<password>[^@\s<>\"]*))?@)?"
    r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<params>(?:;[^;?\s<>\"]+)*)"
    r"(?:\?(?P<headers>[^\s<>\"]*))?",
    re.IGNORECASE | re.ASCII,
)
_TEL = re.compile(r"tel:(?P<number>\+?[0-9a-f*#().-]+)(?P<params>(?:;[^;\s<>\"]+)*)", re.IGNORECASE | re.ASCII)

# RFC 3261 §19.1.4: a parameter in this set that only one URI has makes the two differ.
_MUST_AGREE = frozenset({"user", "ttl", "method", "maddr", "transport"})

Params = tuple[tuple[str, str | None], ...]


def parse_params(text: str) -> Params:
    """``;a=b;c`` as pairs, names in lower case, in their order; a name without ``=`` has the value None."""
    pairs: list[tuple[str, str | None]] = []
    for part in text.split(";"):
        if part:
            name, sep, value = part.partition("=")
            pairs.append((name.strip().lower(), value.strip() if sep else None))
    return tuple(pairs)


def format_params(params: Params) -> str:
    """The inverse of :func:`parse_params`."""
    return "".join(f";{n}" if v is None else f";{n}={v}" for n, v in params)


def _unescaped(text: str | None) -> bytes | None:
    return None if text is None else unquote_to_bytes(text.encode("utf-8", "surrogateescape"))


def _without_trailing_dot(host: str) -> str:
    return host[:-1] if host.endswith(".") else host


@frozen
class SipUri:
    """A ``sip:`` or ``sips:`` URI.

    :ivar scheme: ``"sip"`` or ``"sips"``.
    :ivar user: as written, escapes kept; None where there is none.
    :ivar host: lower case; a numeric IPv6 host keeps its brackets.
    :ivar port: 1 to 65535, None where none is written.
    :ivar params: names in lower case, values as written.
    :ivar headers: what follows ``?``, as written; None where there is none.
    """

    scheme: str
    user: str | None
    host: str
    port: int | None = None
    params: Params = ()
    headers: str | None = None
    password: str | None = field(default=None, repr=False)

    def param(self, name: str) -> str | None:
        """The value of a URI parameter; ``""`` if it stands there without one, None if it is absent."""
        for known, value in self.params:
            if known == name:
                return value or ""
        return None

    @property
    def aor(self) -> str:
        """The address of record that this URI names: ``sip:user@host``, unescaped, without port or parameters.

        RFC 3261 §10.3 step 5: the canonical form that indexes bindings. ``sips`` and ``sip`` share it, as a
        user has one set of bindings whichever way they are asked for.
        """
        host = _without_trailing_dot(self.host)
        if self.user is None:
            return f"sip:{host}"
        user = unquote_to_bytes(self.user.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")
        return f"sip:{user}@{host}"

    @property
    def domain(self) -> str:
        """The host in the form in which names are compared: lower case, no trailing dot."""
        return _without_trailing_dot(self.host)

    def with_params(self, *params: tuple[str, str | None]) -> SipUri:
        """The same URI with these parameters set, in place of any of the same name."""
        names = {n for n, _ in params}
        return evolve(self, params=tuple(p for p in self.params if p[0] not in names) + params)

    def equivalent(self, other: Uri) -> bool:
        """Whether two URIs are equal as RFC 3261 §19.1.4 says (not what ``==`` says: that compares spelling)."""
        if not isinstance(other, SipUri):
            return False
        if (self.scheme, self.host, self.port) != (other.scheme, other.host, other.port):
            return False
        if _unescaped(self.user) != _unescaped(other.user):
            return False
        if _unescaped(self.password) != _unescaped(other.password):
            return False
        return self._params_agree(other) and self._headers_agree(other)

    def _params_agree(self, other: SipUri) -> bool:
        mine, theirs = dict(self.params), dict(other.params)
        for name in mine.keys() | theirs.keys():
            if name in mine and name in theirs:
                a, b = _unescaped(mine[name]), _unescaped(theirs[name])
                if (a or b"").lower() != (b or b"").lower():
                    return False
            elif name in _MUST_AGREE:
                return False
        return True

    def _headers_agree(self, other: SipUri) -> bool:
        def parts(headers: str | None) -> list[tuple[str, bytes | None]]:
            pairs = (h.partition("=") for h in (headers or "").split("&") if h)
            return sorted(((n.lower(), _unescaped(v)) for n, _, v in pairs), key=repr)

        return parts(self.headers) == parts(other.headers)

    def __str__(self) -> str:
        user = ""
        if self.user is not None:
            user = self.user + (f":{self.password}" if self.password is not None else "") + "@"
        port = "" if self.port is None else f":{self.port}"
        headers = "" if self.headers is None else f"?{self.headers}"
        return f"{self.scheme}:{user}{self.host}{port}{format_params(self.params)}{headers}"

    def __bytes__(self) -> bytes:
        return str(self).encode("utf-8", "surrogateescape")


@frozen
class TelUri:
    """A ``tel:`` URI (RFC 3966).

    :ivar number: as written, visual separators kept; ``+`` first for a global number.
    """

    number: str
    params: Params = ()

    @property
    def digits(self) -> str:
        """The number without visual separators."""
        return re.sub(r"[().-]", "", self.number).lower()

    def equivalent(self, other: Uri) -> bool:
        """RFC 3966 §4: same digits, same parameters in any order."""
        if not isinstance(other, TelUri) or self.digits != other.digits:
            return False

        def folded(params: Params) -> list[tuple[str, str]]:
            return sorted((n, (v or "").lower()) for n, v in params)

        return folded(self.params) == folded(other.params)

    def __str__(self) -> str:
        return f"tel:{self.number}{format_params(self.params)}"

    def __bytes__(self) -> bytes:
        return str(self).encode("utf-8", "surrogateescape")


@frozen
class OtherUri:
    """A URI of a scheme that SIP carries but SipMesh does not route by (``urn:``, ``im:``, ``mailto:``)."""

    text: str

    @property
    def scheme(self) -> str:
        """In lower case."""
        return self.text.partition(":")[0].lower()

    def equivalent(self, other: Uri) -> bool:
        """By spelling: nothing else is known of the scheme."""
        return self == other

    def __str__(self) -> str:
        return self.text

    def __bytes__(self) -> bytes:
        return self.text.encode("utf-8", "surrogateescape")


Uri = SipUri | TelUri | OtherUri


# The same few Request-URIs, Routes and contacts come again with each message of a call and each call of a
# user; the bound keeps a stranger's inventions from costing memory.
@lru_cache(maxsize=8192)
def _parse(text: str) -> Uri:
    if m := _SIP.fullmatch(text):
        port = None if m["port"] is None else int(m["port"])
        if port is not None and not 0 < port < 65536:
            raise SipSyntaxError(f"port {port} in a URI is not between 1 and 65535")
        return SipUri(
            m["scheme"].lower(),
            m["user"],
            m["host"].lower(),
            port,
            parse_params(m["params"]) if m["params"] else (),
            m["headers"],
            m["password"],
        )
    if m := _TEL.fullmatch(text):
        return TelUri(m["number"], parse_params(m["params"]))
    scheme, colon, rest = text.partition(":")
    if not colon or not rest or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme) or re.search(r"[\s<>\"]", text):
        raise SipSyntaxError(f"not a URI: {text[:80]!r}")
    if scheme.lower() in {"sip", "sips", "tel"}:
        raise SipSyntaxError(f"malformed {scheme.lower()} URI: {text[:80]!r}")
    return OtherUri(text)


def parse_uri(text: str | bytes) -> Uri:
    """Parse any URI.

    :raises SipSyntaxError: if it is none, or a malformed ``sip:``, ``sips:`` or ``tel:`` one.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    return _parse(text)


def parse_sip_uri(text: str | bytes) -> SipUri:
    """Parse a URI that must be ``sip:`` or ``sips:``.

    :raises SipSyntaxError: if it is anything else.
    """
    uri = parse_uri(text)
    if not isinstance(uri, SipUri):
        raise SipSyntaxError(f"not a sip or sips URI: {str(uri)[:80]!r}")
    return uri
