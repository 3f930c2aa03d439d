"""Retention: the days that are too old go, and when the disk fills, the oldest of the others.

By an explicit list of partitions, and with ``FORCE DROP PARTITION``: a plain ``DROP PARTITION``
makes the server mark the bars (trades_1s) invalid for good, and they are then no longer kept up
(seen on 9.3.4); the forced one leaves them alone, the old bars included.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import structlog
import trio

from pumpwatch.clock import Clock
from pumpwatch.config import RetentionConfig
from pumpwatch.errors import PumpWatchError, RetentionRefusedError
from pumpwatch.store.disk import DiskWatch, Level
from pumpwatch.store.event_windows import Bundles, copy_window, read_windows
from pumpwatch.store.maintenance_lock import hold_maintenance
from pumpwatch.store.operations import OperationLog
from pumpwatch.store.partitions import (
    NS_PER_S,
    Partition,
    SqlAccess,
    read_partitions,
    wait_applied,
)
from pumpwatch.store.retention_plan import (
    Drop,
    Plan,
    Window,
    check_clock,
    check_cutoff,
    cutoff_of,
    plan_age,
    plan_room,
)

log = structlog.get_logger()

TRADES = "trades"
# Never listing_events, feed_gaps, operations, instruments, event_trades: those stay for ever.
AGING_TABLES = (TRADES, "exchange_health")
BARS = "trades_1s"
DROPS_PER_STATEMENT = 24  # a day of hours
GONE_S_MAX = 10.0  # until the files of dropped partitions are gone; readers may hold some longer
GONE_POLL_S = 0.2
JUMP_S_MAX = 120.0  # the wall clock against the kernel's: what NTP does is far less

Alert = Callable[[str, str], None]  # rule, text


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did."""

    drops: tuple[Drop, ...]
    kept: tuple[str, ...]  # reasons, one per partition that had to stay
    problems: tuple[str, ...]

    def detail(self) -> str:
        """One line for ``operations``."""
        rows = sum(drop.rows for drop in self.drops)
        size_bytes = sum(drop.disk_bytes for drop in self.drops)
        span = f" ({self.drops[0].partition} to {self.drops[-1].partition})" if self.drops else ""
        parts = [f"dropped {len(self.drops)} partitions{span}, {rows} rows, {size_bytes} bytes"]
        if self.kept:
            parts.append(f"kept {len(self.kept)}: {self.kept[0]}")
        return "; ".join([*parts, *self.problems])


class Retention:
    """Plans and runs; one per process. ``alert`` is told before anything goes in an emergency."""

    def __init__(
        self,
        sql: SqlAccess,
        rules: RetentionConfig,
        disk: DiskWatch,
        operations: OperationLog,
        clock: Clock,
        *,
        bundles: Bundles,
        window_s: tuple[int, int],  # before and after a listing
        data_dir: Path,
        alert: Alert = lambda rule, text: None,
    ) -> None:
        self._sql = sql
        self._rules = rules
        self._disk = disk
        self._operations = operations
        self._clock = clock
        self._bundles = bundles
        self._before_s, self._after_s = window_s
        self._data_dir = data_dir
        self._alert = alert
        self._last_look: tuple[int, float] | None = None  # wall ns, the kernel's s

    # --- plan -------------------------------------------------------------------------------------

    async def plan(self, cutoff_ns: int | None = None) -> list[Plan]:
        """What a run would do now, a plan per table. Raises RetentionRefusedError, ServerError.

        ``cutoff_ns``: instead of the one by ``retention.days``. What the disk wants goes on top,
        as far as sizes tell it beforehand.
        """
        now_ns = self._clock.wall_ns()
        if cutoff_ns is not None:
            check_cutoff(cutoff_ns, now_ns, self._rules.floor_days)
        plans = []
        for table in AGING_TABLES:
            partitions = await self._partitions(table, now_ns)
            plan = await self._plan_age(table, partitions, now_ns, cutoff_ns)
            if table == TRADES and self._level() >= Level.EMERGENCY:
                plan = await self._with_emergency(plan, partitions, now_ns)
            plans.append(plan)
        return plans

    async def _partitions(self, table: str, now_ns: int) -> list[Partition]:
        partitions = await read_partitions(self._sql, table)
        if table == TRADES and partitions:
            check_clock(now_ns, max(partition.max_ns for partition in partitions))
        return partitions

    async def _plan_age(
        self,
        table: str,
        partitions: Sequence[Partition],
        now_ns: int,
        cutoff_ns: int | None = None,
        days: int | None = None,
        kept: frozenset[str] = frozenset(),
    ) -> Plan:
        days = self._rules.days if days is None else days
        cutoff_ns = cutoff_of(now_ns, days) if cutoff_ns is None else cutoff_ns
        return plan_age(
            table, partitions, await self._windows(table, kept), now_ns=now_ns,
            cutoff_ns=cutoff_ns, floor_days=self._rules.floor_days,
            reason=f"older than {days} days",
        )  # fmt: skip

    async def _with_emergency(
        self, plan: Plan, partitions: Sequence[Partition], now_ns: int
    ) -> Plan:
        younger = await self._plan_age(TRADES, partitions, now_ns, days=self._rules.emergency_days)
        wanted_bytes = self._bytes_over() - younger.freed_bytes
        if wanted_bytes <= 0:
            return younger
        gone = {drop.partition for drop in younger.drops}
        rest = [partition for partition in partitions if partition.name not in gone]
        more = plan_room(
            TRADES, rest, await self._windows(TRADES), now_ns=now_ns,
            floor_days=self._rules.floor_days, wanted_bytes=wanted_bytes,
        )  # fmt: skip
        return msgspec.structs.replace(more, drops=younger.drops + more.drops, kept=plan.kept)

    async def _windows(self, table: str, kept: frozenset[str] = frozenset()) -> list[Window]:
        if table != TRADES:
            return []
        windows = await read_windows(
            self._sql, self._bundles, before_s=self._before_s, after_s=self._after_s
        )
        return [
            msgspec.structs.replace(window, is_kept=window.is_kept or window.name in kept)
            for window in windows
        ]

    # --- run --------------------------------------------------------------------------------------

    async def run(self, cutoff_ns: int | None = None) -> Outcome:
        """Drop what the rules say, and note it in ``operations``.

        Raises MaintenanceBusyError, RetentionRefusedError (noted) or ServerError (noted).
        """
        with hold_maintenance(self._data_dir, "retention"):
            row = await self._operations.begin("retention", "")
            try:
                self._check_jump()
                outcome = await self._run(cutoff_ns)
            except RetentionRefusedError as error:
                self._alert("retention_refused", str(error))
                await self._operations.end(row, "refused", str(error))
                raise
            except PumpWatchError as error:
                self._alert("retention_failed", str(error))
                await self._operations.end(row, "failed", str(error))
                raise
            result = "failed" if outcome.problems else "good"
            await self._operations.end(row, result, outcome.detail())
            return outcome

    def _check_jump(self) -> None:
        """Refuse the run after a jump of the wall clock; the next one judges by it again."""
        now = (self._clock.wall_ns(), trio.current_time())
        last, self._last_look = self._last_look, now
        if last is None:
            return
        jump_s = (now[0] - last[0]) / NS_PER_S - (now[1] - last[1])
        if abs(jump_s) > JUMP_S_MAX:
            raise RetentionRefusedError(
                f"retention: the clock jumped by {jump_s:+.0f} s since the last run; nothing was"
                " dropped, the next run goes by the clock as it is then"
            )

    async def _run(self, cutoff_ns: int | None) -> Outcome:
        now_ns = self._clock.wall_ns()
        drops: list[Drop] = []
        problems: list[str] = []
        kept_windows = await self._keep_old_windows(now_ns, problems)
        pinned: list[str] = []
        for table in AGING_TABLES:
            partitions = await self._partitions(table, now_ns)
            plan = await self._plan_age(table, partitions, now_ns, cutoff_ns, kept=kept_windows)
            drops += await self._drop(plan)
            pinned += [f"{kept.partition} {kept.reason}" for kept in plan.kept]
        self._look()
        if self._level() >= Level.EMERGENCY:
            drops += await self._make_room(now_ns, kept_windows)
        if drops:
            problems += await self._check_bars()
        for problem in problems:
            self._alert("retention_failed", problem)
        return Outcome(drops=tuple(drops), kept=tuple(pinned), problems=tuple(problems))

    async def _keep_old_windows(self, now_ns: int, problems: list[str]) -> frozenset[str]:
        """Copy the windows whose hours are due; the names of those that are proved copied."""
        partitions = await self._partitions(TRADES, now_ns)
        cutoff_ns = cutoff_of(now_ns, self._rules.days)
        due = [partition for partition in partitions if partition.end_ns <= cutoff_ns]
        done = set()
        for window in await self._windows(TRADES):
            holding = [partition for partition in due if window.overlaps(partition)]
            if window.is_kept or not holding:
                continue
            if await copy_window(self._sql, window, holding):
                done.add(window.name)
            else:
                problems.append(f"the copy of listing {window.name}'s window is not equal")
        return frozenset(done)

    async def _make_room(self, now_ns: int, kept_windows: frozenset[str]) -> list[Drop]:
        """The 25-day rule, then the oldest days down to the floor; the alert comes first."""
        usage = self._disk.volumes["database"].usage
        self._alert(
            "disk_emergency",
            f"the database's disk is {usage.percent:.1f} % full: days before the last"
            f" {self._rules.emergency_days} are dropped, then the oldest of the others down to"
            f" {self._rules.floor_days}",
        )
        partitions = await self._partitions(TRADES, now_ns)
        days = self._rules.emergency_days
        plan = await self._plan_age(TRADES, partitions, now_ns, days=days, kept=kept_windows)
        drops = await self._drop(plan)
        self._look()
        if self._level() >= Level.EMERGENCY:
            partitions = await self._partitions(TRADES, now_ns)
            plan = plan_room(
                TRADES, partitions, await self._windows(TRADES, kept_windows), now_ns=now_ns,
                floor_days=self._rules.floor_days, wanted_bytes=self._bytes_over(),
            )  # fmt: skip
            drops += await self._drop(plan)
            self._look()
        if self._level() >= Level.EMERGENCY:
            percent = self._disk.volumes["database"].usage.percent
            self._alert(
                "disk_floor",
                f"the database's disk is still {percent:.1f} % full, and nothing more may be"
                f" dropped: the last {self._rules.floor_days} days and listing windows stay. Make"
                " room on it or enlarge it",
            )
        return drops

    async def _drop(self, plan: Plan) -> list[Drop]:
        """Drop by explicit lists; returns what is gone."""
        for start in range(0, len(plan.drops), DROPS_PER_STATEMENT):
            batch = plan.drops[start : start + DROPS_PER_STATEMENT]
            names = ", ".join(f"'{name}'" for name in await self._with_splits(plan.table, batch))
            log.warning("partitions_drop", table=plan.table, first=batch[0].partition,
                        last=batch[-1].partition, count=len(batch),
                        reason=batch[0].reason)  # fmt: skip
            await self._sql.execute(f"ALTER TABLE {plan.table} FORCE DROP PARTITION LIST {names}")
            await wait_applied(self._sql, plan.table)
        if not plan.drops:
            return []
        await self._wait_for_room(plan)
        left = {partition.name for partition in await read_partitions(self._sql, plan.table)}
        stayed = [drop.partition for drop in plan.drops if drop.partition in left]
        if stayed:  # rows that came in late have made it anew: the next run takes them
            log.warning("partitions_stayed", table=plan.table, partitions=stayed)
        return [drop for drop in plan.drops if drop.partition not in left]

    async def _with_splits(self, table: str, drops: Sequence[Drop]) -> list[str]:
        """The names as the server has them: a partition may lie there in several parts."""
        rows = await self._sql.query(f"SELECT name FROM table_partitions('{table}')")
        wanted = tuple(drop.partition for drop in drops)
        return [str(name) for (name,) in rows if str(name).startswith(wanted)]

    async def _wait_for_room(self, plan: Plan) -> None:
        """Until the files are gone as well; a reader that still has them open delays that."""
        before = self._disk.volumes["database"].usage.used_bytes
        for _ in range(int(GONE_S_MAX / GONE_POLL_S)):
            self._look()
            gone_bytes = before - self._disk.volumes["database"].usage.used_bytes
            if gone_bytes >= plan.freed_bytes // 2 or self._level() < Level.EMERGENCY:
                return
            await trio.sleep(GONE_POLL_S)

    async def _check_bars(self) -> list[str]:
        rows = await self._sql.query(
            "SELECT view_status, invalidation_reason FROM materialized_views()"
            " WHERE view_name = %s",
            (BARS,),
        )
        return [
            f"{BARS} is {status} ({reason}): REFRESH MATERIALIZED VIEW {BARS} FULL makes it anew"
            for status, reason in rows
            if status == "invalid"
        ]

    def _look(self) -> None:
        self._disk.look()

    def _level(self) -> Level:
        return self._disk.volumes["database"].level

    def _bytes_over(self) -> int:
        return self._disk.bytes_over_emergency()


def over_limit(plans: Sequence[Plan]) -> bool:
    """Whether something would go: the answer of ``retention plan``."""
    return any(itertools.chain.from_iterable(plan.drops for plan in plans))
