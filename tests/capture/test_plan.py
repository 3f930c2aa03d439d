from __future__ import annotations

from collections import Counter
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.capture.plan import Plan, plan_connections
from pumpwatch.model import Instrument
from pumpwatch.venues import FEEDS
from pumpwatch.venues.spec import FeedSpec
from tests.capture.specs import feed_spec, instrument, names

BOARDS = st.sampled_from([True, False, None])


@st.composite
def instrument_lists(draw: st.DrawFn) -> list[Instrument]:
    return [
        instrument(
            name, volume_quote=draw(st.sampled_from([0.0, 1.0, 1e3]) | st.floats(0, 1e9)),
            krw_upbit=draw(BOARDS), krw_bithumb=draw(BOARDS),
        )
        for name in names(draw(st.integers(0, 30)))
    ]  # fmt: skip


def plan(instruments: list[Instrument], per_connection: int = 4, **changes: Any) -> Plan:
    limits: dict[str, int] = {"connections_max": 0, "redundancy": 1}
    spec = feed_spec(
        symbols_per_connection=per_connection,
        subscriptions_max=changes.pop("subscriptions_max", 0),
    )
    return plan_connections(spec, instruments, **(limits | changes))


def carried(found: Plan) -> Counter[str]:
    return Counter(one.venue_symbol for some in found.connections for one in some)


@given(instruments=instrument_lists(), per_connection=st.integers(1, 7),
       connections_max=st.integers(0, 6), redundancy=st.integers(1, 2))  # fmt: skip
def test_every_instrument_has_its_copies_or_is_left_out_and_no_limit_is_passed(
    instruments: list[Instrument], per_connection: int, connections_max: int, redundancy: int
) -> None:
    limits = {"connections_max": connections_max, "redundancy": redundancy}
    found = plan(instruments, per_connection, **limits)
    copies = 1 if connections_max == 1 else redundancy
    left_out = {one.venue_symbol for one in found.left_out}
    wanted = {one.venue_symbol: copies for one in instruments if one.venue_symbol not in left_out}
    assert carried(found) == wanted
    for members in found.connections:
        assert 0 < len(members) <= per_connection
        assert len({one.venue_symbol for one in members}) == len(members)  # copies stand apart
    needed = copies * ceil(len(instruments) / per_connection)
    most = min(connections_max or needed, copies * len(wanted))
    assert len(found.connections) == min(needed, most)
    if left_out:  # then not one more had fitted in
        assert connections_max
        room = connections_max * per_connection
        assert room - sum(carried(found).values()) < copies
    sizes = [len(members) for members in found.connections]
    assert not sizes or max(sizes) - min(sizes) <= 1


@given(instruments=instrument_lists(), order=st.randoms(use_true_random=False))
def test_the_plan_does_not_depend_on_the_order_of_the_list(
    instruments: list[Instrument], order: Any
) -> None:
    shuffled = list(instruments)
    order.shuffle(shuffled)
    for limits in ({"connections_max": 3}, {"redundancy": 2}):
        assert plan(instruments, **limits) == plan(shuffled, **limits)


def test_busy_symbols_do_not_sit_together() -> None:
    instruments = [
        instrument(name, volume_quote=1e9 / (number + 1)) for number, name in enumerate(names(40))
    ]
    found = plan(instruments, 10)
    places = {
        one.venue_symbol: number
        for number, members in enumerate(found.connections)
        for one in members
    }
    assert {places[name] for name in names(4)} == {0, 1, 2, 3}
    assert {places[name] for name in names(8)[4:]} == {0, 1, 2, 3}
    volumes = [sum(one.volume_quote for one in members) for members in found.connections]
    assert volumes[places["C0USDT"]] == max(volumes)
    assert places["C4USDT"] != places["C0USDT"]  # the busiest one gets the quietest of a round
    assert places["C7USDT"] == places["C0USDT"]


def test_a_venue_s_own_limit_of_subscriptions_holds() -> None:
    instruments = [instrument(name) for name in names(9)]
    assert [len(some) for some in plan(instruments, 9, subscriptions_max=3).connections] == [3] * 3
    assert [len(some) for some in plan(instruments, 3, subscriptions_max=9).connections] == [3] * 3


def test_candidates_come_before_volume_and_the_unknown_are_none() -> None:
    def one(name: str, upbit: bool | None, bithumb: bool | None, volume: float) -> Instrument:
        return instrument(name, krw_upbit=upbit, krw_bithumb=bithumb, volume_quote=volume)

    ranked = [
        one("NEITHER", False, False, 1), one("HALF_BUSY", True, False, 9),
        one("HALF", False, None, 2), one("KNOWN", True, True, 100), one("UNKNOWN", None, None, 50),
        one("QUIET", True, True, 3),
    ]  # fmt: skip
    for room in range(1, 6):
        found = plan(list(reversed(ranked)), room, connections_max=1)
        assert set(carried(found)) == {one.venue_symbol for one in ranked[:room]}
        assert list(found.left_out) == ranked[room:]


def test_redundancy_shrinks_the_room_of_a_limit_and_doubles_what_is_without_one() -> None:
    instruments = [instrument(name) for name in names(20)]
    assert len(plan(instruments, 4).connections) == 5
    assert len(plan(instruments, 4, redundancy=2).connections) == 10
    limited = plan(instruments, 4, connections_max=5, redundancy=2)
    assert len(limited.connections) == 5
    assert len(limited.left_out) == 10


def test_nothing_needs_no_connection() -> None:
    assert plan([]) == Plan((), ())


@pytest.mark.parametrize("spec", FEEDS, ids=lambda spec: spec.name)
def test_every_feed_s_limits_can_be_planned_with(spec: FeedSpec) -> None:
    instruments = [instrument(name, feed=spec.name) for name in names(500)]
    found = plan_connections(spec, instruments, connections_max=0, redundancy=1)
    assert sum(carried(found).values()) == 500
    assert found.left_out == ()
    most = spec.subscriptions_max or 500
    assert max(len(members) for members in found.connections) <= most
