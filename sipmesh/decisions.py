"""The values that policies get and give. All are immutable; ``None`` in place of a decision is 'no opinion'.

Names (``name``, ``domain``, identities) are host names in lower case, A-labels where international, without a
trailing dot. *because* is one sentence for an administrator: it goes to the trace and the log, never to a
stranger.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TYPE_CHECKING

from attrs import field, frozen
from cryptography.x509 import Certificate
from zope.interface import implementer
from zope.interface.interface import InterfaceClass

from .interfaces import IPolicyPlugin
from .sip import Address, SipUri, Uri

if TYPE_CHECKING:
    from .interfaces import ILocationStore

ENTERPRISE = "enterprise"
"""The anchor set that may vouch for our own servers."""


# Who the other end of a flow is ---------------------------------------------------------------------------


class Direction(Enum):
    """Who opened the flow."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


@frozen
class Presented:
    """What a peer showed in its handshake. The handshake proved that it holds the key; nothing else is believed yet.

    :ivar identities: the SIP domain identities of its certificate (RFC 5922 §7.1), in the certificate's order.
    :ivar chain: the certificates as sent, the peer's own first.
    :ivar address: its IP address, as text.
    :ivar direction: who opened the flow.
    :ivar name_meant: outbound, the name that we wanted to reach; else None.
    """

    identities: tuple[str, ...]
    chain: tuple[Certificate, ...] = field(repr=False)
    address: str
    direction: Direction
    name_meant: str | None = None


@frozen
class Client:
    """A peer that showed no certificate: a user's device. It proves a user by digest, or nothing.

    :ivar name: always ``""``: a client's connection proves no name.
    """

    because: str
    name: str = ""


@frozen
class TrustedServer:
    """One of our servers.

    :ivar name: the name in its certificate by which the list knows it.
    :ivar because: which list says so.
    :ivar anchors: the anchor set that its chain has to verify in.
    """

    name: str
    because: str
    anchors: str = ENTERPRISE


@frozen
class FederatedPartner:
    """A server of a partner.

    :ivar name: the proven name: the partner's domain, or the host of its configured next hop.
    :ivar domain: the partner's domain.
    :ivar because: which policy admitted it.
    :ivar anchors: the anchor set that its chain has to verify in.
    """

    name: str
    domain: str
    because: str
    anchors: str


Peer = Client | TrustedServer | FederatedPartner


@frozen
class Refuse:
    """No.

    :ivar because: for the log and the trace: which check failed, of what, and what would mend it.
    :ivar code: a short stable word for machines and documentation, such as ``not-listed``.
    """

    because: str
    code: str = "refused"


@frozen
class Reach:
    """Yes, we may connect to that name.

    :ivar name: the name that was asked about.
    :ivar because: which policy says so.
    :ivar anchors: the anchor set that the chain of whoever answers has to verify in.
    :ivar next_hop: where to connect instead of looking the name up in DNS; its host is then the name to prove.
    :ivar partner: the partner's domain, or None for a server of ours.
    """

    name: str
    because: str
    anchors: str
    next_hop: SipUri | None = None
    partner: str | None = None


@frozen
class TrustAnchors:
    """A named set of CA certificates.

    :ivar name: what decisions call it: ``enterprise``, ``partner:b.example``.
    :ivar certificates: the CA certificates.
    :ivar origin: where they came from (a file), for messages.
    """

    name: str
    certificates: tuple[Certificate, ...] = field(repr=False)
    origin: str


# Where a request goes --------------------------------------------------------------------------------------


@frozen
class Target:
    """One member of a target set (RFC 3261 §16.5).

    :ivar uri: the Request-URI to send. If it is in a domain of ours and neither ``next_hop`` nor ``route`` is given,
        the policies are asked about it in turn: so ``sip:desk@a.example`` means where the desk is registered.
    :ivar next_hop: where to send it, if not where ``route`` or ``uri`` says; its host is the name to prove.
    :ivar route: Route values to put on top, first hop first: a binding's Path (RFC 3327).
    :ivar q: the preference of the contact, 0 to 1.
    """

    uri: Uri
    next_hop: SipUri | None = None
    route: tuple[str, ...] = ()
    q: float = 1.0


@frozen
class Forward:
    """Send the request on, to all targets at once (RFC 3261 §16.6)."""

    targets: tuple[Target, ...]
    because: str


@frozen
class Redirect:
    """Answer 302 with these contacts."""

    contacts: tuple[Address, ...]
    because: str


@frozen
class Reject:
    """Answer with this final status, 300 to 699; the reason phrase is the status's own where none is given."""

    status: int
    because: str
    reason: str = ""


@frozen
class Challenge:
    """Ask who the user is (407), even where this would not have been asked."""

    because: str


RouteDecision = Forward | Redirect | Reject | Challenge


@frozen
class RequestContext:
    """What a policy may know of a request beside its bytes, and whom it may ask.

    :ivar peer: who sent it to us.
    :ivar user: the address of record (``sip:user@domain``) that the client proved, or None.
    :ivar domains: the domains that this server is responsible for.
    :ivar locations: the location service; None on a server that registers nobody.
    :ivar reach: may we connect to a name, and how: asks the server lists, then the federation policies.
        ``None`` is 'nobody vouches for it'.
    """

    peer: Peer
    user: str | None
    domains: frozenset[str]
    locations: ILocationStore | None = field(repr=False)
    reach: Callable[[str], Reach | Refuse | None] = field(repr=False)


# Where users are -------------------------------------------------------------------------------------------


@frozen
class Binding:
    """One contact of an address of record (RFC 3261 §10).

    :ivar contact: the contact URI as registered.
    :ivar expires_at: Unix time, seconds.
    :ivar q: 0 to 1.
    :ivar call_id: of the REGISTER that made it.
    :ivar cseq: of the REGISTER that made it.
    :ivar path: the Path of the registration, nearest to us first; the last leads to the client's flow.
    :ivar instance: ``+sip.instance`` as written; None where none was given.
    :ivar reg_id: RFC 5626 ``reg-id``; None where none was given.
    :ivar user_agent: as the client named itself, for people who read listings.
    """

    contact: str
    expires_at: float
    q: float
    call_id: str
    cseq: int
    path: tuple[str, ...] = ()
    instance: str | None = None
    reg_id: int | None = None
    user_agent: str = ""


Bindings = tuple[Binding, ...]
BindingsLater = Bindings | Awaitable[Bindings]


# How a policy makes itself known ---------------------------------------------------------------------------


@implementer(IPolicyPlugin)
@frozen
class PolicyPlugin:
    """Put one of these in a module under ``twisted/plugins/`` to make a policy known by name.

    :ivar name: what the configuration says: ``routing.static``.
    :ivar interface: which part it plays, such as ``IRoutingPolicy``.
    :ivar target: ``package.module:Class``; imported only when used.
    :ivar summary: what it does, in one line.
    """

    name: str
    interface: InterfaceClass
    target: str
    summary: str
