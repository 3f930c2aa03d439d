"""Holes without ids: a list must reach past both edges, or what it does not reach is lost (R2).

Everything that follows from one answer happens without a checkpoint: rows, their holes and what is
said of them go to the spool in this order.
"""

from __future__ import annotations

from collections.abc import Sequence

from pumpwatch.capture.asking import Asker, Progress
from pumpwatch.capture.feed_state import FeedState
from pumpwatch.capture.overlap import (
    CLOCKS_APART_NS,
    FEW_SHARE,
    Held,
    Mark,
    Match,
    Verdict,
    judge,
    match,
    name_rows,
    without_cut_instant,
)
from pumpwatch.capture.ranges import without
from pumpwatch.model import Gap
from pumpwatch.turnstile import Priority
from pumpwatch.venues.history import SECOND_NS, Span, first_request, next_request
from pumpwatch.venues.spec import RestPage, RestTrade

# By then a venue has listed what it made before a hole's end: a list that shows the same twice,
# so long after, has nothing more to show (R2).
QUIET_NS = 5 * SECOND_NS
HELD_MARGIN_NS = 2 * SECOND_NS  # around a list: one id may have two times (R4)
EARLIER_NS = 3600 * SECOND_NS  # so far back is looked for a row from before a hole
BEYOND_MAX = 50
EMPTY_TRIES = 5  # of a list that shows nothing although the symbol has traded

NO_ROW = "no row"  # is the edge: only a row from before it will do
OVERLAP = "overlap"  # a list shows what is held on both sides, and nothing between
QUIET = "quiet"  # a list shows nothing new, twice
REFUSED = "rows of the venue's list cannot be stored: they are in quarantine"
NOTHING_SHOWN = "the venue shows no trades"


class ByTime:
    """Looks at such holes of one feed."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._feed = asker.feed

    async def look(self, gap: Gap, progress: Progress, priority: Priority) -> None:
        """Ask, walk as far as needed, act on it. Raises VenueError, ServerError."""
        feed = self._feed
        name = feed.venue_symbol(gap.symbol)
        assert name is not None
        now_ns = feed.clock.wall_ns()
        begun_ns = gap.from_ns or gap.opened_ns - CLOCKS_APART_NS
        from_ns = max(begun_ns, progress.reached_ns)
        span = Span(from_ns=from_ns, to_ns=max(gap.to_ns, from_ns) if gap.to_ns else now_ns)
        trades, page, received_ns = await self._walk(name, span, priority)
        is_all = not self._asker.is_latest_only or len(trades) <= FEW_SHARE * page.rows_max
        found, held = await self.compare(name, trades, page, from_ns, may_be_all=is_all)
        current = feed.ledger.find(gap.gap_id)
        if current is None:
            return
        before = {
            one.trade_id
            for one in held
            if one.exchange_ns <= from_ns and one.received_ns <= gap.opened_ns
        }
        verdict = judge(
            found, from_ns=from_ns, to_ns=current.to_ns,
            before={progress.reached_id} if progress.reached_id else before,
            is_all=is_all and not any(one.exchange_ns <= from_ns for one in held),
            by_id_only=self._asker.tally.times_apart > 0,
        )  # fmt: skip
        self.act(current, progress, verdict, received_ns, from_ns)

    async def _walk(
        self, name: str, span: Span, priority: Priority
    ) -> tuple[list[RestTrade], RestPage, int]:
        """Rows that reach past the span's start, oldest first, as far as the venue shows them."""
        shown: dict[object, RestTrade] = {}
        first_ns = 0
        for page in self._asker.pages:
            request = first_request(page, name, span)
            while True:
                answer, received_ns = await self._asker.ask(request, priority)
                first_ns = first_ns or received_ns
                for at, trade in enumerate(answer.trades):
                    shown[trade.order_id or trade.trade_id or at] = trade
                further = next_request(request, answer)
                if further is None:
                    break
                request = further
            if any(trade.exchange_ns < span.oldest_ns for trade in shown.values()):
                break
        trades = list(shown.values())
        if trades and trades[0].order_id:
            trades.sort(key=lambda trade: trade.order_id)
        return trades, page, first_ns

    async def compare(
        self,
        name: str,
        trades: Sequence[RestTrade],
        page: RestPage,
        from_ns: int,
        *,
        may_be_all: bool = False,
        is_of_hole: bool = True,
    ) -> tuple[Match, list[Held]]:
        """Hold a list beside what is held around it, which is returned too.

        Nothing can arrive between the look at memory and the return. ``may_be_all``: the list may
        have all trades that there ever were, so an earlier one that is held matters. Where it is
        not of a hole, memory holds all that matters, and only the list's own rows do.
        """
        feed, held = self._feed, self._asker.held
        rows = name_rows(trades, feed.instruments[name])
        if len(rows) >= page.rows_max:
            rows = without_cut_instant(rows)
        times = [row.exchange_ns for row in rows]
        # In a pump a list of a thousand rows spans a tenth of a second, and what is held of the
        # symbol before it are millions.
        oldest_ns = min(times, default=from_ns)
        low_ns = max(from_ns, oldest_ns) - HELD_MARGIN_NS
        if may_be_all and oldest_ns >= from_ns:
            low_ns = from_ns - EARLIER_NS
        if self._asker.tally.times_apart:
            low_ns = min([low_ns, *times])
        high_ns = max([from_ns, *times]) + HELD_MARGIN_NS
        if is_of_hole:
            older = await held.older(feed, name, low_ns, high_ns)
            rows_held = [*older, *held.recent(feed, name, low_ns, high_ns)]
        else:
            ids = [row.trade_id for row in rows]
            rows_held = held.recent(feed, name, low_ns, high_ns, ids)
        found = match(rows, rows_held)
        if feed.counts_up:
            found = _with_position(found, feed, name)
        self._asker.note_times(found.times_apart, name)
        return found, rows_held

    def act(
        self, gap: Gap, progress: Progress, verdict: Verdict, received_ns: int, from_ns: int
    ) -> None:
        """Do what a list's verdict says."""
        ledger = self._feed.ledger
        if not verdict.reaches_start and not verdict.beyond_ns:
            if progress.tries >= EMPTY_TRIES and gap.to_ns:
                self._asker.close_lost(gap.gap_id, NOTHING_SHOWN)
            return
        name = self._feed.venue_symbol(gap.symbol)
        assert name is not None
        new, refused = self._asker.take(name, verdict.missing, received_ns)
        progress.rows += new
        ledger.note_rest(gap.gap_id, new)
        if verdict.beyond_ns:
            progress.beyond.append((from_ns, verdict.beyond_ns))
            if len(progress.beyond) > BEYOND_MAX:  # for days away: one span says enough
                progress.beyond = [(progress.beyond[0][0], verdict.beyond_ns)]
        if verdict.last is not None:
            last_ns, progress.reached_id, _ = verdict.last
            if gap.to_ns and last_ns > gap.to_ns:
                last_ns, progress.reached_id = gap.to_ns, NO_ROW
            progress.reached_ns = max(from_ns, last_ns)
        is_late = bool(gap.to_ns) and received_ns >= gap.to_ns + QUIET_NS
        is_quiet = is_late and progress.quiet == (verdict.last,)
        progress.quiet = (verdict.last,) if is_late else None
        if not gap.to_ns or not (verdict.reaches_end or is_quiet):
            return
        if refused:
            self._asker.close_lost(gap.gap_id, REFUSED)
        else:
            self._close_parts(gap, progress, OVERLAP if verdict.reaches_end else QUIET)

    def _close_parts(self, gap: Gap, progress: Progress, reason: str) -> None:
        """Close it; what no list reached is split off as lost first."""
        ledger, asker, gap_id = self._feed.ledger, self._asker, gap.gap_id
        rate = asker.rows_per_s(self._feed.venue_symbol(gap.symbol) or "")
        for low_ns, high_ns in progress.beyond:
            low_ns, high_ns = max(low_ns, gap.from_ns), min(high_ns, gap.to_ns)
            if low_ns > high_ns:
                continue
            estimate = max(1, round(rate * (high_ns - low_ns) / 1e9))
            lost_id = gap_id
            if low_ns > gap.from_ns:
                lost_id = ledger.split(gap_id, low_ns)
                ledger.empty(gap_id, reason)
            if high_ns >= gap.to_ns:
                asker.close_lost(lost_id, asker.reach, estimate=estimate)
                return
            gap_id = ledger.split(lost_id, high_ns)
            asker.close_lost(lost_id, asker.reach, estimate=estimate)
        if progress.rows:
            ledger.fill(gap_id, progress.rows)
            asker.tally.closed["filled"] += 1
        else:
            ledger.empty(gap_id, reason)
            asker.tally.closed["empty"] += 1


def _with_position(found: Match, feed: FeedState, name: str) -> Match:
    """Rows whose ids are proven seen are held, whatever memory says."""
    position = feed.position(feed.instruments[name].symbol)
    if position is None or not position[1]:
        return found
    seen_from, seen_to, _, missing = position
    seen = without([(seen_from, seen_to)], missing)
    rows, marks = [], []
    for row, mark in zip(found.rows, found.marks, strict=True):
        number = row.trade.order_id
        if number > seen_to:
            continue  # the stream's next, or of another count (an id reset): no hole's without ids
        is_seen = any(low <= number <= high for low, high in seen)
        rows.append(row)
        marks.append(Mark.STREAMED if mark is Mark.MISSING and is_seen else mark)
    return Match(rows, marks, found.times_apart)
