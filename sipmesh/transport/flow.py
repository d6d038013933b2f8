"""A flow: one TLS connection, who its other end is, and what that end has proven on it.

RFC 3261 §18, RFC 5626 §2 (the word), RFC 5922 (who it is).
"""

from __future__ import annotations

from itertools import count
from typing import Protocol as StructuralType
from typing import cast

from attrs import frozen
from cryptography.x509 import Certificate
from OpenSSL import SSL
from twisted.internet.interfaces import IAddress, IHandshakeListener, IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..decisions import Client, Direction, Peer, Presented, Refuse, TrustedServer
from ..sip.digest import NonceCounts
from ..sip.errors import SipSyntaxError
from ..sip.framing import KeepAlive, Limits, StreamFramer
from ..sip.message import MalformedRequest, Request, Response
from ..trust.identities import identities
from .contexts import refusal_of
from .outbox import Outbox

_ids = count(1)
_LINGER = 5.0  # seconds that a closed flow may take to say goodbye


@frozen
class FlowLimits:
    """Bounds on a connection.

    :ivar framing: bounds on messages.
    :ivar handshake: seconds for TCP connect and, again, for the TLS handshake.
    :ivar idle: seconds without a byte received, keep-alives included, before a flow is closed.
    :ivar transactions: requests of one client that may be under way at a time; one more gets 503.
    :ivar pending: bytes that may wait for a peer that does not read, before its flow is closed.
    :ivar connections_per_address: inbound flows from one IP address at a time.
    """

    framing: Limits = Limits()
    handshake: float = 10.0
    idle: float = 7200.0
    transactions: int = 500
    pending: int = 1 << 20
    connections_per_address: int = 1000


class Wire(StructuralType):
    """What a flow uses of Twisted's TLS transport."""

    def write(self, data: bytes) -> None: ...  # noqa: D102

    def loseConnection(self) -> None: ...  # noqa: D102

    def abortConnection(self) -> None: ...  # noqa: D102

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None: ...  # noqa: D102

    def unregisterProducer(self) -> None: ...  # noqa: D102

    def getHandle(self) -> SSL.Connection: ...  # noqa: D102

    def getPeer(self) -> IAddress: ...  # noqa: D102

    def getHost(self) -> IAddress: ...  # noqa: D102


class FlowOwner(StructuralType):
    """Who is told what happens on flows."""

    limits: FlowLimits
    outbox: Outbox

    def seconds(self) -> float:
        """The clock."""

    def judge(self, presented: Presented | None, address: str) -> Peer | Refuse:
        """Who is this? ``presented`` is None where no certificate was shown."""

    def intermediates(self, leaf: Certificate, sent: tuple[Certificate, ...]) -> tuple[Certificate, ...]:
        """What was sent beside this certificate; on a resumed session, what was sent when it was first seen."""

    def ready(self, flow: Flow) -> None:
        """The handshake ended and the peer was judged; its refusal, if it was one, is in ``flow.refusal``."""

    def received(self, flow: Flow, message: Request | Response) -> None:
        """A message came. What this raises closes the flow."""

    def malformed(self, flow: Flow, bad: MalformedRequest) -> None:
        """A request came that can be answered, but not served."""

    def lost(self, flow: Flow, why: str) -> None:
        """The flow is gone. Also called for a flow that never got ready."""


@implementer(IHandshakeListener, IPushProducer)
class Flow(Protocol):
    """One connection; made by a listener or by the pool.

    :ivar id: unique in this process, never used again.
    :ivar peer: who is at the other end; None until the handshake ended, and when it was refused.
    :ivar refusal: why the peer was refused; None if it was not.
    :ivar user: the address of record that a client proved on this flow, or None.
    :ivar nonce_counts: guards this flow's digest nonces against replay.
    :ivar address: the peer's IP address, as text; ``port`` its port.
    :ivar here: our own IP address and port on it.
    :ivar trusted: whether the peer is a :class:`.TrustedServer`.
    :ivar alias_read: whether a request was looked at for whether the peer wants its flow used both ways.
    :ivar handshaking: whether its handshake has not ended.
    :ivar alive: whether something can be sent on it.
    :ivar name_meant: outbound, the name that we wanted to reach.
    """

    _log = Logger()
    reliable = True

    def __init__(self, owner: FlowOwner, direction: Direction, name_meant: str | None = None) -> None:
        self.id = next(_ids)
        self.scope = f"flow {self.id}"
        self.peer: Peer | None = None
        self.refusal: Refuse | None = None
        self.identities: tuple[str, ...] = ()
        self.user: str | None = None
        self.nonce_counts = NonceCounts()
        self.direction = direction
        self.name_meant = name_meant
        self.address = ""
        self.port = 0
        self.here = ("", 0)
        self.trusted = False
        self.alias_read = False
        self.alive = False
        self._owner = owner
        self._framer = StreamFramer(owner.limits.framing)
        self._since = owner.seconds()
        self._partial_since: float | None = None
        self.handshaking = True
        self._held: list[bytes] = []
        self._waiting: int | None = None

    def __repr__(self) -> str:
        return f"<Flow {self.id} {self.direction.value} {self.address}:{self.port} {self.scope}>"

    # Beginning and end ---------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """The TCP connection is there; the TLS handshake comes next."""
        self._wire = cast(Wire, self.transport)
        there = self._wire.getPeer()
        self.address, self.port = getattr(there, "host", ""), getattr(there, "port", 0)
        here = self._wire.getHost()
        self.here = (getattr(here, "host", ""), getattr(here, "port", 0))
        self.alive = True
        self._wire.registerProducer(self, True)
        if ITCPTransport.providedBy(self._wire):
            tcp = cast(ITCPTransport, self._wire)
            # A message is sent whole, so there is nothing that waiting could join to it; and a peer that vanished
            # without a word is found out in the end.
            tcp.setTcpNoDelay(True)
            tcp.setTcpKeepAlive(True)

    def handshakeCompleted(self) -> None:
        """Find out who it is. RFC 5922 §7: the certificate, its names, and what the policies say of them."""
        self.handshaking = False
        try:
            presented = self._presented(self._wire.getHandle())
            verdict = self._owner.judge(presented, self.address)
            self.identities = presented.identities if presented else ()
        except Exception:
            # A certificate is a stranger's input, and what reads it is large.
            self._log.failure("the certificate that {flow} showed could not be read", flow=self)
            verdict = Refuse("its certificate can't be read; see the log", "unreadable-certificate")
        if isinstance(verdict, Refuse):
            self.refusal = verdict
        else:
            self.peer = verdict
            self.trusted = isinstance(verdict, TrustedServer)
            if not isinstance(verdict, Client):
                self.scope = verdict.name
        self._owner.ready(self)

    def _presented(self, handle: SSL.Connection) -> Presented | None:
        leaf = handle.get_peer_certificate(as_cryptography=True)
        if leaf is None:
            return None
        # On the server's side OpenSSL leaves the leaf out of the chain, on the client's it does not.
        sent = handle.get_peer_cert_chain(as_cryptography=True) or []
        others = self._owner.intermediates(leaf, tuple(c for c in sent if c != leaf))
        return Presented(identities(leaf), (leaf, *others), self.address, self.direction, self.name_meant)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        self.alive = False
        why = reason.getErrorMessage()
        if self.handshaking:
            why = f"the TLS handshake failed: {why}"
            refused = refusal_of(self._wire.getHandle())
            if refused:
                why = refused
                self.refusal = Refuse(why, "wrong-chain")
        self._owner.lost(self, why)

    def close(self) -> None:
        """End the flow once all that was sent has left; a peer that does not let go is made to."""
        if self.alive:
            self.flush()
            self.alive = False
            self._since = self._owner.seconds()
            # Twisted's TLS says no goodbye while it has a producer.
            self._wire.unregisterProducer()
            self._wire.loseConnection()

    def abort(self, why: str) -> None:
        """End the flow now."""
        if self.alive:
            self._log.info("closing {flow}: {why}", flow=self, why=why)
            self.cut()

    def cut(self) -> None:
        """End the flow now, closing or not."""
        self.alive = False
        self._wire.abortConnection()

    def sweep(self, now: float) -> None:
        """Hold the flow to its bounds in time; called about once a second."""
        limits = self._owner.limits
        if not self.alive:
            if now - self._since > _LINGER:
                self.cut()
        elif self.handshaking:
            if now - self._since > limits.handshake:
                self.abort(f"no TLS handshake within {limits.handshake:g} seconds")
        elif self._partial_since is not None and now - self._partial_since > limits.framing.partial:
            self.abort(f"a message took more than {limits.framing.partial:g} seconds to arrive")
        elif now - self._since > limits.idle:
            self.abort(f"nothing was received for {limits.idle:g} seconds")

    # Receiving ------------------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Cut into messages and hand each on. What a peer sends never ends more than its own flow."""
        outbox = self._owner.outbox
        opened = outbox.open()
        try:
            self._read(data)
        except SipSyntaxError as error:
            self._give_up(error)
        except Exception:
            self._log.failure("a message from {flow} could not be dealt with", flow=self)
            self.abort("an error of ours, see above")
        if opened:
            outbox.close()

    def _read(self, data: bytes) -> None:
        owner, framer = self._owner, self._framer
        self._since = owner.seconds()
        for item in framer.feed(data):
            self._partial_since = None
            if item.__class__ is Request or item.__class__ is Response:
                owner.received(self, item)
            elif item is KeepAlive.PING:
                self.send(KeepAlive.PONG.value)
            elif isinstance(item, MalformedRequest):
                owner.malformed(self, item)
            if not self.alive:
                return
        self._partial_since = (self._partial_since or self._since) if framer.partial else None

    def _give_up(self, error: SipSyntaxError) -> None:
        """The stream is out of step: answer if that is possible, and close."""
        self._log.info("closing {flow}: {why}", flow=self, why=error.reason)
        if isinstance(error, MalformedRequest):
            self._owner.malformed(self, error)
        self.close()

    # Sending --------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send a message, or what keeps the flow alive. On a flow that is gone nothing happens."""
        if not self.alive:
            return
        if self._held or self._owner.outbox.takes(self):
            self._held.append(data)
        else:
            self._wire.write(data)
        if self._waiting is not None:
            self._waiting += len(data)
            if self._waiting > self._owner.limits.pending:
                self.abort(f"it does not read: {self._waiting} bytes wait for it")

    def flush(self) -> None:
        """Write what was held back."""
        if self._held:
            data = b"".join(self._held)
            self._held.clear()
            if self.alive:
                self._wire.write(data)

    def pauseProducing(self) -> None:
        """The peer reads more slowly than we write: from here on, count what waits for it."""
        self._waiting = 0

    def resumeProducing(self) -> None:
        """The peer has caught up."""
        self._waiting = None

    def stopProducing(self) -> None:
        """The connection is going away; :meth:`connectionLost` follows."""
