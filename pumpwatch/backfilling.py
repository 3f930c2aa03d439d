"""Where backfill meets the rest of the daemon: what is held, in memory and in the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from pumpwatch._fast.recent import Recent
from pumpwatch.capture.backfill import Backfill, FeedBackfill
from pumpwatch.capture.feed_state import FeedState
from pumpwatch.capture.overlap import Held
from pumpwatch.capture.silence import SilenceWatch, run_comparisons
from pumpwatch.rest import RestClient
from pumpwatch.standing import BackfillStanding, BudgetStanding
from pumpwatch.store.gap_rows import Questions
from pumpwatch.store.segment import MIB

if TYPE_CHECKING:
    from pumpwatch.daemon import Daemon

HELD_SQL = (
    "SELECT timestamp::long AS exchange_ns, trade_id, origin, received_at::long AS received_ns"
    " FROM trades"
    " WHERE timestamp >= cast(%s AS TIMESTAMP_NS) AND timestamp < cast(%s AS TIMESTAMP_NS)"
    " AND exchange = %s AND market_type = %s AND symbol = %s"
)
STREAM = 0  # among window.ORIGIN_NAMES


class HeldEverywhere:
    """Rows of the memory hour, and of the table where that does not reach back."""

    def __init__(self, sql: Questions) -> None:
        self._sql = sql

    def recent(self, feed: FeedState, venue_symbol: str, from_ns: int, to_ns: int) -> list[Held]:
        """Rows in memory."""
        number = feed.table.number(venue_symbol)
        if feed.road.recent is None or number is None:
            return []
        window = feed.road.recent.window(feed.number, number, from_ns, to_ns + 1)
        return [
            Held(at_ns, trade_id, origin == STREAM, received_ns)
            for at_ns, trade_id, origin, received_ns in zip(
                window.exchange_ns, window.trade_ids(), window.origins, window.received_ns,
                strict=True,
            )
        ]  # fmt: skip

    async def older(
        self, feed: FeedState, venue_symbol: str, from_ns: int, to_ns: int
    ) -> list[Held]:
        """Rows of the table, from before what memory holds. Raises ServerError."""
        to_ns = min(to_ns + 1, self._memory_begins_ns(feed, venue_symbol))
        if from_ns >= to_ns:
            return []
        spec, symbol = feed.spec, feed.instruments[venue_symbol].symbol
        rows = await self._sql.query_dicts(
            HELD_SQL, [from_ns, to_ns, spec.exchange, spec.market_type, symbol]
        )
        return [
            Held(
                row["exchange_ns"],
                row["trade_id"],
                row["origin"] == "stream",
                row["received_ns"] or 0,
            )
            for row in rows
        ]

    @staticmethod
    def _memory_begins_ns(feed: FeedState, venue_symbol: str) -> int:
        """From here on every row that came is in memory; the far future: none is."""
        number = feed.table.number(venue_symbol)
        spans = (
            []
            if feed.road.recent is None or number is None
            else feed.road.recent.coverage(feed.number, number)
        )
        return spans[0][0] if spans else 2**62


class Backfilling:
    """Closes the holes of all feeds, and looks for hidden ones."""

    def __init__(self, daemon: Daemon, rest: RestClient, sql: Questions) -> None:
        self._rest = rest
        held, config = HeldEverywhere(sql), daemon.config
        recent = Recent(config.memory.max_mib * MIB, max(config.memory.window_s, 60))
        for feed in daemon.feeds:
            if feed.road.recent is None:
                feed.road.recent = recent
        self.feeds = {
            feed.spec.name: FeedBackfill(
                feed, rest, held,
                has_api_key=config.feeds[feed.spec.name].api_key_file is not None,
            )
            for feed in daemon.feeds
        }  # fmt: skip
        self.watches = {name: SilenceWatch(one) for name, one in self.feeds.items()}
        self.wanted_coins: Callable[[], frozenset[str]] = frozenset  # the listing side sets it
        self._queue = Backfill(self.feeds.values(), daemon.ledger, lambda: self.wanted_coins())

    def standing(self, feed: str) -> BackfillStanding:
        """How one feed stands."""
        one, watch = self.feeds[feed], self.watches[feed]
        tally, now_s = one.asker.tally, trio.current_time()
        return BackfillStanding(
            requests=tally.asked,
            failures=tally.failed,
            rows=tally.rows,
            closed=dict(tally.closed),
            waiting=one.waiting,
            times_apart=tally.times_apart,
            withheld=watch.found,
            mute=watch.mute,
            unchecked_s={k: round(v, 1) for k, v in watch.unchecked_s(now_s).items()},
        )

    def budgets(self) -> list[BudgetStanding]:
        """How the REST budgets stand."""
        now_s = trio.current_time()
        return [
            BudgetStanding(
                budget=key,
                requests=one.requests,
                delayed=one.waits,
                refusals=one.refusals,
                waiting=one.waiting,
                closed_s=max(0.0, one.banned_until_s - now_s),
            )
            for key, one in sorted(self._rest.turnstiles.items())
        ]

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._queue.run)
            nursery.start_soon(run_comparisons, self.watches.values(), lambda: self.wanted_coins())
