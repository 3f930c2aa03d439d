"""The spool: appended records -> segments on a disk that is thrown away afterwards.

``--directory`` names where; the default is the system's folder for temporary files, which may be
memory. Wall time here: a disk is waited for.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

import trio

from bench.machine import emit, emit_machine
from bench.messages import FORMS, Stream
from bench.roads import Road, chunks_of
from pumpwatch.clock import SystemClock
from pumpwatch.model import Record
from pumpwatch.store.spool import Spool, run_spool

RECORDS = 1_000  # 266 MB
MIB = 1024 * 1024
SEED = 20261125
CASES = (("fsync 1 s", 1.0), ("fsync every write", 0.0))


def payload() -> tuple[bytes, int]:
    """One flush of Binance lines."""
    stream = Stream(FORMS[0], SEED)
    road = Road(FORMS[0], stream)
    for chunk in chunks_of(list(stream.messages(1_300, 1))):
        road.feed(chunk)
    lines, rows, _ = road.rows.take()
    return lines, rows


async def measure(case: str, fsync_s: float, directory: Path) -> None:
    """Append all records as fast as there is room; the last one written ends the time."""
    lines, rows = payload()
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        spool = Spool(
            Path(folder),
            SystemClock(),
            random.Random(SEED),
            schema_version=1,
            disk_bytes_max=8192 * MIB,
            fsync_s=fsync_s,
            buffer_bytes_max=64 * MIB,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(run_spool, spool, {})
            start_ns = time.perf_counter_ns()
            for _ in range(RECORDS):
                await spool.room()
                spool.append(Record(table=1, feed=1, rows=rows, payload=lines))
                await trio.lowlevel.checkpoint()
            await spool.written()
            seconds = (time.perf_counter_ns() - start_ns) / 1e9
            nursery.cancel_scope.cancel()
    size_bytes = RECORDS * len(lines)
    emit("spool", case, RECORDS * rows, seconds, mib_per_s=round(size_bytes / seconds / MIB))


def main() -> None:
    """Both cases."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()))
    given = arguments.parse_args()
    emit_machine("spool")
    for case, fsync_s in CASES:
        trio.run(measure, case, fsync_s, given.directory)


if __name__ == "__main__":
    main()
