"""Retention on a real server: 40 days of hours, a listing window, disks of any fill."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio

from pumpwatch.config_upkeep import DiskConfig, RetentionConfig
from pumpwatch.errors import MaintenanceBusyError, RetentionRefusedError
from pumpwatch.store.disk import DiskWatch, Level, Usage
from pumpwatch.store.event_windows import NoBundles
from pumpwatch.store.maintenance_lock import hold_maintenance
from pumpwatch.store.operations import OperationLog
from pumpwatch.store.partitions import DAY_NS, HOUR_NS, NS_PER_S, read_partitions, wait_applied
from pumpwatch.store.retention import Retention, mend_ttl, over_limit, ttl_hours
from pumpwatch.store.schema import check_schema
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.sql import Sql
from tests.store.upkeep import (
    NOW_NS,
    TODAY_NS,
    FixedClock,
    ListSink,
    add_event,
    add_trades,
    connection,
    count,
    fresh_tables,
    running_server,
)

pytestmark = pytest.mark.questdb
DAYS = 40
STEP_NS = 6 * HOUR_NS  # a row every six hours: four partitions a day


ROW_BYTES = 80  # what a partition of one row takes by table_partitions()


class FakeDisk:
    """A file system whose fill follows the partitions that lie there."""

    def __init__(self, base_percent: float, percent_per_partition: float) -> None:
        self.total = (
            int(ROW_BYTES * 100 / percent_per_partition) if percent_per_partition else 10_000_000
        )
        self.base = int(self.total * base_percent / 100)
        self.bytes_each = ROW_BYTES if percent_per_partition else 0

    def __call__(self, path: Path) -> Usage:
        tables = sorted(path.glob("db/trades~*/"), key=lambda table: int(table.name[7:]))
        folders = {f.name[:13] for table in tables[-1:] for f in table.glob("20*") if f.is_dir()}
        used = self.base + len(folders) * self.bytes_each
        return Usage(
            device=1, total_bytes=self.total, used_bytes=used,
            available_bytes=max(0, self.total - used),
        )  # fmt: skip


class Rig:
    def __init__(self, sql: Sql, data_dir: Path) -> None:
        self.sql = sql
        self.data_dir = data_dir
        self.clock = FixedClock()
        self.sink = ListSink()
        self.alerts: list[str] = []
        self.bundles: object = NoBundles()
        self.measure = FakeDisk(10.0, 0.0)

    def disk(self) -> DiskWatch:
        paths = {name: self.data_dir / name for name in ("spool", "backups")}
        paths["database"] = self.data_dir / "questdb"
        return DiskWatch(paths, DiskConfig(), measure=self.measure)

    def retention(self) -> Retention:
        return Retention(
            self.sql, RetentionConfig(), self.disk(), OperationLog(self.sink, self.clock),
            self.clock, bundles=self.bundles, window_s=(20, 20), data_dir=self.data_dir,  # type: ignore[arg-type]
            alert=lambda rule, text: self.alerts.append(f"{rule}: {text}"),
        )  # fmt: skip

    async def days(self) -> list[str]:
        return sorted({part.name[:10] for part in await read_partitions(self.sql, "trades")})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerAddress, Path]]:
    data_dir = tmp_path_factory.mktemp("retention")
    with running_server(data_dir) as address:
        yield address, data_dir


@pytest.fixture
async def rig(
    server: tuple[ServerAddress, Path], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Rig]:
    address, data_dir = server
    monkeypatch.setattr("pumpwatch.store.retention.GONE_S_MAX", 1.0)
    async with connection(address) as sql:
        await fresh_tables(sql)
        rows = (DAYS + 1) * 4 - 1  # up to 12:00 today
        await add_trades(sql, TODAY_NS - DAYS * DAY_NS, rows=rows, step_ns=STEP_NS)
        yield Rig(sql, data_dir)


async def test_older_than_thirty_days_goes_and_nothing_else(rig: Rig) -> None:
    await rig.sql.execute(
        "INSERT INTO exchange_health (checked_at, exchange, market_type, connection) VALUES"
        " ('2026-01-20T00:00:00Z', 'okx', 'spot', 1), ('2026-03-10T12:00:00Z', 'okx', 'spot', 1)"
    )
    await wait_applied(rig.sql, "exchange_health")
    plans = await rig.retention().plan()
    assert over_limit(plans)
    assert await count(rig.sql) == (DAYS + 1) * 4 - 1, "a plan drops nothing"
    outcome = await rig.retention().run()
    days = await rig.days()
    assert days[0] == "2026-02-08"
    assert len(days) == 31
    assert await count(rig.sql) == 31 * 4 - 1
    assert len([drop for drop in outcome.drops if drop.table == "trades"]) == 10 * 4
    assert await count(rig.sql, "exchange_health") == 1
    assert not over_limit(await rig.retention().plan())
    assert "result=running" in rig.sink.lines[0]
    assert "result=good" in rig.sink.lines[1]
    assert "dropped 41 partitions" in rig.sink.lines[1]
    assert rig.alerts == []


async def test_the_bars_are_kept_up_afterwards(rig: Rig) -> None:
    await wait_applied(rig.sql, "trades_1s")
    await rig.retention().run()
    await add_trades(rig.sql, NOW_NS, rows=1, step_ns=1, symbol="NEWUSDT", seed=7)
    rows = await rig.sql.query("SELECT view_status FROM materialized_views()")
    assert rows[0][0] != "invalid"
    with trio.fail_after(60):  # the server's own job writes them
        while not await count(rig.sql, "trades_1s", "WHERE symbol = 'NEWUSDT'"):  # noqa: ASYNC110
            await trio.sleep(0.05)


async def bars_are_invalid(sql: Sql) -> bool:
    return await sql.query("SELECT view_status FROM materialized_views()") == [("invalid",)]


async def test_bars_that_are_invalid_are_told(rig: Rig) -> None:
    """What a plain DROP PARTITION does: the other reason for the TTL."""
    await rig.sql.execute("ALTER TABLE trades DROP PARTITION LIST '2026-01-29T00'")
    await wait_applied(rig.sql, "trades")
    # The server's own job finds it out, when a processor of this machine gets round to it.
    with trio.fail_after(60):
        while not await bars_are_invalid(rig.sql):  # noqa: ASYNC110 - nothing tells of it
            await trio.sleep(0.05)
    outcome = await rig.retention().run()
    assert len(outcome.problems) == 1
    assert "trades_1s is invalid" in outcome.problems[0]
    assert any("retention_failed: trades_1s" in text for text in rig.alerts)


async def test_an_old_window_is_copied_and_proved_before_its_hour_goes(rig: Rig) -> None:
    event_ns = TODAY_NS - 35 * DAY_NS + 10 * NS_PER_S
    await add_trades(
        rig.sql, event_ns - 30 * NS_PER_S, rows=60, step_ns=NS_PER_S, symbol="PEPEUSDT"
    )
    await add_event(rig.sql, event_ns, "PEPE")
    await rig.retention().run()
    assert (await rig.days())[0] == "2026-02-08"
    # From 20 s before to 20 s after, both included: of PEPE, and of no other coin.
    assert await count(rig.sql, "event_trades") == 41
    assert await count(rig.sql, "event_trades", "WHERE symbol = 'PEPEUSDT'") == 41
    assert await count(rig.sql, "listing_events") == 1


async def test_a_window_whose_copy_is_not_equal_stays_with_all_behind_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_ns = TODAY_NS - 35 * DAY_NS
    await add_event(rig.sql, event_ns, "BTC")

    async def lose_it(*_: object) -> None:
        """A copy that stores nothing."""

    monkeypatch.setattr("pumpwatch.store.event_windows._copy", lose_it)
    outcome = await rig.retention().run()
    assert outcome.kept[0].startswith("2026-02-02T23 holds") or outcome.kept[0].startswith(
        "2026-02-03T00 holds the window of listing upbit/1/BTC"
    )
    assert any("window is not equal" in text for text in outcome.problems)
    assert (await rig.days())[0] == "2026-02-03"
    assert await count(rig.sql, where="WHERE timestamp < '2026-02-08'") == 5 * 4
    assert "result=failed" in rig.sink.lines[-1]


async def test_a_bundled_window_needs_no_copy(rig: Rig) -> None:
    class Bundled:
        def is_verified(self, source: str, notice_id: str, symbol: str) -> bool:
            return (source, notice_id, symbol) == ("upbit", "1", "BTC")

    await add_event(rig.sql, TODAY_NS - 35 * DAY_NS, "BTC")
    rig.bundles = Bundled()
    await rig.retention().run()
    assert (await rig.days())[0] == "2026-02-08"
    assert await count(rig.sql, "event_trades") == 0


async def test_at_seventy_percent_only_the_thirty_days_rule(rig: Rig) -> None:
    rig.measure = FakeDisk(75.0, 0.0)
    assert rig.disk().volumes["database"].level is Level.WARN
    await rig.retention().run()
    assert len(await rig.days()) == 31
    assert rig.alerts == []


async def test_a_full_disk_goes_down_to_25_days_after_the_alert(rig: Rig) -> None:
    rig.measure = FakeDisk(62.0, 20.0 / (26 * 4))  # 82 % with 26 days
    await rig.retention().run()
    assert len(await rig.days()) == 26
    assert [text.split(":")[0] for text in rig.alerts] == ["disk_emergency"]


async def test_a_fuller_disk_goes_on_by_whole_days_and_no_further(rig: Rig) -> None:
    rig.measure = FakeDisk(60.0, 0.4)  # below 84 % with 60 partitions: 15 days
    await rig.retention().run()
    days = await rig.days()
    assert len(days) == 15
    assert await count(rig.sql, where=f"WHERE timestamp in '{days[0]}'") == 4, "whole days"


async def test_the_floor_stays_and_is_told(rig: Rig) -> None:
    await add_event(rig.sql, TODAY_NS - 20 * DAY_NS, "BTC")
    rig.measure = FakeDisk(99.0, 0.0)
    assert rig.disk().writers_stopped
    plans = await rig.retention().plan()
    assert plans[0].kept[0].partition == "2026-02-18T00"
    await rig.retention().run()
    assert await rig.days() == [f"2026-03-{day:02d}" for day in range(3, 11)]
    assert await count(rig.sql, "event_trades") == 1
    assert [text.split(":")[0] for text in rig.alerts] == ["disk_emergency", "disk_floor"]


async def test_rows_of_what_stays_answer_to_their_time(rig: Rig) -> None:
    """What a FORCE DROP breaks: the reason for the TTL."""
    await rig.retention().run()
    for partition in await read_partitions(rig.sql, "trades"):
        where = f"WHERE timestamp IN '{partition.name}'"
        assert await count(rig.sql, where=where) == partition.rows, partition.name


async def test_a_ttl_that_a_killed_run_left_is_mended(rig: Rig) -> None:
    await rig.sql.execute("ALTER TABLE trades SET TTL 4000 HOURS")
    await wait_applied(rig.sql, "trades")
    await mend_ttl(rig.sql)
    rows = await rig.sql.query("SELECT ttlValue, ttlUnit FROM tables() WHERE table_name = 'trades'")
    assert rows == [(45, "DAY")]


async def test_the_ttl_is_the_schemas_after_a_run(rig: Rig) -> None:
    await rig.retention().run()
    assert [text for text in await check_schema(rig.sql) if text.startswith("trades:")] == []


@pytest.mark.parametrize(
    ("minutes_past", "hours"), [(0, 24), (30, 24), (57, 24), (58.5, 25), (60, 25)]
)
def test_the_ttl_leaves_an_hour_rather_than_take_one_too_many(
    minutes_past: float, hours: int
) -> None:
    newest_ns = NOW_NS + 24 * HOUR_NS + int(minutes_past * 60 * NS_PER_S)
    assert ttl_hours(NOW_NS, newest_ns) == hours


async def test_a_clock_that_is_ahead_drops_nothing(rig: Rig) -> None:
    rig.clock.now_ns += 365 * DAY_NS
    with pytest.raises(RetentionRefusedError, match="the clock is ahead"):
        await rig.retention().run()
    assert len(await rig.days()) == DAYS + 1
    assert "result=refused" in rig.sink.lines[-1]
    assert rig.alerts[0].startswith("retention_refused")


async def test_a_clock_that_jumped_is_refused_once(rig: Rig) -> None:
    retention = rig.retention()
    await retention.run()
    rig.clock.now_ns += 3 * HOUR_NS
    with pytest.raises(RetentionRefusedError, match=r"jumped by \+10[78]\d\d s"):
        await retention.run()
    await retention.run()


async def test_a_cutoff_in_the_future_is_refused(rig: Rig) -> None:
    with pytest.raises(RetentionRefusedError, match="in the future"):
        await rig.retention().run(NOW_NS + HOUR_NS)
    with pytest.raises(RetentionRefusedError, match="in the future"):
        await rig.retention().plan(NOW_NS + HOUR_NS)
    assert len(await rig.days()) == DAYS + 1


async def test_two_at_once_are_refused(rig: Rig) -> None:
    with (
        hold_maintenance(rig.data_dir, "backup"),
        pytest.raises(MaintenanceBusyError, match=r"backup \(pid \d+\) is at work"),
    ):
        await rig.retention().run()
    await rig.retention().run()
