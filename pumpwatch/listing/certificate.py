"""What is proven of a listing's window, feed by feed, and why no more. Sans I/O.

proven      every id from the row before the window to the row after it is held, or a proof that
            counts for more than a living connection ends it; no hole is declared in it
covered     nothing says that a row is missing: the connection held, no hole, and what the venue's
            list shows of the window is held
incomplete  a row is missing, or may be: what and why is said
archive     nobody recorded it: what the venue's lists and daily files still had; never proven
not_listed  the feed has no instrument of the coin that traded in the window
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from pumpwatch.listing.events import ListingEvent
from pumpwatch.listing.evidence import Ids, RestCheck, SymbolRows, Window, without
from pumpwatch.model import Gap, Watermark
from pumpwatch.moments import iso_ns
from pumpwatch.store.window_model import FeedAnswer

VERSION = 1
Grade = Literal["proven", "covered", "incomplete", "archive", "not_listed"]
GRADES: tuple[Grade, ...] = ("proven", "covered", "incomplete", "archive", "not_listed")
CONTIGUOUS, OBSERVED = "contiguous", "observed"
CONTRACT_VALUE = "contract_value"
SUSPECT_PERCENT = 10  # a coin's price that lies farther off the other feeds' is another coin's
LIST_LATE_NS = 5 * 10**9  # a venue's list proves what lies so far behind (R10)
SHOWN_MAX = 8  # reasons and ids of one feed; the rest is counted


class FeedEvidence(msgspec.Struct, kw_only=True):
    """All that is known of one feed and the window."""

    answer: FeedAnswer
    ids: str  # what an id proves: contiguous, observed, opaque, none
    rows: Mapping[str, SymbolRows]  # by symbol
    sha256: str
    watermarks: Sequence[Watermark] = ()
    gaps: Sequence[Gap] = ()  # rows of the ledger that overlap the window, whatever became of them
    rest: RestCheck | None = None  # None: the venue was not asked
    absence: str = ""  # why it has no instrument, if it has none
    price: float = 0.0  # of one coin, the median of the hour before; 0: no trade
    mapped: str = ""  # same, other: a person's word on whether this is the coin
    lag_ns_min: int = 0
    lag_ns_median: int = 0
    archive: Sequence[str] = ()  # what was to be had of a window that nobody recorded


# --- the document ---------------------------------------------------------------------------------


class SymbolProof(msgspec.Struct, frozen=True, kw_only=True):
    """One instrument's rows in the window."""

    symbol: str
    venue_symbol: str
    unit: int
    contract_value: str
    price_exponent: int
    note: str
    rows: int
    first_id: int  # the venue's order numbers; 0: no row
    last_id: int
    id_before: int  # of the last row before the window; 0: none is held
    id_after: int
    skipped: list[list[int]]  # ids that the venue itself skips, by the ledger
    missing: list[list[int]]
    first_trade_id: str
    last_trade_id: str
    watermark_ns: int
    watermark_proof: str


class LedgerExtract(msgspec.Struct, frozen=True, kw_only=True):
    """A hole of the ledger that touches the window, as it stood when this was written."""

    gap_id: str
    symbol: str
    cause: str
    state: str
    from_ns: int
    to_ns: int
    first_id: int
    last_id: int
    missing: int
    filled_rows: int
    reason: str


class FeedProof(msgspec.Struct, frozen=True, kw_only=True):
    """One feed."""

    feed: str
    grade: Grade
    reasons: list[str]
    ids: str
    rows: int
    sha256: str  # of the rows in canonical form
    instruments: list[SymbolProof]
    gaps: list[LedgerExtract]
    rest: RestCheck | None
    is_suspect_identity: bool
    suspicion: str
    lag_ns_min: int  # received - traded: clock offset and way together; 0: not known
    lag_ns_median: int


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a window's proof."""

    version: int
    software: str
    source: str
    notice_id: str
    symbol: str
    announced_ns: int
    detected_ns: int
    window: Window
    revision: int
    state: Literal["complete", "partial"]
    missing: list[str]  # what it waits for, or why it never came
    made_at_ns: int
    kept_to_ns: int  # until then the rows around the window were there, too
    rows: int
    counts: dict[str, int]  # feeds by grade
    feeds: list[FeedProof]

    @property
    def exchanges_with_data(self) -> int:
        """Feeds, 0 to 12."""
        return sum(feed.rows > 0 for feed in self.feeds)

    @property
    def verdict(self) -> str:
        """What a person wants to know first: ``complete: 5 proven, 4 covered, 3 not listed``."""
        told = [f"{self.counts[grade]} {grade.replace('_', ' ')}"
                for grade in GRADES if self.counts[grade]]  # fmt: skip
        return f"{self.state}: {', '.join(told)}"


def certify(
    event: ListingEvent, window: Window, feeds: Sequence[FeedEvidence], *, software: str,
    revision: int, state: Literal["complete", "partial"], missing: Sequence[str], made_at_ns: int,
    kept_to_ns: int,
) -> Certificate:  # fmt: skip
    """Grade every feed."""
    doubts = suspicions(feeds)
    proofs = [_prove(feed, window, doubts.get(feed.answer.feed, "")) for feed in feeds]
    return Certificate(
        version=VERSION, software=software, source=event.source, notice_id=event.notice_id,
        symbol=event.symbol, announced_ns=event.announced_ns, detected_ns=event.detected_ns,
        window=window, revision=revision, state=state, missing=list(missing),
        made_at_ns=made_at_ns, kept_to_ns=kept_to_ns, rows=sum(proof.rows for proof in proofs),
        counts={grade: sum(proof.grade == grade for proof in proofs) for grade in GRADES},
        feeds=proofs,
    )  # fmt: skip


def _prove(feed: FeedEvidence, window: Window, suspicion: str) -> FeedProof:
    instruments = _instruments(feed, window)
    grade, reasons = grade_feed(feed, instruments, window)
    rest = feed.rest
    return FeedProof(
        feed=feed.answer.feed, grade=grade, reasons=_shown(reasons), ids=feed.ids,
        rows=sum(one.rows for one in instruments), sha256=feed.sha256, instruments=instruments,
        gaps=[_extract(gap) for gap in sorted(feed.gaps, key=lambda g: (g.from_ns, g.gap_id))],
        rest=rest, is_suspect_identity=bool(suspicion), suspicion=suspicion,
        lag_ns_min=feed.lag_ns_min, lag_ns_median=feed.lag_ns_median,
    )  # fmt: skip


def _shown(reasons: list[str]) -> list[str]:
    more = len(reasons) - SHOWN_MAX
    return reasons[:SHOWN_MAX] + ([f"and {more} more"] if more > 0 else [])


def _extract(gap: Gap) -> LedgerExtract:
    return LedgerExtract(**{name: getattr(gap, name) for name in LedgerExtract.__struct_fields__})


def _instruments(feed: FeedEvidence, window: Window) -> list[SymbolProof]:
    marks = {mark.symbol: mark for mark in feed.watermarks}
    counts_up = feed.ids in (CONTIGUOUS, OBSERVED)
    found = []
    for used in feed.answer.instruments:
        if not used.is_used:
            continue
        symbol = used.instrument.symbol
        rows = feed.rows.get(symbol) or SymbolRows()
        mark = marks.get(symbol)
        skipped = _skipped(feed.gaps, symbol) if counts_up else []
        jumps = without(rows.jumps(), skipped) if counts_up else []
        found.append(
            SymbolProof(
                symbol=symbol, venue_symbol=used.instrument.venue_symbol,
                unit=used.instrument.unit,
                contract_value=used.instrument.contract_value,
                price_exponent=used.instrument.price_exponent, note=used.note, rows=rows.count,
                first_id=rows.first_id, last_id=rows.last_id,
                id_before=rows.id_before, id_after=rows.id_after,
                skipped=[list(ids) for ids in skipped if rows.touches(ids)],
                missing=[list(ids) for ids in jumps[:SHOWN_MAX]],
                first_trade_id=rows.first_trade_id, last_trade_id=rows.last_trade_id,
                watermark_ns=mark.to_ns if mark else 0, watermark_proof=mark.proof if mark else "",
            )
        )  # fmt: skip
    return found


def _skipped(gaps: Sequence[Gap], symbol: str) -> list[Ids]:
    """Ids that the venue itself never gave a trade: closed as empty after asking for them."""
    return [
        (gap.first_id, gap.last_id)
        for gap in gaps
        if gap.symbol == symbol and gap.state == "empty" and gap.first_id and gap.last_id
    ]


# --- grading --------------------------------------------------------------------------------------


def grade_feed(
    feed: FeedEvidence, instruments: Sequence[SymbolProof], window: Window
) -> tuple[Grade, list[str]]:
    """The grade, and what keeps it from the next better one."""
    if not instruments:
        return "not_listed", [feed.absence or feed.answer.note or "no instrument of this coin"]
    if feed.archive:
        return "archive", list(feed.archive)
    faults = _ledger_faults(feed, window) + _proof_faults(feed, instruments, window)
    if faults:
        return "incomplete", faults
    short = _short_of_proof(feed, instruments, window)
    return ("covered", short) if short else ("proven", [])


def _ledger_faults(feed: FeedEvidence, window: Window) -> list[str]:
    faults = []
    for gap in feed.gaps:
        where = f"{gap.symbol} {_clock(gap.from_ns)} to {_clock(gap.to_ns)}"
        if gap.is_open:
            faults.append(f"{where}: a hole, cause {gap.cause}, is not closed yet")
        elif gap.state == "lost":
            rows = f"{gap.missing} rows" if gap.missing >= 0 else "an unknown number of rows"
            faults.append(f"{where}: {rows} lost, cause {gap.cause}: {gap.reason}")
        elif gap.cause == CONTRACT_VALUE and gap.state != "filled":
            faults.append(f"{where}: the contract value changed, quantities are not certain")
    if not feed.answer.covers(window.from_ns, window.to_ns):
        held = f"{_clock(feed.answer.covered_from_ns)} to {_clock(feed.answer.covered_to_ns)}"
        faults.append(f"rows that came are known to be whole only from {held}")
    return faults


def _proof_faults(
    feed: FeedEvidence, instruments: Sequence[SymbolProof], window: Window
) -> list[str]:
    faults = []
    for one in instruments:
        if one.watermark_ns < window.to_ns:
            until = _clock(one.watermark_ns) if one.watermark_ns else "never"
            faults.append(f"{one.symbol}: known to be followed until {until}, not to its end")
        for first, last in one.missing:
            faults.append(f"{one.symbol}: ids {first} to {last} are not held")
    rest = feed.rest
    if rest is None:
        faults.append("the venue's list was not asked")
    elif rest.error:
        faults.append(f"the venue's list could not be read: {rest.error}")
    elif rest.missing:
        faults.append(f"the venue shows {rest.missing} rows of the window that are not held")
    elif rest.different:
        faults.append(f"{rest.different} rows of the window are others in the venue's list")
    return faults


def _short_of_proof(
    feed: FeedEvidence, instruments: Sequence[SymbolProof], window: Window
) -> list[str]:
    """Why a feed without a fault is not proven; []: it is."""
    if feed.ids == OBSERVED:
        return ["its ids count up in every recording, but the venue does not promise it (R7)"]
    if feed.ids != CONTIGUOUS:
        return ["its ids prove nothing: the connection held, and the venue's list agrees"
                if feed.rest is not None and feed.rest.reaches
                else "its ids prove nothing, and the venue shows no trades so old"]  # fmt: skip
    short = []
    rest = feed.rest
    is_ended_by_list = (
        rest is not None and rest.reaches and rest.asked_ns >= window.to_ns + LIST_LATE_NS
    )
    strong = {mark.symbol for mark in feed.watermarks if mark.is_strong}
    for one in instruments:
        if not one.id_before:
            short.append(f"{one.symbol}: no row before the window is held")
        if not one.id_after and one.symbol not in strong and not is_ended_by_list:
            short.append(f"{one.symbol}: no row after the window is held")
    return short


def _clock(moment_ns: int) -> str:
    return iso_ns(moment_ns)[11:23] if moment_ns else "?"


# --- is it the same coin? -------------------------------------------------------------------------


def suspicions(feeds: Sequence[FeedEvidence]) -> dict[str, str]:
    """Feeds whose price of one coin lies too far off the median of all: a text for each."""
    prices = [feed.price for feed in feeds if feed.price > 0 and feed.mapped != "other"]
    median = statistics.median(prices) if prices else 0.0
    found = {}
    for feed in feeds:
        name = feed.answer.feed
        if feed.mapped == "other":
            found[name] = "mapped as another coin"
        elif feed.mapped != "same" and feed.price > 0 and median > 0:
            off_percent = abs(feed.price / median - 1) * 100
            if off_percent > SUSPECT_PERCENT:
                found[name] = (
                    f"a price of {feed.price:.6g} in the hour before, {off_percent:.0f} % off the"
                    f" feeds' median {median:.6g}: another coin of this name?"
                    f" (`listings map` settles it)"
                )
    return found
