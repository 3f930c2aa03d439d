"""Retention: the days that are too old go, and when the disk fills, the oldest of the others.

The list is explicit, and computed in UTC. How ``trades`` loses its oldest partitions was found out
on 9.3.4: a plain ``DROP PARTITION`` makes the bars (trades_1s) invalid for good, a ``FORCE DROP
PARTITION`` hides the rows of the first partition that stays from questions about its time. What
the table's TTL takes away harms neither. So the TTL is set to just the hours that take the list
away, which the server does as it applies the statement, and in the same breath back to the 45 days
that are a backstop (R14).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import structlog
import trio

from pumpwatch.clock import Clock
from pumpwatch.config_upkeep import RetentionConfig
from pumpwatch.errors import PumpWatchError, RetentionRefusedError
from pumpwatch.store.disk import DiskWatch, Level
from pumpwatch.store.event_windows import Bundles, copy_window, read_windows
from pumpwatch.store.maintenance_lock import hold_maintenance
from pumpwatch.store.operations import OperationLog
from pumpwatch.store.partitions import (
    HOUR_NS,
    NS_PER_S,
    Partition,
    SqlAccess,
    read_partitions,
    span_of,
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
from pumpwatch.store.schema import MIGRATIONS, same_ttl
from pumpwatch.store.schema_file import shapes_of

log = structlog.get_logger()

TRADES = "trades"
# Never listing_events, feed_gaps, operations, instruments, event_trades: those stay for ever.
AGING_TABLES = (TRADES, "exchange_health")
BARS = "trades_1s"
HASTE_NS_MIN = 120 * NS_PER_S  # until new rows would make the set TTL take one partition more
GONE_S_MAX = 10.0  # until the files of dropped partitions are gone; readers may hold some longer
GONE_POLL_S = 0.2
JUMP_S_MAX = 120.0  # the wall clock against the kernel's: what NTP does is far less

SCHEMA_TTL = shapes_of(MIGRATIONS)[TRADES].ttl
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
        on_outcome: Callable[[Outcome], None] = lambda outcome: None,
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
        self._on_outcome = on_outcome
        self._pending_bytes = 0  # dropped, but not yet given back by the file system
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
                plan = await self._plan_emergency(partitions, now_ns)
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

    async def _plan_emergency(self, partitions: Sequence[Partition], now_ns: int) -> Plan:
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
        return msgspec.structs.replace(more, drops=younger.drops + more.drops)

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
                if cutoff_ns is None:  # else whoever named it is told
                    self._alert("retention_refused", str(error))
                await self._operations.end(row, "refused", str(error))
                raise
            except PumpWatchError as error:
                self._alert("retention_failed", str(error))
                await self._operations.end(row, "failed", str(error))
                raise
            result = "failed" if outcome.problems else "good"
            await self._operations.end(row, result, outcome.detail())
            self._on_outcome(outcome)
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
        await mend_ttl(self._sql)
        drops: list[Drop] = []
        problems: list[str] = []
        pinned: list[str] = []
        for table in AGING_TABLES:
            plan = await self._plan_to_run(table, now_ns, self._rules.days, problems, cutoff_ns)
            drops += await self._drop(plan, now_ns, problems)
            pinned += [f"{kept.partition} {kept.reason}" for kept in plan.kept]
        self._look()
        if self._level() >= Level.EMERGENCY:
            drops += await self._make_room(now_ns, problems)
        if drops:
            problems += await self._check_bars()
        for problem in problems:
            self._alert("retention_failed", problem)
        return Outcome(drops=tuple(drops), kept=tuple(pinned), problems=tuple(problems))

    async def _plan_to_run(
        self,
        table: str,
        now_ns: int,
        days: int,
        problems: list[str],
        cutoff_ns: int | None = None,
    ) -> Plan:
        """What is due, after the windows in it were copied."""
        partitions = await self._partitions(table, now_ns)
        cutoff_ns = cutoff_of(now_ns, days) if cutoff_ns is None else cutoff_ns
        kept: frozenset[str] = frozenset()
        if table == TRADES:
            kept = await self._copy_windows(partitions, cutoff_ns, problems)
        return await self._plan_age(table, partitions, now_ns, cutoff_ns, days=days, kept=kept)

    async def _copy_windows(
        self, partitions: Sequence[Partition], cutoff_ns: int, problems: list[str]
    ) -> frozenset[str]:
        """Copy the windows whose hours are due; the names of those that are proved copied."""
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

    async def _make_room(self, now_ns: int, problems: list[str]) -> list[Drop]:
        """The 25-day rule, then the oldest days down to the floor; the alert comes first."""
        self._alert(
            "disk_emergency",
            f"the database's disk is {self._disk.percent:.1f} % full: days before the last"
            f" {self._rules.emergency_days} are dropped, then the oldest of the others down to"
            f" {self._rules.floor_days}",
        )
        plan = await self._plan_to_run(TRADES, now_ns, self._rules.emergency_days, problems)
        drops = await self._drop(plan, now_ns, problems)
        wanted_bytes = self._bytes_over() - self._pending_bytes
        if self._level() >= Level.EMERGENCY and wanted_bytes > 0:
            partitions = await self._partitions(TRADES, now_ns)
            floor_ns = cutoff_of(now_ns, self._rules.floor_days)
            kept = await self._copy_windows(partitions, floor_ns, problems)
            plan = plan_room(
                TRADES, partitions, await self._windows(TRADES, kept), now_ns=now_ns,
                floor_days=self._rules.floor_days, wanted_bytes=wanted_bytes,
            )  # fmt: skip
            drops += await self._drop(plan, now_ns, problems)
            wanted_bytes = self._bytes_over() - self._pending_bytes
        if self._level() >= Level.EMERGENCY and wanted_bytes > 0:
            self._alert(
                "disk_floor",
                f"the database's disk is still {self._disk.percent:.1f} % full, and nothing"
                f" more may be dropped: the last {self._rules.floor_days} days stay, and listing"
                " windows that"
                " are not kept elsewhere. Make room on it or enlarge it",
            )
        return drops

    # --- the drop itself --------------------------------------------------------------------------

    async def _drop(self, plan: Plan, now_ns: int, problems: list[str]) -> list[Drop]:
        """Drop what the plan lists; returns what is gone."""
        if not plan.drops:
            return []
        before = await read_partitions(self._sql, plan.table)
        used_bytes = self._disk.used_bytes
        log.warning("partitions_drop", table=plan.table, first=plan.drops[0].partition,
                    last=plan.drops[-1].partition, count=len(plan.drops),
                    reason=plan.drops[0].reason)  # fmt: skip
        if plan.table == TRADES:
            await self._drop_by_ttl(plan, before, now_ns)
        else:
            names = ", ".join(f"'{drop.partition}'" for drop in plan.drops)
            await self._sql.execute(f"ALTER TABLE {plan.table} DROP PARTITION LIST {names}")
        await wait_applied(self._sql, plan.table)
        await self._wait_for_room(plan, used_bytes)
        left = {partition.name for partition in await read_partitions(self._sql, plan.table)}
        meant = {drop.partition for drop in plan.drops}
        more = [
            partition.name
            for partition in before
            if partition.name not in left | meant and partition.end_ns > plan.cutoff_ns
        ]
        if more:
            problems.append(f"partitions of {plan.table} went that were not meant: {more}")
        if stayed := sorted(meant & left):  # the next run takes them
            log.warning("partitions_stayed", table=plan.table, partitions=stayed)
        return [drop for drop in plan.drops if drop.partition not in left]

    async def _drop_by_ttl(self, plan: Plan, partitions: Sequence[Partition], now_ns: int) -> None:
        """Set the TTL that takes the list away, and at once the schema's again."""
        _, end_ns = span_of(plan.drops[-1].partition)
        newest_ns = max(partition.max_ns for partition in partitions)
        hours = ttl_hours(end_ns, min(newest_ns, now_ns))
        try:
            await self._sql.execute(f"ALTER TABLE {TRADES} SET TTL {hours} HOURS")
        finally:
            with trio.CancelScope(shield=True):  # a statement has its own deadline
                await self._sql.execute(f"ALTER TABLE {TRADES} SET TTL {SCHEMA_TTL}")

    async def _wait_for_room(self, plan: Plan, used_bytes: int) -> None:
        """Until the files are gone as well, if it matters.

        A reader that has them open holds them back, and so does a checkpoint: what is still to
        come counts as room, else younger days would go in its place.
        """
        for _ in range(int(GONE_S_MAX / GONE_POLL_S)):
            self._look()
            gone_bytes = used_bytes - self._disk.used_bytes
            self._pending_bytes = max(0, plan.freed_bytes - gone_bytes)
            if not self._pending_bytes or self._level() < Level.EMERGENCY:
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
        return self._disk.level

    def _bytes_over(self) -> int:
        return self._disk.bytes_over_emergency()


def ttl_hours(end_ns: int, newest_ns: int) -> int:
    """The TTL at which a partition that ends there goes, and none that ends an hour later.

    The server drops what ended at least this long before the newest row (or the wall clock, where
    that is earlier). If the next row could already take one partition more, the last one of the
    list stays for the next run.
    """
    age_ns = newest_ns - end_ns
    hours = age_ns // HOUR_NS
    return int(hours) + (HOUR_NS - age_ns % HOUR_NS < HASTE_NS_MIN)


async def mend_ttl(sql: SqlAccess) -> None:
    """Set the schema's TTL if a run was killed before it could; before the schema is checked."""
    rows = await sql.query(
        "SELECT ttlValue, ttlUnit FROM tables() WHERE table_name = %s", (TRADES,)
    )
    if rows and not same_ttl(f"{rows[0][0]} {rows[0][1]}", SCHEMA_TTL):
        log.error("ttl_mended", table=TRADES, was=f"{rows[0][0]} {rows[0][1]}", now=SCHEMA_TTL)
        await sql.execute(f"ALTER TABLE {TRADES} SET TTL {SCHEMA_TTL}")
        await wait_applied(sql, TRADES)


def over_limit(plans: Sequence[Plan]) -> bool:
    """Whether something is due, or is due and must wait: the answer of ``retention plan``."""
    return any(plan.drops or plan.kept for plan in plans)
