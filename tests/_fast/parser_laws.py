"""What holds for every venue's parser: the samples' fields, the plain reading, broken messages."""

from __future__ import annotations

import csv
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from pumpwatch._fast.parser import Parser
from tests._fast.plain_json import Reading, Row

SAMPLES = Path(__file__).parents[1] / "samples"


def sample_lines(feed: str) -> list[bytes]:
    """The recorded messages, one a line."""
    return (SAMPLES / f"{feed}.jsonl").read_bytes().splitlines()


def table(name: str) -> list[dict[str, str]]:
    """A TSV file's rows, [] where there is none."""
    path = SAMPLES / name
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def contract_values(feed: str) -> dict[str, Decimal]:
    rows = [row for row in table("instruments.tsv") if row["feed"] == feed]
    return {row["venue_symbol"]: Decimal(row["contract_value"]) for row in rows}


def plain_text(number: Decimal) -> str:
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def expected_form(line: int, index: int, trade: Row, value: Decimal) -> dict[str, str]:
    """A parsed row as the TSV writes it: quantity in base coin."""
    return {
        "line": str(line),
        "index": str(index),
        "symbol": trade["symbol"],
        "side": trade["side"],
        "price": trade["price"],
        "quantity": plain_text(Decimal(trade["quantity"]) * value),
        "exchange_ns": str(trade["exchange_ns"]),
        "trade_id": trade["trade_id"] or "",
        "sequence_number": str(trade["sequence_number"]),
        "kind": trade["kind"] or "",
    }


def range_form(line: int, index: int, trade: Row) -> dict[str, str]:
    return {
        "line": str(line),
        "index": str(index),
        "symbol": trade["symbol"],
        "first": str(trade["range_first"]),
        "last": str(trade["order_id"]),
    }


def check_samples(parser: Parser) -> None:
    """Every recorded line gives exactly the fields of the hand-checked table, the others none."""
    values = contract_values(parser.feed)
    rows, ranges = [], []
    for line, message in enumerate(sample_lines(parser.feed), 1):
        status, is_snapshot, trades = parser.parse(message)
        assert status == ("trades" if trades else "other"), message
        assert not is_snapshot
        for index, trade in enumerate(trades):
            if trade["range_first"]:
                ranges.append(range_form(line, index, trade))
            else:
                rows.append(expected_form(line, index, trade, values[trade["symbol"]]))
    assert rows == table(f"{parser.feed}.expected.tsv")
    assert ranges == table(f"{parser.feed}.ranges.tsv")
    assert rows


def check_plain(parser: Parser, read: Callable[[bytes], Reading], message: bytes) -> str:
    """The C parser and the plain reading say the same; returns the status."""
    reading = parser.parse(message)
    assert reading == read(message)
    return reading[0]


def check_cuts(parser: Parser) -> None:
    """A recorded message that ends early is never taken for a whole one."""
    for message in sample_lines(parser.feed):
        for size in range(len(message)):
            assert parser.parse(message[:size])[0] == "malformed", message[:size]


def flipped(message: bytes, flips: list[tuple[int, int]]) -> bytes:
    """The message with the bytes at some places replaced."""
    changed = bytearray(message)
    for place, byte in flips:
        changed[place % len(changed)] = byte
    return bytes(changed)


def check_flips(
    parser: Parser, read: Callable[[bytes], Reading], number: int, flips: list[tuple[int, int]]
) -> None:
    """Damaged bytes never crash; where they are still UTF-8 the plain reading says the same."""
    lines = sample_lines(parser.feed)
    message = flipped(lines[number % len(lines)], flips)
    reading = parser.parse(message)
    try:
        message.decode()
    except UnicodeDecodeError:
        assert reading[0] in ("trades", "other", "malformed")
    else:
        assert reading == read(message)
