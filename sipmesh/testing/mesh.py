"""A server in memory, on a fake clock, for authors of policies: who connects, what they send, what becomes of it.

::

    def test_calls_at_night_go_to_the_desk():
        bench = PolicyBench(OfficeHours(desk=parse_sip_uri("sip:desk@a.example"), ...))
        alice, partner = bench.client("sip:alice@a.example"), bench.partner("b.example")
        alice.ask("INVITE", "sip:bob@b.example")
        invite = partner.request()
        partner.respond(invite, 486)
        assert alice.response().status == 486

It is the proxy itself that works here, with the policies given, transactions and timers and all; only sockets, TLS
and DNS are left out. Nothing happens but what a test does: messages that a peer sends are dealt with before
:meth:`MemoryFlow.ask` returns, and time stands still until :meth:`PolicyBench.advance`. A test of a policy takes
milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from typing import cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from ..decisions import (
    ENTERPRISE,
    Client,
    Direction,
    FederatedPartner,
    Peer,
    Reach,
    Refuse,
    TrustedServer,
)
from ..interfaces import IFederationPolicy, ILocationStore, IRoutingPolicy, ISecureServerList, ITraceObserver
from ..proxy.admission import Admission
from ..proxy.authenticate import Authenticator
from ..proxy.core import Decisions, Proxy, Register
from ..proxy.reaching import Reaching
from ..proxy.routing_chain import RoutingChain
from ..proxy.site import Site
from ..proxy.tokens import RouteTokens
from ..proxy.trace import Tracer
from ..resolver import Candidate, Locator, NotReachable
from ..sip import Request, Response, SipUri, parse_message
from ..sip.respond import ack_for_failure, cancel_for, make_response, new_tag
from ..transaction.wheel import TICK, TimerWheel
from ..transport.flow import Flow, FlowLimits, FlowOwner
from ..transport.pool import FlowPool, NotConnected
from ..trust.anchors import AnchorSets
from ..trust.judge import Judge

_numbers = count(1)


class MemoryFlow(Flow):
    """A peer, and its connection to the server under test; :class:`PolicyBench` makes them.

    :ivar sent: what the server sent to it and nobody has taken yet, oldest first.
    """

    def __init__(self, bench: PolicyBench, pool: _MemoryPool, direction: Direction, peer: Peer) -> None:
        super().__init__(cast(FlowOwner, pool), direction)
        self.sent: list[Request | Response] = []
        self._bench = bench
        self.address = f"192.0.2.{self.id % 250 + 1}"
        self.port = 40000
        self.here = ("192.0.2.254", 5061)
        self.peer = peer
        self.trusted = isinstance(peer, TrustedServer)
        self.alive = True
        if not isinstance(peer, Client):
            self.scope = peer.name
            self.identities = (peer.name,)

    # What the server does -------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """The server sends. Not for tests."""
        if self.alive:
            self.sent.append(parse_message(data))

    def close(self) -> None:
        """The server closes the connection."""
        self.lose("closed by the server")

    # What the peer does -----------------------------------------------------------------------------------

    def ask(self, method: str, uri: str, *headers: str, body: str = "", to: str = "") -> Request:
        """Send a request to the server.

        :param headers: whole lines. One of these takes the place of the line of the same name that the request would
            have otherwise: From the user (else ``sip:somebody@`` the peer's name), To the Request-URI, and so on.
        :param to: the To value, in short.
        :return: the request, for :meth:`cancel` and :meth:`acknowledge`.
        """
        number = next(_numbers)
        name = getattr(self.peer, "domain", "") or getattr(self.peer, "name", "") or "a.example"
        lines = {
            "via": f"Via: SIP/2.0/TLS {self.address};branch=z9hG4bK{number}",
            "from": f"From: <{self.user or 'sip:somebody@' + name}>;tag=f{number}",
            "to": f"To: {to or f'<{uri}>'}",
            "call-id": f"Call-ID: call-{number}",
            "cseq": f"CSeq: 1 {method}",
            "max-forwards": "Max-Forwards: 70",
            "contact": f"Contact: <sip:peer@{self.address}:{self.port};transport=tls>",
        }
        more = []
        for line in headers:
            key = line.partition(":")[0].strip().lower()
            if key in lines:
                lines[key] = line
            else:
                more.append(line)
        start = f"{method} {uri} SIP/2.0"
        given = [line for line in lines.values() if line.partition(":")[2]]
        text = "\r\n".join([start, *given, *more, f"Content-Length: {len(body.encode())}", "", body])
        return self.says(text)

    def says(self, text: str | bytes) -> Request:
        """Send a request that is written out in full."""
        request = parse_message(text.encode() if isinstance(text, str) else text)
        assert isinstance(request, Request), "a response is sent with respond()"
        self._bench.proxy.received(self, request)
        return request

    def respond(self, request: Request, status: int, *headers: str) -> Response:
        """Answer a request that the server sent."""
        lines = tuple(line.encode() for line in headers)
        tag = new_tag() if status > 100 else b""
        response = parse_message(make_response(request, status, "", lines, tag))
        assert isinstance(response, Response)
        self._bench.proxy.received(self, response)
        return response

    def cancel(self, invite: Request) -> None:
        """Cancel an INVITE that it sent."""
        self.says(cancel_for(invite.raw))

    def acknowledge(self, invite: Request, response: Response) -> None:
        """Acknowledge the failure that an INVITE of its got."""
        self.says(ack_for_failure(invite.raw, response))

    def lose(self, why: str = "connection lost") -> None:
        """The connection breaks."""
        if self.alive:
            self.alive = False
            self._bench.proxy.flow_lost(self, why)

    # What a test looks at ---------------------------------------------------------------------------------

    def take(self) -> list[Request | Response]:
        """All that has come, oldest first, and let go of it."""
        taken, self.sent = self.sent, []
        return taken

    def request(self, method: str = "") -> Request:
        """The next request that came.

        :raises AssertionError: if none came, or another than this.
        """
        found = next((one for one in self.sent if isinstance(one, Request)), None)
        assert found is not None, f"no request came, but {self.sent}"
        assert not method or found.method == method.encode(), f"{found} came, not {method}"
        self.sent.remove(found)
        return found

    def response(self) -> Response:
        """The next response that came; 100 is passed over.

        :raises AssertionError: if none came.
        """
        found = next((one for one in self.sent if isinstance(one, Response) and one.status > 100), None)
        assert found is not None, f"no response came, but {self.sent}"
        self.sent.remove(found)
        return found


class PolicyBench:
    """A server with these policies and no users but those whom :meth:`client` brings along, proven.

    Everything is possible that a server can do, as far as the policies let it. Peers that were made with
    :meth:`server` and :meth:`partner` may also be reached, without a policy that says so.

    :param routing: the routing policies, in order.
    :param name: the server's own name.
    :param domains: those that it is responsible for.
    :param locations: the location service that policies see; :class:`.MemoryLocations` is one.
    :param register: serves REGISTER; see :data:`sipmesh.proxy.core.Register`.
    :param authenticator: challenges clients that are not proven; without one these get 403.
    :ivar locations: as given.
    :ivar clock: stands still but for :meth:`advance`.
    :ivar trace: each step of each request, as :class:`.ITraceObserver` gets them, oldest first.
    :ivar proxy: what works here.
    :ivar pool: the connections of the server.
    """

    def __init__(
        self,
        *routing: IRoutingPolicy,
        name: str = "fe1.a.example",
        domains: Iterable[str] = ("a.example",),
        server_lists: Sequence[ISecureServerList] = (),
        federation: Sequence[IFederationPolicy] = (),
        locations: ILocationStore | None = None,
        register: Register | None = None,
        authenticator: Authenticator | None = None,
    ) -> None:
        self.clock = Clock()
        self.locations = locations
        self.trace: list[dict[str, object]] = []
        self.wheel = TimerWheel(self.clock.seconds)
        self._judge = Judge(server_lists, federation, AnchorSets([]))
        self.pool = _MemoryPool(self.clock)
        self._names: dict[str, Peer] = {}
        site = Site(name, 5061, frozenset(domains))
        self._site, self._tokens = site, RouteTokens(b"a key for tests, which is no secret")
        tracer = Tracer(self.clock.seconds, name)
        tracer.attach(_Recorder(self.trace))
        named = [(type(policy).__name__, policy) for policy in routing]
        decisions = Decisions(
            Admission(authenticator, federation), RoutingChain(named), self.reach, locations, register
        )
        pool, locator = cast(FlowPool, self.pool), cast(Locator, _MemoryLocator(self.pool))
        reaching = Reaching(pool, locator, self.reach, site, self._tokens)
        self.proxy = Proxy(site, pool, reaching, self._tokens, decisions, self.wheel, tracer)

    def client(self, user: str | None = None) -> MemoryFlow:
        """A client on a connection of its own.

        :param user: the address of record that it has proven, such as ``sip:alice@a.example``; None: nothing yet.
        """
        flow = self.pool.add(MemoryFlow(self, self.pool, Direction.INBOUND, Client("a test says so")))
        flow.user = user
        return flow

    def server(self, name: str) -> MemoryFlow:
        """A server of ours; with the same name again, another one that proves this name."""
        return self._server(TrustedServer(name, "a test says so"))

    def partner(self, domain: str, name: str = "") -> MemoryFlow:
        """A partner's server.

        :param name: what it proves, if not its domain.
        """
        peer = FederatedPartner(name or domain, domain, "a test says so", f"partner:{domain}")
        return self._server(peer)

    def _server(self, peer: TrustedServer | FederatedPartner) -> MemoryFlow:
        self._names[peer.name] = peer
        return self.pool.add(MemoryFlow(self, self.pool, Direction.OUTBOUND, peer))

    def path_to(self, client: MemoryFlow) -> str:
        """What a binding of this client has as its ``path``: with it as its route a target is that client."""
        return f"<sip:{self._tokens.for_path(client)}@{self._site.sent_by.decode()};transport=tls;lr>"

    def unreachable(self, name: str, *, refused: bool = False) -> None:
        """From now on DNS finds this name, and first of all at an address where nobody is who was meant.

        :param refused: somebody is there, but is not to be trusted.
        """
        self.pool.dead.setdefault(name, []).append(refused)

    def reach(self, name: str) -> Reach | Refuse | None:
        """What policies are told who ask whether a name may be reached."""
        known = self._names.get(name)
        if isinstance(known, TrustedServer):
            return Reach(name, known.because, ENTERPRISE)
        if isinstance(known, FederatedPartner):
            return Reach(name, known.because, known.anchors, None, known.domain)
        return self._judge.reach(name)

    def advance(self, seconds: float) -> None:
        """Let time go by."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(min(TICK, end - self.clock.seconds()))
            self.wheel.turn()

    @property
    def decision(self) -> dict[str, object]:
        """The last step of the trace that says what was decided for a request: its ``because``, ``policy``, ...

        :raises AssertionError: if nothing was decided yet.
        """
        found = next((step for step in reversed(self.trace) if step["step"] in ("route", "answer")), None)
        assert found is not None, "nothing was decided yet"
        return found


@implementer(ITraceObserver)
class _Recorder:
    def __init__(self, trace: list[dict[str, object]]) -> None:
        self._trace = trace

    def observe(self, event: dict[str, object]) -> None:
        self._trace.append(event)


class _MemoryPool:
    """What the proxy uses of :class:`.FlowPool`, without a network."""

    def __init__(self, clock: Clock) -> None:
        self.limits = FlowLimits()
        self.seconds = clock.seconds
        self.flows: dict[int, MemoryFlow] = {}
        self.dead: dict[str, list[bool]] = {}

    def add(self, flow: MemoryFlow) -> MemoryFlow:
        self.flows[flow.id] = flow
        return flow

    def up(self, name: str) -> list[MemoryFlow]:
        return [flow for flow in self.flows.values() if flow.alive and name in flow.identities]

    def by_id(self, number: int) -> Flow | None:
        flow = self.flows.get(number)
        return flow if flow is not None and flow.alive else None

    def to_server(self, name: str) -> Flow | None:
        return next(reversed(self.up(name)), None)

    def at(self, address: str, port: int, name: str) -> Flow | None:
        return next((flow for flow in self.up(name) if flow.address == address), None)

    def connect(self, address: str, port: int, name: str) -> Deferred[Flow]:
        flow = self.at(address, port, name)
        refused = address == _REFUSED
        return succeed(flow) if flow else fail(NotConnected(f"{name} at {address} is not there", refused))

    def alias(self, flow: Flow, port: int) -> None:
        """All flows are used both ways here."""


_DEAD, _REFUSED = "dead", "refused"


class _MemoryLocator:
    """Finds in place of DNS the peers that were made."""

    def __init__(self, pool: _MemoryPool) -> None:
        self._pool = pool

    def locate(self, uri: SipUri, federated: bool) -> tuple[Candidate, ...]:
        name, port = uri.domain, uri.port or 5061
        hosts = [_REFUSED if refused else _DEAD for refused in self._pool.dead.get(name, ())]
        hosts += [flow.address for flow in self._pool.up(name)]
        if not hosts:
            raise NotReachable(f"{name}: there is no such name here")
        return tuple(Candidate(host, port, name) for host in hosts)
