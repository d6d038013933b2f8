"""The record of a decision: what happened to a request, step by step, for whoever looks.

While nobody looks there is no record: :attr:`Tracer.watched` is False and no event is made.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from ..decisions import Client, FederatedPartner, TrustedServer
from ..interfaces import ITraceObserver
from ..sip.errors import SipSyntaxError
from ..sip.message import Request
from ..transport.flow import Flow


def without_secrets(uri: bytes) -> str:
    """A Request-URI as it may be shown: without the password and the header fields that may stand in one.

    :param uri: as it was received, however malformed (RFC 3261 §19.1.1).
    """
    text = uri.decode("utf-8", "replace")
    before, at, place = text.partition("@")
    if not at:
        return text.partition("?")[0]
    scheme, colon, user = before.partition(":")
    return f"{scheme}{colon}{user.partition(':')[0]}@{place.partition('?')[0].rpartition('@')[2]}"


def describe_peer(flow: Flow) -> str:
    """Who is at the other end, in a few words."""
    peer = flow.peer
    if isinstance(peer, TrustedServer):
        return f"trusted server {peer.name}"
    if isinstance(peer, FederatedPartner):
        return f"partner {peer.domain}" + (f" ({peer.name})" if peer.name != peer.domain else "")
    if isinstance(peer, Client):
        return f"client {flow.user}" if flow.user else "client, not proven yet"
    return "refused peer" if flow.refusal else "peer in its handshake"


class Tracer:
    """Hands events to the observers that are attached.

    :param seconds: Unix time.
    :param server: our name, part of each event.
    :ivar watched: whether anybody is attached.
    """

    _log = Logger()

    def __init__(self, seconds: Callable[[], float], server: str) -> None:
        self.watched = False
        self._seconds = seconds
        self._server = server
        self._observers: list[ITraceObserver] = []

    def attach(self, observer: ITraceObserver) -> None:
        """From now on this observer sees everything."""
        self._observers.append(observer)
        self.watched = True

    def detach(self, observer: ITraceObserver) -> None:
        """The end of that; also for one that was detached already, as it had raised."""
        if observer in self._observers:
            self._observers.remove(observer)
        self.watched = bool(self._observers)

    def flow(self, flow: Flow, step: str, because: str) -> None:
        """Something happened to a flow."""
        self._emit(flow, {"step": step, "because": because})

    def request(self, request: Request, flow: Flow, step: str, because: str, **more: object) -> None:
        """Something happened to a request.

        :param flow: where the step took place: where the request came from, or where it goes.
        """
        try:
            call_id = request.call_id.decode("utf-8", "replace")
            cseq = request.cseq.number
        except SipSyntaxError:
            call_id, cseq = "", -1
        self._emit(
            flow,
            {
                "method": request.method.decode("ascii", "replace"),
                "uri": without_secrets(request.uri_bytes),
                "call_id": call_id,
                "cseq": cseq,
                "step": step,
                "because": because,
                **more,
            },
        )

    def _emit(self, flow: Flow, what: dict[str, object]) -> None:
        event = {
            "time": round(self._seconds(), 6),
            "server": self._server,
            "flow": flow.id,
            "direction": flow.direction.value,
            "peer": describe_peer(flow),
            "proven": list(flow.identities),
            **what,
        }
        for observer in list(self._observers):
            try:
                observer.observe(event)
            except Exception:
                self._log.failure("a trace observer raised; it is detached")
                self.detach(observer)
