"""Where questions for windows go while reads move: the stage's share to QuestDB, the rest back.

Stands in front of the reader of windows with the reader's own questions. An answer of the old store
is marked (``source`` is ``old_store``) and never called covered: nothing proves it complete.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import structlog
import trio

from pumpwatch.clock import Clock
from pumpwatch.errors import ServerError
from pumpwatch.migrate.desk import MigrationDesk
from pumpwatch.migrate.legacy import AGGREGATE, LegacyRow
from pumpwatch.migrate.legacy_store import LegacyStore
from pumpwatch.store.partitions import SqlAccess
from pumpwatch.store.window_model import WindowAnswer, WindowQuestion
from pumpwatch.store.window_reader import ROW_SQL, ROWS_MAX, Windows

log = structlog.get_logger()

# An import lies here: older than what the reader's own table keeps.
KEPT_TABLES = ("event_trades", "archive_trades")


class MovingReads:
    """Asks QuestDB through ``windows`` until ``begin``; from then on as the desk's stage says."""

    def __init__(self, windows: Windows, clock: Clock) -> None:
        self._windows = windows
        self._clock = clock
        self._desk: MigrationDesk | None = None
        self._store: LegacyStore | None = None
        self._sql: SqlAccess | None = None

    def begin(self, desk: MigrationDesk, store: LegacyStore, sql: SqlAccess) -> None:
        """The stage is loaded."""
        self._desk, self._store, self._sql = desk, store, sql

    async def head(self, question: WindowQuestion, rows_max: int) -> tuple[WindowAnswer, bool]:
        """As Windows.head."""
        if self._desk is None:
            return await self._windows.head(question, rows_max)

        async def questdb() -> tuple[WindowAnswer, bool]:
            answer, has_more = await self._windows.head(question, rows_max)
            kept = None if len(answer) else await self._kept(question)
            return (answer, has_more) if kept is None else (kept, len(kept) > rows_max)

        async def legacy() -> tuple[WindowAnswer, bool] | None:
            old = await self._old(question)
            return None if old is None else (old, len(old) > rows_max)

        found, _ = await self._desk.ask(name_of(question), questdb, legacy)
        return found

    async def recent(
        self, symbol: str, feeds: tuple[str, ...], span_ns: int, rows_max: int
    ) -> WindowAnswer:
        """As Windows.recent; a symbol's newest rows always go the same way."""
        if self._desk is None:
            return await self._windows.recent(symbol, feeds, span_ns, rows_max)
        to_ns = self._clock.wall_ns()
        question = WindowQuestion(
            symbols=(symbol,), from_ns=to_ns - span_ns, to_ns=to_ns, feeds=feeds
        )
        found, _ = await self._desk.ask(
            f"recent {symbol} {' '.join(feeds)}",
            lambda: self._windows.recent(symbol, feeds, span_ns, rows_max),
            lambda: self._old(question),
        )
        return found

    async def _kept(self, question: WindowQuestion) -> WindowAnswer | None:
        """Rows that an import or a listing keeps; None where there are none. Raises ServerError."""
        assert self._sql is not None
        symbols = await self._windows.symbols_of(question)
        if not symbols:
            return None
        wanted = " OR ".join(["symbol = %s"] * len(symbols))
        params = [question.from_ns, question.to_ns, *symbols, ROWS_MAX]
        for table in KEPT_TABLES:
            text = ROW_SQL.replace("FROM trades", f"FROM {table}")
            rows = await self._sql.query(text.format(symbols=wanted, feeds=""), params)
            if rows:
                told = ((*row[:-1], _kind(row[-1])) for row in rows)
                return await self._windows.answer_of(question, told, "database")
        return None

    async def _old(self, question: WindowQuestion) -> WindowAnswer | None:
        """What the old store has; None where it has nothing, or cannot be read."""
        assert self._store is not None
        try:
            symbols = await self._windows.symbols_of(question)
            window = await trio.to_thread.run_sync(
                self._store.window, symbols, question.from_ns, question.to_ns
            )
        except (OSError, ServerError) as error:
            log.warning("old_store_not_read", message=str(error))
            return None
        if window is None or not window.rows:
            return None
        return await self._windows.answer_of(question, table_rows(window.rows), "old_store")


def name_of(question: WindowQuestion) -> str:
    """A question's text: what decides where it goes is this alone."""
    return "|".join(
        [question.coin, " ".join(question.symbols), str(question.from_ns), str(question.to_ns),
         " ".join(question.feeds)]
    )  # fmt: skip


def table_rows(rows: tuple[LegacyRow, ...]) -> Iterator[tuple[Any, ...]]:
    """As ROW_SQL would give them."""
    for row in rows:
        yield (
            row.exchange, row.market_type, row.symbol, row.timestamp_ns, row.side,
            float(row.price), float(row.quantity), row.trade_id, 0, row.received_ns or None,
            "import", _kind(row.kind),
        )  # fmt: skip


def _kind(kind: str | None) -> str | None:
    """Only an import knows merged fills; a reader of trades has no word for them."""
    return None if kind in ("", AGGREGATE) else kind
