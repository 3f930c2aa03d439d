"""The judge of holes: each way of being untrue is found, and none is found where all is told."""

from __future__ import annotations

from typing import Any

import polars as pl

from pumpwatch.drills.holes import judge_holes
from pumpwatch.model import Gap
from pumpwatch.sim.faults import Fault, Played

SECOND_NS = 10**9


def truth(feed: str, *, unsent: set[int] = frozenset(), withheld: bool = False) -> pl.DataFrame:
    """Ten trades, one a second, ids 1 to 10; ``unsent`` did not come on the stream."""
    ids = list(range(1, 11))
    return pl.DataFrame({
        "feed": [feed] * 10, "symbol": ["BTCUSDT"] * 10, "venue_symbol": ["BTC"] * 10,
        "trade_id": [str(one) for one in ids], "exchange_ns": [one * SECOND_NS for one in ids],
        "sequence_number": ids, "history": [False] * 10,
        "delivered": [one not in unsent for one in ids],
        "withheld": [withheld and one in unsent for one in ids],
    })  # fmt: skip


def stored(frame: pl.DataFrame, without: set[int]) -> pl.DataFrame:
    return frame.filter(~pl.col("sequence_number").is_in(list(without)))


def gap(state: str, feed: str = "okx_spot", **facts: Any) -> Gap:
    exchange, _, market_type = feed.partition("_")
    return Gap(gap_id="1", opened_ns=1, exchange=exchange, market_type=market_type,
               symbol="BTCUSDT", cause="cut", state=state, **facts)  # fmt: skip


def played(kind: Any, feed: str = "okx_spot") -> list[Played]:
    fault = Fault(feed=feed, kind=kind, symbol="BTC")
    return [Played(fault=fault, at_ns=SECOND_NS, until_ns=20 * SECOND_NS, symbols=["BTC"])]


def test_a_hole_without_a_row_is_silent() -> None:
    all_rows = truth("okx_spot", unsent={4, 5})
    found = judge_holes(all_rows, stored(all_rows, {4, 5}), [], played("cut"))
    assert (found.absent, found.silent, found.told) == (2, 2, 0)
    assert (found.lossy, found.noticed, len(found.overlooked)) == (1, 0, 1)


def test_bounds_must_contain_what_is_missing() -> None:
    all_rows = truth("okx_spot", unsent={4, 5})
    for facts, told in (
        ({"first_id": 4, "last_id": 5}, 2),
        ({"first_id": 5, "last_id": 9}, 1),
        ({"from_ns": 4 * SECOND_NS, "to_ns": 5 * SECOND_NS}, 2),
        ({"from_ns": 4 * SECOND_NS, "to_ns": 5 * SECOND_NS - 1}, 1),
        ({"from_ns": 5 * SECOND_NS}, 1),
    ):
        rows = [gap("lost", **facts)]
        found = judge_holes(all_rows, stored(all_rows, {4, 5}), rows, played("cut"))
        assert (found.told, found.silent) == (told, 2 - told), facts


def test_filled_must_be_true() -> None:
    all_rows = truth("okx_spot", unsent={4, 5}, withheld=True)
    rows = [gap("filled", first_id=4, last_id=5)]
    found = judge_holes(all_rows, stored(all_rows, {5}), rows, played("withhold"))
    assert (found.recovered, found.absent, found.false_filled, found.silent) == (1, 1, 1, 1)
    found = judge_holes(all_rows, all_rows, rows, played("withhold"))
    assert (found.recovered, found.absent, found.false_filled, found.silent) == (2, 0, 0, 0)
    assert (found.lossy, found.noticed) == (1, 1)


def test_rows_kept_back_where_ids_do_not_count_up_stand_apart() -> None:
    all_rows = truth("bybit_spot", unsent={4}, withheld=True)
    found = judge_holes(all_rows, stored(all_rows, {4}), [], played("withhold", "bybit_spot"))
    assert (found.beyond, found.silent, found.beyond_by_feed) == (1, 0, {"bybit_spot": 1})
    denied = [gap("empty", "bybit_spot", from_ns=SECOND_NS, to_ns=9 * SECOND_NS)]
    found = judge_holes(all_rows, stored(all_rows, {4}), denied, played("withhold", "bybit_spot"))
    assert (found.beyond, found.silent, found.false_filled) == (0, 1, 1)
    cut = truth("bybit_spot", unsent={4})
    found = judge_holes(cut, stored(cut, {4}), [], played("cut", "bybit_spot"))
    assert (found.beyond, found.silent) == (0, 1)


def test_what_one_fault_kept_back_is_not_held_against_another_of_the_time() -> None:
    all_rows = truth("phemex_spot", unsent={4}, withheld=True)
    faults = played("thin", "phemex_spot") + played("late", "phemex_spot")
    found = judge_holes(all_rows, stored(all_rows, {4}), [], faults)
    assert (found.lossy, found.noticed, found.overlooked, found.beyond) == (0, 0, [], 1)
    silent = truth("phemex_spot", unsent={4})
    faults = played("half_open", "phemex_spot") + played("late", "phemex_spot")
    found = judge_holes(silent, stored(silent, {4}), [], faults)
    assert (found.lossy, found.noticed, found.overlooked, found.beyond) == (0, 0, [], 1)
    # What was not kept back is the cut's own.
    cut = truth("phemex_spot", unsent={4})
    found = judge_holes(cut, stored(cut, {4}), [], played("cut", "phemex_spot"))
    assert (found.lossy, found.noticed, len(found.overlooked)) == (1, 0, 1)
    # Where ids count up the jump is seen, whoever made it.
    counted = truth("okx_spot", unsent={4}, withheld=True)
    found = judge_holes(counted, stored(counted, {4}), [], played("late"))
    assert (found.lossy, found.noticed) == (1, 0)


def test_what_nobody_traded_and_what_is_twice() -> None:
    all_rows = truth("okx_spot")
    other = all_rows.with_columns(pl.lit("99").alias("trade_id")).head(1)
    found = judge_holes(all_rows, pl.concat([all_rows, all_rows.head(2), other]), [], [])
    assert (found.duplicate, found.unknown) == (2, {"okx_spot": 1})


def test_of_equal_rows_without_ids_it_is_not_known_which_one_was_kept_back() -> None:
    """The stream's only one gets the first ordinal: what is absent is the one kept back."""
    all_rows = truth("phemex_spot", unsent={1}, withheld=True).with_columns(
        pl.lit(SECOND_NS).alias("exchange_ns"),
        pl.concat_str(pl.lit("buy-1-1-"), pl.int_range(pl.len()).cast(pl.String)).alias("trade_id"),
    )
    found = judge_holes(all_rows, stored(all_rows, {10}), [], played("withhold", "phemex_spot"))
    assert (found.recovered, found.absent, found.beyond, found.silent) == (0, 1, 1, 0)
