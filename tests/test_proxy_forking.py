"""Branches and their responses: RFC 3261 §16.7 to §16.10, and turning to the next candidate."""

from __future__ import annotations

import pytest
from mesh_checks import nothing_is_left
from policies import Says, to
from twisted.internet.defer import Deferred

from sipmesh.decisions import Forward, Target
from sipmesh.proxy.best import Outcome, best_outcome
from sipmesh.sip import Request, Response, SipUri, parse_message
from sipmesh.testing.mesh import MemoryFlow, PolicyBench
from sipmesh.transport.flow import Flow

BOB = "sip:bob@a.example"
NAMES = ("x.example", "y.example", "z.example")


class Fork:
    """Alice calls bob, who is in as many places as asked for."""

    def __init__(self, places: int = 2, method: str = "INVITE") -> None:
        self.bench = PolicyBench(Says(to(*(f"sip:bob@{name}" for name in NAMES[:places]))))
        self.alice = self.bench.client("sip:alice@a.example")
        self.peers = [self.bench.server(name) for name in NAMES[:places]]
        self.invite = self.alice.ask(method, BOB)
        self.requests = [peer.request(method) for peer in self.peers]
        self.alice.take()

    def answers(self, place: int, status: int, *headers: str) -> None:
        self.peers[place].respond(self.requests[place], status, *headers)

    def statuses(self) -> list[int]:
        return [one.status for one in self.alice.take() if isinstance(one, Response)]

    def methods(self, place: int) -> list[str]:
        return [one.method.decode() for one in self.peers[place].take() if isinstance(one, Request)]

    def ends(self) -> None:
        """Nothing is left of it, however long it takes."""
        nothing_is_left(self.bench)


def test_all_are_asked_at_once_with_branches_of_their_own() -> None:
    fork = Fork(3)
    assert len({request.via.branch for request in fork.requests}) == 3
    assert [request.uri_bytes for request in fork.requests] == [b"sip:bob@" + n.encode() for n in NAMES]


def test_provisional_responses_go_back_but_100() -> None:
    fork = Fork(2)
    fork.answers(0, 100)
    fork.answers(0, 180)
    fork.answers(1, 183)
    assert fork.statuses() == [180, 183]


def test_a_2xx_goes_back_at_once_and_cancels_the_others() -> None:
    fork = Fork(3)
    fork.answers(1, 180)
    fork.answers(0, 200)
    assert fork.statuses() == [180, 200]
    assert [fork.methods(place) for place in range(3)] == [[], ["CANCEL"], []]
    fork.answers(2, 180)  # only now may it be cancelled (§9.1)
    assert fork.methods(2) == ["CANCEL"]
    fork.answers(1, 487)
    fork.answers(2, 487)
    assert fork.methods(1) == fork.methods(2) == ["ACK"]
    assert fork.statuses() == []
    fork.ends()


def test_each_2xx_goes_back_even_late() -> None:
    fork = Fork(2)
    fork.answers(0, 200)
    fork.answers(1, 200)
    fork.answers(0, 200)
    assert fork.statuses() == [200, 200, 200]
    fork.ends()


def test_failures_wait_for_each_other_and_are_acknowledged_here() -> None:
    fork = Fork(2)
    fork.answers(0, 404)
    assert fork.statuses() == []
    fork.answers(1, 486)
    assert fork.statuses() == [404]
    assert [fork.methods(place) for place in range(2)] == [["ACK"], ["ACK"]]
    fork.ends()


def test_a_6xx_ends_all_but_waits_for_who_was_cancelled() -> None:
    fork = Fork(3)
    fork.answers(1, 180)
    fork.answers(0, 603)
    assert fork.statuses() == [180]
    assert fork.methods(1) == ["CANCEL"]
    fork.answers(1, 487)
    fork.answers(2, 180)
    assert fork.methods(2) == ["CANCEL"]
    fork.answers(2, 200)  # it was picked up in that moment, and that counts
    assert fork.statuses() == [180, 200]
    fork.ends()


@pytest.mark.parametrize(
    ("statuses", "best"),
    [
        ((404, 486, 603), 603),
        ((302, 404, 500), 302),
        ((500, 486, 503), 486),
        ((486, 404, 407), 407),
        ((486, 401, 407), 401),
        ((486, 484, 404), 484),
        ((603, 604, 302), 603),
        ((503, 503, 503), 500),
        ((503, 501, 503), 500),
        ((408, 487, 404), 408),
    ],
)
def test_the_best_goes_back(statuses: tuple[int, ...], best: int) -> None:
    fork = Fork(3)
    for place, status in enumerate(statuses):
        fork.answers(place, status)
    assert fork.statuses()[-1:] == [best]
    fork.ends()


def test_an_answer_goes_before_a_conclusion_of_ours() -> None:
    answered = parse_message(b"SIP/2.0 486 Busy\r\n\r\n")
    assert isinstance(answered, Response)
    mine, theirs = Outcome(403, None), Outcome(486, answered)
    assert best_outcome([mine, theirs]) is theirs


def test_who_answers_one_challenge_is_shown_all() -> None:
    fork = Fork(3)
    fork.answers(0, 407, 'Proxy-Authenticate: Digest realm="x"')
    fork.answers(1, 401, 'WWW-Authenticate: Digest realm="y"')
    fork.answers(2, 486)
    response = fork.alice.response()
    assert response.status == 407
    assert response.all(b"proxy-authenticate") == [b'Digest realm="x"']
    assert response.all(b"www-authenticate") == [b'Digest realm="y"']


def test_a_response_goes_back_with_the_callers_via_whatever_it_came_with() -> None:
    for vias in (b"", b"Via: SIP/2.0/TLS x;branch=z9hG4bKx\r\n", b"Via: nonsense\r\n"):
        fork = Fork(1)
        request = fork.requests[0]
        lines = [request.raw[start:end] for name, start, _, end in request.fields if name == b"via"]
        head = b"SIP/2.0 486 Busy\r\n" + lines[0] + b"\r\n" + vias
        rest = b"From: <sip:x@y>\r\nTo: <sip:x@y>;tag=1\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\r\n"
        response = parse_message(head + rest)
        assert isinstance(response, Response)
        fork.bench.proxy.received(fork.peers[0], response)
        back = fork.alice.response()
        assert (back.status, back.values(b"via")) == (486, fork.invite.values(b"via"))
        fork.ends()


def test_a_response_that_can_not_be_read_costs_nobody_the_flow() -> None:
    fork = Fork(1)
    for raw in (b"SIP/2.0 200 OK\r\n\r\n", b"SIP/2.0 200 OK\r\nVia: x\r\nCSeq: 1 INVITE\r\n\r\n"):
        response = parse_message(raw)
        assert isinstance(response, Response)
        fork.bench.proxy.received(fork.peers[0], response)
        assert fork.bench.trace[-1]["step"] == "dropped"
    fork.answers(0, 200)
    assert fork.statuses() == [200]


# CANCEL -----------------------------------------------------------------------------------------------------


def test_cancel_before_any_response_waits_for_one() -> None:
    fork = Fork(2)
    fork.answers(0, 180)
    fork.alice.cancel(fork.invite)
    assert fork.statuses() == [180, 200]
    assert fork.methods(0) == ["CANCEL"]
    assert fork.methods(1) == []
    fork.answers(1, 100)
    fork.answers(0, 487)
    assert fork.methods(1) == ["CANCEL"]
    fork.answers(1, 487)
    assert fork.statuses() == [487]
    fork.ends()


def test_a_cancel_is_made_of_the_invite_that_it_cancels() -> None:
    fork = Fork(1)
    fork.answers(0, 180)
    fork.alice.cancel(fork.invite)
    cancel, invite = fork.peers[0].request("CANCEL"), fork.requests[0]
    for name in (b"from", b"to", b"call-id"):
        assert cancel.all(name) == invite.all(name)
    assert (cancel.uri_bytes, cancel.values(b"via")) == (invite.uri_bytes, invite.values(b"via")[:1])
    assert (cancel.cseq.number, cancel.cseq.method) == (invite.cseq.number, b"CANCEL")


def test_cancel_by_somebody_else_or_of_nothing() -> None:
    fork = Fork(1)
    mallory = fork.bench.client("sip:mallory@a.example")
    mallory.cancel(fork.invite)
    assert mallory.response().status == 481
    fork.answers(0, 180)
    assert fork.methods(0) == []


def test_cancel_after_the_answer_changes_nothing() -> None:
    fork = Fork(1)
    fork.answers(0, 200)
    fork.alice.cancel(fork.invite)
    assert fork.statuses() == [200, 200]
    assert fork.methods(0) == []
    fork.ends()


def test_who_never_answers_a_cancel_is_given_up() -> None:
    fork = Fork(1)
    fork.answers(0, 180)
    fork.alice.cancel(fork.invite)
    fork.alice.take()
    fork.bench.advance(32.3)
    assert fork.statuses() == [487]
    fork.ends()


def test_cancel_while_a_policy_still_thinks() -> None:
    later: Deferred[object] = Deferred()
    bench = PolicyBench(Says(later))
    alice, x = bench.client("sip:alice@a.example"), bench.server("x.example")
    invite = alice.ask("INVITE", BOB)
    alice.cancel(invite)
    assert sorted(one.status for one in alice.take() if isinstance(one, Response)) == [100, 200, 487]
    later.callback(to("sip:bob@x.example"))
    assert x.take() == []
    nothing_is_left(bench)


def connecting(bench: PolicyBench, monkeypatch: pytest.MonkeyPatch) -> list[Deferred[Flow]]:
    """From now on connections take until the test says so."""
    waiting: list[Deferred[Flow]] = []

    def connect(address: str, port: int, name: str) -> Deferred[Flow]:
        waiting.append(Deferred())
        return waiting[-1]

    monkeypatch.setattr(bench.pool, "at", lambda *place: None)
    monkeypatch.setattr(bench.pool, "connect", connect)
    return waiting


def test_cancel_before_there_is_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = PolicyBench(Says(to("sip:bob@x.example")))
    alice, x = bench.client("sip:alice@a.example"), bench.server("x.example")
    waiting = connecting(bench, monkeypatch)
    invite = alice.ask("INVITE", BOB)
    alice.cancel(invite)
    assert 487 in [one.status for one in alice.take() if isinstance(one, Response)]
    waiting[0].callback(x)
    assert x.take() == []
    nothing_is_left(bench)


def test_an_answer_before_there_is_another_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = PolicyBench(Says(to("sip:bob@x.example", "sip:bob@y.example")))
    alice, x, y = bench.client("sip:alice@a.example"), bench.server("x.example"), bench.server("y.example")
    waiting = connecting(bench, monkeypatch)
    alice.ask("INVITE", BOB)
    waiting[0].callback(x)
    x.respond(x.request(), 200)
    waiting[1].callback(y)
    assert y.take() == []
    nothing_is_left(bench)


def test_timer_c_before_there_is_another_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, alice, first, second, request = two_places()
    waiting = connecting(bench, monkeypatch)
    first.respond(request, 503)
    bench.advance(181.3)
    assert alice.response().status == 408
    waiting[0].callback(second)
    assert second.take() == []
    nothing_is_left(bench)


# Time -------------------------------------------------------------------------------------------------------


def test_timer_b_is_a_408() -> None:
    fork = Fork(1)
    fork.bench.advance(32.3)
    assert fork.statuses() == [408]
    fork.ends()


def test_timer_c_starts_anew_with_each_sign_of_life_and_then_cancels() -> None:
    fork = Fork(1)
    fork.answers(0, 180)
    fork.bench.advance(180)
    fork.answers(0, 100)  # no sign of life: it says nothing of the phone
    fork.answers(0, 180)
    fork.bench.advance(180)
    assert fork.methods(0) == []
    fork.bench.advance(1.5)
    assert fork.methods(0) == ["CANCEL"]
    fork.answers(0, 487)
    assert fork.statuses()[-1] == 487
    fork.ends()


def test_timer_c_gives_up_whom_cancelling_does_not_move() -> None:
    fork = Fork(1)
    fork.answers(0, 180)
    fork.bench.advance(181.3 + 32.3)
    assert fork.statuses() == [180, 487]
    fork.ends()


# Turning elsewhere --------------------------------------------------------------------------------------------


def two_places(method: str = "INVITE") -> tuple[PolicyBench, MemoryFlow, MemoryFlow, MemoryFlow, Request]:
    bench = PolicyBench(Says(to("sip:bob@x.example")))
    alice, first, second = (
        bench.client("sip:alice@a.example"),
        bench.server("x.example"),
        bench.server("x.example"),
    )
    alice.ask(method, BOB)
    alice.take()
    return bench, alice, first, second, first.request(method)


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_a_503_turns_to_the_next_candidate(method: str) -> None:
    bench, alice, first, second, request = two_places(method)
    first.respond(request, 503)
    again = second.request(method)
    assert again.via.branch != request.via.branch
    second.respond(again, 503)
    assert alice.response().status == 500
    nothing_is_left(bench)


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_a_lost_flow_turns_to_the_next_candidate(method: str) -> None:
    bench, alice, first, second, _ = two_places(method)
    first.lose()
    second.respond(second.request(method), 200)
    assert alice.response().status == 200
    nothing_is_left(bench)


def test_a_lost_flow_after_ringing_is_the_end_of_the_branch() -> None:
    bench, alice, first, second, request = two_places()
    first.respond(request, 180)
    assert alice.response().status == 180
    first.lose()
    assert alice.response().status == 500
    assert second.take() == []
    nothing_is_left(bench)


@pytest.mark.parametrize("lost", [False, True])
def test_who_cancelled_is_not_taken_elsewhere(lost: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = PolicyBench(Says(to("sip:bob@x.example")))
    alice, first = bench.client("sip:alice@a.example"), bench.server("x.example")
    bench.server("x.example")
    invite = alice.ask("INVITE", BOB)
    alice.cancel(invite)
    request = first.request("INVITE")
    waiting = connecting(bench, monkeypatch)
    if lost:
        first.lose()
    else:
        first.respond(request, 503)
    assert [one.status for one in alice.take() if isinstance(one, Response)] == [
        100,
        200,
        487 if lost else 500,
    ]
    assert waiting == []
    nothing_is_left(bench)


def test_who_is_not_there_is_passed_over() -> None:
    bench = PolicyBench(Says(to("sip:bob@x.example")))
    alice, x = bench.client("sip:alice@a.example"), bench.server("x.example")
    bench.unreachable("x.example")
    bench.unreachable("x.example", refused=True)
    alice.ask("MESSAGE", BOB)
    x.respond(x.request(), 200)
    assert alice.response().status == 200


@pytest.mark.parametrize(
    ("refused", "known", "status"), [(False, True, 500), (True, True, 403), (False, False, 403)]
)
def test_nobody_is_there_or_nobody_to_be_trusted(refused: bool, known: bool, status: int) -> None:
    bench = PolicyBench(Says(to("sip:bob@x.example")))
    alice = bench.client("sip:alice@a.example")
    if known:
        bench.server("x.example").lose()
        bench.unreachable("x.example", refused=refused)
    alice.ask("MESSAGE", BOB)
    assert alice.response().status == status
    nothing_is_left(bench)


def test_dns_that_knows_nothing_is_the_next_hops_failure() -> None:
    bench = PolicyBench(Says(to("sip:bob@x.example")))
    alice = bench.client("sip:alice@a.example")
    bench.server("x.example").lose()
    alice.ask("MESSAGE", BOB)
    assert alice.response().status == 500


@pytest.mark.parametrize("status", [0, 180, 200])
def test_a_caller_that_is_gone_leaves_nothing(status: int) -> None:
    fork = Fork(2)
    if status:
        fork.answers(0, status)
    fork.alice.lose()
    if status == 180:
        assert fork.methods(0) == ["CANCEL"]
    fork.answers(1, 180)
    fork.answers(1, 487)
    fork.ends()


@pytest.mark.parametrize("provisional", [False, True])
def test_a_caller_that_is_gone_before_the_answer_to_its_message(provisional: bool) -> None:
    fork = Fork(2, "MESSAGE")
    if provisional:
        fork.answers(0, 183)
    fork.alice.lose()
    fork.answers(0, 404)
    fork.answers(1, 404)
    assert fork.statuses() in ([], [183])
    fork.ends()


def test_flows_of_the_others_are_lost_in_every_state() -> None:
    for statuses in ((), (100,), (180,), (200,), (486,)):
        fork = Fork(2)
        for status in statuses:
            fork.answers(0, status)
        fork.peers[0].lose()
        fork.peers[1].lose()
        assert fork.statuses()[-1] == {200: 200, 486: 486}.get(statuses[-1] if statuses else 0, 500)
        fork.ends()


def test_one_bad_target_does_not_spoil_the_others() -> None:
    good, bad = to("sip:bob@x.example").targets, to("sip:bob@y.example", route=("<nonsense",)).targets
    bench = PolicyBench(Says(Forward((*bad, *good), "x")))
    alice, x = bench.client("sip:alice@a.example"), bench.server("x.example")
    alice.ask("INVITE", BOB)
    x.respond(x.request(), 200)
    assert alice.response().status == 200
    nothing_is_left(bench)


def test_nobody_rings_on_after_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = PolicyBench(Says(to("sip:bob@x.example", "sip:bob@y.example")))
    reaching = bench.proxy._reaching
    proper = reaching.hop

    def hop(target: Target, next_hop: SipUri | None) -> Flow | SipUri:
        if "y.example" in str(target.uri):
            raise ZeroDivisionError
        return proper(target, next_hop)

    monkeypatch.setattr(reaching, "hop", hop)
    alice, x = bench.client("sip:alice@a.example"), bench.server("x.example")
    alice.ask("INVITE", BOB)
    assert alice.response().status == 500
    x.respond(x.request(), 180)
    assert x.request("CANCEL")
    nothing_is_left(bench)
