"""The cold tier on a real server: the same rows, fewer bytes, and late rows fold in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from pumpwatch.errors import MaintenanceBusyError
from pumpwatch.store import cold as cold_module
from pumpwatch.store.cold import ColdStore, choose
from pumpwatch.store.digest import Digest, digest, read_columns
from pumpwatch.store.maintenance_lock import hold_maintenance
from pumpwatch.store.operations import OperationLog
from pumpwatch.store.pace import Pace
from pumpwatch.store.partitions import HOUR_NS, NS_PER_S, Partition, read_partitions
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.sql import Sql
from tests.store.upkeep import (
    NOW_NS,
    FixedClock,
    ListSink,
    add_trades,
    connection,
    count,
    fresh_tables,
    running_server,
)

pytestmark = pytest.mark.questdb
START_NS = NOW_NS // HOUR_NS * HOUR_NS - 27 * HOUR_NS
ROWS_PER_HOUR = 3600
COLD = ("2026-03-09T09", "2026-03-09T10", "2026-03-09T11")


class Rig:
    def __init__(self, sql: Sql, data_dir: Path) -> None:
        self.sql = sql
        self.data_dir = data_dir
        self.clock = FixedClock()
        self.sink = ListSink()
        self.alerts: list[str] = []

    def store(self, cold_hours: int = 24) -> ColdStore:
        return ColdStore(
            self.sql, OperationLog(self.sink, self.clock), self.clock, cold_hours=cold_hours,
            data_dir=self.data_dir, pace=Pace(),
            alert=lambda rule, text: self.alerts.append(f"{rule}: {text}"),
        )  # fmt: skip

    async def digest(self) -> Digest:
        columns = await read_columns(self.sql, "trades")
        return await digest(self.sql, columns, START_NS, NOW_NS + HOUR_NS)

    async def parquet(self) -> list[str]:
        return [part.name for part in await read_partitions(self.sql, "trades") if part.is_parquet]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerAddress, Path]]:
    data_dir = tmp_path_factory.mktemp("cold")
    with running_server(data_dir) as address:
        yield address, data_dir


@pytest.fixture
async def rig(server: tuple[ServerAddress, Path]) -> AsyncIterator[Rig]:
    address, data_dir = server
    async with connection(address) as sql:
        await fresh_tables(sql, ("schema_version", "trades", "trades_1s"))
        await add_trades(sql, START_NS, rows=28 * ROWS_PER_HOUR, step_ns=NS_PER_S)
        yield Rig(sql, data_dir)


async def test_closed_hours_older_than_a_day_become_parquet_with_the_same_rows(rig: Rig) -> None:
    before = await rig.digest()
    done = await rig.store().run()
    assert tuple(one.partition for one in done) == COLD
    assert await rig.parquet() == list(COLD)
    assert await rig.digest() == before
    assert all(one.rows == ROWS_PER_HOUR and one.problem == "" for one in done)
    assert sum(one.parquet_bytes for one in done) < sum(one.native_bytes for one in done) / 2
    assert "result=good" in rig.sink.lines[-1]
    assert f"{3 * ROWS_PER_HOUR} rows" in rig.sink.lines[-1]
    rows = await rig.sql.query("SELECT view_status FROM materialized_views()")
    assert rows[0][0] != "invalid"
    lines = len(rig.sink.lines)
    assert await rig.store().run() == []
    assert len(rig.sink.lines) == lines, "nothing due, nothing noted"


async def test_late_rows_fold_into_a_cold_hour(rig: Rig) -> None:
    await rig.store().run()
    await add_trades(rig.sql, START_NS, rows=1, step_ns=1)  # the same key: replaces
    await add_trades(rig.sql, START_NS + 1, rows=2, step_ns=1, seed=9)
    assert await count(rig.sql, where=f"WHERE timestamp IN '{COLD[0]}'") == ROWS_PER_HOUR + 2
    assert await rig.parquet() == list(COLD)


async def test_a_difference_stops_the_run_and_is_told(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [
        Digest(rows=3600, min_ns=1, max_ns=2, checksum="0a"),
        Digest(rows=3600, min_ns=1, max_ns=2, checksum="0b"),
    ]

    async def lie(*_: object, **__: object) -> Digest:
        """The second answer differs from the first: as if a value had been changed."""
        return answers.pop(0)

    monkeypatch.setattr(cold_module, "digest", lie)
    done = await rig.store().run()
    assert len(done) == 1
    assert "2026-03-09T09 holds other rows as Parquet than before" in done[0].problem
    assert "backup restore --partition" in rig.alerts[0]
    assert "result=failed" in rig.sink.lines[-1]


async def test_rows_that_come_in_meanwhile_are_no_difference(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = cold_module.digest
    calls = 0

    async def with_a_late_row(*args: object, **kwargs: object) -> Digest:
        nonlocal calls
        calls += 1
        answer = await real(*args, **kwargs)  # type: ignore[arg-type]
        if calls == 1:
            now = rig.clock.wall_ns() + NS_PER_S
            await rig.sql.execute(
                "INSERT INTO trades (timestamp, exchange, market_type, symbol, trade_id,"
                f" received_at) VALUES ({START_NS + 7}::timestamp_ns, 'okx', 'spot', 'A', 'late',"
                f" {now}::timestamp_ns)"
            )
        return answer

    monkeypatch.setattr(cold_module, "digest", with_a_late_row)
    done = await rig.store().run()
    assert [one.problem for one in done] == ["", "", ""]
    assert done[0].rows == ROWS_PER_HOUR + 1


async def test_not_while_something_else_is_at_work(rig: Rig) -> None:
    with hold_maintenance(rig.data_dir, "backup"), pytest.raises(MaintenanceBusyError):
        await rig.store().run()
    assert await rig.parquet() == []


def part(name: str, start_ns: int, *, is_parquet: bool = False) -> Partition:
    return Partition(
        name=name, start_ns=start_ns, end_ns=start_ns + HOUR_NS, rows=1, disk_bytes=1,
        is_parquet=is_parquet, max_ns=start_ns,
    )  # fmt: skip


def test_the_newest_is_never_chosen_and_parquet_not_again() -> None:
    old = [part(str(age), NOW_NS - age * HOUR_NS) for age in (60, 50, 40)]
    assert [chosen.name for chosen in choose(old, NOW_NS, 24)] == ["60", "50"]
    done = [part("60", NOW_NS - 60 * HOUR_NS, is_parquet=True), *old[1:]]
    assert [chosen.name for chosen in choose(done, NOW_NS, 24)] == ["50"]
    edge = [part("edge", NOW_NS - 25 * HOUR_NS), part("after", NOW_NS - 25 * HOUR_NS + 1)]
    assert [chosen.name for chosen in choose([*edge, part("n", NOW_NS)], NOW_NS, 24)] == ["edge"]
