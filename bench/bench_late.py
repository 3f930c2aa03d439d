"""What rows of the past cost the database while it is written to: what backfill does to it.

A table's open hour with so many rows; then, each second, a second's worth of new rows and some that
are up to ten minutes old, at once or gathered for some seconds. Each commit with old rows has the
server write anew what is younger than the oldest of them. Prints one JSON line a case.
"""

from __future__ import annotations

import argparse
import logging
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import psutil
import trio

from bench.machine import emit, emit_machine
from pumpwatch import log
from pumpwatch.config import Config, QuestdbConfig
from pumpwatch.drills.months import database_before
from pumpwatch.store.partitions import wait_applied
from pumpwatch.store.server import running_address
from pumpwatch.store.server_process import PidFile
from pumpwatch.store.sql import Sql

SECOND_NS = 10**9
FIRST_NS = 1_795_660_200 * SECOND_NS  # half past an hour: what follows stays in it
ROWS_PER_S, OLD_PER_S = 5_000, 60
OLD_S = 600
ROWS_A_REQUEST = 100_000
SYMBOLS = 475
SEED = 20261126


class Writer:
    """Sends made-up trades of the given times; every row has an id of its own."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._rng = random.Random(SEED)
        self._id = 0

    async def send(self, times_ns: Sequence[int]) -> None:
        """One request, one commit."""
        lines = []
        for ns in times_ns:
            self._id += 1
            lines.append(
                f"trades,exchange=kucoin,market_type=spot,symbol=S{self._rng.randrange(SYMBOLS)},"
                f'side=buy,origin=stream,kind=trade trade_id="{self._id}",price=1.5,quantity=2.5,'
                f"sequence_number={self._id}i {ns}\n"
            )
        answer = await self._client.post("/write", content="".join(lines))
        answer.raise_for_status()

    def old(self, now_ns: int, rows: int) -> list[int]:
        """Times of the last ten minutes, but for the last ten seconds."""
        low, high = now_ns - OLD_S * SECOND_NS, now_ns - 10 * SECOND_NS
        return sorted(self._rng.randrange(low, high) for _ in range(rows))


async def measure(rows: int, seconds: int, gathered_s: int) -> None:
    """One case, printed; ``gathered_s`` 0: nothing old comes."""
    with tempfile.TemporaryDirectory(prefix="bench-late-") as folder:
        ports = QuestdbConfig(http_port=0, pg_port=0, health_port=0)
        config = Config(data_dir=Path(folder), questdb=ports)
        async with database_before(config) as sql:
            address, running = running_address(config), PidFile.read(config.data_dir)
            assert running is not None
            async with httpx.AsyncClient(
                base_url=address.http_url, auth=(address.user, address.password),
                timeout=60, trust_env=False,
            ) as client:  # fmt: skip
                process = psutil.Process(running.pid)
                await _play(Writer(client), sql, process, rows, seconds, gathered_s)


async def _play(
    writer: Writer, sql: Sql, process: psutil.Process, rows: int, seconds: int, gathered_s: int
) -> None:
    step_ns = SECOND_NS // ROWS_PER_S
    for first in range(0, rows, ROWS_A_REQUEST):
        await writer.send([FIRST_NS + (first + at) * step_ns for at in range(ROWS_A_REQUEST)])
    await wait_applied(sql, "trades")
    now_ns = FIRST_NS + rows * step_ns
    written, cpu = process.io_counters().write_chars, process.cpu_times()
    begun_s, visible_s = time.perf_counter(), []
    for second in range(seconds):
        at_s = time.perf_counter()
        await writer.send([now_ns + at * step_ns for at in range(ROWS_PER_S)])
        now_ns += SECOND_NS
        if gathered_s and second % gathered_s == 0:
            await writer.send(writer.old(now_ns, OLD_PER_S * gathered_s))
        await wait_applied(sql, "trades")
        visible_s.append(time.perf_counter() - at_s)
        await trio.sleep(max(0.0, begun_s + second + 1 - time.perf_counter()))
    after = process.cpu_times()
    emit(
        "late", f"old rows gathered for {gathered_s} s" if gathered_s else "no old rows",
        seconds * ROWS_PER_S, time.perf_counter() - begun_s,
        rows_before=rows, old_rows_per_s=OLD_PER_S if gathered_s else 0,
        database_cores=round((after.user + after.system - cpu.user - cpu.system) / seconds, 3),
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
