"""Bybit publicTrade: recorded messages, and every other spelling of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch._fast import parse_bybit
from pumpwatch._fast.parser import Parser
from tests._fast.parser_laws import (
    check_cuts,
    check_flips,
    check_plain,
    check_samples,
    sample_lines,
)
from tests._fast.plain_bybit import read
from tests._fast.spelling import strange_messages
from tests.strategies import examples

PARSERS = pytest.mark.parametrize("parser", [parse_bybit.SPOT, parse_bybit.FUTURES])
SPELLINGS = pytest.mark.parametrize(
    "separators", [(",", ":"), (", ", ": ")], ids=["known", "other"]
)
FLIPS = st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 255)), min_size=1, max_size=4)
LINES = sample_lines("bybit_spot") + sample_lines("bybit_futures")
UUID = "f60eae3c-d812-5c0b-ad26-8010c31c53aa"
ABSENT = "absent"
Separators = tuple[str, str]


def spot_row(**fields: Any) -> dict[str, Any]:
    row = {"i": "2290000001202469355", "T": 1_790_000_000_123, "p": "1.5", "v": "2", "S": "Sell",
           "seq": 7, "s": "BTCUSDT", "BT": False, "RPI": False}  # fmt: skip
    row.update(fields)
    return {name: value for name, value in row.items() if value is not ABSENT}


def futures_row(**fields: Any) -> dict[str, Any]:
    row = {"T": 1_790_000_000_123, "s": "BTCUSDT", "S": "Sell", "v": "2", "p": "1.5",
           "L": "MinusTick", "i": UUID, "BT": False, "RPI": False, "seq": 7}  # fmt: skip
    row.update(fields)
    return {name: value for name, value in row.items() if value is not ABSENT}


def push(separators: Separators, *rows: Any, **fields: Any) -> bytes:
    document = {"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": 1, "data": list(rows)}
    document.update(fields)
    return json.dumps(document, separators=separators).encode()


def make_row(parser: Parser, **fields: Any) -> dict[str, Any]:
    return spot_row(**fields) if parser is parse_bybit.SPOT else futures_row(**fields)


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
@SPELLINGS
def test_rows_keep_their_order_and_1024_of_them_fit(parser: Parser, separators: Separators) -> None:
    rows = [make_row(parser, i=str(1000 + number)) for number in range(1024)]
    ids = [trade["trade_id"] for trade in parser.parse(push(separators, *rows))[2]]
    assert ids == [str(1000 + number) for number in range(1024)]
    assert parser.parse(push(separators))[0] == "other"


@PARSERS
@SPELLINGS
@pytest.mark.parametrize("name", ["i", "T", "p", "v", "S", "s"])
@pytest.mark.parametrize("value", [ABSENT, None, "", [], True])
def test_one_bad_row_makes_the_whole_message_malformed(
    parser: Parser, name: str, value: Any, separators: Separators
) -> None:
    good, bad = make_row(parser), make_row(parser, **{name: value})
    assert parser.parse(push(separators, good, good))[0] == "trades"
    assert parser.parse(push(separators, good, bad))[0] == "malformed"
    assert parser.parse(push(separators, bad, good))[0] == "malformed"


@PARSERS
@SPELLINGS
@pytest.mark.parametrize(
    ("block", "rpi", "kind"),
    [
        (False, False, None),
        (True, False, "block"),
        (False, True, "rpi"),
        (True, True, "block"),
        (ABSENT, ABSENT, None),
        (False, ABSENT, None),
        (ABSENT, True, "rpi"),
    ],
)
def test_block_and_rpi_trades_are_marked(
    parser: Parser, block: Any, rpi: Any, kind: str | None, separators: Separators
) -> None:
    [trade] = parser.parse(push(separators, make_row(parser, BT=block, RPI=rpi)))[2]
    assert trade["kind"] == kind


@PARSERS
@SPELLINGS
@pytest.mark.parametrize("name", ["BT", "RPI"])
@pytest.mark.parametrize("value", ["true", 1, 0, None, []])
def test_a_mark_that_is_neither_true_nor_false_is_malformed(
    parser: Parser, name: str, value: Any, separators: Separators
) -> None:
    assert parser.parse(push(separators, make_row(parser, **{name: value})))[0] == "malformed"


@PARSERS
@SPELLINGS
@pytest.mark.parametrize(
    ("sequence", "number"),
    [
        (ABSENT, 0),
        (0, 0),
        ("549792210006", 549_792_210_006),
        (2**63 - 1, 2**63 - 1),
        (2**63, None),
        (-1, None),
        (1.5, None),
        (None, None),
    ],
)
def test_the_sequence_fits_its_column_or_the_message_is_malformed(
    parser: Parser, sequence: Any, number: int | None, separators: Separators
) -> None:
    status, _, rows = parser.parse(push(separators, make_row(parser, seq=sequence)))
    assert [row["sequence_number"] for row in rows] == ([] if number is None else [number])
    assert status == ("malformed" if number is None else "trades")


@PARSERS
@SPELLINGS
@pytest.mark.parametrize(
    "identity", [UUID, "2290000001202469355", 2290000001202469355, "a" * 64, "-", "0"]
)
def test_ids_are_kept_as_text(parser: Parser, identity: Any, separators: Separators) -> None:
    [trade] = parser.parse(push(separators, make_row(parser, i=identity)))[2]
    assert trade["trade_id"] == str(identity)
    # They do not count without jumps: no gap may be read from them.
    assert trade["order_id"] == 0


@PARSERS
@SPELLINGS
@pytest.mark.parametrize("identity", ["a" * 65, "a b", "a,b", "é", 'a"b', "a\n", -5, 1e300, 1.5])
def test_ids_that_would_need_escapes_are_malformed(
    parser: Parser, identity: Any, separators: Separators
) -> None:
    assert parser.parse(push(separators, make_row(parser, i=identity)))[0] == "malformed"


@PARSERS
@SPELLINGS
def test_joined_documents_all_count(parser: Parser, separators: Separators) -> None:
    message = push(separators, make_row(parser, i="1")) + push(separators, make_row(parser, i="2"))
    assert [trade["trade_id"] for trade in parser.parse(message)[2]] == ["1", "2"]
    status, _, rows = parser.parse(message + b'{"op":"pong"}')
    assert (status, len(rows)) == ("trades", 2)
    # All or nothing: what is torn is quarantined as it came.
    assert parser.parse(message + message[:50]) == ("malformed", False, [])


@PARSERS
@SPELLINGS
def test_other_topics_are_no_trades(parser: Parser, separators: Separators) -> None:
    row = make_row(parser)
    for topic, status in (
        ("publicTrade.X", "trades"),
        ("publicTrade", "other"),
        ("orderbook.1.BTCUSDT", "other"),
        ("", "other"),
        (None, "malformed"),
        (7, "malformed"),
    ):
        assert parser.parse(push(separators, row, topic=topic))[0] == status
    assert parser.parse(b'{"success":true,"data":{"failTopics":[]}}')[0] == "other"
    assert parser.parse(b'{"success":true,"data":[]}')[0] == "malformed"
    assert parser.parse(b'{"topic":"publicTrade.X"}')[0] == "malformed"
    assert parser.parse(push(separators, row, data={"s": "X"}))[0] == "malformed"
