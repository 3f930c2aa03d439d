"""The lake follows the table: what is in it, what a second run writes, who can read it."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import duckdb
import polars as pl
import pytest

from pumpwatch.config import Config, QuestdbConfig
from pumpwatch.errors import UsageError
from pumpwatch.research.lake import MANIFEST, ORDER, Lake, in_order, read_manifest
from pumpwatch.store.partitions import wait_applied
from pumpwatch.store.schema import apply_schema
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.sql import Sql
from tests.store.conftest import empty_database, sql

__all__ = ["empty_database", "sql"]  # fixtures

FILL = (
    "INSERT INTO trades (timestamp, exchange, market_type, symbol, side, price, quantity, trade_id,"
    " sequence_number, received_at, origin)"
    " SELECT cast(1790002800000000000 + x * 1800000000 AS TIMESTAMP_NS),"
    " CASE WHEN x % 2 = 0 THEN 'okx' ELSE 'gate' END,"
    " CASE WHEN x % 3 = 0 THEN 'spot' ELSE 'futures' END,"
    " CASE WHEN x % 5 = 0 THEN 'BTCUSDT' ELSE '币안USDT' END, 'buy', 100 + x * 0.25, x * 0.5,"
    " cast(x AS VARCHAR), x, cast(1790002800030000000 + x * 1800000000 AS TIMESTAMP_NS), 'stream'"
    " FROM long_sequence({rows})"
)
KEY = ["timestamp", "exchange", "market_type", "symbol", "trade_id"]


@pytest.fixture
def config(questdb_server: ServerAddress, tmp_path: Path) -> Config:
    """The session's database as somebody else's."""
    files = {}
    for name in ("password", "readonly_password"):
        path = tmp_path / name
        path.write_text(getattr(questdb_server, name))
        files[f"{name}_file"] = str(path)
    questdb = QuestdbConfig(
        mode="external", http_url=questdb_server.http_url, pg_host=questdb_server.pg_host,
        pg_port=questdb_server.pg_port, **files,
    )  # fmt: skip
    return Config(data_dir=tmp_path / "data", questdb=questdb)


async def fill(database: Sql, rows: int) -> None:
    await apply_schema(database, spool_is_empty=lambda: True)
    await database.execute(FILL.format(rows=rows))
    await wait_applied(database, "trades")


async def stored(database: Sql, before_ns: int) -> list[tuple[object, ...]]:
    rows = await database.query(
        "SELECT timestamp::long, exchange, market_type, symbol, trade_id, price, quantity FROM"
        " trades WHERE timestamp < cast(%s AS TIMESTAMP_NS)", [before_ns],
    )  # fmt: skip
    return sorted(rows)


def held(folder: Path) -> list[tuple[object, ...]]:
    frame = pl.read_parquet(folder / "**/*.parquet", hive_partitioning=True)
    rows = frame.select(pl.col("timestamp").cast(pl.Int64), *KEY[1:], "price", "quantity")
    return sorted(rows.rows())


@pytest.mark.questdb
async def test_a_lake_is_the_table_and_a_second_run_writes_what_changed(
    empty_database: Sql, config: Config, tmp_path: Path
) -> None:
    folder = tmp_path / "lake"
    await fill(empty_database, 6_000)  # three hours, the last one open
    done = list(Lake(folder, config).sync())
    assert [one.written for one in done] == [True, True, True]
    open_ns = 1_790_002_800_000_000_000 // 3_600_000_000_000 * 3_600_000_000_000 + 3 * 3600 * 10**9
    assert held(folder) == await stored(empty_database, open_ns)
    assert len(held(folder)) == sum(one.rows for one in done)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}
    assert not any(one.written for one in Lake(folder, config).sync())
    # One row of the second hour gets another quantity: nothing but a value changes.
    await empty_database.execute(
        "INSERT INTO trades SELECT timestamp, exchange, market_type, symbol, side, price,"
        " quantity + 1, trade_id, sequence_number, received_at, origin, kind FROM trades"
        " WHERE trade_id = '2500'"
    )
    await wait_applied(empty_database, "trades")
    again = list(Lake(folder, config).sync())
    assert [one.written for one in again] == [False, True, False]
    assert held(folder) == await stored(empty_database, open_ns)
    hour = again[1].hour
    changed = [path for path, mtime in times.items() if path.stat().st_mtime_ns != mtime]
    assert {path.stem for path in changed} == {hour[-2:]}
    # A file that somebody lost comes back.
    changed[0].unlink()
    assert [one.written for one in Lake(folder, config).sync()] == [False, True, False]
    # What retention drops stays.
    await empty_database.execute(f"ALTER TABLE trades DROP PARTITION LIST '{again[0].hour}'")
    await wait_applied(empty_database, "trades")
    assert [one.hour for one in Lake(folder, config).sync()] == [again[1].hour, again[2].hour]
    assert len(held(folder)) == sum(one.rows for one in done)


@pytest.mark.questdb
async def test_duckdb_and_polars_read_it_with_one_line(
    empty_database: Sql, config: Config, tmp_path: Path
) -> None:
    folder = tmp_path / "lake"
    await fill(empty_database, 4_000)
    list(Lake(folder, config).sync())
    by_polars = (
        pl.scan_parquet(folder / "**/*.parquet", hive_partitioning=True)
        .filter(exchange="okx", symbol="BTCUSDT")
        .select(pl.len(), pl.col("price").sum())
        .collect()
        .row(0)
    )
    with duckdb.connect() as connection:
        by_duckdb = connection.execute(
            f"SELECT count(*), sum(price) FROM read_parquet('{folder}/**/*.parquet',"
            " hive_partitioning = true) WHERE exchange = 'okx' AND symbol = 'BTCUSDT'"
        ).fetchone()
    assert by_duckdb is not None
    assert by_polars[0] == by_duckdb[0] > 100
    assert by_polars[1] == pytest.approx(by_duckdb[1])
    for path in folder.rglob("*.parquet"):
        rows = pl.read_parquet(path, hive_partitioning=False)
        assert rows.equals(rows.sort("symbol", "timestamp", "sequence_number", "trade_id"))
    shutil.rmtree(folder)


def test_another_versions_lake_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text('{"layout": 9}')
    with pytest.raises(UsageError, match="another version"):
        read_manifest(tmp_path)
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(UsageError, match="move it away"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("rows", [0, 1, 2, 500])
def test_rows_are_in_order_whatever_order_one_instant_has(rows: int) -> None:
    """The short way, by the symbol alone, must give what sorting by all four columns gives."""
    rng = random.Random(rows)
    frame = pl.DataFrame(
        {
            "symbol": [rng.choice(["AUSDT", "BUSDT", "1000BUSDT"]) for _ in range(rows)],
            "timestamp": [rng.randrange(50) for _ in range(rows)],
            "sequence_number": [rng.randrange(4) for _ in range(rows)],
            "trade_id": [str(one) for one in rng.sample(range(10 * rows + 1), rows)],
        },
        schema={"symbol": pl.String, "timestamp": pl.Int64, "sequence_number": pl.Int64,
                "trade_id": pl.String},
    )  # fmt: skip
    wanted = frame.sort(ORDER)
    for one in (frame, frame.sort("timestamp"), wanted, frame.sort("timestamp", *ORDER[2:])):
        assert in_order(one).equals(wanted)
