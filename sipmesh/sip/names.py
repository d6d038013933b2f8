"""Header field names: one canonical form for each, whatever case or compact form it was written in.

The canonical form is the full name in lower case, as ``bytes``. RFC 3261 §7.3.1 (case), §7.3.3 and §20
(compact forms), and the RFCs that each later compact form comes from.
"""

from __future__ import annotations

import re

VIA = b"via"
FROM = b"from"
TO = b"to"
CALL_ID = b"call-id"
CSEQ = b"cseq"
CONTACT = b"contact"
MAX_FORWARDS = b"max-forwards"
ROUTE = b"route"
RECORD_ROUTE = b"record-route"
PATH = b"path"
REQUIRE = b"require"
PROXY_REQUIRE = b"proxy-require"
SUPPORTED = b"supported"
UNSUPPORTED = b"unsupported"
EXPIRES = b"expires"
MIN_EXPIRES = b"min-expires"
CONTENT_LENGTH = b"content-length"
AUTHORIZATION = b"authorization"
PROXY_AUTHORIZATION = b"proxy-authorization"
WWW_AUTHENTICATE = b"www-authenticate"
PROXY_AUTHENTICATE = b"proxy-authenticate"
P_ASSERTED_IDENTITY = b"p-asserted-identity"
P_PREFERRED_IDENTITY = b"p-preferred-identity"
PRIVACY = b"privacy"

_COMPACT = {
    b"a": b"accept-contact",  # RFC 3841
    b"b": b"referred-by",  # RFC 3892
    b"c": b"content-type",
    b"d": b"request-disposition",  # RFC 3841
    b"e": b"content-encoding",
    b"f": FROM,
    b"i": CALL_ID,
    b"j": b"reject-contact",  # RFC 3841
    b"k": SUPPORTED,
    b"l": CONTENT_LENGTH,
    b"m": CONTACT,
    b"n": b"identity-info",  # RFC 4474
    b"o": b"event",  # RFC 6665
    b"r": b"refer-to",  # RFC 3515
    b"s": b"subject",
    b"t": TO,
    b"u": b"allow-events",  # RFC 6665
    b"v": VIA,
    b"x": b"session-expires",  # RFC 4028
    b"y": b"identity",  # RFC 8224
}

# How the names are mostly spelt, so that the common case is one look-up and allocates nothing.
_SPELT = (
    b"Via From To Call-ID CSeq Contact Max-Forwards Route Record-Route Path Require Proxy-Require Supported "
    b"Unsupported Expires Min-Expires Content-Length Content-Type Authorization Proxy-Authorization "
    b"WWW-Authenticate Proxy-Authenticate P-Asserted-Identity P-Preferred-Identity Privacy User-Agent Server "
    b"Allow Accept Event Subscription-State Session-Expires Min-SE Date Subject Reason Warning Retry-After"
).split()
SPELLINGS = {name: name.lower() for name in _SPELT}
SPELLINGS |= _COMPACT | {c.upper(): full for c, full in _COMPACT.items()}
"""The canonical forms of the common spellings, for who can't afford to call :func:`canonical` for these."""

_TOKEN = re.compile(rb"[A-Za-z0-9.!%*_+`'~-]+")


def canonical(name: bytes) -> bytes | None:
    """The canonical form of a field name as it stands before the colon; None if it is no token.

    White space between name and colon is allowed (RFC 3261 §7.3.1: ``Subject : lunch``).
    """
    known = SPELLINGS.get(name)
    if known is not None:
        return known
    lower = name.rstrip(b" \t").lower()
    if _TOKEN.fullmatch(lower) is None:
        return None
    return _COMPACT.get(lower, lower)
