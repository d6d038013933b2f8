"""What the Route set says before any policy is asked: RFC 3261 §16.4 and §16.12, with the tokens that we put there."""

from __future__ import annotations

from attrs import frozen

from ..sip.errors import SipSyntaxError
from ..sip.headers import parse_address
from ..sip.message import Request
from ..sip.names import ROUTE
from ..sip.uri import SipUri
from ..transport.flow import Flow
from .site import Site
from .tokens import RouteTokens, neighbour


@frozen
class RouteSet:
    """:ivar popped: how many Route values on top are ours, and go.

    :ivar next_hop: the Route value after them; None if there is none.
    :ivar towards: inside a dialog, the neighbour that the request goes to (see :mod:`.tokens`).
    :ivar path_flow: the id of the flow that a Path of ours leads to.
    """

    popped: int = 0
    next_hop: SipUri | None = None
    towards: str | None = None
    path_flow: int | None = None

    @property
    def decides(self) -> bool:
        """Whether it says where the request goes, so that no policy is asked."""
        return self.next_hop is not None or self.towards is not None or self.path_flow is not None


_EMPTY = RouteSet()


def read_route_set(request: Request, flow: Flow, site: Site, tokens: RouteTokens) -> RouteSet:
    """:raises SipSyntaxError: if a Route value that has to be read is malformed."""
    values = request.values(ROUTE)
    if not values:
        return _EMPTY
    popped = 0
    at = neighbour(flow)
    towards: str | None = None
    path_flow: int | None = None
    next_hop: SipUri | None = None
    for value in values:
        uri = parse_address(value).uri
        if not isinstance(uri, SipUri):
            raise SipSyntaxError("Route holds something that is no sip or sips URI")
        if not site.is_here(uri, flow.here):
            next_hop = uri
            break
        popped += 1
        if uri.user is not None:
            path_flow = path_flow or tokens.path_flow(uri.user)
            # Two of ours in a row: the dialog came by twice, and who was in between is not in its Route set.
            other = _other_side(tokens.neighbours(uri.user, request.call_id), at)
            if other is not None:
                at = towards = other
    return RouteSet(popped, next_hop, towards, path_flow)


def _other_side(between: tuple[str, str] | None, source: str) -> str | None:
    """Where the request goes that came from one of the two; None if it came from neither."""
    if between is not None:
        left, right = between
        if source == left:
            return right
        if source == right:
            return left
    return None
