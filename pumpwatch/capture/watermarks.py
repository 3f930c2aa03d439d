"""Until when nothing of an instrument is missed: its last proof (R10). Sans I/O.

A quiet instrument proves nothing by being quiet. What counts is an id that follows on what is held,
a list of the venue's that ends with what is held, or, for ``covered`` only, that something came
later on a connection that was never cut. Every mark ends where the first open hole begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pumpwatch.capture.ledger import PROOF_LAG_NS, Position
from pumpwatch.capture.overlap import Listed, Mark, Match
from pumpwatch.model import Gap, Watermark
from pumpwatch.venues.spec import TradeIds

NEXT_ID, REST, ALIVE = "next_id", "rest", "alive"
# A list shows a row this long after it happened, at the latest; before that it proves nothing.
LIST_LAG_NS = 5 * 10**9


def by_next_id(feed: str, symbol: str, ids: TradeIds, position: Position | None) -> Watermark:
    """What the ids prove: all before the newest row came, if no id below it is missing."""
    if ids is not TradeIds.CONTIGUOUS or position is None:
        return Watermark(feed=feed, symbol=symbol)
    _, seen_to, last_ns, missing = position
    if not seen_to or missing:
        detail = f"{len(missing)} ranges of ids are missing" if missing else ""
        return Watermark(feed=feed, symbol=symbol, detail=detail)
    return Watermark(
        feed=feed, symbol=symbol, to_ns=last_ns, proof=NEXT_ID, detail=f"up to id {seen_to}"
    )


def by_connection(feed: str, symbol: str, since_ns: int, proof_ns: int, from_ns: int) -> Watermark:
    """What an unbroken connection makes likely: it carried the symbol before ``from_ns``.

    ``since_ns``: carried since then (our clock), 0: it is not; ``proof_ns``: bytes came then.
    """
    if not since_ns or since_ns > from_ns or proof_ns - PROOF_LAG_NS <= from_ns:
        return Watermark(feed=feed, symbol=symbol)
    return Watermark(
        feed=feed, symbol=symbol, to_ns=proof_ns - PROOF_LAG_NS, proof=ALIVE, at_ns=proof_ns
    )


def by_list(
    feed: str, symbol: str, found: Match, held_ns: Sequence[int], *, from_ns: int, asked_ns: int
) -> Watermark:
    """What a list proves that was asked for at ``asked_ns``; ``held_ns``: times of what is held.

    It must reach back to ``from_ns`` or to a row that is held, and show nothing after that which is
    not. A list older than what is held (a cache of the venue's) proves no more than it shows.
    """
    mark = Watermark(feed=feed, symbol=symbol, at_ns=asked_ns)
    missing = _missing(found, from_ns, asked_ns - LIST_LAG_NS)
    if missing:
        return _because(mark, f"{len(missing)} rows of the list are not held")
    if not found.rows:
        if held_ns:
            return _because(mark, "an empty list, although rows are held")
        return _proven(mark, asked_ns - LIST_LAG_NS, "an empty list, and nothing is held")
    oldest = found.rows[0]
    is_met = found.marks[0] is not Mark.MISSING or oldest.exchange_ns < from_ns
    if not is_met:
        return _because(mark, "the list does not reach back to what is held")
    last_ns = found.rows[-1].exchange_ns
    later = [at_ns for at_ns in held_ns if last_ns < at_ns <= asked_ns - LIST_LAG_NS]
    if later:
        return _proven(
            mark, last_ns, f"the list is old: {len(later)} rows that are held came later"
        )
    return _proven(mark, asked_ns - LIST_LAG_NS, f"its last row is held: {found.rows[-1].trade_id}")


def _missing(found: Match, from_ns: int, to_ns: int) -> list[Listed]:
    """Rows that are not held; what is younger may be under way still, and nothing is said of it."""
    return [
        row
        for row, mark in zip(found.rows, found.marks, strict=True)
        if mark is Mark.MISSING and from_ns <= row.exchange_ns <= to_ns
    ]


def _because(mark: Watermark, detail: str) -> Watermark:
    return Watermark(feed=mark.feed, symbol=mark.symbol, at_ns=mark.at_ns, detail=detail)


def _proven(mark: Watermark, to_ns: int, detail: str) -> Watermark:
    return Watermark(
        feed=mark.feed, symbol=mark.symbol, to_ns=to_ns, proof=REST, at_ns=mark.at_ns, detail=detail
    )


def best(marks: Iterable[Watermark], gaps: Iterable[Gap]) -> Watermark:
    """Of one instrument: the latest mark, a strong one before a weak one; cut by its open holes.

    A strong mark that reaches less far than a weak one is preferred only where it reaches at all.
    """
    ranked = sorted(marks, key=lambda one: (one.is_strong and one.to_ns > 0, one.to_ns))
    mark = ranked[-1]
    for gap in gaps:
        if mark.proof and gap.from_ns < mark.to_ns:
            mark = Watermark(
                feed=mark.feed, symbol=mark.symbol, to_ns=gap.from_ns, proof=mark.proof,
                at_ns=mark.at_ns, detail=f"up to an open hole ({gap.cause})",
            )  # fmt: skip
    return mark
