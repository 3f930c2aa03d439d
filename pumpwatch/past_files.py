"""What venues' daily files hold of a span of long ago, where their lists no longer reach.

A file is evidence, not truth: where the list still shows some of its day, the two are compared, and
a file that differs is not believed. Numbers that a counting feed's file skips are holes, and the
span is called whole only behind the last of them. What is not to be had is said, not raised.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

import msgspec
import trio

from pumpwatch.archiving import DAY, days_between, fetch_file, start_ns
from pumpwatch.capture.archive_fold import MARGIN_NS, Stored, fold, values_of
from pumpwatch.capture.overlap import Listed, name_rows
from pumpwatch.errors import VenueError
from pumpwatch.model import Instrument
from pumpwatch.rest import RestClient
from pumpwatch.venues.archives import read_file
from pumpwatch.venues.spec import ArchiveFile, FeedSpec, RestTrade


class FileSpan(msgspec.Struct, frozen=True, kw_only=True):
    """What the files of a span held."""

    rows: list[Listed]  # of the span, oldest first
    reached_ns: int  # no row is known to be missing from here on
    text: str  # why not all of it; "" if nothing says so
    lacks_file: bool  # of some day: it may not be out yet


class PastFiles:
    """Reads one instrument's daily files."""

    def __init__(
        self, rest: RestClient, spec: FeedSpec, archive: ArchiveFile, instrument: Instrument
    ) -> None:
        self._rest, self._spec, self._archive = rest, spec, archive
        self._instrument = instrument

    async def read(self, from_ns: int, to_ns: int, shown: Sequence[Listed]) -> FileSpan:
        """Rows with from <= time < to; ``shown``: what the list shows from ``to_ns`` on."""
        rows: list[RestTrade] = []
        reached_ns, texts, lacks_file = to_ns, [], False
        for day in reversed(days_between(from_ns, to_ns, self._archive)):
            try:
                body = await fetch_file(
                    self._rest, self._spec.exchange, self._archive,
                    self._instrument.venue_symbol, day,
                )  # fmt: skip
            except VenueError as error:
                lacks_file = True
                texts.append(str(error)[:200])
                continue
            try:
                found = await trio.to_thread.run_sync(
                    self._read_day, body, from_ns, to_ns, shown, day
                )
            except VenueError as error:
                texts.append(str(error)[:200])
                continue
            rows = found + rows
            if not texts:
                reached_ns = max(from_ns, start_ns(day, self._archive))
        if self._spec.counts_up and self._archive.has_stream_ids:
            hole_ns, missing = holes(rows)
            if missing:
                texts.append(f"{missing:,} numbers are not in the daily files")
                reached_ns = max(reached_ns, hole_ns)
        named = await trio.to_thread.run_sync(name_rows, rows, self._instrument)
        return FileSpan(
            rows=named, reached_ns=reached_ns, text="; ".join(texts), lacks_file=lacks_file
        )

    def _read_day(
        self, body: bytes, from_ns: int, to_ns: int, shown: Sequence[Listed], day: datetime
    ) -> list[RestTrade]:
        """One file's rows of the span. Raises VenueError where it is no file, or differs."""
        end_ns = start_ns(day + DAY, self._archive)
        trades = [
            one for one in read_file(self._archive, body, self._spec.time_step_ns)
            if from_ns <= one.exchange_ns < to_ns + MARGIN_NS
        ]  # fmt: skip
        inside = [one for one in trades if one.exchange_ns < to_ns]
        both_ns = min(to_ns + MARGIN_NS, end_ns)
        of_list = [one for one in shown if one.exchange_ns < both_ns]
        if of_list:
            inside += self._compare([one for one in trades if one.exchange_ns >= to_ns], of_list,
                                    to_ns)  # fmt: skip
        inside.sort(key=lambda one: (one.exchange_ns, one.order_id))
        return inside

    def _compare(
        self, trades: list[RestTrade], shown: Sequence[Listed], to_ns: int
    ) -> list[RestTrade]:
        """Hold the list's first minute beside the file; rows of its oldest instant that it cut off.

        Raises VenueError where they differ.
        """
        held = []
        for one in shown:
            ns, side, price, quantity = values_of(one.trade, self._instrument)
            held.append(Stored(one.trade_id, ns, side, price, quantity))
        folded = fold(
            trades, held, self._instrument, to_ns, to_ns, by_id=self._archive.has_stream_ids
        )
        if folded.disagreements:
            raise VenueError(f"the daily file differs from the list: {folded.disagreements[0]}")
        return [one.trade for one in folded.missing]


def holes(rows: Sequence[RestTrade]) -> tuple[int, int]:
    """Time of the row behind the last hole in the numbers, and how many are missing in all."""
    after_ns, missing = 0, 0
    numbered = [one for one in rows if one.order_id]
    for before, one in pairwise(numbered):
        if one.order_id > before.order_id + 1:
            after_ns = one.exchange_ns
            missing += one.order_id - before.order_id - 1
    return after_ns, missing
