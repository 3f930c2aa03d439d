"""Budgets in plain numbers, and who is let through when."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.turnstile import IN_FLIGHT_MAX, PAUSE_S_MAX, PAUSE_S_MIN, Budget, Priority, Turnstile
from pumpwatch.venues.spec import Allowance

AllowanceOf = Callable[..., Allowance]


def allowance(units: float = 10, per_s: float = 1.0, burst: float = 10) -> Allowance:
    return Allowance(key="x", units=units, per_s=per_s, burst=burst)


# --- Budget ---------------------------------------------------------------------------------------


def go_through(
    limits: Allowance, requests: list[tuple[float, float, float]]
) -> list[tuple[float, float, float]]:
    """Send (weight, latency, part of it before arrival) one after another, as early as allowed.

    Returns (sent, arrived, weight) of each.
    """
    budget = Budget(limits)
    now_s = 100.0
    under_way: list[tuple[float, float]] = []  # answer time, weight
    done: list[tuple[float, float, float]] = []
    for weight, latency_s, part in requests:
        while (at_s := budget.opens_at_s(now_s, weight)) > now_s:
            now_s = min([at_s, *(end_s for end_s, _ in under_way)])
            for end in sorted(end for end in under_way if end[0] <= now_s):
                under_way.remove(end)
                budget.end(*end)
        budget.send(now_s, weight)
        under_way.append((now_s + latency_s, weight))
        done.append((now_s, now_s + part * latency_s, weight))
    return done


LIMITS = st.builds(
    allowance,
    units=st.integers(5, 40),
    per_s=st.sampled_from([0.5, 1.0, 2.0, 60.0]),
    burst=st.integers(1, 60),
)
REQUESTS = st.lists(
    st.tuples(st.sampled_from([1.0, 2.0, 5.0]), st.floats(0, 3), st.floats(0, 1)), max_size=80
)


@given(limits=LIMITS, requests=REQUESTS)
def test_no_span_holds_more_than_the_units_wherever_requests_spend_their_time(
    limits: Allowance, requests: list[tuple[float, float, float]]
) -> None:
    done = go_through(limits, requests)
    for _, from_s, _ in done:
        to_s = from_s + limits.per_s - 1e-6
        assert sum(weight for _, at_s, weight in done if from_s <= at_s < to_s) <= limits.units


@given(limits=LIMITS, requests=REQUESTS)
def test_never_more_at_once_than_the_burst_and_what_flowed_in_meanwhile(
    limits: Allowance, requests: list[tuple[float, float, float]]
) -> None:
    done = go_through(limits, requests)
    rate = limits.units / limits.per_s
    for number, (from_s, _, _) in enumerate(done):
        total = 0.0
        for sent_s, _, weight in done[number:]:
            total += weight
            room = max(limits.burst, weight) + rate * (sent_s - from_s)
            assert total <= room + 1e-6


def test_the_allowance_is_used_in_full() -> None:
    done = go_through(allowance(units=10, per_s=1.0, burst=3), [(1.0, 0.0, 0.0)] * 200)
    assert done[-1][0] - done[0][0] == pytest.approx(20, abs=1.0)


@pytest.mark.parametrize(
    ("limits", "untouched_s"), [(allowance(burst=3), 0.1), (allowance(units=4, burst=50), 1.0)]
)
def test_a_request_heavier_than_a_limit_goes_when_that_limit_is_untouched(
    limits: Allowance, untouched_s: float
) -> None:
    (first_s, _, _), (heavy_s, _, _), (last_s, _, _) = go_through(
        limits, [(1.0, 0.0, 0.0), (5.0, 0.0, 0.0), (1.0, 0.0, 0.0)]
    )
    assert heavy_s - first_s == pytest.approx(untouched_s)
    assert heavy_s < last_s <= heavy_s + limits.per_s + 1e-9


def test_unanswered_requests_are_bounded_and_make_room_when_they_end() -> None:
    budget = Budget(allowance(units=1000, per_s=1.0, burst=1000))
    for _ in range(IN_FLIGHT_MAX):
        assert budget.opens_at_s(5.0, 1) <= 5.0
        budget.send(5.0, 1)
    assert budget.opens_at_s(1e9, 1) == inf
    budget.end(6.0, 1)
    assert budget.opens_at_s(6.0, 1) <= 6.0


def test_pauses_double_from_refusal_to_refusal_up_to_a_limit() -> None:
    budget = Budget(allowance())
    now_s, pauses = 0.0, []
    for _ in range(12):
        budget.refuse(now_s, now_s, None)
        pauses.append(budget.closed_until_s - now_s)
        now_s = budget.closed_until_s
    assert pauses[:4] == [PAUSE_S_MIN * factor for factor in (1, 2, 4, 8)]
    assert pauses[-1] == PAUSE_S_MAX
    budget.accept(now_s)
    budget.refuse(now_s, now_s, None)
    assert budget.closed_until_s - now_s == PAUSE_S_MIN


def test_requests_that_were_under_way_together_are_refused_once() -> None:
    budget = Budget(allowance())
    for now_s in (10.0, 10.1, 10.2):
        budget.refuse(now_s, 9.9, None)
    assert budget.closed_until_s == pytest.approx(10.2 + PAUSE_S_MIN)
    budget.accept(9.9)  # good, but asked before the refusal: says nothing about it
    budget.refuse(20.0, 19.9, None)
    assert budget.closed_until_s == 20.0 + 2 * PAUSE_S_MIN


def test_a_ban_is_not_shortened_by_a_later_and_shorter_one() -> None:
    budget = Budget(allowance())
    budget.refuse(0.0, 0.0, 600.0)
    budget.refuse(1.0, 0.0, 2.0)
    assert budget.opens_at_s(1.0, 1) == 600.0


# --- Turnstile ------------------------------------------------------------------------------------


async def pass_through(
    turnstile: Turnstile, passed: list[object], name: object, priority: Priority, weight: float = 1
) -> None:
    async with turnstile.turn(weight, priority):
        passed.append(name)


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def test_they_go_by_priority_then_by_arrival(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    turnstile = Turnstile(allowance())
    turnstile.refuse(trio.current_time(), 429, 10.0)
    passed: list[object] = []
    priorities: list[Priority] = [7.5, (3.0, 1.0), 3, (3.0, 0.5), 0.0, 7.5]
    for number, priority in enumerate(priorities):
        nursery.start_soon(pass_through, turnstile, passed, number, priority)
        await settle()
    assert passed == []
    assert (turnstile.waiting, turnstile.waits, turnstile.requests) == (6, 6, 0)
    await trio.sleep(10)
    await settle()
    assert passed == [4, 2, 3, 1, 0, 5]
    assert (turnstile.waiting, turnstile.waits, turnstile.requests) == (0, 6, 6)
    assert turnstile.banned_until_s == pytest.approx(trio.current_time(), abs=1)


async def test_what_is_light_and_urgent_overtakes_what_is_heavy(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    turnstile = Turnstile(allowance(units=10, per_s=10.0, burst=10))
    passed: list[object] = []
    await pass_through(turnstile, passed, "before", 0.0, weight=6)
    nursery.start_soon(pass_through, turnstile, passed, "heavy", 5.0, 8)
    await settle()
    await pass_through(turnstile, passed, "urgent", 0.0, weight=2)
    assert trio.current_time() == pytest.approx(0, abs=0.1)
    nursery.start_soon(pass_through, turnstile, passed, "light", 9.0, 1)
    await trio.sleep(30)
    assert passed == ["before", "urgent", "heavy", "light"]


@pytest.mark.parametrize("gone", [0, 1, 2])
async def test_who_gives_up_holds_nobody_up(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, gone: int
) -> None:
    turnstile = Turnstile(allowance(units=1, per_s=1.0, burst=1))
    turnstile.refuse(trio.current_time(), 429, 5.0)
    passed: list[object] = []
    scopes = [trio.CancelScope() for _ in range(3)]

    async def wait(number: int) -> None:
        with scopes[number]:
            await pass_through(turnstile, passed, number, float(number))

    for number in range(3):
        nursery.start_soon(wait, number)
    await settle()
    scopes[gone].cancel()
    await trio.sleep(7.5)
    assert passed == [number for number in range(3) if number != gone]
    assert turnstile.waiting == 0


async def test_those_behind_do_not_wait_for_the_answers_of_those_before(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    turnstile = Turnstile(allowance(units=100, per_s=1.0, burst=1))
    turnstile.refuse(trio.current_time(), 429, 5.0)
    sent: list[float] = []

    async def ask() -> None:
        async with turnstile.turn(1, 0.0) as sent_s:
            sent.append(sent_s)
            await trio.sleep(60)

    for _ in range(4):
        nursery.start_soon(ask)
    await trio.sleep(100)
    assert sent == pytest.approx([5.0, 5.01, 5.02, 5.03])


async def test_a_cancelled_request_frees_its_place(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    turnstile = Turnstile(allowance(units=1, per_s=1.0, burst=1))
    passed: list[object] = []

    async def hang() -> None:
        async with turnstile.turn(1, 0.0):
            await trio.sleep_forever()

    async with trio.open_nursery() as inner:
        inner.start_soon(hang)
        await settle()
        nursery.start_soon(partial(pass_through, turnstile, passed, "next", 0.0))
        await trio.sleep(100)
        assert passed == []  # the venue may still count it at any time
        inner.cancel_scope.cancel()
    await trio.sleep(1.01)
    assert passed == ["next"]
