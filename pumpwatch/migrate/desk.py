"""The migration while the daemon runs: it compares, checks, steps back, and keeps where it stands.

Every change is a row of ``operations`` (operation ``stage``) before it is told to anybody; the
newest row is where the next start goes on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog
import trio

from pumpwatch.clock import Clock
from pumpwatch.config_migration import MigrationConfig
from pumpwatch.errors import ServerError
from pumpwatch.migrate.compare import FeedComparison
from pumpwatch.migrate.gauge import ReadGauge
from pumpwatch.migrate.shadow import Shadow
from pumpwatch.migrate.stages import Health, Limits, Migration, Place, make_plan
from pumpwatch.store.operations import Operation, OperationSink
from pumpwatch.store.partitions import SqlAccess
from pumpwatch.whole_file import write_whole

log = structlog.get_logger()

OPERATION = "stage"
SUBJECT = "migration"
PLACE_SQL = (
    "SELECT detail FROM operations WHERE operation = 'stage' AND subject = 'migration'"
    " ORDER BY started_at DESC LIMIT 1"
)
Answer = TypeVar("Answer")


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What ``migrate status`` prints: a file that is replaced at each check."""

    at_ns: int
    place: Place
    stages: int
    read_percent: int
    fallback: bool
    missing_for_advance: list[str]
    health: Health
    windows: int
    feeds: dict[str, FeedComparison]
    shares: dict[str, dict[str, float]]


def limits_of(config: MigrationConfig) -> Limits:
    """The settings as the state machine takes them."""
    return Limits(
        error_share_max=config.error_percent_max / 100,
        read_p99_ms_max=config.read_ms_max,
        disk_percent_max=config.disk_percent_max,
        bad_checks=config.bad_checks,
        good_checks=config.good_checks,
        comparisons_min=config.comparisons_min,
    )


async def load_place(sql: SqlAccess) -> Place:
    """Where an earlier run stood; stage 0 where none did. Raises ServerError.

    To be asked once what was in the spool is applied (R3).
    """
    rows = await sql.query(PLACE_SQL)
    return msgspec.json.decode(rows[0][0], type=Place) if rows else Place()


class MigrationDesk:
    """Owns the state machine; reads ask it where to go."""

    def __init__(
        self,
        config: MigrationConfig,
        place: Place,
        shadow: Shadow,
        clock: Clock,
        sink: OperationSink,
        status_path: Path,
        disk_percent: Callable[[], float],
    ) -> None:
        self.migration = Migration(make_plan(config.plan), limits_of(config), place)
        self.gauge = ReadGauge()
        self.shadow = shadow
        self._config = config
        self._clock = clock
        self._sink = sink
        self._status_path = status_path
        self._disk_percent = disk_percent
        self._health = Health()

    async def run(self) -> None:
        """Compare and check until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.shadow.run, self._config.compare_interval_s)
            while True:
                await self.check()
                await trio.sleep(self._config.check_interval_s)

    async def check(self) -> None:
        """One look at reads, disk and comparison."""
        reads, errors, p99_ms = self.gauge.take()
        tally = self.shadow.tally
        self._health = Health(
            reads=reads, errors=errors, read_p99_ms=p99_ms, disk_percent=self._disk_percent(),
            comparisons=tally.windows, differences=tally.differences,
        )  # fmt: skip
        before = self.migration.place
        place = self.migration.check(self._clock.wall_ns(), self._health)
        if place is not None:
            await self._keep(place)
        if place is not None and place.stage < before.stage:
            log.error("migration_rolled_back", stage=place.stage, cause=place.cause)
        await self._write_status()

    async def advance(self) -> Place:
        """One stage on. Raises Refusal."""
        place = self.migration.advance(self._clock.wall_ns(), self._health)
        await self._changed(place)
        return place

    async def roll_back(self, cause: str, *, whole: bool) -> Place:
        """By hand. Raises Refusal."""
        place = self.migration.roll_back(self._clock.wall_ns(), cause, whole=whole)
        await self._changed(place)
        return place

    async def _changed(self, place: Place) -> None:
        await self._keep(place)
        await self._write_status()

    async def _keep(self, place: Place) -> None:
        self.shadow.begin()
        now_ns = self._clock.wall_ns()
        row = Operation(
            started_ns=now_ns, finished_ns=now_ns, operation=OPERATION, subject=SUBJECT,
            result=place.change, detail=msgspec.json.encode(place).decode(),
        )  # fmt: skip
        await self._sink.put(row.line())
        log.info("migration_stage", stage=place.stage, change=place.change, cause=place.cause,
                 read_percent=self.migration.read_percent)  # fmt: skip

    def standing(self) -> Standing:
        """How it stands now."""
        now_ns, tally = self._clock.wall_ns(), self.shadow.tally
        return Standing(
            at_ns=now_ns, place=self.migration.place, stages=len(self.migration.plan),
            read_percent=self.migration.read_percent, fallback=self.migration.has_fallback,
            missing_for_advance=self.migration.missing_for_advance(now_ns, self._health),
            health=self._health, windows=tally.windows, feeds=tally.feeds,
            shares={feed: dict(fields) for feed, fields in tally.shares().items()},
        )  # fmt: skip

    async def _write_status(self) -> None:
        document = msgspec.json.format(msgspec.json.encode(self.standing()), indent=1)
        try:
            await trio.to_thread.run_sync(write_whole, self._status_path, document)
        except OSError as error:
            log.warning("migration_status_not_written", message=str(error))

    # --- reads ------------------------------------------------------------------------------------

    async def ask(
        self,
        question: str,
        questdb: Callable[[], Awaitable[Answer]],
        legacy: Callable[[], Awaitable[Answer | None]],
    ) -> tuple[Answer, str]:
        """Answer a question from the store that the stage says; returns the store's name too.

        ``legacy`` returns None where the old store has nothing of it: then QuestDB answers. Raises
        ServerError where QuestDB fails and nothing is behind it.
        """
        if not self.migration.reads_questdb(question):
            old = await legacy()
            if old is not None:
                return old, "legacy"
        began_s = trio.current_time()
        try:
            answer = await questdb()
        except ServerError:
            self.gauge.note_error()
            behind = await legacy() if self.migration.has_fallback else None
            if behind is None:
                raise
            return behind, "legacy_fallback"
        self.gauge.note(trio.current_time() - began_s)
        return answer, "questdb"
