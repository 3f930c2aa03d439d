"""What the tests of retention, cold tier and backup share: a server whose files they know."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import msgspec
import trio

from pumpwatch.config import Config, QuestdbConfig
from pumpwatch.config_upkeep import BackupConfig
from pumpwatch.moments import iso_ns
from pumpwatch.store import embedded_files
from pumpwatch.store.embedded_files import choose_ports, plan_launch
from pumpwatch.store.partitions import DAY_NS, NS_PER_S, wait_applied
from pumpwatch.store.probe import wait_for_answer
from pumpwatch.store.schema import MIGRATIONS, VERSION_TABLE
from pumpwatch.store.server import Ports, ServerAddress, ensure_passwords
from pumpwatch.store.sql import Sql
from tests.store.emptying import drop_tables

HEAP_MIB = 400
# A server allots 16 MiB to every column that is written to: 2 GB for our empty tables.
SMALL_FILES = """\
cairo.writer.data.append.page.size=128K
cairo.writer.data.index.value.append.page.size=128K
cairo.wal.writer.data.append.page.size=128K
cairo.system.writer.data.append.page.size=128K
"""
START_S_MAX = 60
# A day in the middle, so that no test depends on today: 2026-03-10T12:30:00Z.
NOW_NS = 1_773_145_800 * NS_PER_S
TODAY_NS = NOW_NS // DAY_NS * DAY_NS
TABLES = (
    VERSION_TABLE, "trades", "listing_events", "operations", "event_trades", "instruments",
    "exchange_health", "trades_1s",
)  # fmt: skip


class FixedClock:
    """A wall clock that stands until it is moved."""

    def __init__(self, now_ns: int = NOW_NS) -> None:
        self.now_ns = now_ns

    def wall_ns(self) -> int:
        self.now_ns += 1_000  # no two stamps are equal
        return self.now_ns


class ListSink:
    """Keeps rows of ``operations`` as they would be sent."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def put(self, line: bytes) -> None:
        self.lines.append(line.decode())


def config_of(data_dir: Path, **backup: object) -> Config:
    settings = {"rate_mib_per_s": 0, **backup}
    return Config(
        data_dir=data_dir,
        questdb=QuestdbConfig(http_port=0, pg_port=0, health_port=0),
        backup=BackupConfig(**settings),  # type: ignore[arg-type]
    )


@contextmanager
def running_server(data_dir: Path) -> Iterator[ServerAddress]:
    """A server on data_dir/questdb, on free ports; ended with the block."""
    config = config_of(data_dir)
    launch = plan_launch(
        config,
        heap_mib=HEAP_MIB,
        java=embedded_files.find_java(),
        jar=embedded_files.find_jar(embedded_files.maven_repository()),
        ports=choose_ports(Ports(0, 0, 0)),
        passwords=ensure_passwords(config),
    )
    launch = msgspec.structs.replace(launch, conf=launch.conf + SMALL_FILES)
    launch.write_files()
    with launch.log_file.open("ab") as log:
        process = subprocess.Popen(
            launch.command, cwd=launch.root, env=launch.environment(), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        trio.run(wait_for_answer, launch.address, START_S_MAX)
        yield launch.address
    finally:
        process.terminate()
        process.wait(30)


@asynccontextmanager
async def connection(address: ServerAddress) -> AsyncIterator[Sql]:
    sql = Sql(address)
    try:
        yield sql
    finally:
        await sql.aclose()


async def fresh_tables(sql: Sql, tables: tuple[str, ...] = TABLES) -> None:
    """The tables of the schema, empty."""
    await drop_tables(sql)
    for migration in MIGRATIONS:
        words = migration.statement.replace("(", " ").split()
        if "EXISTS" in words and words[words.index("EXISTS") + 1] in tables:
            await sql.execute(migration.statement)


async def add_trades(
    sql: Sql, from_ns: int, *, rows: int, step_ns: int, symbol: str = "BTCUSDT", seed: int = 0
) -> None:
    """Rows of one symbol in equal steps, prices by chance; ids follow the time."""
    await sql.execute(
        "INSERT INTO trades SELECT"
        f" ({from_ns} + (x - 1) * {step_ns})::timestamp_ns, 'okx', 'spot', '{symbol}',"
        " rnd_symbol('buy', 'sell'), round(rnd_double() * 1000, 2), round(rnd_double(), 4),"
        f" concat('{seed}-', x), x, ({from_ns} + (x - 1) * {step_ns} + 5000000)::timestamp_ns,"
        f" 'stream', null FROM long_sequence({rows}, {seed + 1}, {seed + 2})"
    )
    await wait_applied(sql, "trades")


async def add_event(sql: Sql, at_ns: int, coin: str, notice: str = "1") -> None:
    await sql.execute(
        "INSERT INTO listing_events (detected_at, source, notice_id, symbol, announced_at, state)"
        f" VALUES ('{iso_ns(at_ns + NS_PER_S)}', 'upbit', '{notice}', '{coin}', '{iso_ns(at_ns)}',"
        " 'complete')"
    )
    await sql.execute(
        "INSERT INTO instruments (valid_from, exchange, market_type, venue_symbol, symbol, coin,"
        f" unit) VALUES ('{iso_ns(at_ns)}', 'okx', 'spot', '{coin}-USDT', '{coin}USDT',"
        f" '{coin}', 1)"
    )
    await wait_applied(sql, "listing_events")
    await wait_applied(sql, "instruments")


async def count(sql: Sql, table: str = "trades", where: str = "") -> int:
    rows = await sql.query(f"SELECT count() FROM {table} {where}")
    return int(rows[0][0])
