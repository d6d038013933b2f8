"""Drive the tables: one object a transaction, given what to send through, what to tell, and a wheel for timers.

RFC 3261 §17. A transaction ends by itself; :class:`~.layer.TransactionLayer` is told and forgets it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Generic, Protocol, TypeVar

from ..sip.message import Message, Request, Response
from ..sip.respond import ack_for_failure
from . import tables
from .tables import DOUBLING, DURATIONS, STARTED, STARTS, TERMINATED, TRANSPORT_ERROR, Table
from .wheel import Timer, TimerWheel


class Flow(Protocol):
    """What a transaction needs of a connection."""

    @property
    def reliable(self) -> bool:
        """Whether the transport takes care of loss (RFC 3261 §17: then nothing is retransmitted)."""

    @property
    def scope(self) -> str:
        """Who is at the other end, for matching: two flows of one server share it, two clients never do."""

    def send(self, data: bytes) -> None:
        """Send a message. Never raises; what can't be sent is reported when the flow is lost."""


F = TypeVar("F", bound=Flow)


class ServerUser(Protocol):
    """The transaction user of a server transaction."""

    def acknowledged(self, ack: Request) -> None:
        """An ACK came for a 2xx (RFC 6026 §7.1)."""

    def unacknowledged(self) -> None:
        """No ACK came for a 300-699 (Timer H)."""

    def unsent(self) -> None:
        """The response could not be sent."""

    def transaction_ended(self) -> None:
        """Nothing more comes."""


class ClientUser(Protocol):
    """The transaction user of a client transaction."""

    def responded(self, response: Response) -> None:
        """A response came; never the same final one twice, except 2xx to INVITE."""

    def timed_out(self) -> None:
        """No final response came in time (Timer B or F)."""

    def transport_failed(self) -> None:
        """The request could not be sent, or the flow was lost on which its final response was to come."""


class _Machine(Generic[F]):
    """State, timers and the loop over effects, which both sides share."""

    __slots__ = ("_intervals", "_last", "_on_end", "_table", "_timers", "_wheel", "flow", "state")

    def __init__(self, table: Table, flow: F, wheel: TimerWheel, on_end: Callable[[Any], object]) -> None:
        self._table = table
        self._wheel = wheel
        self._on_end = on_end
        self._timers: dict[str, Timer] = {}
        self._intervals: dict[str, float] | None = None
        self._last = b""
        self.flow = flow
        self.state = STARTS[id(table)][0]

    def _feed(self, event: str, what: Message | None = None, data: bytes = b"") -> None:
        row = self._table.get(self.state, {}).get(event)
        if row is None:
            return
        after, effects = row
        if after is not self.state:
            self.state = after
            if self._timers:
                # A state's timers are its own, but for the non-INVITE client's, which run on as it proceeds.
                self._stop_timers(keep="EF" if after is tables.PROCEEDING else "")
        try:
            self._carry_out(effects, what, data)
        finally:
            if after is TERMINATED:
                self._end()

    def _carry_out(self, effects: tuple[str, ...], what: Message | None, data: bytes) -> None:
        for number, effect in enumerate(effects, 1):
            if effect is tables.SEND:
                self._last = data
                self.flow.send(data)
            elif effect is tables.RESEND:
                if self._last:
                    self.flow.send(self._last)
            elif effect in STARTED:
                self._start(STARTED[effect])
            elif effect is tables.START_E_AT_T2:
                self._intervals = {"E": tables.T2}
                self._start("E")
            else:
                try:
                    self._tell(effect, what)
                except Exception:
                    # The user's fault alone: without its timers the transaction would stay for ever.
                    self._carry_out(effects[number:], what, data)
                    raise

    def _tell(self, effect: str, what: Message | None) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        """Let go of the user, who holds this too: what is in no cycle is gone at once, with no work for the
        garbage collector, which with thousands of transactions alive took an eighth of the server's time."""
        self._on_end(self)

    def _start(self, name: str) -> None:
        duration = DURATIONS[name][self.flow.reliable]
        if duration is None or self.state is TERMINATED:
            return
        if duration == 0.0:
            self._feed(name)
            return
        if name in DOUBLING:
            intervals = self._intervals = self._intervals or {}
            duration = min(2 * intervals[name], DOUBLING[name]) if name in intervals else duration
            intervals[name] = duration
        self._timers[name] = self._wheel.start(duration, self._run_out, name)

    def _run_out(self, name: str) -> None:
        self._timers.pop(name, None)
        self._feed(name)

    def _stop_timers(self, keep: str = "") -> None:
        for name in [name for name in self._timers if name not in keep]:
            self._timers.pop(name).stop()

    def flow_lost(self) -> None:
        """The flow broke: an error of the transport (RFC 3261 §17.1.4, §17.2.4)."""
        self._feed(TRANSPORT_ERROR)


class ServerTransaction(_Machine[F]):
    """RFC 3261 §17.2.

    :ivar request: what began it.
    :ivar key: what matches a message to it.
    :ivar user: who is told; set by who answers.
    """

    __slots__ = ("key", "request", "user")

    def __init__(
        self,
        request: Request,
        key: Hashable,
        flow: F,
        wheel: TimerWheel,
        on_end: Callable[[Any], object],
    ) -> None:
        table = tables.INVITE_SERVER if request.method == b"INVITE" else tables.NON_INVITE_SERVER
        super().__init__(table, flow, wheel, on_end)
        self.request = request
        self.key = key
        self.user: ServerUser | None = None

    def repeated(self) -> None:
        """The request came again."""
        self._feed(tables.REQUEST)

    def acknowledged(self, ack: Request) -> None:
        """An ACK came that matches this INVITE."""
        self._feed(tables.ACK, ack)

    def respond(self, status: int, data: bytes) -> None:
        """Send a response; one that comes after the final one is dropped, save further 2xx to an INVITE."""
        self._feed(tables.status_event(status), None, data)

    def _end(self) -> None:
        super()._end()
        user, self.user = self.user, None
        if user is not None:
            user.transaction_ended()

    @property
    def answered(self) -> bool:
        """Whether a final response went out."""
        return self.state not in (tables.PROCEEDING, tables.TRYING)

    def _tell(self, effect: str, what: Message | None) -> None:
        user = self.user
        if user is None:
            return
        if effect == tables.PASS:
            assert isinstance(what, Request)
            user.acknowledged(what)
        elif effect == tables.PASS_TIMEOUT:
            user.unacknowledged()
        else:
            user.unsent()


class ClientTransaction(_Machine[F]):
    """RFC 3261 §17.1.

    :ivar branch: of our Via; with ``method``, it matches responses to this.
    """

    __slots__ = ("_data", "_user", "branch", "method")

    def __init__(
        self,
        method: bytes,
        branch: bytes,
        data: bytes,
        flow: F,
        user: ClientUser,
        wheel: TimerWheel,
        on_end: Callable[[Any], object],
    ) -> None:
        table = tables.INVITE_CLIENT if method == b"INVITE" else tables.NON_INVITE_CLIENT
        super().__init__(table, flow, wheel, on_end)
        self.branch = branch
        self.method = method
        self._user: ClientUser | None = user
        self._data = data

    def start(self) -> None:
        """Send the request."""
        self._carry_out(STARTS[id(self._table)][1], None, self._data)

    def received(self, response: Response) -> None:
        """A response that matches came."""
        self._feed(tables.status_event(response.status), response)

    def abandon(self) -> None:
        """Wait no longer for a final response (RFC 3261 §9.1: 64*T1 after a CANCEL). The user is not told."""
        self._feed(tables.ABANDON)

    def _end(self) -> None:
        super()._end()
        self._user = None

    @property
    def pending(self) -> bool:
        """Whether a final response is still to come."""
        return self.state in (tables.CALLING, tables.TRYING, tables.PROCEEDING)

    @property
    def proceeding(self) -> bool:
        """Whether a provisional response came and no final one: the time when an INVITE may be cancelled."""
        return self.state == tables.PROCEEDING

    def _tell(self, effect: str, what: Message | None) -> None:
        user = self._user
        if effect == tables.SEND_ACK:
            assert isinstance(what, Response)
            self.flow.send(ack_for_failure(self._data, what))
        elif user is None:
            return
        elif effect == tables.PASS:
            assert isinstance(what, Response)
            user.responded(what)
        elif effect == tables.PASS_TIMEOUT:
            user.timed_out()
        else:
            user.transport_failed()
