"""The memory hour in the daemon: filled by the roads, cut by the ledger, asked by windows (R16).

What a road puts is there at once. A hole of the ledger cuts what the hour says it covers until it
is filled or proven empty; after a restart the rows of before are read back from the table, slowly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import structlog
import trio

from pumpwatch._fast.recent import OPEN_END_NS, Recent
from pumpwatch.capture.feed_state import FeedState
from pumpwatch.clock import Clock
from pumpwatch.errors import PumpWatchError
from pumpwatch.model import Gap
from pumpwatch.spans import Spans, without
from pumpwatch.standing import HourStanding
from pumpwatch.store.segment import MIB
from pumpwatch.store.window_reader import SqlAccess

if TYPE_CHECKING:
    from pumpwatch._fast.window import Window

log = structlog.get_logger()

EXPIRE_S = 1.0
COUNT_NS = 15 * 10**9  # between two looks at every instrument's coverage
LOAD_SLICE_NS = 10**9  # of the first question while rows are read back; the least of any
LOAD_SLICE_NS_MAX = 16 * 10**9
LOAD_SLICE_ROWS = 20_000  # a question that brings far fewer is followed by one about a longer time
LOAD_ROWS = 2_000  # taken in at once: some ms in which nothing else runs
LOAD_REST = 1.0  # pauses as long as the question took: the table has rows to apply
TIME_MIN_NS = -(2**62)
ANY_SYMBOL = "*"
CONTRACT_VALUE = "contract_value"
LOAD_MAX = 3_000_000  # rows: about a minute of one core
ROW_BYTES = 72
COUNT_SQL = (
    "SELECT count() FROM trades"
    " WHERE timestamp >= cast(%s AS TIMESTAMP_NS) AND timestamp < cast(%s AS TIMESTAMP_NS)"
)
LOAD_SQL = (
    "SELECT exchange, market_type, symbol, timestamp::long, side, price, quantity, trade_id,"
    " sequence_number, received_at::long, origin, kind FROM trades"
    " WHERE timestamp >= cast(%s AS TIMESTAMP_NS) AND timestamp < cast(%s AS TIMESTAMP_NS)"
    " ORDER BY timestamp"
)


class Hour:
    """One ring for all feeds. ``window_s`` 0 switches it off: then nothing is ever held."""

    def __init__(self, clock: Clock, *, max_mib: int, window_s: int) -> None:
        self.recent = Recent(max_mib * MIB, float(window_s)) if window_s else None
        self.loaded_rows = 0
        # Told when what is known of a span changed: feed, symbol, from_ns, to_ns.
        self.on_change: Callable[[str, str, int, int], None] = lambda *_: None
        self._clock = clock
        self._window_ns = window_s * 10**9
        self._feeds: dict[str, FeedState] = {}
        self._counted_ns = 0
        self._max_bytes = max_mib * MIB
        self._unloadable: set[tuple[int, int]] = set()  # a row of theirs was refused
        self._covered_share = 0.0
        self._holes: defaultdict[tuple[str, str], dict[str, tuple[int, int]]] = defaultdict(dict)

    def attach(self, feeds: Iterable[FeedState]) -> None:
        """Let these feeds' roads fill it."""
        for feed in feeds:
            self._feeds[feed.spec.name] = feed
            feed.road.recent = self.recent
            feed.on_carried = self._carried

    # --- what changes its coverage ----------------------------------------------------------------

    def _carried(self, feed: FeedState, venue_symbols: Sequence[str], now_ns: int) -> None:
        """The venue took these subscriptions: from here on all of their rows come."""
        if self.recent is not None:
            for name in venue_symbols:
                number = feed.table.number(name)
                if number is not None:
                    self.recent.begin(feed.number, number, now_ns)

    def note_gaps(self, gaps: Iterable[Gap]) -> None:
        """Changed rows of the ledger: open and lost ones cut, filled and empty ones mend."""
        changed = set()
        for gap in gaps:
            holes = self._holes[(gap.feed, gap.symbol)]
            span = (gap.from_ns or TIME_MIN_NS, gap.to_ns + 1 if gap.to_ns else OPEN_END_NS)
            # What was counted anew is so in the table, not here (R13).
            if gap.is_open or gap.state == "lost" or gap.cause == CONTRACT_VALUE:
                holes[gap.gap_id] = span
            else:
                holes.pop(gap.gap_id, None)
            changed.add((gap.feed, gap.symbol))
            self.on_change(gap.feed, gap.symbol, *span)
        for feed, symbol in changed:
            self._cut_anew(feed, symbol)

    def _cut_anew(self, feed_name: str, symbol: str) -> None:
        feed = self._feeds.get(feed_name)
        if self.recent is None or feed is None or symbol == ANY_SYMBOL:
            return  # of "*" each look takes account
        name = feed.venue_symbol(symbol)
        number = None if name is None else feed.table.number(name)
        if number is None:
            return
        self.recent.mend(feed.number, number, TIME_MIN_NS, OPEN_END_NS)
        for from_ns, to_ns in self._holes[(feed_name, symbol)].values():
            self.recent.cut(feed.number, number, from_ns, to_ns)

    # --- looking ----------------------------------------------------------------------------------

    def look(
        self, feed_name: str, venue_symbol: str, from_ns: int, to_ns: int
    ) -> tuple[Window, Spans] | None:
        """Rows of a span and the spans that are covered; None: nothing of it is held."""
        feed = self._feeds.get(feed_name)
        number = None if feed is None else feed.table.number(venue_symbol)
        if feed is None or number is None or self.recent is None:
            return None
        spans = self.recent.coverage(feed.number, number)
        for low, high in self._holes.get((feed_name, ANY_SYMBOL), {}).values():
            spans = without(spans, low, high)
        return self.recent.window(feed.number, number, from_ns, to_ns), spans

    def standing(self) -> HourStanding:
        """How it stands."""
        recent = self.recent
        if recent is None:
            return HourStanding()
        now_ns = self._clock.wall_ns()
        oldest_ns = recent.oldest_arrival_ns
        if now_ns >= self._counted_ns + COUNT_NS:
            self._counted_ns = now_ns
            self._covered_share = self._count_covered(recent, now_ns - 60 * 10**9)
        return HourStanding(
            rows=recent.rows_held,
            unheld_rows=recent.rows_unheld,
            size_bytes=recent.bytes_held,
            reaches_back_s=(now_ns - oldest_ns) / 1e9 if oldest_ns else 0.0,
            loaded_rows=self.loaded_rows,
            covered_share=self._covered_share,
        )

    def _count_covered(self, recent: Recent, since_ns: int) -> float:
        wanted = covered = 0
        for feed in self._feeds.values():
            for name in feed.coverage.wanted:
                number = feed.table.number(name)
                wanted += 1
                if number is not None:
                    spans = recent.coverage(feed.number, number)
                    covered += bool(spans) and spans[-1][0] <= since_ns
        return covered / wanted if wanted else 0.0

    # --- life -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Give up what is too old, until cancelled; also while nothing new comes."""
        while True:
            await trio.sleep(EXPIRE_S)
            if self.recent is not None:
                self.recent.expire(self._clock.wall_ns())
                self._forget_old_holes()

    def _forget_old_holes(self) -> None:
        """A lost hole of before anything that is held says nothing any more."""
        oldest_ns = self._clock.wall_ns() - 2 * self._window_ns
        for key, holes in list(self._holes.items()):
            for gap_id in [one for one, span in holes.items() if span[1] < oldest_ns]:
                del holes[gap_id]
            if not holes:
                del self._holes[key]

    async def load(self, sql: SqlAccess, until_ns: int) -> None:
        """Read back what the table holds of the window before ``until_ns``, oldest first.

        Once, when what the spool held at the start is applied. What fails is logged, and the hour
        then covers only what came since.
        """
        if self.recent is None:
            return
        from_ns = at_ns = until_ns - self._window_ns
        slice_ns = LOAD_SLICE_NS
        try:
            from_ns, expected_rows = await self._load_from_ns(sql, until_ns)
            at_ns = from_ns if expected_rows else until_ns
            while at_ns < until_ns:
                asked_s = trio.current_time()
                end_ns = min(at_ns + slice_ns, until_ns)
                rows = await sql.query(LOAD_SQL, [at_ns, end_ns])
                await self._take(rows, at_ns, end_ns)
                at_ns = end_ns
                slice_ns = _next_slice_ns(slice_ns, len(rows))
                await trio.sleep((trio.current_time() - asked_s) * LOAD_REST)
        except PumpWatchError as error:
            log.warning("hour_not_loaded", message=str(error), rows=self.loaded_rows)
        for feed in self._feeds.values():
            for name in feed.instruments:
                number = feed.table.number(name)
                is_whole = (feed.number, number) not in self._unloadable
                if number is not None and from_ns < at_ns and is_whole:
                    self.recent.load(feed.number, number, from_ns, at_ns, ())
        log.info("hour_loaded", rows=self.loaded_rows)

    async def _load_from_ns(self, sql: SqlAccess, until_ns: int) -> tuple[int, int]:
        """So far back that the rows fit into half of the memory, and are no more than LOAD_MAX.

        Returns the begin and the rows, 0 if the table holds none.
        """
        assert self.recent is not None
        rows_max = min(LOAD_MAX, self._max_bytes // ROW_BYTES // 2)
        span_ns = self._window_ns
        while True:
            [(rows,)] = await sql.query(COUNT_SQL, [until_ns - span_ns, until_ns])
            if rows <= rows_max or span_ns <= LOAD_SLICE_NS:
                return until_ns - span_ns, rows
            span_ns //= 2

    async def _take(self, rows: list[tuple[object, ...]], from_ns: int, to_ns: int) -> None:
        assert self.recent is not None
        of_symbol: defaultdict[tuple[str, str], list[tuple[object, ...]]] = defaultdict(list)
        for row in rows:
            of_symbol[(f"{row[0]}_{row[1]}", str(row[2]))].append(row[3:])
        taken = 0
        for (feed_name, symbol), some in of_symbol.items():
            feed = self._feeds.get(feed_name)
            name = None if feed is None else feed.venue_symbol(symbol)
            number = None if feed is None or name is None else feed.table.number(name)
            if feed is None or number is None:
                continue
            # In one go: it claims the span for the symbol. The quiet ones' is claimed at the end.
            try:
                self.recent.load(feed.number, number, from_ns, to_ns, some)  # type: ignore[arg-type]
            except ValueError as error:  # it stays uncovered: its rows are the database's to give
                self._unloadable.add((feed.number, number))
                log.warning("hour_row_refused", feed=feed_name, symbol=symbol, message=str(error))
                continue
            self.loaded_rows += len(some)
            taken += len(some)
            if taken >= LOAD_ROWS:
                taken = 0
                await trio.lowlevel.checkpoint()


def _next_slice_ns(slice_ns: int, rows: int) -> int:
    if rows > LOAD_SLICE_ROWS:
        return max(slice_ns // 2, LOAD_SLICE_NS)
    return min(slice_ns * 2, LOAD_SLICE_NS_MAX) if 2 * rows < LOAD_SLICE_ROWS else slice_ns
