"""Requests for a domain go to a fixed next hop: from an edge inward, from inside to the edge."""

from __future__ import annotations

from attrs import field, frozen
from zope.interface import implementer

from sipmesh.decisions import Forward, RequestContext, Target
from sipmesh.interfaces import IRoutingPolicy
from sipmesh.sip import Request, SipUri

from .names import host_is_name, host_name
from .relay import comes_from_us

ANY = "*"


def _domain(text: str) -> str:
    return text if text == ANY else host_name(text)


@frozen
class StaticRoute:
    """One route.

    :ivar domain: the host of the Request-URI, exactly; ``*`` is every domain that is not ours.
    :ivar next_hop: where its requests go; a server list or federation policy has to let us reach its host.
    """

    domain: str = field(converter=_domain)
    next_hop: SipUri = field(validator=host_is_name)


@implementer(IRoutingPolicy)
@frozen
class StaticRoutes:
    """Fixed next hops by domain; an exact domain goes before ``*``. The Request-URI stays as it is.

    .. code-block:: toml

       [[routing]]
       policy = "routing.static"

       [[routing.routes]]
       domain = "a.example"
       next_hop = "sip:fe1.a.example"

       [[routing.routes]]
       domain = "*"
       next_hop = "sip:edge.a.example"

    To other domains than ours only our own servers and proven users get; a partner does not, that would be a
    relay. ``*`` leaves our own domains out: requests for their unknown users would go in circles.

    :ivar routes: the routes, in any order.
    :raises ValueError: if a domain has two.
    """

    routes: tuple[StaticRoute, ...]
    _next_hops: dict[str, SipUri] = field(init=False, repr=False, eq=False)

    @_next_hops.default
    def _index(self) -> dict[str, SipUri]:
        found: dict[str, SipUri] = {}
        for route in self.routes:
            if route.domain in found:
                raise ValueError(f"two routes for the domain {route.domain}: which is meant?")
            found[route.domain] = route.next_hop
        return found

    def route(self, request: Request, context: RequestContext) -> Forward | None:
        """See :class:`.IRoutingPolicy`."""
        uri = request.uri
        if not isinstance(uri, SipUri):
            return None
        ours = uri.domain in context.domains
        if not (ours or comes_from_us(context)):
            return None
        next_hop = self._next_hops.get(uri.domain)
        if next_hop is None and not ours:
            next_hop = self._next_hops.get(ANY)
        if next_hop is None:
            return None
        return Forward((Target(uri, next_hop),), f"{uri.domain} has a static route, to {next_hop.domain}")
