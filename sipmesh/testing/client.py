"""A SIP user agent for demonstrations and tests: one user, one TLS connection, calls and messages.

::

    alice = await connect(reactor, "sip:alice@a.example", "127.0.0.2", "fe1.a.example", Path("ca.pem"))
    await alice.register("her password")
    answer = await alice.ask("INVITE", "sip:bob@b.example")
    dialog = Dialog.of_caller(answer)
    alice.acknowledge(dialog)
    await alice.hang_up(dialog)
    alice.close()

It does what a well-behaved client does, once, and nothing on its own: who is asked something answers with
:meth:`UserAgent.respond`. Each wait ends after :data:`PATIENCE`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.interfaces import IHandshakeListener, IReactorTCP, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.python.failure import Failure
from zope.interface import implementer

from ..sip import Message, Request, Response, parse_sip_uri
from ..sip.digest import DigestCredentialsHeader, expected_response, ha1
from ..sip.framing import Limits, StreamFramer
from ..sip.headers import parse_address
from ..sip.respond import ack_for_failure, make_response

PATIENCE = 5.0
"""Seconds until something that has to happen has failed to."""

_T = TypeVar("_T")
_connect: Callable[..., Deferred[object]] = connectProtocol  # Twisted gives it no types
_CHALLENGE = re.compile(rb'(realm|nonce|algorithm)="?([^",]*)')


@frozen
class Dialog:
    """One side's view of a dialog (RFC 3261 §12).

    :ivar local: our From, with its tag.
    :ivar remote: the other's To, with its tag.
    :ivar target: where requests go: the other's Contact.
    :ivar routes: the Route set, first hop first.
    :ivar invite: the number in CSeq of the INVITE.
    """

    call_id: bytes
    local: bytes
    remote: bytes
    target: str
    routes: tuple[bytes, ...]
    invite: int

    @classmethod
    def of_caller(cls, answer: Response) -> Dialog:
        """From the 2xx to our INVITE (§12.1.2)."""
        routes = tuple(reversed(answer.values(b"record-route")))
        local, remote = _value(answer, b"from"), _value(answer, b"to")
        return cls(answer.call_id, local, remote, _contact(answer), routes, answer.cseq.number)

    @classmethod
    def of_callee(cls, invite: Request, tag: bytes) -> Dialog:
        """From the INVITE that we accept, with our tag (§12.1.1)."""
        routes = tuple(invite.values(b"record-route"))
        local, remote = _value(invite, b"to") + b";tag=" + tag, _value(invite, b"from")
        return cls(invite.call_id, local, remote, _contact(invite), routes, invite.cseq.number)


async def connect(reactor: IReactorTCP, user: str, address: str, server: str, ca: Path) -> UserAgent:
    """Connect a user agent to its server, port 5061.

    :param user: its address of record.
    :param address: the server's IPv4 address.
    :param server: the name that the server's certificate has to prove.
    :param ca: PEM file of the CA that has to have issued it.
    :raises Exception: if there is no server, or another one.
    """
    tls = optionsForClientTLS(server, Certificate.loadPEM(ca.read_bytes()))
    agent = UserAgent(IReactorTime(reactor), user, server)
    await _connect(wrapClientTLS(tls, TCP4ClientEndpoint(reactor, address, 5061, timeout=PATIENCE)), agent)
    await agent.ready
    return agent


@implementer(IHandshakeListener)
class UserAgent(Protocol):
    """See :func:`connect`.

    :ivar user: the address of record.
    :ivar server: the name that its server proved.
    :ivar tag: its tag in all dialogs that it is called into.
    :ivar ready: fires when the server has proven its name.
    """

    def __init__(self, clock: IReactorTime, user: str, server: str) -> None:
        self.user = user
        self.server = server
        self.tag = os.urandom(4).hex().encode()
        self._clock = clock
        self.ready: Deferred[None] = self._patiently(Deferred(), f"{server} has not proven its name")
        self._framer = StreamFramer(Limits())
        self._waiting: dict[bytes, tuple[bytes, Deferred[Response]]] = {}
        self._requests: DeferredQueue[Request] = DeferredQueue()
        self._number = 0
        self._here = b""

    # Asking ----------------------------------------------------------------------------------------------

    async def register(self, password: str) -> Response:
        """Register this connection as a contact of the user, and answer the challenge that comes first."""
        uri = parse_sip_uri(self.user)
        registrar, name = f"sip:{uri.domain}", uri.user or ""
        answer = await self.ask("REGISTER", registrar, to=self.user)
        if answer.status != 401:
            return answer
        credentials = _answer_challenge(_value(answer, b"www-authenticate"), registrar, name, password)
        return await self.ask("REGISTER", registrar, b"Authorization: " + credentials, to=self.user)

    def ask(
        self, method: str, uri: str, *headers: bytes, body: bytes = b"", to: str | None = None
    ) -> Deferred[Response]:
        """Send a request outside any dialog. What is no success of an INVITE is acknowledged here.

        :param headers: whole header lines.
        :return: fires with the final response; fails with ConnectionError or TimeoutError.
        """
        self._number += 1
        lines = (
            b"From: <%s>;tag=%s" % (self.user.encode(), os.urandom(4).hex().encode()),
            b"To: <%s>" % (to or uri).encode(),
            b"Call-ID: %s" % os.urandom(8).hex().encode(),
            b"CSeq: %d %s" % (self._number, method.encode()),
        )
        branch, data = self._compose(method, uri, (*lines, *headers), body)
        return self._await_answer(branch, data, f"{method} {uri}")

    def acknowledge(self, dialog: Dialog) -> None:
        """Send the ACK that begins the dialog (RFC 3261 §13.2.2.4). Nobody answers it."""
        self._write(self._inside("ACK", dialog, dialog.invite)[1])

    def hang_up(self, dialog: Dialog) -> Deferred[Response]:
        """Send a BYE; see :meth:`ask`."""
        self._number = max(self._number, dialog.invite) + 1
        return self._await_answer(*self._inside("BYE", dialog, self._number), f"BYE {dialog.target}")

    def _inside(self, method: str, dialog: Dialog, number: int) -> tuple[bytes, bytes]:
        routes = (b"Route: " + route for route in dialog.routes)
        names = b"From: " + dialog.local, b"To: " + dialog.remote, b"Call-ID: " + dialog.call_id
        cseq = b"CSeq: %d %s" % (number, method.encode())
        return self._compose(method, dialog.target, (*routes, *names, cseq), b"")

    def _compose(self, method: str, uri: str, lines: tuple[bytes, ...], body: bytes) -> tuple[bytes, bytes]:
        branch = b"z9hG4bK" + os.urandom(8).hex().encode()
        whole = (
            f"{method} {uri} SIP/2.0".encode(),
            b"Via: SIP/2.0/TLS %s;branch=%s;rport" % (self._here, branch),
            b"Max-Forwards: 70",
            b"Contact: " + self._contact,
            *lines,
            b"Content-Length: %d" % len(body),
        )
        return branch, b"\r\n".join((*whole, b"", body))

    def _await_answer(self, branch: bytes, data: bytes, what: str) -> Deferred[Response]:
        later: Deferred[Response] = Deferred()
        self._waiting[branch] = data, later
        self._write(data)
        return self._patiently(later, f"{self.user} got no answer to {what}")

    # Being asked -----------------------------------------------------------------------------------------

    def incoming(self, method: str) -> Deferred[Request]:
        """The next request that comes, or came.

        :return: fails with ValueError if it is of another method, with TimeoutError if none comes.
        """

        def check(request: Request) -> Request:
            if request.method != method.encode():
                raise ValueError(f"{self.user} expected {method}, and {request!r} came")
            return request

        return self._patiently(self._requests.get(), f"no {method} came to {self.user}").addCallback(check)

    def respond(self, request: Request, status: int) -> None:
        """Answer a request."""
        self._write(make_response(request, status, headers=(b"Contact: " + self._contact,), to_tag=self.tag))

    # Connection ------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the connection."""
        if self.transport is not None:
            self.transport.loseConnection()

    def handshakeCompleted(self) -> None:
        """Called by Twisted."""
        here = cast(ITCPTransport, self.transport).getHost()
        self._here = f"{here.host}:{here.port}".encode()
        self.ready.callback(None)

    def dataReceived(self, data: bytes) -> None:
        """Called by Twisted."""
        for message in self._framer.feed(data):
            if isinstance(message, Request):
                self._requests.put(message)
            elif isinstance(message, Response) and message.status >= 200:
                self._answered(message)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called by Twisted."""
        error = ConnectionError(f"{self.server} hung up: {reason.getErrorMessage()}")
        waiting = [later for _, later in self._waiting.values()]
        self._waiting.clear()
        for later in waiting:
            later.errback(error)
        if not self.ready.called:
            self.ready.errback(error)

    def _answered(self, response: Response) -> None:
        data, later = self._waiting.pop(response.via.branch, (b"", None))
        if later is not None:
            if response.cseq.method == b"INVITE" and response.status >= 300:
                self._write(ack_for_failure(data, response))
            later.callback(response)

    @property
    def _contact(self) -> bytes:
        name = parse_sip_uri(self.user).user or ""
        return b"<sip:%s@%s;transport=tls>" % (name.encode(), self._here)

    def _write(self, data: bytes) -> None:
        if self.transport is None:
            raise ConnectionError(f"{self.user} is not connected")
        self.transport.write(data)

    def _patiently(self, later: Deferred[_T], otherwise: str) -> Deferred[_T]:
        def too_late(_: object, seconds: float) -> _T:
            raise TimeoutError(f"{otherwise} within {seconds:g} seconds")

        return later.addTimeout(PATIENCE, self._clock, too_late)


def _value(message: Message, name: bytes) -> bytes:
    value = message.first(name)
    if value is None:
        raise ValueError(f"{message!r} has no {name.decode()}")
    return value


def _contact(message: Message) -> str:
    return str(parse_address(_value(message, b"contact")).uri)


def _answer_challenge(challenge: bytes, uri: str, name: str, password: str) -> bytes:
    """What to put into Authorization (RFC 3261 §22.4). Understands our own challenges, not everybody's."""
    given = {key.decode(): value.decode() for key, value in _CHALLENGE.findall(challenge)}
    algorithm, realm = given["algorithm"], given["realm"]
    cnonce = os.urandom(8).hex()
    header = DigestCredentialsHeader(
        name, realm, given["nonce"], uri, "", algorithm, cnonce=cnonce, qop="auth", nc="00000001"
    )
    response = expected_response(algorithm, ha1(algorithm, name, realm, password), b"REGISTER", header)
    return (
        f'Digest username="{name}", realm="{realm}", nonce="{header.nonce}", uri="{uri}", '
        f'algorithm={algorithm}, cnonce="{cnonce}", qop=auth, nc=00000001, response="{response}"'
    ).encode()
