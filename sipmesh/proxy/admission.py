"""May this peer say this? Who is trusted is believed, a partner is judged, a client proves itself once a flow.

RFC 3261 §22, RFC 3325 §4 (the trust domain), DESIGN: the steps 'trust' and 'authenticate'.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import isawaitable

from twisted.logger import Logger

from ..decisions import Client, FederatedPartner, Refuse, RequestContext
from ..interfaces import IFederationPolicy
from ..sip.message import Request
from ..sip.names import AUTHORIZATION, PROXY_AUTHORIZATION
from ..sip.uri import SipUri
from ..transport.flow import Flow
from .authenticate import Authenticator, Proven
from .validate import Refusal

log = Logger()


class Admission:
    """:param authenticator: None on a server that has no users: clients then get 403."""

    def __init__(self, authenticator: Authenticator | None, federation: Sequence[IFederationPolicy]) -> None:
        self._authenticator = authenticator
        self._federation = federation

    @property
    def realm(self) -> str:
        """Our realm; ``""`` on a server that has no users."""
        return self._authenticator.realm if self._authenticator else ""

    def partner(self, request: Request, partner: FederatedPartner, context: RequestContext) -> Refusal | None:
        """Ask the federation policies about a partner's request. A policy that raises has refused."""
        for policy in self._federation:
            try:
                verdict = policy.judge(request, partner, context)
            except Exception:
                name = f"{type(policy).__module__}:{type(policy).__qualname__}"
                log.failure("federation policy {policy} raised; taken as a refusal", policy=name)
                return Refusal(500, f"the federation policy {name} raised; see the log")
            if isinstance(verdict, Refuse):
                return Refusal(403, verdict.because, f"Forbidden ({verdict.code})")
            if verdict is not None:
                name = f"{type(policy).__module__}:{type(policy).__qualname__}"
                log.error("federation policy {policy} returned {what!r}", policy=name, what=verdict)
                return Refusal(500, f"the federation policy {name} returned no decision; see the log")
        return None

    async def client(self, request: Request, flow: Flow, inside_dialog: bool) -> Refusal | None:
        """Let a client prove who it is, unless it did on this flow, and hold it to that.

        :param inside_dialog: a dialog's token came with it. From and To then are what the dialog began with, and
            need not be an address of record of this user's.
        """
        if flow.user is None:
            refusal = await self.prove(request, flow)
            if refusal is not None:
                return refusal
        said = request.from_.uri
        aor = said.aor if isinstance(said, SipUri) else str(said)
        if not inside_dialog and aor != flow.user:
            return Refusal(
                403, f"From says {aor}, but the client proved {flow.user}", "From is not the proven user"
            )
        return None

    async def prove(self, request: Request, flow: Flow) -> Refusal | None:
        """Let a client prove who it is by this request; None if it did, and the flow knows."""
        authenticator = self._authenticator
        if authenticator is None:
            return Refusal(
                403, "this server has no users, so no client can prove who it is ([users] is not set)"
            )
        registers = request.method == b"REGISTER"
        binding = b"%d" % flow.id
        field = AUTHORIZATION if registers else PROXY_AUTHORIZATION
        found = authenticator.check(request, field, binding, flow.nonce_counts)
        result = await found if isawaitable(found) else found
        if isinstance(result, Proven):
            flow.user = result.user.aor
            return None
        # RFC 3261 §22.2, §22.3: 401 from a registrar, 407 from a proxy.
        name = b"WWW-Authenticate: " if registers else b"Proxy-Authenticate: "
        values = authenticator.challenge(binding, result.stale)
        return Refusal(
            401 if registers else 407, result.because, headers=tuple(name + value for value in values)
        )


def context_user(flow: Flow) -> str | None:
    """The user that policies are told: the one a client proved."""
    return flow.user if isinstance(flow.peer, Client) else None
