"""The move from the original's store, wired into the daemon: built here, nothing decided here."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import structlog
import trio

from pumpwatch.clock import Clock
from pumpwatch.config import Config
from pumpwatch.dashboard.actions import Action, ActionDesk
from pumpwatch.errors import ServerError, UsageError
from pumpwatch.migrate.desk import MigrationDesk, load_place
from pumpwatch.migrate.importer import Values
from pumpwatch.migrate.legacy_store import LegacyStore
from pumpwatch.migrate.shadow import Shadow
from pumpwatch.migrate.stages import Place, Refusal
from pumpwatch.migrate_verbs import FOLDER, STATUS_FILE, old_store, read_values
from pumpwatch.store.operations import OperationSink
from pumpwatch.store.sql import Sql

log = structlog.get_logger()

LOAD_RETRY_S = 5.0


class Moving:
    """``run`` it beside the store's tasks; ``desk`` is there once the stage is loaded."""

    def __init__(self, config: Config, clock: Clock, rng: random.Random) -> None:
        self.desk: MigrationDesk | None = None
        self.store: LegacyStore | None = None
        self._config = config
        self._clock = clock
        self._rng = rng

    def offer(self, desk: ActionDesk) -> None:
        """Make the verbs' actions known."""
        if self._config.migration.shadow is None:
            return
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

    async def run(
        self,
        sql: Sql,
        sink: OperationSink,
        disk_percent: Callable[[], float],
        alert: Callable[[str, str], None],
    ) -> None:
        """Load where it stood, then compare and check until cancelled.

        To be started once what was in the spool is applied: the stage may lie there (R3).
        """
        config = self._config
        if config.migration.shadow is None:
            return
        place, values = await self._load(sql)
        folder = config.data_dir / FOLDER
        self.store = LegacyStore(old_store(config), values, self._clock.wall_ns())
        shadow = Shadow(self.store, sql, self._clock, self._rng, folder / "differences.jsonl")
        self.desk = MigrationDesk(
            config.migration, place, shadow, self._clock, sink, folder / STATUS_FILE,
            disk_percent, alert,
        )  # fmt: skip
        log.info("migration", stage=place.stage, read_percent=self.desk.migration.read_percent)
        await self.desk.run()

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
