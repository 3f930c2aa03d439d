"""Rows a second of ``lake sync``: the whole, with the database's export, and the writing alone.

Wall time, as the work is spread over the server's process and ours.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import polars as pl
import trio

from bench.bench_window import FEED_SQL, FILL_SQL
from bench.machine import emit, emit_machine
from pumpwatch.clock import SystemClock
from pumpwatch.config import Config, in_folder, load_config
from pumpwatch.research.lake import Lake, write_hour
from pumpwatch.store.embedded import hold_data_dir, run_server
from pumpwatch.store.partitions import HOUR_NS, wait_applied
from pumpwatch.store.schema import apply_schema
from pumpwatch.store.server import write_runtime
from pumpwatch.store.sql import Sql

HOURS = 12
SETTLE_S = 3.0
START_NS = 1_790_002_800_000_000_000 // HOUR_NS * HOUR_NS


async def fill(config: Config, rows: int) -> None:
    """A table of twelve closed hours, and one row of an open one; then the lake."""
    async with trio.open_nursery() as nursery:
        handle = await nursery.start(partial(run_server, config, SystemClock(), heap_mib=512))
        address = handle.address
        sql = Sql(address)
        await apply_schema(sql, spool_is_empty=lambda: True)
        step = HOURS * HOUR_NS // rows
        symbol = "concat('S', cast(x / 12 % 500 AS VARCHAR), 'USDT')"
        await sql.execute(FILL_SQL.format(
            start=START_NS, step=step, exchange=FEED_SQL.format(n="x"), symbol=symbol, first=1,
            rows=rows + rows // HOURS // 10,
        ))  # fmt: skip
        await wait_applied(sql, "trades")
        # The view of bars is still at work behind them: it would be measured along.
        bars, before = -1, -2
        while bars != before:
            await trio.sleep(SETTLE_S)
            before, bars = bars, (await sql.query("SELECT count() FROM trades_1s"))[0][0]
        http, pg = address.http_url.rpartition(":")[2], address.pg_port
        write_runtime(config.data_dir, http_port=int(http), pg_port=pg, health_port=0)
        with tempfile.TemporaryDirectory() as folder:
            await trio.to_thread.run_sync(measure, Path(folder), config)
        await sql.aclose()
        nursery.cancel_scope.cancel()


def measure(folder: Path, config: Config) -> None:
    """The whole, a second run, and the writing alone."""
    started_s = time.perf_counter()
    rows = sum(one.rows for one in Lake(folder, config).sync())
    emit("lake", "sync", rows, time.perf_counter() - started_s)
    started_s = time.perf_counter()
    written = sum(one.written for one in Lake(folder, config).sync())
    emit("lake", "nothing changed", rows, time.perf_counter() - started_s, written_hours=written)
    files = sorted(folder.rglob("*.parquet"))
    hour = next(iter(Lake(folder, config).manifest.hours))
    frame = pl.read_parquet([f for f in files if f.stem == hour[-2:]], hive_partitioning=True)
    started_s = time.perf_counter()
    write_hour(folder, hour, frame)
    emit("lake", "writing alone", len(frame), time.perf_counter() - started_s)
    emit("lake", "bytes a row", 0, 0, bytes_a_row=round(
        sum(f.stat().st_size for f in files) / rows, 1))  # fmt: skip


def main() -> None:
    """Fill, sync, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=12_000_000)
    options = parser.parse_args()
    emit_machine("lake")
    with tempfile.TemporaryDirectory() as folder:
        config = in_folder(load_config(None, {}), Path(folder))
        with hold_data_dir(Path(folder)):
            trio.run(fill, config, options.rows)


if __name__ == "__main__":
    main()
