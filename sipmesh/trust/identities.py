"""Which SIP domains a certificate names, and whether one of them is the name that was meant (RFC 5922 §7)."""

from __future__ import annotations

import re
from ipaddress import ip_address

import idna
from cryptography.x509 import (
    Certificate,
    DNSName,
    DuplicateExtension,
    ExtensionNotFound,
    SubjectAlternativeName,
    UniformResourceIdentifier,
    UnsupportedGeneralNameType,
)

_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
MOST = 100
"""How many names of one certificate are looked at: a certificate is a stranger's input until its chain is verified."""


def normalize(name: str) -> str:
    """A host name in the form in which names are compared: lower case, A-labels, no trailing dot.

    :raises ValueError: if it is no host name (empty, too long, odd characters, a wildcard).
    """
    name = name.removesuffix(".")
    if not name.isascii():
        name = idna.encode(name, uts46=True).decode("ascii")
    name = name.lower()
    if len(name) > 253 or _HOST.fullmatch(name) is None:
        raise ValueError(f"not a host name: {name[:80]!r}")
    return name


def identities(certificate: Certificate) -> tuple[str, ...]:
    """The SIP domain identities in a certificate, in its order (RFC 5922 §7.1).

    URIs of the scheme ``sip`` without a user part; if there is none, dNSNames. Never the common name: §7.1
    allows it only where there is no subjectAltName, and no CA worth trusting issues such certificates any more.
    Names that can't be compared literally (wildcards, NULs, spaces) are no identities (§7.2), nor are IP addresses.
    """
    try:
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except (ExtensionNotFound, DuplicateExtension, UnsupportedGeneralNameType, ValueError):
        # What does not parse (ValueError), or says two things, proves nothing.
        return ()
    uris = names.get_values_for_type(UniformResourceIdentifier)[:MOST]
    found = [uri[4:] for uri in uris if uri[:4].lower() == "sip:" and "@" not in uri]
    hosts = [re.split(r"[;?:]", host, maxsplit=1)[0] for host in found]
    if not hosts:
        hosts = names.get_values_for_type(DNSName)[:MOST]
    good: dict[str, None] = {}
    for host in hosts:
        # No trailing dot is forgiven here: a name is as the CA wrote it, and "a.example." is not what it proved.
        if not host.endswith(".") and not _is_address(host):
            try:
                good[normalize(host)] = None
            except ValueError:
                continue
    return tuple(good)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
