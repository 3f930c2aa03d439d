"""The most that lists could have shown after an outage: depth, budget, and the best order."""

from __future__ import annotations

import polars as pl
import pytest

from pumpwatch.drills.blackout import reachable
from pumpwatch.sim.faults import Fault, Played
from pumpwatch.venues import FEEDS_BY_NAME

SECOND_NS = 10**9
BACK_NS = 1_000 * SECOND_NS


def truth(feed: str, symbol: str, ages_s: list[float], *, delivered: bool = False) -> pl.DataFrame:
    """Trades so long before the outage's end, oldest first."""
    times = [BACK_NS - int(age * SECOND_NS) for age in ages_s]
    return pl.DataFrame(
        {"feed": feed, "symbol": symbol, "exchange_ns": times, "delivered": delivered}
    )


def outage(feed: str) -> Played:
    fault = Fault(feed=feed, kind="outage", seconds=100)
    return Played(fault=fault, at_ns=BACK_NS - 100 * SECOND_NS, until_ns=BACK_NS)


def test_a_history_brings_everything_and_a_list_its_newest_rows() -> None:
    ages = [float(age) for age in range(99, -1, -1)]
    for feed, most in (("okx_spot", 100), ("bybit_spot", 60), ("kucoin_spot", 100)):
        assert reachable(truth(feed, "A", ages), [outage(feed)]) == {feed: most}


def test_what_came_by_the_stream_is_not_to_be_brought() -> None:
    feed = "bybit_spot"
    rows = pl.concat([
        truth(feed, "A", [float(age) for age in range(99, 29, -1)], delivered=True),
        truth(feed, "A", [float(age) for age in range(29, -1, -1)]),
    ])  # fmt: skip
    assert reachable(rows, [outage(feed)]) == {feed: 30}


@pytest.mark.parametrize("is_busy_first", [True, False])
def test_a_budget_lets_the_last_in_the_queue_lose_rows(is_busy_first: bool) -> None:
    """Quiet symbols wait: what trades after the outage pushes rows out of the busy ones' lists."""
    feed = "phemex_futures"
    spec = FEEDS_BY_NAME[feed]
    depth, allowance = spec.recent.rows_max, spec.rest_allowance
    after = [-float(second) for second in range(1, 601)]
    quiet = [f"Q{number}" for number in range(int(allowance.burst / spec.recent.weight) + 5)]
    frames = [truth(feed, name, [1.0]) for name in quiet]
    busy = pl.concat([
        truth(feed, "BUSY", [float(depth - row) / 100 for row in range(depth)]),
        truth(feed, "BUSY", after, delivered=True),
    ])  # fmt: skip
    rows = pl.concat([busy, *frames] if is_busy_first else [*frames, busy])
    assert reachable(rows, [outage(feed)]) == {feed: depth + len(quiet)}
