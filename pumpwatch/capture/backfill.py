"""Closing holes through REST: one task per exchange, whose queue is the ledger itself.

The hole goes first whose venue forgets first: its rows are lost when the symbol has traded as often
as the venue's list is long. Holes of wanted coins (a listing's) go before all others. What failed
stays due, and what a crash interrupts is due again, since nothing but the ledger knows of it.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence

import structlog
import trio

from pumpwatch.capture.asking import Asker, HeldRows, PastTrades, Progress
from pumpwatch.capture.feed_state import FeedState
from pumpwatch.capture.ledger import Ledger
from pumpwatch.capture.mend_by_id import ById
from pumpwatch.capture.mend_by_time import QUIET_NS, ByTime
from pumpwatch.capture.open_gaps import ID_RESET
from pumpwatch.capture.reach import Reach
from pumpwatch.capture.row_rates import RowRates
from pumpwatch.errors import PumpWatchError, ServerError, VenueError
from pumpwatch.model import Gap
from pumpwatch.turnstile import Priority

log = structlog.get_logger()

WORKERS = 8  # holes of one exchange that are looked at together; the turnstile sets the pace
TICK_S = 0.5  # between two looks at what is due
AGAIN_S_MIN, AGAIN_S_MAX = 2.0, 60.0  # between two looks at one hole
OPEN_AGAIN_S_MIN = 2.0  # while it has no end yet
REFUSALS_MAX = 8  # of one hole in a row, that no repeat can mend: over a quarter of an hour
NEVER_S = 86_400.0
SECOND_NS = 10**9

# Order of requests: an instrument list is asked for with 0.
URGENT, ORDINARY, CHECK = 1, 2, 3
OTHER_IDS = "the venue counts anew since: these ids cannot be asked for"


class FeedBackfill:
    """One feed's holes."""

    def __init__(
        self, feed: FeedState, rest: PastTrades, held: HeldRows, *, has_api_key: bool
    ) -> None:
        self.feed = feed
        self.rates = RowRates(feed.table)
        self.asker = Asker(feed, rest, held, has_api_key=has_api_key, rows_per_s=self.rates)
        self.by_time = ByTime(self.asker)
        self.reach = Reach()
        self.probe_at_s = -math.inf  # while nothing is answered: not before (trio's clock)
        self._by_id = ById(self.asker)
        self._progress: dict[str, Progress] = {}

    @property
    def waiting(self) -> int:
        """Holes that REST has still to be asked for."""
        return len(self.feed.ledger.open_gaps(self.feed.spec.name))

    def due(self) -> list[Gap]:
        """Holes to look at now; those of symbols that are not listed wait."""
        if self.feed.state == "paused":
            return []
        ledger, name = self.feed.ledger, self.feed.spec.name
        gaps = ledger.due(name, while_open=self.asker.is_latest_only)
        return [
            gap
            for gap in gaps
            if self.feed.venue_symbol(gap.symbol) is not None and not self._may_close_itself(gap)
        ]

    def _may_close_itself(self, gap: Gap) -> bool:
        """A cut just over: the next id may tell all, and where there is a history it can wait."""
        is_cut_by_id = gap.first_id > 0 and gap.last_id == 0
        over_ns = self.feed.clock.wall_ns() - gap.to_ns
        return is_cut_by_id and not self.asker.is_latest_only and over_ns < QUIET_NS

    def deadline_s(self, gap: Gap) -> float:
        """When the venue shows its first row no more (unix s)."""
        begun_s = (gap.from_ns or gap.opened_ns) / SECOND_NS
        return begun_s + min(self.depth_s(gap.symbol), NEVER_S)

    def depth_s(self, symbol: str) -> float:
        """So much time the venue's list of latest trades spans; inf: there is a history."""
        if not self.asker.is_latest_only:
            return float("inf")
        rate = self.rates(self.feed.venue_symbol(symbol) or "")
        return self.asker.depth_rows / rate if rate else float("inf")

    async def look(self, gap: Gap, priority: Priority) -> None:
        """One look at one hole; sets when it is due again."""
        known = self.feed.ledger.find(gap.gap_id)
        if known is None:
            return  # closed while it waited for its turn
        gap = known
        progress = self._progress.setdefault(gap.gap_id, Progress())
        progress.tries += 1
        try:
            if gap.reason == ID_RESET and gap.first_id:
                self.asker.close_lost(gap.gap_id, OTHER_IDS)
            elif gap.first_id:
                await self._by_id.look(gap, progress, priority)
            else:
                await self.by_time.look(gap, progress, priority)
            progress.failures = progress.refusals = 0
            self._wake()
        except (VenueError, ServerError) as error:
            self._note_failure(gap, progress, error)
        current = self.feed.ledger.find(gap.gap_id)
        if current is None:
            self._progress.pop(gap.gap_id, None)
            return
        until_s = self._again_s(current, progress)
        self.feed.ledger.postpone(gap.gap_id, self.feed.clock.wall_ns() + int(until_s * SECOND_NS))

    def _note_failure(self, gap: Gap, progress: Progress, error: PumpWatchError) -> None:
        progress.failures += 1
        progress.refusals = 0 if error.retry else progress.refusals + 1
        was_down = self.reach.is_down
        if error.retry and isinstance(error, VenueError):
            self.reach.failed(gap.gap_id)
            self.probe_at_s = trio.current_time() + self.reach.pause_s
        if not was_down:  # else the last line said it for all
            log.warning("backfill_failed", feed=self.feed.spec.name, symbol=gap.symbol,
                        gap=gap.gap_id, failures=progress.failures, message=str(error),
                        is_down=self.reach.is_down)  # fmt: skip
        is_open = self.feed.ledger.find(gap.gap_id) is not None
        if progress.refusals >= REFUSALS_MAX and gap.to_ns and is_open:
            self.asker.close_lost(gap.gap_id, f"the venue refuses: {str(error)[:200]}")

    def _wake(self) -> None:
        """The venue answers: what failed while it did not is due now, and sockets may dial."""
        woken = self.reach.answered()
        for gap_id in woken:
            if self.feed.ledger.find(gap_id) is not None:
                self._progress.setdefault(gap_id, Progress()).failures = 0
                self.feed.ledger.postpone(gap_id, 0)
        if woken:
            log.info("venue_answers_again", feed=self.feed.spec.name, holes=len(woken))
            self.feed.dial_now()

    def _again_s(self, gap: Gap, progress: Progress) -> float:
        if self.reach.is_down and not progress.refusals:
            return self.reach.pause_s
        if progress.failures:
            longest_s = AGAIN_S_MAX * (4 if progress.refusals else 1)
            return min(longest_s, AGAIN_S_MIN * math.ldexp(1.0, min(progress.failures - 1, 8)))
        if not gap.to_ns:
            return max(OPEN_AGAIN_S_MIN, min(self.depth_s(gap.symbol) / 2, AGAIN_S_MAX))
        quiet_s = (gap.to_ns + QUIET_NS - self.feed.clock.wall_ns()) / SECOND_NS
        if quiet_s > 0:  # a second look before that proves nothing: the list may still grow
            return max(quiet_s + 0.1, min(AGAIN_S_MIN, self.depth_s(gap.symbol) / 4))
        return min(AGAIN_S_MAX, AGAIN_S_MIN * math.pow(1.5, min(progress.tries, 10)))

    def is_asking(self, gap_id: str) -> bool:
        """Whether this is a hole of ours that is being looked at, or was."""
        return gap_id in self._progress

    def look_soon(self, gap_id: str) -> None:
        """Whatever was learned of this hole, look at it now."""
        self._progress.pop(gap_id, None)
        self.feed.ledger.postpone(gap_id, 0)

    def forget_closed(self) -> None:
        """What became of them by themselves needs no progress any more."""
        for gap_id in [one for one in self._progress if self.feed.ledger.find(one) is None]:
            del self._progress[gap_id]


class Backfill:
    """All feeds' holes, exchange by exchange."""

    def __init__(
        self,
        feeds: Iterable[FeedBackfill],
        ledger: Ledger,
        wanted_coins: Callable[[], frozenset[str]],
    ) -> None:
        """``wanted_coins``: whose holes go before all others."""
        self._feeds = list(feeds)
        self._ledger = ledger
        self._wanted_coins = wanted_coins
        self._looking: set[str] = set()
        self._workers: Counter[str] = Counter()  # by exchange

    async def run(self) -> None:
        """Look until cancelled."""
        exchanges: dict[str, list[FeedBackfill]] = {}
        for one in self._feeds:
            exchanges.setdefault(one.feed.spec.exchange, []).append(one)
        async with trio.open_nursery() as nursery:
            for some in exchanges.values():
                nursery.start_soon(self._run_exchange, some)

    async def _run_exchange(self, feeds: Sequence[FeedBackfill]) -> None:
        exchange = feeds[0].feed.spec.exchange
        waiting: deque[tuple[tuple[float, ...], FeedBackfill, Gap]] = deque()
        async with trio.open_nursery() as nursery:
            while True:
                for one in feeds:
                    one.rates.sample(trio.current_time())
                    one.forget_closed()
                waiting.clear()
                if self._ledger.is_loaded:
                    waiting.extend(sorted(self._queue(feeds), key=lambda item: item[0]))
                for _ in range(min(len(waiting), WORKERS - self._workers[exchange])):
                    self._workers[exchange] += 1
                    nursery.start_soon(self._work, exchange, waiting)
                await trio.sleep(TICK_S)

    async def _work(
        self, exchange: str, waiting: deque[tuple[tuple[float, ...], FeedBackfill, Gap]]
    ) -> None:
        """One hole after the other, while some wait."""
        try:
            while waiting:
                priority, one, gap = waiting.popleft()
                self._looking.add(gap.gap_id)
                try:
                    await one.look(gap, priority)
                finally:
                    self._looking.discard(gap.gap_id)
        finally:
            self._workers[exchange] -= 1

    def _queue(
        self, feeds: Sequence[FeedBackfill]
    ) -> Iterable[tuple[tuple[float, ...], FeedBackfill, Gap]]:
        coins = self._wanted_coins()
        for one in feeds:
            due = [
                (self.priority(one, gap, coins), one, gap)
                for gap in one.due()
                if gap.gap_id not in self._looking
            ]
            if one.reach.is_down:  # one asks for all
                is_time = trio.current_time() >= one.probe_at_s
                is_asking = any(one.is_asking(gap_id) for gap_id in self._looking)
                due = sorted(due, key=lambda item: item[0])[: int(is_time and not is_asking)]
            yield from due

    def priority(self, one: FeedBackfill, gap: Gap, coins: frozenset[str]) -> tuple[float, ...]:
        """Lower goes first: wanted coins, then what is forgotten first."""
        name = one.feed.venue_symbol(gap.symbol)
        assert name is not None
        is_urgent = one.feed.instruments[name].coin in coins
        return (URGENT if is_urgent else ORDINARY, one.deadline_s(gap))
