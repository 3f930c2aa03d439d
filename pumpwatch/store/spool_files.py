"""Segments on disk: write, sync, remove. Plain blocking calls, made from worker threads.

One thread writes at a time, another may fsync, others read what is committed. The folder holds
segments (``NNNNNNNNNNNN.seg``), segments with damage that were set aside once their sound rows
were applied (``.damaged``), the lock, and after a clean end ``closed``: where numbering goes on.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pumpwatch.clock import Clock
from pumpwatch.errors import SpoolError
from pumpwatch.model import Record
from pumpwatch.store.segment import (
    FILE_HEADER_BYTES,
    SEGMENT_BYTES_MAX,
    Damage,
    RecordRef,
    encode_file_header,
    encode_record_header,
)
from pumpwatch.store.spool_losses import Loss, loss_at
from pumpwatch.store.spool_positions import Standings
from pumpwatch.store.spool_queue import encoded_bytes
from pumpwatch.store.spool_read import (
    BIG_TABLE,
    START,
    BatchReader,
    Cursor,
    Found,
    OpenFile,
    Segment,
    TableBatch,
    read_bytes,
)
from pumpwatch.store.spool_recovery import (
    Recovery,
    forget_clean_end,
    note_clean_end,
    recover,
    set_aside,
    write_all,
)

LOCK_FILE = "lock"

__all__ = ["BIG_TABLE", "START", "Cursor", "Recovery", "SpoolFiles", "TableBatch"]


class SpoolFiles:
    """The folder of segments. OSError: the disk; SpoolError: a person must act."""

    def __init__(
        self, directory: Path, clock: Clock, *, schema_version: int, contiguous: Iterable[int] = ()
    ) -> None:
        """``contiguous``: numbers of the feeds whose ids count up without a gap."""
        self.directory = directory
        self.standings = Standings(contiguous)  # moved by whoever writes
        self.stood = self.standings  # where an earlier run ended; nobody moves it
        self.segments: dict[int, Segment] = {}
        self.next_ordinal = 1
        self.found: deque[Found] = deque()  # damage that readers met, for the spool to report
        self._clock = clock
        self._schema = schema_version
        self._active: Segment | None = None
        self._last_number = 0
        self._lock_fd = -1
        self._is_directory_synced = False

    # -- open -------------------------------------------------------------------------------

    def open(self) -> Recovery:
        """Take the folder, read every segment, make a fresh one to write to."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._take_lock()
            return self._recover()
        except OSError as error:
            self._let_go()
            raise SpoolError(
                f"the spool {self.directory} cannot be opened: {error.strerror}"
                f" ({error.filename or 'writing'}): check the disk's space and the folder's owner"
            ) from error
        except SpoolError:
            self._let_go()
            raise

    def _take_lock(self) -> None:
        self._lock_fd = os.open(self.directory / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SpoolError(f"the spool {self.directory} is in use by another process") from None

    def _recover(self) -> Recovery:
        recovered = recover(self.directory)
        self.segments = {segment.number: segment for segment in recovered.segments}
        self.next_ordinal = recovered.next_ordinal
        self._last_number = recovered.last_number
        self.standings.recover(recovered.read)
        self.stood = self.standings.copy()
        self.roll()
        self.fsync()  # also the folder: from now on the new segment tells where symbols stood
        for segment in recovered.idle:
            segment.path.unlink()
        forget_clean_end(self.directory)
        by_feed: Counter[int] = Counter()
        for segment in self.listed():
            by_feed.update(segment.rows_by_feed)
        return Recovery(
            by_feed.total(), dict(by_feed), recovered.damage, recovered.losses, recovered.set_aside
        )

    # -- write ------------------------------------------------------------------------------

    @property
    def active(self) -> Segment:
        """The segment that is written to."""
        assert self._active is not None
        return self._active

    @property
    def bytes_on_disk(self) -> int:
        """Size of all segments."""
        return sum(segment.disk_bytes for segment in self.listed())

    def listed(self) -> list[Segment]:
        """The segments, oldest first; one step for the interpreter, as writers add to them."""
        return list(self.segments.values())

    def roll(self) -> None:
        """Begin a new segment with all that is known of where symbols stand (R3)."""
        number = self._last_number + 1
        path = self.directory / f"{number:012d}.seg"
        segment = Segment(number, path, self.next_ordinal)
        segment.file = OpenFile(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        header = encode_file_header(self.next_ordinal, self._clock.wall_ns())
        parts, refs = self._encode(self.standings.records(), FILE_HEADER_BYTES)
        try:
            write_all(segment.fd, [header, *parts], 0)
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        for ref in refs:
            segment.note(ref)
        segment.size_bytes = segment.disk_bytes = refs[-1].end if refs else FILE_HEADER_BYTES
        self._is_directory_synced = False
        self._last_number = number
        self.segments[number] = segment
        self._active = segment

    def write(self, records: Sequence[Record]) -> list[Cursor]:
        """Append records; all of them or, when the disk refuses, none (OSError).

        Returns the position behind each record.
        """
        size_bytes = sum(encoded_bytes(record) for record in records)
        is_begun = bool(self.active.table_ends)
        if is_begun and self.active.size_bytes + size_bytes > SEGMENT_BYTES_MAX:
            self.roll()
        segment = self.active
        parts, refs = self._encode(records, segment.size_bytes)
        offset, ordinal = refs[-1].end, refs[-1].first_ordinal + refs[-1].rows
        try:
            write_all(segment.fd, parts, segment.size_bytes)
        except OSError:
            # What was half written is cut off: the next try starts on clean ground.
            with contextlib.suppress(OSError):
                os.ftruncate(segment.fd, segment.size_bytes)
            raise
        with segment.lock:
            for ref in refs:
                segment.note(ref)
            segment.end_ordinal = self.next_ordinal = ordinal
            segment.size_bytes = segment.disk_bytes = offset
        self.standings.applied(records)
        return [Cursor(segment.number, ref.end) for ref in refs]

    def _encode(
        self, records: Sequence[Record], offset: int
    ) -> tuple[list[bytes], list[RecordRef]]:
        """Headers and payloads as they go to ``offset`` of a segment."""
        parts: list[bytes] = []
        refs: list[RecordRef] = []
        ordinal = self.next_ordinal
        for record in records:
            payload, rows, table, feed = record.payload, record.rows, record.table, record.feed
            parts += (
                encode_record_header(payload, rows, table, self._schema, feed, ordinal),
                payload,
            )
            refs.append(RecordRef(offset, len(payload), rows, table, self._schema, feed, ordinal))
            offset = refs[-1].end
            ordinal += rows
        return parts, refs

    def fsync(self) -> None:
        """Make all that is committed safe from a power cut."""
        if not self._is_directory_synced:
            self._sync_directory()
        for segment in self.listed():
            committed = segment.size_bytes
            if segment.synced_bytes == committed:
                continue
            try:
                if segment.is_sync_failed:
                    _write_again(segment, committed)
                os.fsync(segment.fd)
            except OSError:
                segment.is_sync_failed = True
                raise
            segment.is_sync_failed = False
            segment.synced_bytes = committed

    def _sync_directory(self) -> None:
        fd = os.open(self.directory, os.O_RDONLY)
        self._is_directory_synced = True  # before: a segment made meanwhile wants another one
        try:
            os.fsync(fd)
        except OSError:
            self._is_directory_synced = False
            raise
        finally:
            os.close(fd)

    # -- read and remove ----------------------------------------------------------------------

    def read(
        self, table: int, cursor: Cursor, upto: Cursor, rows_max: int, bytes_max: int
    ) -> TableBatch | None:
        """The table's rows in ``[cursor, upto)``, as many as the limits allow; None: none."""
        reader = BatchReader(table, rows_max, bytes_max)
        try:
            return reader.read(self.listed(), cursor, upto)
        finally:
            self.found += reader.found

    def losses(self, segment: Segment, holes: Sequence[Damage]) -> list[Loss]:
        """Whose trades damage took that readers met."""
        data, now_ns = read_bytes(segment.fd, segment.size_bytes, 0), self._clock.wall_ns()
        found = [loss_at(segment.path.name, data, hole, ended_ns=now_ns) for hole in holes]
        return [loss for loss in found if loss is not None]

    def table_ends(self) -> dict[int, Cursor]:
        """Behind the last record of each table."""
        ends: dict[int, Cursor] = {}
        for segment in self.listed():
            for table, end in list(segment.table_ends.items()):
                ends[table] = Cursor(segment.number, end)
        return ends

    def is_done(self, segment: Segment, table_cursors: Mapping[int, Cursor]) -> bool:
        """True when every table's records in it lie before the table's cursor."""
        return all(
            table_cursors.get(table, START) >= Cursor(segment.number, end)
            for table, end in list(segment.table_ends.items())
        )

    def remove(self, segment: Segment) -> None:
        """Delete a segment whose rows are all applied; one with damage is set aside."""
        assert segment is not self._active
        if self._active is not None and not self._active.synced_bytes:
            self.fsync()  # else a power cut could take with it where symbols stood
        if segment.holes:
            set_aside(segment.path)
        else:
            segment.path.unlink(missing_ok=True)
        self.segments.pop(segment.number, None)  # its file is closed by the last reader

    def close(self, *, is_empty: bool) -> None:
        """Sync and let go, in any case; an empty spool leaves one segment without rows at most.

        It tells the next start where symbols stood. Raises OSError.
        """
        if self._active is None:
            return
        try:
            if is_empty and self.standings.records():
                self.roll()
            self.fsync()
            note_clean_end(self.directory, self._last_number, self.next_ordinal)
            kept = self._active if self._active.positions else None
            self._active = None
            if is_empty:
                for segment in self.listed():
                    if segment is not kept:
                        self.remove(segment)
            self._sync_directory()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        self._active = None
        self.segments.clear()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1


def _write_again(segment: Segment, committed: int) -> None:
    """Put unsynced bytes once more: after a failed fsync the kernel takes them for written."""
    offset = segment.synced_bytes
    while offset < committed:
        data = os.pread(segment.fd, min(committed - offset, SEGMENT_BYTES_MAX // 16), offset)
        if not data:
            return
        write_all(segment.fd, [data], offset)
        offset += len(data)
