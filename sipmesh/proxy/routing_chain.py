"""Ask the routing policies, in order; the first opinion decides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable
from typing import TypeGuard, get_args

from attrs import frozen
from twisted.logger import Logger

from ..decisions import Challenge, Forward, Redirect, Reject, RequestContext, Target
from ..interfaces import IRoutingPolicy
from ..sip.headers import Address
from ..sip.message import Request
from ..sip.uri import Uri
from .validate import Refusal

log = Logger()

Prove = Callable[[], Awaitable[Refusal | None]]
"""Let the client of this request prove itself by this request, whatever it proved before."""


@frozen
class Decided:
    """:ivar policy: the name of the policy that decided, as the configuration calls it."""

    decision: Forward | Redirect | Reject | Refusal
    policy: str


def _makes_sense(opinion: object) -> TypeGuard[Forward | Redirect | Reject]:
    if isinstance(opinion, Forward):
        return all(isinstance(t, Target) and isinstance(t.uri, get_args(Uri)) for t in opinion.targets)
    if isinstance(opinion, Redirect):
        return bool(opinion.contacts) and all(isinstance(contact, Address) for contact in opinion.contacts)
    # A status below 300 would tell the caller that somebody took the call, or leave it waiting for ever.
    return isinstance(opinion, Reject) and 300 <= opinion.status <= 699


_NOBODY = Decided(Reject(404, "no routing policy knows where this goes"), "(none)")


class RoutingChain:
    """:param policies: each with the name by which the trace and the log call it."""

    def __init__(self, policies: Sequence[tuple[str, IRoutingPolicy]]) -> None:
        self._policies = tuple(policies)

    async def decide(self, request: Request, context: RequestContext, prove: Prove) -> Decided:
        """A policy that raises, or returns what is no decision, counts as a refusal: 500."""
        for name, policy in self._policies:
            try:
                found = policy.route(request, context)
                opinion = await found if isawaitable(found) else found
            except Exception:
                log.failure("routing policy {policy} raised; taken as a refusal", policy=name)
                return Decided(Refusal(500, f"the routing policy {name} raised; see the log"), name)
            if opinion is None:
                continue
            if isinstance(opinion, Challenge):
                refusal = await prove()
                if refusal is None:
                    continue
                return Decided(refusal, name)
            if not _makes_sense(opinion):
                log.error("routing policy {policy} returned {what!r}, no decision", policy=name, what=opinion)
                return Decided(Refusal(500, f"the routing policy {name} returned no decision"), name)
            return Decided(opinion, name)
        return _NOBODY
