"""Rows from REST on the road: counted, balanced, judged as the stream's, no sign of life."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch._fast import parse_binance, parse_bybit, parse_okx, parse_phemex
from tests._fast.driving import (
    NOW_NS,
    SECOND_NS,
    Drive,
    binance_trade,
    bybit_trades,
    okx_trade,
    phemex_trades,
)
from tests._fast.ilp_reading import Line, Nanoseconds

SWAP = "BTC-USDT-SWAP"
ASKED_NS = NOW_NS + 5 * SECOND_NS


def backfill(drive: Drive, number: int, **changes: Any) -> str:
    """One row of a REST list of Binance spot, or what the changes make of it."""
    row: dict[str, Any] = {
        "venue_symbol": "BTCUSDT", "side": "sell", "price": "1.5", "quantity": "2",
        "exchange_ns": NOW_NS, "trade_id": str(number), "order_id": number,
        "sequence_number": number, "kind": "", "received_ns": ASKED_NS,
    }  # fmt: skip
    return drive.road.take_backfill(**(row | changes))


def counts(drive: Drive, *names: str) -> tuple[int, ...]:
    return tuple(drive.counts[name] for name in names)


def test_a_row_is_written_and_counted() -> None:
    drive = Drive(parse_binance.SPOT, "BTCUSDT")
    assert backfill(drive, 7, kind="rpi") == "new"
    [line] = drive.take()
    assert line == Line(
        table="trades",
        symbols={"exchange": "binance", "market_type": "spot", "symbol": "BTCUSDT",
                 "side": "sell", "origin": "backfill", "kind": "rpi"},
        fields={"price": 1.5, "quantity": 2.0, "trade_id": "7", "sequence_number": 7,
                "received_at": Nanoseconds(ASKED_NS)},
        timestamp_ns=NOW_NS,
    )  # fmt: skip
    names = "parsed", "passed", "backfilled", "repeated", "quarantined", "messages"
    assert counts(drive, *names) == (1, 1, 1, 0, 0, 0)
    assert drive.table.rows(0) == 1


@settings(deadline=None)
@given(st.lists(st.integers(1, 60), max_size=30), st.lists(st.integers(1, 60), max_size=30))
def test_rows_of_both_are_judged_as_if_they_came_one_way(
    heard: list[int], asked: list[int]
) -> None:
    """Ids in any order, the stream first: verdicts, holes and position are the stream's own."""
    drive, model = Drive(parse_binance.SPOT, "BTCUSDT"), Drive(parse_binance.SPOT, "BTCUSDT")
    for number in heard:
        drive.message(binance_trade(number))
        model.message(binance_trade(number))
    told = len(model.news)
    for number in asked:
        verdict = backfill(drive, number)
        assert len(drive.take()) == (verdict == "new")
        assert len(model.message(binance_trade(number))) == (verdict == "new")
        assert drive.table.position(0) == model.table.position(0)
    assert drive.road.take_backfill_news() == model.news[told:]
    assert drive.road.take_backfill_news() == []
    assert counts(drive, "parsed", "passed") == counts(model, "parsed", "passed")


def test_a_hole_that_rest_shows_is_told() -> None:
    """The stream's next row adjoins it: without the news the hole would be silent."""
    drive = Drive(parse_binance.SPOT, "BTCUSDT")
    drive.message(binance_trade(100))
    assert backfill(drive, 110, exchange_ns=NOW_NS + 1) == "new"
    drive.take()
    drive.message(binance_trade(111, ns=NOW_NS + SECOND_NS))
    assert drive.news == []
    assert drive.road.take_backfill_news() == [("id_jump", 0, 101, 109, NOW_NS, NOW_NS + 1)]


def test_ids_that_are_text_are_known_from_the_stream() -> None:
    drive = Drive(parse_bybit.SPOT, "BTCUSDT")
    drive.message(bybit_trades([("a-1", "1.5", "2")]))
    assert backfill(drive, 0, trade_id="a-1", order_id=0) == "repeat"
    assert backfill(drive, 0, trade_id="a-2", order_id=0) == "new"
    assert backfill(drive, 0, trade_id="a-2", order_id=0) == "repeat"
    assert len(drive.take()) == 1
    assert drive.message(bybit_trades([("a-2", "1.5", "2")])) == []


def test_without_ids_the_ordinal_decides() -> None:
    drive = Drive(parse_phemex.FUTURES, "BTCUSDT")
    row = {"trade_id": None, "order_id": 0, "price": "1.50", "quantity": "2"}
    drive.message(phemex_trades([(NOW_NS, "Sell", "1.5", "2.0")]))
    assert backfill(drive, 1, **row, ordinal=0) == "repeat"
    assert backfill(drive, 1, **row, ordinal=1) == "new"
    assert backfill(drive, 1, **row, ordinal=-1) == "repeat"  # known outside as held
    assert [line.fields["trade_id"] for line in drive.take()] == ["sell-1.5-2-1"]
    assert counts(drive, "parsed", "passed", "backfilled", "repeated") == (4, 2, 1, 2)


def test_contracts_are_scaled() -> None:
    drive = Drive(parse_okx.FUTURES, SWAP)
    drive.table.add(SWAP, "BTCUSDT", "0.01")
    [heard] = drive.message(okx_trade(1))
    assert backfill(drive, 2, venue_symbol=SWAP, side="buy", price="2", quantity="3") == "new"
    [asked] = drive.take()
    assert asked.fields["quantity"] == heard.fields["quantity"] == 0.03


REFUSED = [
    ("unknown_symbol", {"venue_symbol": "ETHUSDT"}),
    ("unknown_symbol", {"venue_symbol": ""}),
    ("time", {"exchange_ns": 0}),
    ("time", {"exchange_ns": -1}),
    ("time", {"exchange_ns": ASKED_NS + 2 * 86_400 * SECOND_NS}),
    ("malformed", {"price": ""}),
    ("malformed", {"price": "-1"}),
    ("malformed", {"price": '"1.5"'}),
    ("malformed", {"price": " 1.5"}),
    ("malformed", {"price": "1.5 "}),
    ("malformed", {"quantity": "1.5x"}),
    ("malformed", {"quantity": "9" * 39}),
    ("malformed", {"trade_id": 'x",price=9'}),
    ("malformed", {"trade_id": ""}),
    ("malformed", {"trade_id": "x" * 65}),
    ("malformed", {"trade_id": "ß"}),
    ("malformed", {"sequence_number": -1}),
]


@pytest.mark.parametrize(("reason", "changes"), REFUSED, ids=str)
def test_what_is_refused_is_counted_and_not_written(reason: str, changes: dict[str, Any]) -> None:
    drive = Drive(parse_binance.SPOT, "BTCUSDT")
    assert backfill(drive, 1, **changes) == f"refused:{reason}"
    assert drive.take() == []
    assert counts(drive, "parsed", "quarantined", "backfilled") == (1, 1, 0)
    assert drive.table.position(0) == (0, 0, 0, [])


def test_a_product_that_fits_nowhere_is_refused() -> None:
    drive = Drive(parse_okx.FUTURES, SWAP)
    drive.table.add(SWAP, "BTCUSDT", "12345678901234567")
    quantity = "9" * 38
    assert backfill(drive, 1, venue_symbol=SWAP, quantity=quantity) == "refused:overflow"
    assert drive.take() == []


@pytest.mark.parametrize("changes", [{"side": "Sell"}, {"side": ""}, {"kind": "liquidation"},
                                     {"received_ns": 0}, {"received_ns": -5}], ids=str)  # fmt: skip
def test_what_no_reader_gives_is_a_bug(changes: dict[str, Any]) -> None:
    drive = Drive(parse_binance.SPOT, "BTCUSDT")
    with pytest.raises(ValueError, match=r"not in|no time"):
        backfill(drive, 1, **changes)
    assert counts(drive, "parsed") == (0,)


def test_history_that_was_asked_for_is_not_skipped() -> None:
    """Neither before the stream's first row nor behind a snapshot (R5 is the stream's rule)."""
    old_ns = NOW_NS - 10 * 86_400 * SECOND_NS
    drive = Drive(parse_phemex.FUTURES, "BTCUSDT")
    row = {"trade_id": None, "order_id": 0, "exchange_ns": old_ns}
    assert backfill(drive, 1, **row, ordinal=0) == "new"
    drive.message(phemex_trades([(NOW_NS, "Sell", "1.5", "2.0")], kind="snapshot"))
    assert backfill(drive, 1, **row, ordinal=1) == "new"
    assert counts(drive, "history_skipped") == (0,)
    # The stream's own history is still skipped where a new connection shows it.
    drive.connect()
    drive.message(phemex_trades([(old_ns - 1, "Buy", "3", "4")], kind="snapshot"))
    assert counts(drive, "history_skipped") == (1,)


def test_a_row_from_rest_is_no_sign_of_life() -> None:
    drive = Drive(parse_binance.SPOT, "BTCUSDT")
    drive.message(binance_trade(1))
    before = drive.road.last_exchange_ns, drive.road.last_receive_ns
    assert backfill(drive, 2, exchange_ns=NOW_NS + SECOND_NS) == "new"
    drive.take()
    assert (drive.road.last_exchange_ns, drive.road.last_receive_ns) == before
    assert drive.intake.instruments_met == 1


def test_instruments_that_come_later_have_room() -> None:
    drive = Drive(parse_binance.SPOT, "BTCUSDT")
    backfill(drive, 1)
    for number in range(1000):
        drive.table.add(f"COIN{number}", f"COIN{number}")
    for number in range(1000):
        assert backfill(drive, 1, venue_symbol=f"COIN{number}") == "new"
    assert len(drive.take()) == 1001
