"""From a manifest back to a database: whole into an empty place, or a part of it to be looked at.

A server starts on a copy that holds all tables' own files and only some partitions: it opens a
partition when it is asked for (seen on 9.3.4). So a test restores what is new and a sample.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec
import structlog
import trio

from pumpwatch.errors import BackupError, DamagedBackupError
from pumpwatch.store.backup_manifest import FileCopy, Manifest, differences
from pumpwatch.store.backup_objects import Key, Source, Wanted, check_object, unpack
from pumpwatch.store.digest import digest, read_columns
from pumpwatch.store.pace import AT_ONCE, Pace
from pumpwatch.store.partitions import SqlAccess, span_of
from pumpwatch.store.scratch_server import SERVER_FOLDER
from pumpwatch.store.server import write_private

log = structlog.get_logger()

RESTORE_TRIGGER = "_restore"  # an empty file: the server then starts from the checkpoint
RESTORED_FILE = "restored.json"  # tells the daemon that holes may have opened (R18)
EMPTY_FOLDERS = ("db", ".checkpoint")
Parts = Collection[tuple[str, str]]  # table, partition


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """data_dir/restored.json: this database is a backup's, and what came after it is not in it."""

    backup: str
    created_ns: int
    spool_position: str


def choose_files(manifest: Manifest, parts: Parts | None) -> list[FileCopy]:
    """What a server needs for these partitions; None: for all."""
    chosen = list(manifest.files)
    for table in manifest.tables:
        chosen += table.files
        for part in table.partitions:
            # The server's own tables are small, and it may want to write to them.
            if parts is None or not table.name or (table.name, part.name) in parts:
                chosen += part.files
    return chosen


def check_empty(folder: Path) -> None:
    """Refuse a place that holds anything. Raises BackupError."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BackupError(
            f"--to {folder}: is not empty: a restore never writes over anything; name a new folder"
        )


async def unpack_all(
    manifest: Manifest,
    files: Iterable[FileCopy],
    source: Source,
    key: Key | None,
    data_dir: Path,
    pace: Pace = AT_ONCE,
) -> None:
    """Write the files below data_dir/questdb, ready to be started on.

    Raises DamagedBackupError at the first byte that is not right; what was written until then
    stays, without the file that lets a server start on it.
    """
    root = data_dir / SERVER_FOLDER
    for name in EMPTY_FOLDERS:
        (root / name).mkdir(parents=True, mode=0o700)
    for file in files:
        target = root / file.path
        if not target.resolve().is_relative_to(root.resolve()):
            raise DamagedBackupError(f"backup {manifest.name}: {file.path} leads out of its folder")
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        wanted = Wanted(file.sha256, file.size_bytes, file.stored_sha256)
        await trio.to_thread.run_sync(unpack, source, key, wanted, target, pace.spend_in_thread)
    for table in manifest.tables:
        (root / "db" / table.folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    (root / RESTORE_TRIGGER).touch()


async def check_objects(manifest: Manifest, source: Source, key: Key | None) -> dict[str, str]:
    """Read every object of a backup; those that are damaged, and what is wrong with each."""
    damaged: dict[str, str] = {}
    seen: set[str] = set()
    for file in manifest.all_files():
        if file.sha256 in seen:
            continue
        seen.add(file.sha256)
        wanted = Wanted(file.sha256, file.size_bytes, file.stored_sha256)
        try:
            await trio.to_thread.run_sync(check_object, source, key, wanted)
        except DamagedBackupError as error:
            damaged[file.sha256] = f"{file.path}: {error}"
    return damaged


async def compare(
    sql: SqlAccess, manifest: Manifest, parts: Parts | None, pace: Pace = AT_ONCE
) -> list[str]:
    """What a restored server shows that the manifest does not say, a line each."""
    problems: list[str] = []
    for table in manifest.tables:
        if not table.name:
            continue
        columns = await read_columns(sql, table.name)
        for part in table.partitions:
            if parts is None or (table.name, part.name) in parts:
                start_ns, end_ns = span_of(part.name)
                found = await digest(sql, columns, start_ns, end_ns, rows=part.rows, pace=pace)
                problems += differences(part, found, table.name)
    return problems


def leave_mark(manifest: Manifest, data_dir: Path) -> None:
    """Tell the next daemon on this folder that holes may have opened since. Raises OSError."""
    restored = Restored(
        backup=manifest.name,
        created_ns=manifest.created_ns,
        spool_position=manifest.spool_position,
    )
    write_private(data_dir / RESTORED_FILE, msgspec.json.encode(restored).decode() + "\n")


def disk_need(files: Iterable[FileCopy]) -> int:
    """Bytes that unpacking takes at most."""
    return sum(file.size_bytes for file in files)


def free_bytes(folder: Path) -> int:
    """What we may still write where a folder lies or will lie. Raises OSError."""
    while not folder.exists():
        folder = folder.parent
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize
