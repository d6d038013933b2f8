"""The values of the header fields that a proxy and a registrar touch.

Each parser takes one value (unfolded ``bytes``) and returns an immutable object. RFC 3261 §20 and §25.1.
"""

from __future__ import annotations

import re
from functools import lru_cache

from attrs import frozen

from .errors import SipSyntaxError
from .uri import Params, Uri, format_params, parse_uri

# In each of these, where one repeat ends the next can't go on with what it took, or it is possessive
# (``*+``): no input makes a match backtrack more than linearly. Of characters only, not of groups of several
# parts: there CPython before 3.11.5 forgets to give back what a last, failed repeat took. (IGNORECASE would cost
# a quarter of the time.)
_TOKEN = rb"[A-Za-z0-9.!%*_+`'~-]+"
_VIA_VALUE = rb'(?:"(?:[^"\\]|\\.)*+"|[^\x00-\x20\x7f;,"]*+)'
_VIA = re.compile(
    rb"[Ss][Ii][Pp][ \t]*/[ \t]*2\.0[ \t]*/[ \t]*(" + _TOKEN + rb")[ \t]+"
    rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?)(?:[ \t]*:[ \t]*([0-9]{1,5}))?[ \t]*"
    rb"((?:;[ \t]*+" + _TOKEN + rb"+[ \t]*+(?:=[ \t]*+" + _VIA_VALUE + rb"[ \t]*+)?)*)",
    re.DOTALL,
)
VIA_PARAM = re.compile(rb";[ \t]*(" + _TOKEN + rb")[ \t]*(?:=[ \t]*(" + _VIA_VALUE + rb")[ \t]*)?", re.DOTALL)
"""One parameter in :attr:`Via.params`: its name and its value."""

_CSEQ = re.compile(rb"([0-9]{1,10})[ \t]+(" + _TOKEN + rb")")
# A display name without quotes is more than tokens in practice; but with a comma, readers see two addresses.
_NAME_ADDR = re.compile(
    r'(?P<display>"(?:[^"\\]|\\.)*+"\s*|[^<",]*)<(?P<uri>[^<>]*)>(?P<params>.*)', re.DOTALL
)
_PARAM = re.compile(
    r'\s*;\s*(?P<name>[^\s=;,"<>]+)(?:\s*=\s*(?P<value>"(?:[^"\\]|\\.)*+"|[^\s;,"<>]+)?)?\s*', re.DOTALL
)
_SEPARATOR = re.compile(rb'[",<>]')
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)

MAGIC_COOKIE = b"z9hG4bK"
"""RFC 3261 §8.1.1.7: a branch that begins so is unique across space and time."""


def split_values(line: bytes) -> list[bytes]:
    """Split at the commas that separate values: those outside quotes and angle brackets (RFC 3261 §7.3.1)."""
    if b"," not in line:
        return [line] if line else []
    if b'"' not in line and b"<" not in line:
        return [v for v in (part.strip() for part in line.split(b",")) if v]
    values, start, bracket, at = [], 0, False, 0
    while m := _SEPARATOR.search(line, at):
        at = m.end()
        c = m[0]
        if c == b'"':
            quoted = _QUOTED.match(line, at - 1)
            at = quoted.end() if quoted else len(line)
        elif c == b",":
            if not bracket:
                values.append(line[start : at - 1].strip())
                start = at
        else:
            bracket = c == b"<"
    values.append(line[start:].strip())
    return [v for v in values if v]


def parse_header_params(text: str) -> Params:
    """``;tag=x;q="0.5"``: names in lower case, values as written, quotes kept.

    :raises SipSyntaxError: if something else stands there, or a name comes twice (RFC 3261 §7.3.1).
    """
    pairs: dict[str, str | None] = {}
    at = 0
    while at < len(text):
        m = _PARAM.match(text, at)
        if m is None:
            if not text[at:].strip():
                break
            raise SipSyntaxError(f"malformed header parameter: {text[at : at + 40]!r}")
        name = m["name"].lower()
        if name in pairs:
            raise SipSyntaxError(f"header parameter twice: {name[:40]}")
        pairs[name] = m["value"]
        at = m.end()
    return tuple(pairs.items())


def _param(params: Params, name: str) -> str | None:
    for known, value in params:
        if known == name:
            return value or ""
    return None


@frozen
class Via:
    """One Via value (RFC 3261 §20.42, RFC 3581, RFC 5923 §9 for ``alias``).

    :ivar transport: in upper case: ``"TLS"``.
    :ivar host: the sent-by host in lower case, IPv6 in brackets.
    :ivar port: the sent-by port; None where none is written.
    :ivar branch: ``b""`` where there is none.
    :ivar params: all parameters, raw, from the first ``;`` on.
    """

    transport: str
    host: bytes
    port: int | None
    branch: bytes
    params: bytes = b""

    def param(self, name: bytes) -> bytes | None:
        """A parameter's value; ``b""`` if it stands there without one, None if it is absent."""
        for m in VIA_PARAM.finditer(self.params):
            if m[1].lower() == name:
                return m[2] or b""
        return None


# As nearly all of them are written; what fits this fits the whole grammar, and costs a third to read.
_PLAIN_VIA = re.compile(
    rb"SIP/2\.0/([A-Z]{2,4}) ([a-z0-9-]+(?:\.[a-z0-9-]+)*)(?::([1-9][0-9]{0,3}|[1-5][0-9]{4}))?"
    rb"(;branch=([A-Za-z0-9.!%*_+`'~-]+)(?:;[a-z]+(?:=[A-Za-z0-9.!%*_+`'~:-]+)?)*)"
)


def parse_via(value: bytes) -> Via:
    """Parse the first value of a Via field: others may follow it after a comma.

    :raises SipSyntaxError: if it is malformed.
    """
    m = _PLAIN_VIA.fullmatch(value)
    if m is not None:
        transport, host, port, params, branch = m.groups()
        return Via(transport.decode("ascii"), host, int(port) if port else None, branch, params)
    if b"," in value:
        value = next(iter(split_values(value)), b"")
    m = _VIA.fullmatch(value)
    if m is None:
        raise SipSyntaxError(f"malformed Via: {value[:80].decode('utf-8', 'replace')}")
    transport, host, port, params = m.groups(b"")
    number = int(port) if port else None
    if number is not None and not 0 < number < 65536:
        raise SipSyntaxError("the port in Via is not between 1 and 65535")
    branch = b""
    at = params.find(b";branch=")
    if at >= 0 and b'"' not in params:
        end = params.find(b";", at + 8)
        branch = params[at + 8 : end if end > 0 else None].strip()
    elif params:
        branch = Via("", b"", None, b"", params).param(b"branch") or b""
    return Via(transport.decode("ascii").upper(), host.lower(), number, branch, params)


@frozen
class CSeq:
    """:ivar number: 0 to 2**31-1 (RFC 3261 §8.1.1.5)."""

    number: int
    method: bytes


def parse_cseq(value: bytes) -> CSeq:
    """:raises SipSyntaxError: if it is malformed."""
    m = _CSEQ.fullmatch(value)
    if m is None or int(m[1]) >= 2**31:
        raise SipSyntaxError(f"malformed CSeq: {value[:80].decode('utf-8', 'replace')}")
    return CSeq(int(m[1]), m[2])


@frozen
class Address:
    """A name-addr or addr-spec with header parameters: From, To, Contact, Route, P-Asserted-Identity.

    :ivar display: the display name, unquoted; ``""`` where there is none.
    :ivar params: the header's parameters (not the URI's), values as written.
    """

    uri: Uri
    display: str = ""
    params: Params = ()

    def param(self, name: str) -> str | None:
        """A header parameter; ``""`` if it stands there without a value, None if it is absent."""
        return _param(self.params, name)

    @property
    def tag(self) -> str | None:
        """The tag of a From or To."""
        return _param(self.params, "tag")

    def __str__(self) -> str:
        display = ""
        if self.display:
            display = '"' + self.display.replace("\\", "\\\\").replace('"', '\\"') + '" '
        return f"{display}<{self.uri}>{format_params(self.params)}"

    def __bytes__(self) -> bytes:
        return str(self).encode("utf-8", "surrogateescape")


# From, To and Route come again with each message of a dialog. What is long is not worth keeping, and a
# stranger must not be able to fill memory with it.
_KEPT = 256


@lru_cache(maxsize=4096)
def _kept_address(value: bytes) -> Address:
    return _parse_address(value)


def parse_address(value: bytes) -> Address:
    """Parse one name-addr or addr-spec.

    Without angle brackets, all that follows a semicolon belongs to the header, not to the URI, and a question
    mark may not stand in it (RFC 3261 §20.10).

    :raises SipSyntaxError: if it is malformed.
    """
    return _kept_address(value) if len(value) <= _KEPT else _parse_address(value)


def _parse_address(value: bytes) -> Address:
    text = value.decode("utf-8", "surrogateescape").strip()
    if "<" in text:
        m = _NAME_ADDR.fullmatch(text)
        if m is None:
            # Not with what was got: a password may stand in it.
            raise SipSyntaxError("malformed address")
        display = m["display"].strip()
        if display.startswith('"'):
            display = re.sub(r"\\(.)", r"\1", display[1:-1], flags=re.DOTALL)
        return Address(parse_uri(m["uri"]), display, parse_header_params(m["params"]))
    uri, semicolon, params = text.partition(";")
    if "?" in uri:
        raise SipSyntaxError("a URI with ? needs angle brackets")
    return Address(parse_uri(uri.strip()), "", parse_header_params(semicolon + params))


# Likewise, for who wants no more of a From or To than its tag. What fits this fits parse_address, with this tag.
_PLAIN_TAGGED = re.compile(
    rb'(?:"[A-Za-z0-9.!%*_+`~ -]*" ?|[A-Za-z0-9.!*_+`~ -]*)'
    rb"<sips?:(?:[A-Za-z0-9._+-]+@)?[a-z0-9-]+(?:\.[a-z0-9-]+)*(?::[1-9][0-9]{0,3})?>"
    rb"(?:;tag=([A-Za-z0-9.!%*_+`'~-]+))?"
)


def parse_tag(value: bytes) -> bytes:
    """The tag of a From or To; ``b""`` where there is none. The rest is checked, but not kept.

    :raises SipSyntaxError: if the value is malformed.
    """
    m = _PLAIN_TAGGED.fullmatch(value)
    if m is not None:
        return m[1] or b""
    return (parse_address(value).tag or "").encode("utf-8", "surrogateescape")


def parse_qvalue(text: str | None) -> float:
    """The ``q`` of a Contact, 0 to 1 with at most three decimals; 1.0 where none is given (RFC 3261 §20.10).

    :raises SipSyntaxError: if it is none.
    """
    if text is None:
        return 1.0
    if re.fullmatch(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?", text) is None:
        raise SipSyntaxError(f"malformed q value: {text[:20]!r}")
    return float(text)


def parse_delta_seconds(value: bytes | str) -> int:
    """A whole number of seconds, at most 2**32-1 (RFC 3261 §20.19).

    :raises SipSyntaxError: if it is none.
    """
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    if re.fullmatch(r"[0-9]{1,10}", text) is None or int(text) >= 2**32:
        raise SipSyntaxError(f"not a number of seconds: {text[:20]!r}")
    return int(text)
