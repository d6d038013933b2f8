"""The response context of RFC 3261 §16.2: one request, the branches that it was forwarded on, the answer.

§16.7 (responses), §16.8 (Timer C), §16.9 (transport errors), §16.10 (CANCEL).
"""

from __future__ import annotations

from typing import Protocol

from ..sip.framing import Limits
from ..sip.message import Request, Response
from ..sip.names import PROXY_AUTHENTICATE, WWW_AUTHENTICATE
from ..sip.respond import cancel_for, lines_of, make_response, new_tag
from ..transaction.layer import TransactionLayer
from ..transaction.machines import ClientTransaction, ServerTransaction
from ..transaction.wheel import Timer, TimerWheel
from ..transport.flow import Flow
from .best import Outcome, best_outcome
from .outgoing import returned_response
from .trace import Tracer

TIMER_C = 181.0
"""Seconds without a sign of life after which an INVITE is given up; RFC 3261 §16.6 step 11: more than 3 minutes."""


class Failover(Protocol):
    """Where a branch may still turn to."""

    def next_hop_failed(self, branch: Branch, because: str) -> bool:
        """Try the branch's next destination. True if there is one."""


class ResponseContext:
    """:ivar transaction: the server transaction that is to be answered."""

    __slots__ = (
        "_best_sent",
        "_layer",
        "_limits",
        "_tracer",
        "_wheel",
        "branches",
        "flow",
        "request",
        "transaction",
    )

    def __init__(
        self,
        transaction: ServerTransaction[Flow],
        layer: TransactionLayer[Flow],
        wheel: TimerWheel,
        tracer: Tracer,
        limits: Limits,
    ) -> None:
        self.transaction = transaction
        self.request: Request = transaction.request
        self.flow = transaction.flow
        self.branches: list[Branch] = []
        self._layer = layer
        self._wheel = wheel
        self._tracer = tracer
        self._limits = limits
        self._best_sent = False
        transaction.user = self

    # Answering ------------------------------------------------------------------------------------------

    def answer(self, status: int, because: str, reason: str = "", headers: tuple[bytes, ...] = ()) -> None:
        """Give a response of our own."""
        if status >= 200:
            self._best_sent = True
        if self._tracer.watched:
            self._tracer.request(self.request, self.flow, "answer", because, status=status)
        tag = new_tag() if status > 100 else b""
        self.transaction.respond(status, make_response(self.request, status, reason, headers, tag))

    def forward(self, response: Response, source: Flow) -> None:
        """Give a response that came from a branch."""
        if self._tracer.watched:
            self._tracer.request(self.request, source, "response", "from the branch", status=response.status)
        trusted = source.trusted and self.flow.trusted
        others = self._other_challenges(response) if response.status in (401, 407) else ()
        data = returned_response(response, self.request, trusted, others)
        if self._limits.allow(data):
            self.transaction.respond(response.status, data)
        elif response.status >= 200:
            self.answer(500, "the response is longer than may be passed on")

    def _other_challenges(self, response: Response) -> tuple[bytes, ...]:
        """§16.7 step 7: who answers a challenge has to answer those of all branches at once."""
        found = [branch.outcome.response for branch in self.branches if branch.outcome is not None]
        return tuple(
            line
            for other in found
            if other is not None and other is not response and other.status in (401, 407)
            for line in lines_of(other, (WWW_AUTHENTICATE, PROXY_AUTHENTICATE))
        )

    # What branches tell ---------------------------------------------------------------------------------

    def succeeded(self, response: Response, source: Flow) -> None:
        """A 2xx: it goes back at once, each of them (§16.7 step 5), and the other branches are cancelled."""
        self._best_sent = True
        self.forward(response, source)
        self.cancel_branches()

    def ended(self) -> None:
        """A branch came to its final response: when all have, the best goes back (§16.7 step 6)."""
        outcomes = [branch.outcome for branch in self.branches]
        if any(outcome is not None and outcome.status >= 600 for outcome in outcomes):
            self.cancel_branches()  # §16.7 step 5: nobody else is to ring on
        if self._best_sent or not outcomes or None in outcomes:
            return
        self._best_sent = True
        best = best_outcome([outcome for outcome in outcomes if outcome is not None])
        branch = next(branch for branch in self.branches if branch.outcome is best)
        if best.status == 503:
            # §16.7 step 6: a 503 is about one next hop; from us it would say that we can serve nothing at all.
            self.answer(500, best.because or "the next hop answered 503")
        elif best.response is None:
            self.answer(best.status, best.because)
        else:
            assert branch.client is not None
            self.forward(best.response, branch.client.flow)

    # CANCEL ---------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """The caller cancelled (§16.10), or is gone."""
        if self.branches:
            self.cancel_branches()
        elif not self.transaction.answered:
            # Still being decided on: nobody has been asked to ring, and now nobody is to be.
            self.answer(487, "cancelled before it was forwarded")

    def cancel_branches(self) -> None:
        """Cancel what is still going on."""
        for branch in self.branches:
            branch.cancel()

    # What the server transaction tells ------------------------------------------------------------------

    def acknowledged(self, ack: Request) -> None:
        """An ACK for a 2xx that came with the INVITE's branch: it belongs to a UAC that reuses branches; dropped."""

    def unacknowledged(self) -> None:
        """No ACK for a failure: there is nothing left to do (§17.2.1)."""

    def unsent(self) -> None:
        """The caller's flow is gone: nobody waits for an answer, so nobody is to be disturbed any longer."""
        if not self._best_sent:
            self.cancel()

    def transaction_ended(self) -> None:
        """Let go of the branches, which hold this too: see :meth:`._Machine._end`."""
        self.branches = []


class Branch:
    """One branch of the fork, to one target.

    :ivar client: its client transaction; None until a flow was found.
    :ivar outcome: how it ended; None while it goes on.
    """

    __slots__ = (
        "_cancelled",
        "_context",
        "_data",
        "_failover",
        "_heard",
        "_layer",
        "_timer",
        "_wheel",
        "client",
        "outcome",
    )

    def __init__(
        self, context: ResponseContext, layer: TransactionLayer[Flow], wheel: TimerWheel, failover: Failover
    ) -> None:
        self.client: ClientTransaction[Flow] | None = None
        self.outcome: Outcome | None = None
        self._context = context
        self._layer = layer
        self._wheel = wheel
        self._failover = failover
        self._timer: Timer | None = None
        self._cancelled = False
        self._heard = False
        self._data = b""
        context.branches.append(self)

    def send(self, flow: Flow, branch: bytes, data: bytes) -> None:
        """Send the request on a flow that was found; not if the branch ended meanwhile."""
        if self.outcome is not None:
            return
        if self._cancelled:
            self.conclude(487, "cancelled before it was sent")
            return
        method = self._context.request.method
        if method == b"INVITE":
            self._data = data
            self._restart_timer_c()
        self.client = self._layer.send(method, branch, data, flow, self)

    def conclude(self, status: int, because: str) -> None:
        """End without a response from anybody."""
        if self.client is not None and self.outcome is None:
            self.client.abandon()
        self._end(Outcome(status, None, because))

    # What the client transaction tells ------------------------------------------------------------------

    def responded(self, response: Response) -> None:
        """A response came for this branch."""
        assert self.client is not None
        status = response.status
        if status < 200:
            if status > 100:
                self._heard = True
                self._restart_timer_c()
                if not self._context.transaction.answered:
                    self._context.forward(response, self.client.flow)
            if self._cancelled:
                self._send_cancel()
        elif status < 300:
            self._stop_timer_c()
            self.outcome = Outcome(status, response)
            self._context.succeeded(response, self.client.flow)
            self._data = b""
        elif self.outcome is None and not (status == 503 and self._turn_elsewhere("it answered 503")):
            self._end(Outcome(status, response))

    def timed_out(self) -> None:
        """Timer B or F: nobody answered (§16.8, as a 408)."""
        self._end(Outcome(408, None, "the next hop did not answer in time"))

    def transport_failed(self) -> None:
        """The flow broke (§16.9, as a 503), unless there is another way."""
        if self.outcome is None and not self._turn_elsewhere("its flow broke"):
            self._end(Outcome(487 if self._cancelled else 503, None, "the flow to the next hop broke"))

    def _turn_elsewhere(self, because: str) -> bool:
        """RFC 3263 §4.3. Not for who has cancelled; nor once it rang, which would make the same phone ring twice."""
        return not (self._cancelled or self._heard) and self._failover.next_hop_failed(self, because)

    # CANCEL and Timer C ---------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Cancel if it goes on; before a provisional response has come, only note it (§9.1)."""
        if self.outcome is not None or self._cancelled:
            return
        self._cancelled = True
        if self.client is None:
            self.conclude(487, "cancelled before it was sent")
        elif self.client.proceeding:
            self._send_cancel()

    def _send_cancel(self) -> None:
        if self._data and self.client is not None and self.client.pending:
            data, self._data = self._data, b""
            self._layer.send(b"CANCEL", self.client.branch, cancel_for(data), self.client.flow, _Unheard())
            # RFC 3261 §9.1: who does not answer a CANCEL with a final response is not waited for for ever.
            self._stop_timer_c()
            self._timer = self._wheel.start(32.0, self._given_up)

    def _given_up(self) -> None:
        self.conclude(487, "cancelled, and the next hop never answered")

    def _restart_timer_c(self) -> None:
        if not self._cancelled:
            self._stop_timer_c()
            self._timer = self._wheel.start(TIMER_C, self._timer_c)

    def _stop_timer_c(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None

    def _timer_c(self) -> None:
        """§16.8: cancel if it rang, give up if nothing was heard at all."""
        if self.client is not None and self.client.proceeding:
            self.cancel()
        else:
            self.conclude(408, "Timer C: no final response within three minutes")

    def _end(self, outcome: Outcome) -> None:
        if self.outcome is None:
            self._stop_timer_c()
            self.outcome = outcome
            self._data = b""
            self._context.ended()


class _Unheard:
    """The user of a CANCEL's transaction: whatever becomes of it, the INVITE's says the rest (§9.1)."""

    __slots__ = ()

    def responded(self, response: Response) -> None:
        pass

    def timed_out(self) -> None:
        pass

    def transport_failed(self) -> None:
        pass
