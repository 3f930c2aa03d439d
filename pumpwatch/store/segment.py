"""The spool's file format, sans-IO: encode records, walk them, find damage.

A segment is a 32-byte file header and records. A record is a 32-byte header and ILP lines::

    file header    8s magic+version | u64 first ordinal | u64 created_ns | u32 crc32 | u32 zero
    record header  u32 magic | u32 crc32 | u32 payload bytes | u32 rows
                   u16 table | u16 schema version | u16 feed | u16 zero | u64 first ordinal

All integers are little-endian. A record's crc covers its header behind the crc, and the payload.
Ordinals number rows over the whole life of a spool, so that lost rows can be counted exactly.
Records of POSITIONS_TABLE have no rows: they tell where each symbol stood (spool_positions.py).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import msgspec

from pumpwatch.errors import SpoolError

MIB = 1024 * 1024
SEGMENT_BYTES_MAX = 64 * MIB  # a restart reads at most the unreleased ones; a release frees one
PAYLOAD_BYTES_MAX = 16 * MIB  # larger lengths in a header are damage, not data
FORMAT_VERSION = 1
POSITIONS_TABLE = 100  # no table of the database; among schema.TABLES the number is never used

_FILE = struct.Struct("<8sQQII")
_RECORD = struct.Struct("<IIIIHHHHQ")
_FILE_MAGIC = b"PWSPOOL"
_RECORD_MAGIC = 0x31525750  # "PWR1" as it lies in the file
_RECORD_MAGIC_BYTES = b"PWR1"
FILE_HEADER_BYTES = _FILE.size
RECORD_HEADER_BYTES = _RECORD.size
assert FILE_HEADER_BYTES == 32
assert RECORD_HEADER_BYTES == 32


class RecordRef(msgspec.Struct, frozen=True):
    """Where a record lies in its segment, and what its header says."""

    offset: int
    payload_bytes: int
    rows: int
    table: int
    schema: int
    feed: int
    first_ordinal: int

    @property
    def payload_offset(self) -> int:
        """Where the ILP lines begin."""
        return self.offset + RECORD_HEADER_BYTES

    @property
    def end(self) -> int:
        """Where the next record begins."""
        return self.offset + RECORD_HEADER_BYTES + self.payload_bytes


class Damage(msgspec.Struct, frozen=True):
    """Bytes of a segment that are no record: ``[offset, end)``, and the rows that lay there.

    ``is_tail`` = a write that a crash cut short, of which nobody was told. ``rows`` is -1 where
    neither a later record nor the next segment says how many rows are missing.
    """

    offset: int
    end: int
    is_tail: bool
    rows: int


def encode_file_header(first_ordinal: int, created_ns: int) -> bytes:
    """The first 32 bytes of a segment."""
    magic = _FILE_MAGIC + bytes([FORMAT_VERSION])
    crc = zlib.crc32(_FILE.pack(magic, first_ordinal, created_ns, 0, 0))
    return _FILE.pack(magic, first_ordinal, created_ns, crc, 0)


def decode_file_header(data: bytes, name: str) -> int:
    """The segment's first ordinal.

    Raises SpoolError for another format version; ValueError for damage. The header's layout and
    checksum are the same in every version, so that a flipped bit is never taken for a version.
    """
    if len(data) < FILE_HEADER_BYTES:
        raise ValueError("shorter than a segment header")
    magic, first_ordinal, created_ns, crc, _ = _FILE.unpack_from(data)
    if magic[:7] != _FILE_MAGIC:
        raise ValueError("no segment magic")
    if crc != zlib.crc32(_FILE.pack(magic, first_ordinal, created_ns, 0, 0)):
        raise ValueError("segment header checksum")
    if magic[7] != FORMAT_VERSION:
        raise SpoolError(
            f"spool segment {name} has format {magic[7]}, this version reads {FORMAT_VERSION}:"
            " start the pumpwatch version that wrote it and let it drain first"
        )
    return int(first_ordinal)


def created_ns(data: bytes) -> int:
    """When the segment was begun, by our clock; 0 where its header is damaged."""
    try:
        decode_file_header(data, "")
    except (ValueError, SpoolError):
        return 0
    return int(_FILE.unpack_from(data)[2])


def encode_record_header(
    payload: bytes, rows: int, table: int, schema: int, feed: int, first_ordinal: int
) -> bytes:
    """The 32 bytes that go before ``payload``."""
    assert (rows > 0) != (table == POSITIONS_TABLE)
    assert 0 < len(payload) <= PAYLOAD_BYTES_MAX
    head = _RECORD.pack(_RECORD_MAGIC, 0, len(payload), rows, table, schema, feed, 0, first_ordinal)
    crc = zlib.crc32(payload, zlib.crc32(head[8:]))
    return head[:4] + crc.to_bytes(4, "little") + head[8:]


def record_at(view: memoryview, offset: int) -> RecordRef | None:
    """The whole, sound record at ``offset`` of ``view``; None where there is none."""
    start = offset + RECORD_HEADER_BYTES
    if start > len(view):
        return None
    magic, crc, size, rows, table, schema, feed, zero, ordinal = _RECORD.unpack_from(view, offset)
    if magic != _RECORD_MAGIC or zero or not 0 < size <= PAYLOAD_BYTES_MAX:
        return None
    if (rows > 0) == (table == POSITIONS_TABLE):
        return None
    if start + size > len(view):
        return None
    if zlib.crc32(view[start : start + size], zlib.crc32(view[offset + 8 : start])) != crc:
        return None
    return RecordRef(offset, size, rows, table, schema, feed, ordinal)


def table_told(lost: bytes) -> int | None:
    """The table that a damaged place names, where it begins as one record of its length does."""
    if len(lost) < RECORD_HEADER_BYTES:
        return None
    magic, _, size, _, table, *_ = _RECORD.unpack_from(lost)
    is_record = magic == _RECORD_MAGIC and size == len(lost) - RECORD_HEADER_BYTES
    return int(table) if is_record else None


def is_cut_off(view: memoryview, offset: int) -> bool:
    """True when a record begins at ``offset`` and ``view`` ends before it does, as far as seen."""
    start = offset + RECORD_HEADER_BYTES
    if start > len(view):
        return True
    magic, _, size, *_ = _RECORD.unpack_from(view, offset)
    return bool(magic == _RECORD_MAGIC and size <= PAYLOAD_BYTES_MAX and start + size > len(view))


def scan(
    data: bytes, first_ordinal: int | None = None, end_ordinal: int | None = None
) -> Iterator[RecordRef | Damage]:
    """Every sound record of a segment, in order, and the damage between them.

    Damage is skipped to the next sound record: neighbours are kept. Its rows follow from the
    ordinals on both sides: ``first_ordinal`` is what the segment begins with, ``end_ordinal`` what
    comes behind it (None: not known). Rows that are missing without a trace, because the file was
    cut between two records, are damage of no bytes.
    """
    view = memoryview(data)
    offset, expected = FILE_HEADER_BYTES, first_ordinal
    while True:
        found = record_at(view, offset)
        if found is None or found.first_ordinal != (expected or found.first_ordinal):
            found = _next_sound(data, view, offset, expected or 0)
        if found is None:
            break
        if found.offset > offset or found.first_ordinal > (expected or 0) > 0:
            lost = -1 if expected is None else found.first_ordinal - expected
            yield Damage(offset, found.offset, False, lost)
        yield found
        expected = found.first_ordinal + found.rows
        offset = found.end
    lost = -1 if end_ordinal is None or expected is None else max(0, end_ordinal - expected)
    if offset < len(data) or lost > 0:
        # Without rows missing, what is left is a write that was cut short and never counted.
        is_tail = lost == 0 or end_ordinal is None
        yield Damage(min(offset, len(data)), len(data), is_tail, lost)


def _next_sound(data: bytes, view: memoryview, offset: int, ordinal_min: int) -> RecordRef | None:
    """The next record from ``offset`` on; one with an older ordinal is a leftover, not a record."""
    while (offset := data.find(_RECORD_MAGIC_BYTES, offset)) >= 0:
        ref = record_at(view, offset)
        if ref is not None and ref.first_ordinal >= ordinal_min:
            return ref
        offset += 1
    return None
