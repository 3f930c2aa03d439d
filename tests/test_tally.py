"""Sent against stored: every way in which two multisets of trades can differ is counted apart."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch.errors import ServerError
from pumpwatch.store.schema import apply_schema
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.sql import Sql
from pumpwatch.tally import FeedTally, compare, fetch_stored

AT_NS = 1_790_000_000_123_456_789
TRUTH_TYPES = {
    "feed": pl.String, "symbol": pl.String, "trade_id": pl.String, "exchange_ns": pl.Int64,
    "side": pl.String, "price": pl.String, "quantity": pl.String, "sequence_number": pl.Int64,
}  # fmt: skip
STORED_TYPES = {**TRUTH_TYPES, "price": pl.Float64, "quantity": pl.Float64}


def trade(number: int, feed: str = "okx_spot", **changes: Any) -> dict[str, Any]:
    facts = {
        "feed": feed, "symbol": "BTCUSDT", "trade_id": str(number), "exchange_ns": AT_NS + number,
        "side": "buy", "price": "0.1", "quantity": "123456789.12345678", "sequence_number": number,
    }  # fmt: skip
    return facts | changes


def truth(*trades: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(trades), schema=TRUTH_TYPES)


def stored(*trades: dict[str, Any]) -> pl.DataFrame:
    rows = [
        {
            **one,
            "price": None if one["price"] is None else float(one["price"]),
            "quantity": None if one["quantity"] is None else float(one["quantity"]),
        }
        for one in trades
    ]
    return pl.DataFrame(rows, schema=STORED_TYPES)


def tally(sent: pl.DataFrame, found: pl.DataFrame) -> FeedTally:
    (one,) = compare(sent, found, ["okx_spot"])
    return one


def counts(one: FeedTally) -> tuple[int, int, int, int, int, int]:
    return (one.sent, one.stored, one.missing, one.duplicate, one.different, one.unknown)


def test_equal_multisets_are_exact_in_any_order() -> None:
    one = tally(truth(trade(1), trade(2), trade(3)), stored(trade(3), trade(1), trade(2)))
    assert counts(one) == (3, 3, 0, 0, 0, 0)
    assert one.is_exact


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param([trade(1)], (2, 1, 1, 0, 0, 0), id="missing"),
        pytest.param([trade(1), trade(2), trade(2)], (2, 3, 0, 1, 0, 0), id="twice"),
        pytest.param([trade(1), trade(2), trade(3)], (2, 3, 0, 0, 0, 1), id="unknown"),
        pytest.param([], (2, 0, 2, 0, 0, 0), id="nothing stored"),
    ],
)
def test_what_is_missing_doubled_or_unknown_is_counted_apart(
    found: list[dict[str, Any]], expected: tuple[int, ...]
) -> None:
    one = tally(truth(trade(1), trade(2)), stored(*found))
    assert counts(one) == expected
    assert not one.is_exact


@pytest.mark.parametrize(
    "changes",
    [
        {"side": "sell"}, {"price": "0.10000000000000002"}, {"quantity": "123456789.1234568"},
        {"sequence_number": 9},
        # NULL is a value like any other: NaN would be stored so.
        {"side": None}, {"price": None}, {"quantity": None}, {"sequence_number": None},
    ],
)  # fmt: skip
def test_a_row_under_the_right_key_with_another_value_is_different(changes: dict[str, Any]) -> None:
    one = tally(truth(trade(1)), stored(trade(1, **changes)))
    assert counts(one) == (1, 1, 0, 0, 1, 0)
    assert not one.is_exact


@pytest.mark.parametrize(
    "changes", [{"symbol": "ETHUSDT"}, {"trade_id": "x"}, {"exchange_ns": AT_NS}]
)
def test_another_key_is_another_row(changes: dict[str, Any]) -> None:
    one = tally(truth(trade(1)), stored(trade(1, **changes)))
    assert counts(one) == (1, 1, 1, 0, 0, 1)


def test_what_a_venue_sent_twice_under_one_key_counts_once() -> None:
    one = tally(truth(trade(1), trade(1)), stored(trade(1)))
    assert counts(one) == (1, 1, 0, 0, 0, 0)


def test_each_feed_is_counted_for_itself() -> None:
    sent = truth(trade(1), trade(1, "gate_spot"), trade(2, "gate_spot"))
    found = stored(trade(1), trade(1, "gate_spot"))
    okx, gate, idle = compare(sent, found, ["okx_spot", "gate_spot", "bybit_spot"])
    assert (okx.is_exact, gate.missing) == (True, 1)
    assert counts(idle) == (0, 0, 0, 0, 0, 0)


@settings(deadline=None)
@given(st.lists(st.integers(0, 9)), st.lists(st.integers(0, 9)))
def test_the_counts_are_those_of_plain_sets(sent: list[int], found: list[int]) -> None:
    one = tally(truth(*map(trade, sent)), stored(*map(trade, found)))
    assert counts(one) == (
        len(set(sent)), len(found), len(set(sent) - set(found)), len(found) - len(set(found)),
        0, len(set(found) - set(sent)),
    )  # fmt: skip


# --- a real table ---------------------------------------------------------------------------------


@pytest.fixture
async def sql(questdb_server: ServerAddress) -> Any:
    connection = Sql(questdb_server)
    yield connection
    await connection.aclose()


@pytest.mark.questdb
async def test_rows_of_a_real_table_compare_with_their_truth(
    questdb_server: ServerAddress, sql: Sql
) -> None:
    await apply_schema(sql, spool_is_empty=lambda: True)
    await sql.execute("CREATE TABLE tally_probe AS (SELECT * FROM trades WHERE 1 = 2)")
    empty = await fetch_stored(questdb_server, "tally_probe")
    assert (len(empty), dict(empty.schema)) == (0, {**STORED_TYPES, "received_ns": pl.Int64})
    await sql.execute(
        "INSERT INTO tally_probe (timestamp, exchange, market_type, symbol, side, price, quantity,"
        " trade_id, sequence_number) VALUES"
        f" (cast({AT_NS + 1} AS TIMESTAMP_NS), 'okx', 'spot', 'BTCUSDT', 'buy', 0.1,"
        " 123456789.12345678, '1', 1),"
        f" (cast({AT_NS + 2} AS TIMESTAMP_NS), 'okx', 'spot', 'BTCUSDT', 'buy', NULL, 1.0, '2', 2)"
    )
    found = await fetch_stored(questdb_server, "tally_probe")
    one = tally(truth(trade(1), trade(2, quantity="1")), found)
    assert counts(one) == (2, 2, 0, 0, 1, 0)


@pytest.mark.questdb
async def test_a_table_that_cannot_be_exported_is_one_clear_line(
    questdb_server: ServerAddress,
) -> None:
    with pytest.raises(ServerError, match="export of no_such_table failed: HTTP 400"):
        await fetch_stored(questdb_server, "no_such_table")


async def test_nobody_there_is_one_clear_line() -> None:
    address = ServerAddress(
        http_url="http://127.0.0.1:1", pg_host="127.0.0.1", pg_port=1, user="u", password="p",
        readonly_user="r", readonly_password="p",
    )  # fmt: skip
    with pytest.raises(ServerError, match="export of trades failed: ConnectError"):
        await fetch_stored(address)
