"""The move from the original's store, wired into the daemon: built here, nothing decided here."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

import structlog
import trio

from pumpwatch.answering import reader_sql
from pumpwatch.dashboard.actions import Action, ActionDesk
from pumpwatch.dashboard.windows import WindowAsker
from pumpwatch.errors import ServerError, UsageError
from pumpwatch.migrate.desk import MigrationDesk, load_place
from pumpwatch.migrate.importer import Values
from pumpwatch.migrate.legacy_store import LegacyStore
from pumpwatch.migrate.reads import MovingReads
from pumpwatch.migrate.shadow import Shadow
from pumpwatch.migrate.stages import Place, Refusal
from pumpwatch.migrate_verbs import FOLDER, STATUS_FILE, old_store, read_values
from pumpwatch.store.operations import SpoolSink
from pumpwatch.store.sql import Sql

if TYPE_CHECKING:
    from pumpwatch.daemon import Daemon

log = structlog.get_logger()

LOAD_RETRY_S = 5.0
CLOSE_S_MAX = 2.0
ROLLED_BACK = "migration_rolled_back"  # the alert's rule


class Moving:
    """One per daemon; ``desk`` and ``store`` are there once the stage is loaded."""

    def __init__(self, daemon: Daemon) -> None:
        self.desk: MigrationDesk | None = None
        self.store: LegacyStore | None = None
        self._daemon = daemon
        self._rng = random.Random(daemon.rng.getrandbits(64))
        self._reads: MovingReads | None = None
        if daemon.config.migration.shadow is not None:
            self._offer(daemon.desk)

    def _offer(self, desk: ActionDesk) -> None:
        desk.add(
            "migration_advance",
            Action(help="go one stage on, if its criteria hold", arguments={}, run=self._advance),
        )
        desk.add(
            "migration_rollback",
            Action(
                help="go one stage back, or all the way",
                arguments={"whole?": "yes: all reads to the old store"}, run=self._roll_back,
            ),
        )  # fmt: skip

    def windows(self) -> WindowAsker:
        """Who is asked for windows: the one reader, or, where reads move, what stands before it."""
        daemon = self._daemon
        if daemon.config.migration.shadow is None:
            return daemon.answers.windows
        if self._reads is None:
            self._reads = MovingReads(daemon.answers.windows, daemon.clock)
        return self._reads

    @property
    def told(self) -> dict[str, str]:
        """The alert that stands after a step back, until enough checks were good.

        Each step is a subject of its own: reads go forward by hand only, so that one that follows
        another soon is no flapping.
        """
        place = None if self.desk is None else self.desk.migration.place
        if place is None or not place.is_held:
            return {}
        key = f"{ROLLED_BACK}/change {place.revision}"
        return {key: f"reads are at stage {place.stage}: {place.cause}"}

    async def run(self, replayed: Callable[[], Awaitable[None]]) -> None:
        """Load where it stood, then compare and check until cancelled.

        ``replayed`` returns once what was in the spool is applied: the stage may lie there (R3).
        """
        daemon, config = self._daemon, self._daemon.config
        if config.migration.shadow is None:
            return
        await replayed()
        sql = Sql(daemon.server.address)
        readonly = reader_sql(daemon.server.address)
        try:
            place, values = await self._load(sql)
            folder = config.data_dir / FOLDER
            self.store = LegacyStore(old_store(config), values, daemon.clock.wall_ns())
            shadow = Shadow(self.store, sql, daemon.clock, self._rng, folder / "differences.jsonl")
            self.desk = MigrationDesk(
                config.migration, place, shadow, daemon.clock, SpoolSink(daemon.side),
                folder / STATUS_FILE, self._disk_percent,
            )  # fmt: skip
            asked = self.windows()
            assert isinstance(asked, MovingReads)
            asked.begin(self.desk, self.store, readonly)
            percent = self.desk.migration.read_percent
            log.info("migration", stage=place.stage, read_percent=percent)
            await self.desk.run()
        finally:
            with trio.move_on_after(CLOSE_S_MAX, shield=True):
                await sql.aclose()
                await readonly.aclose()

    def _disk_percent(self) -> float:
        upkeep = self._daemon.caretaker.upkeep
        volume = None if upkeep is None else upkeep.disk.volumes.get("database")
        return 0.0 if volume is None else volume.usage.percent

    async def _load(self, sql: Sql) -> tuple[Place, Values]:
        while True:
            try:
                return await load_place(sql), await read_values(sql)
            except ServerError as error:
                log.warning("migration_not_loaded", message=str(error))
                await trio.sleep(LOAD_RETRY_S)

    async def _advance(self, arguments: Mapping[str, str]) -> str:
        try:
            place = await self._ready().advance()
        except Refusal as refusal:
            raise UsageError(f"not yet: {refusal}") from None
        return f"stage {place.stage}: {self._ready().migration.read_percent} % of reads"

    async def _roll_back(self, arguments: Mapping[str, str]) -> str:
        try:
            place = await self._ready().roll_back("by hand", whole=arguments.get("whole") == "yes")
        except Refusal as refusal:
            raise UsageError(str(refusal)) from None
        return f"stage {place.stage}: {self._ready().migration.read_percent} % of reads"

    def _ready(self) -> MigrationDesk:
        if self.desk is None:
            raise UsageError("the stage is not loaded yet: ask again in a moment")
        return self.desk
