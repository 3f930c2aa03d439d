from __future__ import annotations

import random
from typing import Any

import polars as pl
import pytest

from pumpwatch.report.before import LOOK_S, SPANS_S, before, grid, leak
from pumpwatch.report.material import BAR_SCHEMA

FEEDS = ("okx_spot", "gate_spot")


def bars(rows: list[tuple[str, int, float, float]]) -> pl.DataFrame:
    """(feed, second, close, coins)."""
    full = [(feed, s, close, close, close, close, coins, 1, coins / 2)
            for feed, s, close, coins in rows]  # fmt: skip
    return pl.DataFrame(full, schema=BAR_SCHEMA, orient="row")


def quiet(seed: int, seconds: int) -> list[tuple[str, int, float, float]]:
    rng = random.Random(seed)
    return [
        (feed, second, 1 + rng.gauss(0, 0.0005), rng.expovariate(0.1))
        for feed in FEEDS
        for second in range(-seconds, 0)
        if rng.random() < 0.5
    ]


def market(seconds: int, **moves: float) -> pl.DataFrame:
    at = {int(name.removeprefix("m")): price for name, price in moves.items()}
    return bars([("okx_spot", s, at.get(-s, 100.0), 1.0) for s in range(-seconds, 0)])


def test_the_grid_has_every_second_and_the_feeds_middle() -> None:
    found = grid(bars([("a", -4, 1.0, 5.0), ("b", -3, 3.0, 7.0), ("b", -1, 4.0, 1.0)]), -5)
    assert found["second"].to_list() == [-5, -4, -3, -2, -1]
    assert found["price"].to_list() == [None, 1.0, 2.0, 2.0, 2.5]
    assert found["coins"].to_list() == [0, 5, 7, 0, 1]


def test_a_rise_counts_less_what_btc_did() -> None:
    coin = bars([("okx_spot", s, 1.1 if s >= -5 else 1.0, 1.0) for s in range(-100, 0)])
    of_btc = bars([("okx_spot", s, 105.0 if s >= -5 else 100.0, 1.0) for s in range(-100, 0)])
    last_10 = before(coin, of_btc)[SPANS_S.index(10)]
    assert last_10.is_btc_adjusted
    assert last_10.change.value == pytest.approx(5)
    assert last_10.coins.value == 10
    assert last_10.taker_buy.value == 50
    alone = before(coin, of_btc.clear())[SPANS_S.index(10)]
    assert not alone.is_btc_adjusted
    assert alone.change.value == pytest.approx(10)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_busy_minute_stands_above_all_of_the_past_and_a_usual_one_in_its_middle(
    seed: int,
) -> None:
    print(f"seed {seed}")
    usual = quiet(seed, 8_000)
    busy = [(f, s, p, c * (40 if s >= -60 else 1)) for f, s, p, c in usual]
    last_60 = {name: before(bars(rows), market(8_000))[SPANS_S.index(60)]
               for name, rows in (("usual", usual), ("busy", busy))}  # fmt: skip
    assert last_60["busy"].coins.percentile == 100
    assert 1 < last_60["usual"].coins.percentile < 99  # type: ignore[operator]
    assert last_60["usual"].past_spans > 100


def test_too_little_past_gives_no_percentile_and_a_span_not_held_no_figure() -> None:
    found = {one.span_s: one for one in before(bars(quiet(3, 200)), market(200))}
    assert found[10].coins.percentile is not None
    assert found[60].coins.percentile is None
    assert found[60].coins.value is not None
    assert (found[600].coins.value, found[600].change.value) == (None, None)
    assert found[600].past_spans == 0


def leaking(seed: int, **extra: Any) -> pl.DataFrame:
    """A quiet past, and one second that is none."""
    rows = [one for one in quiet(seed, 9_000) if one[1] != extra["second"]]
    return bars([*rows, ("gate_spot", extra["second"], 1.05, 900.0)])


def test_a_leak_is_named_with_what_chance_does() -> None:
    found = leak(leaking(5, second=-7), market(9_000), seed=1)
    assert (found.is_judged, found.is_named, found.second, found.feed) == (
        True, True, -7, "gate_spot",
    )  # fmt: skip
    assert found.false_alarm_percent is not None
    assert f"{found.false_alarm_percent:.1f} % of 1,000 random moments" in found.text
    assert leak(leaking(5, second=-7), market(9_000), seed=1) == found


def test_what_lies_before_the_last_minute_is_no_leak() -> None:
    found = leak(leaking(5, second=-LOOK_S - 1), market(9_000), seed=1)
    assert (found.is_judged, found.is_named, found.second) == (True, False, None)


def test_what_chance_does_often_is_no_evidence() -> None:
    """Twelve feeds, each with one such second somewhere in the past."""
    feeds = [f"feed_{number}" for number in range(12)]
    rows = [(feed, s, 1.0, 1.0) for feed in feeds for s in range(-9_000, 0, 3)]
    wild = [(feed, -8_000 + 500 * number, 1.1, 50.0) for number, feed in enumerate(feeds)]
    held = {(one[0], one[1]): one for one in [*rows, *wild, ("feed_3", -7, 1.2, 99.0)]}
    found = leak(bars(list(held.values())), market(9_000), seed=1)
    assert (found.is_judged, found.second, found.feed) == (True, -7, "feed_3")
    assert found.false_alarm_percent is not None
    assert 5 < found.false_alarm_percent < 15
    assert not found.is_named
    assert "no evidence" in found.text


def test_a_young_recorder_does_not_judge() -> None:
    found = leak(bars(quiet(7, 500)), market(500), seed=1)
    assert not found.is_judged
    assert "8 minutes" in found.text
