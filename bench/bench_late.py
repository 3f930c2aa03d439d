"""What rows of the past cost the database while it is written to: what backfill does to it.

A table's open hour with so many rows; then, each second, a second's worth of new rows and some that
are up to ten minutes old, at once or gathered for some seconds. Each commit with old rows has the
server write anew what is younger than the oldest of them. Prints one JSON line a case.
"""

from __future__ import annotations

import argparse
import logging
import time

import trio

from bench.lone_database import FIRST_NS, ROWS_PER_S, SECOND_NS, LoneDatabase, lone_database
from bench.machine import emit, emit_machine
from pumpwatch import log
from pumpwatch.store.partitions import wait_applied

OLD_PER_S = 60
OLD_S = 600  # and 10 s at least
ROWS_A_REQUEST = 100_000


async def measure(rows: int, seconds: int, gathered_s: int) -> None:
    """One case, printed; ``gathered_s`` 0: nothing old comes."""
    async with lone_database() as database:
        await _play(database, rows, seconds, gathered_s)


async def _play(database: LoneDatabase, rows: int, seconds: int, gathered_s: int) -> None:
    sql, writer, process = database.sql, database.writer, database.process
    step_ns = SECOND_NS // ROWS_PER_S
    for first in range(0, rows, ROWS_A_REQUEST):
        await writer.send([FIRST_NS + (first + at) * step_ns for at in range(ROWS_A_REQUEST)])
    await wait_applied(sql, "trades")
    now_ns = FIRST_NS + rows * step_ns
    written, cpu_s = process.io_counters().write_chars, database.cpu_s
    begun_s, visible_s = time.perf_counter(), []
    for second in range(seconds):
        at_s = time.perf_counter()
        await writer.send([now_ns + at * step_ns for at in range(ROWS_PER_S)])
        now_ns += SECOND_NS
        if gathered_s and second % gathered_s == 0:
            span_ns = now_ns - OLD_S * SECOND_NS, now_ns - 10 * SECOND_NS
            await writer.send(writer.times_between(*span_ns, OLD_PER_S * gathered_s))
        await wait_applied(sql, "trades")
        visible_s.append(time.perf_counter() - at_s)
        await trio.sleep(max(0.0, begun_s + second + 1 - time.perf_counter()))
    used_s = database.cpu_s - cpu_s
    emit(
        "late", f"old rows gathered for {gathered_s} s" if gathered_s else "no old rows",
        seconds * ROWS_PER_S, time.perf_counter() - begun_s,
        rows_before=rows, old_rows_per_s=OLD_PER_S if gathered_s else 0,
        database_cores=round(used_s / seconds, 3),
        written_mib_per_s=round((process.io_counters().write_chars - written) / seconds / 2**20, 1),
        visible_p50_s=round(sorted(visible_s)[seconds // 2], 3),
        visible_max_s=round(max(visible_s), 3),
    )  # fmt: skip


def main() -> None:
    """Nothing old, old rows each second, the same gathered."""
    parser = argparse.ArgumentParser(prog="python -m bench.bench_late", description=__doc__)
    parser.add_argument("--rows", type=int, default=3_000_000, help="in the hour before")
    parser.add_argument("--seconds", type=int, default=40)
    options = parser.parse_args()
    log.configure(level=logging.WARNING)
    emit_machine("late")
    for gathered_s in (0, 1, 10):
        trio.run(measure, options.rows, options.seconds, gathered_s)


if __name__ == "__main__":
    main()
