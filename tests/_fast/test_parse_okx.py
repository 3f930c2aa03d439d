"""OKX trades-all and trades: recorded messages, and every other spelling of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch._fast import parse_okx
from pumpwatch._fast.parser import Parser
from tests._fast.parser_laws import (
    check_cuts,
    check_flips,
    check_plain,
    check_samples,
    sample_lines,
)
from tests._fast.plain_okx import read
from tests._fast.spelling import strange_messages
from tests.strategies import examples

PARSERS = pytest.mark.parametrize("parser", [parse_okx.SPOT, parse_okx.FUTURES])
FLIPS = st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 255)), min_size=1, max_size=4)
LINES = sample_lines("okx_spot") + sample_lines("okx_futures")


def push(*ids: int, channel: str = "trades-all", **fields: Any) -> bytes:
    rows = [
        {"instId": "BTC-USDT", "tradeId": str(number), "px": "1.5", "sz": "2", "side": "sell",
         "ts": "1790000000123", **fields}
        for number in ids
    ]  # fmt: skip
    return json.dumps({"arg": {"channel": channel, "instId": "BTC-USDT"}, "data": rows}).encode()


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
def test_a_push_of_several_rows_keeps_their_order(parser: Parser) -> None:
    for message in (push(5, 6, 7), push(5, 6, 7).replace(b" ", b"")):
        assert [trade["order_id"] for trade in parser.parse(message)[2]] == [5, 6, 7]
    assert parser.parse(push())[0] == "other"


@PARSERS
def test_one_bad_row_makes_the_whole_push_malformed(parser: Parser) -> None:
    good = push(5, 6, 7)
    assert parser.parse(good)[0] == "trades"
    assert parser.parse(good.replace(b'"6"', b'"-6"'))[0] == "malformed"


@PARSERS
@pytest.mark.parametrize("compact", [False, True])
def test_a_merged_row_stands_for_its_ids(parser: Parser, compact: bool) -> None:
    def first_ids(message: bytes) -> list[int]:
        message = message.replace(b" ", b"") if compact else message
        return [trade["range_first"] for trade in parser.parse(message)[2]]

    assert first_ids(push(100, channel="trades", count="8")) == [93]
    assert first_ids(push(100, channel="trades", count=2, source="0", seqId=5)) == [99]
    assert first_ids(push(100, channel="trades", count="1")) == [0]
    assert first_ids(push(100, channel="trades")) == [0]
    assert first_ids(push(100, channel="trades-all", count="8")) == [0]
    assert first_ids(push(3, channel="trades", count="3")) == [1]
    for count in ("4", "0", "-1", "", None, "18446744073709551615"):
        assert parser.parse(push(3, channel="trades", count=count))[0] == "malformed"


@PARSERS
def test_pong_is_no_json_and_nothing_else_may_be(parser: Parser) -> None:
    assert parser.parse(b"pong")[0] == "other"
    assert parser.parse(b" pong\n")[0] == "other"
    for text in (b"", b"pon", b"ping", b"pongx", b"PONG", b"'pong'"):
        assert parser.parse(text)[0] == "malformed"


@PARSERS
@pytest.mark.parametrize("name", ["instId", "tradeId", "px", "sz", "side", "ts"])
def test_a_row_without_a_field_is_malformed(parser: Parser, name: str) -> None:
    message = push(5)
    assert parser.parse(message)[0] == "trades"
    assert parser.parse(message.replace(name.encode() + b'":', b'no":', 2))[0] == "malformed"
    nothing: dict[str, Any] = {name: None}
    assert parser.parse(push(5, **nothing))[0] == "malformed"


@PARSERS
def test_data_without_a_known_channel(parser: Parser) -> None:
    assert parser.parse(push(5, channel="books"))[0] == "other"
    assert parser.parse(b'{"data":[]}')[0] == "malformed"
    assert parser.parse(b'{"arg":{"channel":"trades-all"}}')[0] == "malformed"
    assert parser.parse(b'{"arg":{"channel":"trades-all"},"event":"subscribe"}')[0] == "other"
