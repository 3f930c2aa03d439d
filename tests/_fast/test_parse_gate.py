"""Gate spot.trades and futures.trades: recorded messages, and every other spelling of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch._fast import parse_gate
from pumpwatch._fast.parser import Parser
from tests._fast.parser_laws import (
    check_cuts,
    check_flips,
    check_plain,
    check_samples,
    sample_lines,
)
from tests._fast.plain_gate import read_futures, read_spot
from tests._fast.spelling import strange_messages
from tests.strategies import examples

READ = {"gate_spot": read_spot, "gate_futures": read_futures}
PARSERS = pytest.mark.parametrize("parser", [parse_gate.SPOT, parse_gate.FUTURES])
SPELLINGS = pytest.mark.parametrize(
    "separators", [(",", ":"), (", ", ": ")], ids=["known", "other"]
)
FLIPS = st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 255)), min_size=1, max_size=4)
LINES = sample_lines("gate_spot") + sample_lines("gate_futures")
Separators = tuple[str, str]


def push(channel: str, result: Any, separators: Separators, **fields: Any) -> bytes:
    document = {
        "time": 1_790_000_000,
        "channel": channel,
        "event": "update",
        **fields,
        "result": result,
    }
    return json.dumps(document, separators=separators).encode()


def spot(separators: Separators, **fields: Any) -> bytes:
    row = {"id": 900, "id_market": 7, "create_time": 1_790_000_000,
           "create_time_ms": "1790000000123.5", "side": "sell", "currency_pair": "BTC_USDT",
           "amount": "2", "price": "1.5"}  # fmt: skip
    row.update(fields)
    return push("spot.trades", {n: v for n, v in row.items() if v != "absent"}, separators)


def futures(separators: Separators, **fields: Any) -> bytes:
    row = {"size": -3, "id": 7, "create_time": 1_790_000_000, "create_time_ms": 1_790_000_000_123,
           "price": "1.5", "contract": "BTC_USDT"}  # fmt: skip
    row.update(fields)
    return push("futures.trades", [{n: v for n, v in row.items() if v != "absent"}], separators)


@PARSERS
def test_recorded_messages_give_the_expected_fields(parser: Parser) -> None:
    check_samples(parser)


@PARSERS
def test_recorded_messages_read_plainly_are_the_same(parser: Parser) -> None:
    for message in LINES:
        check_plain(parser, READ[parser.feed], message)


@PARSERS
@settings(max_examples=examples(1500))
@given(data=st.data())
def test_any_spelling_is_read_as_plainly(parser: Parser, data: st.DataObject) -> None:
    message = data.draw(strange_messages(sample_lines(parser.feed)))
    check_plain(parser, READ[parser.feed], message)


@PARSERS
def test_a_cut_message_is_malformed(parser: Parser) -> None:
    check_cuts(parser)


@PARSERS
@given(number=st.integers(0, 99), flips=FLIPS)
def test_damaged_bytes_do_no_harm(
    parser: Parser, number: int, flips: list[tuple[int, int]]
) -> None:
    check_flips(parser, READ[parser.feed], number, flips)


@SPELLINGS
@pytest.mark.parametrize(
    ("time", "ns"),
    [
        ("1790359171119.653000", 1_790_359_171_119_653_000),
        ("1790359171119.123456", 1_790_359_171_119_123_456),
        # Below the nanosecond there is no place.
        ("1790359171119.1234569", 1_790_359_171_119_123_456),
        ("1790359171119", 1_790_359_171_119_000_000),
        (1790359171119, 1_790_359_171_119_000_000),
        ("1.790359171119e12", 1_790_359_171_119_000_000),
    ],
)
def test_milliseconds_with_a_fraction_are_exact(time: Any, ns: int, separators: Separators) -> None:
    for parser, message in (
        (parse_gate.SPOT, spot(separators, create_time_ms=time)),
        (parse_gate.FUTURES, futures(separators, create_time_ms=time)),
    ):
        assert parser.parse(message)[2][0]["exchange_ns"] == ns


@SPELLINGS
def test_seconds_serve_where_there_are_no_milliseconds(separators: Separators) -> None:
    for parser, make in ((parse_gate.SPOT, spot), (parse_gate.FUTURES, futures)):
        [trade] = parser.parse(make(separators, create_time_ms="absent"))[2]
        assert trade["exchange_ns"] == 1_790_000_000_000_000_000
        assert parser.parse(make(separators, create_time_ms="1790000000.5"))[0] == "malformed"
        assert parser.parse(make(separators, create_time_ms=None))[0] == "malformed"


@SPELLINGS
def test_a_time_of_38_digits_does_not_wrap_into_our_century(separators: Separators) -> None:
    # mantissa * 10 is 1.8e18 modulo 2**128: a time of 2027, had the product been cut.
    mantissa = next(
        (ns + laps * 2**128) // 10
        for laps in range(1, 3)
        for ns in range(18 * 10**17, 18 * 10**17 + 10)
        if (ns + laps * 2**128) % 10 == 0
    )
    assert len(str(mantissa)) == 38
    message = spot(separators, create_time_ms=f"{mantissa}e-5")
    assert check_plain(parse_gate.SPOT, read_spot, message) == "malformed"


@SPELLINGS
@pytest.mark.parametrize(
    ("text", "id_market", "first", "last"),
    [
        ("7-7", 7, 0, 7),
        ("5-7", 7, 5, 7),
        ("5-7", 5, 5, 7),
        ("5-7", "absent", 5, 7),
        ("7-7", "absent", 0, 7),
        ("absent", 7, 0, 7),
        ("absent", "absent", 0, 0),
    ],
)
def test_a_wide_range_stands_for_its_ids(
    text: str, id_market: Any, first: int, last: int, separators: Separators
) -> None:
    # R7: a row of several trades that were stored as one would double the quantity after backfill.
    [trade] = parse_gate.SPOT.parse(spot(separators, range=text, id_market=id_market))[2]
    assert (trade["range_first"], trade["order_id"], trade["trade_id"]) == (first, last, "900")


@SPELLINGS
@pytest.mark.parametrize(
    "text", ["7-5", "0-7", "7", "-7", "5-7-9", "05-7", "", 7, None, ["5-7"], "5 - 7"]
)
def test_a_range_that_says_nothing_is_malformed(text: Any, separators: Separators) -> None:
    assert parse_gate.SPOT.parse(spot(separators, range=text))[0] == "malformed"


@SPELLINGS
@pytest.mark.parametrize(
    ("size", "side", "quantity"),
    [
        (-3, "sell", "3"),
        (3, "buy", "3"),
        ("-0.250", "sell", "0.25"),
        ("1e3", "buy", "1000"),
        (0, "buy", "0"),
    ],
)
def test_the_sign_of_the_size_is_the_side(
    size: Any, side: str, quantity: str, separators: Separators
) -> None:
    [trade] = parse_gate.FUTURES.parse(futures(separators, size=size))[2]
    assert (trade["side"], trade["quantity"]) == (side, quantity)


@SPELLINGS
def test_minus_zero_has_no_side(separators: Separators) -> None:
    for size in ("-0", "-0.00"):
        assert parse_gate.FUTURES.parse(futures(separators, size=size))[0] == "malformed"


@SPELLINGS
def test_only_updates_without_error_are_trades(separators: Separators) -> None:
    row = json.loads(futures(separators))["result"]
    for fields, status in (
        ({"error": None}, "trades"),
        ({"error": {"code": 1}}, "other"),
        ({"event": "subscribe"}, "other"),
        ({"channel": "futures.book_ticker"}, "other"),
    ):
        head = {"time": 1, "channel": "futures.trades", "event": "update"}
        message = json.dumps({**head, **fields, "result": row}, separators=separators)
        assert parse_gate.FUTURES.parse(message.encode())[0] == status


@SPELLINGS
def test_rows_come_as_array_or_object_and_all_count(separators: Separators) -> None:
    row = json.loads(futures(separators))["result"][0]
    for result, count in ((row, 1), ([row], 1), ([row, row, row], 3), ([], 0)):
        assert len(parse_gate.FUTURES.parse(push("futures.trades", result, separators))[2]) == count
    for result in ([row, {}], [row, 1], 5, None):
        message = push("futures.trades", result, separators)
        assert parse_gate.FUTURES.parse(message)[0] == "malformed"


@SPELLINGS
def test_takeovers_are_marked_internal(separators: Separators) -> None:
    for is_internal, kind in ((True, "internal"), (False, None), ("absent", None)):
        [trade] = parse_gate.FUTURES.parse(futures(separators, is_internal=is_internal))[2]
        assert trade["kind"] == kind
