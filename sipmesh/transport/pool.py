"""All flows of a server: those that came in and those that it opened, and which to use again.

RFC 5923: a flow that is up is used in both directions. One that we opened is found by the address that we
connected to; one that a server opened towards us is found by its IP address and the port in the Via of a
request on it that has ``alias`` (§8.1). Either way it is used only for a name that its certificate proved.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Protocol as StructuralType

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import Certificate
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IAddress, IReactorTCP, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..decisions import Client, Direction, Peer, Presented, Refuse
from ..sip.message import MalformedRequest, Request, Response
from .contexts import ConnectorTLS
from .eager import TLSFactory
from .flow import Flow, FlowLimits
from .outbox import Outbox

_CHAINS = 1024

Place = tuple[str, int, str]
"""IP address, port, and the name that was meant."""


class NotConnected(Exception):
    """A server could not be reached, or was not who was meant.

    :ivar because: one sentence for the log and the trace.
    :ivar refused: whether it was reached and not trusted.
    """

    def __init__(self, because: str, refused: bool = False) -> None:
        super().__init__(because)
        self.because = because
        self.refused = refused


class FlowUser(StructuralType):
    """Who works with the flows: the proxy."""

    def received(self, flow: Flow, message: Request | Response) -> None:
        """A message came on a flow whose peer was judged; it may be one that was refused."""

    def malformed(self, flow: Flow, bad: MalformedRequest) -> None:
        """A request came that can be answered, but not served."""

    def flow_ready(self, flow: Flow) -> None:
        """A peer was judged."""

    def flow_lost(self, flow: Flow, why: str) -> None:
        """A flow is gone."""


class _Outgoing(Factory):
    noisy = False

    def __init__(self, flow: Flow) -> None:
        self._flow = flow

    def buildProtocol(self, addr: IAddress | None) -> Flow:
        return self._flow


class FlowPool:
    """:param decide: who showed this certificate.

    :param client: who showed none, at this address.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTCP,
        clock: IReactorTime,
        connector: ConnectorTLS,
        decide: Callable[[Presented], Peer | Refuse],
        client: Callable[[str], Client],
        limits: FlowLimits,
    ) -> None:
        self.limits = limits
        self.outbox = Outbox()
        self.seconds: Callable[[], float] = clock.seconds
        self._reactor = reactor
        self._connector = connector
        self._decide = decide
        self._client = client
        self._user: FlowUser | None = None
        self._flows: dict[int, Flow] = {}
        self._places: dict[Place, Flow] = {}
        self._scopes: dict[str, dict[int, Flow]] = {}
        self._connecting: dict[Place, tuple[Flow, list[Deferred[Flow]]]] = {}
        self._inbound: Counter[str] = Counter()
        self._chains: OrderedDict[bytes, tuple[Certificate, ...]] = OrderedDict()

    def use(self, user: FlowUser) -> None:
        """Say who works with the flows; once, before there are any."""
        self._user = user

    # Finding a flow -------------------------------------------------------------------------------------

    def by_id(self, number: int) -> Flow | None:
        """The flow that has this id, if it is up."""
        return self._flows.get(number)

    def to_server(self, name: str) -> Flow | None:
        """A flow that is up to the server or partner that proved this name; the newest, if there are several."""
        flows = self._scopes.get(name, {})
        return next((flow for flow in reversed(flows.values()) if flow.alive), None)

    def at(self, address: str, port: int, name: str) -> Flow | None:
        """The flow that is up to this address and proved this name."""
        flow = self._places.get((address, port, name))
        return flow if flow is not None and flow.alive else None

    def connect(self, address: str, port: int, name: str) -> Deferred[Flow]:
        """A flow to this address whose peer proved this name: one that is up, else a new one.

        :return: fails with :class:`NotConnected`.
        """
        place = (address, port, name)
        result: Deferred[Flow] = Deferred()
        flow = self.at(*place)
        if flow is not None:
            result.callback(flow)
        elif place in self._connecting:
            self._connecting[place][1].append(result)
        else:
            self._open(place, result)
        return result

    def alias(self, flow: Flow, port: int) -> None:
        """A server asked for its flow to be used towards it too (RFC 5923 §8.1).

        :param port: where it listens, as its Via says. The address is where it really comes from, and the names are
            those that it proved: it can offer itself as nobody else.
        """
        for name in flow.identities:
            self._places.setdefault((flow.address, port, name), flow)

    def __iter__(self) -> Iterator[Flow]:
        return iter(list(self._flows.values()))

    def __len__(self) -> int:
        return len(self._flows)

    def _open(self, place: Place, result: Deferred[Flow]) -> None:
        address, port, name = place
        flow = Flow(self, Direction.OUTBOUND, name)
        self._connecting[place] = (flow, [result])
        v6 = ip_address(address.partition("%")[0]).version == 6
        endpoint = (TCP6ClientEndpoint if v6 else TCP4ClientEndpoint)(
            self._reactor, address, port, timeout=self.limits.handshake
        )
        opening = endpoint.connect(TLSFactory(self._connector.towards(name), True, _Outgoing(flow)))
        opening.addCallbacks(self._opened, lambda failure: self._not_opened(place, failure), (flow,))

    def _opened(self, _: object, flow: Flow) -> None:
        self._flows[flow.id] = flow

    def _not_opened(self, place: Place, failure: Failure) -> None:
        self._settle(
            place, NotConnected(f"{place[2]} at {place[0]} port {place[1]}: {failure.getErrorMessage()}")
        )

    def _settle(self, place: Place, outcome: Flow | NotConnected) -> None:
        _, waiting = self._connecting.pop(place, (None, []))
        for one in waiting:
            if isinstance(outcome, Flow):
                one.callback(outcome)
            else:
                one.errback(outcome)

    def _place_of(self, flow: Flow) -> Place | None:
        return next((place for place, (one, _) in self._connecting.items() if one is flow), None)

    # What flows tell (FlowOwner) ------------------------------------------------------------------------

    def accept(self, address: str) -> Flow | None:
        """The flow for a connection that a listener took; None if its address has too many already.

        Counted over all listeners: a second port is no second allowance.
        """
        if self._inbound[address] >= self.limits.connections_per_address:
            self._log.info("refusing a connection from {a}: it has {n}", a=address, n=self._inbound[address])
            return None
        self._inbound[address] += 1
        flow = Flow(self, Direction.INBOUND)
        self._flows[flow.id] = flow
        return flow

    def judge(self, presented: Presented | None, address: str) -> Peer | Refuse:
        """Who is this?"""
        return self._client(address) if presented is None else self._decide(presented)

    def intermediates(self, leaf: Certificate, sent: tuple[Certificate, ...]) -> tuple[Certificate, ...]:
        """A resumed session carries the peer's own certificate and not its intermediates: keep those, bounded."""
        key = leaf.fingerprint(SHA256())
        if sent:
            self._chains[key] = sent
            self._chains.move_to_end(key)
            if len(self._chains) > _CHAINS:
                self._chains.popitem(last=False)
            return sent
        return self._chains.get(key, ())

    def ready(self, flow: Flow) -> None:
        """A handshake ended and its peer was judged."""
        assert self._user is not None
        place = self._place_of(flow)
        if flow.peer is not None and not isinstance(flow.peer, Client):
            self._scopes.setdefault(flow.scope, {})[flow.id] = flow
        if place is not None and flow.peer is not None:
            self._places[place] = flow
        self._user.flow_ready(flow)
        if place is None:
            return
        if flow.refusal is not None:
            self._settle(place, NotConnected(flow.refusal.because, refused=True))
            flow.close()
        else:
            self._settle(place, flow)

    def received(self, flow: Flow, message: Request | Response) -> None:
        """A message came."""
        assert self._user is not None
        self._user.received(flow, message)

    def malformed(self, flow: Flow, bad: MalformedRequest) -> None:
        """A request came that can't be served."""
        assert self._user is not None
        self._user.malformed(flow, bad)

    def lost(self, flow: Flow, why: str) -> None:
        """A flow is gone."""
        assert self._user is not None
        self._flows.pop(flow.id, None)
        if flow.direction is Direction.INBOUND:
            self._inbound[flow.address] -= 1
            if not self._inbound[flow.address]:
                del self._inbound[flow.address]
        place = self._place_of(flow)
        if place is not None:
            address, port, name = place
            self._settle(
                place, NotConnected(f"{name} at {address} port {port}: {why}", refused="refused" in why)
            )
        scope = self._scopes.get(flow.scope)
        if scope is not None and scope.pop(flow.id, None) is not None and not scope:
            del self._scopes[flow.scope]
        if scope is not None:
            for known in [known for known, one in self._places.items() if one is flow]:
                del self._places[known]
        self._user.flow_lost(flow, why)

    def sweep(self) -> None:
        """Hold all flows to their bounds in time; called about once a second."""
        now = self.seconds()
        for flow in list(self._flows.values()):
            flow.sweep(now)

    def close_all(self) -> None:
        """End all flows."""
        for flow in list(self._flows.values()):
            flow.close()
        for flow, _ in list(self._connecting.values()):
            flow.close()

    def abort_all(self) -> None:
        """End what is still there, without goodbyes."""
        for flow in list(self._flows.values()):
            flow.cut()
