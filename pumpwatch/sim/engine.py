"""The clock of all markets: so many trades in every tick, spread over feeds and symbols."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import trio

from pumpwatch.clock import Clock
from pumpwatch.sim.digits import Ints
from pumpwatch.sim.market import Market
from pumpwatch.sim.settings import SimSettings

CATCH_UP_S = 0.5  # a late tick makes good that much, no more
# A tick costs the same whether it has a trade or fifty: at low rates they are rarer, but for a coin
# that rises: who moved first is a matter of milliseconds.
QUIET_PER_S, QUIET_TICK_S = 2500.0, 0.16
REFRESH_S = 30.0  # each symbol's prices move that often
REFRESHES_PER_S_MAX = 40.0  # or, where symbols are many, so many symbols' in a second
PUMP_REFRESH_S = 0.5
# A pump on command: when it begins, how far the feeds lie behind each other, and its steps.
LIFT_AFTER_S, LIFT_BEHIND_S, LIFT_STEP_S, LIFT_STEPS = 0.4, 0.045, 0.15, 24
LIFT_FIRST, LIFT_FADE = 0.03, 0.88  # the first step's rise; each next one is so much of the last
WHOLE_EVERY_S = 10.0  # where messages may hold 1,000 trades, one does that often
MERGED_EVERY_S = 1.0  # where a venue merges trades
MERGED_ROWS_MAX = 5
WHOLE_RATE_MIN = 200.0  # trades a second of a feed; below, such a message would silence it for long
LATE_NS_MAX = 10 * 10**9  # nothing is kept back for longer
FADE = 0.7  # the n-th symbol trades n**-FADE times as often as the first


class Engine:
    """Paces the markets until it is stopped."""

    def __init__(self, markets: list[Market], settings: SimSettings, clock: Clock) -> None:
        self.markets = markets
        self.stopped = trio.Event()
        self.started_s: float | None = None
        self.rate_per_s = settings.rate_per_s  # trades, over all feeds; may change at any time
        self.throttled_s = 0.0  # time in which a market had only readers that were far behind
        self.subscribed = trio.Event()
        self._settings = settings
        self._clock = clock
        self._rng = np.random.default_rng((settings.seed, 99))
        self._credit = dict.fromkeys((market.name for market in markets), 0.0)
        self._weights = {market.name: self._weights_of(market) for market in markets}
        self._turn = 0.0
        self._next_whole_s = WHOLE_EVERY_S
        self._next_burst_s = settings.burst_every_s
        self._next_pump_s = 0.0
        self._next_merged_s = 0.0
        self._lifts: list[tuple[float, Market, int, float]] = []  # when, what, by how much

    def _weights_of(self, market: Market) -> npt.NDArray[np.float64]:
        return np.arange(1.0, len(market.instruments) + 1.0) ** -FADE

    async def run(self, seconds: float | None = None) -> None:
        """Trade until ``stop`` (or so many seconds after the first subscription)."""
        await self.subscribed.wait()
        started_s = self.started_s = trio.current_time()
        last_s, last_ns = started_s, self._clock.wall_ns()
        next_s = started_s
        while True:
            next_s = max(next_s + self._tick_s(), trio.current_time())
            with trio.move_on_at(next_s):
                await self.stopped.wait()
            now_s, now_ns = trio.current_time(), self._clock.wall_ns()
            if self.stopped.is_set() or (seconds is not None and now_s - started_s >= seconds):
                break
            self.tick(now_s - started_s, min(now_s - last_s, CATCH_UP_S), last_ns, now_ns)
            last_s, last_ns = now_s, now_ns
        self.stopped.set()
        for market in self.markets:
            market.send_late(last_ns + LATE_NS_MAX)

    def _tick_s(self) -> float:
        is_quiet = self.rate_per_s < QUIET_PER_S and not self._lifts
        return max(self._settings.tick_s, QUIET_TICK_S) if is_quiet else self._settings.tick_s

    def somebody_subscribed(self) -> None:
        """There is a reader: trading may begin."""
        self.subscribed.set()

    def lift(self, coin: str) -> int:
        """Let a coin rise by a quarter within seconds, feed after feed; tells how many have it."""
        if self.started_s is None:
            return 0
        begin_s, lifted = trio.current_time() - self.started_s + LIFT_AFTER_S, 0
        for number, market in enumerate(self.markets):
            for instrument in market.instruments:
                if instrument.coin == coin:
                    lifted += 1
                    from_s = begin_s + number * LIFT_BEHIND_S
                    self._lifts += [
                        (from_s + step * LIFT_STEP_S, market, instrument.index,
                         LIFT_FIRST * LIFT_FADE**step)
                        for step in range(LIFT_STEPS)
                    ]  # fmt: skip
        self._lifts.sort(key=lambda one: one[0])
        return lifted

    def stop(self) -> None:
        """No more trades."""
        self.stopped.set()
        self.subscribed.set()

    def tick(self, now_s: float, elapsed_s: float, start_ns: int, end_ns: int) -> None:
        """One tick of all markets."""
        share = self.rate_per_s * elapsed_s / len(self.markets)
        end_ns = max(end_ns, start_ns + 1)
        wants_whole = now_s >= self._next_whole_s
        wants_burst = bool(self._settings.burst_rows) and now_s >= self._next_burst_s
        for market in self.markets:
            market.send_late(end_ns)
            symbols = market.active()
            if not len(symbols):
                self._credit[market.name] = 0.0
                if market.subscriptions():
                    self.throttled_s += elapsed_s
                continue
            credit = self._credit[market.name] + share
            whole = -1
            counts = self._counts(market, symbols, int(max(credit, 0)))
            if wants_whole and self._takes_whole(market):
                whole = self._add_to_one(symbols, counts, market.venue.flow.rows_max, replace=True)
            elif wants_burst:
                whole = self._add_to_one(symbols, counts, self._settings.burst_rows)
            made = market.advance(symbols, counts, start_ns, end_ns, whole)
            self._credit[market.name] = credit - (int(max(credit, 0)) if wants_burst else made)
        if wants_whole:
            self._next_whole_s = now_s + WHOLE_EVERY_S
        if wants_burst:
            self._next_burst_s = now_s + self._settings.burst_every_s
        self._merge(now_s, end_ns)
        self._refresh(now_s, elapsed_s)

    def _merge(self, now_s: float, now_ns: int) -> None:
        if now_s < self._next_merged_s:
            return
        self._next_merged_s = now_s + MERGED_EVERY_S
        for market in self.markets:
            symbols = market.active()
            if market.venue.merges_trades and len(symbols):
                symbol = self._rng.choice(symbols)
                count = self._rng.integers(2, MERGED_ROWS_MAX, endpoint=True)
                market.play_merged(int(symbol), int(count), now_ns)

    def _counts(self, market: Market, symbols: Ints, total: int) -> Ints:
        if not total:
            return np.zeros(len(symbols), dtype=np.int64)
        weights = self._weights[market.name][symbols]
        weights = weights / weights.sum()
        if self._settings.pump:
            pumped = np.array(
                [market.instruments[at].coin == self._settings.pump for at in symbols.tolist()]
            )
            if pumped.any() and not pumped.all():
                share = self._settings.pump_share
                weights = np.where(pumped, share / pumped.sum(), weights)
                weights[~pumped] *= (1 - share) / weights[~pumped].sum()
        counts: Ints = self._rng.multinomial(total, weights / weights.sum())
        return counts

    def _takes_whole(self, market: Market) -> bool:
        rate = self.rate_per_s / len(self.markets)
        return market.venue.flow.rows_max >= 1000 and rate >= WHOLE_RATE_MIN

    def _add_to_one(self, symbols: Ints, counts: Ints, rows: int, *, replace: bool = False) -> int:
        at = int(self._rng.integers(0, len(symbols)))
        counts[at] = rows if replace else counts[at] + rows
        return int(symbols[at])

    def _refresh(self, now_s: float, elapsed_s: float) -> None:
        """Let some symbols' prices move, each in its turn."""
        most = max(len(market.instruments) for market in self.markets)
        before = int(self._turn)
        turns_per_s = min(most / REFRESH_S, REFRESHES_PER_S_MAX / len(self.markets))
        self._turn += turns_per_s * elapsed_s
        for turn in range(before, int(self._turn)):
            for number, market in enumerate(self.markets):
                # Feeds take different turns: not all in one tick.
                market.refresh((turn + number * most // len(self.markets)) % most)
        due = [one for one in self._lifts if one[0] <= now_s]
        self._lifts = [one for one in self._lifts if one[0] > now_s]
        for _, market, symbol, change in due:
            market.lift(symbol, change)
        if self._settings.pump and now_s >= self._next_pump_s:
            self._next_pump_s = now_s + PUMP_REFRESH_S
            for market in self.markets:
                for instrument in market.instruments:
                    if instrument.coin == self._settings.pump:
                        market.refresh(instrument.index)
