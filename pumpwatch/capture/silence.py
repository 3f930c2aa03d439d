"""Rows that a stream should have brought, found by comparing it with the venue's lists (R11).

An acknowledgement does not mean that trades are sent, and where ids do not count up a single
withheld row shows nowhere else. Each symbol's list is compared once a minute, or as often as it
takes for two lists to meet; what the budget does not reach is told as unchecked, never hidden.
Where ids count up only symbols that bring nothing are asked about: the others prove themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import inf

import structlog
import trio

from pumpwatch.capture.backfill import CHECK, FeedBackfill
from pumpwatch.capture.feed_state import FeedState
from pumpwatch.capture.mend_by_time import OVERLAP
from pumpwatch.capture.overlap import CLOCKS_APART_NS, Listed, Mark, Match, passed_by
from pumpwatch.errors import ServerError, VenueError
from pumpwatch.venues.history import Span, first_request
from pumpwatch.venues.spec import RestTrade

log = structlog.get_logger()

SILENCE = "silence"
OVERDUE_SHARE = 0.5  # of the time between two comparisons: so late, it is told as unchecked
DEPTH_SHARE = 0.5  # of the time that a list spans
INTERVAL_S_MIN = 1.0
QUIET_S = 30.0  # where ids count up: so long without a row before the list is asked for
BUDGET_SHARE = 0.4  # of the venue's budget; the rest is for holes and lists of instruments
FRESH_S = 10.0  # a symbol is first compared when its subscription is so old, or sooner if busy
RATE_FLOOR = 0.01  # rows a second: a symbol that does not trade is not left out for ever
RETRY_S = 10.0
IN_HAND_NS = 20 * 10**9  # a hole that is open for so long after its end may have a mute stream
UNCHECKED_KEPT_S = 5.0
TICK_S = 1.0
CREDIT_S_MAX = 30.0  # so much of the share may pile up: one request may weigh more than a second's
SECOND_NS = 10**9


class SilenceWatch:
    """One feed's comparisons, of each symbol every ``check_s`` at least; times are trio's."""

    def __init__(self, backfill: FeedBackfill, check_s: float) -> None:
        self.found = 0  # rows that the stream should have brought
        self.mute = 0  # symbols of which it brought none of them
        self._backfill = backfill
        self._feed = backfill.feed
        self._check_s = check_s
        self._checked_s: dict[str, float] = {}  # by venue symbol; when it was first carried, too
        self._retry_s: dict[str, float] = {}
        self._checking: set[str] = set()
        self._unchecked_s: dict[str, float] = {}
        self._unchecked_until_s = -inf
        self._shown_ns: dict[str, int] = {}  # the newest row of the list before

    @property
    def feed(self) -> FeedState:
        """Whose symbols are compared."""
        return self._feed

    def rate(self, name: str) -> float:
        """Rows a second of a symbol."""
        return self._backfill.rates(name)

    @property
    def budget_key(self) -> str:
        """Who shares the venue's budget."""
        return self._feed.spec.rest_allowance.key

    @property
    def weight(self) -> float:
        """Of one comparison."""
        return self._feed.spec.recent.weight

    @property
    def weight_per_s(self) -> float:
        """What comparisons may cost."""
        allowance = self._feed.spec.rest_allowance
        return BUDGET_SHARE * allowance.units / allowance.per_s

    # --- what is due ------------------------------------------------------------------------------

    def interval_s(self, name: str) -> float:
        """Between two comparisons of a symbol, so that successive lists meet."""
        rate = self._backfill.rates(name)
        depth_s = self._feed.spec.recent.rows_max / rate if rate else inf
        return max(INTERVAL_S_MIN, min(self._check_s, DEPTH_SHARE * depth_s))

    def _watched(self, now_s: float) -> Iterator[tuple[str, float]]:
        """Symbols that are carried and prove nothing by themselves, and when they are due."""
        feed, now_ns = self._feed, self._feed.clock.wall_ns()
        for name in feed.coverage.wanted:
            if not feed.coverage.since_ns(name) or name not in feed.instruments:
                self._checked_s.pop(name, None)
                continue
            interval_s = self.interval_s(name)
            fresh_s = min(FRESH_S, interval_s)
            checked_s = self._checked_s.setdefault(name, now_s + fresh_s - interval_s)
            if feed.counts_up:
                quiet_s = (now_ns - feed.heard_ns(name)) / SECOND_NS
                if quiet_s < QUIET_S:
                    self._checked_s[name] = max(checked_s, now_s - quiet_s)
                    continue
            yield name, checked_s + interval_s

    def due(self, now_s: float, coins: frozenset[str]) -> list[tuple[tuple[bool, float], str]]:
        """Symbols to compare now, with what comes first: wanted coins, the latest, the busiest."""
        found = []
        for name, due_s in self._watched(now_s):
            is_free = name not in self._checking and self._retry_s.get(name, now_s) <= now_s
            if due_s <= now_s and is_free:
                lateness = (now_s - due_s + 1.0) * (self._backfill.rates(name) + RATE_FLOOR)
                found.append(((self._feed.instruments[name].coin in coins, lateness), name))
        return found

    def subscribe_mute_anew(self) -> None:
        """Until it is carried again: its connection may have been too young before."""
        for symbol in self.mute_symbols():
            name = self._feed.venue_symbol(symbol)
            if name is not None:
                self._feed.subscribe_anew(name)

    def mute_symbols(self) -> list[str]:
        """Symbols that trade, and nothing of them comes: not yet on another connection."""
        gaps = self._feed.ledger.open_gaps(self._feed.spec.name)
        return [gap.symbol for gap in gaps if gap.cause == SILENCE and not gap.to_ns]

    def unchecked_s(self, now_s: float) -> dict[str, float]:
        """Symbols whose comparison is overdue, by their names, and for how long they have none.

        Looked at every few seconds: several show it each second.
        """
        if now_s >= self._unchecked_until_s:
            self._unchecked_until_s = now_s + UNCHECKED_KEPT_S
            self._unchecked_s = {
                self._feed.instruments[name].symbol: now_s - self._checked_s[name]
                for name, due_s in self._watched(now_s)
                if now_s > due_s + OVERDUE_SHARE * self._check_s
            }
        return self._unchecked_s

    # --- comparing --------------------------------------------------------------------------------

    async def check(self, name: str, now_s: float) -> None:
        """Compare one symbol's list with what is held, and act on it."""
        self._checking.add(name)
        try:
            await self._check(name, now_s)
        finally:
            self._checking.discard(name)

    async def _check(self, name: str, now_s: float) -> None:
        feed = self._feed
        symbol = feed.instruments[name].symbol
        if self._is_in_hand(symbol):
            self._checked_s[name] = now_s
            return  # backfill reads the same list
        page, asker = feed.spec.recent, self._backfill.asker
        since_ns = feed.coverage.since_ns(name)
        if not since_ns:
            return  # it was cut between its choice and its turn
        asked_ns = feed.clock.wall_ns()
        # Behind with reading, we hold it against nobody that rows lie unread in the socket.
        read_ns = min(asked_ns, feed.coverage.proof_ns(name))
        request = first_request(page, name, Span(from_ns=since_ns, to_ns=asked_ns))
        try:
            answer, received_ns = await asker.ask(request, (CHECK, now_s))
            self._checked_s[name] = now_s
            if feed.counts_up:
                self._compare_ids(name, answer.trades, read_ns)
                return
            begun_ns = self._begun_ns(name, since_ns)
            # A pump, or a backfill of many holes, may push out of memory what came a minute ago.
            from_ns = max(
                begun_ns,
                self._shown_ns.get(name, 0) - CLOCKS_APART_NS,
                asker.held.given_up_ns(feed, name),
            )
            found, _ = await self._backfill.by_time.compare(
                name, answer.trades, page, from_ns, is_of_hole=False
            )
        except (VenueError, ServerError) as error:
            self._retry_s[name] = now_s + RETRY_S
            log.info("check_failed", feed=feed.spec.name, symbol=symbol, message=str(error))
            return
        is_broken = feed.coverage.since_ns(name) != since_ns
        if is_broken or self._is_in_hand(symbol):
            return  # it was cut meanwhile
        missing = passed_by(found, from_ns=from_ns, read_ns=read_ns)
        if missing:
            self._note_missing(name, found, missing, from_ns, received_ns)
        if found.rows:
            self._shown_ns[name] = min(found.rows[-1].exchange_ns, read_ns)

    def _begun_ns(self, name: str, since_ns: int) -> int:
        """From when on the stream owes us each row (exchange time): behind the first it brought.

        Where it brought none in the first seconds, from when on clocks cannot be to blame.
        """
        begun_ns = since_ns + CLOCKS_APART_NS
        held = self._backfill.asker.held.recent(
            self._feed, name, since_ns - CLOCKS_APART_NS, begun_ns
        )
        streamed = (
            row.exchange_ns for row in held if row.is_stream and row.received_ns >= since_ns
        )
        return min(streamed, default=begun_ns)

    def _is_in_hand(self, symbol: str) -> bool:
        """Whether a hole of it is open that will soon be closed, if the stream is back."""
        latest_ns = self._feed.clock.wall_ns() - IN_HAND_NS
        gaps = self._feed.ledger.open_of(self._feed.spec, symbol)
        return any(not gap.to_ns or gap.to_ns > latest_ns for gap in gaps)

    def _compare_ids(self, name: str, trades: list[RestTrade], read_ns: int) -> None:
        """Trades since the stream last brought one; REST may have brought them to us already."""
        feed = self._feed
        last_ns = max(feed.heard_ns(name), feed.coverage.since_ns(name)) + CLOCKS_APART_NS
        unheard = [
            trade for trade in trades if last_ns < trade.exchange_ns < read_ns - CLOCKS_APART_NS
        ]
        if unheard:
            self._open_mute(name, len(unheard))

    def _note_missing(
        self, name: str, found: Match, missing: list[Listed], from_ns: int, received_ns: int
    ) -> None:
        feed, asker = self._feed, self._backfill.asker
        symbol = feed.instruments[name].symbol
        first_ns, last_ns = missing[0].exchange_ns, missing[-1].exchange_ns
        streamed = [
            row.exchange_ns
            for row, mark in zip(found.rows, found.marks, strict=True)
            if mark is Mark.STREAMED
        ]
        if not any(at_ns > first_ns for at_ns in streamed):
            self._open_mute(name, len(missing))
            return
        # Nothing is filled of before ``from_ns``, which was not looked for, nor of before the list.
        reach_ns = found.rows[0].exchange_ns
        before_ns = max([from_ns, reach_ns, *(at_ns for at_ns in streamed if at_ns <= first_ns)])
        if reach_ns > from_ns and found.marks[0] is Mark.MISSING:
            self._lose_older(symbol, from_ns, reach_ns)
        behind_ns = min((at_ns for at_ns in streamed if at_ns > last_ns), default=last_ns)
        self.found += len(missing)
        log.warning("rows_withheld", feed=feed.spec.name, symbol=symbol, rows=len(missing))
        gap_id = feed.ledger.suspect(feed.spec, symbol, SILENCE, before_ns, behind_ns)
        new, refused = asker.take(name, missing, received_ns)
        feed.ledger.note_rest(gap_id, new)
        if refused or behind_ns == last_ns:
            return  # backfill looks again, and says what becomes of it
        if new:
            feed.ledger.fill(gap_id, new)
            asker.tally.closed["filled"] += 1
        else:
            feed.ledger.empty(gap_id, OVERLAP)

    def _lose_older(self, symbol: str, from_ns: int, reach_ns: int) -> None:
        """The list begins amid what was kept back: what came before it nobody shows any more."""
        gap_id = self._feed.ledger.suspect(self._feed.spec, symbol, SILENCE, from_ns, reach_ns)
        self._backfill.asker.close_lost(gap_id, self._backfill.asker.reach)

    def open_mute(self, name: str, rows: int) -> bool:
        """Somebody else found that nothing of it comes; False where that is known already."""
        if self._is_in_hand(self._feed.instruments[name].symbol):
            return False
        self._open_mute(name, rows)
        return True

    def _open_mute(self, name: str, rows: int) -> None:
        """Nothing of it comes although it trades: a hole until it is subscribed anew."""
        feed = self._feed
        self.found += rows
        self.mute += 1
        log.error("symbol_mute", feed=feed.spec.name, symbol=feed.instruments[name].symbol,
                  rows=rows, message="it trades, and nothing comes: subscribed anew")  # fmt: skip
        feed.ledger.cut(feed.spec, [feed.edge(name)], cause=SILENCE)
        feed.note_mute(name)
        self.subscribe_mute_anew()


async def run_comparisons(
    watches: Iterable[SilenceWatch], wanted_coins: Callable[[], frozenset[str]]
) -> None:
    """Compare what is due, as far as each budget's share goes, until cancelled.

    The feeds of one budget take turns by what is most due.
    """
    by_key: dict[str, list[SilenceWatch]] = {}
    for watch in watches:
        by_key.setdefault(watch.budget_key, []).append(watch)
    async with trio.open_nursery() as nursery:
        for some in by_key.values():
            nursery.start_soon(_compare_within, some, wanted_coins)


async def _compare_within(
    watches: list[SilenceWatch], wanted_coins: Callable[[], frozenset[str]]
) -> None:
    credit, most = 0.0, CREDIT_S_MAX * watches[0].weight_per_s
    async with trio.open_nursery() as nursery:
        while True:
            await trio.sleep(TICK_S)
            now_s = trio.current_time()
            credit = min(credit + watches[0].weight_per_s * TICK_S, most)
            for watch in watches:
                watch.subscribe_mute_anew()
            coins = wanted_coins()
            due = [
                (order, watch, name) for watch in watches for order, name in watch.due(now_s, coins)
            ]
            due.sort(key=lambda item: item[0], reverse=True)
            for _, watch, name in due:
                if credit < watch.weight:
                    break
                credit -= watch.weight
                nursery.start_soon(watch.check, name, now_s)
