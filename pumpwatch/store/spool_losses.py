"""Trades that damage took: whose they were and when they were traded, as far as can be told.

Sans-IO. A loss that nobody can place in time would be a silent hole (promise 3), so bounds are wide
rather than tight: the records on both sides, and every time that can still be read in the place.
"""

from __future__ import annotations

import re

import msgspec

from pumpwatch.store.segment import Damage, created_ns, scan, table_told
from pumpwatch.store.spool_read import BIG_TABLE

HEAD = re.compile(rb"trades,exchange=([a-z]+),market_type=([a-z]+),symbol=([^,=\s]+)[, ]")
STAMP = re.compile(rb" (\d{19})\n")
SLACK_NS = 15_000_000_000  # feeds lag apart: 11 s were seen on a machine without idle time
BELIEVED_NS = 45 * 86_400_000_000_000  # the table's TTL: a time further off is damage itself


class Loss(msgspec.Struct, frozen=True):
    """``symbols``: feed and symbol of each row; empty where that is not known."""

    segment: str
    rows: int  # -1: not known
    from_ns: int  # exchange time
    to_ns: int
    symbols: frozenset[tuple[str, str]]


def loss_at(
    name: str, data: bytes, hole: Damage, *, begun_ns: int = 0, ended_ns: int
) -> Loss | None:
    """What ``hole`` took from the segment ``name``; ``data`` is what can be read of it.

    None: no trades; the record's header says so, and no trade can be read in it.

    ``begun_ns`` and ``ended_ns`` are when it was written: bounds where no record stands beside the
    hole, or where its header is damaged as well (a segment that is gone has no data at all).
    """
    from_ns, to_ns = created_ns(data) or begun_ns, ended_ns
    for found in scan(data):
        if isinstance(found, Damage) or found.table != BIG_TABLE:
            continue
        times = _times_in(data[found.payload_offset : found.end])
        if found.end <= hole.offset:
            from_ns = min(times, default=from_ns)
        elif found.offset >= hole.end:
            to_ns = max(times, default=to_ns)
            break
    lost = data[hole.offset : hole.end]
    times = [ns for ns in _times_in(lost) if abs(ended_ns - ns) < BELIEVED_NS]
    if not HEAD.search(lost) and table_told(lost) not in (None, BIG_TABLE):
        return None
    heads = [tuple(part.decode("utf-8", "replace") for part in one) for one in HEAD.findall(lost)]
    symbols = {(f"{exchange}_{market_type}", symbol) for exchange, market_type, symbol in heads}
    return Loss(
        segment=name, rows=hole.rows, from_ns=max(0, min([from_ns, to_ns, *times]) - SLACK_NS),
        to_ns=max([to_ns, *times]) + SLACK_NS,
        symbols=frozenset(symbols if len(heads) == hole.rows else ()),
    )  # fmt: skip


def _times_in(payload: bytes) -> list[int]:
    return [int(ns) for ns in STAMP.findall(payload)]
