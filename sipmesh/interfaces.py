"""The contract: what a plug-in may provide. :mod:`sipmesh.decisions` holds the values that go through it.

A policy is an attrs class. Its attributes are the keys of its section in the configuration, typed: what does
not fit is refused with file, key, expected and got before a port opens. (``pathlib.Path`` is taken relative to
the configuration file.) Everything here is called in the reactor's thread, so nothing may block; a method whose
result may be awaitable may be ``async`` or return a Deferred, and one that answers at once is not slowed down
by that. Who raises counts as having refused: the request gets 500 (a connection is closed), the log names the
policy, the server goes on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from twisted.cred.credentials import IUsernameDigestHash, IUsernameHashedPassword
from twisted.internet.interfaces import IReactorCore
from twisted.plugin import IPlugin
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from .decisions import (
        Bindings,
        BindingsLater,
        FederatedPartner,
        Presented,
        Reach,
        Refuse,
        RequestContext,
        RouteDecision,
        TrustAnchors,
        TrustedServer,
    )
    from .sip import Request


class IPolicyPlugin(IPlugin):
    """How an installed policy is found; :class:`sipmesh.decisions.PolicyPlugin` provides it."""

    name: str = Attribute("What the configuration calls it.")
    interface: type[Interface] = Attribute("The interface that it provides.")
    target: str = Attribute("``package.module:Class``, imported when used.")
    summary: str = Attribute("What it does, in one line.")


class ILifecycle(Interface):
    """A part that holds something open: a database, a watched file. Provide it beside the part's own interface."""

    def start(reactor: IReactorCore) -> Awaitable[None] | None:
        """Called before any port opens.

        :raises Exception: the server does not start, and says why.
        """

    def stop() -> Awaitable[None] | None:
        """Called after the last flow closed. Nothing may be left behind: no delayed call, no thread."""


class ISecureServerList(Interface):
    """Which names are our own servers. Lists are asked in their order; the first that knows a name decides."""

    def recognise(presented: Presented) -> TrustedServer | None:
        """Is this one of ours? Asked once a flow, when its handshake ended, inbound and outbound.

        The identities are claims: that the chain verifies in the answer's anchor set is checked afterwards by
        the framework, and a flow whose chain does not is refused.
        """

    def reach(name: str) -> Reach | None:
        """May we connect to this name as one of ours? Asked for each request that is to go there."""


class IFederationPolicy(Interface):
    """Which partners may come, and how far. Policies are asked in their order; the first opinion decides.

    They are asked only about names that no server list knows. Put a block list first: it wins over all behind it.
    """

    def anchors() -> Iterable[TrustAnchors]:
        """The anchor sets that this policy's partners bring. Called once, at start.

        :raises OSError, ValueError: when one can't be read; the server does not start, and says why.
        """

    def admit(presented: Presented) -> FederatedPartner | Refuse | None:
        """May this peer come? Asked once a flow, inbound and outbound; see ISecureServerList.recognise."""

    def reach(domain: str) -> Reach | Refuse | None:
        """May we connect to this domain, and where? Asked for each request that is to go there."""

    def judge(request: Request, partner: FederatedPartner, context: RequestContext) -> Refuse | None:
        """May this partner send this request? Asked before routing, outside dialogs.

        A request inside a dialog that runs through this server goes where the dialog goes and is not asked about,
        nor is an ACK. ``Refuse`` answers 403. Nothing is challenged.
        """


class IRoutingPolicy(Interface):
    """Where a request goes that our server is responsible for routing: asked in order, the first opinion decides.

    Requests inside a dialog follow their Route set and are not asked about. If nobody has an opinion the
    answer is 404.
    """

    def route(
        request: Request, context: RequestContext
    ) -> RouteDecision | Awaitable[RouteDecision | None] | None:
        """Decide."""


class ILocationStore(Interface):
    """The location service's memory (RFC 3261 §10): which contacts an address of record has.

    AORs are in the form of :attr:`sipmesh.sip.SipUri.aor`.
    """

    def bindings(aor: str) -> BindingsLater:
        """The bindings that have not expired, in no particular order; empty where there are none."""

    def update(aor: str, change: Callable[[Bindings], Bindings]) -> Awaitable[Bindings]:
        """Replace an AOR's bindings, atomically: nobody sees or makes a change in between.

        :param change: given the unexpired bindings, returns the new ones. Pure; may be called in another thread, and
            more than once. What it raises is raised here, and nothing changes.
        :return: the new bindings, once they are on disk: a server killed a moment later still has them.
        """


class ISipDigestCredentials(IUsernameHashedPassword, IUsernameDigestHash):
    """What a twisted.cred checker gets to check: a digest response (RFC 8760) to our challenge.

    A checker that has passwords calls ``checkPassword``; one that has hashes calls ``checkHash`` with
    ``H(username:realm:password)`` in lower-case hex, H being :attr:`algorithm`.
    """

    username: bytes = Attribute("As the client gave it.")
    realm: str = Attribute("The realm of the challenge.")
    algorithm: str = Attribute("``SHA-256`` or ``MD5``.")


class IUser(Interface):
    """The avatar that a login through twisted.cred gives: who the client is."""

    aor: str = Attribute("The address of record that the user may speak for: ``sip:user@domain``.")


class ITraceObserver(Interface):
    """Sees what happened to each request. While none is attached, nothing is recorded and it costs nothing."""

    def observe(event: dict[str, object]) -> None:
        """One step of one request or flow, JSON-ready. Must return at once and may not raise."""
