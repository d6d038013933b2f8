"""Whom we do not talk to, whatever any policy behind this one thinks of it."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from attrs import field, frozen
from zope.interface import implementer

from sipmesh.decisions import FederatedPartner, Presented, Refuse, RequestContext, TrustAnchors
from sipmesh.interfaces import IFederationPolicy
from sipmesh.sip import Request

from .names import domain_of, host_names


@implementer(IFederationPolicy)
@frozen
class BlockList:
    """Domains and networks that are refused in both directions. Put it before all other federation policies.

    .. code-block:: toml

       [[federation]]
       policy = "federation.block"
       domains = ["spam.example"]
       addresses = ["198.51.100.0/24", "2001:db8:bad::/48"]

    Refused, with the code ``blocked``: a peer with a blocked address, or whose certificate names a blocked
    domain, be it among others; a connection to a blocked domain; a request From one, whichever partner sends
    it. Our own servers are not asked about here: the server list knows them.

    :ivar domains: each with all its subdomains.
    :ivar addresses: single addresses or networks, as ``192.0.2.0/24``.
    :raises ValueError: if one of them is none.
    """

    domains: frozenset[str] = field(converter=host_names, default=frozenset())
    addresses: tuple[str, ...] = ()
    _suffixes: tuple[str, ...] = field(init=False, repr=False)
    _networks: tuple[IPv4Network | IPv6Network, ...] = field(init=False, repr=False)

    @_suffixes.default
    def _from_domains(self) -> tuple[str, ...]:
        return tuple(f".{domain}" for domain in self.domains)

    @_networks.default
    def _from_addresses(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return tuple(ip_network(address) for address in self.addresses)

    def anchors(self) -> Iterable[TrustAnchors]:
        """See :class:`.IFederationPolicy`: nobody is vouched for here."""
        return ()

    def admit(self, presented: Presented) -> Refuse | None:
        """See :class:`.IFederationPolicy`."""
        return self._refuse_address(presented.address) or self._refuse(*presented.identities)

    def reach(self, domain: str) -> Refuse | None:
        """See :class:`.IFederationPolicy`."""
        return self._refuse(domain)

    def judge(self, request: Request, partner: FederatedPartner, context: RequestContext) -> Refuse | None:
        """See :class:`.IFederationPolicy`. Who came by its next hop's name did not name its domain."""
        return self._refuse(partner.domain, domain_of(request.from_.uri))

    def _refuse(self, *names: str | None) -> Refuse | None:
        for name in names:
            if name is not None and f".{name}".endswith(self._suffixes):
                return Refuse(f"{name} is in a blocked domain", "blocked")
        return None

    def _refuse_address(self, text: str) -> Refuse | None:
        address = ip_address(text)
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped  # how a listener for both families sees IPv4
        for network in self._networks:
            if address in network:
                return Refuse(f"{address} is in the blocked network {network}", "blocked")
        return None
