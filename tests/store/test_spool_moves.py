"""Small tables' rows move to the head, so that older segments may go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from pumpwatch.store.segment import MIB
from pumpwatch.store.spool import MOVE_BYTES_MAX
from pumpwatch.store.spool_files import START
from tests.store.records import (
    GAPS,
    TRADES,
    held,
    lines_of,
    opened,
    record,
    reopened,
    write,
)

pytestmark = pytest.mark.usefixtures("inline_threads")


@pytest.mark.usefixtures("small_segments")
async def test_a_small_table_that_stands_still_does_not_keep_applied_trades(
    tmp_path: Path,
) -> None:
    spool = await opened(tmp_path)
    write(spool, record([1, 2], GAPS), record(range(10)))
    write(spool, record([3], GAPS), record(range(10, 20)))
    write(spool, record(range(20, 30)))
    applied = {TRADES: spool.files.table_ends()[TRADES]}
    assert await spool.release(applied) == 0
    assert spool.holding_oldest(applied) == (1, [GAPS])
    assert spool.holding_oldest({}) == (1, [])  # trades keep it, too
    assert await spool.move_to_head(GAPS, START)
    assert await spool.release(applied) == 0  # the copy is not on the disk yet
    assert not await spool.move_to_head(GAPS, START)
    assert spool.write_now() == 0
    assert await spool.release(applied) == 2
    assert held(spool, GAPS) == lines_of(GAPS, [1, 2, 3], 0)
    assert held(await reopened(spool), GAPS) == lines_of(GAPS, [1, 2, 3], 0)


async def test_rows_do_not_move_behind_newer_ones(tmp_path: Path) -> None:
    """An old revision behind a new one would become the table's row again."""
    spool = await opened(tmp_path)
    write(spool, record([1], GAPS))
    spool.append(record([2], GAPS))  # not written yet: a copy of 1 would come behind it
    assert not await spool.move_to_head(GAPS, START)
    assert spool.write_now() == 0
    assert await spool.move_to_head(GAPS, START)
    spool.append(record([3], GAPS))
    assert spool.write_now() == 0
    assert held(spool, GAPS) == lines_of(GAPS, [1, 2, 1, 2, 3], 0)


async def test_rows_that_come_while_the_old_ones_are_read_stop_the_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = await opened(tmp_path)
    write(spool, record([1], GAPS))
    real = trio.to_thread.run_sync

    async def run_sync(step: Callable[..., Any], *args: Any, **more: Any) -> Any:
        answer = await real(step, *args, **more)
        write(spool, record([2], GAPS))
        return answer

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
    assert not await spool.move_to_head(GAPS, START)
    assert held(spool, GAPS) == lines_of(GAPS, [1, 2], 0)


async def test_rows_move_also_at_the_disk_limit_and_make_room(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    spool = await opened(tmp_path, disk_bytes_max=1000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(spool.write_loop)
        spool.append(record([1], GAPS))
        spool.append(record(range(10)))
        spool.append(record(range(10, 20)))
        await trio.sleep(0.1)
        applied = {TRADES: spool.files.table_ends()[TRADES]}
        assert (spool.state, await spool.release(applied)) == ("full", 0)
        assert await spool.move_to_head(GAPS, START)
        await trio.sleep(0.1)
        assert await spool.release(applied) == 1
        await trio.sleep(0.1)
        assert (spool.state, spool.buffered_rows) == ("open", 0)
        nursery.cancel_scope.cancel()
    assert held(spool, GAPS) == lines_of(GAPS, [1], 0)


async def test_more_than_may_move_stays_where_it_is(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    text = "x" * (8 * MIB)
    write(
        spool, *(record([serial], GAPS, text=text) for serial in range(MOVE_BYTES_MAX // MIB // 8))
    )
    assert await spool.move_to_head(GAPS, START)
    assert spool.write_now() == 0
    await spool.release({})
    assert not await spool.move_to_head(GAPS, START)  # the copies doubled what is pending
    assert spool.buffered_rows == 0
