"""A disk that refuses writes or syncs: nothing lost, nothing twice."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from pumpwatch.model import Record
from pumpwatch.store.segment import FILE_HEADER_BYTES
from pumpwatch.store.spool import run_spool
from pumpwatch.store.spool_files import START, SpoolFiles
from tests.store.records import (
    TRADES,
    BadWrites,
    SetClock,
    held,
    lines_of,
    new_spool,
    opened,
    read_all,
    record,
    records_in,
    segment_names,
    write,
)

pytestmark = pytest.mark.usefixtures("inline_threads")


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
async def test_refused_writes_lose_nothing_and_double_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, autojump_clock: MockClock
) -> None:
    spool = new_spool(tmp_path)
    states = []
    async with trio.open_nursery() as nursery:
        await nursery.start(run_spool, spool, {})
        spool.append(record([1]))
        await spool.written()
        bad = BadWrites(7, error)
        monkeypatch.setattr(os, "pwritev", bad)
        for serial in (2, 3, 4):
            spool.append(record([serial]))
            await trio.sleep(0.1)
            states.append(spool.state)
            assert held(spool) == lines_of(TRADES, [1])
            assert spool.spooled_by_feed == {1: 1}
        await spool.written()
        assert (bad.failures, spool.state) == (0, "open")
        assert await read_all(spool) == lines_of(TRADES, [1, 2, 3, 4])
        nursery.cancel_scope.cancel()
    assert states == ["failing"] * 3
    spool = await opened(tmp_path)
    assert spool.damage == []
    assert held(spool) == lines_of(TRADES, [1, 2, 3, 4])


async def test_a_short_write_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = await opened(tmp_path)
    real = os.pwritev

    def pwritev(fd: int, buffers: Sequence[Any], offset: int) -> int:
        return real(fd, [memoryview(b"".join(bytes(one) for one in buffers))[:7]], offset)

    monkeypatch.setattr(os, "pwritev", pwritev)
    write(spool, record([1, 2]), record([3]))
    assert await read_all(spool) == lines_of(TRADES, [1, 2, 3])


async def test_a_disk_that_refuses_a_new_segment_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_segments: None
) -> None:
    spool = await opened(tmp_path)
    write(spool, record(range(10)))
    monkeypatch.setattr(os, "pwritev", BadWrites(1))
    spool.append(record(range(10, 20)))
    assert spool.write_now() == 10
    assert segment_names(tmp_path) == ["000000000001.seg"]
    assert spool.write_now() == 0
    assert held(spool) == lines_of(TRADES, range(20))
    assert segment_names(tmp_path) == ["000000000001.seg", "000000000002.seg"]


def fail_fsync(monkeypatch: pytest.MonkeyPatch, failures: int) -> list[int]:
    left = [failures]
    real = os.fsync

    def fsync(fd: int) -> None:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.EIO, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    return left


async def test_with_fsync_at_every_flush_nothing_is_spooled_before_it_is_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    spool = new_spool(tmp_path, fsync_s=0)
    async with trio.open_nursery() as nursery:
        await nursery.start(run_spool, spool, {})
        left = fail_fsync(monkeypatch, 20)
        spool.append(record([1]))
        await trio.sleep(1)
        assert (spool.state, spool.spooled_by_feed) == ("failing", {})
        assert not spool.has_rows(TRADES, START)
        await spool.written()
        assert left == [0]
        assert await read_all(spool) == lines_of(TRADES, [1])  # written once, not at every try
        assert spool.files.active.synced_bytes == spool.files.active.size_bytes
        nursery.cancel_scope.cancel()


async def test_what_a_failed_fsync_may_have_dropped_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed fsync the kernel takes the pages for clean: another fsync is no help."""
    spool = await opened(tmp_path)
    write(spool, record([1]))
    spool.files.fsync()
    safe = spool.files.active.synced_bytes
    write(spool, record([2]))
    fail_fsync(monkeypatch, 1)
    with pytest.raises(OSError, match="Input/output"):
        spool.files.fsync()
    assert spool.files.active.synced_bytes == safe
    written: list[tuple[int, bytes]] = []
    real = os.pwritev

    def pwritev(fd: int, buffers: Sequence[Any], offset: int) -> int:
        written.append((offset, b"".join(bytes(buffer) for buffer in buffers)))
        return real(fd, buffers, offset)

    monkeypatch.setattr(os, "pwritev", pwritev)
    spool.files.fsync()
    data = spool.files.active.path.read_bytes()
    assert written == [(safe, data[safe:])]
    assert spool.files.active.synced_bytes == len(data)


async def test_a_segment_made_during_a_folders_fsync_gets_one_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut could leave its rows on the disk in a file without a name."""
    spool = await opened(tmp_path)
    spool.files.roll()
    real = os.fsync
    folder_syncs: list[list[str]] = []

    def fsync(fd: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            folder_syncs.append(segment_names(tmp_path))
            if len(folder_syncs) == 1:
                real(fd)
                spool.files.roll()  # another thread, in the meantime
                return
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    spool.files.fsync()
    spool.files.fsync()
    assert folder_syncs[-1] == segment_names(tmp_path)
    assert len(segment_names(tmp_path)) == 3


async def test_the_fsync_task_goes_on_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    spool = new_spool(tmp_path, fsync_s=1.0)
    async with trio.open_nursery() as nursery:
        await nursery.start(run_spool, spool, {})
        left = fail_fsync(monkeypatch, 2)
        spool.append(record([1]))
        await spool.written()  # does not wait for the fsync
        assert spool.files.active.synced_bytes < spool.files.active.size_bytes
        await trio.sleep(5)
        assert left == [0]
        assert spool.files.active.synced_bytes == spool.files.active.size_bytes
        nursery.cancel_scope.cancel()


def test_a_write_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = SpoolFiles(tmp_path, SetClock(), schema_version=1)
    files.open()
    records: list[Record] = [record([1]), record([2])]
    monkeypatch.setattr(os, "pwritev", BadWrites(1))
    with pytest.raises(OSError, match="No space"):
        files.write(records)
    assert files.active.path.stat().st_size == FILE_HEADER_BYTES
    assert files.next_ordinal == 1
    ends = files.write(records)
    assert [ref.end for ref in records_in(files.active.path)] == [end.offset for end in ends]
    files.close(is_empty=False)
