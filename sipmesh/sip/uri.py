"""SIP, SIPS and tel URIs: parse, write, compare.

RFC 3261 §19.1 and §25.1 for ``sip:`` and ``sips:``, RFC 3966 for ``tel:``. Text is ``str``; bytes that are
no UTF-8 survive a round trip as surrogate escapes.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from urllib.parse import quote, unquote_to_bytes

from attrs import evolve, field, frozen

from .errors import SipSyntaxError

# What no part of a URI may hold. Bytes above 127 are let through: they do come, if against the grammar.
_BAD = r"\x00-\x20\x7f<>\""
_PARAMS = rf"(?P<params>(?:;[^;?={_BAD}]+(?:=[^;?{_BAD}]*)?)*)"
_SIP = re.compile(
    r"(?P<scheme>sips?):"
    rf"(?:(?P<user>[^@:{_BAD}]+)(?::(?P<password>[^@{_BAD}]*))?@)?"
    r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    rf"{_PARAMS}(?:\?(?P<headers>[^{_BAD}]*))?",
    re.IGNORECASE | re.ASCII,
)
_TEL = re.compile(rf"tel:(?P<number>\+?[0-9a-f*#().-]+){_PARAMS}", re.IGNORECASE | re.ASCII)
_OTHER = re.compile(rf"(?P<scheme>[a-z][a-z0-9+.-]*):[^{_BAD}]+", re.IGNORECASE | re.ASCII)
_NOT_ESCAPE = re.compile(r"%(?![0-9a-f]{2})", re.IGNORECASE)
_ESCAPE = re.compile(rb"%([0-9a-f]{2})", re.IGNORECASE)
_UNRESERVED_NAME = re.compile(r"[a-z0-9_.!~*'()-]+", re.ASCII)

# RFC 3261 §19.1.4 and §25.1: escaped, these are not the same as bare; and a bare % would begin an escape.
_RESERVED = frozenset(b";/?:@&=+$,%")

_CACHED = 256
"""Characters in the longest URI whose parse is kept."""

# RFC 3261 §19.1.4: a parameter in this set that only one URI has makes the two differ.
_MUST_AGREE = frozenset({"user", "ttl", "method", "maddr", "transport"})

Params = tuple[tuple[str, str | None], ...]


def parse_params(text: str) -> Params:
    """``;a=b;c`` as pairs, names in lower case, in their order; a name without ``=`` has the value None.

    :raises SipSyntaxError: if a name comes twice with two values (RFC 3261 §19.1.1): two readers could pick
        differently. The same value twice, as phones in the field write ``transport=tls``, misleads nobody.
    """
    pairs: dict[str, str | None] = {}
    for part in text.split(";"):
        if part:
            name, sep, value = part.partition("=")
            name = _plain_name(name.strip().lower())
            given = value.strip() if sep else None
            if pairs.setdefault(name, given) != given:
                raise SipSyntaxError(f"the URI parameter {name[:40]} is there twice")
    return tuple(pairs.items())


def _plain_name(name: str) -> str:
    """``%6c%72`` is ``lr`` (RFC 4475 §3.1.1.3), so that escapes hide no parameter from who looks for it."""
    if "%" in name:
        plain = unquote_to_bytes(name).decode("ascii", "replace").lower()
        if _UNRESERVED_NAME.fullmatch(plain):
            return plain
    return name


def format_params(params: Params) -> str:
    """The inverse of :func:`parse_params`."""
    return "".join(f";{n}" if v is None else f";{n}={v}" for n, v in params)


def _comparable(text: str | None) -> bytes | None:
    """With each character escaped or bare as RFC 3261 §19.1.4 sees no difference."""
    return None if text is None else _ESCAPE.sub(_bare, text.encode("utf-8", "surrogateescape"))


def _bare(escape: re.Match[bytes]) -> bytes:
    code = int(escape[1], 16)
    return escape[0].upper() if code in _RESERVED else bytes((code,))


def _comparable_host(host: str) -> str:
    """RFC 5954 §4.2: IPv6 addresses are equal if their 128 bits are."""
    return IPv6Address(host[1:-1]).exploded if host.startswith("[") else host


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
        """The address of record that this URI names: ``sip:user@host``, unescaped, no port, no parameters.

        RFC 3261 §10.3 step 5: the canonical form that indexes bindings. ``sips`` and ``sip`` share it, as a
        user has one set of bindings whichever way they are asked for. It is a key, and not for the wire: what
        was escaped in it, line ends too, stands there bare.
        """
        host = _without_trailing_dot(self.host)
        if self.user is None:
            return f"sip:{host}"
        user = unquote_to_bytes(self.user.encode("utf-8", "surrogateescape")).decode(
            "utf-8", "surrogateescape"
        )
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
        """Whether two URIs are equal as RFC 3261 §19.1.4 has it; ``==`` compares spelling."""
        if not isinstance(other, SipUri):
            return False
        if (self.scheme, self.port) != (other.scheme, other.port):
            return False
        if _comparable_host(self.host) != _comparable_host(other.host):
            return False
        if _comparable(self.user) != _comparable(other.user):
            return False
        if _comparable(self.password) != _comparable(other.password):
            return False
        return self._params_agree(other) and self._headers_agree(other)

    def _params_agree(self, other: SipUri) -> bool:
        mine, theirs = dict(self.params), dict(other.params)
        for name in mine.keys() | theirs.keys():
            if name in mine and name in theirs:
                a, b = _comparable(mine[name]), _comparable(theirs[name])
                if (a or b"").lower() != (b or b"").lower():
                    return False
            elif name in _MUST_AGREE:
                return False
        return True

    def _headers_agree(self, other: SipUri) -> bool:
        def parts(headers: str | None) -> list[tuple[bytes, bytes]]:
            pairs = (h.partition("=") for h in (headers or "").split("&") if h)
            return sorted(((_comparable(n) or b"").lower(), _comparable(v) or b"") for n, _, v in pairs)

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


def _parse(text: str) -> Uri:
    if m := _SIP.fullmatch(text):
        return _sip_uri(m)
    if m := _TEL.fullmatch(text):
        return TelUri(m["number"], parse_params(m["params"]))
    m = _OTHER.fullmatch(text)
    # What was got is not in the reason: a password may stand in it.
    if m is None:
        raise SipSyntaxError("not a URI")
    scheme = m["scheme"].lower()
    if scheme in {"sip", "sips", "tel"}:
        raise SipSyntaxError(f"malformed {scheme} URI")
    return OtherUri(text)


def _sip_uri(m: re.Match[str]) -> SipUri:
    port = None if m["port"] is None else int(m["port"])
    if port is not None and not 0 < port < 65536:
        raise SipSyntaxError(f"port {port} in a URI is not between 1 and 65535")
    if "%" in m[0] and _NOT_ESCAPE.search(m[0]):
        raise SipSyntaxError("% in a URI that begins no escape")
    host = m["host"].lower()
    if host.startswith("["):
        try:
            IPv6Address(host[1:-1])
        except AddressValueError:
            raise SipSyntaxError("malformed IPv6 address in a URI") from None
    params = parse_params(m["params"]) if m["params"] else ()
    return SipUri(m["scheme"].lower(), m["user"], host, port, params, m["headers"], m["password"])


# The same few Request-URIs, Routes and contacts come again with each message of a call and each call of a
# user; the bounds, on their number and on their length, keep a stranger's inventions from costing memory.
_parse_cached = lru_cache(maxsize=8192)(_parse)


def escape_user(aor: str) -> str:
    """An address of record, as :attr:`SipUri.aor` has it, with its user escaped again: fit for a message."""
    scheme, _, rest = aor.partition(":")
    user, at, host = rest.rpartition("@")
    escaped = quote(user.encode("utf-8", "surrogateescape"), safe="-_.!~*'()&=+$,;?/")
    return f"{scheme}:{escaped}{at}{host}"


def parse_uri(text: str | bytes) -> Uri:
    """Parse any URI.

    :raises SipSyntaxError: if it is none, or a malformed ``sip:``, ``sips:`` or ``tel:`` one.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    return _parse_cached(text) if len(text) <= _CACHED else _parse(text)


def parse_sip_uri(text: str | bytes) -> SipUri:
    """Parse a URI that must be ``sip:`` or ``sips:``.

    :raises SipSyntaxError: if it is anything else.
    """
    uri = parse_uri(text)
    if not isinstance(uri, SipUri):
        raise SipSyntaxError("not a sip or sips URI")
    return uri
