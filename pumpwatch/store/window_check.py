"""Compares random windows of memory with the database: all rows must be the same, always.

What differs is kept with both sides, so that somebody can find out why; nothing is corrected here.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import structlog
import trio

from pumpwatch._fast.trade_rows import TradeRows
from pumpwatch.clock import Clock
from pumpwatch.errors import PumpWatchError
from pumpwatch.moments import iso_ns
from pumpwatch.store.window_model import WindowQuestion
from pumpwatch.store.window_reader import Windows

log = structlog.get_logger()

EVERY_S = 20.0
SPAN_NS = 20 * 10**9
BEHIND_NS = 60 * 10**9  # rows need time to be applied, and late ones to come
BACK_NS = 50 * 60 * 10**9
FILES_MAX = 20  # a fault that comes back must not fill the disk
# R4: what a row is; when it came, and by which way, may differ.
FORM = (
    "timestamp", "exchange", "market_type", "symbol", "trade_id", "side", "price", "quantity",
    "sequence_number",
)  # fmt: skip


class WindowCheck:
    """Takes a window every EVERY_S seconds; ``compared`` counts those that could be."""

    def __init__(
        self,
        windows: Windows,
        clock: Clock,
        rng: random.Random,
        folder: Path,
        symbols: Callable[[], list[tuple[str, str]]],
        visible_ns: Callable[[], int],
    ) -> None:
        """``visible_ns``: the table has every row that came before it (our clock)."""
        self.compared = 0
        self.differences = 0
        self.newest_file = ""
        self._windows = windows
        self._clock = clock
        self._rng = rng
        self._folder = folder
        self._symbols = symbols
        self._visible_ns = visible_ns

    async def run(self) -> None:
        """Until cancelled; a database that does not answer is no difference."""
        while True:
            await trio.sleep(EVERY_S)
            known = self._symbols()
            if not known:
                continue
            feed, symbol = self._rng.choice(known)
            to_ns = self._clock.wall_ns() - BEHIND_NS - self._rng.randrange(BACK_NS)
            question = WindowQuestion(
                symbols=(symbol,), from_ns=to_ns - SPAN_NS, to_ns=to_ns, feeds=(feed,)
            )
            try:
                await self.compare(question)
            except PumpWatchError as error:
                log.info("window_not_compared", message=str(error))

    async def compare(self, question: WindowQuestion) -> bool | None:
        """Whether both have the same rows; None where memory does not cover the window alone.

        None, too, where rows of it came a moment ago. Phemex's snapshots and lists bring rows of
        long ago once more, with another sequence: memory has them before the table does.
        """
        visible_ns = self._visible_ns()
        held = await self._windows.ask_anew(question)
        if held.source != "memory" or not held.is_complete:
            return None
        stored = await self._windows.ask_anew(question, use_memory=False)
        if not stored.is_complete:
            return None
        if forms(held.trades) != forms(stored.trades):
            # A row may have come late between the two questions.
            held = await self._windows.ask_anew(question)
            if held.source != "memory" or not held.is_complete:
                return None
            if max(held.trades.received_ns, default=0) >= visible_ns:
                return None
        self.compared += 1
        if forms(held.trades) == forms(stored.trades):
            return True
        self.differences += 1
        try:
            self.newest_file = await trio.to_thread.run_sync(
                self._keep, question, held.trades, stored.trades
            )
        except OSError as error:
            self.newest_file = f"no file: {error.strerror}"
        log.error("window_differs", feed=question.feeds, symbols=question.symbols,
                  start=iso_ns(question.from_ns), memory_rows=len(held), database_rows=len(stored),
                  file=self.newest_file)  # fmt: skip
        return False

    def _keep(self, question: WindowQuestion, held: TradeRows, stored: TradeRows) -> str:
        self._folder.mkdir(parents=True, exist_ok=True)
        for old in sorted(self._folder.glob("*.json"))[: -FILES_MAX + 1]:
            old.unlink()
        path = self._folder / f"{self._clock.wall_ns()}.json"
        document = {"question": question, "memory": held.rows(), "database": stored.rows()}
        path.write_bytes(msgspec.json.encode(document))
        return str(path)


def forms(trades: TradeRows) -> list[tuple[Any, ...]]:
    """Every row in canonical form (R4)."""
    return [tuple(row[name] for name in FORM) for row in trades.rows()]
