"""Federation with partners that are named one by one, each with the CA that vouches for it."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen
from zope.interface import implementer

from sipmesh.decisions import FederatedPartner, Presented, Reach, Refuse, RequestContext, TrustAnchors
from sipmesh.interfaces import IFederationPolicy
from sipmesh.sip import Request

from .names import claimed, domain_of
from .partner import Partner

# A From that hides its user (RFC 3323 §4.1.1.3) claims no domain of anybody's.
_NOBODY = "anonymous.invalid"


@implementer(IFederationPolicy)
@frozen
class AllowList:
    """The partners that may come and that we may connect to. Nobody else.

    .. code-block:: toml

       [[federation]]
       policy = "federation.allow"

       [[federation.partners]]
       domain = "b.example"
       ca = "partners/b.example.pem"

       [[federation.partners]]
       domain = "c.example"
       ca = "partners/c.example.pem"
       next_hop = "sip:edge.c.example:5061;transport=tls"

    A partner's request is refused if its From names another domain than the partner's (``not-their-domain``;
    an anonymous From names none), or if it is not for a domain of ours (``no-relay``). A partner's CA vouches
    for nobody but that partner, and the enterprise CA for no partner.

    :ivar partners: the partners; see :class:`.Partner` for the keys.
    :raises ValueError: if one name would prove two partners.
    """

    partners: tuple[Partner, ...]
    _by_name: dict[str, Partner] = field(init=False, repr=False, eq=False)

    @_by_name.default
    def _index(self) -> dict[str, Partner]:
        found: dict[str, Partner] = {}
        for partner in self.partners:
            for name in partner.names:
                other = found.setdefault(name, partner)
                if other is not partner:
                    raise ValueError(f"{name} would prove two partners: {other.domain}, {partner.domain}")
        return found

    def anchors(self) -> Iterable[TrustAnchors]:
        """See :class:`.IFederationPolicy`. Blocks on the files."""
        return [partner.trust_anchors() for partner in self.partners]

    def admit(self, presented: Presented) -> FederatedPartner | None:
        """See :class:`.IFederationPolicy`."""
        name = claimed(presented, self._by_name)
        if name is None:
            return None
        partner = self._by_name[name]
        because = f"{name} is a name of the allowed partner {partner.domain}"
        return FederatedPartner(name, partner.domain, because, partner.anchors)

    def reach(self, domain: str) -> Reach | None:
        """See :class:`.IFederationPolicy`. The next hop's host is asked about like a domain."""
        partner = self._by_name.get(domain)
        if partner is None:
            return None
        because = f"{domain} is a name of the allowed partner {partner.domain}"
        return Reach(domain, because, partner.anchors, partner.next_hop, partner.domain)

    def judge(self, request: Request, partner: FederatedPartner, context: RequestContext) -> Refuse | None:
        """See :class:`.IFederationPolicy`."""
        if partner.domain not in self._by_name:
            return None  # another policy's partner, and that policy's to judge
        sender, wanted = domain_of(request.from_.uri), domain_of(request.uri)
        if sender not in (partner.domain, _NOBODY):
            return Refuse(
                f"{partner.domain} speaks for itself only, but From says {sender or 'no domain'}",
                "not-their-domain",
            )
        # Inside a dialog the Request-URI is a contact, whatever its host. A made-up To tag gets nobody around
        # this: the framework sends such a request only between the two that the dialog runs between.
        if request.to.tag is None and wanted not in context.domains:
            return Refuse(f"{partner.domain} may send to our domains only, not to {wanted}", "no-relay")
        return None
