"""Spool, writers and applied watch together, on a fake server or on a real one."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import trio

from pumpwatch.balance import FeedBalance, differences
from pumpwatch.store.applied import AppliedWatch, SqlSource
from pumpwatch.store.ilp_client import IlpSender
from pumpwatch.store.progress import TableProgress
from pumpwatch.store.schema import TABLES
from pumpwatch.store.spool import Spool, run_spool
from pumpwatch.store.writer import Quarantine, SchemaCheck, TableWriter
from pumpwatch.store.writer_gate import WriterGate
from tests.store.records import TRADES, SetClock, kill, new_spool, record

INTERVAL_S = 0.25


@dataclass
class Road:
    """The parts of one run, and what its writers refused."""

    spool: Spool
    tables: dict[str, TableProgress]
    writers: dict[str, TableWriter]
    watch: AppliedWatch
    refused: list[tuple[int, bytes, str]] = field(default_factory=list)
    _scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    _ended: trio.Event = field(default_factory=trio.Event)

    async def run(self, *, is_watched: bool) -> None:
        """Writers and watch, until the block ends or all is killed."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                for writer in self.writers.values():
                    nursery.start_soon(writer.run)
                if is_watched:
                    nursery.start_soon(self.watch.run)
        self._ended.set()

    async def kill(self) -> None:
        """What a SIGKILL leaves: nobody runs on with a spool that was let go; it is not sealed."""
        self._scope.cancel()
        await self._ended.wait()
        kill(self.spool)
        self.spool.state = "closed"

    @property
    def trades(self) -> TableProgress:
        return self.tables["trades"]

    def append(self, *serials: int, **more: Any) -> None:
        for serial in serials:
            self.spool.append(record([serial], **more))

    async def until(self, condition: Callable[[], bool], within_s: float = 60.0) -> None:
        with trio.fail_after(within_s):
            while not condition():  # noqa: ASYNC110 - there is no event for all of them
                await trio.sleep(0.01)

    async def until_applied(self, within_s: float = 60.0) -> None:
        """Wait until nothing is pending."""
        await self.until(lambda: self.spool.is_drained(self.watch.applied), within_s)

    def differences(self) -> list[str]:
        """The balance of the trades' feeds, at rest."""
        recovery = self.spool.recovery
        assert recovery is not None
        found = []
        for feed in {*self.spool.spooled_by_feed, *recovery.rows_by_feed}:
            spooled = self.spool.spooled_by_feed[feed]
            lost = self.spool.lost_by_feed[feed]
            counted = FeedBalance(
                feed=str(feed), parsed=spooled, passed=spooled, repeated=0, history_skipped=0,
                quarantined=0, buffered=0, queued=0, spooled=spooled,
                replayed=recovery.rows_by_feed.get(feed, 0),
                passed_on=spooled + recovery.rows_by_feed.get(feed, 0) - lost,
                accepted=self.trades.accepted_by_feed[feed],
                applied=self.trades.applied_by_feed[feed],
                refused=self.trades.refused_by_feed[feed],
                quarantined_kept=0, refused_kept=self.trades.refused_by_feed[feed],
                lost=lost,
            )  # fmt: skip
            found += differences(counted, is_settled=True)
            found += [f"{feed}: {counted.pending} pending"] * (counted.pending != 0)
        return found


@asynccontextmanager
async def running(
    folder: Path,
    sender: IlpSender,
    sql: SqlSource,
    *,
    names: Sequence[str] = ("trades",),
    interval_s: float = INTERVAL_S,
    rows_max: int = 100_000,
    quarantine: Callable[[Road], Quarantine] | None = None,
    is_watched: bool = True,
    gate: WriterGate | None = None,
    check_schema: SchemaCheck | None = None,
    **spool_settings: Any,
) -> AsyncIterator[Road]:
    """Run the road; at the end the spool is sealed as it is."""
    spool = new_spool(folder, **spool_settings)
    tables = {name: TableProgress(TABLES[name], name) for name in names}
    watch = AppliedWatch(spool, list(tables.values()), sql, SetClock())
    road = Road(spool, tables, {}, watch)
    take = quarantine(road) if quarantine else lambda *line: road.refused.append(line)
    async with trio.open_nursery() as nursery:
        await nursery.start(run_spool, spool, watch.applied)
        for name, progress in tables.items():
            road.writers[name] = TableWriter(
                progress, spool, sender, take, random.Random(1),
                rows_max=rows_max, interval_s=interval_s, gate=gate,
                check_schema=check_schema,
            )  # fmt: skip
        nursery.start_soon(partial(road.run, is_watched=is_watched))
        yield road
        nursery.cancel_scope.cancel()


def balance_of(road: Road, feed: int = 1) -> tuple[int, int, int]:
    """Accepted, applied and refused rows of trades."""
    trades = road.trades
    assert trades.number == TRADES
    return (
        trades.accepted_by_feed[feed],
        trades.applied_by_feed[feed],
        trades.refused_by_feed[feed],
    )
