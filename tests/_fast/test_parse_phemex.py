"""Phemex trades and trades_p: recorded messages, and every other spelling of them."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch._fast import parse_phemex
from pumpwatch._fast.parser import Parser
from tests._fast.parser_laws import (
    check_plain,
    expected_form,
    flipped,
    plain_text,
    sample_lines,
    table,
)
from tests._fast.plain_json import Row
from tests._fast.plain_phemex import read_futures, read_spot
from tests._fast.spelling import strange_messages
from tests.strategies import examples

READ = {"phemex_spot": read_spot, "phemex_futures": read_futures}
NAMES = {"phemex_spot": "trades", "phemex_futures": "trades_p"}
PARSERS = pytest.mark.parametrize("parser", [parse_phemex.SPOT, parse_phemex.FUTURES])
SPELLINGS = pytest.mark.parametrize(
    "separators", [(",", ":"), (", ", ": ")], ids=["known", "other"]
)
FLIPS = st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 255)), min_size=1, max_size=4)
ABSENT = "absent"
NS = 1_790_000_000_123_456_789
ROW = [NS, "Sell", 67562000, 23000000000]
Separators = tuple[str, str]


def short_lines(feed: str) -> list[bytes]:
    """The recorded messages, the snapshot of 1000 rows cut to 8 so that examples stay small."""
    lines = []
    for line in sample_lines(feed):
        document = json.loads(line)
        rows = document.get("trades", [])
        if len(rows) > 8:
            document["trades"] = rows[:8]
            line = json.dumps(document, separators=(",", ":")).encode()
        lines.append(line)
    return lines


SHORT = {feed: short_lines(feed) for feed in READ}


def push(parser: Parser, separators: Separators, *rows: Any, **fields: Any) -> bytes:
    document = {"sequence": 7, "symbol": "X", NAMES[parser.feed]: list(rows), "type": "incremental"}
    document.update(fields)
    document = {name: value for name, value in document.items() if value is not ABSENT}
    return json.dumps(document, separators=separators).encode()


def with_id(form: dict[str, str], equals: Counter[tuple[str, ...]]) -> dict[str, str]:
    """The trade id that PumpWatch makes: equal rows of one ns differ in the ordinal (R6)."""
    row = (form["exchange_ns"], form["side"], form["price"], form["quantity"])
    form["trade_id"] = "-".join((*row[1:], str(equals[row])))
    equals[row] += 1
    return form


def message_forms(line: int, trades: list[Row], scales: dict[str, dict[str, str]]) -> list[Any]:
    equals: Counter[tuple[str, ...]] = Counter()
    forms = []
    for index, trade in enumerate(trades):
        scale = scales[trade["symbol"]]
        form = expected_form(line, index, trade, Decimal(scale["contract_value"]))
        price = Decimal(trade["price"]).scaleb(int(scale["price_exponent"]))
        form["price"] = plain_text(price)
        forms.append(with_id(form, equals))
    return forms


@PARSERS
def test_recorded_messages_give_the_expected_fields(parser: Parser) -> None:
    instruments = [row for row in table("instruments.tsv") if row["feed"] == parser.feed]
    scales = {row["venue_symbol"]: row for row in instruments}
    forms: list[dict[str, str]] = []
    for line, message in enumerate(sample_lines(parser.feed), 1):
        status, is_snapshot, trades = parser.parse(message)
        assert status == ("trades" if trades else "other")
        assert is_snapshot == (b'"type":"snapshot"' in message)
        forms += message_forms(line, trades, scales)
    assert forms == table(f"{parser.feed}.expected.tsv")
    assert forms


@PARSERS
def test_recorded_messages_read_plainly_are_the_same(parser: Parser) -> None:
    for feed in READ:
        for message in sample_lines(feed):
            check_plain(parser, READ[parser.feed], message)


@PARSERS
@settings(max_examples=examples(1500))
@given(data=st.data())
def test_any_spelling_is_read_as_plainly(parser: Parser, data: st.DataObject) -> None:
    message = data.draw(strange_messages(SHORT[parser.feed]))
    check_plain(parser, READ[parser.feed], message)


@PARSERS
def test_a_cut_message_is_malformed(parser: Parser) -> None:
    # The snapshot of 1000 rows is cut in its first and its last 2000 bytes only.
    for message in SHORT[parser.feed] + sample_lines(parser.feed):
        for size in (*range(len(message))[:2000], *range(len(message))[-2000:]):
            assert parser.parse(message[:size])[0] == "malformed", message[:size]


@PARSERS
@given(number=st.integers(0, 99), flips=FLIPS)
def test_damaged_bytes_do_no_harm(
    parser: Parser, number: int, flips: list[tuple[int, int]]
) -> None:
    lines = SHORT[parser.feed]
    message = flipped(lines[number % len(lines)], flips)
    reading = parser.parse(message)
    try:
        message.decode()
    except UnicodeDecodeError:
        assert reading[0] in ("trades", "other", "malformed")
    else:
        assert reading == READ[parser.feed](message)


@PARSERS
@SPELLINGS
@pytest.mark.parametrize("count", [1, 2, 3, 1000])
def test_rows_are_turned_to_oldest_first(
    parser: Parser, count: int, separators: Separators
) -> None:
    rows = [[NS + number, "Buy", number + 1, 2] for number in range(count)]
    trades = parser.parse(push(parser, separators, *reversed(rows)))[2]
    assert [trade["exchange_ns"] for trade in trades] == [row[0] for row in rows]
    assert [trade["price"] for trade in trades] == [str(row[2]) for row in rows]
    assert {trade["symbol"] for trade in trades} == {"X"}
    assert {trade["sequence_number"] for trade in trades} == {7}
    assert {trade["trade_id"] for trade in trades} == {None}


@PARSERS
@SPELLINGS
def test_the_symbol_may_stand_behind_the_rows(parser: Parser, separators: Separators) -> None:
    document = json.loads(push(parser, separators, ROW, ROW))
    for names in (
        (NAMES[parser.feed], "type", "symbol", "sequence"),
        ("type", "symbol", "sequence", NAMES[parser.feed]),
    ):
        message = json.dumps({name: document[name] for name in names}, separators=separators)
        trades = parser.parse(message.encode())[2]
        assert [(t["symbol"], t["sequence_number"]) for t in trades] == [("X", 7)] * 2


@PARSERS
@SPELLINGS
@pytest.mark.parametrize(
    ("kind", "status", "is_snapshot"),
    [
        ("snapshot", "trades", True),
        ("incremental", "trades", False),
        (ABSENT, "trades", False),
        # What does it repeat? Nobody knows: counted anew, its rows might get others' ids.
        ("replay", "malformed", False),
        ("", "malformed", False),
        (None, "malformed", False),
        (True, "malformed", False),
    ],
)
def test_the_type_says_what_is_a_snapshot(
    parser: Parser, kind: Any, status: str, is_snapshot: bool, separators: Separators
) -> None:
    message = push(parser, separators, ROW, type=kind)
    assert parser.parse(message)[:2] == (status, is_snapshot)
    assert parser.parse(push(parser, separators, type=kind)) == ("other", False, [])


@PARSERS
@SPELLINGS
def test_rows_of_the_other_market_are_none_of_ours(parser: Parser, separators: Separators) -> None:
    other = parse_phemex.FUTURES if parser is parse_phemex.SPOT else parse_phemex.SPOT
    for kind in ("snapshot", "incremental"):
        assert parser.parse(push(other, separators, ROW, type=kind)) == ("other", False, [])


@SPELLINGS
@pytest.mark.parametrize("place", [2, 3])
@pytest.mark.parametrize("amount", ["0.67", 0.67, "67562000.0", 67562000.5, "6.7e7", 1e22, 10**19])
def test_spot_takes_only_scaled_integers(place: int, amount: Any, separators: Separators) -> None:
    # Real decimals under the old key would be stored as 1e-8 of themselves.
    row = [*ROW[:place], amount, *ROW[place + 1 :]]
    assert parse_phemex.SPOT.parse(push(parse_phemex.SPOT, separators, row))[0] == "malformed"


@SPELLINGS
@pytest.mark.parametrize("place", [2, 3])
@pytest.mark.parametrize("amount", [67562000, "67562000", 10**19 - 1])
def test_scaled_integers_are_kept_as_they_are(
    place: int, amount: Any, separators: Separators
) -> None:
    row = [*ROW[:place], amount, *ROW[place + 1 :]]
    [trade] = parse_phemex.SPOT.parse(push(parse_phemex.SPOT, separators, row))[2]
    assert (trade["price"], trade["quantity"])[place - 2] == str(amount)


@SPELLINGS
def test_perpetuals_take_decimals_bare_or_in_quotes(separators: Separators) -> None:
    for amount, text in (
        ("76426.70", "76426.7"),
        (0.091, "0.091"),
        (3, "3"),
        ("1.2E-5", "0.000012"),
    ):
        message = push(parse_phemex.FUTURES, separators, [NS, "Buy", amount, amount])
        [trade] = parse_phemex.FUTURES.parse(message)[2]
        assert (trade["price"], trade["quantity"]) == (text, text)


@PARSERS
@SPELLINGS
@pytest.mark.parametrize(
    "row",
    [
        [],
        ROW[:3],
        [None, *ROW[1:]],
        [NS // 1000, *ROW[1:]],
        [NS, "sold", *ROW[2:]],
        [NS, *ROW[2:]],
        [*ROW[:2], -1, 1],
        [*ROW[:2], 1, -1],
        [*ROW[:2], 1, "-0"],
        [*ROW[:2], 1, None],
        {"ns": NS},
        5,
        None,
    ],
)
def test_one_bad_row_makes_the_whole_message_malformed(
    parser: Parser, row: Any, separators: Separators
) -> None:
    assert parser.parse(push(parser, separators, ROW, ROW))[0] == "trades"
    for rows in ([row, ROW], [ROW, row]):
        message = push(parser, separators, *rows)
        assert check_plain(parser, READ[parser.feed], message) == "malformed"


@PARSERS
@SPELLINGS
def test_items_behind_the_fourth_are_passed_over(parser: Parser, separators: Separators) -> None:
    message = push(parser, separators, [*ROW, {"new": [1]}, "x"])
    assert check_plain(parser, READ[parser.feed], message) == "trades"


@PARSERS
@SPELLINGS
@pytest.mark.parametrize("name", ["sequence", "symbol"])
@pytest.mark.parametrize("value", [ABSENT, None, "", [], True, -1])
def test_rows_without_symbol_or_sequence_are_malformed(
    parser: Parser, name: str, value: Any, separators: Separators
) -> None:
    assert parser.parse(push(parser, separators, ROW, **{name: value}))[0] == "malformed"


@PARSERS
@SPELLINGS
def test_a_snapshot_is_never_joined_to_other_rows(parser: Parser, separators: Separators) -> None:
    plain, snapshot = (
        push(parser, separators, ROW, type=kind) for kind in ("incremental", "snapshot")
    )
    ack = b'{"error":null,"id":1,"result":{"status":"success"}}'
    for parts, status in (
        ((plain, plain), "trades"),
        ((ack, snapshot), "trades"),
        ((snapshot, ack), "trades"),
        ((snapshot, plain), "malformed"),
        ((plain, snapshot), "malformed"),
        ((snapshot, snapshot), "malformed"),
    ):
        assert check_plain(parser, READ[parser.feed], b"".join(parts)) == status
