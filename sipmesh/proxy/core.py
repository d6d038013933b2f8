"""The way of a request through a proxy: validate, trust, authenticate, route, reach, forward. RFC 3261 §16.

One direction, each step in its own function, each leaving one line in the trace if somebody looks. The way is a
coroutine only so that a policy may wait; a request for which nobody waits runs through in one go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Protocol

from attrs import frozen
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..decisions import (
    Client,
    Direction,
    FederatedPartner,
    Forward,
    Reach,
    Redirect,
    Refuse,
    Reject,
    RequestContext,
    Target,
    TrustedServer,
)
from ..interfaces import ILocationStore
from ..sip.errors import SipSyntaxError
from ..sip.headers import parse_address
from ..sip.message import MalformedRequest, Request, Response
from ..sip.names import P_ASSERTED_IDENTITY
from ..sip.respond import make_response, new_tag
from ..sip.splice import received_via
from ..sip.uri import SipUri
from ..transaction.layer import TransactionLayer
from ..transaction.tables import ACCEPTED
from ..transaction.wheel import TimerWheel
from ..transport.flow import Flow
from ..transport.pool import FlowPool
from .admission import Admission, context_user
from .at_once import run
from .forking import AckSender, BranchSender
from .outgoing import DIALOG_FORMING, Passage, forwarded_request
from .reaching import Reaching, Unreachable
from .responses import Branch, ResponseContext
from .retargeting import follow, leads_on
from .routing import RouteSet, read_route_set
from .routing_chain import Decided, RoutingChain
from .site import Site
from .tokens import RouteTokens, neighbour
from .trace import Tracer, describe_peer
from .validate import Refusal, make_branch, validate

log = Logger()

_ALLOW = b"Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, MESSAGE, SUBSCRIBE, NOTIFY, REFER, UPDATE, PRACK, INFO"


class RegisterAnswer(Protocol):
    """What a registrar answers; header lines are whole."""

    @property
    def status(self) -> int: ...  # noqa: D102

    @property
    def reason(self) -> str: ...  # noqa: D102

    @property
    def headers(self) -> tuple[bytes, ...]: ...  # noqa: D102


Register = Callable[[Request, str, str], RegisterAnswer | Awaitable[RegisterAnswer]]
"""Serve a REGISTER: the request, the address of record, and our own Path value that leads to the client."""


@frozen
class Decisions:
    """All that can be decided differently: what a reload replaces.

    :ivar register: the registrar; None on a server that registers nobody.
    """

    admission: Admission
    routing: RoutingChain
    reach: Callable[[str], Reach | Refuse | None]
    locations: ILocationStore | None
    register: Register | None


class Proxy:
    """Told by the flows what arrives, tells them what to send."""

    def __init__(
        self,
        site: Site,
        pool: FlowPool,
        reaching: Reaching,
        tokens: RouteTokens,
        decisions: Decisions,
        wheel: TimerWheel,
        tracer: Tracer,
    ) -> None:
        self.transactions: TransactionLayer[Flow] = TransactionLayer(wheel)
        self._site = site
        self._pool = pool
        self._reaching = reaching
        self._tokens = tokens
        self._decisions = decisions
        self._wheel = wheel
        self._tracer = tracer

    # What the flows tell (FlowUser) ---------------------------------------------------------------------

    def flow_ready(self, flow: Flow) -> None:
        """A peer was judged."""
        if flow.refusal is not None:
            log.info(
                "refused {flow}: {why} [{code}]", flow=flow, why=flow.refusal.because, code=flow.refusal.code
            )
        if self._tracer.watched:
            verdict = flow.refusal or flow.peer
            assert verdict is not None
            self._tracer.flow(flow, "refused" if flow.refusal else "admitted", verdict.because)

    def flow_lost(self, flow: Flow, why: str) -> None:
        """A flow is gone, or never came to be."""
        if flow.handshaking:
            log.info("no flow with {address}: {why}", address=flow.address, why=why)
        if self._tracer.watched:
            self._tracer.flow(flow, "closed", why)
        self.transactions.flow_lost(flow)

    def malformed(self, flow: Flow, bad: MalformedRequest) -> None:
        """Answer a request that can't be served with what was wrong, if it has what a response needs."""
        request = bad.request
        try:
            needed = request.via, request.cseq, request.call_id
        except SipSyntaxError:
            needed = None
        if needed is None or request.method == b"ACK" or flow.peer is None:
            flow.close()
            return
        flow.send(make_response(request, bad.status, bad.reason, to_tag=new_tag()))

    def received(self, flow: Flow, message: Request | Response) -> None:
        """A message came. What can't be answered closes its flow and nothing else."""
        if isinstance(message, Response):
            self._respond(message, flow)
            return
        request = message
        request.noted_via = received_via(request, flow.address, flow.port)
        if flow.refusal is not None:
            self._turn_away(request, flow, flow.refusal)
        elif request.method == b"ACK":
            self._acknowledge(request, flow)
        elif request.method == b"CANCEL":
            self._cancel(request, flow)
        else:
            self._begin(request, flow)

    def _respond(self, response: Response, flow: Flow) -> None:
        try:
            why = "" if self.transactions.responded(response, flow) else "belongs to no transaction"
        except SipSyntaxError as error:
            # RFC 3261 §18.3: discarded. The flow carries more than the one call that sent it.
            why = error.reason
        if why and self._tracer.watched:
            self._tracer.flow(flow, "dropped", f"{response!r}: {why}")

    def _turn_away(self, request: Request, flow: Flow, refusal: Refuse) -> None:
        """Tell a peer that was not admitted so, once: the code, not the reasons, which would map us."""
        if request.method != b"ACK":
            phrase = f"Forbidden: your certificate is not admitted here ({refusal.code})"
            flow.send(make_response(request, 403, phrase, to_tag=new_tag()))
        flow.close()

    # Requests --------------------------------------------------------------------------------------------

    def _begin(self, request: Request, flow: Flow) -> None:
        if isinstance(flow.peer, Client):
            if self.transactions.on_flow(flow) >= self._pool.limits.transactions:
                flow.send(make_response(request, 503, "", (b"Retry-After: 10",), new_tag()))
                return
        elif not flow.alias_read:
            self._read_alias(request, flow)
        transaction = self.transactions.accept(request, flow)
        if transaction is None:
            return
        limits = self._pool.limits.framing
        context = ResponseContext(transaction, self.transactions, self._wheel, self._tracer, limits)
        if self._tracer.watched:
            self._tracer.request(request, flow, "request", f"from {describe_peer(flow)}")
        if request.method == b"INVITE":
            context.answer(100, "an INVITE is on its way")
        run(self._serve(context), lambda failure: self._failed(context, failure))

    def _read_alias(self, request: Request, flow: Flow) -> None:
        """RFC 5923 §8.1: a server that opened a flow may want it used towards it too."""
        flow.alias_read = True
        if flow.direction is Direction.INBOUND and request.via.param(b"alias") is not None:
            self._pool.alias(flow, request.via.port or 5061)

    def _failed(self, context: ResponseContext, failure: Failure) -> None:
        """Whatever went wrong with a request is that request's alone."""
        error = failure.value
        if isinstance(error, SipSyntaxError):
            context.answer(error.status, error.reason, error.reason)
        else:
            log.failure("{request} could not be served", failure, request=context.request)
            context.answer(500, "an error of ours; see the log")
        context.cancel_branches()

    async def _serve(self, context: ResponseContext) -> None:
        request, flow = context.request, context.flow
        refusal = validate(request, self._site, neighbour(flow))
        if refusal is None:
            route = read_route_set(request, flow, self._site, self._tokens)
            if isinstance(flow.peer, Client):
                refusal = await self._decisions.admission.client(request, flow, route.towards is not None)
            else:
                refusal = self._admit_server(request, flow, route)
            if refusal is None:
                await self._answer_or_forward(context, route)
                return
        context.answer(refusal.status, refusal.because, refusal.reason, refusal.headers)

    def _admit_server(self, request: Request, flow: Flow, route: RouteSet) -> Refusal | None:
        peer = flow.peer
        if isinstance(peer, TrustedServer):
            return None
        if not isinstance(peer, FederatedPartner):
            return Refusal(403, "nobody has said who this peer is")
        if route.towards is not None:
            return None
        if route.next_hop is not None:
            return Refusal(403, f"partner {peer.domain} asks to be relayed by Route", "Forbidden (no-relay)")
        return self._decisions.admission.partner(request, peer, self._context(flow))

    async def _answer_or_forward(self, context: ResponseContext, route: RouteSet) -> None:
        request, uri = context.request, context.request.uri
        if not route.decides and isinstance(uri, SipUri) and uri.user is None and self._site.is_ours(uri):
            if request.method == b"REGISTER":
                await self._register(context)
                return
            if request.method == b"OPTIONS":
                context.answer(200, "OPTIONS to this server itself", headers=(_ALLOW,))
                return
        if request.max_forwards == 0:
            context.answer(483, "Max-Forwards has come down to 0")
            return
        decided = self._decided_already(request, route) or await self._ask_policies(request, context.flow)
        self._carry_out(context, route, decided)

    # REGISTER --------------------------------------------------------------------------------------------

    async def _register(self, context: ResponseContext) -> None:
        request, flow = context.request, context.flow
        to = request.to.uri
        aor = to.aor if isinstance(to, SipUri) else ""
        proven = flow.user if isinstance(flow.peer, Client) else _asserted(request, flow)
        register = self._decisions.register
        if register is None:
            context.answer(405, "this server registers nobody ([location] is not set)")
        elif proven is None or aor != proven:
            context.answer(
                403, f"{proven or describe_peer(flow)} may not register {aor}", "To is not the proven user"
            )
        else:
            edge = f"<sip:{self._tokens.for_path(flow)}@{self._site.sent_by.decode()};transport=tls;lr>"
            found = register(request, aor, edge)
            answer = await found if isawaitable(found) else found
            context.answer(answer.status, f"registrar, for {aor}", answer.reason, answer.headers)

    # Forwarding ------------------------------------------------------------------------------------------

    def _decided_already(self, request: Request, route: RouteSet) -> Decided | None:
        """What needs no policy: where the Route set leads, and where nothing leads."""
        if route.towards is not None:
            return Decided(
                Forward((Target(request.uri),), "inside a dialog that runs through here"), "(dialog)"
            )
        if route.decides:
            return Decided(Forward((Target(request.uri),), "its Route set says so"), "(Route)")
        if request.to_tag and not self._site.is_ours(request.uri):
            # Whoever is in a dialog through us has a Record-Route of ours; without it this asks for a relay.
            because = "inside a dialog, but without a Route of ours that fits it"
            return Decided(Reject(404, because), "(dialog)")
        return None

    async def _ask_policies(self, request: Request, flow: Flow) -> Decided:
        admission, routing, policy_context = (
            self._decisions.admission,
            self._decisions.routing,
            self._context(flow),
        )

        async def prove() -> Refusal | None:
            refusal = await admission.prove(request, flow)
            # It may have proven another user than before, and is held to that one.
            return refusal or await admission.client(request, flow, inside_dialog=False)

        def ask(asked: Request) -> Awaitable[Decided]:
            return routing.decide(asked, policy_context, prove)

        decided = await ask(request)
        if leads_on(request, decided, self._site.is_ours):
            return await follow(request, decided, self._site.is_ours, ask)
        return decided

    def _carry_out(self, context: ResponseContext, route: RouteSet, decided: Decided) -> None:
        request, flow, decision = context.request, context.flow, decided.decision
        if self._tracer.watched:
            kind = type(decision).__name__.lower()
            self._tracer.request(
                request, flow, "route", decision.because, policy=decided.policy, decision=kind
            )
        if isinstance(decision, Forward):
            self._fork(context, route, decision)
        elif isinstance(decision, Redirect):
            contacts = b", ".join(bytes(contact) for contact in decision.contacts)
            context.answer(302, decision.because, headers=(b"Contact: " + contacts,))
        elif isinstance(decision, Reject):
            context.answer(decision.status, decision.because, decision.reason)
        else:
            context.answer(decision.status, decision.because, decision.reason, decision.headers)

    def _fork(self, context: ResponseContext, route: RouteSet, decision: Forward) -> None:
        """RFC 3261 §16.6: all targets at once. All branches are there before the first is sent, so that an early
        answer on one does not end the fork for the rest."""
        request, flow = context.request, context.flow
        if context.transaction.answered:
            return  # cancelled while it was decided on
        if not decision.targets:
            context.answer(480, f"{decision.because}, which left no target")
            return
        user = context_user(flow)
        passage = Passage(request, flow, route.popped, user, self._decisions.admission.realm)
        forms_dialog = request.method in DIALOG_FORMING and not request.to_tag

        def sender(target: Target) -> BranchSender:
            return BranchSender(
                self._reaching, lambda branch, there: self._put(branch, there, passage, target, forms_dialog)
            )

        senders = [(target, sender(target)) for target in decision.targets]
        branches = [Branch(context, self.transactions, self._wheel, one) for _, one in senders]
        for (target, one), branch in zip(senders, branches, strict=True):
            try:
                one.start(branch, self._where(target, route))
            except Unreachable as error:
                branch.conclude(error.status, error.because)
            except SipSyntaxError as error:
                branch.conclude(500, f"its target can't be used: {error.reason}")

    def _where(self, target: Target, route: RouteSet) -> Flow | SipUri:
        if route.towards is not None:
            return self._reaching.neighbour(route.towards)
        if route.path_flow is not None:
            return self._reaching.client(route.path_flow)
        return self._reaching.hop(target, route.next_hop)

    def _put(self, branch: Branch, there: Flow, passage: Passage, target: Target, forms_dialog: bool) -> None:
        request = passage.request
        token = None
        if forms_dialog:
            token = self._tokens.for_dialog(request.call_id, neighbour(passage.source), neighbour(there))
        name = make_branch(request, neighbour(passage.source))
        data = forwarded_request(passage, target, there, name, self._site, token)
        if not self._pool.limits.framing.allow(data):
            branch.conclude(513, "with what a proxy adds it is longer than the next hop may take")
            return
        if self._tracer.watched:
            peer = there.peer
            because = peer.because if peer is not None else ""
            self._tracer.request(request, there, "forward", f"to {describe_peer(there)}: {because}")
        branch.send(there, name, data)

    def _context(self, flow: Flow) -> RequestContext:
        decisions = self._decisions
        assert flow.peer is not None
        return RequestContext(
            flow.peer, context_user(flow), self._site.domains, decisions.locations, decisions.reach
        )

    # ACK and CANCEL --------------------------------------------------------------------------------------

    def _cancel(self, request: Request, flow: Flow) -> None:
        """RFC 3261 §9.2, §16.10: answered here; what it cancels is cancelled here."""
        transaction = self.transactions.accept(request, flow)
        if transaction is None:
            return
        invite = self.transactions.invite_of(request, flow)
        status = 481 if invite is None else 200
        transaction.respond(status, make_response(request, status, to_tag=new_tag()))
        if invite is not None and isinstance(invite.user, ResponseContext):
            if self._tracer.watched:
                self._tracer.request(request, flow, "cancel", "the caller cancelled")
            invite.user.cancel()

    def _acknowledge(self, request: Request, flow: Flow) -> None:
        """For a failure of ours it ends here; for a 2xx it goes its own way, statelessly (RFC 3261 §16.11)."""
        invite = self.transactions.invite_of(request, flow)
        if invite is not None and invite.state != ACCEPTED:
            invite.acknowledged(request)
            return
        try:
            route = read_route_set(request, flow, self._site, self._tokens)
            if route.towards is None or request.max_forwards == 0:
                self._drop(request, flow, "an ACK outside any dialog that runs through here")
                return
            where = self._reaching.neighbour(route.towards)
        except SipSyntaxError as error:
            self._drop(request, flow, error.reason)
            return
        except Unreachable as error:
            self._drop(request, flow, error.because)
            return
        passage = Passage(request, flow, route.popped, None, self._decisions.admission.realm)
        AckSender(self._reaching, lambda there: self._send_ack(passage, there)).start(where)

    def _send_ack(self, passage: Passage, there: Flow) -> None:
        request = passage.request
        if self._tracer.watched:
            self._tracer.request(request, there, "forward", f"to {describe_peer(there)}: inside a dialog")
        target = Target(request.uri)
        branch = make_branch(request, neighbour(passage.source))
        data = forwarded_request(passage, target, there, branch, self._site, None)
        if self._pool.limits.framing.allow(data):
            there.send(data)

    def _drop(self, request: Request, flow: Flow, because: str) -> None:
        if self._tracer.watched:
            self._tracer.request(request, flow, "dropped", because)


def _asserted(request: Request, flow: Flow) -> str | None:
    """Whom a trusted server says a request is from (RFC 3325 §5)."""
    values = request.values(P_ASSERTED_IDENTITY) if flow.trusted else []
    uris = [parse_address(value).uri for value in values]
    # There may be two: a sip URI and a tel URI (§9.1).
    return next((uri.aor for uri in uris if isinstance(uri, SipUri)), None)
