"""Binance @trade: recorded messages, and every other spelling of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch._fast import parse_binance
from pumpwatch._fast.parser import Parser
from tests._fast.parser_laws import (
    check_cuts,
    check_flips,
    check_plain,
    check_samples,
    sample_lines,
)
from tests._fast.plain_binance import read
from tests._fast.spelling import strange_messages
from tests.strategies import examples

PARSERS = pytest.mark.parametrize("parser", [parse_binance.SPOT, parse_binance.FUTURES])
FLIPS = st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 255)), min_size=1, max_size=4)
LINES = sample_lines("binance_spot") + sample_lines("binance_futures")


def event(**fields: Any) -> bytes:
    whole = {"e": "trade", "E": 1, "s": "BTCUSDT", "t": 7, "p": "1.5", "q": "2",
             "T": 1_790_000_000_000, "m": True, "M": True}  # fmt: skip
    whole.update(fields)
    return json.dumps({name: value for name, value in whole.items() if value != "absent"}).encode()


@PARSERS
def test_recorded_messages_give_the_expected_fields(parser: Parser) -> None:
    check_samples(parser)


@PARSERS
def test_recorded_messages_read_plainly_are_the_same(parser: Parser) -> None:
    for message in LINES:
        check_plain(parser, read, message)


@PARSERS
@settings(max_examples=examples(1500))
@given(message=strange_messages(LINES))
def test_any_spelling_is_read_as_plainly(parser: Parser, message: bytes) -> None:
    check_plain(parser, read, message)


@PARSERS
def test_a_cut_message_is_malformed(parser: Parser) -> None:
    check_cuts(parser)


@PARSERS
@given(number=st.integers(0, 99), flips=FLIPS)
def test_damaged_bytes_do_no_harm(
    parser: Parser, number: int, flips: list[tuple[int, int]]
) -> None:
    check_flips(parser, read, number, flips)


@PARSERS
def test_times_are_milliseconds_or_microseconds(parser: Parser) -> None:
    assert (
        parser.parse(event(T=1_790_000_000_123))[2][0]["exchange_ns"] == 1_790_000_000_123_000_000
    )
    assert (
        parser.parse(event(T=1_790_000_000_123_456))[2][0]["exchange_ns"]
        == 1_790_000_000_123_456_000
    )
    for far in (1_790_000_000, 1_262_303_999_999, 4_102_444_800_000, 1_790_000_000_123_456_789):
        assert parser.parse(event(T=far))[0] == "malformed"


@pytest.mark.parametrize(
    ("execution", "kind"),
    [
        ("MARKET", None),
        ("INSURANCE_FUND", "insurance"),
        ("ADL", "adl"),
        ("NA", "na"),
        ("NEW", None),
        (None, None),
    ],
)
def test_the_kind_of_futures_trades(execution: str | None, kind: str | None) -> None:
    message = event(X=execution, p="0", q="0.000")
    assert check_plain(parse_binance.FUTURES, read, message) == "trades"
    [trade] = parse_binance.FUTURES.parse(message)[2]
    assert (trade["kind"], trade["price"], trade["quantity"]) == (kind, "0", "0")


@PARSERS
@pytest.mark.parametrize("name", ["s", "t", "p", "q", "T", "m"])
def test_a_trade_without_a_field_is_malformed(parser: Parser, name: str) -> None:
    assert parser.parse(event())[0] == "trades"
    assert parser.parse(event(**{name: "absent"}))[0] == "malformed"
    assert parser.parse(event(**{name: None}))[0] == "malformed"


@PARSERS
def test_ids_beyond_the_column_are_malformed(parser: Parser) -> None:
    assert parser.parse(event(t=2**63 - 1))[2][0]["sequence_number"] == 2**63 - 1
    assert parser.parse(event(t=2**63))[0] == "malformed"
    assert parser.parse(event(t=10**19))[0] == "malformed"


@PARSERS
def test_of_a_repeated_data_object_the_last_one_counts(parser: Parser) -> None:
    first, last = event(t=1).decode(), event(t=2, e="aggTrade").decode()
    assert parser.parse(f'{{"data":{first},"data":{last}}}'.encode())[0] == "other"
    [trade] = parser.parse(f'{{"data":{last},"data":{first}}}'.encode())[2]
    assert trade["trade_id"] == "1"


@PARSERS
def test_an_event_may_have_a_member_named_data(parser: Parser) -> None:
    assert parser.parse(event(data={"e": "aggTrade"}))[2][0]["trade_id"] == "7"


def test_nothing_of_the_known_spelling_stays_when_it_ends_otherwise() -> None:
    message = (
        b'{"e":"trade","E":1,"T":1790000000000,"s":"A","t":7,"p":"1","q":"1",'
        b'"X":"ADL","m":true,"X":"NEW"}'
    )
    assert check_plain(parse_binance.FUTURES, read, message) == "trades"


@PARSERS
def test_joined_documents_are_read_all_or_not_at_all(parser: Parser) -> None:
    ids = [
        trade["order_id"] for trade in parser.parse(event(t=1) + event(e="other") + event(t=2))[2]
    ]
    assert ids == [1, 2]
    assert parser.parse(event(t=1) + event(t=-2))[0] == "malformed"
