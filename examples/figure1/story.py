"""What happens in the demonstration, and what has to come of it.

Each step does something as users and servers do it, and compares what the servers' traces tell with what is
written down here: the hops, who proved what on each, which policy decided. What differs is a :class:`Differs`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
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

    def steps(self) -> Sequence[tuple[str, Callable[[], Awaitable[None]]]]:
        """The story, with a title for each step."""
        return (
            ("Everybody registers with their own server, by TLS", self.register),
            ("alice calls carol: two front ends of one enterprise", self.call_inside),
            ("alice calls bob, through the edge to the partner; alice hangs up", self.call_partner),
            ("alice calls bob again; this time bob hangs up", self.call_partner_again),
            ("bob sends alice a message; it comes in at the other front end", self.message_back),
            ("mallory calls alice from C, whom nobody lists", self.c_comes),
            ("alice calls mallory at C", self.c_is_called),
            ("fe3.a.example is on the server list, but its certificate is of B's CA", self.wrong_authority),
            ("fe9.a.example has a certificate of A's CA, but is on no server list", self.not_listed),
            ("Nobody was challenged but each user once, by their own server", self.challenges),
        )

    # The steps -------------------------------------------------------------------------------------------

    async def register(self) -> None:
        for user, server in (
            ("alice@a.example", FE1), ("carol@a.example", FE2), ("bob@b.example", B), ("mallory@c.example", C)
        ):  # fmt: skip
            domain = user.partition("@")[2]
            agent = await self._registered(user, server, self.companies[domain].ca)
            self.agents[user.partition("@")[0]] = agent

    async def call_inside(self) -> None:
        caller, callee, _ = await self._call("alice", "carol", ALICE_TO_CAROL)
        await self._hang_up("alice", caller, "carol", inside(ALICE_TO_CAROL))

    async def call_partner(self) -> None:
        caller, callee, _ = await self._call("alice", "bob", ALICE_TO_BOB)
        await self._hang_up("alice", caller, "bob", inside(ALICE_TO_BOB))

    async def call_partner_again(self) -> None:
        _, callee, _ = await self._call("alice", "bob", ALICE_TO_BOB)
        await self._hang_up("bob", callee, "alice", back(ALICE_TO_BOB))

    async def message_back(self) -> None:
        alice, bob = self.agents["alice"], self.agents["bob"]
        answering = bob.ask("MESSAGE", alice.user, b"Content-Type: text/plain", body=b"Was nice to talk to you.")
        message = await alice.incoming("MESSAGE")
        expect("the message", "Was nice to talk to you.", message.body.decode())
        alice.respond(message, 200)
        expect("the answer to bob", 200, (await answering).status)
        await self._passed("MESSAGE", message.call_id, "bob", BOB_TO_ALICE, "alice")

    async def c_comes(self) -> None:
        mallory = self.agents["mallory"]
        answer = await self._refused(mallory, self.agents["alice"])
        expect("what C's own server has to tell mallory", 503, answer.status)
        await self._seen_only_by(answer.call_id, C)
        because = await self._flow_event("closed", "'CN=sip.c.example'")
        expect("the reason", True, "its issuer is not one of our trust anchors" in because)
        self.tell(way("INVITE", "mallory", self.record.hops(answer.call_id, "INVITE")))
        self._tell_refusal("a TLS alert", because)

    async def c_is_called(self) -> None:
        answer = await self._refused(self.agents["alice"], self.agents["mallory"])
        expect("the answer to alice", 403, answer.status)
        await self._passed("INVITE", answer.call_id, "alice", ALICE_TO_C)
        answers = [e for e in self.record.events if e["server"] == EDGE and e.get("status") == 403]
        expect("how often the edge answered 403", 1, len(answers))
        self._tell_refusal("403: a route alone is no trust", str(answers[0]["because"]))

    async def wrong_authority(self) -> None:
        await self._pretender(FE3, self.companies["b.example"].ca, "wrong-anchors")

    async def not_listed(self) -> None:
        await self._pretender(FE9, self.companies["a.example"].ca, "not-listed")

    async def challenges(self) -> None:
        challenged: dict[str, int] = {}
        for event in self.record.events:
            if event["step"] == "answer" and event["status"] in (401, 407):
                expect("what was challenged", "REGISTER", event["method"])
                challenged[event["server"]] = challenged.get(event["server"], 0) + 1
        expect("challenges by server", CHALLENGED, challenged)
        requests = sum(1 for event in self.record.events if event["step"] == "request")
        self.tell(f"{requests} requests at {len(ADDRESSES)} servers, {sum(challenged.values())} challenges")

    # What steps are made of ------------------------------------------------------------------------------

    async def _registered(self, user: str, server: str, ca: Path) -> UserAgent:
        agent = await connect(self.reactor, f"sip:{user}", ADDRESSES[server], server, ca)
        answer = await agent.register(password_of(user))
        expect(f"the answer to {user}", 200, answer.status)

        def statuses() -> list[int]:
            events = [e for e in self.record.events if e["server"] == server and e.get("method") == "REGISTER"]
            return [e["status"] for e in events if e["step"] == "answer"]

        found = await self.record.settled(statuses, lambda found: found == [401, 200])
        expect(f"what {server} answered {user}", [401, 200], found)
        self.tell(f"{user.partition('@')[0]:<7} ----> {server:<14} proved its name to the client; "
                  f"{user} proved who they are")  # fmt: skip
        return agent

    async def _call(self, caller: str, callee: str, hops: tuple[Hop, ...]) -> tuple[Dialog, Dialog, bytes]:
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
        await self._passed("INVITE", invite.call_id, caller, hops, callee)
        await self._passed("ACK", invite.call_id, caller, acknowledging(hops), callee)
        return ours, theirs, invite.call_id

    async def _hang_up(self, who: str, dialog: Dialog, other: str, hops: tuple[Hop, ...]) -> None:
        answering = self.agents[who].hang_up(dialog)
        bye = await self.agents[other].incoming("BYE")
        self.agents[other].respond(bye, 200)
        expect(f"the answer to {who}", 200, (await answering).status)
        await self._passed("BYE", dialog.call_id, who, hops, other)

    async def _passed(
        self, method: str, call_id: bytes, sender: str, hops: tuple[Hop, ...], receiver: str = ""
    ) -> None:
        found = await self.record.settled(lambda: self.record.hops(call_id, method), lambda found: found == hops)
        self.tell(way(method, sender, found, receiver))
        if method not in ("ACK", "BYE"):
            for line in in_words(sender, found, receiver):
                self.tell(f"    {line}")
        if found != hops:
            raise Differs(f"the hops of the {method}\n{_listed('expected', hops)}\n{_listed('but found', found)}")

    async def _refused(self, caller: UserAgent, callee: UserAgent) -> Response:
        """The answer to a call that must not reach anybody."""
        index, found = await race([caller.ask("INVITE", callee.user), cast(Any, callee.incoming("INVITE"))])
        if index == 1:
            raise Differs(f"the call of {caller.user} was to be refused, and reached {callee.user}")
        return found

    async def _pretender(self, name: str, issuer: Path, code: str) -> None:
        """Somebody runs a front end of ours of their own, with an alice of their own, who calls bob."""
        agent = await self._registered("alice@a.example", name, issuer)
        answer = await self._refused(agent, self.agents["bob"])
        agent.close()
        expect("the edge's answer", 403, answer.status)
        expect("the code in it", True, f"({code})" in answer.reason.decode())
        await self._seen_only_by(answer.call_id, name)
        because = await self._flow_event("refused", name)
        self.tell(way("INVITE", '"alice"', self.record.hops(answer.call_id, "INVITE")))
        self._tell_refusal(f"403 ({code})", because)

    async def _flow_event(self, step: str, mentions: str) -> str:
        """Why the edge refused a connection; there has to be one such connection that it did refuse."""

        def reasons() -> list[str]:
            found = [str(event["because"]) for event in self.record.flows(EDGE, step)]
            return [because for because in found if mentions in because]

        found = await self.record.settled(reasons, lambda found: len(found) == 1)
        expect(f"how many connections of {mentions} the edge has {step}", 1, len(found))
        return found[0]

    async def _seen_only_by(self, call_id: bytes, server: str) -> None:
        def servers() -> list[str]:
            return [hop.server for hop in self.record.hops(call_id, "INVITE")]

        found = await self.record.settled(servers, lambda found: found == [server])
        expect("the servers that took the INVITE", [server], found)

    def _tell_refusal(self, how: str, because: str) -> None:
        self.tell(f"    {EDGE} refuses: {how}")
        self.tell(f"        {because}")


def expect(what: str, expected: object, found: object) -> None:
    """:raises Differs: if found is not what was expected."""
    if found != expected:
        raise Differs(f"{what}: expected {expected!r}, but found {found!r}")


def _listed(title: str, hops: Iterable[Hop]) -> str:
    return "\n".join([f"  {title}:", *(f"    {hop}" for hop in hops)])
