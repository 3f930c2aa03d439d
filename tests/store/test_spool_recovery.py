"""What a start finds, and damage at any time: neighbours are kept, losses are counted."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pumpwatch.errors import SpoolError
from pumpwatch.store.segment import FILE_HEADER_BYTES, FORMAT_VERSION, MIB, Damage
from pumpwatch.store.spool_files import START
from tests.store.records import (
    GAPS,
    TRADES,
    contents,
    flip,
    header_of_version,
    held,
    kill,
    lines_of,
    opened,
    read_all,
    record,
    records_in,
    reopened,
    segment_names,
    write,
)

pytestmark = pytest.mark.usefixtures("inline_threads")


async def test_a_restart_replays_what_was_not_released(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    write(spool, record([1, 2], feed=1), record([3], feed=2), record([4], GAPS))
    spool = await reopened(spool)
    assert spool.recovery is not None
    assert spool.recovery.rows_by_feed == {1: 2, 2: 1}
    assert (spool.recovery.rows, spool.recovery.damage, spool.damage) == (3, [], [])
    write(spool, record([5], feed=1))
    assert await read_all(spool) == [
        *lines_of(TRADES, [1, 2]), *lines_of(TRADES, [3], 2), *lines_of(TRADES, [5]),
    ]  # fmt: skip
    assert await read_all(spool, GAPS) == lines_of(GAPS, [4], 0)
    assert spool.spooled_by_feed == {1: 1}


async def test_restarts_without_rows_leave_no_files_behind(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    write(spool, record([1]))
    for _ in range(3):
        spool = await reopened(spool)
        assert spool.damage == []
    assert segment_names(tmp_path) == ["000000000001.seg", "000000000004.seg"]


async def test_a_torn_tail_costs_only_the_write_that_nobody_was_told_of(tmp_path: Path) -> None:
    spool = await opened(tmp_path / "whole")
    write(spool, record([1, 2]))
    sound = spool.files.active.size_bytes
    write(spool, record([3]))
    whole = spool.files.active.path.read_bytes()
    kill(spool)
    for end in range(sound, len(whole)):
        folder = tmp_path / str(end)
        folder.mkdir()
        (folder / "000000000001.seg").write_bytes(whole[:end])
        torn = await opened(folder)
        assert held(torn) == lines_of(TRADES, [1, 2])
        tail = [("000000000001.seg", Damage(sound, end, True, -1))]
        assert torn.damage == (tail if end > sound else [])
        write(torn, record([4]))
        torn = await reopened(torn)  # now the next segment says that nothing is missing
        assert held(torn) == lines_of(TRADES, [1, 2, 4])
        assert [(hole.is_tail, hole.rows) for _, hole in torn.damage] == [(True, 0)] * (end > sound)
        kill(torn)


@pytest.mark.parametrize("size", [0, 1, FILE_HEADER_BYTES - 1, FILE_HEADER_BYTES])
async def test_a_segment_that_a_kill_cut_while_it_was_made_is_no_damage(
    tmp_path: Path, size: int
) -> None:
    spool = await opened(tmp_path)
    write(spool, record([1]))
    kill(spool)
    header = (tmp_path / "000000000001.seg").read_bytes()[:size]
    (tmp_path / "000000000002.seg").write_bytes(header)
    spool = await opened(tmp_path)
    assert spool.damage == []
    assert segment_names(tmp_path) == ["000000000001.seg", "000000000003.seg"]
    assert held(spool) == lines_of(TRADES, [1])


async def test_rows_missing_from_the_end_after_a_clean_one_are_counted(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    write(spool, record([1]), record([2, 3, 4]))
    await spool.seal({})
    path = tmp_path / "000000000001.seg"
    first, last = records_in(path)
    os.truncate(path, last.offset)
    spool = await opened(tmp_path)
    assert spool.damage == [(path.name, Damage(first.end, first.end, False, 3))]
    assert held(spool) == lines_of(TRADES, [1])
    write(spool, record([5]))
    assert records_in(spool.files.active.path)[0].first_ordinal == 5  # ordinals are never reused


@pytest.mark.usefixtures("small_segments")
async def test_a_segment_that_is_gone_is_missed_with_its_rows(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    for serial in range(0, 40, 10):
        write(spool, record(range(serial, serial + 10)))
    assert len(segment_names(tmp_path)) == 4
    kill(spool)
    (tmp_path / "000000000002.seg").unlink()
    (tmp_path / "000000000003.seg").unlink()
    spool = await opened(tmp_path)
    assert spool.damage == [("000000000002.seg", Damage(0, 0, False, 20))]
    assert held(spool) == lines_of(TRADES, [*range(10), *range(30, 40)])


async def test_a_first_segment_that_was_cut_inside_its_header_is_told_of(tmp_path: Path) -> None:
    """Nobody knows how many rows it held: that is said, and the file is kept."""
    spool = await opened(tmp_path)
    write(spool, record([1]))
    spool.files.roll()
    write(spool, record([2]))
    kill(spool)
    os.truncate(tmp_path / "000000000001.seg", 4)
    spool = await opened(tmp_path)
    assert spool.damage == [("000000000001.seg", Damage(0, 4, False, -1))]
    assert segment_names(tmp_path)[0] == "000000000001.damaged"
    assert held(spool) == lines_of(TRADES, [2])


@pytest.mark.usefixtures("small_segments")
async def test_the_last_segments_of_a_clean_end_are_missed_too(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    for serial in range(0, 40, 10):
        write(spool, record(range(serial, serial + 10)))
    await spool.seal({})
    (tmp_path / "000000000003.seg").unlink()
    (tmp_path / "000000000004.seg").unlink()
    spool = await opened(tmp_path)
    assert spool.damage == [("000000000003.seg", Damage(0, 0, False, 20))]
    assert held(spool) == lines_of(TRADES, range(20))


@pytest.mark.usefixtures("small_segments")
async def test_released_segments_are_not_missed(tmp_path: Path) -> None:
    """They go oldest first: a small table that holds one up holds up the ones behind it."""
    spool = await opened(tmp_path)
    write(spool, record([1], GAPS))
    for serial in range(0, 40, 10):
        write(spool, record(range(serial, serial + 10)))
    applied = {TRADES: spool.files.table_ends()[TRADES]}
    assert await spool.release(applied) == 0
    spool = await reopened(spool)
    assert spool.damage == []
    applied[GAPS] = spool.files.table_ends()[GAPS]
    assert await spool.release(applied) == 4
    spool = await reopened(spool)
    assert spool.damage == []


async def test_a_second_process_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    write(spool, record([1]))
    with pytest.raises(SpoolError, match="in use by another process"):
        await opened(tmp_path)
    write(spool, record([2]))
    assert await read_all(spool) == lines_of(TRADES, [1, 2])
    await spool.seal({})
    await opened(tmp_path)


async def test_a_future_format_is_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    write(spool, record([1]))
    kill(spool)
    torn = tmp_path / "000000000002.seg"
    torn.write_bytes(b"to be deleted if anything were")
    (tmp_path / "000000000003.seg").write_bytes(header_of_version(FORMAT_VERSION + 1))
    before = contents(tmp_path)
    with pytest.raises(SpoolError, match=r"000000000003\.seg has format 2"):
        await opened(tmp_path)
    assert contents(tmp_path) == before
    (tmp_path / "000000000003.seg").unlink()
    await opened(tmp_path)  # the lock was let go


async def test_a_folder_that_cannot_be_had_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(SpoolError, match=r"spool cannot be opened: File exists .* check the disk"):
        await opened(tmp_path / "spool")


# --- damage --------------------------------------------------------------------------------------


async def test_damage_is_met_while_running_counted_and_its_neighbours_are_kept(
    tmp_path: Path,
) -> None:
    spool = await opened(tmp_path)
    write(spool, record([1], feed=2), record([2, 3], feed=3), record([4], feed=2))
    path = spool.files.active.path
    hit = records_in(path)[1]
    flip(path, hit.payload_offset + 5)
    assert await read_all(spool) == [*lines_of(TRADES, [1], 2), *lines_of(TRADES, [4], 2)]
    assert spool.damage == [(path.name, Damage(hit.offset, hit.end, False, 2))]
    assert spool.lost_by_feed == {3: 2}
    assert await read_all(spool) == [*lines_of(TRADES, [1], 2), *lines_of(TRADES, [4], 2)]
    assert len(spool.damage) == 1  # said once

    spool.files.roll()
    await spool.release(spool.files.table_ends())
    assert spool.released_by_feed == {2: 2, 3: 0}
    assert segment_names(tmp_path) == ["000000000001.damaged", "000000000002.seg"]
    spool = await reopened(spool)
    assert spool.damage == []
    assert spool.files.active.number == 3


async def test_only_damage_behind_the_cursor_is_a_batch_without_rows(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    write(spool, record([1]), record([2], GAPS))
    path = spool.files.active.path
    for ref in records_in(path):
        flip(path, ref.payload_offset)
    for table in (TRADES, GAPS):
        batch = await spool.next_rows(table, START, 10, MIB)
        assert batch is not None
        assert (batch.rows, batch.payloads) == (0, [])
        assert batch.end == spool.files.table_ends()[table]


async def test_damage_that_a_start_finds_is_passed_over_by_readers(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    write(spool, *(record([serial]) for serial in (1, 2, 3)), record([1], GAPS), record([2], GAPS))
    path = spool.files.active.path
    refs = records_in(path)
    kill(spool)
    for number in (1, 3):
        flip(path, refs[number].payload_offset)
    spool = await opened(tmp_path)
    assert [hole.rows for _, hole in spool.damage] == [1, 1]
    assert held(spool) == lines_of(TRADES, [1, 3])
    assert held(spool, GAPS) == lines_of(GAPS, [2], 0)
    assert spool.lost_by_feed == {}  # the recovery did not count them in


async def test_a_copied_record_is_not_sent_twice(tmp_path: Path) -> None:
    """A leftover that reads well lies in what the start found to be a hole."""
    spool = await opened(tmp_path)
    write(spool, record([1]), record([2]))
    path = spool.files.active.path
    first, _ = records_in(path)
    kill(spool)
    data = path.read_bytes()
    path.write_bytes(data[: first.end] + data[first.offset : first.end] + data[first.end :])
    spool = await opened(tmp_path)
    assert held(spool) == lines_of(TRADES, [1, 2])


async def test_a_segment_without_a_sound_record_is_set_aside_at_once(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    write(spool, record([1]))
    path = spool.files.active.path
    ref = records_in(path)[0]
    kill(spool)
    flip(path, ref.payload_offset)
    data = path.read_bytes()
    spool = await opened(tmp_path)
    assert spool.recovery is not None
    assert spool.recovery.set_aside == ["000000000001.damaged"]
    assert path.with_suffix(".damaged").read_bytes() == data


async def test_a_damaged_segment_header_costs_no_row(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    write(spool, record([1]))
    spool = await reopened(spool)
    write(spool, record([2]))
    kill(spool)
    flip(tmp_path / "000000000002.seg", 9)
    spool = await opened(tmp_path)
    assert spool.damage == [("000000000002.seg", Damage(0, FILE_HEADER_BYTES, False, 0))]
    assert held(spool) == lines_of(TRADES, [1, 2])


async def test_a_sector_that_cannot_be_read_costs_the_records_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = await opened(tmp_path)
    texts = "x" * 3000
    write(spool, *(record([serial], text=texts) for serial in range(1, 6)))
    bad = range(4096, 8192)
    real = os.pread

    def pread(fd: int, size: int, offset: int) -> bytes:
        if offset < bad.stop and offset + size > bad.start:
            raise OSError(errno.EIO, "Input/output error")
        return real(fd, size, offset)

    monkeypatch.setattr(os, "pread", pread)
    refs = records_in(spool.files.active.path)
    sound = [n for n, ref in enumerate(refs, 1) if ref.end <= bad.start or ref.offset >= bad.stop]
    assert 0 < len(sound) < 5
    assert await read_all(spool) == lines_of(TRADES, sound, text=texts)
    assert sum(hole.rows for _, hole in spool.damage) == 5 - len(sound)


@pytest.mark.parametrize("table", [TRADES, GAPS])
async def test_a_record_that_reads_badly_once_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: int
) -> None:
    spool = await opened(tmp_path)
    write(spool, record([1], table), record([2], table))
    real = os.pread
    calls = 0

    def pread(fd: int, size: int, offset: int) -> bytes:
        nonlocal calls
        calls += 1
        return bytes(size) if calls == 1 else real(fd, size, offset)

    monkeypatch.setattr(os, "pread", pread)
    assert await read_all(spool, table) == lines_of(table, [1, 2], int(table == TRADES))
    assert calls > 2
    assert spool.damage == []


async def test_two_readers_that_meet_the_same_damage_count_it_once(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    write(spool, record([1, 2]), record([1], GAPS))
    path = spool.files.active.path
    for ref in records_in(path):
        flip(path, ref.payload_offset)
    await read_all(spool)
    await read_all(spool, GAPS)
    assert spool.lost_by_feed == {1: 2}
    assert sum(hole.rows for _, hole in spool.damage) == 3
