"""When a database first refused a row: the moment from which an alert of it is due."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from pumpwatch.drills.proxy import FaultProxy
from pumpwatch.errors import DrillError, PumpWatchError
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.sql import Sql

LOOK_S = 0.1
ALERT_S_MAX = 5.0
# A database that takes rows for so long without any room shows nothing. 72 s were seen at 10,000
# rows/s; with 16 MiB ahead a column of 16 bytes takes a million rows: 262 s at 4,000 rows/s.
REFUSAL_S_MAX = 300.0
SUSPENDED_SQL = "SELECT count() FROM wal_tables() WHERE name = 'trades' AND suspended"


class Refusal:
    """Seen from outside of the daemon: by the proxy before the database, and by its own word."""

    def __init__(self) -> None:
        self.first_s: float | None = None  # trio's clock; None: it has taken every row

    def note(self) -> None:
        """A request was not stored, or what was stored is not applied."""
        if self.first_s is None:
            self.first_s = trio.current_time()

    async def watch(self, sql: Sql) -> None:
        """Ask for suspended tables, until cancelled; where nobody answers the proxy sees it."""
        while True:
            try:
                ((suspended,),) = await sql.query(SUSPENDED_SQL)
            except PumpWatchError:
                suspended = 0
            if suspended:
                self.note()
            await trio.sleep(LOOK_S)


@asynccontextmanager
async def watch_refusal(proxy: FaultProxy, address: ServerAddress) -> AsyncIterator[Refusal]:
    """What the database behind ``proxy`` refuses while the block lasts."""
    refusal, sql = Refusal(), Sql(address, readonly=True)
    proxy.on_refused = refusal.note
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refusal.watch, sql)
            yield refusal
            nursery.cancel_scope.cancel()
    finally:
        proxy.on_refused = None
        await sql.aclose()


async def until_alert(has_told: Callable[[], bool], refusal: Refusal, full_s: float) -> float:
    """How long after the first refusal the daemon told of it, or how long it has not; 0: before.

    Returns no earlier than after ``full_s``. Raises DrillError where no row was refused.
    """
    end_s = trio.current_time() + full_s
    given_up_s = trio.current_time() + REFUSAL_S_MAX
    told_s: float | None = None
    while True:
        now_s, due_s = trio.current_time(), refusal.first_s
        if told_s is None and has_told():
            told_s = now_s
        if now_s >= end_s:
            if told_s is not None:
                return 0.0 if due_s is None else max(0.0, told_s - due_s)
            if due_s is not None and now_s > due_s + ALERT_S_MAX + 1:
                return now_s - due_s
            if due_s is None and now_s > given_up_s:
                raise DrillError(
                    f"full for {REFUSAL_S_MAX:g} s, and no row was refused: more rows/s?"
                )
        await trio.sleep(LOOK_S)
