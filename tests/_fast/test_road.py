"""The whole road, 12 formats: every row becomes its line, nothing else does, times are judged."""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.messages import FORMS, Form, Stream
from pumpwatch._fast.instruments import InstrumentTable
from pumpwatch._fast.road import VenueClock
from tests._fast import (
    plain_binance,
    plain_bybit,
    plain_gate,
    plain_kucoin,
    plain_okx,
    plain_phemex,
)
from tests._fast.driving import NOW_NS, SECOND_NS, Drive, binance_trade
from tests._fast.ilp_reading import Line, digits_of
from tests._fast.parser_laws import plain_text, sample_lines, table
from tests._fast.plain_json import Row
from tests._fast.spelling import strange_messages
from tests.strategies import examples

EXACT = Context(prec=200, Emax=99_999, Emin=-99_999)
DAY_NS = 86_400 * SECOND_NS
YEARS_S = 50 * 366 * 86_400  # samples reach back to 2020
READ = {
    "binance_spot": plain_binance.read,
    "binance_futures": plain_binance.read,
    "bybit_spot": plain_bybit.read,
    "bybit_futures": plain_bybit.read,
    "okx_spot": plain_okx.read,
    "okx_futures": plain_okx.read,
    "kucoin_spot": plain_kucoin.read_spot,
    "kucoin_futures": plain_kucoin.read_futures,
    "gate_spot": plain_gate.read_spot,
    "gate_futures": plain_gate.read_futures,
    "phemex_spot": plain_phemex.read_spot,
    "phemex_futures": plain_phemex.read_futures,
}
FEEDS = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.feed)
COUNTS = st.lists(st.integers(1, 60), min_size=1, max_size=8)


def drive_of(form: Form, names: list[str], **settings_: Any) -> Drive:
    """A road that knows the instruments, with the feed's scales."""
    drive = Drive(form.parser, **settings_)
    for name in names:
        drive.table.add(name, name, form.contract_value, form.price_exponent)
    return drive


def as_stored(number: Decimal) -> str:
    """What a reader of the table sees: beyond 15 digits, those of the nearest double."""
    if len(number.normalize(EXACT).as_tuple().digits) > 15:
        number = Decimal(repr(float(number)))
    return plain_text(number)


def expected(form: Form, row: Row) -> dict[str, str]:
    """What a reader of the table must see of a row."""
    return {
        "symbol": row["symbol"],
        "side": row["side"],
        "price": as_stored(EXACT.scaleb(Decimal(row["price"]), form.price_exponent)),
        "quantity": as_stored(
            EXACT.multiply(Decimal(row["quantity"]), Decimal(form.contract_value))
        ),
        "trade_id": row["trade_id"] or "",
        "sequence_number": str(row["sequence_number"]),
        "kind": row["kind"] or "",
        "timestamp": str(row["exchange_ns"]),
    }


def stored(line: Line, has_id: bool) -> dict[str, str]:
    fields, symbols = line.fields, line.symbols
    trade_id = str(fields["trade_id"])
    if not has_id:  # made of the row itself (R6): side-price-size-ordinal
        side, price, quantity, _ = trade_id.split("-")
        assert side == symbols["side"]
        assert as_stored(Decimal(price)) == as_stored(Decimal(digits_of(fields["price"])))
        assert as_stored(Decimal(quantity)) == as_stored(Decimal(digits_of(fields["quantity"])))
    return {
        "symbol": symbols["symbol"],
        "side": symbols["side"],
        "price": as_stored(Decimal(digits_of(fields["price"]))),
        "quantity": as_stored(Decimal(digits_of(fields["quantity"]))),
        "trade_id": trade_id if has_id else "",
        "sequence_number": str(fields["sequence_number"]),
        "kind": symbols.get("kind", ""),
        "timestamp": str(line.timestamp_ns),
    }


def plain_rows(form: Form, message: bytes) -> list[Row]:
    status, _, rows = READ[form.feed](message)
    return rows if status == "trades" else []


@FEEDS
@settings(max_examples=examples(25))
@given(seed=st.integers(0, 2**32), counts=COUNTS)
def test_every_row_becomes_its_line(form: Form, seed: int, counts: list[int]) -> None:
    stream = Stream(form, seed, symbols=5)
    drive = drive_of(form, [form.symbol(market.base) for market in stream.markets])
    messages = [stream.message(count) for count in counts]
    rows = [row for message in messages for row in plain_rows(form, message)]
    lines = drive.message(*messages)
    has_id = rows[0]["trade_id"] is not None
    assert [stored(line, has_id) for line in lines] == [expected(form, row) for row in rows]
    assert drive.quarantine == []
    assert drive.news == []
    assert drive.counts["passed"] == sum(min(count, form.rows_max) for count in counts)


@FEEDS
@settings(max_examples=examples(300))
@given(data=st.data())
def test_no_strange_message_becomes_a_wrong_line(form: Form, data: st.DataObject) -> None:
    message = data.draw(strange_messages(sample_lines(form.feed)))
    names = [row["venue_symbol"] for row in table("instruments.tsv") if row["feed"] == form.feed]
    drive = drive_of(form, names, history_s=YEARS_S)
    rows = plain_rows(form, message)
    lines = drive.message(message)
    allowed = [expected(form, row) for row in rows if not row["range_first"]]
    for line in lines:
        row = stored(line, has_id=rows[0]["trade_id"] is not None)
        assert row in allowed
        allowed.remove(row)  # never twice
    # A merged range is no row, but of an unknown instrument it is refused like one.
    counted = [row for row in rows if not row["range_first"] or row["symbol"] not in names]
    assert drive.counts["parsed"] == len(counted)
    status = READ[form.feed](message)[0]
    assert drive.counts["quarantined_messages"] == (status == "malformed")
    if status == "malformed":
        assert drive.quarantine == [("malformed", message, 0)]


@FEEDS
@pytest.mark.parametrize(
    ("offset_ns", "reason"),
    [
        (-DAY_NS, None),
        (0, None),
        (DAY_NS - SECOND_NS, None),
        (DAY_NS + SECOND_NS, "time"),
        (365 * DAY_NS, "time"),
        (75 * 366 * DAY_NS, "malformed"),  # behind 2100: no unit of time makes it a year of ours
        (-17 * 366 * DAY_NS, "malformed"),  # before 2010
    ],
)
def test_a_time_that_cannot_be_is_quarantine(
    form: Form, offset_ns: int, reason: str | None
) -> None:
    stream = Stream(form, seed=1, symbols=1)
    stream.ns = NOW_NS + offset_ns
    message = stream.message(1)
    drive = drive_of(form, [form.symbol(stream.markets[0].base)], history_s=YEARS_S)
    lines = drive.message(message)
    if reason is None:
        assert len(lines) == 1
        assert drive.quarantine == []
        return
    assert lines == []
    rows = 1 if reason == "time" else 0
    assert drive.quarantine == [(reason, message, rows)]
    assert drive.counts["quarantined"] == rows
    assert drive.counts["quarantined_messages"] == 1 - rows


def test_if_half_of_the_feeds_are_far_ahead_it_is_our_clock_and_rows_are_stored() -> None:
    # R20: a clock of ours that stands still must not throw the market away.
    clock = VenueClock()
    ahead = NOW_NS + 2 * DAY_NS
    drives = [drive_of(form, ["BTCUSDT"], clock=clock, feed=number) for number, form in
              enumerate([FORMS[0], FORMS[1]], 1)]  # fmt: skip
    assert drives[0].message(binance_trade(1, ns=ahead)) == []
    assert not clock.says_ours_is_slow(NOW_NS)
    event = binance_trade(1, ns=ahead) | {"X": "MARKET"}
    assert len(drives[1].message(event)) == 1
    assert clock.says_ours_is_slow(NOW_NS)
    assert len(drives[0].message(binance_trade(2, ns=ahead))) == 1


def test_one_feed_alone_cannot_move_our_clock() -> None:
    clock = VenueClock()
    feeds = [
        drive_of(FORMS[0], ["BTCUSDT"], clock=clock, feed=number) for number in (1, 2, 3, 4, 5)
    ]
    for drive in feeds[:3]:
        assert len(drive.message(binance_trade(1))) == 1
    for drive in feeds[3:]:  # two of five
        assert drive.message(binance_trade(1, ns=NOW_NS + 2 * DAY_NS)) == []


@FEEDS
def test_an_unknown_instrument_is_quarantine(form: Form) -> None:
    stream = Stream(form, seed=2, symbols=1)
    message = stream.message(3)
    drive = drive_of(form, ["SOMETHING"])
    assert drive.message(message) == []
    rows = min(3, form.rows_max)
    assert drive.quarantine == [("unknown_symbol", message, rows)]
    assert drive.counts["quarantined"] == rows


@pytest.mark.parametrize("digits", range(1, 20))
def test_ids_of_every_length_are_written_as_they_came(digits: int) -> None:
    # The writer goes by groups of eight digits.
    for number in {10 ** (digits - 1), 10**digits - 1, int("1234567890123456789"[:digits])}:
        if number >= 2**63:
            continue
        drive = drive_of(FORMS[0], ["BTCUSDT"])
        [line] = drive.message(binance_trade(number))
        assert (line.fields["trade_id"], line.fields["sequence_number"]) == (str(number), number)


def test_names_of_every_length_are_found() -> None:
    # The hash goes by eight bytes, four and one: names that differ anywhere must not meet.
    names = ["A" * size for size in range(1, 40)]
    names += [f"{'A' * at}B{'A' * (size - at - 1)}" for size in range(1, 20) for at in range(size)]
    instruments = InstrumentTable("binance", "spot")
    numbers = [instruments.add(name, name) for name in names]
    assert len(set(numbers)) == len(names)
    assert [instruments.number(name) for name in names] == numbers
    assert instruments.number("A" * 40) is None
