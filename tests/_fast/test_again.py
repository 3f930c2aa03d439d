"""Messages that are read again: the keys that they would have had, once each, no sign of life."""

from __future__ import annotations

import pytest

from pumpwatch._fast import parse_binance, parse_bybit, parse_phemex
from tests._fast.driving import (
    NOW_NS,
    SECOND_NS,
    Drive,
    as_bytes,
    binance_trade,
    bybit_trades,
    phemex_trades,
)
from tests._fast.ilp_reading import Line, Nanoseconds

RECEIVED_NS = NOW_NS + SECOND_NS
LATER_NS = NOW_NS + 600 * SECOND_NS


def again(drive: Drive, *messages: object) -> list[tuple[str, int, int, int]]:
    drive.road.begin_again()
    return [
        drive.road.take_again(as_bytes(one), RECEIVED_NS, LATER_NS)  # type: ignore[arg-type]
        for one in messages
    ]


def keys(lines: list[Line]) -> list[tuple[object, ...]]:
    return [(line.timestamp_ns, line.symbols["symbol"], line.fields["trade_id"]) for line in lines]


def test_a_row_has_its_own_key_and_the_time_at_which_it_was_received() -> None:
    drive, model = Drive(parse_binance.SPOT, "BTCUSDT"), Drive(parse_binance.SPOT, "BTCUSDT")
    [wanted] = model.message(binance_trade(7), receive_ns=RECEIVED_NS)
    assert again(drive, binance_trade(7)) == [("trades", 1, 0, 0)]
    [line] = drive.take()
    assert line.symbols.pop("origin") == "backfill"
    assert wanted.symbols.pop("origin") == "stream"
    assert line == wanted
    assert line.fields["received_at"] == Nanoseconds(RECEIVED_NS)
    assert drive.counts["backfilled"] == 1


def test_ids_that_were_missing_are_missing_no_more() -> None:
    drive = Drive(parse_binance.SPOT, "BTCUSDT")
    drive.message(binance_trade(1), binance_trade(6, ns=NOW_NS + SECOND_NS))
    assert drive.table.position(0)[3] == [(2, 5)]
    found = again(drive, *(binance_trade(number) for number in (2, 3, 5)))
    assert found == [("trades", 1, 0, 0)] * 3
    assert drive.table.position(0)[3] == [(4, 4)]
    assert again(drive, binance_trade(3)) == [("trades", 0, 1, 0)]
    assert len(drive.take()) == 3


def test_a_hole_among_them_is_told() -> None:
    drive = Drive(parse_binance.SPOT, "BTCUSDT")
    again(drive, binance_trade(1), binance_trade(4))
    assert [one[:4] for one in drive.road.take_backfill_news()] == [("id_jump", 0, 2, 3)]


def test_ids_that_are_text_are_known() -> None:
    drive = Drive(parse_bybit.SPOT, "BTCUSDT")
    drive.message(bybit_trades([("a1", "1", "2")]))
    message = bybit_trades([("a1", "1", "2"), ("a2", "1", "2")])
    assert again(drive, message) == [("trades", 1, 1, 0)]
    assert again(drive, message) == [("trades", 0, 2, 0)]


def test_equal_rows_without_ids_keep_their_ordinals_and_a_second_try_gives_the_same() -> None:
    twice = phemex_trades([(NOW_NS, "Buy", "1", "2"), (NOW_NS, "Buy", "1", "2")])
    model = Drive(parse_phemex.FUTURES, "BTCUSDT")
    wanted = keys(model.message(twice))
    assert len(set(wanted)) == 2
    drive = Drive(parse_phemex.FUTURES, "BTCUSDT")
    assert again(drive, twice) == [("trades", 2, 0, 0)]
    assert keys(drive.take()) == wanted
    # After a crash nobody knows them: the keys must be the same ones, DEDUP folds them.
    fresh = Drive(parse_phemex.FUTURES, "BTCUSDT")
    again(fresh, twice)
    fresh.take()
    assert again(fresh, twice) == [("trades", 0, 2, 0)]


@pytest.mark.parametrize(
    ("message", "verdict"), [(b"{", "malformed"), (b'{"result":null,"id":1}', "other")]
)
def test_what_holds_no_trade_says_so(message: bytes, verdict: str) -> None:
    drive = Drive(parse_binance.SPOT, "BTCUSDT")
    assert again(drive, message) == [(verdict, 0, 0, 0)]
    assert drive.take() == []


def test_refused_rows_are_counted() -> None:
    drive = Drive(parse_binance.SPOT, "BTCUSDT")
    assert again(drive, binance_trade(1, symbol="NOBODYUSDT")) == [("trades", 0, 0, 1)]
    assert drive.take() == []
    assert (drive.counts["parsed"], drive.counts["quarantined"]) == (1, 1)


def test_it_is_no_sign_of_life() -> None:
    drive = Drive(parse_binance.SPOT, "BTCUSDT")
    again(drive, binance_trade(1))
    assert drive.intake.heard_ns(0) == 0
    assert drive.road.last_receive_ns == drive.road.last_exchange_ns == 0
    assert drive.counts["messages"] == 0


def test_old_rows_are_not_skipped_as_history() -> None:
    drive = Drive(parse_binance.SPOT, "BTCUSDT", history_s=1)
    drive.road.begin_again()
    old = as_bytes(binance_trade(1, ns=NOW_NS - 86_400 * SECOND_NS))
    assert drive.road.take_again(old, RECEIVED_NS, LATER_NS) == ("trades", 1, 0, 0)


def test_times_that_are_none_are_refused() -> None:
    drive = Drive(parse_binance.SPOT, "BTCUSDT")
    for received_ns, now_ns in ((0, 1), (2, 1)):
        with pytest.raises(ValueError, match="no times"):
            drive.road.take_again(b"{}", received_ns, now_ns)
