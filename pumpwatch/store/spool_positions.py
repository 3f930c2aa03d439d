"""Where every symbol stood when its last record was written (R3): kept in the spool itself.

Every segment begins with all positions and alive notes; they are derived from nothing but records
that lie in the spool already. A start takes the newest sound set and the records behind it, never
the database's ``max(id)``: that would jump over what was received and not spooled.

An alive note (kind 2) says until when all open connections of a feed are known to have been read::

    u8 kind | u8 version | u16 notes | per note: u8 feed, i64 ns of our clock
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterable, Mapping, Sequence

import structlog

from pumpwatch._fast.positions import SpoolPositions
from pumpwatch.model import Record
from pumpwatch.store.segment import POSITIONS_TABLE, RECORD_HEADER_BYTES, Damage, RecordRef, scan
from pumpwatch.store.spool_read import BIG_TABLE, Segment, read_bytes

log = structlog.get_logger()

KIND_ALIVE = 2
VERSION = 1
_HEAD = struct.Struct("<BBH")
_NOTE = struct.Struct("<Bq")


def alive_record(alive_ns_by_feed: Mapping[int, int]) -> Record:
    """The notes as a record; at least one. Records that were appended before lie in front of it."""
    assert alive_ns_by_feed
    payload = _HEAD.pack(KIND_ALIVE, VERSION, len(alive_ns_by_feed))
    payload += b"".join(_NOTE.pack(feed, ns) for feed, ns in sorted(alive_ns_by_feed.items()))
    return Record(table=POSITIONS_TABLE, feed=0, rows=0, payload=payload)


def read_alive(payload: bytes) -> dict[int, int]:
    """Raises ValueError for what ``alive_record`` cannot have made."""
    if len(payload) < _HEAD.size:
        raise ValueError("alive note: too short")
    kind, version, count = _HEAD.unpack_from(payload)
    if kind != KIND_ALIVE or version != VERSION or len(payload) != _HEAD.size + count * _NOTE.size:
        raise ValueError(f"alive note: kind {kind} version {version}, {len(payload)} bytes")
    return dict(_NOTE.iter_unpack(payload[_HEAD.size :]))


class Standings:
    """The spool's own view of where each symbol stands; moved by what was written, in order."""

    def __init__(self, contiguous: Iterable[int]) -> None:
        """``contiguous``: numbers of the feeds whose ids count up without a gap."""
        self._contiguous = frozenset(contiguous)
        self.positions = SpoolPositions(self._contiguous)
        self.alive_ns_by_feed: dict[int, int] = {}
        self.is_lost = False  # there were some, and none could be read

    def applied(self, records: Iterable[Record]) -> None:
        """These lie in the spool now."""
        for record in records:
            if record.table == BIG_TABLE:
                self.positions.apply(record.feed, record.payload)
            elif record.table == POSITIONS_TABLE:
                self.alive_ns_by_feed.update(read_alive(record.payload))

    def records(self) -> list[Record]:
        """All of it, to begin a segment with; none where nothing is known."""
        found = []
        if len(self.positions):
            found = [
                Record(table=POSITIONS_TABLE, feed=0, rows=0, payload=payload)
                for payload in self.positions.encode()
            ]
        if self.alive_ns_by_feed:
            found.append(alive_record(self.alive_ns_by_feed))
        return found

    def copy(self) -> Standings:
        """As it stands now. The original is moved by the thread that writes."""
        one = Standings(self._contiguous)
        for payload in self.positions.encode() if len(self.positions) else ():
            one.positions.load(payload)
        one.alive_ns_by_feed = dict(self.alive_ns_by_feed)
        one.is_lost = self.is_lost
        return one

    def recover(self, segments: Sequence[Segment]) -> None:
        """Stand where the records of these segments, oldest first, end."""
        for first in range(len(segments) - 1, -1, -1):
            base = self._base_of(segments[first])
            if base is not None:
                break
        else:
            first, base = 0, None
            # A spool's first segment begins with no set: it has alive notes only.
            self.is_lost = any(
                not _payload(segment, ref).startswith(bytes([KIND_ALIVE]))
                for segment in segments
                for ref in segment.positions
            )
            if self.is_lost:
                log.error("spool_positions_lost",
                          message="where each symbol stood cannot be read")  # fmt: skip
        for segment in segments[first:]:
            self._follow(segment, RECORD_HEADER_BYTES if base is None else base)
            base = None

    def _base_of(self, segment: Segment) -> int | None:
        """Load the set that the segment begins with; where it ends, None where it is not whole."""
        fresh = SpoolPositions(self._contiguous)
        end = None
        for ref in segment.positions:
            payload = _payload(segment, ref)
            with contextlib.suppress(ValueError):
                fresh.load(payload)
                end = ref.end
                if fresh.is_whole:
                    self.positions = fresh
                    return end
        return None

    def _follow(self, segment: Segment, offset: int) -> None:
        """Apply every record from ``offset`` on."""
        data = read_bytes(segment.fd, os.fstat(segment.fd).st_size, 0)
        for ref in scan(data, segment.first_ordinal):
            if isinstance(ref, Damage) or ref.offset < offset:
                continue
            payload = data[ref.payload_offset : ref.end]
            if ref.table == BIG_TABLE:
                self.positions.apply(ref.feed, payload)
            elif ref.table == POSITIONS_TABLE:
                with contextlib.suppress(ValueError):  # a set of positions is no note
                    self.alive_ns_by_feed.update(read_alive(payload))


def _payload(segment: Segment, ref: RecordRef) -> bytes:
    return read_bytes(segment.fd, ref.payload_bytes, ref.payload_offset)
