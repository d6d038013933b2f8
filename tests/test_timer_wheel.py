"""The timer wheel: never early, soon after, stopped is stopped, and one callback's trouble is its own."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from sipmesh.transaction.wheel import TICK, TimerWheel

ROUNDING = 1e-6  # seconds; what the floats of a Unix time leave open


def a_wheel(now: float = 0.0) -> tuple[Clock, TimerWheel]:
    clock = Clock()
    clock.rightNow = now
    return clock, TimerWheel(clock.seconds)


def raising(error: Exception) -> Callable[[], None]:
    def callback() -> None:
        raise error

    return callback


@given(
    start=st.floats(0, 2e9),
    delays=st.lists(st.floats(0, 2) | st.floats(0, 200), max_size=20),
    steps=st.lists(st.floats(0, 0.3) | st.floats(0, 30), max_size=20),
)
def test_never_early_and_at_the_first_turn_that_is_a_tick_after(
    start: float, delays: list[float], steps: list[float]
) -> None:
    clock, wheel = a_wheel(start)
    ran: dict[int, float] = {}
    for number, delay in enumerate(delays):
        wheel.start(delay, lambda number=number: ran.setdefault(number, clock.seconds()))  # type: ignore[misc]
    for step in steps:
        clock.advance(step)
        wheel.turn()
        for number, delay in enumerate(delays):
            due = start + delay
            if number in ran:
                assert ran[number] >= due - ROUNDING
            else:
                assert clock.seconds() < due + TICK + ROUNDING
    assert len(wheel) == len(delays) - len(ran)


def test_never_early_by_a_hundredth() -> None:
    clock, wheel = a_wheel()
    late: list[float] = []
    for number in range(100):
        due = number / 100
        wheel.start(due, lambda due=due: late.append(clock.seconds() - due))  # type: ignore[misc]
    for number in range(120):
        clock.rightNow = number / 100
        wheel.turn()
    assert len(late) == 100
    assert min(late) >= -ROUNDING
    assert max(late) <= TICK + 0.01 + ROUNDING


@given(delays=st.lists(st.floats(0, 10), min_size=1, max_size=20), stopped=st.sets(st.integers(0, 19)))
def test_who_is_stopped_never_runs_and_who_runs_runs_once(delays: list[float], stopped: set[int]) -> None:
    clock, wheel = a_wheel()
    ran: list[int] = []
    timers = [wheel.start(delay, lambda n=n: ran.append(n)) for n, delay in enumerate(delays)]  # type: ignore[misc]
    for number in stopped & set(range(len(timers))):
        timers[number].stop()
        timers[number].stop()
    for _ in range(3):
        clock.advance(6)
        wheel.turn()
    assert sorted(ran) == [n for n in range(len(delays)) if n not in stopped]
    assert not any(timer.active for timer in timers)
    assert len(wheel) == 0


@given(st.lists(st.floats(-3600, 3600), max_size=20))
def test_a_clock_that_jumps_makes_nothing_run_twice_or_early(jumps: list[float]) -> None:
    clock, wheel = a_wheel(1e6)
    ran: list[float] = []
    started = 0
    for jump in jumps:
        due = clock.seconds() + 5
        wheel.start(5, lambda due=due: ran.append(clock.seconds() - due))  # type: ignore[misc]
        started += 1
        clock.rightNow += jump
        wheel.turn()
    clock.rightNow += 3600 * 21
    wheel.turn()
    assert len(ran) == started
    assert all(late >= -ROUNDING for late in ran)
    assert len(wheel) == 0


def test_after_a_long_stop_timers_still_run_in_their_order() -> None:
    clock, wheel = a_wheel()
    ran: list[float] = []
    for delay in (30.0, 0.5, 181.0, 4.0):
        wheel.start(delay, lambda delay=delay: ran.append(delay))  # type: ignore[misc]
    clock.advance(86400)
    wheel.turn()
    assert ran == [0.5, 4.0, 30.0, 181.0]


def test_an_exception_is_raised_when_all_have_run() -> None:
    clock, wheel = a_wheel()
    ran: list[str] = []
    wheel.start(0.1, raising(ValueError("first")))
    wheel.start(0.1, lambda: ran.append("same tick"))
    wheel.start(0.3, raising(KeyError("second")))
    wheel.start(0.5, lambda: ran.append("later"))
    clock.advance(1)
    with pytest.raises(ValueError, match="first"):
        wheel.turn()
    assert ran == ["same tick", "later"]
    wheel.turn()
    assert len(wheel) == 0


def test_a_callback_may_start_and_stop_timers() -> None:
    clock, wheel = a_wheel()
    ran: list[str] = []

    def callback() -> None:
        other.stop()
        wheel.start(0.0, lambda: ran.append("new"))

    wheel.start(0.1, callback)
    other = wheel.start(0.1, lambda: ran.append("stopped"))
    clock.advance(0.2)
    wheel.turn()
    assert ran == []  # what is started with no delay runs at the next tick: no callback can hold the wheel up
    clock.advance(TICK)
    wheel.turn()
    assert ran == ["new"]


def test_a_stopped_timer_lets_go_of_its_callback() -> None:
    _, wheel = a_wheel()
    timer = wheel.start(math.pi, lambda: None)
    assert timer.active
    timer.stop()
    assert timer._callback is None
    timer.run_out()
