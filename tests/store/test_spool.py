"""The spool's ordinary life, its limits, and its end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from pumpwatch.errors import SpoolError
from pumpwatch.store.segment import MIB
from pumpwatch.store.spool import run_spool
from pumpwatch.store.spool_files import START, Cursor
from tests.store.records import (
    GAPS,
    QUARANTINE,
    TRADES,
    BadWrites,
    held,
    lines_of,
    new_spool,
    opened,
    read_all,
    record,
    records_in,
    reopened,
    segment_names,
    write,
)

pytestmark = pytest.mark.usefixtures("inline_threads")

SERIALS = range(1, 11)


async def test_rows_go_in_come_out_and_are_let_go(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    for serial in SERIALS:
        spool.append(record([serial]))
    assert spool.buffered_rows == 10
    assert not spool.has_rows(TRADES, START)  # what is only in memory is not shown
    assert spool.spooled_by_feed == {}
    assert spool.write_now() == 0
    assert (spool.buffered_rows, spool.spooled_by_feed) == (0, {1: 10})
    assert await read_all(spool) == lines_of(TRADES, SERIALS)

    end = spool.files.table_ends()[TRADES]
    spool.files.roll()
    assert await spool.release({TRADES: Cursor(end.segment, end.offset - 1)}) == 0
    assert await spool.release({TRADES: end}) == 1
    assert segment_names(tmp_path) == ["000000000002.seg"]
    assert spool.released_by_feed == {1: 10}
    assert spool.is_drained({TRADES: end})
    assert not spool.has_rows(TRADES, START)


async def test_a_batch_keeps_to_its_limits_and_takes_at_least_one_record(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    write(spool, *(record([serial, serial + 100], feed=serial) for serial in (1, 2, 3)))
    batch = await spool.next_rows(TRADES, START, 5, MIB)
    assert batch is not None
    assert (batch.rows, batch.feeds, batch.rows_by_feed) == (4, [1, 2], {1: 2, 2: 2})
    assert batch.is_cut
    batch = await spool.next_rows(TRADES, batch.end, 1, 1)
    assert batch is not None
    assert (batch.rows, batch.feeds, batch.is_cut) == (2, [3], False)


async def test_a_reader_waits_until_rows_of_its_table_are_there(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    spool = await opened(tmp_path)
    seen: list[float] = []

    async def reader() -> None:
        batch = await spool.next_rows(GAPS, START, 10, MIB)
        assert batch is not None
        seen.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        await trio.sleep(1)
        write(spool, record([1]))
        await trio.sleep(1)
        write(spool, record([1], GAPS))
    assert seen == [2.0]


async def test_a_waking_reader_comes_back_with_nothing(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def reader() -> None:
            assert await spool.next_rows(TRADES, START, 10, MIB) is None

        await trio.testing.wait_all_tasks_blocked()
        spool.wake_readers()


async def test_the_tasks_write_and_seal(tmp_path: Path, autojump_clock: MockClock) -> None:
    spool = new_spool(tmp_path)
    applied: dict[int, Cursor] = {}
    async with trio.open_nursery() as nursery:
        await nursery.start(run_spool, spool, applied)
        spool.append(record([1]))
        await spool.written()
        assert spool.spooled_by_feed == {1: 1}
        spool.append(record([2]))
        nursery.cancel_scope.cancel()
    assert spool.state == "closed"
    with pytest.raises(SpoolError, match="closed"):
        spool.append(record([3]))
    spool = await opened(tmp_path)
    assert spool.recovery is not None
    assert (spool.recovery.rows, spool.recovery.damage) == (2, [])
    assert await read_all(spool) == lines_of(TRADES, [1, 2])


async def test_the_tasks_also_work_with_real_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # inline_threads
    spool = new_spool(tmp_path, fsync_s=0)
    async with trio.open_nursery() as nursery:
        await nursery.start(run_spool, spool, {})
        for serial in SERIALS:
            spool.append(record([serial]))
            await trio.lowlevel.checkpoint()
        await spool.written()
        assert await read_all(spool) == lines_of(TRADES, SERIALS)
        nursery.cancel_scope.cancel()
    assert len(segment_names(tmp_path)) == 1


async def test_a_drained_spool_leaves_no_segment_and_numbers_go_on(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    write(spool, record(SERIALS))
    ordinal = spool.files.next_ordinal
    await spool.seal(spool.files.table_ends())
    assert segment_names(tmp_path) == []
    spool = await opened(tmp_path)
    assert spool.recovery is not None
    assert (spool.recovery.rows, spool.recovery.damage) == (0, [])
    assert segment_names(tmp_path) == ["000000000002.seg"]
    assert spool.files.next_ordinal == ordinal == 11


async def test_the_lag_can_be_told_from_the_records(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    write(spool, record([1, 2], received_ns=5), record([1], GAPS, received_ns=6), record([3]))
    assert [(received_ns, rows) for _, received_ns, rows in spool.visible_marks] == [(5, 2)]


async def test_a_record_carries_the_schema_version(tmp_path: Path) -> None:
    """R19."""
    spool = await opened(tmp_path, schema_version=42)
    write(spool, record([1]), record([1], GAPS))
    path = spool.files.active.path
    assert [(ref.schema, ref.table) for ref in records_in(path)] == [(42, TRADES), (42, GAPS)]


# --- limits --------------------------------------------------------------------------------------


async def test_readers_of_sockets_wait_while_the_buffer_is_full(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    spool = await opened(tmp_path, buffer_bytes_max=100)
    spool.append(record(SERIALS))
    assert not spool.has_room()
    seen: list[float] = []
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def reader() -> None:
            await spool.room()
            seen.append(trio.current_time())

        await trio.sleep(3)
        assert seen == []
        assert spool.write_now() == 0
    assert seen == [3.0]


@pytest.mark.usefixtures("small_segments")
async def test_at_the_disk_limit_nothing_is_dropped_and_it_resumes_by_itself(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    spool = new_spool(tmp_path, disk_bytes_max=2500)
    applied: dict[int, Cursor] = {}
    async with trio.open_nursery() as nursery:
        await nursery.start(run_spool, spool, applied)
        for serial in range(0, 100, 10):
            spool.append(record(range(serial, serial + 10)))
        await trio.sleep(3)
        assert spool.state == "full"
        assert spool.files.bytes_on_disk <= 2500
        waiting = spool.buffered_rows
        assert waiting + spool.spooled_by_feed[1] == 100
        assert waiting > 0
        seen: list[bytes] = []
        while len(seen) < 100:
            applied[TRADES] = spool.files.table_ends().get(TRADES, START)
            fresh = held(spool)
            assert fresh  # it goes on, without anybody's help
            seen += fresh[len(set(seen) & set(fresh)) :]
            await spool.release(applied)
            await trio.sleep(0.1)
        assert seen == lines_of(TRADES, range(100))
        assert spool.state == "open"
        nursery.cancel_scope.cancel()


async def test_at_the_disk_limit_the_written_segment_is_let_go_too(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    spool = await opened(tmp_path, disk_bytes_max=600)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(spool.write_loop)
        for serial in (0, 10, 20):
            spool.append(record(range(serial, serial + 10)))
        await trio.sleep(0.1)
        assert (spool.state, spool.buffered_rows) == ("full", 20)
        assert await spool.release(spool.files.table_ends()) == 1
        await trio.sleep(0.1)
        assert spool.buffered_rows == 10
        nursery.cancel_scope.cancel()


async def test_quarantine_is_written_above_the_disk_limit(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Writers wait for it before they pass the refused rows: else the limit would hold for ever."""
    spool = await opened(tmp_path, disk_bytes_max=500)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(spool.write_loop)
        spool.append(record(range(10)))
        spool.append(record([1], QUARANTINE))
        with trio.fail_after(1):
            await spool.quarantine_written()
        assert held(spool, QUARANTINE) == lines_of(QUARANTINE, [1], 0)
        assert (spool.state, spool.buffered_rows) == ("full", 10)
        nursery.cancel_scope.cancel()


async def test_the_end_writes_above_the_disk_limit(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    spool = new_spool(tmp_path, disk_bytes_max=500)
    async with trio.open_nursery() as nursery:
        await nursery.start(run_spool, spool, {})
        spool.append(record(range(10)))
        await trio.sleep(1)
        assert spool.state == "full"
        nursery.cancel_scope.cancel()
    assert held(await opened(tmp_path)) == lines_of(TRADES, range(10))


# --- the second signal ---------------------------------------------------------------------------


async def test_write_now_writes_all_that_is_queued_whatever_the_limit(tmp_path: Path) -> None:
    spool = await opened(tmp_path, disk_bytes_max=1, fsync_s=0)
    for serial in SERIALS:
        spool.append(record([serial]))
    assert spool.write_now() == 0
    assert spool.files.active.synced_bytes == spool.files.active.size_bytes
    assert held(await reopened(spool)) == lines_of(TRADES, SERIALS)


async def test_write_now_says_what_a_refusing_disk_left_and_can_be_called_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = await opened(tmp_path)
    spool.append(record([1, 2]))
    monkeypatch.setattr(os, "pwritev", BadWrites(1))
    assert spool.write_now() == 2
    spool.append(record([3]))
    assert spool.write_now() == 0
    assert held(await reopened(spool)) == lines_of(TRADES, [1, 2, 3])


async def test_write_now_takes_up_what_the_write_task_has_in_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    spool = await opened(tmp_path)
    async with trio.open_nursery() as nursery:
        monkeypatch.setattr(os, "pwritev", BadWrites(1))
        nursery.start_soon(spool.write_loop)
        spool.append(record([1]))
        await trio.testing.wait_all_tasks_blocked()
        assert spool.state == "failing"  # the task sleeps before it tries again
        spool.append(record([2]))
        assert spool.write_now() == 0
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert held(await reopened(spool)) == lines_of(TRADES, [1, 2])


async def test_write_now_after_the_end_does_nothing(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    await spool.seal({})
    assert spool.write_now() == 0


async def test_rows_that_no_disk_takes_are_said_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    spool = new_spool(tmp_path)
    async with trio.open_nursery() as nursery:
        await nursery.start(run_spool, spool, {})
        monkeypatch.setattr(os, "pwritev", BadWrites(-1))  # for ever
        spool.append(record([1, 2]))
        nursery.cancel_scope.cancel()
    assert trio.current_time() >= 60.0
    assert (spool.state, spool.buffered_rows) == ("closed", 2)
