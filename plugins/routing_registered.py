"""Requests for our users go to where they registered."""

from __future__ import annotations

from collections.abc import Awaitable

from attrs import frozen
from zope.interface import implementer

from sipmesh.decisions import Bindings, Forward, RequestContext, Target
from sipmesh.interfaces import IRoutingPolicy
from sipmesh.sip import Request, SipUri, parse_uri


@implementer(IRoutingPolicy)
@frozen
class RegisteredUsers:
    """Requests for an address of record in a domain of ours, to all its contacts (RFC 3261 §16.5).

    .. code-block:: toml

       [[routing]]
       policy = "routing.registered"

    About a user who has no contact there is no opinion: a policy behind this one may know a voice mailbox. If
    none does the answer is 404, as who is not registered can't be told here from who does not exist.
    """

    def route(self, request: Request, context: RequestContext) -> Forward | Awaitable[Forward | None] | None:
        """See :class:`.IRoutingPolicy`. Answers at once if the location service does."""
        uri = request.uri
        if not isinstance(uri, SipUri) or uri.domain not in context.domains or context.locations is None:
            return None
        found = context.locations.bindings(uri.aor)
        return _to(uri, found) if isinstance(found, tuple) else _later(uri, found)


async def _later(uri: SipUri, found: Awaitable[Bindings]) -> Forward | None:
    return _to(uri, await found)


def _to(uri: SipUri, bindings: Bindings) -> Forward | None:
    if not bindings:
        return None
    targets = tuple(Target(parse_uri(b.contact), route=b.path, q=b.q) for b in bindings)
    return Forward(targets, f"{uri.aor} is registered with {len(targets)} contact(s)")
