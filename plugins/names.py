"""Host names: as an administrator writes them, and as a peer claims them.

Names are compared literally (RFC 5922 §7.2), so each is brought into one form first: lower case, A-labels
where international, no trailing dot. That is the form of :attr:`sipmesh.decisions.Presented.identities`.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from ipaddress import ip_address

import idna
from attrs import Attribute

from sipmesh.decisions import Presented
from sipmesh.sip import SipUri, Uri

_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")


def host_name(text: str) -> str:
    """A host name in the form in which names are compared.

    :raises ValueError: if it is none, or nothing that a certificate could prove: a wildcard, an IP address.
    """
    name = text.removesuffix(".")
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except UnicodeError as error:
            raise ValueError(f"{text[:80]!r} is no host name: {error}") from None
    name = name.lower()
    if len(name) > 253 or _HOST.fullmatch(name) is None:
        raise ValueError(f"{text[:80]!r} is no host name: letters, digits and hyphens, with dots between")
    if _is_address(name):
        raise ValueError(f"{text[:80]!r} is an IP address: certificates prove names, so give a name")
    return name


def host_names(texts: Iterable[str]) -> frozenset[str]:
    """Each of them as :func:`host_name` has it.

    :raises ValueError: if one is none.
    """
    return frozenset(host_name(text) for text in texts)


def domain_of(uri: Uri) -> str | None:
    """The domain that a URI is in; None where it is of a scheme that has none, as ``tel:``."""
    return uri.domain if isinstance(uri, SipUri) else None


def host_is_name(policy: object, attribute: Attribute[SipUri], uri: SipUri) -> None:
    """An attrs validator for a next hop: who answers there has to prove its host, so that must be a name.

    :raises ValueError: if it is none.
    """
    host_name(uri.domain)


def claimed(presented: Presented, known: Container[str]) -> str | None:
    """The first name of a peer's that is known; where we connected, only the name that we meant.

    :param known: names in the form of :func:`host_name`.
    """
    meant = presented.name_meant
    return next((n for n in presented.identities if n in known and meant in (None, n)), None)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
