"""Months of data: what an hour takes as Parquet, what a backup costs the recording, and the disk.

``cold``: rows of the simulator, moved to a closed hour of the day before yesterday and converted;
bytes a row before and after, and windows asked of both. ``load``: a backup of so many minutes while
rows come in; lag before and during, every row held against the truth. ``daily``: 30 daily backups
of a table that grows to 30 days, against one full one. Each prints one JSON line.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import trio

from bench.machine import commit, cpu_name, prefer, set_nice
from pumpwatch import log
from pumpwatch.clock import SystemClock
from pumpwatch.config import Config, QuestdbConfig
from pumpwatch.config_upkeep import BackupConfig
from pumpwatch.drills.months import SYMBOL, database_before, day_of, fill_days
from pumpwatch.drills.outcome import Outcome
from pumpwatch.drills.reckoning import pending, reckon
from pumpwatch.drills.stage import (
    DaemonProcess,
    applied_rows,
    daemon_process,
    is_subscribed,
    settle,
    simulator_arguments,
    stage,
)
from pumpwatch.drills.verbs import say
from pumpwatch.rates import LAG_BUCKETS_S
from pumpwatch.sim.process import Simulator, run_simulator
from pumpwatch.standing import HistogramStanding
from pumpwatch.store.backup import Backups
from pumpwatch.store.backup_manifest import State
from pumpwatch.store.checkpoint import NoHold
from pumpwatch.store.cold import ColdStore
from pumpwatch.store.operations import NoSink, OperationLog
from pumpwatch.store.pace import Pace
from pumpwatch.store.partitions import HOUR_NS, NS_PER_S, read_partitions, wait_applied
from pumpwatch.store.readonly import query
from pumpwatch.store.scratch_server import SERVER_FOLDER
from pumpwatch.store.server import ServerAddress, read_runtime, running_address
from pumpwatch.store.server_process import find_leftovers
from pumpwatch.store.sql import Sql
from pumpwatch.store.window_reader import ROW_SQL, ROWS_MAX
from pumpwatch.tally import compare, fetch_stored

WINDOWS = 300
AROUND_S = 20
NICE = -15  # while windows are timed: on a busy machine they would measure the others
SYMBOLS = 150  # per feed
ROWS_PER_S = 5_000  # of all feeds, in the hour that is converted
RETENTION_DAYS = 30
BACKUP_S_MAX = 600  # and twice the minutes that it is meant to take
DAYS_BEFORE = 6  # what there is to back up
BYTES_PER_ROW = 97  # native, as filled
TAKEN_MIB = 1100  # by columns that are written to, ahead of their rows; read like rows
COMPARED = ("binance_spot", "phemex_futures")  # ids that count up, and none at all


# --- cold -----------------------------------------------------------------------------------------


async def cold(folder: Path, seconds: int, rate_per_s: int) -> dict[str, Any]:
    """Record, end, move the rows into one hour of two days ago, convert it."""
    outcome = Outcome()
    arguments = [*simulator_arguments(1, rate_per_s), "--symbols", str(SYMBOLS)]
    async with (
        run_simulator(folder / "truth", arguments) as simulator,
        daemon_process(folder / "run", simulator) as daemon,
    ):
        daemon.start()
        await daemon.until(is_subscribed, "subscribed")
        wanted = seconds * rate_per_s
        await daemon.until(lambda now: applied_rows(now) >= wanted, "recorded", 10.0 * seconds)
        await reckon(outcome, simulator, daemon)
        async with database_before(daemon.config) as sql:
            return await _convert(sql, daemon.config) | {"missing": outcome.missing}


async def _convert(sql: Sql, config: Config) -> dict[str, Any]:
    clock = SystemClock()
    hour_ns = day_of(clock.wall_ns(), 2) + 12 * HOUR_NS
    rows = await sql.query("SELECT min(timestamp)::long, max(timestamp)::long FROM trades")
    first_ns, last_ns = rows[0]
    # At the pace of a day: windows then hold as many rows as they do.
    ((recorded,),) = await sql.query("SELECT count() FROM trades")
    span_ns = min(recorded * NS_PER_S // ROWS_PER_S, HOUR_NS - NS_PER_S)
    stretch = span_ns / max(1, last_ns - first_ns)
    await sql.execute(
        "INSERT INTO trades SELECT"
        f" ({hour_ns} + ((timestamp::long - {first_ns}) * {stretch})::long)::timestamp_ns,"
        " exchange, market_type, symbol, side, price, quantity, trade_id, sequence_number,"
        f" ({hour_ns} + ((received_at::long - {first_ns}) * {stretch})::long)::timestamp_ns,"
        " origin, kind FROM trades"
    )
    await wait_applied(sql, "trades")
    address = running_address(config)
    figures: dict[str, Any] = {"windows": WINDOWS, "rows_per_s": ROWS_PER_S, "symbols": SYMBOLS}
    native = await _partition(sql, hour_ns)
    figures["rows"] = native.rows
    figures["native_bytes_per_row"] = round(native.disk_bytes / native.rows, 1)
    (server,) = find_leftovers(config.data_dir, config.data_dir / SERVER_FOLDER)
    figures["native_window_ms"] = await _windows(address, hour_ns, span_ns, server.pid)
    store = ColdStore(
        sql,
        OperationLog(NoSink(), clock),
        clock,
        cold_hours=24,
        data_dir=config.data_dir,
        pace=Pace(),
    )
    started_s = time.perf_counter()
    (done,) = await store.run()
    figures["conversion_s"] = round(time.perf_counter() - started_s, 1)
    figures["equal"] = done.problem == ""
    parquet = await _partition(sql, hour_ns)
    figures["parquet_bytes_per_row"] = round(parquet.disk_bytes / parquet.rows, 1)
    figures["parquet_window_ms"] = await _windows(address, hour_ns, span_ns, server.pid)
    return figures


async def _partition(sql: Sql, start_ns: int) -> Any:
    (found,) = [p for p in await read_partitions(sql, "trades") if p.start_ns == start_ns]
    return found


async def _windows(
    address: ServerAddress, hour_ns: int, span_ns: int, server_pid: int
) -> dict[str, float]:
    """Of random coins at random moments, ±20 s, all feeds, by the statement of every window."""
    with preferred(server_pid, os.getpid()):
        return await trio.to_thread.run_sync(_windows_now, address, hour_ns, span_ns)


@contextmanager
def preferred(*pids: int) -> Iterator[None]:
    """They go before what else is at work on this machine; where that is allowed."""
    for pid in pids:
        set_nice(pid, NICE)
    try:
        yield
    finally:
        for pid in pids:
            set_nice(pid, 0)


def _windows_now(address: ServerAddress, hour_ns: int, span_ns: int) -> dict[str, float]:
    rng = random.Random(5)
    # In the same order both times: the same windows are asked for.
    symbols = sorted(
        row["symbol"]
        for row in query(
            address,
            "SELECT DISTINCT symbol FROM trades WHERE timestamp >= cast(%s AS TIMESTAMP_NS)"
            " AND timestamp < cast(%s AS TIMESTAMP_NS)",
            [hour_ns, hour_ns + HOUR_NS],
        )
    )
    sql = ROW_SQL.format(symbols="symbol = %s", feeds="")  # as windows are asked for everywhere
    took_ms, rows = [], 0
    for _ in range(WINDOWS):
        at_ns = hour_ns + rng.randrange(AROUND_S * NS_PER_S, span_ns - AROUND_S * NS_PER_S)
        span = [at_ns - AROUND_S * NS_PER_S, at_ns + AROUND_S * NS_PER_S]
        started_s = time.perf_counter()
        rows += len(query(address, sql, [*span, rng.choice(symbols), ROWS_MAX + 1]))
        took_ms.append((time.perf_counter() - started_s) * 1000)
    took_ms.sort()
    return {
        "p50": round(took_ms[WINDOWS // 2], 1),
        "p99": round(took_ms[int(WINDOWS * 0.99)], 1),
        "rows": round(rows / WINDOWS, 1),
    }


# --- load -----------------------------------------------------------------------------------------


async def load(
    folder: Path, minutes: float, rate_per_s: int, before_s: int, rows_per_hour: int, nice: int
) -> dict[str, Any]:
    """A backup that takes so long, under load; its speed limit is set to what there is to read."""
    clock = SystemClock()
    rows = rows_per_hour * 24 * DAYS_BEFORE + rate_per_s * before_s
    mib = TAKEN_MIB + rows * BYTES_PER_ROW / 2**20
    rate = max(1, int(mib / (minutes * 60 * 0.8)))
    settings = (
        f"\n[backup]\nrate_mib_per_s = {rate}\nsample_partitions = 0\n"
        "[retention]\ncold_hours = 960\n"
    )
    async with stage(folder, 2, rate_per_s, settings) as (simulator, daemon):
        async with database_before(daemon.config) as sql:
            now_ns = clock.wall_ns()
            await fill_days(
                sql, day_of(now_ns, DAYS_BEFORE), day_of(now_ns, 0),
                rows_per_hour=rows_per_hour, seed=3,
            )  # fmt: skip
        daemon.start()
        await daemon.until(is_subscribed, "subscribed")
        prefer(simulator, daemon, nice)
        # What the start left behind is neither of the two.
        await daemon.until(lambda now: pending(now) < rate_per_s, "level with what comes", 300.0)
        start = await _lag(daemon)
        await trio.sleep(before_s)
        first = await _lag(daemon)
        started_s = trio.current_time()
        within_s = BACKUP_S_MAX + 120 * minutes
        code, rows, text = await say(daemon, "backup", "create", within_s=within_s)
        backup_s = trio.current_time() - started_s
        last = await _lag(daemon)
        account = await _account(simulator, daemon)
        held = [
            json.loads(line)["held_s"]
            for line in daemon.log_file.read_text().splitlines()
            if '"checkpoint_taken"' in line
        ]
    quiet = [after - before for before, after in zip(start, first, strict=True)]
    during = [after - before for before, after in zip(first, last, strict=True)]
    return {
        "backup_s": round(backup_s, 1), "exit_code": code, "state": rows and rows[0]["state"],
        "error": text, "writers_held_s": held, **account,
        "lag_before_s": _quantiles(quiet), "lag_during_s": _quantiles(during),
        "rate_mib_per_s": rate, "nice": nice,
    }  # fmt: skip


async def _account(simulator: Simulator, daemon: DaemonProcess) -> dict[str, Any]:
    """Every row by count, at each step; row by row those of two feeds (all would not fit)."""
    last = await settle(daemon, simulator)
    stats = (await simulator.stats())["feeds"]
    parsed = {feed["feed"]: int(feed["parsed"]) for feed in last["feeds"]}
    sent = {name: int(stats[name]["delivered"]) for name in parsed}
    address = running_address(daemon.config)
    sql = Sql(address)
    try:
        ((stored,),) = await sql.query("SELECT count() FROM trades WHERE symbol <> %s", (SYMBOL,))
    finally:
        await sql.aclose()
    tables = {name: await fetch_stored(address, feed=name) for name in COMPARED}
    await simulator.end()
    tallies = []
    for name, table in tables.items():
        truth = await simulator.truth(name)
        table = table.filter(pl.col("symbol") != SYMBOL)
        tallies += await trio.to_thread.run_sync(compare, truth, table, [name])
    return {
        "sent": sum(sent.values()), "applied": applied_rows(last), "stored": stored,
        "not_received": sum(sent.values()) - sum(parsed.values()),
        "differences": last["differences"], "compared_rows": sum(one.sent for one in tallies),
        "missing": sum(one.missing for one in tallies) + max(0, applied_rows(last) - stored),
        "duplicate": sum(one.duplicate for one in tallies),
        "wrong": sum(one.different + one.unknown for one in tallies),
    }  # fmt: skip


async def _lag(daemon: DaemonProcess) -> list[int]:
    """Rows by how long they took from receipt to visible, so far (the histogram's buckets)."""
    port = read_runtime(daemon.data_dir)["dashboard_port"]
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    upto = [
        int(float(line.rpartition(" ")[2]))
        for line in text.splitlines()
        if line.startswith("pumpwatch_applied_lag_seconds_bucket")
    ]
    return [count - before for before, count in itertools.pairwise([0, *upto])]


def _quantiles(counts: Sequence[int]) -> dict[str, float | None]:
    shown = HistogramStanding(edges_s=LAG_BUCKETS_S, counts=tuple(counts), sum_s=0.0)
    return {"p50": shown.quantile(0.5), "p99": shown.quantile(0.99)}


# --- daily ----------------------------------------------------------------------------------------


class DayClock:
    """A wall clock that stands in a morning of the past, and goes on by days."""

    def __init__(self, now_ns: int) -> None:
        self.now_ns = now_ns

    def wall_ns(self) -> int:
        """A little later each time: no two stamps are equal."""
        self.now_ns += 1000
        return self.now_ns


async def daily(folder: Path, rows_per_hour: int) -> dict[str, Any]:
    """For 30 days a day more and a backup, all of them kept; then one full, without the others."""
    config = Config(
        data_dir=folder / "data",
        questdb=QuestdbConfig(http_port=0, pg_port=0, health_port=0),
        backup=BackupConfig(rate_mib_per_s=0, keep_days=60, sample_partitions=0),
    )
    clock = DayClock(day_of(SystemClock().wall_ns(), RETENTION_DAYS) + 3 * HOUR_NS)
    operations = OperationLog(NoSink(), clock)
    async with database_before(config) as sql:
        new_bytes = []
        for day in range(RETENTION_DAYS):
            await fill_days(
                sql, day_of(clock.now_ns, 0), day_of(clock.now_ns, -1),
                rows_per_hour=rows_per_hour, seed=day + 1,
            )  # fmt: skip
            clock.now_ns = day_of(clock.now_ns, -1) + 3 * HOUR_NS
            state = await _back_up(config, sql, clock, operations)
            new_bytes.append(state.new_bytes)
        places = config.path(config.backup.directory)
        all_bytes = _size(places)
        places.rename(folder / "dailies")
        full = await _back_up(config, sql, clock, operations)
    return {
        "rows": full.rows, "full_bytes": full.new_bytes, "dailies_bytes": all_bytes,
        "first_bytes": new_bytes[0], "daily_bytes": round(sum(new_bytes[1:]) / len(new_bytes[1:])),
        "share": round(all_bytes / _size(places), 3), "rows_per_hour": rows_per_hour,
    }  # fmt: skip


async def _back_up(config: Config, sql: Sql, clock: DayClock, operations: OperationLog) -> State:
    backups = Backups(config, sql, clock, operations, random.Random(1), hold=NoHold())
    state = await backups.create()
    if state.state != "good":
        raise SystemExit(f"{state.name}: {state.state}: {state.error}")
    return state


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("cold", "load", "daily"))
    parser.add_argument("--seconds", type=int, default=60, help="cold: of recording")
    parser.add_argument("--rate", type=int, default=50_000)
    parser.add_argument("--minutes", type=float, default=10.0, help="load: of the backup")
    parser.add_argument("--before", type=int, default=60, help="load: seconds without one")
    parser.add_argument("--rows", type=int, default=20_000, help="daily, load: an hour of before")
    parser.add_argument("--nice", type=int, default=0, help="load: below 0 on a busy machine")
    options = parser.parse_args(arguments)
    log.configure(level=logging.WARNING)
    folder = Path(tempfile.mkdtemp(prefix="bench-upkeep-"))
    try:
        if options.what == "cold":
            figures = trio.run(cold, folder, options.seconds, options.rate)
        elif options.what == "load":
            figures = trio.run(
                load,
                folder,
                options.minutes,
                options.rate,
                options.before,
                options.rows,
                options.nice,
            )
        else:
            figures = trio.run(daily, folder, options.rows)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps({"bench": "upkeep", "case": options.what, **figures, "cpu": cpu_name(),
                      "commit": commit()}))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
