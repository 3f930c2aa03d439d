"""What a backup says of itself, sans-IO: its manifest, its state, and which backups go.

A manifest names every file by the sha256 of its content, and for each partition the rows that a
restored database must show. It never changes; what becomes of the backup stands in its state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from pumpwatch.errors import BackupError, DamagedBackupError
from pumpwatch.store.digest import Digest
from pumpwatch.store.partitions import DAY_NS

Document = TypeVar("Document")

FORMAT = 1
SEAL = b"pumpwatch sealed sha256 "
GOOD, UNVERIFIED, BROKEN, RUNNING = "good", "unverified", "broken", "running"


class FileCopy(msgspec.Struct, frozen=True, kw_only=True):
    """One file: where it was, what it was, and by what it is known to be unchanged."""

    path: str  # below the server's root: "db/trades~6/2026-01-31T13/price.d"
    size_bytes: int
    sha256: str  # of the content; the object's name
    stored_bytes: int
    stored_sha256: str  # of the object's own bytes
    mtime_ns: int = 0
    inode: int = 0


class PartitionCopy(msgspec.Struct, frozen=True, kw_only=True):
    """One partition as the checkpoint has it.

    ``rows`` and ``rows_max``: counted right before and right after the checkpoint; equal while the
    writer was held. ``digest`` None: it was being written to, so only the count is known.
    """

    name: str
    rows: int
    rows_max: int
    files: tuple[FileCopy, ...]
    digest: Digest | None = None


class TableCopy(msgspec.Struct, frozen=True, kw_only=True):
    """A table, or a view's table; ``files`` are what belongs to no partition."""

    name: str
    folder: str  # "trades~6"
    files: tuple[FileCopy, ...]
    partitions: tuple[PartitionCopy, ...] = ()


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A whole backup."""

    format: int
    name: str  # "20260131T031000Z", UTC
    created_ns: int  # the checkpoint
    server_version: str
    schema_version: int
    was_held: bool  # no row was written between counting and checkpoint (R18)
    spool_position: str  # where the spool stood then; empty: not told
    key: str  # the public key it is encrypted for; empty: not encrypted
    files: tuple[FileCopy, ...]  # of the database as a whole, and the checkpoint's own
    tables: tuple[TableCopy, ...]

    def all_files(self) -> Iterable[FileCopy]:
        """Every file of it."""
        yield from self.files
        for table in self.tables:
            yield from table.files
            for partition in table.partitions:
                yield from partition.files

    def objects(self) -> dict[str, int]:
        """Names of its objects and their stored bytes."""
        return {file.sha256: file.stored_bytes for file in self.all_files()}

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(part.rows for table in self.tables for part in table.partitions)

    def partitions(self) -> dict[tuple[str, str], PartitionCopy]:
        """By table and name."""
        return {(table.name, part.name): part for table in self.tables for part in table.partitions}


class State(msgspec.Struct, kw_only=True):
    """What became of a backup."""

    name: str
    state: str  # running, unverified, good, broken
    created_ns: int
    phase: str = ""  # of a running one
    manifest_sha256: str = ""
    stored_bytes: int = 0  # all that a restore of it needs
    new_bytes: int = 0  # what it added
    rows: int = 0
    verified_ns: int = 0
    full_verified_ns: int = 0  # when everything was restored, not a sample
    earlier_full_ns: int = 0  # when that was last done of an earlier one, which may be gone
    uploaded_ns: int = 0
    error: str = ""


# --- files that know when they are damaged --------------------------------------------------------


def seal(document: object) -> bytes:
    """A document with its checksum in front."""
    body = msgspec.json.encode(document)
    return SEAL + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def unseal_state(data: bytes, place: str) -> State:
    """Raises DamagedBackupError."""
    return _unseal(data, State, place)


def unseal_manifest(data: bytes, place: str) -> Manifest:
    """Raises DamagedBackupError, and BackupError where a newer PumpWatch wrote it."""
    manifest = _unseal(data, Manifest, place)
    if manifest.format != FORMAT:
        raise BackupError(
            f"{place}: format {manifest.format}, this PumpWatch reads {FORMAT}: use the one that"
            " wrote it"
        )
    return manifest


def _unseal(data: bytes, kind: type[Document], place: str) -> Document:
    head, _, body = data.partition(b"\n")
    if head != SEAL + hashlib.sha256(body).hexdigest().encode():
        raise DamagedBackupError(f"{place}: damaged (its checksum does not fit)")
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise DamagedBackupError(f"{place}: cannot be read: {error}") from None


# --- rules ----------------------------------------------------------------------------------------


def check_versions(manifest: Manifest, server_version: str, schema_version: int) -> None:
    """Refuse what this PumpWatch's server does not read. Raises BackupError."""
    if manifest.server_version != server_version:
        raise BackupError(
            f"backup {manifest.name} was made by QuestDB {manifest.server_version}, this PumpWatch"
            f" runs {server_version}: restore it with the PumpWatch that made it"
        )
    if manifest.schema_version > schema_version:
        raise BackupError(
            f"backup {manifest.name} has schema version {manifest.schema_version}, this PumpWatch"
            f" knows {schema_version}: restore it with a newer PumpWatch"
        )


def last_full_ns(states: Iterable[State]) -> int:
    """When a backup was last restored as a whole; 0: never."""
    return max((max(state.full_verified_ns, state.earlier_full_ns) for state in states), default=0)


def newest_good(states: Iterable[State]) -> State | None:
    """The one that a restore would take."""
    good = [state for state in states if state.state == GOOD]
    return max(good, key=lambda state: state.created_ns, default=None)


def plan_rotation(states: Sequence[State], now_ns: int, keep_days: int) -> list[str]:
    """Names of the backups that go.

    Older than ``keep_days``, but never the newest good one. Of those that are not good only the
    newest stays, and only while no good one is newer: it shows what is wrong.
    """
    best = newest_good(states)
    bad = [state for state in states if state.state != GOOD]
    newest_bad = max(bad, key=lambda state: state.created_ns, default=None)
    if best and newest_bad and newest_bad.created_ns < best.created_ns:
        newest_bad = None
    return [
        state.name
        for state in states
        if state is not best
        and state is not newest_bad
        and (state.state != GOOD or state.created_ns < now_ns - keep_days * DAY_NS)
    ]


def differences(part: PartitionCopy, found: Digest, table: str) -> list[str]:
    """What a restored partition shows that the manifest does not say."""
    place = f"{table} {part.name}"
    if part.digest is None:
        if part.rows <= found.rows <= part.rows_max:
            return []
        return [f"{place}: {found.rows} rows, not {part.rows} to {part.rows_max}"]
    if found == part.digest:
        return []
    return [f"{place}: {found}, not {part.digest}"]
