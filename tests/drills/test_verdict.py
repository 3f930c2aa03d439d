"""The drills' own judge: what it excuses after a kill, and everything that it must not excuse."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from pumpwatch.drills.verdict import TURN_NS_MAX, Kill, Verdict, judge

START_NS = 1_790_000_000_000_000_000
STEP_NS = 10_000_000  # a trade every 10 ms, read 1 ms later
READ_NS = 1_000_000
ROWS = 1000
KILL_AT = 600  # the first trade after the kill
KILL = Kill(started_ns=START_NS, at_ns=START_NS + KILL_AT * STEP_NS)
# A restart takes longer than the second for which a row may still go into a dying socket.
AFTER = 900
TYPES = {
    "feed": pl.String, "symbol": pl.String, "trade_id": pl.String, "exchange_ns": pl.Int64,
    "side": pl.String, "price": pl.String, "quantity": pl.String,
}  # fmt: skip


def trades(numbers: Any, symbol: str = "BTCUSDT") -> list[dict[str, Any]]:
    return [
        {"feed": "okx_spot", "symbol": symbol, "trade_id": str(n),
         "exchange_ns": START_NS + n * STEP_NS, "side": "buy", "price": "0.1", "quantity": "3"}
        for n in numbers
    ]  # fmt: skip


def delivered(*rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame([row for part in rows for row in part], schema=TYPES)


def stored(*rows: list[dict[str, Any]]) -> pl.DataFrame:
    return delivered(*rows).with_columns(
        pl.col("price").cast(pl.Float64), pl.col("quantity").cast(pl.Float64),
        (pl.col("exchange_ns") + READ_NS).alias("received_ns"),
    )  # fmt: skip


LIVED = [*range(KILL_AT), *range(AFTER, ROWS)]  # what was delivered while a daemon was there


def judged(held: Any, kills: tuple[Kill, ...] = (KILL,)) -> Verdict:
    return judge(delivered(trades(LIVED)), stored(trades(held)), kills)


def test_everything_there_is_good() -> None:
    verdict = judged(LIVED)
    assert (verdict.rows, verdict.missing, verdict.tail_rows, verdict.duplicate) == (700, 0, 0, 0)


def test_the_tail_of_a_killed_connection_is_excused() -> None:
    verdict = judged([n for n in LIVED if not KILL_AT - 5 <= n < KILL_AT])
    assert (verdict.missing, verdict.tail_rows) == (0, 5)
    assert verdict.unspooled_ms_max == 0  # all are newer than what was read
    assert verdict.unread_ms_max == pytest.approx(59)


def test_without_a_kill_nothing_is_excused() -> None:
    verdict = judged([n for n in LIVED if not KILL_AT - 5 <= n < KILL_AT], kills=())
    assert (verdict.missing, verdict.tail_rows) == (5, 0)
    assert len(verdict.examples) == 5


def test_a_hole_before_the_tail_is_missing() -> None:
    verdict = judged([n for n in LIVED if n != KILL_AT - 3])
    assert (verdict.missing, verdict.tail_rows) == (1, 0)
    assert verdict.examples == [f"okx_spot BTCUSDT {KILL_AT - 3} at {KILL.at_ns - 3 * STEP_NS}"]


def test_rows_after_the_last_kill_are_missing() -> None:
    assert judged([n for n in LIVED if n != ROWS - 1]).missing == 1


def test_a_symbol_whose_rows_stop_while_its_feed_is_read_on_is_missing() -> None:
    """A whole symbol that was dropped looks like a tail, but a far too long one."""
    truth = delivered(trades(LIVED), trades(LIVED, "ETHUSDT"))
    quiet_from = KILL_AT - TURN_NS_MAX // STEP_NS - 50
    held = [n for n in LIVED if n < quiet_from or n >= AFTER]
    verdict = judge(truth, stored(trades(LIVED), trades(held, "ETHUSDT")), (KILL,))
    assert verdict.missing == pytest.approx(50, abs=1)
    assert verdict.missing + verdict.tail_rows == KILL_AT - quiet_from


def test_duplicates_wrong_values_and_inventions_are_told_apart() -> None:
    held = trades(LIVED)
    held[3] = held[3] | {"price": "0.2"}
    verdict = judge(delivered(trades(LIVED)), stored(held, held[:2], trades([ROWS + 1])), (KILL,))
    assert (verdict.duplicate, verdict.wrong, verdict.unknown, verdict.missing) == (2, 1, 1, 0)
