"""What ``sipmesh check`` says of certificates: ours, its key, and the CAs that we trust."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import (
    BasicConstraints,
    Certificate,
    DNSName,
    ExtendedKeyUsage,
    ExtensionNotFound,
    ObjectIdentifier,
    SubjectAlternativeName,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from ..decisions import ENTERPRISE, TrustAnchors
from ..server.configuration import Server, Tls, Trust
from ..trust.anchors import AnchorSets, describe, load_certificates
from ..trust.identities import identities
from .findings import Finding, error, unreadable, warning

SOON = timedelta(days=30)

_SIP_DOMAIN = ObjectIdentifier("1.3.6.1.5.5.7.3.20")  # id-kp-sipDomain, RFC 5924
_PURPOSES = {
    ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth, for the connections that we accept",
    ExtendedKeyUsageOID.CLIENT_AUTH: "clientAuth, for the connections that we open",
}


def check_own(file: Path, tls: Tls, server: Server | None, now: datetime) -> Iterator[Finding]:
    """Our certificate and its key, as far as they can be judged without anchors.

    :param server: None where that section doesn't fit, so that the name can't be checked.
    """
    chain: tuple[Certificate, ...] = ()
    try:
        chain = load_certificates(tls.certificate)
    except OSError as e:
        yield unreadable(file, "tls.certificate", e)
    except ValueError as e:
        yield error(
            file, "tls.certificate", "PEM certificates, our own first", e, "`sipmesh ca issue` makes one"
        )
    yield from _check_key(file, tls.key, chain)
    if chain:
        for certificate in chain:
            yield from _check_dates(file, "tls.certificate", certificate, now)
        yield from _check_purposes(file, chain[0])
        if server is not None:
            yield from _check_name(file, chain[0], server)


def check_trusted(file: Path, trust: Trust, tls: Tls | None, now: datetime) -> Iterator[Finding]:
    """The anchors of the enterprise, and whether our own chain verifies within them.

    :param tls: None where that section doesn't fit.
    """
    anchors: list[Certificate] = []
    for i, path in enumerate(trust.enterprise):
        key = f"trust.enterprise[{i}]"
        try:
            found = load_certificates(path)
        except OSError as e:
            yield unreadable(file, key, e)
        except ValueError as e:
            yield error(file, key, "PEM certificates of CAs", e, "give the certificate of your enterprise CA")
        else:
            anchors += found
            yield from check_anchors(file, key, found, now)
    if anchors and tls is not None:
        origin = ", ".join(str(path) for path in trust.enterprise)
        yield from _check_chain(file, tls, TrustAnchors(ENTERPRISE, tuple(anchors), origin))


def check_anchors(file: Path, key: str, anchors: Sequence[Certificate], now: datetime) -> Iterator[Finding]:
    """CA certificates that we trust: that they are CAs', and when they end."""
    for certificate in anchors:
        yield from _check_dates(file, key, certificate, now)
        try:
            is_ca = certificate.extensions.get_extension_for_class(BasicConstraints).value.ca
        except (ExtensionNotFound, ValueError):
            is_ca = False
        if not is_ca:
            yield error(
                file,
                key,
                "certificates of CAs",
                f"one that is not a CA's: {describe(certificate)}",
                "give the certificate of the CA that issued it",
            )


def _check_key(file: Path, path: Path, chain: tuple[Certificate, ...]) -> Iterator[Finding]:
    try:
        mode = path.stat().st_mode
        data = path.read_bytes()
    except OSError as e:
        yield unreadable(file, "tls.key", e)
        return
    # A group may read it: that is how Debian's ssl-cert shares keys with the servers that need them.
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        got = f"{path} with the mode {stat.S_IMODE(mode):04o}"
        yield error(file, "tls.key", "a key that its owner alone may read", got, f"chmod 600 {path}")
    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError) as e:
        # The text of a TypeError says that a password is wanted; of neither, what is in the file.
        what = "an encrypted one" if isinstance(e, TypeError) else f"none that can be read in {path}"
        yield error(
            file, "tls.key", "an unencrypted private key in PEM", what, "`sipmesh ca issue` makes one"
        )
        return
    if chain and chain[0].public_key() != key.public_key():
        yield error(
            file,
            "tls.key",
            "the key of the first certificate in tls.certificate",
            f"another certificate's key; the certificate is that of {describe(chain[0])}",
            "name the key that was made with it, and put our own certificate first, before intermediate ones",
        )


def _check_dates(file: Path, key: str, certificate: Certificate, now: datetime) -> Iterator[Finding]:
    who = describe(certificate)
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    remedy = "have it renewed; `sipmesh ca issue` does that for a server of yours"
    if now > end:
        yield error(file, key, "a certificate that is valid", f"{who}, which expired on {end.date()}", remedy)
    elif now < begin:
        got = f"{who}, which is valid from {begin.isoformat()}"
        yield error(file, key, "a certificate that is valid", got, "is this machine's clock right?")
    elif end - now < SOON:
        got = f"{who}, which expires on {end.date()}"
        yield warning(file, key, f"a certificate that is valid for {SOON.days} days more", got, remedy)


def _check_purposes(file: Path, certificate: Certificate) -> Iterator[Finding]:
    try:
        purposes = set(certificate.extensions.get_extension_for_class(ExtendedKeyUsage).value)
    except (ExtensionNotFound, ValueError):
        return  # RFC 5280 §4.2.1.12: without it a certificate is for every purpose
    if purposes & {ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE, _SIP_DOMAIN}:
        return
    for purpose, text in _PURPOSES.items():
        if purpose not in purposes:
            yield error(
                file,
                "tls.certificate",
                f"extended key usage {text}",
                "a certificate without",
                "servers connect both ways: have one issued for both; `sipmesh ca issue` does",
            )


def _check_name(file: Path, certificate: Certificate, server: Server) -> Iterator[Finding]:
    proven = identities(certificate)
    if server.name in proven:
        return
    try:
        dns = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
        shadowed = server.name in (name.lower() for name in dns.get_values_for_type(DNSName))
    except (ExtensionNotFound, ValueError):
        shadowed = False
    remedy = f"correct server.name, or have one issued that names it: `sipmesh ca issue {server.name}`"
    if shadowed:
        remedy = (
            "where there is a sip URI in subjectAltName, DNS names don't count (RFC 5922 §7.1): "
            f"have URI:sip:{server.name} added"
        )
    got = f"one that proves {', '.join(proven) or 'no name'}"
    yield error(file, "tls.certificate", f"a certificate that proves server.name, {server.name}", got, remedy)


def _check_chain(file: Path, tls: Tls, anchors: TrustAnchors) -> Iterator[Finding]:
    try:
        chain = load_certificates(tls.certificate)
    except (OSError, ValueError):
        return  # told by check_own
    trouble = AnchorSets([anchors]).verify(ENTERPRISE, chain)
    if trouble is not None:
        yield error(
            file,
            "tls.certificate",
            "a chain that verifies within trust.enterprise, so that our other servers trust us",
            trouble,
            "put the intermediate certificates behind ours, or name its CA in trust.enterprise",
        )
