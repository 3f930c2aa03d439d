"""KuCoin classic match and execution: recorded messages, and every other spelling of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch._fast import parse_kucoin
from pumpwatch._fast.parser import Parser
from tests._fast.parser_laws import (
    check_cuts,
    check_flips,
    check_plain,
    check_samples,
    sample_lines,
)
from tests._fast.plain_kucoin import read_futures, read_spot
from tests._fast.spelling import strange_messages
from tests.strategies import examples

READ = {"kucoin_spot": read_spot, "kucoin_futures": read_futures}
PARSERS = pytest.mark.parametrize("parser", [parse_kucoin.SPOT, parse_kucoin.FUTURES])
SPELLINGS = pytest.mark.parametrize(
    "separators", [(",", ":"), (", ", ": ")], ids=["known", "other"]
)
FLIPS = st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 255)), min_size=1, max_size=4)
LINES = sample_lines("kucoin_spot") + sample_lines("kucoin_futures")
TOPICS = {"kucoin_spot": "/market/match:", "kucoin_futures": "/contractMarket/execution:"}
ABSENT = "absent"
Separators = tuple[str, str]


def present(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if value is not ABSENT}


def row(parser: Parser, **fields: Any) -> dict[str, Any]:
    data: dict[str, Any]
    if parser is parse_kucoin.SPOT:
        data = {"makerOrderId": "671b", "price": "67523", "sequence": "110", "side": "buy",
                "size": "0.003", "symbol": "BTC-USDT", "takerOrderId": "671c",
                "time": "1790000000123456789", "tradeId": "110", "type": "match"}  # fmt: skip
    else:
        data = {"symbol": "XBTUSDTM", "sequence": 110, "side": "buy", "size": 2, "price": "67523",
                "takerOrderId": "24", "makerOrderId": "25", "tradeId": "110",
                "ts": 1790000000123456789}  # fmt: skip
    names = {"time": "ts"} if parser is parse_kucoin.FUTURES else {}
    data.update({names.get(name, name): value for name, value in fields.items()})
    return present(data)


def push(parser: Parser, separators: Separators, data: Any, **fields: Any) -> bytes:
    is_spot = parser is parse_kucoin.SPOT
    document: dict[str, Any] = {
        "topic": TOPICS[parser.feed] + "X",
        "type": "message",
        "subject": "trade.l3match" if is_spot else "match",
    }
    if not is_spot:
        document["sn"] = 110
    document["data"] = data
    document.update(fields)
    return json.dumps(present(document), separators=separators).encode()


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


@PARSERS
def test_the_unified_api_is_not_taken_for_the_classic_one(parser: Parser) -> None:
    for message in sample_lines("kucoin_uta"):
        assert parser.parse(message)[0] == "other"


@PARSERS
@SPELLINGS
@pytest.mark.parametrize("time", [1790000000123456789, "1790000000123456789"])
def test_nanoseconds_beyond_2_to_the_53_are_exact(
    parser: Parser, time: Any, separators: Separators
) -> None:
    [trade] = parser.parse(push(parser, separators, row(parser, time=time)))[2]
    assert trade["exchange_ns"] == 1_790_000_000_123_456_789


@PARSERS
@SPELLINGS
@pytest.mark.parametrize(
    "time",
    [
        "1790000000123",
        "1262303999999999999",
        "4102444800000000000",
        "9999999999999999999",
        "18446744073709551615",
        "1790000000123456789.5",
        "-1790000000123456789",
    ],
)
def test_a_time_in_no_year_of_ours_is_malformed(
    parser: Parser, time: str, separators: Separators
) -> None:
    message = push(parser, separators, row(parser, time=time))
    assert parser.parse(message)[0] == "malformed"


@PARSERS
@SPELLINGS
def test_ids_of_2021_are_hex_and_the_sequence_stands_apart(
    parser: Parser, separators: Separators
) -> None:
    data = row(parser, tradeId="6057bb822e113d292396c272", sequence="1614503482134")
    [trade] = parser.parse(push(parser, separators, data))[2]
    assert trade["trade_id"] == "6057bb822e113d292396c272"
    assert trade["sequence_number"] == 1_614_503_482_134
    # Shared with the book: no gap may be read from it.
    assert trade["order_id"] == 0


@PARSERS
@SPELLINGS
@pytest.mark.parametrize("identity", ["a" * 65, "", "a b", "a,b", "é", -5, 1.5, None, []])
def test_ids_that_would_need_escapes_are_malformed(
    parser: Parser, identity: Any, separators: Separators
) -> None:
    message = push(parser, separators, row(parser, tradeId=identity))
    assert parser.parse(message)[0] == "malformed"


@PARSERS
@SPELLINGS
@pytest.mark.parametrize("size", [2, "2", 2.0, "2.000", "0.2e1"])
@pytest.mark.parametrize("price", [67523, "67523", "67523.00", 67523.0])
def test_numbers_come_bare_or_in_quotes(
    parser: Parser, size: Any, price: Any, separators: Separators
) -> None:
    [trade] = parser.parse(push(parser, separators, row(parser, size=size, price=price)))[2]
    assert (trade["quantity"], trade["price"]) == ("2", "67523")


@PARSERS
@SPELLINGS
@pytest.mark.parametrize("name", ["symbol", "tradeId", "price", "size", "side", "time", "sequence"])
@pytest.mark.parametrize("value", [ABSENT, None, "", {}, True])
def test_a_trade_without_a_field_is_malformed(
    parser: Parser, name: str, value: Any, separators: Separators
) -> None:
    assert parser.parse(push(parser, separators, row(parser)))[0] == "trades"
    message = push(parser, separators, row(parser, **{name: value}))
    assert parser.parse(message)[0] == "malformed"


@PARSERS
@SPELLINGS
@pytest.mark.parametrize("data", [ABSENT, None, [], {}, "x"])
def test_our_topic_without_a_row_is_malformed(
    parser: Parser, data: Any, separators: Separators
) -> None:
    assert parser.parse(push(parser, separators, data))[0] == "malformed"


@PARSERS
@SPELLINGS
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"topic": "/market/level2:BTC-USDT"}, "other"),
        ({"topic": ABSENT, "subject": ABSENT}, "other"),
        ({"topic": "/market/ticker:all", "subject": "BTC-USDT"}, "other"),
        # A trade under half of its name must not be passed over without a word.
        ({"topic": ABSENT}, "malformed"),
        ({"subject": ABSENT}, "malformed"),
        ({"subject": "trade.l3match.v2"}, "malformed"),
        ({"topic": None}, "malformed"),
        ({"subject": 5}, "malformed"),
    ],
)
def test_topic_and_subject_say_whether_it_is_a_trade(
    parser: Parser, fields: dict[str, Any], status: str, separators: Separators
) -> None:
    assert parser.parse(push(parser, separators, row(parser), **fields))[0] == status


@PARSERS
def test_the_other_market_is_another_channel(parser: Parser) -> None:
    other = parse_kucoin.FUTURES if parser is parse_kucoin.SPOT else parse_kucoin.SPOT
    assert parser.parse(push(other, (",", ":"), row(other)))[0] == "other"


@PARSERS
@SPELLINGS
def test_joined_documents_all_count(parser: Parser, separators: Separators) -> None:
    message = b"".join(push(parser, separators, row(parser, tradeId=name)) for name in ("1", "2"))
    assert [trade["trade_id"] for trade in parser.parse(message)[2]] == ["1", "2"]
