"""Send one branch: find its flow, at the next candidate where one fails, and put the request on it.

RFC 3261 §16.6 steps 7 to 10, RFC 3263 §4.3 (failover).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..resolver import Candidate, NotReachable
from ..sip.errors import SipSyntaxError
from ..sip.uri import SipUri
from ..transport.flow import Flow
from ..transport.pool import NotConnected
from .at_once import run
from .reaching import Reaching, Unreachable
from .responses import Branch

_NOWHERE: Iterator[Candidate] = iter(())

log = Logger()


class BranchSender:
    """:param where: the flow to use, or the URI of the server to send to.

    :param put: puts the request on the flow that was found.
    """

    __slots__ = ("_candidates", "_put", "_reaching", "_tried")

    def __init__(self, reaching: Reaching, put: Callable[[Branch, Flow], None]) -> None:
        self._reaching = reaching
        self._put = put
        self._candidates = _NOWHERE
        self._tried: list[str] = []

    def start(self, branch: Branch, where: Flow | SipUri) -> None:
        """Send, now if a flow is up, else when one is."""
        if isinstance(where, SipUri):
            run(self._towards(branch, where), lambda failure: self._broken(branch, failure))
        else:
            self._put(branch, where)

    def next_hop_failed(self, branch: Branch, because: str) -> bool:
        """Turn to the next candidate. True if there is one."""
        self._tried.append(because)
        candidate = next(self._candidates, None)
        if candidate is None:
            return False
        run(self._try(branch, candidate), lambda failure: self._broken(branch, failure))
        return True

    async def _towards(self, branch: Branch, uri: SipUri) -> None:
        try:
            place, verdict = self._reaching.allowed(uri)
            found = self._reaching.candidates(place, verdict)
            candidates = await found if isinstance(found, Deferred) else found
        except Unreachable as error:
            branch.conclude(error.status, error.because)
            return
        except NotReachable as error:
            branch.conclude(503, error.because)
            return
        self._candidates = iter(candidates)
        first = next(self._candidates, None)
        if first is None:
            branch.conclude(503, f"no address was found for {place.host}")
        elif (flow := self._reaching.up(first)) is not None:
            self._put(branch, flow)
        else:
            await self._try(branch, first)

    async def _try(self, branch: Branch, candidate: Candidate) -> None:
        refused = False
        while True:
            try:
                found = self._reaching.connect(candidate)
                flow = await found if isinstance(found, Deferred) else found
                break
            except NotConnected as error:
                self._tried.append(error.because)
                refused = refused or error.refused
                following = next(self._candidates, None)
                if following is None:
                    # Not trusted is a decision, not a breakdown: it must not look like one that passes.
                    branch.conclude(403 if refused else 503, "; ".join(self._tried))
                    return
                candidate = following
        self._put(branch, flow)

    def _broken(self, branch: Branch, failure: Failure) -> None:
        if not isinstance(failure.value, SipSyntaxError):
            log.failure("a request could not be forwarded", failure)
        branch.conclude(500, f"forwarding failed: {failure.getErrorMessage()}")


class AckSender:
    """Sends an ACK for a 2xx where its dialog leads: no transaction, no answer, and nobody to tell of a failure."""

    __slots__ = ("_put", "_reaching")

    def __init__(self, reaching: Reaching, put: Callable[[Flow], None]) -> None:
        self._reaching = reaching
        self._put = put

    def start(self, where: Flow | SipUri) -> None:
        """Send, now if a flow is up, else when one is."""
        if isinstance(where, SipUri):
            run(self._towards(where), lambda failure: log.info("an ACK got lost: {why}", why=failure.value))
        else:
            self._put(where)

    async def _towards(self, uri: SipUri) -> None:
        place, verdict = self._reaching.allowed(uri)
        found = self._reaching.candidates(place, verdict)
        for candidate in await found if isinstance(found, Deferred) else found:
            try:
                reached = self._reaching.connect(candidate)
                self._put(await reached if isinstance(reached, Deferred) else reached)
                return
            except NotConnected:
                continue
