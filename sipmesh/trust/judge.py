"""Decide once a flow who its other end is, by asking the policies; and before connecting, whether we may.

The rule: *chain and name and list*, all three, in both directions. A policy reads the names and says who it
would be and which anchors must vouch for that; the chain is then verified within these anchors and no others;
outbound, the name must be the one that was meant (RFC 5922 §7.3, §7.4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from twisted.logger import Logger

from ..decisions import Client, Direction, FederatedPartner, Peer, Presented, Reach, Refuse, TrustedServer
from ..interfaces import IFederationPolicy, ISecureServerList
from .anchors import AnchorSets, describe

P = TypeVar("P")
T = TypeVar("T")

log = Logger()

POLICY_FAILED = "policy-failed"
"""The code of a refusal that stands for a policy that raised, or returned what is no decision."""


class Judge:
    """:param server_lists: in the order in which they are asked.

    :param federation: in the order in which they are asked, after all server lists.
    """

    def __init__(
        self,
        server_lists: Sequence[ISecureServerList],
        federation: Sequence[IFederationPolicy],
        anchors: AnchorSets,
    ) -> None:
        self._server_lists = server_lists
        self._federation = federation
        self._anchors = anchors

    def client(self, address: str) -> Client:
        """Who showed no certificate where none was demanded."""
        return Client(f"connected from {address} without a certificate, on a listener for clients")

    def decide(self, presented: Presented) -> Peer | Refuse:
        """Who showed a certificate. Never :class:`.Client`: a certificate that nobody knows is not ignored."""
        shown = describe(presented.chain[0]) if presented.chain else "no certificate"
        if not presented.identities:
            return Refuse(f"no SIP identity (RFC 5922 §7.1) in the certificate of {shown}", "no-identity")
        names = ", ".join(presented.identities)
        meant = presented.name_meant
        if presented.direction is Direction.OUTBOUND and meant not in presented.identities:
            return Refuse(
                f"{meant} was meant, but the certificate of {shown} proves {names}; "
                f"its subjectAltName must name {meant}",
                "wrong-name",
            )
        opinion = self._opinion(presented)
        if opinion is None:
            return Refuse(
                f"{names} is on no server list and admitted by no federation policy ({shown}); to let it in, "
                "name it in a [[server_list]], if it is ours, or in a [[federation]] policy, if it is a partner's",
                "not-listed",
            )
        if isinstance(opinion, Refuse):
            return opinion
        if opinion.name not in presented.identities:
            # All that is known of the flow from here on hangs on this name.
            return Refuse(
                f"a policy took it for {opinion.name}, but its certificate proves {names}", "wrong-name"
            )
        trouble = self._anchors.verify(opinion.anchors, presented.chain)
        if trouble is not None:
            return Refuse(f"{opinion.name} was presented, but {trouble}", "wrong-anchors")
        return opinion

    def _opinion(self, presented: Presented) -> TrustedServer | FederatedPartner | Refuse | None:
        listed = _first(self._server_lists, lambda servers: servers.recognise(presented), TrustedServer)
        if listed is not None:
            return listed
        return _first(self._federation, lambda policy: policy.admit(presented), FederatedPartner)

    def reach(self, name: str) -> Reach | Refuse | None:
        """May we connect to this name, and how? None: nobody vouches for it."""
        listed = _first(self._server_lists, lambda servers: servers.reach(name), Reach)
        if listed is not None:
            return listed
        return _first(self._federation, lambda policy: policy.reach(name), Reach)


def _first(policies: Sequence[P], question: Callable[[P], object], kind: type[T]) -> T | Refuse | None:
    """The first opinion. A policy that raises has refused, whatever it meant to say: never consent, never the end.

    :param kind: what consent looks like. What is neither that nor a refusal is no consent.
    """
    for policy in policies:
        name = f"{type(policy).__module__}:{type(policy).__qualname__}"
        try:
            opinion = question(policy)
        except Exception:
            log.failure("policy {policy} raised; taken as a refusal", policy=name)
            return Refuse(f"the policy {name} failed; see the log", POLICY_FAILED)
        if isinstance(opinion, (kind, Refuse)):
            return opinion
        if opinion is not None:
            log.error("policy {policy} returned {what!r}; taken as a refusal", policy=name, what=opinion)
            return Refuse(f"the policy {name} returned no decision; see the log", POLICY_FAILED)
    return None
