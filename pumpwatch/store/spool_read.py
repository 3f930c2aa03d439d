"""Reading segments back: one table's next rows, and what is damaged. Blocking, for worker threads.

Only this module, spool_files.py and spool.py know where records lie (DESIGN section 12).
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from pumpwatch.store.segment import (
    FILE_HEADER_BYTES,
    MIB,
    PAYLOAD_BYTES_MAX,
    POSITIONS_TABLE,
    RECORD_HEADER_BYTES,
    Damage,
    RecordRef,
    is_cut_off,
    record_at,
    scan,
)

# Numbers of schema.TABLES. Trades are walked; all other tables have few records, which are listed.
BIG_TABLE = 1
WINDOW_SLACK_BYTES = MIB  # a read takes this much more than asked, for the headers between
RECORD_BYTES_MAX = RECORD_HEADER_BYTES + PAYLOAD_BYTES_MAX
PAGE_BYTES = 4096
PAGE_READS_MAX = 3  # a page that cannot be read as often reads as zeros: damage, not a crash


class Cursor(NamedTuple):
    """A position in the spool: everything of a table before it was taken."""

    segment: int
    offset: int


START = Cursor(0, 0)


class TableBatch(msgspec.Struct, frozen=True):
    """Rows of one table in spool order, ready to be sent as one request."""

    payloads: list[memoryview]
    feeds: list[int]  # of each payload
    segments: list[int]  # where each payload lies
    rows: int
    rows_by_feed: dict[int, int]
    end: Cursor
    is_cut: bool  # a limit ended it: more rows lie behind ``end`` already

    @property
    def size_bytes(self) -> int:
        """ILP bytes in all."""
        return sum(map(len, self.payloads))


class OpenFile:
    """A descriptor that is closed when the last one who reads from it lets go."""

    def __init__(self, path: Path, flags: int) -> None:
        self.fd = -1
        self.fd = os.open(path, flags, 0o600)

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


class Segment:
    """One file and its committed contents. ``lock`` guards the change from one to the next."""

    def __init__(self, number: int, path: Path, first_ordinal: int | None) -> None:
        self.number = number
        self.path = path
        self.first_ordinal = first_ordinal  # None: its header is damaged
        self.end_ordinal = first_ordinal
        self.size_bytes = FILE_HEADER_BYTES  # committed: readers go no further
        self.disk_bytes = FILE_HEADER_BYTES
        self.synced_bytes = 0
        self.is_sync_failed = False
        self.table_ends: dict[int, int] = {}  # table -> end of its last record
        self.side_records: dict[int, list[RecordRef]] = {}
        self.positions: list[RecordRef] = []  # of POSITIONS_TABLE: nobody's rows
        self.rows_by_feed: Counter[int] = Counter()  # of the big table, lost ones left out
        self.holes: dict[int, Damage] = {}  # damage that is known, by offset
        self.lock = threading.Lock()
        self._examining = threading.Lock()
        self.file: OpenFile | None = None

    @property
    def fd(self) -> int:
        """The open file."""
        assert self.file is not None
        return self.file.fd

    def note(self, ref: RecordRef) -> None:
        """Count a record in that lies in the file now."""
        if ref.table == POSITIONS_TABLE:
            self.positions.append(ref)
            return
        self.table_ends[ref.table] = ref.end
        if ref.table == BIG_TABLE:
            self.rows_by_feed[ref.feed] += ref.rows
        else:
            self.side_records.setdefault(ref.table, []).append(ref)

    def examine(self) -> tuple[list[Damage], Counter[int]]:
        """Look at the whole file again: damage that was not known, and rows lost by feed."""
        with self._examining:  # two readers at once would count the same rows twice
            return self._examine()

    def _examine(self) -> tuple[list[Damage], Counter[int]]:
        with self.lock:
            size_bytes, end_ordinal = self.size_bytes, self.end_ordinal
            lost = self.rows_by_feed.copy()
        data = read_bytes(self.fd, size_bytes, 0)
        found: list[Damage] = []
        for item in scan(data, self.first_ordinal, end_ordinal):
            if isinstance(item, Damage):
                # A file that was cut from outside ends early: the hole reaches to where it ended.
                end = size_bytes if item.end >= len(data) else item.end
                found += self._note_hole(Damage(item.offset, end, False, item.rows))
            elif item.table == BIG_TABLE:
                lost[item.feed] -= item.rows
        lost = +lost
        with self.lock:
            self.rows_by_feed.subtract(lost)
        return found, lost

    def _note_hole(self, hole: Damage) -> list[Damage]:
        known = self.holes.get(hole.offset)
        if known is not None and known.end == hole.end:
            return []
        self.holes[hole.offset] = hole
        if known is None or known.rows < 0 or hole.rows < 0:
            return [hole]
        return [Damage(known.end, hole.end, False, hole.rows - known.rows)]  # it has grown

    def hole_at(self, offset: int) -> Damage | None:
        """The known damage that ``offset`` lies in."""
        for hole in list(self.holes.values()):  # other readers may be adding to them
            if hole.offset <= offset < hole.end:
                return hole
        return None


class Found(NamedTuple):
    """Damage that a reader came upon."""

    segment: Segment
    holes: list[Damage]
    lost_by_feed: Counter[int]


class BatchReader:
    """Collects one batch; ``found`` holds the damage that was met on the way."""

    def __init__(self, table: int, rows_max: int, bytes_max: int) -> None:
        self.found: list[Found] = []
        self._table = table
        self._rows_max = rows_max
        self._bytes_max = bytes_max
        self._payloads: list[memoryview] = []
        self._feeds: list[int] = []
        self._segments: list[int] = []
        self._by_feed: Counter[int] = Counter()
        self._rows = 0
        self._size_bytes = 0
        self._end = START
        self._is_full = False

    def read(self, segments: Iterable[Segment], cursor: Cursor, upto: Cursor) -> TableBatch | None:
        """Rows of the table in ``[cursor, upto)``; None where there are none."""
        for segment in segments:
            start = cursor.offset if segment.number == cursor.segment else FILE_HEADER_BYTES
            end = segment.table_ends.get(self._table, 0)
            if segment.number == upto.segment:
                end = min(end, upto.offset)
            if not cursor.segment <= segment.number <= upto.segment or start >= end:
                continue
            if self._table == BIG_TABLE:
                self._walk(segment, start, end)
            else:
                self._pick(segment, start, end)
            if self._is_full:
                break
        if self._end == START:
            return None
        return TableBatch(
            self._payloads, self._feeds, self._segments, self._rows, dict(self._by_feed),
            self._end, self._is_full,
        )  # fmt: skip

    def _walk(self, segment: Segment, offset: int, end: int) -> None:
        """Take every record of the table in ``[offset, end)`` from large reads."""
        window_bytes = max(0, self._bytes_max - self._size_bytes) + WINDOW_SLACK_BYTES
        window_bytes = min(window_bytes, RECORD_BYTES_MAX)
        while offset < end and not self._is_full:
            wanted = min(end - offset, window_bytes)
            view = memoryview(read_bytes(segment.fd, wanted, offset))
            is_last = len(view) < wanted or wanted in (end - offset, RECORD_BYTES_MAX)
            taken = self._take_window(segment, view, offset, end, is_last)
            if taken == offset:  # the record is larger than the window
                window_bytes = RECORD_BYTES_MAX
            offset = taken

    def _take_window(
        self, segment: Segment, view: memoryview, base: int, end: int, is_last: bool
    ) -> int:
        """Take what lies in ``view``, which was read at ``base``; returns where to read on.

        ``is_last``: reading more from ``base`` on would bring no more.
        """
        offset = base
        while offset < end:
            hole = segment.hole_at(offset)
            # In a known hole a record that reads well is a leftover, or was counted as lost.
            ref = record_at(view, offset - base) if hole is None else None
            if ref is None:
                is_cut = not is_last and is_cut_off(view, 0)
                if hole is None and (offset > base or is_cut):
                    return offset  # read again from here
                hole = hole or self._examine(segment, offset)
                if hole is None:
                    return offset  # it reads well now
                offset = hole.end
            elif ref.table == self._table and not self._take(segment, view, ref):
                return offset
            else:
                offset = base + ref.end
            self._end = Cursor(segment.number, min(offset, end))
        return offset

    def _pick(self, segment: Segment, offset: int, end: int) -> None:
        """Take the listed records of a small table in ``[offset, end)``."""
        for listed in list(segment.side_records.get(self._table, ())):
            if not offset <= listed.offset < end:
                continue
            found = self._read_listed(segment, listed)
            if found is not None and not self._take(segment, *found):
                return
            self._end = Cursor(segment.number, listed.end)

    def _read_listed(
        self, segment: Segment, listed: RecordRef
    ) -> tuple[memoryview, RecordRef] | None:
        """A listed record; None where it is damaged."""
        size_bytes = RECORD_HEADER_BYTES + listed.payload_bytes
        while segment.hole_at(listed.offset) is None:
            view = memoryview(read_bytes(segment.fd, size_bytes, listed.offset))
            ref = record_at(view, 0)
            if ref is not None:
                return view, ref
            self._examine(segment, listed.offset)  # finds a hole, or it reads well the next time
        return None

    def _take(self, segment: Segment, view: memoryview, ref: RecordRef) -> bool:
        is_full = (
            self._rows + ref.rows > self._rows_max
            or self._size_bytes + ref.payload_bytes > self._bytes_max
        )
        if is_full and self._payloads:
            self._is_full = True
            return False
        self._payloads.append(view[ref.payload_offset : ref.end])
        self._feeds.append(ref.feed)
        self._segments.append(segment.number)
        self._rows += ref.rows
        self._size_bytes += ref.payload_bytes
        self._by_feed[ref.feed] += ref.rows
        return True

    def _examine(self, segment: Segment, offset: int) -> Damage | None:
        holes, lost_by_feed = segment.examine()
        if holes:
            self.found.append(Found(segment, holes, lost_by_feed))
        return segment.hole_at(offset)


def read_bytes(fd: int, size_bytes: int, offset: int) -> bytes:
    """``size_bytes`` at ``offset``, fewer at the file's end; pages that the disk refuses are zeros.

    A crash loop over one bad sector would cost all the sound rows around it.
    """
    try:
        return os.pread(fd, size_bytes, offset)
    except OSError:
        return b"".join(_pages(fd, size_bytes, offset))


def _pages(fd: int, size_bytes: int, offset: int) -> Iterator[bytes]:
    end = offset + size_bytes
    while offset < end:
        wanted = min(PAGE_BYTES - offset % PAGE_BYTES, end - offset)
        page = _page(fd, wanted, offset)
        yield page
        if len(page) < wanted:
            return
        offset += wanted


def _page(fd: int, wanted: int, offset: int) -> bytes:
    for _ in range(PAGE_READS_MAX):
        try:
            return os.pread(fd, wanted, offset)
        except OSError:
            continue
    return bytes(wanted)
