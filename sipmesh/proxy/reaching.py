"""From a target to a flow: may we go there, where is it, is it who was meant. RFC 3263 and RFC 5922 §7.3.

The name that was meant goes all the way to the certificate check; what DNS returned is only an address.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from ..decisions import Binding, Reach, Refuse, Target
from ..resolver import Candidate, Locator
from ..sip.headers import parse_address
from ..sip.uri import SipUri
from ..transport.flow import Flow
from ..transport.pool import FlowPool
from ..trust.judge import POLICY_FAILED
from .site import Site
from .tokens import RouteTokens


class Unreachable(Exception):
    """There is no way to a target.

    :ivar status: what a branch to it amounts to.
    """

    def __init__(self, status: int, because: str) -> None:
        super().__init__(because)
        self.status = status
        self.because = because


class Reaching:
    """Finds flows to targets.

    :param reach: may we connect to a name, and how.
    """

    def __init__(
        self,
        pool: FlowPool,
        locator: Locator,
        reach: Callable[[str], Reach | Refuse | None],
        site: Site,
        tokens: RouteTokens,
    ) -> None:
        self._pool = pool
        self._locator = locator
        self._reach = reach
        self._site = site
        self._tokens = tokens

    def client(self, number: int) -> Flow:
        """The flow of a client.

        :raises Unreachable: 430, if it is gone (RFC 5626 §5.3).
        """
        flow = self._pool.by_id(number)
        if flow is None or not flow.alive:
            raise Unreachable(430, f"the flow {number} of the client is gone")
        return flow

    def is_gone(self, binding: Binding) -> bool:
        """Whether a binding leads to a flow of ours that is down; of another server's flows nothing is known."""
        if not binding.path:
            return False
        first = parse_address(binding.path[0].encode("utf-8", "surrogateescape")).uri
        if not isinstance(first, SipUri) or not self._site.is_here(first, ("", 0)):
            return False
        number = self._tokens.path_flow(first.user or "")
        return number is None or self._pool.by_id(number) is None

    def neighbour(self, towards: str) -> Flow | SipUri:
        """The flow to a neighbour of a dialog; where a server's is gone, the URI to reach it anew."""
        if towards.startswith("f"):
            return self.client(int(towards[1:]))
        name = towards[1:]
        return self._pool.to_server(name) or SipUri("sip", None, name)

    def hop(self, target: Target, next_hop: SipUri | None) -> Flow | SipUri:
        """Where a target is to be sent next: a flow, or the URI of a server.

        :param next_hop: the first Route value that stays, if there is one.
        :raises Unreachable: if it can't be sent anywhere.
        """
        uri = target.next_hop or next_hop
        if target.route and target.next_hop is None:
            first = parse_address(target.route[0].encode("utf-8", "surrogateescape")).uri
            if isinstance(first, SipUri) and self._site.is_here(first, ("", 0)):
                number = self._tokens.path_flow(first.user or "")
                if number is None:
                    raise Unreachable(430, "the path of the binding leads to a flow of an earlier time")
                return self.client(number)
            uri = first if isinstance(first, SipUri) else None
        if uri is None and isinstance(target.uri, SipUri):
            uri = target.uri
        if uri is None:
            raise Unreachable(404, f"no policy said where {target.uri} is to be sent")
        return uri

    def allowed(self, uri: SipUri) -> tuple[SipUri, Reach]:
        """Whether we may connect to a URI's host, and the URI to connect to.

        :raises Unreachable: 403, if nobody vouches for it.
        """
        verdict = self._reach(uri.domain)
        if verdict is None:
            raise Unreachable(403, f"{uri.domain} is on no server list and no federation policy reaches it")
        if isinstance(verdict, Refuse):
            raise Unreachable(500 if verdict.code == POLICY_FAILED else 403, verdict.because)
        return verdict.next_hop or uri, verdict

    def candidates(
        self, uri: SipUri, verdict: Reach
    ) -> tuple[Candidate, ...] | Deferred[tuple[Candidate, ...]]:
        """Where that is, in the order in which to try."""
        return self._locator.locate(uri, verdict.partner is not None and verdict.next_hop is None)

    def up(self, candidate: Candidate) -> Flow | None:
        """The flow to a candidate that is up already."""
        return self._pool.at(candidate.host, candidate.port, candidate.name)

    def connect(self, candidate: Candidate) -> Flow | Deferred[Flow]:
        """A flow to a candidate: at once if it is up."""
        return self.up(candidate) or self._pool.connect(candidate.host, candidate.port, candidate.name)
