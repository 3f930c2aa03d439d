"""Backups: made from a checkpoint, restored and compared, and only then called good.

A row is in the backup because the restored database shows it, not because a copy was made.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Collection

import structlog
import trio

from pumpwatch.clock import Clock
from pumpwatch.config import Config
from pumpwatch.errors import BackupError, DamagedBackupError, PumpWatchError
from pumpwatch.store import embedded_files
from pumpwatch.store.backup_archive import (
    MIB,
    NOTHING,
    SPARE_BYTES,
    Archive,
    Known,
    known_from,
    make_manifest,
)
from pumpwatch.store.backup_folder import BackupFolder
from pumpwatch.store.backup_manifest import (
    BROKEN,
    GOOD,
    RUNNING,
    UNVERIFIED,
    FileCopy,
    Manifest,
    State,
    TableCopy,
    last_full_ns,
    newest_good,
    plan_rotation,
)
from pumpwatch.store.backup_objects import Objects, read_key
from pumpwatch.store.backup_remote import MANIFEST_FILE, STATE_FILE, Remote
from pumpwatch.store.backup_restore import (
    check_objects,
    choose_files,
    compare,
    disk_need,
    free_bytes,
    unpack_all,
)
from pumpwatch.store.checkpoint import Checkpoint, WriterHold, open_checkpoint, release
from pumpwatch.store.maintenance_lock import hold_maintenance
from pumpwatch.store.operations import OperationLog
from pumpwatch.store.pace import Pace
from pumpwatch.store.partitions import DAY_NS, SqlAccess
from pumpwatch.store.retention import Alert
from pumpwatch.store.schema import SCHEMA_VERSION
from pumpwatch.store.scratch_server import SERVER_FOLDER, end_leftovers, scratch_server

log = structlog.get_logger()

HEAP_MIB_DEFAULT = 256
PROBLEMS_SHOWN = 5
CHECKSUM_REST = 1.0  # as long as a server works on a checksum, it is then left in peace
OnPhase = Callable[[str], None]
in_thread = trio.to_thread.run_sync


class Backups:
    """Makes, tests and rotates the backups of one data_dir; its database is embedded.

    ``sql`` must wait for long answers: a checksum of an hour takes a minute on a busy machine.
    """

    def __init__(
        self,
        config: Config,
        sql: SqlAccess,
        clock: Clock,
        operations: OperationLog,
        rng: random.Random,
        *,
        hold: WriterHold,
        heap_mib: int = HEAP_MIB_DEFAULT,
        alert: Alert = lambda rule, text: None,
        on_phase: OnPhase = lambda phase: None,
        is_behind: Callable[[], bool] = lambda: False,
    ) -> None:
        self._config = config
        self._sql = sql
        self._clock = clock
        self._operations = operations
        self._rng = rng
        self._hold = hold
        self._heap_mib = heap_mib
        self._alert = alert
        self._on_phase = on_phase
        bytes_per_s = config.backup.rate_mib_per_s * MIB
        self._pace = Pace(
            bytes_per_s=bytes_per_s, rest=CHECKSUM_REST if bytes_per_s else 0.0,
            is_behind=is_behind,
        )  # fmt: skip
        self._root = config.data_dir / SERVER_FOLDER
        self._folder = open_folder(config)
        self._key = self._folder.objects.key
        self._remote = Remote(config.backup.remote_url) if config.backup.remote_url else None

    # --- whole runs -------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Put right what a killed run left; at the start of the daemon, before anything else.

        Releases an open checkpoint, ends a scratch server, removes unfinished backups. Raises
        MaintenanceBusyError where another process is at it.
        """
        with hold_maintenance(self._config.data_dir, "backup"):
            await self._recover()

    async def create(self) -> State:
        """Make a backup, test it, rotate. Returns its state: good, or broken with the reason.

        Raises MaintenanceBusyError, and BackupError where none could be made; every end is noted
        in ``operations``, and told to ``alert`` if it is not good.
        """
        with hold_maintenance(self._config.data_dir, "backup"):
            name = await in_thread(self._folder.new_name, self._clock.wall_ns())
            row = await self._operations.begin("backup", name)
            try:
                await self._recover()
                state = await self._create(name)
                problem = state.error
            except (PumpWatchError, OSError) as error:
                problem = f"backup {name}: {error}"
                await self._clean_up(name)
                self._alert("backup_failed", problem)
                await self._operations.end(row, "failed", problem)
                raise BackupError(problem) from error
            finally:
                with trio.CancelScope(shield=True):
                    await in_thread(self._remove_scratch)
            rotated = await self._rotate()
            if problem:
                self._alert("backup_failed", problem)
            detail = (
                f"{state.rows} rows, {state.stored_bytes} bytes, new {state.new_bytes}, state"
                f" {state.state}; rotated {len(rotated)}"
            )
            result = "good" if state.state == GOOD and not problem else "failed"
            await self._operations.end(row, result, f"{detail}; {problem}" if problem else detail)
            return state

    async def verify(self, name: str, *, full: bool = True) -> list[str]:
        """Test a backup again; what is wrong, a line each. Its state is set by the answer.

        ``full``: every object is read, everything is restored; else a sample of partitions.
        """
        with hold_maintenance(self._config.data_dir, "backup verification"):
            row = await self._operations.begin("backup_verify", name)
            try:
                problems = await self._verify(name, full=full)
            except (PumpWatchError, OSError) as error:
                await self._operations.end(row, "failed", str(error))
                raise
            finally:
                with trio.CancelScope(shield=True):
                    await in_thread(self._remove_scratch)
            await self._operations.end(
                row, "failed" if problems else "good", "; ".join(problems[:PROBLEMS_SHOWN])
            )
            if problems:
                self._alert("backup_broken", f"backup {name}: {problems[0]}")
            return problems

    # --- making one -------------------------------------------------------------------------------

    async def _create(self, name: str) -> State:
        state = State(name=name, state=RUNNING, created_ns=self._clock.wall_ns())
        states = await in_thread(self._folder.states)
        state.earlier_full_ns = last_full_ns(states)
        known = await in_thread(self._known, states)
        archive = Archive(self._sql, self._root, self._folder.objects, known, self._pace)
        await self._enter(state, "checkpoint")
        async with open_checkpoint(self._sql, self._root, self._hold, self._clock) as checkpoint:
            await self._check_room(*await archive.estimate(checkpoint))
            await self._enter(state, "archiving")
            loose, tables = await archive.store(checkpoint)
        await self._enter(state, "checksums")
        tables = await archive.add_digests(tables, checkpoint)
        manifest = self._manifest(name, checkpoint, loose, tables)
        await self._finish_archive(state, manifest, archive.new_bytes)
        upload_problem = await self._upload(state, manifest)
        is_full = self._full_is_due(states)
        parts = None if is_full else self._sample(manifest, archive.changed)
        await self._test(state, manifest, parts)
        if self._remote is not None and state.uploaded_ns and state.state == GOOD:
            upload_problem = await self._upload_state(state)
        if upload_problem:
            state.error = "; ".join(text for text in (state.error, upload_problem) if text)
            await in_thread(self._folder.write_state, state)
        return state

    def _manifest(
        self,
        name: str,
        checkpoint: Checkpoint,
        loose: tuple[FileCopy, ...],
        tables: list[TableCopy],
    ) -> Manifest:
        return make_manifest(
            checkpoint, loose, tables,
            name=name,
            server_version=embedded_files.VERSION,
            schema_version=SCHEMA_VERSION,
            key="" if self._key is None else self._key.public,
        )  # fmt: skip

    async def _finish_archive(self, state: State, manifest: Manifest, new_bytes: int) -> None:
        state.manifest_sha256 = await in_thread(self._folder.write_manifest, manifest)
        state.state, state.phase = UNVERIFIED, ""
        state.created_ns = manifest.created_ns
        state.rows = manifest.rows
        state.stored_bytes = sum(manifest.objects().values())
        state.new_bytes = new_bytes
        await in_thread(self._folder.write_state, state)

    def _known(self, states: list[State]) -> Known:
        """What the newest good backup stored."""
        best = newest_good(states)
        if best is None:
            return NOTHING
        try:
            return known_from(self._folder.manifest(best.name), self._folder.objects)
        except BackupError as error:
            log.warning("backup_known_unreadable", message=str(error))
            return NOTHING

    async def _check_room(self, store_bytes: int, test_bytes: int) -> None:
        """Refuse with numbers what would not fit. Raises BackupError."""
        free = await in_thread(free_bytes, self._folder.folder)
        need = store_bytes + test_bytes + SPARE_BYTES
        if need > free:
            raise BackupError(
                f"{self._folder.folder} has {free // MIB} MiB free, about {need // MIB} are needed:"
                f" {store_bytes // MIB} to store what is new, {test_bytes // MIB} to restore it for"
                " the test: make room, or set backup.directory to another disk"
            )

    async def _enter(self, state: State, phase: str) -> None:
        state.phase = phase
        await in_thread(self._folder.write_state, state)
        log.info("backup_phase", name=state.name, phase=phase)
        self._on_phase(phase)

    # --- the copy elsewhere -----------------------------------------------------------------------

    async def _upload(self, state: State, manifest: Manifest) -> str:
        """Copy what is missing there; what went wrong, empty if nothing did."""
        if self._remote is None:
            return ""
        log.info("backup_phase", name=state.name, phase="uploading")
        self._on_phase("uploading")
        remote, objects = self._remote, self._folder.objects
        try:
            sizes = await in_thread(remote.sizes)
            for sha256 in manifest.objects():
                await in_thread(remote.upload_object, objects, sha256, sizes)
            place = self._folder.folder / state.name / MANIFEST_FILE
            await in_thread(remote.upload_file, state.name, place)
        except (BackupError, OSError) as error:
            return f"not uploaded: {error}"
        state.uploaded_ns = self._clock.wall_ns()
        return ""

    async def _upload_state(self, state: State) -> str:
        assert self._remote is not None
        place = self._folder.folder / state.name / STATE_FILE
        try:
            await in_thread(self._remote.upload_file, state.name, place)
        except (BackupError, OSError) as error:
            return f"not uploaded: {error}"
        return ""

    # --- testing one ------------------------------------------------------------------------------

    def _full_is_due(self, states: list[State]) -> bool:
        due_ns = last_full_ns(states) + self._config.backup.full_every_days * DAY_NS
        return self._clock.wall_ns() >= due_ns

    def _sample(
        self, manifest: Manifest, changed: Collection[tuple[str, str]]
    ) -> set[tuple[str, str]]:
        """What is new, and some of the rest by chance."""
        rest = sorted(set(manifest.partitions()) - set(changed))
        count = min(self._config.backup.sample_partitions, len(rest))
        return set(changed) | set(self._rng.sample(rest, count))

    async def _test(
        self, state: State, manifest: Manifest, parts: Collection[tuple[str, str]] | None
    ) -> list[str]:
        """Restore into a scratch server and compare; the state is set by what it shows."""
        log.info("backup_phase", name=state.name, phase="restoring")
        self._on_phase("restoring")
        try:
            problems = await self._restore_and_compare(manifest, parts)
        except DamagedBackupError as error:
            problems = [str(error)]
        state.verified_ns = self._clock.wall_ns()
        if problems:
            state.state, state.error = BROKEN, problems[0]
        else:
            state.state, state.error = GOOD, ""
            if parts is None:
                state.full_verified_ns = state.verified_ns
        await in_thread(self._folder.write_state, state)
        return problems

    async def _restore_and_compare(
        self, manifest: Manifest, parts: Collection[tuple[str, str]] | None
    ) -> list[str]:
        scratch = self._folder.scratch
        files = choose_files(manifest, parts)
        await in_thread(self._remove_scratch)
        await self._check_room(0, disk_need(files))
        source = self._folder.objects
        await unpack_all(manifest, files, source, self._key, scratch, self._pace)
        async with scratch_server(scratch, self._heap_mib) as sql:
            return await compare(sql, manifest, parts, self._pace)

    async def _verify(self, name: str, *, full: bool) -> list[str]:
        state = await in_thread(self._folder.state, name)
        manifest = await in_thread(self._folder.manifest, name)
        if state.state == RUNNING:
            raise BackupError(f"backup {name} was never finished")
        if not full:
            return await self._test(state, manifest, self._sample(manifest, ()))
        damaged = await check_objects(manifest, self._folder.objects, self._key)
        if damaged:
            broken = await in_thread(self._folder.condemn, damaged)
            log.error("backups_broken", names=broken, objects=len(damaged))
            return list(damaged.values())
        return await self._test(state, manifest, None)

    # --- putting away -----------------------------------------------------------------------------

    async def _recover(self) -> None:
        await release(self._sql)
        if await end_leftovers(self._folder.scratch):
            log.warning("scratch_server_ended")
        await in_thread(self._remove_scratch)
        gone = await in_thread(self._folder.remove_unfinished)
        if gone:
            freed_bytes = await in_thread(self._folder.sweep)
            log.warning("backup_leftovers_removed", names=gone, freed_bytes=freed_bytes)

    async def _clean_up(self, name: str) -> None:
        """After a failure: what was never finished goes, with its objects."""
        with trio.CancelScope(shield=True):
            try:
                await in_thread(self._folder.remove_unfinished)
                await in_thread(self._folder.sweep)
            except OSError as error:
                log.warning("backup_leftovers_stay", name=name, error=str(error))

    async def _rotate(self) -> list[str]:
        """Old backups go, here and there; what cannot be removed is said, and tried again."""
        self._on_phase("rotating")
        now_ns = self._clock.wall_ns()
        gone: list[str] = []
        try:
            states = await in_thread(self._folder.states)
            for name in plan_rotation(states, now_ns, self._config.backup.keep_days):
                await in_thread(self._folder.remove, name)
                gone.append(name)
            await in_thread(self._folder.sweep)
            if self._remote is not None:
                await in_thread(self._rotate_remote, self._remote, now_ns)
        except (BackupError, OSError) as error:
            self._alert("backup_not_rotated", str(error))
            log.error("backup_not_rotated", error=str(error))  # noqa: TRY400
        if gone:
            log.info("backups_rotated", names=gone)
        return gone

    def _rotate_remote(self, remote: Remote, now_ns: int) -> None:
        states = remote.states()
        gone = plan_rotation(states, now_ns, self._config.backup.remote_keep_days)
        for name in gone:
            remote.remove_backup(name)
        if gone:
            remote.sweep(state.name for state in states if state.name not in gone)

    def _remove_scratch(self) -> None:
        if self._folder.scratch.exists():
            shutil.rmtree(self._folder.scratch)


def open_folder(config: Config) -> BackupFolder:
    """Where this data_dir's backups are. Raises ConfigError for a bad key file."""
    if config.questdb.mode != "embedded":
        raise BackupError(
            "backup: works on the embedded database only, whose files are ours; an external one is"
            " saved by its own means (CHECKPOINT CREATE, copy, CHECKPOINT RELEASE)"
        )
    folder = config.path(config.backup.directory)
    key = None if config.backup.key_file is None else read_key(config.path(config.backup.key_file))
    return BackupFolder(folder, Objects(folder, key))
