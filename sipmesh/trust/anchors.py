"""Anchor sets: which CAs may vouch for whom, and whether a chain verifies within one of them.

A chain is judged within the set that applies to the name in question, never in the union of all sets (a
partner's CA must not be able to make a server of ours). The path itself is validated by OpenSSL (RFC 5280 §6).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cryptography.x509 import Certificate, load_pem_x509_certificates
from OpenSSL import crypto

from ..decisions import TrustAnchors


def load_certificates(path: Path) -> tuple[Certificate, ...]:
    """The certificates in a PEM file.

    :raises OSError: if it can't be read.
    :raises ValueError: if it holds none, or a broken one; the message names the file.
    """
    data = path.read_bytes()
    try:
        return tuple(load_pem_x509_certificates(data))
    except ValueError as error:
        raise ValueError(f"{path}: no PEM certificate can be read from it: {error}") from error


class AnchorSets:
    """All anchor sets of a server, by name.

    :param sets: no two of the same name.
    :raises ValueError: if two have the same name, or one is empty.
    """

    def __init__(self, sets: Iterable[TrustAnchors]) -> None:
        self._sets: dict[str, TrustAnchors] = {}
        self._stores: dict[str, crypto.X509Store] = {}
        for one in sets:
            if one.name in self._sets:
                raise ValueError(
                    f"two anchor sets are called {one.name}: {self._sets[one.name].origin}, {one.origin}"
                )
            if not one.certificates:
                raise ValueError(f"{one.origin}: the anchor set {one.name} holds no certificate")
            store = crypto.X509Store()
            for certificate in one.certificates:
                store.add_cert(crypto.X509.from_cryptography(certificate))
            self._sets[one.name] = one
            self._stores[one.name] = store

    def all(self) -> tuple[Certificate, ...]:
        """Every anchor of every set: what a handshake lets in, for the judge to look at more closely."""
        return tuple(c for one in self._sets.values() for c in one.certificates)

    def verify(self, name: str, chain: tuple[Certificate, ...]) -> str | None:
        """Verify a chain within one set.

        :param chain: as the peer sent it, its own certificate first.
        :return: None if it verifies; else why not, in one sentence.
        """
        store = self._stores.get(name)
        if store is None:
            return f"no trust anchors are configured as {name}"
        if not chain:
            return "no certificate was shown"
        leaf, *others = (crypto.X509.from_cryptography(certificate) for certificate in chain)
        try:
            crypto.X509StoreContext(store, leaf, others).verify_certificate()
        except crypto.X509StoreContextError as error:
            return (
                f"the certificate of {describe(chain[0])} does not verify within the anchors {name} "
                f"({self._sets[name].origin}): {error.args[0]}"
            )
        return None


def describe(certificate: Certificate) -> str:
    """A certificate in a few words for a log: subject, issuer, serial number."""
    try:
        subject = certificate.subject.rfc4514_string() or "(no subject)"
        issuer = certificate.issuer.rfc4514_string()
    except ValueError:
        subject = issuer = "(malformed name)"
    return f"{subject[:100]!r} issued by {issuer[:100]!r}, serial {certificate.serial_number:x}"
