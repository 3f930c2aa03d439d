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

from pumpwatch.errors import SpoolError
from pumpwatch.model import Record
from pumpwatch.store.segment import FILE_HEADER_BYTES, MIB
from pumpwatch.store.spool import Spool, run_spool
from pumpwatch.store.spool_files import START, SpoolFiles
from tests.store.records import (
    TRADES,
    BadWrites,
    SetClock,
    contents,
    held,
    kill,
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


# --- a disk that stands still ---------------------------------------------------------------------

ROWS_PER_S = 20_000
ROW_BYTES = 230
APPENDS_PER_S = 20
BUFFER_BYTES_MAX = 64 * MIB  # the default of spool.buffer_max_mib


class Stall:
    """Steps on worker threads that match wait until the disk goes on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.over = trio.Event()
        self._name = name
        monkeypatch.setattr(trio.to_thread, "run_sync", self.run_sync)

    async def run_sync(self, step: Any, *args: Any, **_: Any) -> Any:
        await trio.lowlevel.checkpoint()
        if getattr(step, "__name__", "") == self._name:
            await self.over.wait()
        return step(*args)


async def receive(spool: Spool, seconds: float, stall: Stall, ends_s: float) -> list[float]:
    """Append as sockets bring it, as long as there is room; returns when there was none."""
    begun_s, paused_s = trio.current_time(), list[float]()
    rows = ROWS_PER_S // APPENDS_PER_S
    payload = lines_of(TRADES, [1])[0].ljust(ROW_BYTES * rows, b" ")
    while (now_s := trio.current_time() - begun_s) < seconds:
        if now_s >= ends_s:
            stall.over.set()
        if spool.has_room():
            spool.append(Record(table=TRADES, feed=1, rows=rows, payload=payload))
        else:
            paused_s.append(now_s)
        assert spool.buffered_bytes < BUFFER_BYTES_MAX + len(payload)  # memory is bounded
        await trio.sleep(1 / APPENDS_PER_S)
    return paused_s


@pytest.mark.parametrize(("stall_s", "is_paused"), [(10.0, False), (30.0, True)])
async def test_a_disk_that_stands_still_for_ten_seconds_pauses_no_socket(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stall_s: float,
    is_paused: bool,
    autojump_clock: MockClock,
) -> None:
    """And after 30 s they have been paused, and nothing is lost (what R9 makes of that is its)."""
    spool = new_spool(tmp_path, buffer_bytes_max=BUFFER_BYTES_MAX)
    async with trio.open_nursery() as nursery:
        await nursery.start(run_spool, spool, {})
        stall = Stall(monkeypatch, "_write_blocking")
        paused_s = await receive(spool, stall_s + 2, stall, stall_s)
        assert bool(paused_s) is is_paused
        assert all(10 < at_s < stall_s + 0.5 for at_s in paused_s)
        await spool.written()
        refused = len(paused_s) * ROWS_PER_S // APPENDS_PER_S
        assert spool.spooled_by_feed[1] == int((stall_s + 2) * ROWS_PER_S) - refused
        nursery.cancel_scope.cancel()


async def test_an_fsync_that_stands_still_stops_no_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    spool = new_spool(tmp_path, buffer_bytes_max=BUFFER_BYTES_MAX)
    async with trio.open_nursery() as nursery:
        await nursery.start(run_spool, spool, {})
        stall = Stall(monkeypatch, "fsync")
        assert await receive(spool, 30, stall, 29) == []
        assert spool.buffered_bytes == 0
        await trio.sleep(2)
        assert spool.files.active.synced_bytes == spool.files.active.size_bytes
        nursery.cancel_scope.cancel()


# --- the world around it --------------------------------------------------------------------------


@pytest.mark.usefixtures("small_segments")
async def test_a_clock_that_is_set_back_changes_no_order(tmp_path: Path) -> None:
    clock = SetClock()
    for serial in range(0, 50, 10):
        spool = new_spool(tmp_path)
        spool._clock = spool.files._clock = clock
        await spool.open()
        write(spool, record(range(serial, serial + 10), received_ns=clock.now_ns))
        clock.now_ns -= 3_600_000_000_000
        assert spool.lags.sum_s == 0.0  # no lag is counted as less than none
        kill(spool)
    spool = await opened(tmp_path)
    assert held(spool) == lines_of(TRADES, range(50))
    assert spool.damage == []


@pytest.mark.parametrize("name", ["lock", "000000000001.seg"])
async def test_a_file_of_another_owner_is_one_clear_line_and_nothing_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    spool = await opened(tmp_path)
    write(spool, record([1]))
    kill(spool)
    before = contents(tmp_path)
    real = os.open

    def refuse(path: Any, *args: Any) -> int:
        if Path(path).name == name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, *args)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(SpoolError, match=rf"Permission denied \(.*{name}\): .*owner"):
            await opened(tmp_path)
    assert contents(tmp_path) == before
    assert held(await opened(tmp_path)) == lines_of(TRADES, [1])
