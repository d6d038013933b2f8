"""The four machines, edge by edge, against the figures of RFC 3261 §17 and RFC 6026 as this file reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from attrs import define, field
from transactions import RecordingFlow, RecordingUser, Scene, request, response

from sipmesh.sip import Request, parse_message
from sipmesh.transaction import tables
from sipmesh.transaction.machines import ClientTransaction, ServerTransaction

# state, event, next state, what is sent and who is told. An event that is not listed changes nothing.
FIGURES = {
    "INVITE client": """
        calling     A                calling     sent again
        calling     B                terminated  timed out
        calling     transport error  terminated  transport failed
        calling     abandon          terminated  -
        calling     1xx              proceeding  1xx
        calling     2xx              accepted    2xx
        calling     300-699          completed   ACK, 300-699
        proceeding  transport error  terminated  transport failed
        proceeding  abandon          terminated  -
        proceeding  1xx              proceeding  1xx
        proceeding  2xx              accepted    2xx
        proceeding  300-699          completed   ACK, 300-699
        completed   300-699          completed   ACK
        completed   transport error  terminated  transport failed
        completed   D                terminated  -
        accepted    2xx              accepted    2xx
        accepted    M                terminated  -
    """,
    "non-INVITE client": """
        trying      E                trying      sent again
        trying      F                terminated  timed out
        trying      transport error  terminated  transport failed
        trying      abandon          terminated  -
        trying      1xx              proceeding  1xx
        trying      2xx              completed   2xx
        trying      300-699          completed   300-699
        proceeding  E                proceeding  sent again
        proceeding  F                terminated  timed out
        proceeding  transport error  terminated  transport failed
        proceeding  abandon          terminated  -
        proceeding  1xx              proceeding  1xx
        proceeding  2xx              completed   2xx
        proceeding  300-699          completed   300-699
        completed   K                terminated  -
    """,
    "INVITE server": """
        proceeding  request          proceeding  sent again
        proceeding  1xx              proceeding  sent 1xx
        proceeding  2xx              accepted    sent 2xx
        proceeding  300-699          completed   sent 300-699
        proceeding  transport error  proceeding  unsent
        completed   request          completed   sent again
        completed   ack              confirmed   -
        completed   G                completed   sent again
        completed   H                terminated  unacknowledged
        completed   transport error  completed   unsent
        confirmed   I                terminated  -
        accepted    ack              accepted    acknowledged
        accepted    2xx              accepted    sent 2xx
        accepted    transport error  accepted    unsent
        accepted    L                terminated  -
    """,
    "non-INVITE server": """
        trying      1xx              proceeding  sent 1xx
        trying      2xx              completed   sent 2xx
        trying      300-699          completed   sent 300-699
        proceeding  request          proceeding  sent again
        proceeding  1xx              proceeding  sent 1xx
        proceeding  2xx              completed   sent 2xx
        proceeding  300-699          completed   sent 300-699
        proceeding  transport error  terminated  unsent
        completed   request          completed   sent again
        completed   transport error  terminated  unsent
        completed   J                terminated  -
    """,
}

TABLES = {
    "INVITE client": tables.INVITE_CLIENT,
    "non-INVITE client": tables.NON_INVITE_CLIENT,
    "INVITE server": tables.INVITE_SERVER,
    "non-INVITE server": tables.NON_INVITE_SERVER,
}

# The timers that run in a state over UDP; over TLS there are no retransmissions, so neither A, E nor G, and who
# waits for stragglers (D, I, J, K) does not wait at all.
RUNNING = {
    ("INVITE client", "calling"): "AB",
    ("INVITE client", "completed"): "D",
    ("INVITE client", "accepted"): "M",
    ("non-INVITE client", "trying"): "EF",
    ("non-INVITE client", "proceeding"): "EF",
    ("non-INVITE client", "completed"): "K",
    ("INVITE server", "completed"): "GH",
    ("INVITE server", "confirmed"): "I",
    ("INVITE server", "accepted"): "L",
    ("non-INVITE server", "completed"): "J",
}
REPEATING, WAITING = "AEG", "DIJK"

WAYS = {  # how to get there from the start
    ("INVITE client", "calling"): "",
    ("INVITE client", "proceeding"): "1xx",
    ("INVITE client", "completed"): "300-699",
    ("INVITE client", "accepted"): "2xx",
    ("non-INVITE client", "trying"): "",
    ("non-INVITE client", "proceeding"): "1xx",
    ("non-INVITE client", "completed"): "2xx",
    ("INVITE server", "proceeding"): "1xx",
    ("INVITE server", "completed"): "300-699",
    ("INVITE server", "confirmed"): "300-699 ack",
    ("INVITE server", "accepted"): "2xx",
    ("non-INVITE server", "trying"): "",
    ("non-INVITE server", "proceeding"): "1xx",
    ("non-INVITE server", "completed"): "2xx",
}

EVENTS = ("request", "ack", "1xx", "2xx", "300-699", "transport error", "abandon", *"ABDEFGHIJKLM")
STATUS = {"1xx": 180, "2xx": 200, "300-699": 486}


@define
class Driven:
    """A transaction of one kind, and what it did since somebody last looked."""

    kind: str
    scene: Scene
    flow: RecordingFlow
    user: RecordingUser
    machine: ClientTransaction[RecordingFlow] | ServerTransaction[RecordingFlow]
    responses: dict[bytes, str] = field(factory=dict)

    def feed(self, event: str) -> None:
        machine = self.machine
        if event == "transport error":
            self.scene.layer.flow_lost(self.flow)
        elif isinstance(machine, ClientTransaction) and event in STATUS:
            method = "INVITE" if self.kind.startswith("INVITE") else "MESSAGE"
            self.scene.layer.responded(response(STATUS[event], machine.branch.decode(), method), self.flow)
        elif isinstance(machine, ServerTransaction) and event in STATUS:
            data = f"{event} {len(self.responses)}".encode()
            self.responses[data] = event
            machine.respond(STATUS[event], data)
        elif isinstance(machine, ServerTransaction) and event == "request":
            machine.repeated()
        elif isinstance(machine, ServerTransaction) and event == "ack":
            machine.acknowledged(request("ACK"))
        elif isinstance(machine, ClientTransaction) and event == "abandon":
            machine.abandon()
        else:
            machine._feed(event)  # a timer, or what can't happen to this side at all

    def did(self) -> list[str]:
        """In words; new messages and repeated ones are told apart."""
        done = []
        for data in self.flow.sent:
            if data.startswith(b"ACK "):
                done.append("ACK")
            elif data in self.responses:
                done.append(f"sent {self.responses.pop(data)}")
            else:
                done.append("sent again")
        done += self.user.told
        self.flow.sent.clear()
        self.user.told.clear()
        return done


def driven(kind: str, state: str, reliable: bool) -> Driven:
    scene = Scene()
    flow, user = scene.flow("flow 1", reliable), RecordingUser()
    method = "INVITE" if kind.startswith("INVITE") else "MESSAGE"
    machine: ClientTransaction[RecordingFlow] | ServerTransaction[RecordingFlow]
    if kind.endswith("client"):
        sent = request(method, "z9hG4bKours")
        machine = scene.layer.send(method.encode(), b"z9hG4bKours", sent.raw, flow, user)
    else:
        accepted = scene.layer.accept(request(method), flow)
        assert accepted is not None
        machine = accepted
        accepted.user = user
    one = Driven(kind, scene, flow, user, machine)
    for event in WAYS[kind, state].split():
        one.feed(event)
    one.did()
    return one


def cells() -> Iterator[tuple[str, str, str, bool]]:
    for kind, state in WAYS:
        for event in EVENTS:
            yield kind, state, event, False
            # Over a reliable transport the states that only wait are over before anybody sees them.
            if not set(RUNNING.get((kind, state), "")) & set(WAITING):
                yield kind, state, event, True


def drawn(kind: str, state: str, event: str) -> tuple[str, list[str]]:
    for line in FIGURES[kind].splitlines():
        if line and (line[8:20].strip(), line[20:37].strip()) == (state, event):
            done = line[49:].strip()
            return line[37:49].strip(), [] if done == "-" else done.split(", ")
    return state, []


def expected_timers(kind: str, state: str, reliable: bool) -> set[str]:
    running = set(RUNNING.get((kind, state), ""))
    return running - set(REPEATING) - set(WAITING) if reliable else running


@pytest.mark.parametrize(("kind", "state", "event", "reliable"), list(cells()))
def test_each_edge_is_the_one_in_the_figure(kind: str, state: str, event: str, reliable: bool) -> None:
    one = driven(kind, state, reliable)
    assert one.machine.state == state
    one.feed(event)
    after, done = drawn(kind, state, event)
    if reliable and set(RUNNING.get((kind, after), "")) & set(WAITING):
        after = "terminated"
    assert one.machine.state == after
    assert one.did() == done
    assert {name for name, timer in one.machine._timers.items() if timer.active} - {event} == (
        expected_timers(kind, after, reliable) - {event}
    )
    assert len(one.scene.layer) == (after != "terminated")
    assert one.user.ended == (after == "terminated" and kind.endswith("server"))
    assert (len(one.scene.wheel) == 0) == (not one.machine._timers)


def test_the_tables_have_the_edges_of_the_figures_and_no_others() -> None:
    in_figures = {
        (kind, line[8:20].strip(), line[20:37].strip())
        for kind, figure in FIGURES.items()
        for line in figure.splitlines()
        if line.strip()
    }
    in_tables = {
        (kind, state, event)
        for kind, table in TABLES.items()
        for state, row in table.items()
        for event in row
    }
    assert in_tables == in_figures


@pytest.mark.parametrize("reliable", [False, True])
@pytest.mark.parametrize(("kind", "state"), list(WAYS))
def test_each_transaction_ends_by_itself_and_leaves_nothing(kind: str, state: str, reliable: bool) -> None:
    one = driven(kind, state, reliable)
    forever = {("INVITE client", "proceeding"), ("INVITE server", "proceeding")} | {
        ("non-INVITE server", "trying"),
        ("non-INVITE server", "proceeding"),
    }
    one.scene.advance(64.2)
    # In these it is up to the transaction user, who has Timer C.
    assert len(one.scene.layer) == ((kind, state) in forever)
    assert len(one.scene.wheel) == 0


@pytest.mark.parametrize("reliable", [False, True])
@pytest.mark.parametrize(("kind", "state"), list(WAYS))
def test_a_user_that_raises_does_not_keep_a_transaction_alive(kind: str, state: str, reliable: bool) -> None:
    for event in EVENTS:
        one = driven(kind, state, reliable)
        if one.machine.state != state:
            continue
        one.user.raises = True
        after, done = drawn(kind, state, event)
        if set(done) & {"timed out", "transport failed", "unsent", "acknowledged", "unacknowledged"} or (
            kind.endswith("client") and set(done) & set(STATUS)
        ):
            with pytest.raises(ZeroDivisionError):
                one.feed(event)
        else:
            one.feed(event)
        if reliable and set(RUNNING.get((kind, after), "")) & set(WAITING):
            after = "terminated"
        assert one.machine.state == after
        assert len(one.scene.layer) == (after != "terminated")


# How long timers last ------------------------------------------------------------------------------------


def times_of_sending(one: Driven, until: float) -> list[float]:
    """When something was sent, in seconds from now, to the tenth."""
    start, found = one.scene.clock.seconds(), []
    while one.scene.clock.seconds() - start < until:
        one.scene.advance(0.1)
        found += [round(one.scene.clock.seconds() - start, 1)] * len(one.flow.sent)
        one.flow.sent.clear()
    return found


def about(*times: float) -> list[Any]:
    """On the tick or the one after: each repetition may add one tick's delay to the next."""
    return [pytest.approx(t, abs=0.1 * (n + 1) + 0.01) for n, t in enumerate(times)]


def test_timer_a_doubles_without_a_cap_until_timer_b() -> None:
    one = driven("INVITE client", "calling", reliable=False)
    assert times_of_sending(one, 33) == about(0.5, 1.5, 3.5, 7.5, 15.5, 31.5)
    assert one.user.told == ["timed out"]


def test_timer_e_doubles_up_to_t2_until_timer_f() -> None:
    one = driven("non-INVITE client", "trying", reliable=False)
    assert times_of_sending(one, 30) == about(0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5)
    one.scene.advance(3)
    assert one.user.told == ["timed out"]


def test_timer_e_is_t2_at_once_while_proceeding() -> None:
    one = driven("non-INVITE client", "proceeding", reliable=False)
    assert times_of_sending(one, 33) == about(0.5, 4.5, 8.5, 12.5, 16.5, 20.5, 24.5, 28.5)


def test_timer_g_doubles_up_to_t2_until_timer_h() -> None:
    one = driven("INVITE server", "completed", reliable=False)
    assert times_of_sending(one, 30) == about(0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5)
    one.scene.advance(3)
    assert one.user.told == ["unacknowledged"]


@pytest.mark.parametrize(
    ("kind", "state", "reliable", "seconds"),
    [
        ("INVITE client", "calling", True, 32.0),  # B
        ("INVITE client", "calling", False, 32.0),
        ("INVITE client", "completed", False, 32.0),  # D
        ("INVITE client", "accepted", True, 32.0),  # M
        ("INVITE client", "accepted", False, 32.0),
        ("non-INVITE client", "trying", True, 32.0),  # F
        ("non-INVITE client", "proceeding", True, 32.0),
        ("non-INVITE client", "completed", False, 5.0),  # K
        ("INVITE server", "completed", True, 32.0),  # H
        ("INVITE server", "completed", False, 32.0),
        ("INVITE server", "confirmed", False, 5.0),  # I
        ("INVITE server", "accepted", True, 32.0),  # L
        ("INVITE server", "accepted", False, 32.0),
        ("non-INVITE server", "completed", False, 32.0),  # J
    ],
)
def test_how_long_a_transaction_lasts(kind: str, state: str, reliable: bool, seconds: float) -> None:
    one = driven(kind, state, reliable)
    one.scene.advance(seconds - 0.1)
    assert len(one.scene.layer) == 1
    one.scene.advance(0.3)
    assert len(one.scene.layer) == 0


@pytest.mark.parametrize("reliable", [False, True])
def test_nothing_is_repeated_over_a_reliable_transport(reliable: bool) -> None:
    for kind, state in (("INVITE client", "calling"), ("INVITE server", "completed")):
        one = driven(kind, state, reliable)
        one.scene.advance(31)
        assert bool(one.flow.sent) is not reliable


# RFC 6026, and the ACK --------------------------------------------------------------------------------------


def test_each_2xx_is_passed_on_and_each_failure_once() -> None:
    one = driven("INVITE client", "accepted", reliable=True)
    one.feed("2xx")
    one.feed("2xx")
    one.feed("300-699")
    assert one.did() == ["2xx", "2xx"]


def test_a_repeated_invite_is_absorbed_after_a_2xx() -> None:
    one = driven("INVITE server", "accepted", reliable=False)
    one.feed("request")
    assert one.did() == []


def test_the_ack_is_made_of_the_invite_and_the_to_of_the_response() -> None:
    one = driven("INVITE client", "calling", reliable=True)
    one.scene.layer.responded(response(486, "z9hG4bKours", "INVITE"), one.flow)
    ack = parse_message(one.flow.sent[-1])
    assert isinstance(ack, Request)
    assert (ack.method, ack.uri_bytes, ack.cseq.method) == (b"ACK", b"sip:bob@b.example", b"ACK")
    assert (ack.via.branch, ack.to.tag, ack.from_.tag) == (b"z9hG4bKours", "theirs", "ours")
    assert ack.values(b"route") == [b"<sip:p.b.example;lr>"]
    assert (ack.body, ack.first(b"content-length")) == (b"", b"0")


def test_nothing_is_repeated_where_nothing_was_sent() -> None:
    scene = Scene()
    flow = scene.flow("flow 1")
    assert scene.layer.accept(request("INVITE"), flow) is not None
    assert scene.layer.accept(request("INVITE"), flow) is None
    assert flow.sent == []


def test_a_final_response_is_sent_once() -> None:
    for kind in ("INVITE server", "non-INVITE server"):
        one = driven(kind, "completed", reliable=False)
        for event in ("1xx", "2xx", "300-699"):
            one.feed(event)
        assert one.did() == []


def test_a_user_may_end_the_transaction_from_within() -> None:
    """What the user does in a call may break the flow: the transaction ends once, and no timer stays behind."""
    one = driven("INVITE client", "proceeding", reliable=False)
    one.user.then = lambda: one.scene.layer.flow_lost(one.flow)
    one.feed("300-699")
    assert one.did() == ["ACK", "300-699", "transport failed"]
    assert (len(one.scene.layer), len(one.scene.wheel)) == (0, 0)
