"""TLS contexts: one for each role, shared by all flows of that role.

TLS 1.2 and 1.3 only (RFC 8996), ephemeral keys and AEAD ciphers only, no compression, no renegotiation.
A handshake lets in what verifies within *any* anchor set; which set may vouch for the name presented is judged
once it has ended (:mod:`sipmesh.trust.judge`). So a stranger gets a TLS alert, and a known CA's certificate
for the wrong name an answer that says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from weakref import WeakKeyDictionary

from attrs import frozen
from cryptography.x509 import Certificate
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from ..trust.anchors import describe

_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
_MODE_NO_AUTO_CHAIN = 0x8  # SSL_MODE_NO_AUTO_CHAIN of OpenSSL's ssl.h, which pyOpenSSL has no name for
_MEANINGS = {  # X509_V_ERR_*, in the words of who has to mend it
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is self-signed, and not one of our trust anchors",
    19: "its chain ends in a self-signed certificate that is not one of our trust anchors",
    20: "its issuer is not one of our trust anchors (or an intermediate certificate was not sent)",
    21: "its issuer is not one of our trust anchors (or an intermediate certificate was not sent)",
    24: "its issuer is not a CA",
    26: "its extended key usage does not allow this",
}


class Peers(Enum):
    """Whom a listener is for, and so whether a client certificate is asked for."""

    CLIENTS = "clients"
    SERVERS = "servers"
    BOTH = "both"


_VERIFY = {
    Peers.CLIENTS: SSL.VERIFY_NONE,
    Peers.SERVERS: SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
    Peers.BOTH: SSL.VERIFY_PEER,
}


@frozen
class OwnCertificate:
    """What we show.

    :ivar certificate: a PEM file, our certificate first, then its intermediates.
    :ivar key: a PEM file with its private key.
    :ivar minimum: the lowest protocol version, ``"1.2"`` or ``"1.3"``.
    """

    certificate: Path
    key: Path
    minimum: str = "1.2"


# Beside the connections and not in their app_data: Twisted puts its own protocol there.
_refusals: WeakKeyDictionary[SSL.Connection, str] = WeakKeyDictionary()


def refusal_of(connection: SSL.Connection) -> str:
    """Which certificate was refused in a handshake, and why; ``""`` if none was."""
    return _refusals.get(connection, "")


def _note_refusal(connection: SSL.Connection, cert: crypto.X509, error: int, depth: int, ok: int) -> bool:
    if not ok:
        meaning = _MEANINGS.get(error, f"OpenSSL verification error {error}")
        _refusals[connection] = f"the certificate {describe(cert.to_cryptography())} was refused: {meaning}"
    return bool(ok)


def _context(own: OwnCertificate, anchors: Sequence[Certificate], verify: int, role: str) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    lowest = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}[own.minimum]
    context.set_min_proto_version(lowest)
    context.set_cipher_list(_CIPHERS)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE)
    # RELEASE_BUFFERS: 26 KiB less for each idle flow, measured. NO_AUTO_CHAIN: what is sent is what the
    # certificate's file holds, not what happens to be among the anchors.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS | _MODE_NO_AUTO_CHAIN)
    context.use_certificate_chain_file(str(own.certificate))
    context.use_privatekey_file(str(own.key))
    context.check_privatekey()
    # Without it OpenSSL refuses to resume sessions that showed a client certificate; and one role's sessions
    # are not taken for another's, which demanded less.
    context.set_session_id(f"sipmesh {role}".encode())
    context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
    store = context.get_cert_store()
    assert store is not None
    for certificate in anchors:
        store.add_cert(crypto.X509.from_cryptography(certificate))
    context.set_verify(verify, _note_refusal)
    return context


@implementer(IOpenSSLServerConnectionCreator)
class ListenerTLS:
    """The server side of the handshakes of one kind of listener.

    :raises OSError, OpenSSL.SSL.Error: if certificate or key can't be used.
    """

    def __init__(self, own: OwnCertificate, anchors: Sequence[Certificate], peers: Peers) -> None:
        self.peers = peers
        self._context = _context(own, anchors, _VERIFY[peers], peers.value)

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Called by Twisted for each connection."""
        return SSL.Connection(self._context, None)


class ConnectorTLS:
    """The client side of handshakes with other servers: we show our certificate and check theirs.

    :raises OSError, OpenSSL.SSL.Error: if certificate or key can't be used.
    """

    def __init__(self, own: OwnCertificate, anchors: Sequence[Certificate]) -> None:
        self._context = _context(own, anchors, SSL.VERIFY_PEER, "connector")

    def towards(self, name: str) -> IOpenSSLClientConnectionCreator:
        """For one connection, to the server of this name: it goes out as SNI (RFC 6066 §3)."""
        return _Towards(self._context, name)


@implementer(IOpenSSLClientConnectionCreator)
class _Towards:
    def __init__(self, context: SSL.Context, name: str) -> None:
        self._context = context
        self._name = name

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        connection.set_tlsext_host_name(self._name.encode("ascii"))
        return connection
