"""Requests for other domains go to the partners that federation lets us reach."""

from __future__ import annotations

from attrs import frozen
from zope.interface import implementer

from sipmesh.decisions import Forward, Reach, Refuse, Reject, RequestContext, Target
from sipmesh.interfaces import IRoutingPolicy
from sipmesh.sip import Request, SipUri

from .relay import comes_from_us


@implementer(IRoutingPolicy)
@frozen
class FederatedDomains:
    """Requests for a partner's domain, to that partner. Who is one is for the federation policies to say.

    .. code-block:: toml

       [[routing]]
       policy = "routing.federated"

    Only our own servers and users are served: a partner is not relayed to another partner. A domain that a
    federation policy refuses is answered 403; about one that nobody knows there is no opinion.
    """

    def route(self, request: Request, context: RequestContext) -> Forward | Reject | None:
        """See :class:`.IRoutingPolicy`."""
        uri = request.uri
        if not isinstance(uri, SipUri) or uri.domain in context.domains or not comes_from_us(context):
            return None
        match context.reach(uri.domain):
            case Refuse(because=because):
                return Reject(403, because)
            case Reach(partner=str(), next_hop=next_hop, because=because):
                return Forward((Target(uri, next_hop),), because)
            case _:
                return None
