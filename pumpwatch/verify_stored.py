"""Checks of ``verify`` that need no venue: ids, times, the ledger's word, minutes without a row."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from pumpwatch.capture.ranges import Ids, common, size, without
from pumpwatch.moments import iso_ns
from pumpwatch.store.gap_rows import Questions
from pumpwatch.venues.spec import FeedSpec
from pumpwatch.verify_book import Book, Difference, Span

MINUTE_NS = 60 * 10**9
HOUR_NS = 60 * MINUTE_NS
EDGE_NS = MINUTE_NS  # ids of one instant's neighbours may lie outside of the span
BUSY_ROWS = 30  # a minute, on the whole feed: an empty one among such is no chance
SHOWN_MAX = 20  # of the differences of one symbol

WHERE = (
    " FROM trades WHERE timestamp >= cast(%s AS TIMESTAMP_NS)"
    " AND timestamp < cast(%s AS TIMESTAMP_NS) AND exchange = %s AND market_type = %s"
)


def _place(spec: FeedSpec, from_ns: int, to_ns: int) -> list[Any]:
    return [from_ns, to_ns, spec.exchange, spec.market_type]


def _difference(spec: FeedSpec, symbol: str, check: str, what: str, reason: str = "") -> Difference:
    return Difference(feed=spec.name, symbol=symbol, check=check, what=what, reason=reason)


def missing_ranges(ids: Iterable[int]) -> list[Ids]:
    """What lies between sorted ids."""
    return [(a + 1, b - 1) for a, b in pairwise(ids) if b > a + 1]


async def check_ids(sql: Questions, spec: FeedSpec, book: Book, span: Span) -> list[Difference]:
    """Where ids count up: every id between a symbol's first and last is there, or accounted for."""
    place = _place(spec, span.from_ns, span.to_ns)
    rows = await sql.query_dicts(
        "SELECT symbol, count_distinct(sequence_number) AS ids, min(sequence_number) AS low,"
        f" max(sequence_number) AS high{WHERE} GROUP BY symbol", place,
    )  # fmt: skip
    found = []
    for row in rows:
        if row["ids"] != row["high"] - row["low"] + 1:
            found += await _missing_ids(sql, spec, book, span, row["symbol"])
    return found


async def _missing_ids(
    sql: Questions, spec: FeedSpec, book: Book, span: Span, symbol: str
) -> list[Difference]:
    resets = [gap for gap in book.of(symbol) if gap.cause == "id_reset"]
    if resets:
        reason = f"ids were counted anew: gap {resets[-1].gap_id}"
        return [_difference(spec, symbol, "ids", "ids are not compared", reason)]
    ids = await _ids_of(sql, spec, symbol, span.from_ns, span.to_ns)
    wide = await _ids_of(sql, spec, symbol, span.from_ns - EDGE_NS, span.to_ns + EDGE_NS)
    missing = without(missing_ranges(ids), [(one, one) for one in set(wide) - set(ids)])
    found = []
    told = book.of_missing_ids(symbol)
    for first, last in missing:
        for gap in told:
            for low, high in common([(first, last)], [(gap.first_id, gap.last_id)]):
                reason = f"{gap.state}: {gap.reason or gap.cause}, gap {gap.gap_id}"
                found.append(_difference(spec, symbol, "ids", f"ids {low} to {high}", reason))
        silent = without([(first, last)], [(gap.first_id, gap.last_id) for gap in told])
        for low, high in silent[:SHOWN_MAX]:
            found.append(_difference(spec, symbol, "ids", f"ids {low} to {high} are not there"))
    return found


async def _ids_of(
    sql: Questions, spec: FeedSpec, symbol: str, from_ns: int, to_ns: int
) -> list[int]:
    rows = await sql.query_dicts(
        f"SELECT DISTINCT sequence_number AS number{WHERE} AND symbol = %s"
        " ORDER BY number", [*_place(spec, from_ns, to_ns), symbol],
    )  # fmt: skip
    return [row["number"] for row in rows]


async def check_times(sql: Questions, spec: FeedSpec, span: Span) -> list[Difference]:
    """R4: no id has two times. Hour by hour, for the database has to keep all ids of a question."""
    found: dict[Difference, None] = {}
    for from_ns in range(span.from_ns, span.to_ns, HOUR_NS):
        until_ns = min(span.to_ns, from_ns + HOUR_NS)
        for one in await _times_within(sql, spec, max(span.from_ns, from_ns - EDGE_NS), until_ns):
            found[one] = None
    return list(found)


async def _times_within(
    sql: Questions, spec: FeedSpec, from_ns: int, to_ns: int
) -> list[Difference]:
    rows = await sql.query_dicts(
        "SELECT symbol, trade_id, copies, low, high FROM (SELECT symbol, trade_id,"
        " count() AS copies, min(timestamp)::long AS low, max(timestamp)::long AS high"
        f"{WHERE} GROUP BY symbol, trade_id) WHERE copies > 1 LIMIT 1000",
        _place(spec, from_ns, to_ns),
    )
    return [
        _difference(
            spec, row["symbol"], "times",
            f"id {row['trade_id']} is there {row['copies']} times, from {iso_ns(row['low'])}"
            f" to {iso_ns(row['high'])}",
        )
        for row in rows
    ]  # fmt: skip


async def check_ledger(sql: Questions, spec: FeedSpec, book: Book, span: Span) -> list[Difference]:
    """What the ledger calls filled is there."""
    found = []
    for gap in book.gaps:
        is_filled = gap.state == "filled" and gap.last_id
        if not is_filled or gap.to_ns < span.from_ns or gap.from_ns >= span.to_ns:
            continue
        from_ns, to_ns = min(gap.from_ns, gap.to_ns), max(gap.from_ns, gap.to_ns)
        # The row before a hole may be older than any of the hole: its time says little.
        ids = await _ids_of(sql, spec, gap.symbol, from_ns - EDGE_NS, to_ns + EDGE_NS)
        stored = [(one, one) for one in ids if gap.first_id <= one <= gap.last_id]
        absent = without([(gap.first_id, gap.last_id)], stored)
        told = [(one.first_id, one.last_id) for one in book.of(gap.symbol) if one.last_id
                and (one.state == "lost" or one.reason == "not_offered")]  # fmt: skip
        absent = without(absent, told)
        if absent:
            what = f"gap {gap.gap_id} is called filled, and {size(absent)} of its ids are not there"
            found.append(_difference(spec, gap.symbol, "ledger", what))
    return found


async def check_minutes(sql: Questions, spec: FeedSpec, book: Book, span: Span) -> list[Difference]:
    """No minute of a busy feed is without a row."""
    rows = await sql.query_dicts(
        f"SELECT timestamp::long AS minute, count() AS rows{WHERE} SAMPLE BY 1m",
        _place(spec, span.from_ns, span.to_ns),
    )
    counts = {int(row["minute"]): int(row["rows"]) for row in rows}
    if not counts:
        what = "no row at all"
        gap = book.explains_time("*", span.from_ns, span.to_ns)
        reason = "nothing was recorded of this feed" if gap is None else f"gap {gap.gap_id}"
        return [_difference(spec, "*", "minutes", what, reason)]
    first, last = min(counts), max(counts)
    minutes = range(first, last + 1, MINUTE_NS)
    if sum(counts.values()) / len(minutes) < BUSY_ROWS:
        return []
    found = []
    for minute in minutes:
        if minute not in counts:
            until = minute + MINUTE_NS
            told = [
                gap
                for gap in book.gaps
                if gap.state != "empty" and gap.from_ns <= until and minute <= (gap.to_ns or minute)
            ]
            reason = f"{told[0].cause}: {len(told)} gaps" if told else ""
            what = f"no row in the minute of {iso_ns(minute)[:16]}Z"
            found.append(_difference(spec, "*", "minutes", what, reason))
    return found
