"""Where backfill meets the rest of the daemon: what is held, in memory and in the table."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import trio

from pumpwatch._fast.recent import Recent
from pumpwatch.capture.backfill import Backfill, FeedBackfill
from pumpwatch.capture.feed_state import FeedState
from pumpwatch.capture.overlap import Held
from pumpwatch.capture.silence import SilenceWatch, run_comparisons
from pumpwatch.capture.watermark_reads import WatermarkReader
from pumpwatch.capture.witness_run import WitnessRun
from pumpwatch.dashboard.actions import Action, ActionDesk
from pumpwatch.errors import UsageError
from pumpwatch.model import Gap
from pumpwatch.rest import RestClient
from pumpwatch.standing import BackfillStanding, BudgetStanding
from pumpwatch.store.gap_rows import Questions, read_lost_gaps
from pumpwatch.store.segment import MIB

if TYPE_CHECKING:
    from pumpwatch.daemon import Daemon

HELD_SQL = (
    "SELECT timestamp::long AS exchange_ns, trade_id, origin, received_at::long AS received_ns"
    " FROM trades"
    " WHERE timestamp >= cast(%s AS TIMESTAMP_NS) AND timestamp < cast(%s AS TIMESTAMP_NS)"
    " AND exchange = %s AND market_type = %s AND symbol = %s"
)
SHORT_MIB, SHORT_S = 32, 600.0
STREAM = 0  # among window.ORIGIN_NAMES


def listed_coins(daemon: Daemon) -> frozenset[str]:
    """Coins whose windows are open."""
    return frozenset() if daemon.listing_desk is None else daemon.listing_desk.coins()


class HeldEverywhere:
    """Rows of the memory hour, and of the table where that does not reach back."""

    def __init__(self, sql: Questions) -> None:
        self._sql = sql

    def recent(
        self,
        feed: FeedState,
        venue_symbol: str,
        from_ns: int,
        to_ns: int,
        ids: Iterable[str] | None = None,
    ) -> list[Held]:
        """Rows in memory, or those of some ids."""
        number = feed.table.number(venue_symbol)
        if feed.road.recent is None or number is None:
            return []
        window = feed.road.recent.window(feed.number, number, from_ns, to_ns + 1)
        return [
            Held(at_ns, trade_id, origin == STREAM, received_ns)
            for at_ns, trade_id, origin, received_ns in window.rows_of(ids)
        ]

    def given_up_ns(self, feed: FeedState, venue_symbol: str) -> int:
        """Newest exchange time of the rows that memory gave up."""
        number = feed.table.number(venue_symbol)
        if feed.road.recent is None or number is None:
            return 2**62
        return feed.road.recent.given_up_ns(feed.number, number)

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

    def __init__(
        self, daemon: Daemon, rest: RestClient, sql: Questions, rng: random.Random
    ) -> None:
        self._rest, self._sql, self._ledger = rest, sql, daemon.ledger
        held, config = HeldEverywhere(sql), daemon.config
        if not config.memory.window_s:  # no memory hour: what was just held must be known here
            recent = Recent(SHORT_MIB * MIB, SHORT_S)
            for feed in daemon.feeds:
                feed.road.recent = recent
        self.feeds = {
            feed.spec.name: FeedBackfill(
                feed, rest, held,
                has_api_key=config.feeds[feed.spec.name].api_key_file is not None,
            )
            for feed in daemon.feeds
        }  # fmt: skip
        self.watches = {
            name: SilenceWatch(one, config.backfill.compare_s) for name, one in self.feeds.items()
        }
        self.marks = WatermarkReader(self.feeds, self.watches)
        # Coins whose holes and comparisons go before all others.
        self.wanted_coins: Callable[[], frozenset[str]] = lambda: listed_coins(daemon)
        self._queue = Backfill(self.feeds.values(), daemon.ledger, lambda: self.wanted_coins())
        self._compares = config.backfill.compare
        self.witnesses = {
            name: WitnessRun(
                watch, watch.feed.spec.witness, config.feeds[name],
                config.backfill.witness_symbols, rng,
            )
            for name, watch in self.watches.items()
            if watch.feed.spec.witness is not None
        }  # fmt: skip

    async def retry(self, *, gap_id: str = "", feed: str = "", only_open: bool = False) -> str:
        """Look at holes again now; returns what that was. Raises UsageError, ServerError."""
        if feed and feed not in self.feeds:
            raise UsageError(f"feed {feed[:40]!r}: no such feed is recorded")
        ledger = self._ledger
        lost: list[Gap] = []
        if gap_id:
            lost = await read_lost_gaps(self._sql, gap_id=gap_id)
            if ledger.find(gap_id) is None and not any(gap.state == "lost" for gap in lost):
                raise UsageError(f"gap {gap_id[:40]!r}: is neither open nor lost")
        elif feed and not only_open:
            lost = await read_lost_gaps(self._sql, feed=feed)
        reopened = 0
        for gap in lost:
            if gap.state == "lost" and gap.feed in self.feeds and ledger.find(gap.gap_id) is None:
                ledger.reopen(gap)
                reopened += 1
        chosen = [
            gap
            for gap in ledger.open_gaps(feed or None)
            if gap.feed in self.feeds and gap_id in ("", gap.gap_id)
        ]
        for gap in chosen:
            self.feeds[gap.feed].look_soon(gap.gap_id)
        return f"{len(chosen)} holes are looked at again now, {reopened} of them were lost"

    def standing(self, feed: str) -> BackfillStanding:
        """How one feed stands."""
        one, watch = self.feeds[feed], self.watches[feed]
        tally, now_s = one.asker.tally, trio.current_time()
        witness = self.witnesses.get(feed)
        return BackfillStanding(
            requests=tally.asked,
            failures=tally.failed,
            rows=tally.rows,
            closed=dict(tally.closed),
            waiting=one.waiting,
            times_apart=tally.times_apart,
            withheld=watch.found,
            mute=watch.mute,
            mute_symbols=watch.mute_symbols(),
            witness_told=0 if witness is None else witness.told,
            witness_found=0 if witness is None else witness.found,
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
            if self._compares:
                watches = self.watches.values()
                nursery.start_soon(run_comparisons, watches, lambda: self.wanted_coins())
                for witness in self.witnesses.values():
                    nursery.start_soon(witness.run)


def offer_retry(desk: ActionDesk, backfilling: Callable[[], Backfilling | None]) -> None:
    """Make ``retry_gaps`` an action of the HTTP interface."""

    async def retry(arguments: Mapping[str, str]) -> str:
        running = backfilling()
        if running is None:
            raise UsageError("backfill is switched off: set backfill.enabled = true")
        return await running.retry(
            gap_id=arguments.get("gap_id", ""),
            feed=arguments.get("feed", ""),
            only_open=arguments.get("open", "") == "true",
        )

    desk.add(
        "retry_gaps",
        Action(
            help="Ask the venue again now for one hole, a feed's, or all open ones.",
            arguments={
                "gap_id?": "one hole, open or lost",
                "feed?": "holes of this feed, as okx_spot",
                "open?": "true: open holes only",
            },
            run=retry,
        ),
    )
