"""A federation partner, as the configuration has it."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen
from attrs.validators import optional
from cryptography.x509 import load_pem_x509_certificates

from sipmesh.decisions import TrustAnchors
from sipmesh.sip import SipUri

from .names import host_is_name, host_name


@frozen
class Partner:
    """One partner.

    :ivar domain: its SIP domain. Subdomains are domains of their own.
    :ivar ca: PEM file with the CA certificates that vouch for the partner, and for nobody else.
    :ivar next_hop: its server, where DNS is not to say which that is; its certificate then names this host.
    """

    domain: str = field(converter=host_name)
    ca: Path
    next_hop: SipUri | None = field(default=None, validator=optional(host_is_name))

    @property
    def names(self) -> frozenset[str]:
        """What its servers may prove: the domain (RFC 5922 §7.1), or the host of the next hop."""
        return frozenset({self.domain} if self.next_hop is None else {self.domain, self.next_hop.domain})

    @property
    def anchors(self) -> str:
        """What the anchor set of its CA is called."""
        return f"partner:{self.domain}"

    def trust_anchors(self) -> TrustAnchors:
        """The anchor set of its CA. Blocks on the file.

        :raises OSError: if it can't be read.
        :raises ValueError: if it holds no certificate, or a broken one; the message names the file.
        """
        try:
            certificates = tuple(load_pem_x509_certificates(self.ca.read_bytes()))
        except ValueError as error:
            raise ValueError(f"{self.ca}: no CA of {self.domain} in it, in PEM: {error}") from None
        return TrustAnchors(self.anchors, certificates, str(self.ca))
