"""What happens in the demonstration, and what has to come of it.

Each step does something as users and servers do it, and compares what the servers' traces tell with what is
written down here: the hops, who proved what on each, which policy decided. What differs is a :class:`Differs`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any, cast

from attrs import Factory, define
from hops import Hop, Neighbour, Record, acknowledging, back, inside
from servers import ADDRESSES, Company, password_of
from telling import in_words, way
from twisted.internet.defer import race
from twisted.internet.interfaces import IReactorTCP

from sipmesh.sip import Response
from sipmesh.testing.client import Dialog, UserAgent, connect

FE1, FE2, FE3, FE9 = (f"fe{number}.a.example" for number in (1, 2, 3, 9))
EDGE, B, C = "edge.a.example", "sip.b.example", "sip.c.example"

ALICE, CAROL, BOB = (
    Neighbour(f"client sip:{user}") for user in ("alice@a.example", "carol@a.example", "bob@b.example")
)
OUR_FE1, OUR_FE2 = (Neighbour(f"trusted server {name}", (name,)) for name in (FE1, FE2))
OUR_EDGE = Neighbour(f"trusted server {EDGE}", (EDGE, "a.example"))
PARTNER_A = Neighbour("partner a.example", (EDGE, "a.example"))
PARTNER_B = Neighbour("partner b.example", (B, "b.example"))

ALICE_TO_CAROL = (
    Hop(FE1, ALICE, "routing.registered", OUR_FE2),
    Hop(FE2, OUR_FE1, "(Route)", CAROL),  # the Path that carol's registration left
)
ALICE_TO_BOB = (
    Hop(FE1, ALICE, "routing.static", OUR_EDGE),
    Hop(EDGE, OUR_FE1, "routing.federated", PARTNER_B),
    Hop(B, PARTNER_A, "routing.registered", BOB),
)
BOB_TO_ALICE = (
    Hop(B, BOB, "routing.federated", PARTNER_A),
    Hop(EDGE, PARTNER_B, "routing.static", OUR_FE2),
    Hop(FE2, OUR_EDGE, "routing.registered", OUR_FE1),
    Hop(FE1, OUR_FE2, "(Route)", ALICE),
)
ALICE_TO_C = (
    Hop(FE1, ALICE, "routing.static", OUR_EDGE),
    Hop(EDGE, OUR_FE1, "routing.static", None),
)
CHALLENGED = {FE1: 1, FE2: 1, B: 1, C: 1, FE3: 1, FE9: 1}
"""How often each server challenged anybody, by the end: each user once, at their own server."""


class Differs(Exception):
    """Something is not as it has to be."""


@define
class Story:
    """:ivar tell: prints a line.

    :ivar agents: the users, by name, once they have registered.
    """

    reactor: IReactorTCP
    companies: dict[str, Company]
    record: Record
    tell: Callable[[str], None]
    agents: dict[str, UserAgent] = Factory(dict)

    def steps(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """The story. Each step's docstring is its title."""
        return (
            self.register,
            self.call_inside,
            self.call_partner,
            self.call_partner_again,
            self.message_back,
            self.c_comes,
            self.c_is_called,
            self.wrong_authority,
            self.not_listed,
            self.challenges,
        )

    # The steps -------------------------------------------------------------------------------------------

    async def register(self) -> None:
        """Everybody registers with their own server, by TLS"""
        homes = {"alice@a.example": FE1, "carol@a.example": FE2, "bob@b.example": B, "mallory@c.example": C}
        for user, server in homes.items():
            name, _, domain = user.partition("@")
            self.agents[name] = await self._registered(user, server, self.companies[domain].ca)
            self.tell(f"{name:<7} ----> {server}")
            self.tell(f"    the server proved {server}, by the CA of {domain}; the client, {user}, by digest")

    async def call_inside(self) -> None:
        """alice calls carol: two front ends of one enterprise"""
        caller, _ = await self._call("alice", "carol", ALICE_TO_CAROL)
        await self._hang_up("alice", caller, "carol", inside(ALICE_TO_CAROL))

    async def call_partner(self) -> None:
        """alice calls bob, through the edge to the partner; alice hangs up"""
        caller, _ = await self._call("alice", "bob", ALICE_TO_BOB)
        await self._hang_up("alice", caller, "bob", inside(ALICE_TO_BOB))

    async def call_partner_again(self) -> None:
        """alice calls bob again, on the connections that are up; this time bob hangs up"""
        before = self._connections()
        _, callee = await self._call("alice", "bob", ALICE_TO_BOB, in_full=False)
        await self._hang_up("bob", callee, "alice", back(ALICE_TO_BOB))
        expect("connections that any server opened or took", before, self._connections())

    async def message_back(self) -> None:
        """bob sends alice a message, which comes in at the other front end and finds her all the same"""
        alice, bob = self.agents["alice"], self.agents["bob"]
        answering = bob.ask("MESSAGE", alice.user, b"Content-Type: text/plain", body=b"Talk to you soon!")
        message = await alice.incoming("MESSAGE")
        expect("the message", b"Talk to you soon!", message.body)
        alice.respond(message, 200)
        expect("the answer to bob", 200, (await answering).status)
        await self._passed("MESSAGE", message.call_id, "bob", BOB_TO_ALICE, "alice", in_full=True)

    async def c_comes(self) -> None:
        """mallory calls alice from C, whom nobody lists"""
        answer = await self._refused(self.agents["mallory"], self.agents["alice"])
        expect("what C's own server has to tell mallory", 500, answer.status)
        await self._seen_only_by(answer.call_id, C)
        because = await self._connection(EDGE, "closed", "'CN=CA of c.example'")
        expect("that the anchor is missing", True, "not one of our trust anchors" in because)
        alert = await self._connection(C, "closed", "alert")
        expect("the TLS alert", True, "alert unknown ca" in alert)
        self.tell(way("INVITE", "mallory", self.record.hops(answer.call_id, "INVITE"), refused_by=EDGE))
        self._tell_refusal("TLS alert unknown_ca", because)

    async def c_is_called(self) -> None:
        """alice calls mallory at C; somebody has set a route there, but a route is not trust"""
        answer = await self._refused(self.agents["alice"], self.agents["mallory"])
        expect("the answer to alice", 403, answer.status)
        await self._passed("INVITE", answer.call_id, "alice", ALICE_TO_C, refused_by=C, in_full=True)

        def reasons() -> list[str]:
            answers = [e for e in self.record.events if e["server"] == EDGE and e.get("status") == 403]
            return [str(answer["because"]) for answer in answers]

        found = await self.record.settled(reasons, lambda found: len(found) == 1)
        expect("how often the edge answered 403", 1, len(found))
        self._tell_refusal("403 Forbidden", found[0])

    async def wrong_authority(self) -> None:
        """A front end that the server list names, fe3.a.example, with a certificate of B's CA"""
        await self._pretender(FE3, self.companies["b.example"].ca, "wrong-anchors")

    async def not_listed(self) -> None:
        """A server with a certificate of A's CA, fe9.a.example, that is on no server list"""
        await self._pretender(FE9, self.companies["a.example"].ca, "not-listed")

    async def challenges(self) -> None:
        """Nobody was challenged but each user once, at their own server"""
        challenged: dict[str, int] = {}
        for event in self.record.events:
            if event["step"] == "answer" and event["status"] in (401, 407):
                expect("what was challenged", "REGISTER", event["method"])
                challenged[event["server"]] = challenged.get(event["server"], 0) + 1
        expect("challenges by server", CHALLENGED, challenged)
        requests = sum(1 for event in self.record.events if event["step"] == "request")
        self.tell(
            f"{requests} requests taken by {len(ADDRESSES)} servers, {sum(challenged.values())} challenges"
        )

    # What steps are made of ------------------------------------------------------------------------------

    async def _registered(self, user: str, server: str, ca: Path) -> UserAgent:
        agent = await connect(self.reactor, f"sip:{user}", ADDRESSES[server], server, ca)
        answer = await agent.register(password_of(user))
        expect(f"the answer to {user}", 200, answer.status)

        def statuses() -> list[int]:
            events = [
                e for e in self.record.events if e["server"] == server and e.get("method") == "REGISTER"
            ]
            return [e["status"] for e in events if e["step"] == "answer"]

        found = await self.record.settled(statuses, lambda found: found == [401, 200])
        expect(f"what {server} answered {user}", [401, 200], found)
        return agent

    async def _call(
        self, caller: str, callee: str, hops: tuple[Hop, ...], in_full: bool = True
    ) -> tuple[Dialog, Dialog]:
        calling, called = self.agents[caller], self.agents[callee]
        answering = calling.ask("INVITE", called.user)
        invite = await called.incoming("INVITE")
        called.respond(invite, 180)
        called.respond(invite, 200)
        answer = await answering
        expect(f"the answer to {caller}", 200, answer.status)
        ours, theirs = Dialog.of_caller(answer), Dialog.of_callee(invite, called.tag)
        calling.acknowledge(ours)
        await called.incoming("ACK")
        await self._passed("INVITE", invite.call_id, caller, hops, callee, in_full=in_full)
        await self._passed("ACK", invite.call_id, caller, acknowledging(hops), callee)
        return ours, theirs

    async def _hang_up(self, who: str, dialog: Dialog, other: str, hops: tuple[Hop, ...]) -> None:
        answering = self.agents[who].hang_up(dialog)
        bye = await self.agents[other].incoming("BYE")
        self.agents[other].respond(bye, 200)
        expect(f"the answer to {who}", 200, (await answering).status)
        await self._passed("BYE", dialog.call_id, who, hops, other)

    async def _passed(
        self,
        method: str,
        call_id: bytes,
        sender: str,
        hops: tuple[Hop, ...],
        receiver: str = "",
        refused_by: str = "",
        in_full: bool = False,
    ) -> None:
        found = await self.record.settled(
            lambda: self.record.hops(call_id, method), lambda found: found == hops
        )
        self.tell(way(method, sender, found, receiver, refused_by))
        if in_full:
            for line in in_words(sender, found, receiver):
                self.tell(f"    {line}")
        if found != hops:
            raise Differs(
                f"the hops of the {method}\n{_listed('expected', hops)}\n{_listed('but found', found)}"
            )

    async def _refused(self, caller: UserAgent, callee: UserAgent) -> Response:
        """The answer to a call that must not reach anybody."""
        index, found = await race([caller.ask("INVITE", callee.user), cast(Any, callee.incoming("INVITE"))])
        if index == 1:
            raise Differs(f"the call of {caller.user} was to be refused, and reached {callee.user}")
        return cast(Response, found)

    async def _pretender(self, name: str, issuer: Path, code: str) -> None:
        """Somebody runs a front end of ours of their own, with an alice of their own, who calls bob."""
        agent = await self._registered("alice@a.example", name, issuer)
        answer = await self._refused(agent, self.agents["bob"])
        agent.close()
        expect("the edge's answer", 403, answer.status)
        expect("the code in it", True, f"({code})" in answer.reason.decode())
        await self._seen_only_by(answer.call_id, name)
        because = await self._connection(EDGE, "refused", name)
        self.tell(way("INVITE", '"alice"', self.record.hops(answer.call_id, "INVITE"), refused_by=EDGE))
        self._tell_refusal(f"403 Forbidden ({code})", because)

    async def _connection(self, server: str, step: str, mentions: str) -> str:
        """Why a server closed or refused a connection; there has to be one such, whose reason mentions that."""

        def reasons() -> list[str]:
            found = [str(event["because"]) for event in self.record.flows(server, step)]
            return [because for because in found if mentions in because]

        found = await self.record.settled(reasons, lambda found: len(found) == 1)
        expect(f"how many connections with {mentions} {server} has {step}", 1, len(found))
        return found[0]

    def _connections(self) -> int:
        return sum(1 for event in self.record.events if event["step"] == "admitted")

    async def _seen_only_by(self, call_id: bytes, server: str) -> None:
        def servers() -> list[str]:
            return [hop.server for hop in self.record.hops(call_id, "INVITE")]

        found = await self.record.settled(servers, lambda found: found == [server])
        expect("the servers that took the INVITE", [server], found)

    def _tell_refusal(self, how: str, because: str) -> None:
        self.tell(f"    {EDGE} refuses: {how}")
        for line in wrap(because, 92, break_on_hyphens=False):
            self.tell(f"        {line}")


def expect(what: str, expected: object, found: object) -> None:
    """:raises Differs: if found is not what was expected."""
    if found != expected:
        raise Differs(f"{what}: expected {expected!r}, but found {found!r}")


def _listed(title: str, hops: Iterable[Hop]) -> str:
    return "\n".join([f"  {title}:", *(f"    {hop}" for hop in hops)])
