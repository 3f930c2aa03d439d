"""The daemon's caretaker: what it does for months of data, beside the recording.

Builds retention, cold tier, backups and the nightly proof on a connection of their own, holds the
writers for checkpoints and away from a full disk, and shows how all of it stands.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog
import trio

from pumpwatch.caretaker_orders import offer_orders
from pumpwatch.errors import PumpWatchError, UsageError
from pumpwatch.moments import iso_ns
from pumpwatch.release import note_release
from pumpwatch.restored import open_gaps_since_backup
from pumpwatch.standing import DiskStanding, TierStanding, UpkeepStanding
from pumpwatch.store.backup import Backups, open_folder
from pumpwatch.store.backup_manifest import GOOD, State, last_full_ns, newest_good
from pumpwatch.store.cold import REST, ColdStore
from pumpwatch.store.disk import DiskWatch, Level, watched_paths
from pumpwatch.store.event_windows import Bundles, NoBundles
from pumpwatch.store.maintenance import Told, Upkeep, daily_ns, run_upkeep
from pumpwatch.store.nightly import Nightly, Upshot
from pumpwatch.store.operations import OperationLog, SpoolSink
from pumpwatch.store.pace import Pace
from pumpwatch.store.partitions import HOUR_NS, NS_PER_S, Partition, read_partitions
from pumpwatch.store.retention import TRADES, Outcome, Retention, mend_ttl
from pumpwatch.store.retention_plan import Tier, cutoff_of, days_left, tiers
from pumpwatch.store.scratch_server import QUERY_S_MAX
from pumpwatch.store.server import new_passwords
from pumpwatch.store.sql import Sql
from pumpwatch.store.writer_gate import WriterGate
from pumpwatch.upkeep_verbs import scratch_heap_mib

if TYPE_CHECKING:
    from pumpwatch.daemon import Daemon

log = structlog.get_logger()

TIERS_S = 60.0  # between two looks at the partitions: the server walks its folders for it
CLOSE_S_MAX = 5.0
FRESH_NS = 36 * HOUR_NS  # a good backup that is older proves nothing of last night


class Caretaker:
    """One per daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._rng = random.Random(daemon.rng.getrandbits(64))
        self.gate = WriterGate(self._position)
        self.bundles: Bundles = NoBundles()  # the listings' archive puts itself here
        self.upkeep: Upkeep | None = None  # there once the database answers
        self._partitions: list[Partition] | None = None  # None: not asked yet, or no answer
        self._gone_rows = self._gone_bytes = 0
        self._backup: State | None = None  # the newest one
        self._good: State | None = None
        self._proof = ""
        self._is_past_applied: Callable[[], bool] = lambda: False
        offer_orders(daemon.desk, self)

    def _position(self) -> str:
        accepted = self._daemon.tables[TRADES].accepted
        return f"{accepted.segment}:{accepted.offset}"

    # --- the daemon's calls -----------------------------------------------------------------------

    async def prepare(self, sql: Sql) -> None:
        """Before the schema is checked: put right what a killed run left. Raises ServerError."""
        await mend_ttl(sql)

    async def resume(self, sql: Sql) -> None:
        """Once the spool is open, before anything is recorded."""
        daemon = self._daemon
        ends = daemon.spool.files.table_ends()

        def is_past_applied() -> bool:
            progress = {table.number: table for table in daemon.tables.values()}
            return all(n not in progress or progress[n].applied >= end for n, end in ends.items())

        self._is_past_applied = is_past_applied
        operations = OperationLog(SpoolSink(daemon.side), daemon.clock)
        await open_gaps_since_backup(daemon, sql, operations)
        await note_release(daemon.config, operations)

    async def run(self) -> None:
        """Take care until cancelled."""
        daemon = self._daemon
        sql = Sql(daemon.server.address, timeout_s=QUERY_S_MAX)
        try:
            self.upkeep = self._build(sql)
            self.gate.stop(stopped=self.upkeep.disk.writers_stopped)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._look_at_tiers, sql)
                await run_upkeep(self.upkeep)
        finally:
            with trio.move_on_after(CLOSE_S_MAX, shield=True):
                await sql.aclose()

    async def rotate_secrets(self) -> list[str]:
        """New passwords for both users of the database; what was changed, a line each.

        The server starts anew with them. Rows wait in the spool meanwhile. Raises ServerError.
        """
        daemon = self._daemon
        change = daemon.server.change_passwords
        if change is None:
            raise UsageError(
                "secrets rotate: the database is not ours: change its passwords there, write them"
                " to the files that questdb.password_file and readonly_password_file name, and"
                " start the daemon anew"
            )
        operations = OperationLog(SpoolSink(daemon.side), daemon.clock)
        row = await operations.begin("secrets", "rotate")
        with trio.CancelScope(shield=True):  # between files and server they must not differ
            await change(await trio.to_thread.run_sync(new_passwords, daemon.config))
        await operations.end(row, "good", "both database passwords")
        questdb = daemon.config.questdb
        return [questdb.password_file, questdb.readonly_password_file]

    def is_verified(self, source: str, notice_id: str, symbol: str) -> bool:
        """What retention asks of bundles: the archive is there later than we are."""
        return self.bundles.is_verified(source, notice_id, symbol)

    # --- the parts --------------------------------------------------------------------------------

    def _build(self, sql: Sql) -> Upkeep:
        daemon, config = self._daemon, self._daemon.config
        operations = OperationLog(SpoolSink(daemon.side), daemon.clock)
        disk = DiskWatch(watched_paths(config), config.disk, on_change=self._disk_changed)
        told = Told()
        return Upkeep(
            retention=Retention(
                sql, config.retention, disk, operations, daemon.clock, bundles=self,
                window_s=(config.listing.before_s, config.listing.after_s),
                data_dir=config.data_dir, alert=told.tell, on_outcome=self._note_gone,
            ),
            cold=ColdStore(
                sql, operations, daemon.clock, cold_hours=config.retention.cold_hours,
                data_dir=config.data_dir, alert=told.tell,
                pace=Pace(rest=REST, is_behind=daemon.monitor.is_behind),
            ),
            backups=self._build_backups(sql, operations, told),
            nightly=Nightly(
                sql, operations, daemon.clock, daily_of_day_ns=daily_ns(config.backup.daily_at),
                upshot=self._upshot, is_ready=self._is_past_applied, told=self._note_proof,
            ),
            disk=disk, clock=daemon.clock, told=told,
            check_interval_s=config.retention.check_interval_s,
            backup_daily_at=config.backup.daily_at,
        )  # fmt: skip

    def _build_backups(self, sql: Sql, operations: OperationLog, told: Told) -> Backups | None:
        """None where the database is not ours, and where the key cannot be read: that is told."""
        daemon, config = self._daemon, self._daemon.config
        if config.questdb.mode == "external":
            return None
        try:
            return Backups(
                config, sql, daemon.clock, operations, self._rng, hold=self.gate,
                heap_mib=scratch_heap_mib(config), alert=told.tell,
                is_behind=daemon.monitor.is_behind,
            )  # fmt: skip
        except PumpWatchError as error:  # it stops no recording
            told.tell("backup_failed", str(error))
            return None

    def _disk_changed(self, volume: str, level: Level, percent: float) -> None:
        if volume == "database":
            self.gate.stop(stopped=level is Level.STOP)

    def _note_gone(self, outcome: Outcome) -> None:
        self._gone_rows += sum(drop.rows for drop in outcome.drops)
        self._gone_bytes += sum(drop.disk_bytes for drop in outcome.drops)

    def _note_proof(self, line: str) -> None:
        self._proof = line

    def _upshot(self) -> Upshot:
        self._read_backups()
        good, standing = self._good, self.standing()
        now_ns = self._daemon.clock.wall_ns()
        is_newest = good is not None and self._backup is good
        is_fresh = is_newest and good is not None and now_ns - good.created_ns < FRESH_NS
        text = (
            "none that is good"
            if good is None
            else f"{good.name} verified {_iso_s(good.verified_ns)}"
        )
        if self._daemon.config.questdb.mode == "external":
            text, is_fresh = "not ours to make", True
        return Upshot(backup=text, is_backup_good=is_fresh, disk_days_left=standing.days_left)

    # --- how it stands ----------------------------------------------------------------------------

    async def _look_at_tiers(self, sql: Sql) -> None:
        while True:
            try:
                self._partitions = await read_partitions(sql, TRADES)
                await trio.to_thread.run_sync(self._read_backups)
            except (PumpWatchError, OSError) as error:
                log.warning("tiers_not_read", message=str(error))
            await trio.sleep(TIERS_S)

    def _read_backups(self) -> None:
        try:
            states = open_folder(self._daemon.config).states()
        except PumpWatchError:  # the database is not ours, or the key cannot be read
            return
        self._backup = states[-1] if states else None
        self._good = newest_good(states)

    def standing(self) -> UpkeepStanding:
        """Everything, for page, status and alerts."""
        upkeep = self.upkeep
        if upkeep is None:
            return UpkeepStanding()
        now_ns = self._daemon.clock.wall_ns()
        volumes = upkeep.disk.volumes
        left = None
        if self._partitions is not None and "database" in volumes:
            room_bytes = volumes["database"].usage.available_bytes
            left = days_left(self._partitions, now_ns, room_bytes)
        return UpkeepStanding(
            tiers=self._tiers(now_ns),
            days_left=left if left is None else round(left, 1),
            disks=[
                DiskStanding(
                    name=name, path=str(volume.path), level=volume.level.name.lower(),
                    used_share=round(volume.usage.percent / 100, 4),
                    free_bytes=volume.usage.available_bytes,
                )
                for name, volume in volumes.items()
            ],
            told=upkeep.told.standing | self._daemon.moving.told,
            writers_stopped=self.gate.is_stopped,
            working_on=upkeep.working_on,
            backup=self._describe_backup(),
            backup_age_s=None if self._good is None else (now_ns - self._good.created_ns) / 1e9,
            proof=self._proof,
        )  # fmt: skip

    def _tiers(self, now_ns: int) -> list[TierStanding]:
        """Hot, warm, cold, and what is gone since the daemon's start."""
        hour = self._daemon.answers.hour.standing()
        hot = Tier(
            name="hot", partitions=0, rows=hour.rows, disk_bytes=hour.size_bytes,
            oldest_ns=now_ns - int(hour.reaches_back_s * NS_PER_S) if hour.rows else 0,
        )  # fmt: skip
        shown = [hot, *(tiers(self._partitions) if self._partitions is not None else [])]
        days = self._daemon.config.retention.days
        return [
            TierStanding(
                name=tier.name, partitions=tier.partitions, rows=tier.rows,
                bytes=tier.disk_bytes, oldest=_iso_s(tier.oldest_ns),
            )
            for tier in shown
        ] + [
            TierStanding(
                name="gone", partitions=0, rows=self._gone_rows, bytes=self._gone_bytes,
                oldest=_iso_s(cutoff_of(now_ns, days)),
            )
        ]  # fmt: skip

    def _describe_backup(self) -> str:
        newest, good = self._backup, self._good
        if newest is None:
            return "none yet"
        shown = newest if newest.state == GOOD else good
        text = ""
        if shown is not None:
            text = f"{shown.name} good, verified {_iso_s(shown.verified_ns)}"
            full_ns = last_full_ns([shown])
            text += f", all of it {_iso_s(full_ns)}" if full_ns else ""
        if newest is not shown:
            text = f"{newest.name} {newest.state}" + (f"; {text}" if text else "")
        return text


def _iso_s(moment_ns: int) -> str | None:
    return f"{iso_ns(moment_ns)[:19]}Z" if moment_ns else None
