"""What becomes of what routing policies say, REGISTER, and policies that fail."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from mesh_checks import nothing_is_left
from policies import ByDomain, Says, to
from twisted.internet.defer import Deferred, fail, succeed

from sipmesh.decisions import Challenge, Forward, Reach, Redirect, Refuse, Reject, Target
from sipmesh.proxy.at_once import run
from sipmesh.sip import Address, Request, parse_sip_uri
from sipmesh.testing.locations import MemoryLocations
from sipmesh.testing.mesh import MemoryFlow, PolicyBench

ALICE = "sip:alice@a.example"
BOB = "sip:bob@a.example"
CONTACTS = (Address(parse_sip_uri("sip:bob@c.example"), 'B"ob'), Address(parse_sip_uri("sip:bob@d.example")))


def ask(*answers: Any, method: str = "INVITE") -> tuple[PolicyBench, MemoryFlow, MemoryFlow]:
    bench = PolicyBench(*(Says(answer) for answer in answers))
    alice, x = bench.client(ALICE), bench.server("x.example")
    alice.ask(method, BOB)
    return bench, alice, x


def test_the_first_opinion_decides() -> None:
    policies = [Says(None), Says(Reject(480, "asleep")), Says(to(BOB))]
    bench = PolicyBench(*policies)
    alice = bench.client(ALICE)
    alice.ask("INVITE", BOB)
    assert alice.response().status == 480
    assert [policy.asked for policy in policies] == [1, 1, 0]
    assert bench.decision["because"] == "asleep"


def test_nobody_knows_is_404() -> None:
    bench, alice, _ = ask(None, None)
    assert alice.response().status == 404
    nothing_is_left(bench)


def test_redirect_and_reject_are_answered_here() -> None:
    _, alice, x = ask(Redirect(CONTACTS, "moved"))
    response = alice.response()
    assert (response.status, x.take()) == (302, [])
    assert response.values(b"contact") == [b'"B\\"ob" <sip:bob@c.example>', b"<sip:bob@d.example>"]
    _, alice, _ = ask(Reject(603, "secret", "No\r\nFoo: y"))
    response = alice.response()
    assert (response.status, response.reason, response.has(b"foo")) == (603, b"No  Foo: y", False)
    assert b"secret" not in response.raw


@pytest.mark.parametrize(
    "answer", [lambda *_: succeed(to("sip:x.example")), lambda *_: later(to("sip:x.example"))]
)
def test_a_policy_may_answer_later(answer: Any) -> None:
    _, _, x = ask(answer)
    assert x.request("INVITE")


async def later(what: Any) -> Any:
    await succeed(None)
    return what


def test_a_policy_that_takes_its_time() -> None:
    waiting: Deferred[Any] = Deferred()
    _, alice, x = ask(waiting)
    assert [one.status for one in alice.take() if hasattr(one, "status")] == [100]
    assert x.take() == []
    waiting.callback(to("sip:x.example"))
    assert x.request("INVITE")


def no_future(*_: object) -> Any:
    loop = asyncio.new_event_loop()
    future = loop.create_future()
    loop.close()
    return future


NONSENSE = [
    ZeroDivisionError("x"),
    True,
    "sip:x.example",
    Target(parse_sip_uri("sip:x.example")),
    Forward,
    Reject(200, "x"),
    Reject(180, "x"),
    Reject(0, "x"),
    Reject(700, "x"),
    Redirect((), "x"),
    Redirect(("sip:x.example",), "x"),  # type: ignore[arg-type]
    Forward(("sip:x.example",), "x"),  # type: ignore[arg-type]
    Forward(None, "x"),  # type: ignore[arg-type]
    Forward((Target("sip:x.example"),), "x"),  # type: ignore[arg-type]
    lambda *_: fail(ZeroDivisionError()),
    lambda *_: later(True),
    no_future,
    Refuse("x"),
]


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
@pytest.mark.parametrize("nonsense", NONSENSE, ids=lambda what: type(what).__name__)
def test_a_policy_that_fails_is_a_500_and_harms_nobody_else(nonsense: Any, method: str) -> None:
    answers: dict[str, Any] = {"carol": to("sip:x.example")}

    def route(request: Request, context: Any) -> Any:
        known = answers.get(request.from_.display)
        if known is not None:
            return known
        if isinstance(nonsense, Exception):
            raise nonsense
        return nonsense(request, context) if callable(nonsense) and nonsense is not Forward else nonsense

    bench = PolicyBench(Says(route), Says(to("sip:x.example")))
    alice, x = bench.client(ALICE), bench.server("x.example")
    alice.ask(method, BOB, 'From: "carol" <sip:alice@a.example>;tag=1')
    before = x.request(method)
    alice.ask(method, BOB)
    assert alice.response().status == 500
    assert x.take() == []
    x.respond(before, 200)
    assert alice.response().status == 200
    nothing_is_left(bench)


def test_no_target_is_480() -> None:
    _, alice, _ = ask(Forward((), "nobody is in"))
    assert alice.response().status == 480


def test_a_challenge_on_a_server_without_users_is_403() -> None:
    _, alice, _ = ask(Challenge("x"), to("sip:x.example"))
    assert alice.response().status == 403


def test_where_a_target_is_sent() -> None:
    """next_hop before route before the URI; and route goes along."""
    policy = Says(None)
    bench = PolicyBench(policy)
    alice, x, y, z = (bench.client(ALICE), *(bench.server(f"{name}.example") for name in "xyz"))
    hop, route = parse_sip_uri("sip:y.example"), ("<sip:z.example;lr>",)
    cases: list[tuple[dict[str, Any], MemoryFlow]] = [
        ({}, x),
        ({"next_hop": hop}, y),
        ({"route": route}, z),
        ({"next_hop": hop, "route": route}, y),
    ]
    for more, where in cases:
        policy.answer = to("sip:bob@x.example", **more)
        alice.ask("MESSAGE", BOB)
        request = where.request()
        assert request.uri_bytes == b"sip:bob@x.example"
        assert request.values(b"route") == [value.encode() for value in more.get("route", ())]


def test_what_is_no_sip_uri_needs_a_next_hop() -> None:
    _, alice, _ = ask(to("tel:+4930"))
    assert alice.response().status == 404
    _, _, x = ask(to("tel:+4930", next_hop=parse_sip_uri("sip:x.example")))
    assert x.request().uri_bytes == b"tel:+4930"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (None, 403),
        (Refuse("no"), 403),
        (ZeroDivisionError(), 500),
        (True, 500),
        (Reach("x.example", "x", "x", parse_sip_uri("sip:y.example")), 200),
    ],
)
def test_whether_we_may_go_there(answer: Any, status: int) -> None:
    class Lists:
        def reach(self, name: str) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

    lists: Any = [Lists()]
    bench = PolicyBench(Says(to("sip:bob@nowhere.example")), server_lists=lists)
    alice, y = bench.client(ALICE), bench.server("y.example")
    alice.ask("MESSAGE", BOB)
    if status == 200:
        y.respond(y.request(), 200)
    assert alice.response().status == status


# Paths and REGISTER ----------------------------------------------------------------------------------------------


def test_a_path_of_ours_leads_to_the_clients_flow_and_stays_with_us() -> None:
    policy = Says(None)
    bench = PolicyBench(policy)
    alice, bob = bench.client(ALICE), bench.client(BOB)
    path = bench.path_to(bob)
    policy.answer = to("sip:bob@10.0.0.1", route=(path, "<sip:behind.example;lr>"))
    alice.ask("MESSAGE", BOB)
    request = bob.request()
    assert request.values(b"route") == [b"<sip:behind.example;lr>"]
    bob.respond(request, 200)
    assert alice.response().status == 200
    policy.answer = to("sip:bob@10.0.0.1", route=(path.replace("~", "A~", 1),))
    alice.ask("MESSAGE", BOB)
    assert alice.response().status == 430
    bob.lose()
    policy.answer = to("sip:bob@10.0.0.1", route=(path,))
    alice.ask("MESSAGE", BOB)
    assert alice.response().status == 430


class Answer:
    def __init__(self, status: int) -> None:
        self.status, self.reason, self.headers = status, "So", (b"Foo: y",)


def registering(answer: Any = None) -> tuple[PolicyBench, list[tuple[str, str]]]:
    seen: list[tuple[str, str]] = []

    def register(request: Request, aor: str, edge: str) -> Any:
        seen.append((aor, edge))
        if isinstance(answer, Exception):
            raise answer
        return answer or Answer(200)

    return PolicyBench(ByDomain(), register=register), seen


REGISTRAR = "sip:a.example"


def test_a_user_registers_itself() -> None:
    bench, seen = registering()
    alice = bench.client(ALICE)
    alice.ask("REGISTER", REGISTRAR, to=f"<{ALICE}>")
    response = alice.response()
    assert (response.status, response.first(b"foo")) == (200, b"y")
    ((aor, edge),) = seen
    assert aor == ALICE
    assert edge.endswith("@fe1.a.example:5061;transport=tls;lr>")


@pytest.mark.parametrize("whom", [BOB, "sip:alice@b.example", "tel:+4930"])
def test_nobody_registers_another(whom: str) -> None:
    bench, seen = registering()
    alice = bench.client(ALICE)
    alice.ask("REGISTER", REGISTRAR, to=f"<{whom}>")
    assert (alice.response().status, seen) == (403, [])


@pytest.mark.parametrize(
    ("identity", "status"),
    [
        (f"P-Asserted-Identity: <{ALICE}>", 200),
        (f"P-Asserted-Identity: <tel:+4930>, <{ALICE}>", 200),
        (f"P-Asserted-Identity: <{BOB}>", 403),
        ("P-Asserted-Identity: <tel:+4930>", 403),
        ("P-Asserted-Identity: nonsense", 400),
        ("X: y", 403),
    ],
)
def test_a_trusted_server_says_who_registers(identity: str, status: int) -> None:
    bench, seen = registering()
    fe2 = bench.server("fe2.a.example")
    fe2.ask("REGISTER", REGISTRAR, f"From: <{ALICE}>;tag=1", identity, to=f"<{ALICE}>")
    assert fe2.response().status == status
    assert len(seen) == (status == 200)


def test_a_partner_says_so_in_vain() -> None:
    bench, seen = registering()
    partner = bench.partner("b.example")
    partner.ask("REGISTER", REGISTRAR, f"P-Asserted-Identity: <{ALICE}>", to=f"<{ALICE}>")
    assert (partner.response().status, seen) == (403, [])


def test_a_server_that_registers_nobody() -> None:
    bench = PolicyBench(ByDomain(), locations=MemoryLocations())
    alice = bench.client(ALICE)
    alice.ask("REGISTER", REGISTRAR, to=f"<{ALICE}>")
    assert alice.response().status == 405


def test_a_registrar_that_fails_is_a_500() -> None:
    for answer in (ZeroDivisionError(), fail(ZeroDivisionError())):
        bench, _ = registering(answer)
        alice = bench.client(ALICE)
        alice.ask("REGISTER", REGISTRAR, to=f"<{ALICE}>")
        assert alice.response().status == 500
        nothing_is_left(bench)


# at_once ------------------------------------------------------------------------------------------------------


def test_a_coroutine_runs_as_far_as_it_can() -> None:
    steps: list[object] = []
    waiting: Deferred[str] = Deferred()

    async def work() -> None:
        steps.append(await succeed("at once"))
        steps.append(await waiting)
        await fail(ValueError("the end"))

    run(work(), lambda failure: steps.append(repr(failure.value)))
    assert steps == ["at once"]
    waiting.callback("later")
    assert steps == ["at once", "later", "ValueError('the end')"]


def test_a_failure_is_thrown_into_the_coroutine_and_handled() -> None:
    steps: list[object] = []
    waiting: Deferred[str] = Deferred()

    async def work() -> None:
        try:
            await waiting
        except ValueError as error:
            steps.append(error.args)

    run(work(), steps.append)
    waiting.errback(ValueError("wrong"))
    assert steps == [("wrong",)]
