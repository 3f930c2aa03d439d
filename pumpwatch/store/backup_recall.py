"""Using a backup: all of it into an empty place, or a span of trades into the running database."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import structlog
import trio

from pumpwatch.clock import Clock
from pumpwatch.config import Config
from pumpwatch.errors import BackupError, DamagedBackupError, UsageError
from pumpwatch.moments import iso_ns
from pumpwatch.store import embedded_files
from pumpwatch.store.backup import open_folder
from pumpwatch.store.backup_archive import MIB, SPARE_BYTES
from pumpwatch.store.backup_folder import BackupFolder
from pumpwatch.store.backup_manifest import (
    BROKEN,
    RUNNING,
    Manifest,
    check_versions,
    unseal_manifest,
)
from pumpwatch.store.backup_objects import Source
from pumpwatch.store.backup_remote import MANIFEST_FILE, Remote
from pumpwatch.store.backup_restore import (
    check_empty,
    choose_files,
    compare,
    disk_need,
    free_bytes,
    leave_mark,
    unpack_all,
)
from pumpwatch.store.digest import TIME_TYPES, TableColumns, digest, read_columns, where_span
from pumpwatch.store.ilp_client import IlpSender, Outcome
from pumpwatch.store.maintenance_lock import hold_maintenance
from pumpwatch.store.partitions import DAY_NS, SqlAccess, span_of, wait_applied
from pumpwatch.store.schema import SCHEMA_VERSION
from pumpwatch.store.scratch_server import end_leftovers, scratch_server
from pumpwatch.store.side_rows import side_row

log = structlog.get_logger()

SPAN_TABLES = ("trades", "event_trades", "archive_trades")
ROWS_PER_REQUEST = 20_000  # some 3 MB of ILP
TTL_DAYS = 45  # of trades: older rows would be taken and evicted at once
SEND_TRIES = 5
SEND_PAUSE_S = 1.0
in_thread = trio.to_thread.run_sync


class Recall(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that can be read: here, or from afar."""

    folder: BackupFolder
    manifest: Manifest
    source: Source


class SpanResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a span's restore did; ``live_rows`` are in the table now."""

    rows: int
    live_rows: int


async def find(config: Config, name: str, *, from_remote: bool) -> Recall:
    """A backup's manifest and objects. Raises BackupError where it cannot be used."""
    folder = open_folder(config)
    source: Source = folder.objects
    if from_remote:
        if not config.backup.remote_url:
            raise UsageError("--from-remote: backup.remote_url is not set")
        remote = Remote(config.backup.remote_url)
        key = f"{name}/{MANIFEST_FILE}"
        data = await in_thread(remote.read, key)
        manifest = unseal_manifest(data, f"{remote.url}/{key}")
        source = remote.source(folder.objects)
    else:
        state = await in_thread(folder.state, name)
        if state.state in (BROKEN, RUNNING):
            raise BackupError(
                f"backup {name} is {state.state}{f' ({state.error})' if state.error else ''}: take"
                " a good one of `pumpwatch backup list`, or --from-remote"
            )
        manifest = await in_thread(folder.manifest, name)
    check_versions(manifest, embedded_files.VERSION, SCHEMA_VERSION)
    ours = folder.objects.key.public if folder.objects.key else ""
    if manifest.key != ours:
        wanted = f"the key {manifest.key}" if manifest.key else "no key"
        raise BackupError(
            f"backup {name} needs {wanted}: set backup.key_file to"
            f" {'the file that holds it' if manifest.key else 'nothing'}"
        )
    return Recall(folder=folder, manifest=manifest, source=source)


async def restore_whole(
    config: Config, name: str, target: Path, *, from_remote: bool, heap_mib: int
) -> Manifest:
    """Unpack a backup into an empty folder, start a server on it, compare everything.

    The folder is then a data_dir. Raises BackupError; DamagedBackupError leaves the folder as it
    was where bytes are wrong, and leaves everything where rows are (it says so).
    """
    check_empty(target)
    recall = await find(config, name, from_remote=from_remote)
    manifest = recall.manifest
    files = choose_files(manifest, None)
    check_room(target, disk_need(files))
    try:
        await unpack_all(manifest, files, recall.source, recall.folder.objects.key, target)
    except (DamagedBackupError, OSError):
        await in_thread(_clear, target)
        raise
    async with scratch_server(target, heap_mib) as sql:
        problems = await compare(sql, manifest, None)
    if problems:
        raise DamagedBackupError(
            f"backup {name}: {problems[0]} ({len(problems)} differences); what was restored stays"
            f" in {target}"
        )
    await in_thread(leave_mark, manifest, target)
    log.info("backup_restored", name=name, to=str(target), rows=manifest.rows)
    return manifest


def check_room(target: Path, need_bytes: int) -> None:
    """Refuse what would not fit, with numbers. Raises BackupError."""
    free = free_bytes(target)
    if need_bytes + SPARE_BYTES > free:
        raise BackupError(
            f"{target} has {free // MIB} MiB free, up to {(need_bytes + SPARE_BYTES) // MIB} are"
            " needed"
        )


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


# --- a span ---------------------------------------------------------------------------------------


async def restore_span(
    config: Config,
    name: str,
    table: str,
    span_ns: tuple[int, int],
    *,
    sql: SqlAccess,
    sender: IlpSender,
    clock: Clock,
    from_remote: bool,
    heap_mib: int,
) -> SpanResult:
    """Send a backup's rows with from <= timestamp < to into the running database.

    Rows that are there already fold (DEDUP). Raises BackupError where the backup has no such
    rows, or where they are not all there afterwards.
    """
    from_ns, to_ns = span_ns
    if table not in SPAN_TABLES:
        raise UsageError(f"--table {table}: allowed: {', '.join(SPAN_TABLES)}")
    if table == "trades" and from_ns < clock.wall_ns() - TTL_DAYS * DAY_NS:
        raise UsageError(
            f"--from {iso_ns(from_ns)}: {table} keeps no rows older than {TTL_DAYS} days: restore"
            " the whole backup into a folder of its own (--to)"
        )
    with hold_maintenance(config.data_dir, "restore"):
        recall = await find(config, name, from_remote=from_remote)
        parts = parts_of(recall.manifest, table, from_ns, to_ns)
        scratch = recall.folder.scratch
        await end_leftovers(scratch)
        await in_thread(_remove, scratch)
        files = choose_files(recall.manifest, parts)
        check_room(scratch, disk_need(files))
        key = recall.folder.objects.key
        try:
            await unpack_all(recall.manifest, files, recall.source, key, scratch)
            async with scratch_server(scratch, heap_mib) as old:
                problems = await compare(old, recall.manifest, parts)
                if problems:
                    raise DamagedBackupError(f"backup {name}: {problems[0]}; nothing was sent")
                return await _send_span(old, sql, sender, table, from_ns, to_ns)
        finally:
            with trio.CancelScope(shield=True):
                await in_thread(_remove, scratch)


def parts_of(manifest: Manifest, table: str, from_ns: int, to_ns: int) -> set[tuple[str, str]]:
    """The partitions that the span touches. Raises BackupError where there are none."""
    found = set()
    for key, part in manifest.partitions().items():
        start_ns, end_ns = span_of(part.name) if key[0] == table else (0, 0)
        if key[0] == table and start_ns < to_ns and from_ns < end_ns and part.rows:
            found.add(key)
    if not found:
        raise BackupError(
            f"backup {manifest.name} has no rows of {table} from {iso_ns(from_ns)} to"
            f" {iso_ns(to_ns)}"
        )
    return found


async def _send_span(
    old: SqlAccess, sql: SqlAccess, sender: IlpSender, table: str, from_ns: int, to_ns: int
) -> SpanResult:
    columns = await read_columns(old, table)
    rows = 0
    async for body, count in _requests(old, columns, from_ns, to_ns):
        await _send(sender, body)
        rows += count
    await wait_applied(sql, table)
    wanted = await digest(old, columns, from_ns, to_ns, rows=rows)
    live = await digest(sql, await read_columns(sql, table), from_ns, to_ns, rows=rows)
    if live.rows < wanted.rows or (live.rows == wanted.rows and live != wanted):
        raise BackupError(f"restore: {table} shows {live}, the backup {wanted}: rows are missing")
    return SpanResult(rows=rows, live_rows=live.rows)


async def _requests(
    old: SqlAccess, table: TableColumns, from_ns: int, to_ns: int
) -> AsyncIterator[tuple[bytes, int]]:
    """The rows as ILP, oldest first, in requests of a limited size."""
    names = [name for name, _ in table.columns]
    asked = ", ".join(
        f"{name}::long" if kind in TIME_TYPES else name for name, kind in table.columns
    )
    low = 0
    where = where_span(table.timestamp, from_ns, to_ns)
    while True:
        found = await old.query(
            f"SELECT {asked} FROM {table.table}{where} LIMIT {low}, {low + ROWS_PER_REQUEST}"
        )
        if found:
            lines = [ilp_line(table, dict(zip(names, row, strict=True))) for row in found]
            yield b"".join(lines), len(lines)
        if len(found) < ROWS_PER_REQUEST:
            return
        low += ROWS_PER_REQUEST


def ilp_line(table: TableColumns, row: dict[str, object]) -> bytes:
    """A row as it was first sent; every column keeps its type."""
    kinds = dict(table.columns)
    tags = {name: row[name] for name, kind in kinds.items() if kind == "SYMBOL"}
    times = {name: row[name] for name, kind in kinds.items() if kind in TIME_TYPES}
    designated = times.pop(table.timestamp)
    fields = {name: row[name] for name in kinds if name not in tags.keys() | times.keys()}
    fields.pop(table.timestamp, None)
    return side_row(
        table.table,
        tags,  # type: ignore[arg-type]
        fields,  # type: ignore[arg-type]
        int(str(designated)),
        time_fields=times,  # type: ignore[arg-type]
    )


async def _send(sender: IlpSender, body: bytes) -> None:
    message = ""
    for attempt in range(SEND_TRIES):
        if attempt:
            await trio.sleep(SEND_PAUSE_S)
        verdict = await sender.send(body)
        if verdict.outcome is Outcome.ACCEPTED:
            return
        message = verdict.message
        if verdict.outcome is not Outcome.RETRY:
            break
    raise BackupError(f"restore: the database does not take rows: {message}")
