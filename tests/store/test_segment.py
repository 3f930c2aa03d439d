"""The spool's file format: what any damage costs is known exactly, and its neighbours are kept."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pumpwatch.errors import SpoolError
from pumpwatch.store.segment import (
    FILE_HEADER_BYTES,
    FORMAT_VERSION,
    PAYLOAD_BYTES_MAX,
    POSITIONS_TABLE,
    RECORD_HEADER_BYTES,
    Damage,
    RecordRef,
    decode_file_header,
    encode_file_header,
    encode_record_header,
    is_cut_off,
    record_at,
    scan,
)
from tests.store.records import WALL_NS, header_of_version

CREATED_NS = 1_790_000_000_000_000_000
VERSION_AT = 7  # behind the seven letters


@dataclass(frozen=True)
class Written:
    """A segment's bytes and the records that were put into it."""

    data: bytes
    first_ordinal: int
    refs: tuple[RecordRef, ...]

    @property
    def end_ordinal(self) -> int:
        return self.first_ordinal + sum(ref.rows for ref in self.refs)

    def payload(self, ref: RecordRef, data: bytes | None = None) -> bytes:
        return (data or self.data)[ref.payload_offset : ref.end]

    def payloads(self, skip: RecordRef | None = None) -> list[bytes]:
        return [self.payload(ref) for ref in self.refs if ref is not skip]

    def ref_at(self, offset: int) -> RecordRef:
        return next(ref for ref in self.refs if ref.offset <= offset < ref.end)


def segment_of(first_ordinal: int, records: list[tuple[bytes, int, int, int, int]]) -> Written:
    data = encode_file_header(first_ordinal, CREATED_NS)
    refs = []
    ordinal = first_ordinal
    for payload, some, table, schema, feed in records:
        rows = 0 if table == POSITIONS_TABLE else some
        refs.append(RecordRef(len(data), len(payload), rows, table, schema, feed, ordinal))
        data += encode_record_header(payload, rows, table, schema, feed, ordinal) + payload
        ordinal += rows
    return Written(data, first_ordinal, tuple(refs))


U16 = st.integers(0, 2**16 - 1)
TABLE = U16.filter(lambda number: number != POSITIONS_TABLE)
RECORDS = st.lists(
    st.tuples(st.binary(min_size=1, max_size=60), st.integers(1, 1000), TABLE, U16, U16),
    min_size=1, max_size=8,
)  # fmt: skip
SEGMENTS = st.builds(segment_of, st.integers(1, 2**62), RECORDS)


def parts_of(
    data: bytes, first_ordinal: int | None, end_ordinal: int | None
) -> tuple[list[RecordRef], list[Damage]]:
    found = list(scan(data, first_ordinal, end_ordinal))
    return (
        [one for one in found if isinstance(one, RecordRef)],
        [one for one in found if isinstance(one, Damage)],
    )


@settings(deadline=None)
@given(SEGMENTS)
def test_what_was_written_is_read(written: Written) -> None:
    assert decode_file_header(written.data, "x") == written.first_ordinal
    refs, damage = parts_of(written.data, written.first_ordinal, written.end_ordinal)
    assert tuple(refs) == written.refs
    assert damage == []
    for ref in written.refs:
        assert record_at(memoryview(written.data), ref.offset) == ref


@settings(deadline=None)
@given(SEGMENTS, st.data())
def test_a_flipped_bit_costs_its_record_and_no_other(written: Written, data: st.DataObject) -> None:
    at = data.draw(st.integers(FILE_HEADER_BYTES, len(written.data) - 1), label="byte")
    bit = data.draw(st.integers(0, 7), label="bit")
    broken = bytearray(written.data)
    broken[at] ^= 1 << bit
    hit = written.ref_at(at)
    refs, damage = parts_of(bytes(broken), written.first_ordinal, written.end_ordinal)
    assert refs == [ref for ref in written.refs if ref is not hit]
    assert damage == [Damage(hit.offset, hit.end, False, hit.rows)]


@settings(deadline=None)
@given(SEGMENTS, st.data())
def test_a_cut_costs_what_lay_behind_it(written: Written, data: st.DataObject) -> None:
    at = data.draw(st.integers(FILE_HEADER_BYTES, len(written.data) - 1), label="cut")
    kept = [ref for ref in written.refs if ref.end <= at]
    sound_end = kept[-1].end if kept else FILE_HEADER_BYTES
    lost = sum(ref.rows for ref in written.refs) - sum(ref.rows for ref in kept)

    refs, damage = parts_of(written.data[:at], written.first_ordinal, written.end_ordinal)
    assert refs == kept
    assert damage == [Damage(sound_end, at, False, lost)]

    # Without anybody who knows what came behind, it is a write that was cut short.
    refs, damage = parts_of(written.data[:at], written.first_ordinal, None)
    assert refs == kept
    assert damage == ([Damage(sound_end, at, True, -1)] if at > sound_end else [])


@settings(deadline=None)
@given(SEGMENTS, st.binary(min_size=1, max_size=100), st.data())
@example(segment_of(1, [(b"a", 1, 1, 1, 1)]), b"PWR1" + b"\xff" * 60, None)
def test_garbage_between_records_costs_nothing(
    written: Written, garbage: bytes, data: st.DataObject | None
) -> None:
    places = [FILE_HEADER_BYTES, *(ref.end for ref in written.refs)]
    at = data.draw(st.sampled_from(places), label="place") if data else places[0]
    broken = written.data[:at] + garbage + written.data[at:]
    refs, damage = parts_of(broken, written.first_ordinal, written.end_ordinal)
    assert [written.payload(ref, broken) for ref in refs] == written.payloads()
    assert damage == [Damage(at, at + len(garbage), at == len(written.data), 0)]


@settings(deadline=None)
@given(SEGMENTS, st.binary(min_size=1, max_size=100), st.data())
def test_garbage_inside_a_record_costs_that_record(
    written: Written, garbage: bytes, data: st.DataObject
) -> None:
    hit = data.draw(st.sampled_from(written.refs), label="record")
    at = data.draw(st.integers(hit.offset + 1, hit.end - 1), label="place")
    broken = written.data[:at] + garbage + written.data[at:]
    refs, damage = parts_of(broken, written.first_ordinal, written.end_ordinal)
    if len(refs) < len(written.refs):
        assert [written.payload(ref, broken) for ref in refs] == written.payloads(skip=hit)
        assert damage == [Damage(hit.offset, hit.end + len(garbage), False, hit.rows)]
    else:  # the inserted bytes repeat what they push away: the record is whole, garbage follows it
        assert [written.payload(ref, broken) for ref in refs] == written.payloads()


@settings(deadline=None)
@given(SEGMENTS, st.lists(st.tuples(st.integers(0, 2**16), st.binary(max_size=40)), max_size=6))
def test_rows_found_and_rows_lost_are_all_rows(
    written: Written, edits: list[tuple[int, bytes]]
) -> None:
    """Whatever is overwritten, wherever."""
    broken = bytearray(written.data)
    for place, text in edits:
        at = FILE_HEADER_BYTES + place % (len(broken) - FILE_HEADER_BYTES)
        broken[at : at + len(text)] = text[: len(broken) - at]
    refs, damage = parts_of(bytes(broken), written.first_ordinal, written.end_ordinal)
    assert set(refs) <= set(written.refs)
    assert [written.payload(ref, bytes(broken)) for ref in refs] == list(map(written.payload, refs))
    total = written.end_ordinal - written.first_ordinal
    assert sum(ref.rows for ref in refs) + sum(hole.rows for hole in damage) == total


@settings(deadline=None)
@given(SEGMENTS, st.data())
def test_a_record_that_somebody_cut_out_is_missed(written: Written, data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(written.refs))
    broken = written.data[: gone.offset] + written.data[gone.end :]
    refs, damage = parts_of(broken, written.first_ordinal, written.end_ordinal)
    assert [written.payload(ref, broken) for ref in refs] == written.payloads(skip=gone)
    assert damage == [Damage(gone.offset, gone.offset, False, gone.rows)]


@settings(deadline=None)
@given(SEGMENTS, st.data())
def test_a_record_that_lies_there_twice_is_read_once(written: Written, data: st.DataObject) -> None:
    copied = data.draw(st.sampled_from(written.refs))
    behind = data.draw(st.sampled_from([ref for ref in written.refs if ref.end >= copied.end]))
    copy = written.data[copied.offset : copied.end]
    broken = written.data[: behind.end] + copy + written.data[behind.end :]
    refs, damage = parts_of(broken, written.first_ordinal, written.end_ordinal)
    assert [written.payload(ref, broken) for ref in refs] == written.payloads()
    assert [(hole.end - hole.offset, hole.rows) for hole in damage] == [(len(copy), 0)]


@settings(deadline=None)
@given(SEGMENTS, st.data())
def test_without_a_header_the_rows_in_front_of_the_first_record_are_unknown(
    written: Written, data: st.DataObject
) -> None:
    number = data.draw(st.integers(0, len(written.refs) - 1))
    hit = written.refs[number]
    broken = bytearray(written.data)
    broken[hit.offset] ^= 1
    refs, damage = parts_of(bytes(broken), None, written.end_ordinal)
    assert refs == [ref for ref in written.refs if ref is not hit]
    lost = hit.rows if number else -1
    if refs:
        assert damage == [Damage(hit.offset, hit.end, False, lost)]


# --- the segment's own header -------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(1, 2**63), st.integers(0, 8 * (FILE_HEADER_BYTES - 4) - 1))
def test_a_flipped_bit_in_the_segments_header_is_damage_and_never_a_version(
    first_ordinal: int, bit: int
) -> None:
    data = bytearray(encode_file_header(first_ordinal, CREATED_NS))
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ValueError, match=r"magic|checksum"):
        decode_file_header(bytes(data), "x.seg")


@pytest.mark.parametrize("size", range(FILE_HEADER_BYTES))
def test_a_short_header_is_damage(size: int) -> None:
    with pytest.raises(ValueError, match="shorter"):
        decode_file_header(encode_file_header(1, CREATED_NS)[:size], "x.seg")


def test_another_format_version_is_refused_and_says_what_to_do() -> None:
    assert header_of_version(FORMAT_VERSION) == encode_file_header(7, WALL_NS)
    with pytest.raises(SpoolError, match=r"x\.seg has format 2, .* reads 1: start the pumpwatch"):
        decode_file_header(header_of_version(FORMAT_VERSION + 1), "x.seg")


# --- one record ---------------------------------------------------------------------------------


def test_a_record_that_ends_behind_the_view_is_cut_off() -> None:
    written = segment_of(1, [(b"payload", 1, 1, 1, 1)])
    ref = written.refs[0]
    for end in range(ref.offset, ref.end):
        view = memoryview(written.data)[:end]
        assert record_at(view, ref.offset) is None
        assert is_cut_off(view, ref.offset)
    assert not is_cut_off(memoryview(written.data), ref.offset)
    assert not is_cut_off(memoryview(b"x" * RECORD_HEADER_BYTES), 0)


def test_a_length_beyond_the_limit_is_damage_even_with_a_good_checksum() -> None:
    fields = struct.pack("<IIHHHHQ", PAYLOAD_BYTES_MAX + 1, 1, 1, 1, 1, 0, 1)
    record = b"PWR1" + struct.pack("<I", zlib.crc32(fields)) + fields
    assert record_at(memoryview(record), 0) is None
    assert not is_cut_off(memoryview(record), 0)


def test_only_a_bug_makes_a_record_without_rows_or_text() -> None:
    with pytest.raises(AssertionError):
        encode_record_header(b"x", 0, 1, 1, 1, 1)
    with pytest.raises(AssertionError):
        encode_record_header(b"", 1, 1, 1, 1, 1)


def test_a_damaged_record_of_positions_costs_no_rows() -> None:
    written = segment_of(7, [(b"rows", 3, 1, 1, 1), (b"where", 0, POSITIONS_TABLE, 1, 0),
                             (b"more", 2, 1, 1, 1)])  # fmt: skip
    first, positions, last = written.refs
    assert (positions.rows, last.first_ordinal) == (0, 10)
    data = bytearray(written.data)
    data[positions.payload_offset] ^= 1
    assert list(scan(bytes(data), 7, 12)) == [
        first, Damage(positions.offset, positions.end, False, 0), last,
    ]  # fmt: skip
    assert list(scan(written.data[: positions.end], 7, 12))[-1].rows == 2


@pytest.mark.parametrize(("rows", "table"), [(0, 1), (1, POSITIONS_TABLE)])
def test_only_positions_have_no_rows(rows: int, table: int) -> None:
    with pytest.raises(AssertionError):
        encode_record_header(b"x", rows, table, 1, 0, 1)
