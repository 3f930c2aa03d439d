"""From an open checkpoint to objects and a manifest: what is known to be unchanged is not read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import structlog
import trio

from pumpwatch.errors import BackupError
from pumpwatch.store.backup_manifest import (
    FORMAT,
    FileCopy,
    Manifest,
    PartitionCopy,
    TableCopy,
)
from pumpwatch.store.backup_objects import Objects, Stored
from pumpwatch.store.checkpoint import (
    DATABASE_FOLDER,
    Checkpoint,
    TableFiles,
    partition_versions,
)
from pumpwatch.store.digest import Digest, digest, read_columns
from pumpwatch.store.embedded_files import file_sha256
from pumpwatch.store.pace import Pace
from pumpwatch.store.partitions import NS_PER_S, Partition, SqlAccess, read_partitions, span_of

log = structlog.get_logger()

MIB = 1 << 20
# A file of a closed partition is not read again if its inode, size and time are the same. Writes
# through a memory map change the time only when a page is first touched after it went to disk
# (30 s by default), so a file must have been left alone for far longer than that.
SETTLED_NS = 600 * NS_PER_S
STORED_SHARE = 0.6  # of the content's size: measured 0.27 on trades, 0.6 on random numbers
SPARE_BYTES = 64 * MIB
SMALL_BYTES = MIB


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What an earlier backup stored, as far as it still lies there."""

    files: dict[str, FileCopy]  # by path
    contents: dict[str, FileCopy]  # by sha256
    partitions: dict[tuple[str, str], PartitionCopy]
    created_ns: int


NOTHING = Known(files={}, contents={}, partitions={}, created_ns=0)


def known_from(manifest: Manifest, objects: Objects) -> Known:
    """What of an earlier backup can be used again: only objects that lie there, for this key."""
    if manifest.key != (objects.key.public if objects.key else ""):
        return NOTHING
    there = [file for file in manifest.all_files() if objects.has(file.sha256, file.stored_bytes)]
    return Known(
        files={file.path: file for file in there},
        contents={file.sha256: file for file in there},
        partitions=manifest.partitions(),
        created_ns=manifest.created_ns,
    )


def unchanged(path: Path, relative: str, known: Known) -> FileCopy | None:
    """The earlier copy of this file, if it is beyond doubt the same; else None."""
    copy = known.files.get(relative)
    if copy is None or copy.mtime_ns + SETTLED_NS > known.created_ns:
        return None
    stat = path.stat()
    now = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
    return copy if now == (copy.size_bytes, copy.mtime_ns, copy.inode) else None


class Archive:
    """Makes one backup's objects."""

    def __init__(
        self,
        sql: SqlAccess,
        root: Path,
        objects: Objects,
        known: Known,
        pace: Pace,
    ) -> None:
        self._sql = sql
        self._root = root
        self._objects = objects
        self._known = known
        self._pace = pace
        self.new_bytes = 0  # stored
        self.changed: set[tuple[str, str]] = set()  # partitions that are not as they were

    # --- what it will take ------------------------------------------------------------------------

    async def estimate(self, checkpoint: Checkpoint) -> tuple[int, int]:
        """Bytes to store and bytes to unpack for a test, before anything is written."""
        return await trio.to_thread.run_sync(self._estimate, checkpoint)

    def _estimate(self, checkpoint: Checkpoint) -> tuple[int, int]:
        new_bytes = 0
        for table in checkpoint.tables:
            for files in table.partitions.values():
                new_bytes += self._new_bytes(files)
        loose = [*checkpoint.loose, *(path for table in checkpoint.tables for path in table.loose)]
        loose_bytes = self._new_bytes(loose)
        return int((new_bytes + loose_bytes) * STORED_SHARE), new_bytes + loose_bytes

    def _new_bytes(self, files: Iterable[str]) -> int:
        """What they take on disk: files that are being written are larger than their blocks."""
        total = 0
        for relative in files:
            path = self._root / relative
            try:
                if unchanged(path, relative, self._known) is None:
                    total += min(path.stat().st_blocks * 512, path.stat().st_size)
            except FileNotFoundError:
                continue
        return total

    # --- files ------------------------------------------------------------------------------------

    async def store(self, checkpoint: Checkpoint) -> tuple[tuple[FileCopy, ...], list[TableCopy]]:
        """Store all files; returns those of no table, and the tables. Raises BackupError."""
        loose = await self._store_files(checkpoint.loose, settle=False)
        tables = [await self._store_table(table, checkpoint) for table in checkpoint.tables]
        return loose, tables

    async def _store_table(self, table: TableFiles, checkpoint: Checkpoint) -> TableCopy:
        before = {part.name: part for part in checkpoint.before.get(table.name, [])}
        after = {part.name: part for part in checkpoint.after.get(table.name, [])}
        partitions = []
        for name, files in table.partitions.items():
            rows = before[name].rows if name in before else 0
            is_known = self._has_rows(table.name, name, rows)
            copies = await self._store_files(files, settle=is_known)
            partitions.append(
                PartitionCopy(
                    name=name,
                    rows=rows,
                    rows_max=max(rows, after[name].rows if name in after else 0),
                    files=copies,
                    digest=self._known_digest(table.name, name, copies),
                )
            )
            if partitions[-1].digest is None:
                self.changed.add((table.name, name))
        lost = set(before) & set(after) - set(table.partitions)
        if lost:
            raise BackupError(f"backup: no files of {table.name} {', '.join(sorted(lost))} found")
        return TableCopy(
            name=table.name,
            folder=table.folder,
            files=await self._store_files(table.loose, settle=False),
            partitions=tuple(partitions),
        )

    def _has_rows(self, table: str, name: str, rows: int) -> bool:
        """Whether the earlier backup counted as many: rows at the end change no file's name."""
        known = self._known.partitions.get((table, name))
        return known is not None and known.rows == known.rows_max == rows

    def _known_digest(self, table: str, name: str, copies: Sequence[FileCopy]) -> Digest | None:
        """The checksum that the earlier backup found, if all its files are the same."""
        known = self._known.partitions.get((table, name))
        if known is None or known.digest is None:
            return None
        mine, theirs = ({file.path: file.sha256 for file in part} for part in (copies, known.files))
        return known.digest if mine == theirs else None

    async def _store_files(self, files: Iterable[str], *, settle: bool) -> tuple[FileCopy, ...]:
        """Store them one by one; ``settle``: those that are known to be unchanged are not read."""
        copies = []
        for relative in files:
            copy = await trio.to_thread.run_sync(self._store_file, relative, settle)
            if copy is None:
                continue  # a version that the checkpoint does not need was purged
            copies.append(copy)
        return tuple(copies)

    def _store_file(self, relative: str, settle: bool) -> FileCopy | None:
        path = self._root / relative
        try:
            known = unchanged(path, relative, self._known) if settle else None
            if known is not None:
                return known
            stat = path.stat()
            stored = self._stored_before(path, stat.st_size) or self._objects.put(
                path, self._pace.spend_in_thread
            )
        except FileNotFoundError:
            log.info("backup_file_gone", path=relative)
            return None
        self.new_bytes += stored.stored_bytes if stored.is_new else 0
        return FileCopy(
            path=relative,
            size_bytes=stored.size_bytes,
            sha256=stored.sha256,
            stored_bytes=stored.stored_bytes,
            stored_sha256=stored.stored_sha256,
            mtime_ns=stat.st_mtime_ns,
            inode=stat.st_ino,
        )

    def _stored_before(self, path: Path, size_bytes: int) -> Stored | None:
        """The object that has this content already: most of what is small never changes."""
        if size_bytes > SMALL_BYTES:
            return None  # it would be read twice
        known = self._known.contents.get(file_sha256(path))
        if known is None:
            return None
        return Stored(
            known.sha256, known.size_bytes, known.stored_bytes, known.stored_sha256, False
        )

    # --- checksums --------------------------------------------------------------------------------

    async def add_digests(
        self, tables: Sequence[TableCopy], checkpoint: Checkpoint
    ) -> list[TableCopy]:
        """Ask the live tables for the checksums of what is new; not of what moves (R18)."""
        return [
            msgspec.structs.replace(
                table, partitions=tuple(await self._with_digests(table, checkpoint))
            )
            for table in tables
        ]

    async def _with_digests(self, table: TableCopy, checkpoint: Checkpoint) -> list[PartitionCopy]:
        before = {part.name: part for part in checkpoint.before.get(table.name, [])}
        versions = checkpoint.versions.get(table.name, {})
        done = []
        for part in table.partitions:
            known = before.get(part.name)
            found = None
            # Looked at first: an hour that is written to is long, and its checksum worth nothing.
            if (
                part.digest is None
                and known is not None
                and part.rows == part.rows_max
                and await self._is_still(table, known, versions)
            ):
                found = await self._live_digest(table.name, known)
                if found is not None and not await self._is_still(table, known, versions):
                    found = None
            done.append(part if found is None else msgspec.structs.replace(part, digest=found))
        return done

    async def _live_digest(self, table: str, partition: Partition) -> Digest | None:
        columns = await read_columns(self._sql, table)
        start_ns, end_ns = span_of(partition.name)
        found = await digest(
            self._sql, columns, start_ns, end_ns,
            rows=partition.rows, pace=self._pace,
        )  # fmt: skip
        return found if found.rows == partition.rows else None

    async def _is_still(
        self, table: TableCopy, before: Partition, versions: Mapping[str, int]
    ) -> bool:
        """Whether the partition is what it was at the checkpoint: as many rows, no new version."""
        for now in await read_partitions(self._sql, table.name):
            if now.name == before.name and now.rows == before.rows:
                place = self._root / DATABASE_FOLDER / table.folder
                found = await trio.to_thread.run_sync(partition_versions, place, before.name)
                mine = {span: n for span, n in versions.items() if span.startswith(before.name)}
                return found == mine
        return False


def make_manifest(
    checkpoint: Checkpoint,
    loose: tuple[FileCopy, ...],
    tables: Sequence[TableCopy],
    *,
    name: str,
    server_version: str,
    schema_version: int,
    key: str,
) -> Manifest:
    """What was stored, as a document."""
    return Manifest(
        format=FORMAT,
        name=name,
        created_ns=checkpoint.created_ns,
        server_version=server_version,
        schema_version=schema_version,
        was_held=checkpoint.was_held,
        spool_position=checkpoint.spool_position,
        key=key,
        files=loose,
        tables=tuple(tables),
    )
