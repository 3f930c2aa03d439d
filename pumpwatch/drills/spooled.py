"""What lies in a spool's folder, read by nobody's leave: after a kill this is the evidence."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import polars as pl

from pumpwatch._fast.ilp import split_lines
from pumpwatch.store.schema import TABLES
from pumpwatch.store.segment import MIB, RecordRef, scan

TRADES = TABLES["trades"]
KEYS_BYTES_MAX = 4 * MIB  # rows of so many bytes at the end are read one by one
HEAD = re.compile(rb"trades,exchange=([^, ]+),market_type=([^, ]+),symbol=([^, ]+)")
TRADE_ID = re.compile(rb'[ ,]trade_id="([^"]*)"')
KEY_TYPES = {
    "feed": pl.String, "symbol": pl.String, "trade_id": pl.String, "exchange_ns": pl.Int64
}  # fmt: skip


class Spooled(msgspec.Struct, frozen=True):
    """Trades in a folder of segments."""

    rows: int  # in sound records
    keys: pl.DataFrame  # of the last ones: feed, symbol, trade_id, exchange_ns


def read_spooled(folder: Path) -> Spooled:
    """Count the trades of all segments, and take the keys of the last ones."""
    rows, tail = 0, list[bytes]()
    for path in sorted(folder.glob("*.seg")):
        data = path.read_bytes()
        refs = [
            found for found in scan(data) if isinstance(found, RecordRef) and found.table == TRADES
        ]
        rows += sum(ref.rows for ref in refs)
        tail += [data[ref.payload_offset : ref.end] for ref in refs]
        while sum(map(len, tail[1:])) > KEYS_BYTES_MAX:
            del tail[: 1 + len(tail) // 8]
    keys = [key_of(line) for payload in tail for line in lines_of(payload)]
    return Spooled(rows, pl.DataFrame(keys, schema=KEY_TYPES, orient="row"))


def lines_of(payload: bytes) -> list[bytes]:
    """The lines of an ILP payload; a binary double may hold a line break."""
    begin, lines = 0, []
    for end in split_lines(payload):
        lines.append(payload[begin:end])
        begin = end
    return lines


def key_of(line: bytes) -> tuple[str, str, str, int]:
    """Feed, symbol, trade id and time of a trade's line."""
    head, trade_id = HEAD.match(line), TRADE_ID.search(line)
    assert head is not None, line
    assert trade_id is not None, line
    exchange, market_type, symbol = (part.decode() for part in head.groups())
    ns = int(line.rstrip().rsplit(b" ", 1)[1])
    return f"{exchange}_{market_type}", symbol, trade_id[1].decode(), ns
