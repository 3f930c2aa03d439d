"""What the database costs while it has little to do: its workers look for work before they sleep.

Two requests of 2,500 rows and four looks at the WAL a second, as the daemon makes them at 5,000
rows/s, with the thresholds that the server has by itself and with ours; in turn, so that the
machine is the same for both. Prints one JSON line a case.
"""

from __future__ import annotations

import argparse
import logging
import time
from unittest.mock import patch

import trio

from bench.lone_database import (
    FIRST_NS,
    ROWS_PER_S,
    SECOND_NS,
    LoneDatabase,
    Writer,
    lone_database,
)
from bench.machine import emit, emit_machine
from pumpwatch import log
from pumpwatch.store import embedded_files
from pumpwatch.store.applied import WAL_SQL
from pumpwatch.store.sql import Sql

REQUESTS_PER_S, LOOKS = 2, 2  # looks a request
WARM_UP_S = 40
ASKED = 300
PAUSE_S = 0.05


async def measure(case: str, pools: tuple[str, ...], seconds: int) -> None:
    """One case, printed; ``pools`` get our thresholds."""
    with patch.object(embedded_files, "WORKER_POOLS", pools):
        async with lone_database() as database:
            await _play(case, database, seconds)


async def _play(case: str, database: LoneDatabase, seconds: int) -> None:
    sql, writer = database.sql, database.writer
    now_ns = await _load(writer, sql, FIRST_NS, WARM_UP_S)
    begun_s = database.cpu_s
    await trio.sleep(seconds / 2)
    idle_s = database.cpu_s - begun_s
    begun_s, at_s = database.cpu_s, time.perf_counter()
    await _load(writer, sql, now_ns, seconds)
    load_s, wall_s = database.cpu_s - begun_s, time.perf_counter() - at_s
    close, apart = await _ask(sql, 0), await _ask(sql, PAUSE_S)
    emit(
        "server", case, seconds * ROWS_PER_S, wall_s,
        idle_cores=round(idle_s / (seconds / 2), 3), cores=round(load_s / wall_s, 3),
        asked_at_once_p50_ms=close[0], asked_at_once_p95_ms=close[1],
        asked_apart_p50_ms=apart[0], asked_apart_p95_ms=apart[1],
    )  # fmt: skip


async def _load(writer: Writer, sql: Sql, now_ns: int, seconds: int) -> int:
    """Returns the time behind the last row."""
    rows, begun_s = ROWS_PER_S // REQUESTS_PER_S, time.perf_counter()
    step_ns = SECOND_NS // ROWS_PER_S
    for number in range(seconds * REQUESTS_PER_S):
        await writer.send([now_ns + at * step_ns for at in range(rows)])
        now_ns += rows * step_ns
        for _ in range(LOOKS):
            await sql.query(WAL_SQL)
            await trio.sleep(0.1)
        await trio.sleep(max(0.0, begun_s + (number + 1) / REQUESTS_PER_S - time.perf_counter()))
    return now_ns


async def _ask(sql: Sql, pause_s: float) -> tuple[float, float]:
    """Median and 95th percentile of a small question, ms."""
    times = []
    for _ in range(ASKED):
        await trio.sleep(pause_s)
        begun_s = time.perf_counter()
        await sql.query("SELECT * FROM trades LIMIT 3")
        times.append((time.perf_counter() - begun_s) * 1e3)
    times.sort()
    return round(times[ASKED // 2], 2), round(times[ASKED * 95 // 100], 2)


def main() -> None:
    """The server's own thresholds and ours, twice."""
    parser = argparse.ArgumentParser(prog="python -m bench.bench_server", description=__doc__)
    parser.add_argument("--seconds", type=int, default=40)
    options = parser.parse_args()
    log.configure(level=logging.WARNING)
    emit_machine("server")
    ours = embedded_files.WORKER_POOLS
    for number in (1, 2):
        trio.run(measure, f"the server's own thresholds, {number}", (), options.seconds)
        trio.run(measure, f"ours, {number}", ours, options.seconds)


if __name__ == "__main__":
    main()
