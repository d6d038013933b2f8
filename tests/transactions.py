"""For tests of transactions: a clock, a layer, flows that record and users that record."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.task import Clock

from sipmesh.sip import Request, Response, parse_message
from sipmesh.transaction.layer import TransactionLayer
from sipmesh.transaction.wheel import TICK, TimerWheel


@define(eq=False)
class RecordingFlow:
    """A flow that keeps what it was given to send."""

    scope: str
    reliable: bool = True
    sent: list[bytes] = field(factory=list)

    def send(self, data: bytes) -> None:
        self.sent.append(data)


@define(eq=False)
class RecordingUser:
    """A transaction user that keeps what it was told, and does then what it is asked to, once."""

    told: list[str] = field(factory=list)
    raises: bool = False
    ended: int = 0
    then: Callable[[], object] | None = None

    def _tell(self, what: str) -> None:
        self.told.append(what)
        then, self.then = self.then, None
        if then is not None:
            then()
        if self.raises:
            raise ZeroDivisionError

    def responded(self, response: Response) -> None:
        self._tell({1: "1xx", 2: "2xx"}.get(response.status // 100, "300-699"))

    def timed_out(self) -> None:
        self._tell("timed out")

    def transport_failed(self) -> None:
        self._tell("transport failed")

    def acknowledged(self, ack: Request) -> None:
        self._tell("acknowledged")

    def unacknowledged(self) -> None:
        self._tell("unacknowledged")

    def unsent(self) -> None:
        self._tell("unsent")

    def transaction_ended(self) -> None:
        self.ended += 1


class Scene:
    def __init__(self) -> None:
        self.clock = Clock()
        self.wheel = TimerWheel(self.clock.seconds)
        self.layer: TransactionLayer[RecordingFlow] = TransactionLayer(self.wheel)

    def flow(self, scope: str, reliable: bool = True) -> RecordingFlow:
        return RecordingFlow(scope, reliable)

    def advance(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK)):
            self.clock.advance(TICK)
            self.wheel.turn()


def request(
    method: str = "INVITE", branch: str = "z9hG4bKtheirs", host: str = "alice.a.example", **more: str
) -> Request:
    fields = {
        "Via": f"SIP/2.0/TLS {host}" + (f";branch={branch}" if branch else ""),
        "From": "<sip:alice@a.example>;tag=ours",
        "To": "<sip:bob@b.example>",
        "Call-ID": "call-1",
        "CSeq": f"1 {method}",
        "Max-Forwards": "70",
        "Route": "<sip:p.b.example;lr>",
        "Content-Length": "0",
    } | {name.replace("_", "-"): value for name, value in more.items() if name != "uri"}
    lines = [f"{method} {more.get('uri', 'sip:bob@b.example')} SIP/2.0"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    message = parse_message("\r\n".join([*lines, "", ""]).encode())
    assert isinstance(message, Request)
    return message


def response(status: int, branch: str, method: str = "INVITE") -> Response:
    message = parse_message(
        f"SIP/2.0 {status} So\r\nVia: SIP/2.0/TLS fe1.a.example;branch={branch}\r\n"
        f"From: <sip:alice@a.example>;tag=ours\r\nTo: <sip:bob@b.example>;tag=theirs\r\n"
        f"Call-ID: call-1\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n".encode()
    )
    assert isinstance(message, Response)
    return message
