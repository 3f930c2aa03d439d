"""What the tables have applied decides what the disk may forget."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from pumpwatch.store.applied import MOVE_AFTER_S, POLL_BUSY_S, RESUME_AFTER_S, AppliedWatch
from pumpwatch.store.progress import TableProgress
from pumpwatch.store.spool_files import START
from tests.store.fake_server import FakeServer, status
from tests.store.records import (
    GAPS,
    TRADES,
    SetClock,
    held,
    lines_of,
    opened,
    record,
    segment_names,
    write,
)
from tests.store.road import balance_of, running

pytestmark = pytest.mark.usefixtures("inline_threads")


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


async def test_acknowledged_rows_stay_in_the_spool_until_they_are_applied(
    tmp_path: Path, server: FakeServer, small_segments: None, autojump_clock: MockClock
) -> None:
    server.applies_at_once = False
    async with running(tmp_path, server.client(), server, rows_max=10) as road:
        for first in range(0, 60, 10):
            road.spool.append(record(range(first, first + 10)))
            await road.spool.written()
        await road.until(lambda: balance_of(road)[0] == 60)
        await trio.sleep(60)
        assert balance_of(road) == (60, 0, 0)
        assert len(held(road.spool)) == 60
        server.tables["trades"].apply(3)
        await trio.sleep(5)
        # The mark was taken when all six were under way: nothing tells three of them apart.
        assert len(held(road.spool)) == 60
        server.tables["trades"].apply()
        await road.until_applied()
        await trio.sleep(2)
        assert balance_of(road) == (60, 60, 0)
        assert segment_names(tmp_path) == ["000000000006.seg"]


async def test_a_table_made_anew_gets_everything_unreleased_again(
    tmp_path: Path, server: FakeServer, small_segments: None, autojump_clock: MockClock
) -> None:
    async with running(tmp_path, server.client(), server) as road:
        for first in range(0, 60, 20):
            road.spool.append(record(range(first, first + 20)))
            await road.until_applied()
        await trio.sleep(2)
        assert held(road.spool) == lines_of(TRADES, range(40, 60))  # the others are released
        server.create("trades")
        road.append(60)
        await road.until_applied()
        await trio.sleep(2)
        await road.until_applied()
        assert server.stored("trades") == lines_of(TRADES, range(40, 61))
        assert road.trades.epoch == 1
        assert road.differences() == []


async def test_a_204_of_a_table_that_was_dropped_meanwhile_counts_for_nothing(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock
) -> None:
    server.applies_at_once = False
    async with running(tmp_path, server.client(), server, is_watched=False) as road:
        await road.watch.look()
        road.append(1, 2)
        await road.until(lambda: balance_of(road)[0] == 2)
        del server.tables["trades"]
        await road.watch.look()
        assert road.trades.table_id is None
        await trio.sleep(20)
        assert balance_of(road)[0] == 0
        server.applies_at_once = True
        server.create("trades")
        await road.watch.look()
        await road.until(lambda: balance_of(road)[0] == 2)
        await road.watch.look()
        assert balance_of(road) == (2, 2, 0)
        assert server.stored("trades") == lines_of(TRADES, [1, 2])


async def test_marks_tell_nothing_of_what_an_earlier_run_left_or_is_sent_again(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock
) -> None:
    """Whoever asks for a window must not be told that the table has all of it."""
    async with running(tmp_path, server.client(), server, is_watched=False) as road:
        watch = road.watch
        assert not watch.is_told_by_marks(TRADES, START)  # nobody looked yet
        road.append(1, 2)
        await watch.look()
        await road.until(lambda: balance_of(road)[0] == 2)
        assert not watch.is_told_by_marks(TRADES, road.trades.accepted)
        await watch.look()
        assert watch.is_told_by_marks(TRADES, road.trades.accepted)
        server.applies_at_once = False
        server.create("trades")
        await watch.look()
        await road.until(lambda: balance_of(road)[0] == 2)
        await watch.look()
        assert not watch.is_told_by_marks(TRADES, START)
        server.tables["trades"].apply()
        await watch.look()
        assert watch.is_told_by_marks(TRADES, START)


async def test_a_table_that_is_made_anew_during_a_look_is_noticed(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock
) -> None:
    """The WAL that is read must be the known table's: its id is asked for afterwards."""
    server.applies_at_once = False
    async with running(tmp_path, server.client(), server, is_watched=False) as road:
        await road.watch.look()
        road.append(1)
        await road.until(lambda: balance_of(road)[0] == 1)
        real = server.query
        asked: list[str] = []

        async def query(sql: str, params: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
            if len(asked) == 1:
                server.create("trades")  # its WAL is empty: writerTxn = sequencerTxn = 0
            asked.append(sql)
            return await real(sql, params)

        server.query = query  # type: ignore[method-assign]
        await road.watch.look()
        assert road.trades.epoch == 1
        assert not road.spool.is_drained(road.watch.applied)


async def test_a_table_set_back_to_an_older_state_gets_the_rows_again(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock
) -> None:
    async with running(tmp_path, server.client(), server) as road:
        road.append(1)
        await road.until_applied()
        road.append(2)
        await road.until_applied()
        table = server.tables["trades"]
        table.rows.clear()  # a backup was restored
        table.writer_txn = 0
        await trio.sleep(3)
        await road.until_applied()
        assert server.stored("trades") == lines_of(TRADES, [1, 2])
        assert road.differences() == []


async def test_refused_rows_are_counted_once_though_they_are_refused_again(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock
) -> None:
    async with running(tmp_path, server.client(), server) as road:
        road.append(1)
        road.append(2, text="poison")
        await road.until_applied()
        server.create("trades")
        await trio.sleep(3)
        await road.until_applied()
        assert balance_of(road) == (1, 1, 1)
        assert road.differences() == []


async def test_a_suspended_table_is_resumed_and_nothing_is_let_go_before(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock
) -> None:
    server.tables["trades"].suspended = True
    real = server.execute
    room = [False]

    async def execute(sql: str) -> None:
        await real(sql)
        server.tables["trades"].suspended = not room[0]  # no room: suspended at once again

    server.execute = execute  # type: ignore[method-assign]
    server.applies_at_once = False
    async with running(tmp_path, server.client(), server) as road:
        road.append(1)
        await road.until(lambda: balance_of(road)[0] == 1)
        await trio.sleep(60)
        assert road.trades.suspended
        assert balance_of(road)[1] == 0
        tries = len(server.statements)
        assert tries == pytest.approx(60 / RESUME_AFTER_S, abs=2)
        assert set(server.statements) == {"ALTER TABLE trades RESUME WAL"}
        room[0] = True
        await trio.sleep(2 * RESUME_AFTER_S)
        server.tables["trades"].apply()
        await road.until_applied()
        assert not road.trades.suspended
        assert balance_of(road) == (1, 1, 0)


async def test_one_table_that_cannot_be_resumed_does_not_stop_the_others_turn(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock
) -> None:
    from pumpwatch.errors import StatementError

    real = server.execute

    async def execute(sql: str) -> None:
        if "feed_gaps" in sql:
            raise StatementError("the database refused")
        await real(sql)

    server.execute = execute  # type: ignore[method-assign]
    for name in ("feed_gaps", "trades"):
        server.tables[name].suspended = True
    async with running(tmp_path, server.client(), server, names=["feed_gaps", "trades"]) as road:
        await trio.sleep(3)
        assert road.watch.is_answering
        assert not server.tables["trades"].suspended
        assert server.tables["feed_gaps"].suspended


async def test_a_database_that_does_not_answer_is_asked_again(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock
) -> None:
    async with running(tmp_path, server.client(), server) as road:
        road.append(1)
        await road.until(lambda: balance_of(road)[0] == 1)
        server.is_away = True
        await trio.sleep(10)
        assert not road.watch.is_answering
        server.is_away = False
        await road.until_applied()
        assert road.watch.is_answering


async def test_a_table_in_the_making_is_not_judged(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock
) -> None:
    """tables() has it, wal_tables() not yet, or without numbers."""
    async with running(tmp_path, server.client(), server, is_watched=False) as road:
        real = server.query

        async def query(sql: str, params: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
            rows = await real(sql, params)
            if "wal_tables" not in sql:
                return rows
            if is_listed[0]:
                return [(name, suspended, None, None) for name, suspended, *_ in rows]
            return []

        server.query = query  # type: ignore[method-assign]
        for listed in (True, False):
            is_listed = [listed]
            await road.watch.look()
            assert (road.trades.table_id, road.trades.epoch) == (None, 0)
        server.query = real  # type: ignore[method-assign]
        await road.watch.look()
        assert road.trades.table_id is not None


async def test_the_lag_is_that_of_the_oldest_row_of_each_applied_record(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    clock = SetClock()
    received_ns = clock.now_ns
    lags: list[tuple[float, int]] = []
    server = FakeServer()
    trades = TableProgress(TRADES, "trades")
    watch = AppliedWatch(
        spool, [trades], server, clock, on_lag=lambda lag_s, rows: lags.append((lag_s, rows))
    )
    await watch.look()
    write(spool, record([1, 2], received_ns=received_ns), record([3], received_ns=received_ns))
    first = spool.visible_marks[0][0]
    server.store(b"".join(lines_of(TRADES, [1, 2])), {})
    trades.accept(first, {1: 2}, {})
    clock.now_ns += 1_500_000_000
    await watch.look()
    assert lags == [(1.5, 2)]
    server.store(lines_of(TRADES, [3])[0], {})
    trades.accept(spool.files.table_ends()[TRADES], {1: 1}, {})
    clock.now_ns = received_ns - 5  # set back
    await watch.look()
    assert lags == [(1.5, 2), (0.0, 1)]


async def test_an_accepted_request_is_looked_at_without_waiting_for_the_idle_look(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """A row is visible a moment after its 204; a look only once a second would say a second."""
    spool = await opened(tmp_path)
    server = FakeServer()
    trades = TableProgress(TRADES, "trades")
    watch = AppliedWatch(spool, [trades], server, SetClock())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run)
        await trio.sleep(10.01)  # nothing is under way
        write(spool, record([1, 2]))
        server.store(b"".join(lines_of(TRADES, [1, 2])), {})
        trades.accept(spool.files.table_ends()[TRADES], {1: 2}, {})
        await trio.sleep(POLL_BUSY_S + 0.01)
        assert trades.applied == trades.accepted
        nursery.cancel_scope.cancel()


# --- small tables that stand still ----------------------------------------------------------------


async def test_after_five_minutes_small_tables_rows_alone_keep_no_segment(
    tmp_path: Path, server: FakeServer, small_segments: None, autojump_clock: MockClock
) -> None:
    del server.tables["feed_gaps"]
    async with running(tmp_path, server.client(), server, names=["trades", "feed_gaps"]) as road:
        road.spool.append(record([1, 2], GAPS))
        for first in range(0, 60, 10):
            road.spool.append(record(range(first, first + 10)))
            await road.spool.written()
        await road.until(lambda: balance_of(road)[1] == 60)
        await trio.sleep(MOVE_AFTER_S - 10)
        assert len(segment_names(tmp_path)) > 4
        await trio.sleep(20)
        assert len(segment_names(tmp_path)) == 1
        assert held(road.spool, GAPS) == lines_of(GAPS, [1, 2], 0)
        await trio.sleep(2 * MOVE_AFTER_S)  # they may move again and again
        server.create("feed_gaps")
        await road.until_applied()
        assert server.stored("feed_gaps") == lines_of(GAPS, [1, 2], 0)


async def test_at_the_disk_limit_they_move_at_once(
    tmp_path: Path, server: FakeServer, small_segments: None, autojump_clock: MockClock
) -> None:
    """Else a ledger that cannot be written would stop the recording of trades."""
    del server.tables["feed_gaps"]
    async with running(
        tmp_path, server.client(), server, names=["trades", "feed_gaps"], disk_bytes_max=2000
    ) as road:
        road.append(1, table=GAPS)
        for first in range(0, 200, 10):
            road.spool.append(record(range(first, first + 10)))
        await road.until(lambda: balance_of(road)[1] == 200, within_s=60)
        assert road.spool.state == "open"
        assert held(road.spool, GAPS)[-1:] == lines_of(GAPS, [1], 0)


async def test_while_trades_wait_nothing_moves(
    tmp_path: Path, server: FakeServer, small_segments: None, autojump_clock: MockClock
) -> None:
    server.faults.extend([status(503)] * 10_000)
    async with running(tmp_path, server.client(), server, names=["trades", "feed_gaps"]) as road:
        road.append(1, table=GAPS)
        for first in range(0, 60, 10):
            road.spool.append(record(range(first, first + 10)))
            await road.spool.written()
        await trio.sleep(3 * MOVE_AFTER_S)
        assert held(road.spool, GAPS) == lines_of(GAPS, [1], 0)
