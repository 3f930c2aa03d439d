"""Records of the original: what is put right, what is refused, and that nothing is guessed."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.migrate.legacy import (
    AGGREGATE,
    COMPOSED,
    CONTRACTS,
    RENAMED,
    SIDE_INVERTED,
    UNIT,
    LegacyRow,
    Mender,
    RecordError,
    read_records,
)
from tests.migrate.folders import TRIGGER_MS, trade

LATEST_NS = TRIGGER_MS * 10**6 + 10**12


def mend(record: dict[str, Any], feed: str = "bybit_spot", **values: str) -> LegacyRow:
    exchange, market_type = feed.split("_")
    contract_values = {symbol: Decimal(value) for symbol, value in values.items()}
    return Mender(exchange, market_type, contract_values, LATEST_NS).row(record)


def test_a_sound_record_becomes_a_row_as_it_is() -> None:
    row = mend(trade("bybit", "spot", 1))
    assert row.timestamp_ns == (TRIGGER_MS - 19_993) * 10**6
    assert (row.symbol, row.side, row.trade_id) == ("0GUSDT", "buy", "1001")
    assert (row.price, row.quantity) == (Decimal("2.00010"), Decimal("2.50"))
    assert row.received_ns == (TRIGGER_MS - 19_893) * 10**6
    assert row.mended == ()


@pytest.mark.parametrize(
    ("stored", "flag", "right"),
    [("buy", None, "sell"), ("sell", None, "buy"), ("buy", True, "sell"), ("buy", False, "buy")],
)
def test_binance_sides_were_inverted(stored: str, flag: bool | None, right: str) -> None:
    row = mend(trade("binance", "spot", 1, side=stored, is_buyer_maker=flag), "binance_spot")
    assert row.side == right
    assert row.mended == ((SIDE_INVERTED,) if right != stored else ())


def test_contracts_become_coins_where_a_contract_is_known() -> None:
    record = trade("okx", "futures", 1, symbol="0GUSDTSWAP", quantity="3")
    row = mend(record, "okx_futures", **{"0GUSDT": "0.1"})
    assert (row.quantity, row.symbol, row.kind) == (Decimal("0.3"), "0GUSDT", AGGREGATE)
    assert row.mended == (RENAMED, CONTRACTS, AGGREGATE)
    with pytest.raises(RecordError, match="in contracts"):
        mend(record, "okx_futures")


@pytest.mark.parametrize(
    ("feed", "told", "symbol"),
    [
        ("okx_spot", "0G-USDT", "0GUSDT"),
        ("gate_spot", "0G_USDT", "0GUSDT"),
        ("kucoin_spot", "0G-USDT", "0GUSDT"),
        ("kucoin_futures", "XBTUSDTM", "BTCUSDT"),
        ("phemex_spot", "s0GUSDT", "0GUSDT"),
        ("bybit_spot", "SUSDT", "SUSDT"),
    ],
)
def test_names_are_those_of_the_instruments(feed: str, told: str, symbol: str) -> None:
    exchange, market_type = feed.split("_")
    record = trade(exchange, market_type, 1, symbol=told)
    assert mend(record, feed, BTCUSDT="0.001").symbol == symbol


@pytest.mark.parametrize(
    ("told", "ns", "is_mended"),
    [
        (1_758_516_600, 1_758_516_600 * 10**9, True),
        (1_758_516_600_123, 1_758_516_600_123 * 10**6, False),
        (1_758_516_600_123_456, 1_758_516_600_123_456 * 10**3, True),
        (1_758_516_600_123_456_789, 1_758_516_600_123_456_789, True),
    ],
)
def test_the_unit_of_a_time_shows_in_its_size(told: int, ns: int, is_mended: bool) -> None:
    row = mend(trade("bybit", "spot", 1, timestamp=told))
    assert row.timestamp_ns == ns
    assert (UNIT in row.mended) is is_mended


def test_equal_trades_without_ids_stay_two() -> None:
    record = trade("phemex", "futures", 1, trade_id="")
    mender = Mender("phemex", "futures", {}, LATEST_NS)
    first, second = mender.row(record), mender.row(record)
    assert first.key != second.key
    assert first.mended == (COMPOSED,)
    assert first.trade_id == "buy-2.0001-2.5-0"


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"price": "0"}, "price '0'"),
        ({"price": "-1"}, "price"),
        ({"price": "NaN"}, "price"),
        ({"price": "1_0"}, "price"),
        ({"price": "1e99"}, "price"),
        ({"price": None}, "price"),
        ({"quantity": ""}, "quantity"),
        ({"quantity": True}, "quantity"),
        ({"side": "both"}, "side"),
        ({"side": None}, "side"),
        ({"timestamp": 0}, "timestamp"),
        ({"timestamp": "1758516600000"}, "timestamp"),
        ({"timestamp": TRIGGER_MS + 365 * 86_400_000}, "timestamp"),
        ({"symbol": "0G USDT"}, "symbol"),
        ({"symbol": None}, "symbol"),
        ({"exchange": "okx"}, "exchange is 'okx'"),
        ({"market_type": "futures"}, "market_type"),
        ({"trade_id": ["x"]}, "trade_id"),
        ({"trade_id": "7" * 201}, "trade_id"),
    ],
)
def test_what_cannot_be_believed_is_refused_by_name(changes: dict[str, Any], part: str) -> None:
    with pytest.raises(RecordError, match=part):
        mend(trade("bybit", "spot", 1, **changes))


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["null", " null\n", "[]", "[\n]\n", "\ufeff[]"])
def test_an_empty_list_has_no_records(text: str) -> None:
    assert list(read_records(text)) == []


@pytest.mark.parametrize("text", ["", "{}", '"x"', '{"trades": []}'])
def test_what_is_no_list_is_one_problem(text: str) -> None:
    (found,) = read_records(text)
    assert (found.line, found.value, found.problem) == (1, None, "no JSON list of trades")


def test_records_know_their_lines_and_others_are_named() -> None:
    found = list(read_records('[\n  {"a": 1},\n\n  7,\n  {"b": 1.50}\n]'))
    assert [(one.line, one.value) for one in found] == [
        (2, {"a": 1}),
        (4, None),
        (5, {"b": "1.50"}),
    ]
    assert found[1].problem == "no trade"


@given(st.integers(0, 30), st.data())
def test_a_list_that_was_cut_off_gives_all_that_is_whole(count: int, data: st.DataObject) -> None:
    records = [trade("bybit", "spot", number) for number in range(count)]
    text = json.dumps(records, indent=2)
    cut = data.draw(st.integers(1, len(text) - 1))
    *whole, last = list(read_records(text[:cut])) or [None]
    assert last is not None
    assert last.problem == "the file is cut off or broken from here on"
    assert last.line == text.count("\n", 0, cut - len(last.raw)) + 1
    assert [one.value for one in whole] == records[: len(whole)]
    assert len(whole) == sum(1 for at in _ends(text) if at <= cut)


def _ends(text: str) -> list[int]:
    """Where each object of the outer list ends."""
    return [at + 4 for at in range(len(text)) if text.startswith("\n  }", at)]
