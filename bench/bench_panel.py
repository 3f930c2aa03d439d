"""``research.panel`` of 50 events, two hours each, on a grid of 100 ms; wall time and memory.

The panel is made in a process of its own, so that the memory is its own, too.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.machine import emit, emit_machine
from pumpwatch import research

KIB_PER_MIB = 1024


def make(folder: Path, events: int, rate_per_s: float) -> None:
    """Bundles of twelve feeds."""
    from tests.research.making import FIRST_NS, NS, Move, Shape, make_bundle

    for number in range(events):
        make_bundle(folder, Shape(
            coin=f"C{number:02d}", at_ns=FIRST_NS + number * 10_000 * NS, seed=number,
            moves={"okx_spot": Move(300.0, 8.0)}, before_s=3600, after_s=3600,
            rate_per_s=rate_per_s,
        ))  # fmt: skip


def measure(folder: Path) -> None:
    """One panel, from the first file to the frame."""
    started_s = time.perf_counter()
    events = research.events(folder)
    panel = research.panel(events, "60m", "60m", "100ms", data=folder)
    seconds = time.perf_counter() - started_s
    rss_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // KIB_PER_MIB
    emit("panel", f"{len(events)} events", len(panel), seconds, trades=int(events["rows"].sum()),
         frame_mib=round(panel.estimated_size("mb")), rss_max_mib=rss_mib)  # fmt: skip


def main() -> None:
    """Make the bundles, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=50)
    parser.add_argument("--rate", type=float, default=2.0, help="trades a second of each feed")
    parser.add_argument("--measure", type=Path, default=None, help="only this, of bundles there")
    options = parser.parse_args()
    if options.measure is not None:
        measure(options.measure)
        return
    emit_machine("panel")
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), options.events, options.rate)
        command = [sys.executable, "-m", "bench.bench_panel", "--measure", folder]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
