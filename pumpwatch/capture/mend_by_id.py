"""Holes whose ids count up: the missing ids are asked for, and the ledger knows which came.

A hole whose last id is known closes when all of its ids have come, when the venue skips them, or
when it does not show them any more. A cut that no row has ended yet closes when the stream goes on
behind what REST showed, or when REST shows the same twice (R2). Nothing waits between an answer and
what is said of it: the rows go to the spool first.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import msgspec

from pumpwatch.capture.asking import Asker, Progress
from pumpwatch.capture.ledger import NOT_OFFERED
from pumpwatch.capture.mend_by_time import (
    EMPTY_TRIES,
    HELD_MARGIN_NS,
    NOTHING_SHOWN,
    QUIET,
    QUIET_NS,
    REFUSED,
)
from pumpwatch.capture.open_gaps import ID_RESET
from pumpwatch.capture.overlap import CLOCKS_APART_NS, Listed, match, name_rows
from pumpwatch.capture.ranges import ENDLESS, Ids, common
from pumpwatch.model import Gap
from pumpwatch.turnstile import Priority
from pumpwatch.venues.history import Span, first_request, next_request
from pumpwatch.venues.spec import RestPage, TradePage


class _Shown(msgspec.Struct):
    """Which ids one look saw."""

    low: int = ENDLESS
    high: int = 0

    def note(self, rows: Iterable[Listed]) -> None:
        for row in rows:
            self.low = min(self.low, row.trade.order_id)
            self.high = max(self.high, row.trade.order_id)


class ById:
    """Looks at such holes of one feed."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._feed = asker.feed

    async def look(self, gap: Gap, progress: Progress, priority: Priority) -> None:
        """Ask, walk as far as needed, act on it. Raises VenueError."""
        shown, received_ns = _Shown(), 0
        for page in self._asker.pages:
            left = self._left(gap)
            if not left:
                break
            received_ns = await self._walk(gap, page, left, progress, shown, priority)
            current = self._feed.ledger.find(gap.gap_id)
            if current is None:
                return
            gap = current
            left = self._left(gap)
            if not left or shown.low <= left[0][0]:
                break
        else:
            if shown.high and gap.last_id:
                self._give_up_below(gap, shown.low)
        self._end(gap.gap_id, progress, shown, received_ns)

    def _left(self, gap: Gap) -> list[Ids]:
        """Ids that did not come yet."""
        position = self._feed.position(gap.symbol)
        assert position is not None
        seen_from, seen_to, _, missing = position
        unseen = [(0, seen_from - 1), *missing, (seen_to + 1, ENDLESS)]
        if not gap.last_id:
            return common([(gap.first_id, ENDLESS)], unseen)
        return common(self._feed.ledger.remaining(gap.gap_id), unseen)

    async def _walk(
        self, gap: Gap, page: RestPage, left: list[Ids], progress: Progress, shown: _Shown,
        priority: Priority,
    ) -> int:  # fmt: skip
        """Through one list; returns when its first answer was whole."""
        feed = self._feed
        name = feed.venue_symbol(gap.symbol)
        assert name is not None
        to_ns = gap.to_ns or feed.clock.wall_ns()
        # The rows around the hole too: only between rows that are shown an id is proven skipped.
        span = Span(
            first_id=max(1, left[0][0] - 1), last_id=left[-1][1] + 1 if gap.last_id else 0,
            from_ns=gap.from_ns, to_ns=to_ns,
        )  # fmt: skip
        request = first_request(page, name, span)
        first_ns = 0
        while True:
            answer, received_ns = await self._asker.ask(request, priority)
            first_ns = first_ns or received_ns
            current = feed.ledger.find(gap.gap_id)
            if current is None:
                return first_ns
            rows = sorted(
                name_rows(answer.trades, feed.instruments[name]),
                key=lambda row: row.trade.order_id,
            )
            shown.note(rows)
            self._compare_times(name, rows)
            if current.last_id:
                self._take_missing(current, name, answer, rows, received_ns)
            else:
                self._take_from_cut(current, name, rows, progress, received_ns)
            current = feed.ledger.find(gap.gap_id)
            further = next_request(request, answer)
            if further is None or current is None or not self._left(current):
                return first_ns
            request = further

    def _compare_times(self, name: str, rows: list[Listed]) -> None:
        if rows:
            times = [row.exchange_ns for row in rows]
            low_ns, high_ns = min(times) - HELD_MARGIN_NS, max(times) + HELD_MARGIN_NS
            ids = [row.trade_id for row in rows]
            held = self._asker.held.recent(self._feed, name, low_ns, high_ns, ids)
            self._asker.note_times(match(rows, held).times_apart, name)

    # --- the last id is known ---------------------------------------------------------------------

    def _take_missing(
        self, gap: Gap, name: str, answer: TradePage, rows: list[Listed], received_ns: int
    ) -> None:
        ledger, left = self._feed.ledger, self._left(gap)
        wanted = [
            row for row in rows if any(low <= row.trade.order_id <= high for low, high in left)
        ]
        new, refused = self._asker.take(name, wanted, received_ns)
        ledger.note_rest(gap.gap_id, new)
        ids = [row.trade.order_id for row in rows]
        if not answer.refused:
            self._forget_skipped(gap, name, ids)
        if refused:
            return  # they stay missing: what came is seen by the ledger's next look
        for low, high in _runs([row.trade.order_id for row in wanted]):
            self._fill(gap, low, high)

    def _fill(self, gap: Gap, low: int, high: int) -> None:
        """These ids came; the row may have been parted since."""
        ledger = self._feed.ledger
        for part in ledger.open_of(self._feed.spec, gap.symbol):
            if part.last_id and common([(part.first_id, part.last_id)], [(low, high)]):
                ledger.fill_ids(part.gap_id, low, high)
                if ledger.find(part.gap_id) is None:
                    self._asker.tally.closed["filled"] += 1

    def _forget_skipped(self, gap: Gap, name: str, ids: list[int]) -> None:
        """Ids between two that one answer shows do not exist (R2), the highest first."""
        feed = self._feed
        number = feed.table.number(name)
        assert number is not None
        for low, high in reversed([(a + 1, b - 1) for a, b in pairwise(ids) if b > a + 1]):
            for part in reversed(common(self._left(gap), [(low, high)])):
                feed.ledger.empty(gap.gap_id, NOT_OFFERED, part)
                feed.table.forget(number, *part)
                self._asker.tally.closed["empty"] += 1
                if feed.ledger.find(gap.gap_id) is None:
                    return

    def _give_up_below(self, gap: Gap, low: int) -> None:
        """All lists were walked: what lies below all that they show is lost."""
        for first, last in reversed(common(self._left(gap), [(0, low - 1)])):
            if self._feed.ledger.find(gap.gap_id) is not None:
                self._asker.close_lost(gap.gap_id, self._asker.reach, (first, last))

    # --- a cut that no row has ended yet ----------------------------------------------------------

    def _take_from_cut(
        self, gap: Gap, name: str, rows: list[Listed], progress: Progress, received_ns: int
    ) -> None:
        """Rows behind the cut, but none that the stream may still be bringing."""
        latest_ns = max(gap.to_ns, received_ns - CLOCKS_APART_NS) if gap.to_ns else ENDLESS
        wanted = [
            row
            for row in rows
            if row.trade.order_id >= gap.first_id and row.exchange_ns <= latest_ns
        ]
        if not wanted:
            return
        left = self._left(gap)
        unseen = sum(any(low <= row.trade.order_id <= high for low, high in left) for row in wanted)
        # Before the rows: a hole among them must find whose it is.
        self._feed.ledger.note_rest(gap.gap_id, unseen)
        self._asker.take(name, wanted, received_ns)
        progress.shown_id = max(progress.shown_id, wanted[-1].trade.order_id)

    def _end(self, gap_id: str, progress: Progress, shown: _Shown, received_ns: int) -> None:
        """After all lists: is there nothing more to come?"""
        ledger = self._feed.ledger
        gap = ledger.find(gap_id)
        if gap is None or gap.reason == ID_RESET:
            return
        if gap.last_id:
            if progress.tries >= EMPTY_TRIES:
                self._give_up_unreadable(gap, shown)
            return
        if not shown.high:
            if progress.tries >= EMPTY_TRIES and gap.to_ns:
                self._asker.close_lost(gap_id, NOTHING_SHOWN)
            return
        last_id = max(progress.shown_id, gap.first_id - 1)
        is_late = bool(gap.to_ns) and received_ns >= gap.to_ns + QUIET_NS
        is_quiet = is_late and progress.quiet == shown.high
        progress.quiet = shown.high if is_late else None
        if not gap.to_ns or not (is_quiet or self._goes_on(gap.symbol, last_id)):
            return
        if last_id >= gap.first_id:
            ledger.confirm(gap_id, last_id)
            ledger.fill_ids(gap_id, gap.first_id, last_id)
            self._asker.tally.closed["filled"] += 1
        else:
            ledger.empty(gap_id, QUIET)
            self._asker.tally.closed["empty"] += 1

    def _goes_on(self, symbol: str, last_id: int) -> bool:
        """Whether the id behind is seen already."""
        position = self._feed.position(symbol)
        assert position is not None
        seen_from, seen_to, _, missing = position
        return seen_from <= last_id + 1 <= seen_to and not common(
            missing, [(last_id + 1, last_id + 1)]
        )

    def _give_up_unreadable(self, gap: Gap, shown: _Shown) -> None:
        """Ids that were shown again and again, and never could be stored; or nothing was shown."""
        reason, reach = (REFUSED, (shown.low, shown.high)) if shown.high else (NOTHING_SHOWN, None)
        for part in reversed(common(self._left(gap), [reach or (0, ENDLESS)])):
            if self._feed.ledger.find(gap.gap_id) is not None:
                self._asker.close_lost(gap.gap_id, reason, part)


def _runs(ids: list[int]) -> list[Ids]:
    """Neighbouring ids, in order, as ranges."""
    runs: list[Ids] = []
    for number in ids:
        if runs and runs[-1][1] + 1 >= number:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs
