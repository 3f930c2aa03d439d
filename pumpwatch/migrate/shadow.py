"""Shadow compare: random windows of the old store, asked of QuestDB too; it answers nobody.

The comparison has a connection and a thread of its own: no answer waits for it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog
import trio

from pumpwatch.clock import Clock
from pumpwatch.errors import ServerError
from pumpwatch.migrate.compare import MS_NS, FeedComparison, SeenTrade, Tally, compare_feed
from pumpwatch.migrate.legacy import EXCHANGES, MARKET_TYPES
from pumpwatch.migrate.legacy_store import LegacyStore, OldWindow
from pumpwatch.store.partitions import SqlAccess

log = structlog.get_logger()

# What was recorded is asked first; an import holds what is older than the recorder.
TABLES = ("trades", "event_trades", "archive_trades")
MISMATCH_BYTES_MAX = 64 * 1024 * 1024  # of the file with both sides
in_thread = trio.to_thread.run_sync


class Shadow:
    """Draws windows, compares them, keeps each difference with both sides."""

    def __init__(
        self, store: LegacyStore, sql: SqlAccess, clock: Clock, rng: random.Random, path: Path
    ) -> None:
        self.tally = Tally()
        self._store = store
        self._sql = sql
        self._clock = clock
        self._rng = rng
        self._path = path  # of the differences: one JSON document a line

    def begin(self) -> None:
        """Count anew: a stage began."""
        self.tally = Tally()

    async def run(self, interval_s: float) -> None:
        """One window each ``interval_s``; a database that does not answer is met again."""
        while True:
            await trio.sleep(interval_s)
            try:
                await self.step()
            except (ServerError, OSError) as error:
                log.warning("shadow_skipped", message=str(error))

    async def step(self) -> list[FeedComparison] | None:
        """Compare one window; None where the old store has none. Raises ServerError, OSError."""
        window = await in_thread(self._store.draw, self._rng)
        if window is None:
            return None
        found = await compare_window(self._sql, window)
        self.tally.add(found)
        different = [one for one in found if one.differences]
        if different:
            await in_thread(self._keep, window, different)
            log.warning(
                "shadow_differs", folder=window.folder,
                feeds={one.feed: one.differences for one in different}, kept=str(self._path),
            )  # fmt: skip
        return found

    def _keep(self, window: OldWindow, different: Sequence[FeedComparison]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._path.exists() and self._path.stat().st_size > MISMATCH_BYTES_MAX:
            self._path.replace(self._path.with_suffix(".1.jsonl"))
        line = {
            "at_ns": self._clock.wall_ns(), "folder": window.folder, "from_ns": window.from_ns,
            "to_ns": window.to_ns, "feeds": different,
        }  # fmt: skip
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")


async def compare_window(sql: SqlAccess, window: OldWindow) -> list[FeedComparison]:
    """Every feed of which either store has a row. Raises ServerError."""
    new = await _read(sql, window)
    found = []
    for exchange in EXCHANGES:
        for market_type in MARKET_TYPES:
            old = window.of_feed(exchange, market_type)
            rows = new.get((exchange, market_type), [])
            if old or rows:
                found.append(compare_feed(f"{exchange}_{market_type}", old, rows))
    return found


async def _read(sql: SqlAccess, window: OldWindow) -> dict[tuple[str, str], list[SeenTrade]]:
    """By feed: the rows of the first table that has any of it."""
    places = ", ".join(["%s"] * len(window.symbols))
    by_feed: dict[tuple[str, str], list[SeenTrade]] = {}
    for table in TABLES:
        rows: list[tuple[Any, ...]] = await sql.query(
            "SELECT exchange, market_type, trade_id, timestamp::long, side, price, quantity"
            f" FROM {table} WHERE timestamp >= {window.from_ns} AND timestamp < {window.to_ns}"
            f" AND symbol IN ({places})",
            window.symbols,
        )
        fresh: dict[tuple[str, str], list[SeenTrade]] = {}
        for exchange, market_type, trade_id, timestamp_ns, side, price, quantity in rows:
            fresh.setdefault((exchange, market_type), []).append(
                SeenTrade(
                    trade_id=trade_id,
                    timestamp_ms=timestamp_ns // MS_NS,
                    side=side,
                    price=price,
                    quantity=quantity,
                )
            )
        by_feed = fresh | by_feed
    return by_feed
