"""The ledger held against the truth, sans-IO: is every absent row told of, and is nothing untrue?

A row is absent when it was traded and is not in the table. Where ids count up it must lie in a row
of the ledger that is open or lost. On the other feeds that holds for what a cut took. What a venue
kept back on an unbroken connection shows there only while a REST list still has it: those rows are
counted apart when no row of the ledger tells of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from pumpwatch.model import Gap
from pumpwatch.sim.faults import LINKS, Played
from pumpwatch.tally import KEY
from pumpwatch.venues import FEEDS
from pumpwatch.venues.spec import TradeIds

# Ids that count up without a hole; Gate futures' do so wherever it was seen (FEEDS.md, section 0).
BY_ID = frozenset(
    spec.name for spec in FEEDS if spec.ids in (TradeIds.CONTIGUOUS, TradeIds.OBSERVED)
)
HIDDEN = frozenset({"withhold", "thin", "mute", "stall", "half_open"})  # no connection need end
SECOND_NS = 10**9
NEAR_NS = SECOND_NS  # of a fault's span: what is on its way when it begins, or ends
Mask = npt.NDArray[np.bool_]


class Holes(msgspec.Struct, kw_only=True):
    """Rows and ledger rows by what became of them."""

    rows: int  # traded, as far as they were to be recorded
    duplicate: int
    unknown: dict[str, int]  # by feed: stored, and never traded
    unsent: int  # that no connection brought
    recovered: int  # of these: stored
    absent: int
    told: int  # of these: inside a ledger row that is open or lost
    beyond: int  # kept back by an unbroken connection without ids, and out of every list's reach
    silent: int  # absent, and no row says so
    false_filled: int  # absent, and inside a row that says filled or empty, and no other tells
    lossy: int  # faults that kept a row from the stream
    noticed: int  # of these: with a ledger row for each symbol that lost something
    overlooked: list[str]
    examples: list[str]
    beyond_by_feed: dict[str, int]


class _Symbol:
    """The unsent and the absent rows of one symbol of one feed."""

    def __init__(self, rows: pl.DataFrame, gaps: Sequence[Gap]) -> None:
        self.ns = rows["exchange_ns"].to_numpy()
        self.ids = rows["sequence_number"].to_numpy()
        self.is_absent = rows["is_absent"].to_numpy()
        self.is_hidden = rows["withheld"].to_numpy()
        self.gaps = gaps

    def inside(self, gap: Gap) -> Mask:
        """Which rows the ledger's row can mean."""
        if gap.last_id:
            return (self.ids >= gap.first_id) & (self.ids <= gap.last_id)
        found = self.ns >= gap.from_ns
        if gap.to_ns:
            found &= self.ns <= gap.to_ns
        return found & (self.ids >= gap.first_id) if gap.first_id else found

    def any_of(self, states: Iterable[str]) -> Mask:
        """Rows inside any ledger row of such a state."""
        found = np.zeros(len(self.ns), dtype=np.bool_)
        for gap in self.gaps:
            if gap.state in states:
                found |= self.inside(gap)
        return found


def judge_holes(
    truth: pl.DataFrame, stored: pl.DataFrame, gaps: Sequence[Gap], played: Sequence[Played]
) -> Holes:
    """``truth`` holds everything that was traded, delivered or not."""
    truth = _equals_in_order(truth)
    first_ns = min((one.at_ns for one in played), default=2**62)
    wanted = truth.filter(
        ~pl.col("history") & (pl.col("delivered") | (pl.col("exchange_ns") >= first_ns - NEAR_NS))
    ).unique(KEY, keep="first")
    once = stored.unique(KEY, keep="first")
    absent = wanted.join(once, on=KEY, how="anti").with_columns(
        pl.lit(value=True).alias("is_absent")
    )
    had = wanted.filter(~pl.col("delivered")).join(once, on=KEY, how="semi")
    loss = pl.concat([absent, had.with_columns(pl.lit(value=False).alias("is_absent"))])
    by_symbol = _by_symbol(loss, gaps)
    found = Holes(
        rows=len(wanted), duplicate=len(stored) - len(once),
        unknown=dict(
            once.join(truth, on=KEY, how="anti").group_by("feed").len().sort("feed").iter_rows()
        ),
        unsent=len(wanted.filter(~pl.col("delivered"))), recovered=len(had), absent=len(absent),
        told=0, beyond=0, silent=0, false_filled=0, lossy=0, noticed=0, overlooked=[],
        examples=[], beyond_by_feed={},
    )  # fmt: skip
    for (feed, symbol), rows in by_symbol.items():
        _judge_symbol(found, feed, symbol, rows, played, truth)
    names = {
        (feed, venue_symbol): symbol
        for feed, venue_symbol, symbol in truth.select("feed", "venue_symbol", "symbol")
        .unique()
        .iter_rows()
    }
    for one in played:
        _judge_fault(found, one, names, by_symbol, played)
    return found


def _equals_in_order(truth: pl.DataFrame) -> pl.DataFrame:
    """Of equal rows without ids nobody can say which one came: the first ones did."""
    names = [spec.name for spec in FEEDS if spec.ids is TradeIds.NONE]
    equals = ["feed", "symbol", "exchange_ns", pl.col("trade_id").str.replace(r"-\d+$", "")]
    is_one = pl.col("feed").is_in(names)
    told = pl.col("delivered").sort(descending=True).over(equals)
    kept_back = pl.col("withheld").sort().over(equals)
    return truth.with_columns(
        pl.when(is_one).then(told).otherwise(pl.col("delivered")).alias("delivered"),
        pl.when(is_one).then(kept_back).otherwise(pl.col("withheld")).alias("withheld"),
    )


def _by_symbol(loss: pl.DataFrame, gaps: Sequence[Gap]) -> dict[tuple[str, str], _Symbol]:
    told: defaultdict[tuple[str, str], list[Gap]] = defaultdict(list)
    for gap in gaps:
        told[(gap.feed, gap.symbol)].append(gap)
    found = {}
    for key, rows in loss.partition_by("feed", "symbol", as_dict=True).items():
        feed, symbol = str(key[0]), str(key[1])
        found[(feed, symbol)] = _Symbol(rows, told[(feed, symbol)] + told[(feed, "*")])
    return found


def _judge_symbol(
    found: Holes, feed: str, symbol: str, rows: _Symbol, played: Sequence[Played],
    truth: pl.DataFrame,
) -> None:  # fmt: skip
    is_told = rows.any_of(("suspected", "confirmed", "lost")) & rows.is_absent
    untold = rows.is_absent & ~is_told
    found.told += int(is_told.sum())
    if not untold.any():
        return
    is_denied = rows.any_of(("filled", "empty")) & untold
    found.false_filled += int(is_denied.sum())
    is_beyond = np.zeros(len(untold), dtype=np.bool_)
    if feed not in BY_ID:
        is_beyond = untold & ~is_denied & (rows.is_hidden | _in_silence(feed, symbol, rows, played))
        if is_beyond.any():
            found.beyond += int(is_beyond.sum())
            found.beyond_by_feed[feed] = found.beyond_by_feed.get(feed, 0) + int(is_beyond.sum())
    silent = untold & ~is_beyond
    found.silent += int(silent.sum())
    for at in np.flatnonzero(silent)[:3].tolist():
        found.examples.append(f"{feed} {symbol} id {rows.ids[at]} at {rows.ns[at]}")


def _in_silence(feed: str, symbol: str, rows: _Symbol, played: Sequence[Played]) -> Mask:
    """Rows from a time in which a connection was open and said nothing."""
    found = np.zeros(len(rows.ns), dtype=np.bool_)
    for one in played:
        if one.fault.feed == feed and one.fault.kind in ("stall", "half_open"):
            found |= (rows.ns >= one.at_ns - NEAR_NS) & (
                rows.ns <= (one.until_ns or 2**62) + NEAR_NS
            )
    return found


def _judge_fault(
    found: Holes,
    one: Played,
    names: dict[tuple[str, str], str],
    by_symbol: dict[tuple[str, str], _Symbol],
    played: Sequence[Played],
) -> None:
    """A fault that lost something has a row for each symbol; where nothing ends, ids must tell."""
    fault, is_lossy, misses = one.fault, False, []
    until_ns = (one.until_ns or 2**62) + NEAR_NS
    for venue_symbol in one.symbols:
        symbol = names.get((fault.feed, venue_symbol), "")
        rows = by_symbol.get((fault.feed, symbol))
        if rows is None:
            continue
        lost = (rows.ns >= one.at_ns) & (rows.ns <= until_ns)
        if fault.kind in HIDDEN - LINKS:
            lost &= rows.is_hidden
        elif fault.feed not in BY_ID:  # what another fault kept back at the time is that one's
            lost &= ~(rows.is_hidden | _in_silence(fault.feed, symbol, rows, played))
        if not lost.any():
            continue
        is_lossy = True
        if not (rows.any_of(("suspected", "confirmed", "lost", "filled", "empty")) & lost).any():
            misses.append(symbol)
    if not is_lossy or (fault.feed not in BY_ID and fault.kind in HIDDEN):
        return
    found.lossy += 1
    found.noticed += not misses
    if misses:
        found.overlooked.append(f"{fault.feed} {fault.kind} {','.join(misses[:3])} at {one.at_ns}")
