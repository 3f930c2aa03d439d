"""What a start finds in the spool's folder: whole segments, torn tails, damage."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import msgspec

from pumpwatch.store.segment import FILE_HEADER_BYTES, Damage, decode_file_header, scan
from pumpwatch.store.spool_losses import Loss, loss_at
from pumpwatch.store.spool_read import OpenFile, Segment, read_bytes

SEGMENT_NAME = re.compile(r"\d{12}\.seg")
CLOSED_FILE = "closed"
IOVECS_MAX = 512  # well below Linux's IOV_MAX of 1024


class Recovery(msgspec.Struct, frozen=True):
    """What a start found: rows of trades to send again, by feed, and what was damaged.

    Where symbols stood is in SpoolFiles.standings.
    """

    rows: int
    rows_by_feed: dict[int, int]
    damage: list[tuple[str, Damage]]
    losses: list[Loss]
    set_aside: list[str]  # segments without one sound record; others follow when they are applied


class Recovered:
    """The segments of a folder, oldest first, and where numbering goes on.

    ``ended_ns``: nothing that the folder ever held was written later.
    """

    def __init__(self, ended_ns: int = 0) -> None:
        self.segments: list[Segment] = []
        self.next_ordinal = 1
        self.last_number = 0
        self.damage: list[tuple[str, Damage]] = []
        self.losses: list[Loss] = []
        self.set_aside: list[str] = []
        self.read: list[Segment] = []  # all, also those without rows: they tell where symbols stood
        self.ended_ns = ended_ns
        self._begun_ns = 0  # of the next segment: when the one before was written last
        self.idle: list[Segment] = []  # without rows: to be removed once that stands elsewhere

    def add(self, segment: Segment, data: bytes, end: int | None, *, is_next_there: bool) -> None:
        """Take a segment in; ``end`` is the first ordinal behind it, where that is known.

        Rows missing between a whole segment and one that is not the next are those of segments
        that somebody took away: they are released oldest first, and one without rows is no loss.
        """
        name = segment.path.name
        ended_ns = os.fstat(segment.fd).st_mtime_ns
        for hole in _read_holes(segment, data, end):
            if hole.offset == hole.end == len(data) and not is_next_there:
                missing = segment.path.with_name(f"{segment.number + 1:012d}.seg").name
                gone = Damage(0, 0, False, hole.rows)
                self.damage.append((missing, gone))
                self._lose(loss_at(missing, data, hole, ended_ns=self.ended_ns))
                continue
            self.damage.append((name, hole))
            if not hole.is_tail:
                segment.holes[hole.offset] = hole
                if hole.rows:
                    begun_ns = self._begun_ns
                    self._lose(loss_at(name, data, hole, begun_ns=begun_ns, ended_ns=ended_ns))
        self._begun_ns = ended_ns
        segment.disk_bytes = len(data)
        self.next_ordinal = max(self.next_ordinal, end or 0, segment.end_ordinal or 0)
        self.last_number = max(self.last_number, segment.number)
        self.read.append(segment)
        if segment.table_ends:
            self.segments.append(segment)
        elif self.damage and self.damage[-1][0] == name:
            self.set_aside.append(set_aside(segment.path))
        else:
            self.idle.append(segment)  # made, and no row was ever spooled in it

    def _lose(self, loss: Loss | None) -> None:
        if loss is not None:
            self.losses.append(loss)


class _Closed(msgspec.Struct):
    """What a clean end notes down."""

    last_segment: int
    next_ordinal: int


def recover(directory: Path) -> Recovered:
    """Read every segment of the folder.

    Raises OSError where a file cannot be had at all, SpoolError for an unknown format.
    """
    found = Recovered(max(path.stat().st_mtime_ns for path in (directory, *directory.iterdir())))
    paths = [path for path in sorted(directory.glob("*.seg")) if SEGMENT_NAME.fullmatch(path.name)]
    firsts = {int(path.stem): _first_ordinal(path) for path in paths}
    aside = {
        int(path.stem): _first_ordinal(path)
        for path in directory.glob("*.damaged")
        if path.stem.isdigit()
    }
    found.last_number = max(aside, default=0)
    # A segment ends where the next one begins; the last one, where a clean end says so.
    known = firsts | aside
    following = dict(pairwise(sorted(known)))
    ends = {number: known[after] for number, after in following.items()}
    with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
        closed = msgspec.json.decode((directory / CLOSED_FILE).read_bytes(), type=_Closed)
        found.next_ordinal = closed.next_ordinal
        found.last_number = max(found.last_number, closed.last_segment)
        last = max(known, default=closed.last_segment)
        if last <= closed.last_segment:  # else the note is an older end's
            ends[last] = closed.next_ordinal
        if last < closed.last_segment:  # somebody took the last ones away
            following[last] = closed.last_segment + 1
    previous: Segment | None = None
    for path in paths:
        number = int(path.stem)
        first = firsts[number]
        if first is None and previous is not None and previous.number == number - 1:
            first = previous.end_ordinal
        segment = previous = Segment(number, path, first)
        segment.file = OpenFile(path, os.O_RDWR)
        data = read_bytes(segment.fd, os.fstat(segment.fd).st_size, 0)
        is_next_there = following.get(number, number + 1) == number + 1
        found.add(segment, data, ends.get(number), is_next_there=is_next_there)
    return found


def _first_ordinal(path: Path) -> int | None:
    file = OpenFile(path, os.O_RDONLY)
    try:
        return decode_file_header(read_bytes(file.fd, FILE_HEADER_BYTES, 0), path.name)
    except ValueError:
        return None


def _read_holes(segment: Segment, data: bytes, end: int | None) -> list[Damage]:
    """Count the sound records in; returns the damage."""
    holes: list[Damage] = []
    try:
        decode_file_header(data, segment.path.name)
    except ValueError:
        # Shorter than a header: it was cut short while it was made, and held nothing. But with
        # something behind it, it was whole once; nobody knows what its first row was.
        if len(data) > FILE_HEADER_BYTES:
            holes.append(Damage(0, FILE_HEADER_BYTES, False, 0))
        elif end is not None and segment.first_ordinal is None:
            return [Damage(0, len(data), False, -1)]
    for found in scan(data, segment.first_ordinal, end):
        if isinstance(found, Damage):
            holes.append(found)
            continue
        segment.note(found)
        segment.size_bytes = found.end
        segment.end_ordinal = found.first_ordinal + found.rows
    return holes


def set_aside(path: Path) -> str:
    """Keep a damaged segment under another name, where nobody reads it; returns the name."""
    damaged = path.with_suffix(".damaged")
    path.rename(damaged)  # a number is never used twice, so nothing lies there
    return damaged.name


def note_clean_end(directory: Path, last_segment: int, next_ordinal: int) -> None:
    """Note where numbering goes on, so that rows missing from the last segment can be counted."""
    fresh = directory / f"{CLOSED_FILE}.new"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        write_all(fd, [msgspec.json.encode(_Closed(last_segment, next_ordinal))], 0)
        os.fsync(fd)
    finally:
        os.close(fd)
    fresh.rename(directory / CLOSED_FILE)


def forget_clean_end(directory: Path) -> None:
    """From now on the end is not clean."""
    (directory / CLOSED_FILE).unlink(missing_ok=True)


def write_all(fd: int, parts: Sequence[bytes], offset: int) -> None:
    """Write every byte at ``offset``; a short write goes on where it stopped."""
    for first in range(0, len(parts), IOVECS_MAX):
        views = [memoryview(part) for part in parts[first : first + IOVECS_MAX]]
        while views:
            written = os.pwritev(fd, views, offset)
            offset += written
            while views and written >= len(views[0]):
                written -= len(views[0])
                del views[0]
            if views and written:
                views[0] = views[0][written:]


def holds_rows(directory: Path) -> bool:
    """Whether a spool's folder has rows that nobody has applied, as far as its files tell (R19).

    Segments that only say where symbols stood hold none. Raises OSError.
    """
    return any(_has_rows(path) for path in directory.glob("*.seg"))


def _has_rows(path: Path) -> bool:
    file = OpenFile(path, os.O_RDONLY)
    data = read_bytes(file.fd, os.fstat(file.fd).st_size, 0)
    found = next((one for one in scan(data) if isinstance(one, Damage) or one.rows), None)
    return found is not None
