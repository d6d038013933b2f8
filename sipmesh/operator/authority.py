"""An enterprise CA: make one, and let it issue certificates for servers. No I/O, no clock.

What is issued is what RFC 5922 asks for: the server's name as ``URI:sip:NAME`` and as a dNSName, good for
both ends of a connection, as each server opens and accepts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS = 3650
SERVER_DAYS = 365

# Clocks of servers differ a little, and a certificate is used the minute it was made.
_EARLIER = timedelta(hours=1)


@frozen
class Credential:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def certificate_pem(self) -> bytes:
        """The certificate alone."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The key, not encrypted: for a file that its owner alone may read."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def read_credential(certificate_pem: bytes, key_pem: bytes) -> Credential:
    """A CA, as it was written.

    :raises ValueError: if one is broken, they don't belong together, or it is not a CA's with an EC key.
    """
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    try:
        key = load_pem_private_key(key_pem, None)
    except TypeError as e:
        raise ValueError(
            "the key is encrypted; give it decrypted, in a file that its owner alone may read"
        ) from e
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the key is not an elliptic curve key, as `sipmesh ca create` makes it")
    if certificate.public_key() != key.public_key():
        raise ValueError("the key is not that of the certificate")
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound as e:
        raise ValueError("the certificate is not a CA's: it has no basicConstraints") from e
    if not basic.ca:
        raise ValueError("the certificate is not a CA's: its basicConstraints say so")
    return Credential(certificate, key)


def create_authority(name: str, now: datetime, days: int = CA_DAYS) -> Credential:
    """Make a CA that issues to servers only (path length 0).

    :param name: its common name.
    :param now: with its time zone.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = _usage(key_cert_sign=True, crl_sign=True)
    certificate = (
        _builder(subject, subject, key, now, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )
    return Credential(certificate, key)


def issue(authority: Credential, names: Sequence[str], now: datetime, days: int = SERVER_DAYS) -> Credential:
    """Make a server's key, and its certificate by this CA.

    :param names: the SIP domain identities that it proves, in the form that
        :func:`sipmesh.trust.identities.normalize` gives.
    :param now: with its time zone.
    :param days: how long it is valid; no longer than its CA.
    :raises ValueError: if the CA has expired.
    """
    if authority.certificate.not_valid_after_utc <= now:
        raise ValueError(f"the CA expired on {authority.certificate.not_valid_after_utc.date()}")
    key = ec.generate_private_key(ec.SECP256R1())
    # RFC 5280 §4.2.1.6 puts no bound on SAN, but RFC 5280 A.1 one of 64 characters on a common name.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])] if len(names[0]) <= 64 else [])
    # RFC 5922 §7.1: where there is a sip URI, dNSNames are not looked at; but clients mostly know only these.
    alternatives: list[x509.GeneralName] = [x509.UniformResourceIdentifier(f"sip:{name}") for name in names]
    alternatives += [x509.DNSName(name) for name in names]
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    authority_key = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        _builder(
            subject, authority.certificate.subject, key, now, days, authority.certificate.not_valid_after_utc
        )
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=not subject.rdns)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority_key), critical=False
        )
        .sign(authority.key, SHA256())
    )
    return Credential(certificate, key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    days: int,
    latest: datetime | None = None,
) -> x509.CertificateBuilder:
    end = now + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(min(end, latest) if latest else end)
    )


def _usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
