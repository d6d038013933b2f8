"""A SipMesh policy: outside office hours, calls go to the desk that is always there."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

from attrs import Attribute, field, frozen
from zope.interface import implementer

from sipmesh.decisions import Forward, RequestContext, Target
from sipmesh.interfaces import IRoutingPolicy
from sipmesh.sip import Request, SipUri


@implementer(IRoutingPolicy)
@frozen
class OfficeHours:
    """Sends calls to our own domains to a desk while the office is closed; about all else it has no opinion.

    :ivar desk: who takes the calls; a server list or a federation policy has to let us reach its host.
    :ivar opens: the hour of day from which on the office is open.
    :ivar closes: the hour of day from which on it is closed again.
    :ivar timezone: where the office is, such as ``Europe/Berlin``.
    :ivar clock: Unix time, seconds; for tests.
    """

    desk: SipUri
    opens: int
    closes: int = field()
    timezone: str
    clock: Callable[[], float] = time.time
    _zone: ZoneInfo = field(init=False, repr=False)

    @closes.validator
    def _check_hours(self, attribute: Attribute[int], closes: int) -> None:
        if not 0 <= self.opens < closes <= 24:
            raise ValueError(f"the office can't be open from {self.opens} to {closes} o'clock")

    @_zone.default
    def _find_zone(self) -> ZoneInfo:
        # Once, when the policy is built: a zone that does not exist keeps the server from starting.
        return ZoneInfo(self.timezone)

    def route(self, request: Request, context: RequestContext) -> Forward | None:
        """See :class:`sipmesh.interfaces.IRoutingPolicy`."""
        uri = request.uri
        if request.method != b"INVITE" or not isinstance(uri, SipUri) or uri.domain not in context.domains:
            return None
        now = datetime.fromtimestamp(self.clock(), self._zone)
        if self.opens <= now.hour < self.closes:
            return None
        return Forward((Target(self.desk),), f"it is {now:%H:%M} in {self.timezone}: the office is closed")
