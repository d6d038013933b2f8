"""A policy for tests, put beside a server's configuration: what the server holds, asked for by SIP."""

from __future__ import annotations

import gc
import sys

from attrs import frozen
from zope.interface import implementer

from sipmesh.decisions import Reject, RequestContext
from sipmesh.interfaces import IRoutingPolicy
from sipmesh.sip import Request, SipUri
from sipmesh.transaction.machines import ClientTransaction, ServerTransaction
from sipmesh.transaction.tables import DURATIONS
from sipmesh.transaction.wheel import Timer


@implementer(IRoutingPolicy)
@frozen
class Counting:
    """A request for the user ``counts`` is answered with counts: of transactions, and of all objects.

    :ivar accepted: seconds that an INVITE transaction lives on after its 2xx. RFC 6026 has 32, so that copies
        that a slow network still holds find it; a test need not wait that long.
    """

    accepted: float

    def __attrs_post_init__(self) -> None:
        DURATIONS.update(L=(self.accepted, self.accepted), M=(self.accepted, self.accepted))

    def route(self, request: Request, context: RequestContext) -> Reject | None:
        """See :class:`.IRoutingPolicy`."""
        if not isinstance(request.uri, SipUri) or request.uri.user != "counts":
            return None
        _forget_what_is_kept_within_bounds()
        gc.collect()
        # A timer that was stopped stays on its wheel until its time would have come, by design: so it is no leak.
        objects = [one for one in gc.get_objects() if not isinstance(one, Timer) or one.active]
        # The one that asks is not counted.
        transactions = sum(isinstance(one, ClientTransaction | ServerTransaction) for one in objects) - 1
        return Reject(480, "counted", f"{transactions} {len(objects)}")


def _forget_what_is_kept_within_bounds() -> None:
    """Parsed addresses and the like: these fill up first, and would pass for what stays behind."""
    modules = [module for name, module in sys.modules.items() if name.startswith("sipmesh")]
    for function in [one for module in modules for one in vars(module).values()]:
        if hasattr(function, "cache_clear"):
            function.cache_clear()
