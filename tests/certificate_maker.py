"""Certificates for tests of trust, made on the spot: one key for all, as nobody here has to keep a secret."""

from __future__ import annotations

import datetime as dt
from functools import cache

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate, DNSName, GeneralName, UniformResourceIdentifier


@cache
def _key(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@frozen
class Authority:
    """A CA.

    :ivar certificate: its own, by which it is an anchor or an intermediate.
    :ivar key: the name of the key that it signs with, if not its own name.
    """

    name: str
    certificate: Certificate
    key: str = ""

    def ca(self, name: str) -> Authority:
        return authority(name, self)

    def leaf(
        self, *names: GeneralName | str, days: tuple[float, float] = (-1, 1), ca: bool = False
    ) -> Certificate:
        """:param names: for the subjectAltName; text is a dNSName. :param days: from and until, from now."""
        extensions: list[x509.ExtensionType] = [x509.BasicConstraints(ca, None)]
        if names:
            general = [DNSName(name) if isinstance(name, str) else name for name in names]
            extensions.append(x509.SubjectAlternativeName(general))
        return _signed("leaf", "leaf", self.name, self.key or self.name, days, extensions)


def authority(name: str, issuer: Authority | None = None, days: tuple[float, float] = (-2, 2)) -> Authority:
    """A CA; without an issuer, a root."""
    extensions: list[x509.ExtensionType] = [x509.BasicConstraints(ca=True, path_length=None)]
    signer = issuer.name if issuer else name
    return Authority(name, _signed(name, name, signer, signer, days, extensions))


def named(common_name: str, *extensions: x509.ExtensionType) -> Certificate:
    """A self-signed certificate with just this common name and these extensions."""
    return _signed(common_name, "leaf", common_name, "leaf", (-1, 1), extensions)


def uri(text: str) -> UniformResourceIdentifier:
    return UniformResourceIdentifier(text)


def tampered(certificate: Certificate, before: bytes, after: bytes) -> Certificate:
    """With other bytes in it, as no builder would make it; the signature is wrong then, which nothing here reads."""
    der = certificate.public_bytes(Encoding.DER)
    assert der.count(before)
    assert len(before) == len(after)
    return x509.load_der_x509_certificate(der.replace(before, after))


def _signed(
    subject: str,
    subject_key: str,
    issuer: str,
    issuer_key: str,
    days: tuple[float, float],
    extensions: list[x509.ExtensionType] | tuple[x509.ExtensionType, ...],
) -> Certificate:
    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(
        name(issuer),
        name(subject),
        _key(subject_key).public_key(),
        x509.random_serial_number(),
        now + dt.timedelta(days[0]),
        now + dt.timedelta(days[1]),
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return builder.sign(_key(issuer_key), SHA256())
