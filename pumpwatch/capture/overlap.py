"""What a venue's list of past trades says of a hole, held against the rows that are held. Sans I/O.

A list may close a hole only if it reaches past both edges (R2). Rows are told apart by the key that
they have in the table: the id, and where a venue gives none, side, price, size and the ordinal
among the equal rows of that nanosecond, counted from the list's oldest (R6).
"""

from __future__ import annotations

import decimal
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from enum import Enum

import msgspec

from pumpwatch.model import Instrument
from pumpwatch.venues.spec import RestTrade

SECOND_NS = 10**9
# A venue's clock may be so far from ours; and a row may be so long on its way through the stream.
CLOCKS_APART_NS = 5 * SECOND_NS
# A list with so small a part of what fits in it is taken for all there is of a symbol of which no
# earlier row is known. A fuller one may have been cut: Phemex documents 200 rows, sends 1,000.
FEW_SHARE = 0.1

EXACT = decimal.Context(prec=400, traps=[decimal.InvalidOperation, decimal.Overflow])


class Listed(msgspec.Struct, frozen=True, gc=False):
    """A row of a list with its id in the table; ``ordinal`` -1: the venue gives ids."""

    trade: RestTrade
    trade_id: str
    ordinal: int = -1

    @property
    def exchange_ns(self) -> int:
        """The venue's time of the trade."""
        return self.trade.exchange_ns


class Held(msgspec.Struct, frozen=True, gc=False):
    """A row that is in memory or in the table."""

    exchange_ns: int
    trade_id: str
    is_stream: bool = True  # False: from REST, and so no proof that the stream came by
    received_ns: int = 0  # our clock


class Mark(Enum):
    """What is known of a listed row."""

    MISSING = "missing"
    BACKFILLED = "backfilled"  # held, from REST
    STREAMED = "streamed"  # held, from the stream


class Match(msgspec.Struct, frozen=True):
    """A list's rows beside those that are held."""

    rows: list[Listed]  # oldest first
    marks: list[Mark]
    times_apart: int = 0  # R4: rows of one id whose times differ


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a list says of one hole."""

    missing: list[Listed]  # rows of the hole that are not held, oldest first
    reaches_start: bool
    reaches_end: bool
    beyond_ns: int  # 0, or: what is older than this the list does not show
    last: tuple[int, str, int] | None  # newest row and rows in the list: equal, if nothing happened

    @property
    def closes(self) -> bool:
        """Whether the hole has no other row than ``missing`` (R2)."""
        return self.reaches_start and self.reaches_end

    @property
    def is_empty(self) -> bool:
        """Whether it is proven that nothing is missing."""
        return self.closes and not self.missing


# --- identity -------------------------------------------------------------------------------------


def plain(text: str, factor: str = "1", exponent: int = 0) -> str:
    """The product as the road writes it into ids: no zeros behind, no exponent."""
    product = EXACT.multiply(decimal.Decimal(text), decimal.Decimal(factor))
    return format(EXACT.normalize(EXACT.scaleb(product, exponent)), "f")


def name_rows(trades: Iterable[RestTrade], instrument: Instrument) -> list[Listed]:
    """Give a list's rows, oldest first, the ids that they have in the table."""
    counts: Counter[tuple[int, str]] = Counter()
    named = []
    for trade in trades:
        if trade.trade_id is not None:
            named.append(Listed(trade, trade.trade_id))
            continue
        price = plain(trade.price, exponent=instrument.price_exponent)
        quantity = plain(trade.quantity, instrument.contract_value)
        stem = f"{trade.side}-{price}-{quantity}"
        ordinal = counts[(trade.exchange_ns, stem)]
        counts[(trade.exchange_ns, stem)] += 1
        named.append(Listed(trade, f"{stem}-{ordinal}", ordinal))
    return named


def without_cut_instant(rows: Sequence[Listed]) -> list[Listed]:
    """Rows of a list that may have been cut: among those of its oldest instant some may not be.

    Only for rows whose ordinal is part of their id: it may be wrong there.
    """
    if not rows or rows[0].ordinal < 0:
        return list(rows)
    return [row for row in rows if row.exchange_ns > rows[0].exchange_ns]


def match(rows: Sequence[Listed], held: Iterable[Held]) -> Match:
    """Find a list's rows among the held ones, which may be more.

    A venue's own id is one row's, whatever time it is shown with; a composed one is of its instant.
    """
    by_id: dict[tuple[int, str], list[Held]] = {}
    composed = bool(rows) and rows[0].ordinal >= 0
    for one in held:
        by_id.setdefault((one.exchange_ns if composed else 0, one.trade_id), []).append(one)
    marks, times_apart = [], 0
    for row in rows:
        found = by_id.get((row.exchange_ns if composed else 0, row.trade_id))
        if found is None:
            marks.append(Mark.MISSING)
            continue
        times_apart += all(one.exchange_ns != row.exchange_ns for one in found)
        is_stream = any(one.is_stream for one in found)
        marks.append(Mark.STREAMED if is_stream else Mark.BACKFILLED)
    return Match(list(rows), marks, times_apart)


# --- judging --------------------------------------------------------------------------------------


def judge(
    found: Match,
    *,
    from_ns: int,
    to_ns: int,
    before: Set[str] = frozenset(),
    is_all: bool = False,
    by_id_only: bool = False,
) -> Verdict:
    """Say what a list shows of the hole between two times.

    ``from_ns`` is the exchange time of the last row before it, or a time before which nothing is
    missing; ``to_ns`` when the symbol was carried again, 0 while it is not. ``before``: ids of held
    rows that came before the hole did; one instant may have rows on both sides of it. ``is_all``:
    the list has all trades that there ever were. ``by_id_only``: the venue's times are not the
    stream's (R4), so only held rows are edges.
    """
    rows, marks = found.rows, found.marks
    reaches_start = is_all or any(
        (row.exchange_ns < from_ns and not by_id_only)
        or (row.exchange_ns <= from_ns and row.trade_id in before and mark is not Mark.MISSING)
        for row, mark in zip(rows, marks, strict=True)
    )
    edge = _stream_goes_on(found, to_ns, before)
    missing = [
        row
        for at, (row, mark) in enumerate(zip(rows, marks, strict=True))
        if mark is Mark.MISSING
        and row.exchange_ns >= from_ns
        and (not to_ns or row.exchange_ns <= to_ns or _is_before(at, edge, row, to_ns))
    ]
    return Verdict(
        missing=missing,
        reaches_start=reaches_start,
        reaches_end=edge is not None,
        beyond_ns=rows[0].exchange_ns if rows and not reaches_start else 0,
        last=(rows[-1].exchange_ns, rows[-1].trade_id, len(rows)) if rows else None,
    )


def _stream_goes_on(found: Match, to_ns: int, before: Set[str]) -> int | None:
    """Where in the list the stream is back: behind it, whatever is missing is another hole's."""
    if not to_ns:
        return None
    for at, (row, mark) in enumerate(zip(found.rows, found.marks, strict=True)):
        is_behind = row.exchange_ns >= to_ns and row.trade_id not in before
        if mark is Mark.STREAMED and is_behind:
            return at
    return None


def _is_before(at: int, edge: int | None, row: Listed, to_ns: int) -> bool:
    """A row with a time after the end that the stream did not bring: the clocks are apart."""
    return edge is not None and at < edge and row.exchange_ns <= to_ns + CLOCKS_APART_NS


def passed_by(found: Match, *, from_ns: int, read_ns: int) -> list[Listed]:
    """Missing rows after ``from_ns`` that the stream should have brought by now (R11).

    Either it brought a later row already, or they are older than any way through it takes, so that
    it is mute. ``read_ns``: what the venue had sent by then was read before the list was asked for.
    """
    pairs = list(zip(found.rows, found.marks, strict=True))
    streamed_ns = max((row.exchange_ns for row, mark in pairs if mark is Mark.STREAMED), default=0)
    latest_ns = max(streamed_ns, read_ns - CLOCKS_APART_NS)
    return [
        row for row, mark in pairs if mark is Mark.MISSING and from_ns < row.exchange_ns < latest_ns
    ]
