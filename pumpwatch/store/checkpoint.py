"""The server's checkpoint: taken while the writer is held (R18), listed, and always released.

While one is open the server keeps every file that it needs, and goes on writing. What is copied
meanwhile is put right by the checkpoint's own files when the copy is started.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import msgspec
import structlog
import trio

from pumpwatch.clock import Clock
from pumpwatch.errors import BackupError, PumpWatchError, ServerError
from pumpwatch.store.partitions import (
    APPLIED_POLL_S,
    UNIT_CHARACTERS,
    Partition,
    SqlAccess,
    applied_txns,
    read_partitions,
)
from pumpwatch.store.writer_gate import HOLD_S_MAX

log = structlog.get_logger()

CHECKPOINT_FOLDER = ".checkpoint"
DATABASE_FOLDER = "db"
QUIET_S_MAX = 1.0  # of it, until all that was sent is applied; the checkpoint takes 0.4 s
HOLD_TRIES = 5
RETRY_PAUSE_S = 5.0
RELEASE_S_MAX = 30.0
WAL_FOLDER = re.compile(r"wal\d+")
PARTITION_FOLDER = re.compile(r"(?P<span>\d{4}[-\dTW]*)(?:\.(?P<version>\d+))?")


class WriterHold(Protocol):
    """How a backup has the writers wait (R18); the daemon gives one."""

    def hold(self) -> AbstractAsyncContextManager[str | None]:
        """Inside, nothing is sent to the database; gives where the spool stands, as a text.

        None: it could not be had now; try again. Longer than HOLD_S_MAX nobody waits.
        """
        ...


class NoHold:
    """Where nobody can be asked to wait: counts are then taken on both sides of the checkpoint."""

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[str | None]:
        """Holds nothing."""
        yield ""


class TableFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Where the files of one table are, paths below the server's root."""

    name: str  # empty: a table of the server itself
    folder: str
    loose: tuple[str, ...]
    partitions: dict[str, tuple[str, ...]]  # by name


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be copied, and what a copy must show."""

    created_ns: int
    was_held: bool
    spool_position: str
    loose: tuple[str, ...]
    tables: tuple[TableFiles, ...]
    before: dict[str, list[Partition]]
    after: dict[str, list[Partition]]
    versions: dict[str, dict[str, int]]  # by table and span, right before; see partition_versions


async def is_open(sql: SqlAccess) -> bool:
    """Whether a checkpoint waits for its release."""
    rows = await sql.query("SELECT in_progress FROM checkpoint_status()")
    return bool(rows and rows[0][0])


async def release(sql: SqlAccess) -> None:
    """End an open checkpoint; nothing where there is none. Raises ServerError."""
    if await is_open(sql):
        await sql.execute("CHECKPOINT RELEASE")
        log.info("checkpoint_released")


@asynccontextmanager
async def open_checkpoint(
    sql: SqlAccess, root: Path, hold: WriterHold, clock: Clock
) -> AsyncIterator[Checkpoint]:
    """Take one; it is released however the body ends. Raises ServerError, BackupError.

    A release that fails, because the server is gone, is made good by the next start: a server
    that was started anew has no open checkpoint, and ``release`` is called there.
    """
    try:
        yield await _create(sql, root, hold, clock)
    finally:
        with trio.move_on_after(RELEASE_S_MAX, shield=True):
            try:
                await release(sql)
            except PumpWatchError as error:
                log.error("checkpoint_not_released", message=str(error))  # noqa: TRY400


async def _create(sql: SqlAccess, root: Path, hold: WriterHold, clock: Clock) -> Checkpoint:
    tables = [
        (str(name), str(folder))
        for name, folder in await sql.query("SELECT table_name, directoryName FROM tables()")
    ]
    for attempt in range(HOLD_TRIES):
        if attempt:
            await trio.sleep(RETRY_PAUSE_S)
        async with hold.hold() as position:
            held_s = trio.current_time()
            if position is None or (position and not await _is_quiet(sql)):
                continue
            versions = await trio.to_thread.run_sync(list_versions, root, dict(tables))
            before = await _count(sql, tables)
            await sql.execute("CHECKPOINT CREATE")
            after = await _count(sql, tables)
            created_ns = clock.wall_ns()
            held_s = trio.current_time() - held_s
        loose, files = await trio.to_thread.run_sync(list_files, root, dict(tables))
        log.info("checkpoint_taken", held_s=round(held_s, 2))
        # Whoever waited may have gone on before the end: then counts tell what moved.
        was_held = bool(position) and held_s < HOLD_S_MAX
        return Checkpoint(
            created_ns=created_ns, was_held=was_held, spool_position=position,
            loose=loose, tables=files, before=before, after=after, versions=versions,
        )  # fmt: skip
    raise BackupError(
        f"backup: the database did not apply what it had taken within {QUIET_S_MAX:g} s, in"
        f" {HOLD_TRIES} tries: it is behind; see `pumpwatch status`"
    )


async def _is_quiet(sql: SqlAccess) -> bool:
    """Wait until everything that was sent is applied; False: it took too long."""
    with trio.move_on_after(QUIET_S_MAX):
        while any(done < taken for done, taken in (await applied_txns(sql)).values()):  # noqa: ASYNC110
            await trio.sleep(APPLIED_POLL_S)
        return True
    return False


async def _count(sql: SqlAccess, tables: Sequence[tuple[str, str]]) -> dict[str, list[Partition]]:
    return {name: await read_partitions(sql, name) for name, _ in tables}


# --- files ----------------------------------------------------------------------------------------


def list_files(
    root: Path, tables: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[TableFiles, ...]]:
    """Files of an open checkpoint: those of no table, and each table's. Blocking.

    ``tables``: name -> folder of our tables; the server's own are copied as well, because it
    does not start on a copy without them.
    """
    names = {folder: name for name, folder in tables.items()}
    database = root / DATABASE_FOLDER
    copied = root / CHECKPOINT_FOLDER / DATABASE_FOLDER
    if not copied.is_dir():
        raise ServerError(
            f"{copied} is not there after CHECKPOINT CREATE: does the database lie elsewhere?"
        )
    loose = [*_files_below(root, root / CHECKPOINT_FOLDER)]
    loose += [
        _relative(root, path)
        for path in database.iterdir()
        if path.is_file() and path.suffix != ".lock"
    ]
    found = [
        _table_files(root, database / folder.name, names.get(folder.name, ""))
        for folder in copied.iterdir()
        if folder.is_dir() and (database / folder.name).is_dir()
    ]
    return tuple(sorted(loose)), tuple(sorted(found, key=lambda table: table.folder))


def list_versions(root: Path, tables: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Of each of these tables (name -> folder) how its partitions' folders are called. Blocking.

    The server writes a partition anew whose rows are replaced, and calls the folder by another
    number: a look at the files after the writers go on would take that one for the checkpoint's.
    """
    database = root / DATABASE_FOLDER
    return {name: partition_versions(database / folder) for name, folder in tables.items()}


def partition_versions(folder: Path, partition: str = "") -> dict[str, int]:
    """Of each span the highest number behind the point; -1 where there is none. Blocking.

    ``partition``: only of this one, and of the parts of it where the server has split it.
    """
    found: dict[str, int] = {}
    for path in folder.glob(f"{partition}*"):
        match = PARTITION_FOLDER.fullmatch(path.name)
        if match is not None:
            span, version = match["span"], int(match["version"] or -1)
            found[span] = max(found.get(span, -1), version)
    return found


def _table_files(root: Path, folder: Path, name: str) -> TableFiles:
    loose: list[str] = []
    spans: dict[str, list[str]] = {}
    for path in folder.iterdir():
        match = PARTITION_FOLDER.fullmatch(path.name) if path.is_dir() else None
        if match is not None:
            # Every version of a partition: which of them the checkpoint means, only it knows. One
            # that it does not mean may be purged under our hands, and is then not missed.
            spans.setdefault(match["span"], []).extend(_files_below(root, path))
        elif path.is_file():
            loose.append(_relative(root, path))
        elif WAL_FOLDER.fullmatch(path.name) is None:
            loose += _files_below(root, path)
    width = _name_width(spans)
    partitions: dict[str, list[str]] = {}
    for span, files in spans.items():
        partitions.setdefault(span[:width], []).extend(files)
    return TableFiles(
        name=name,
        folder=folder.name,
        loose=tuple(sorted(loose)),
        partitions={part: tuple(sorted(files)) for part, files in sorted(partitions.items())},
    )


def _name_width(spans: Mapping[str, object]) -> int:
    """How long partitions' names are here: the parts of a split one have longer ones."""
    widths = sorted(UNIT_CHARACTERS.values())
    shortest = min(map(len, spans), default=0)
    return next((width for width in reversed(widths) if width <= shortest), shortest)


def _files_below(root: Path, folder: Path) -> list[str]:
    return [
        _relative(root, Path(place) / name) for place, _, names in os.walk(folder) for name in names
    ]


def _relative(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()
