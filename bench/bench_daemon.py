"""End to end: simulator → sockets → daemon → spool → QuestDB applied, all on this machine.

Prints one JSON line. ``rows_per_s`` counts applied rows from the first row received until the last
one was applied; cpu figures are seconds of processor time per million applied rows, by process.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import trio

from pumpwatch import log
from pumpwatch.clock import SystemClock
from pumpwatch.config import in_folder, load_config
from pumpwatch.daemon import Daemon
from pumpwatch.demo import Simulator, run_and_tally, run_simulator
from pumpwatch.store.embedded import hold_data_dir

SAMPLE_S = 0.2
MILLION = 1_000_000


class Meter:
    """Processor time and memory of the three processes, and when rows came and were applied."""

    def __init__(self, daemon: Daemon, simulator: Simulator) -> None:
        self.daemon = daemon
        self.simulator = simulator
        self.rss_mib_max = {"daemon": 0.0, "database": 0.0}
        self.cpu_s: dict[str, float] = {}
        self.first_row_s = 0.0
        self.last_applied_s = 0.0
        self.applied = 0

    def _pids(self) -> dict[str, int]:
        return {
            "daemon": psutil.Process().pid,
            "database": self.daemon.server.pid,
            "simulator": self.simulator.process.pid,
        }

    async def run(self) -> None:
        """Sample until cancelled."""
        await self.daemon.capturing.wait()
        before = self._cpu()
        while self.daemon.state != "drained":  # comparing with the truth comes after
            self._look(before)
            await trio.sleep(SAMPLE_S)

    def _cpu(self) -> dict[str, float]:
        used = {}
        for name, pid in self._pids().items():
            try:
                times = psutil.Process(pid).cpu_times()
                used[name] = times.user + times.system
            except psutil.Error:
                used[name] = 0.0
        return used

    def _look(self, before: dict[str, float]) -> None:
        now_s = trio.current_time()
        parsed = sum(feed.road.counts_now()["parsed"] for feed in self.daemon.feeds)
        applied = sum(self.daemon.tables["trades"].applied_by_feed.values())
        if parsed and not self.first_row_s:
            self.first_row_s = now_s
        if applied != self.applied:
            self.applied, self.last_applied_s = applied, now_s
            self.cpu_s = {name: used - before[name] for name, used in self._cpu().items()}
        for name in self.rss_mib_max:
            try:
                rss = psutil.Process(self._pids()[name]).memory_info().rss / 2**20
            except psutil.Error:
                continue
            self.rss_mib_max[name] = max(self.rss_mib_max[name], rss)


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run one case; returns its figures."""
    arguments = ["--rate", str(options.rate), "--seed", str(options.seed),
                 "--symbols", str(options.symbols), "--no-recorded"]  # fmt: skip
    if options.pump:
        arguments += ["--pump", options.pump]
    with hold_data_dir(folder):
        async with run_simulator(folder / "truth", arguments) as simulator:
            config = simulator.configure(in_folder(load_config(None, {}), folder))
            daemon = Daemon(config, SystemClock(), random.Random(options.seed))
            meter = Meter(daemon, simulator)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(meter.run)
                tallies = await run_and_tally(daemon, simulator, options.seconds, None)
                nursery.cancel_scope.cancel()
    seconds = max(meter.last_applied_s - meter.first_row_s, 1e-9)
    lags = daemon.monitor.lags
    sent = sum(tally.sent for tally in tallies)
    return {
        "bench": "daemon",
        "case": (options.pump and f"pump_{options.pump}") or "spread",
        "rows": sent,
        "applied": meter.applied,
        "seconds": round(seconds, 2),
        "rows_per_s": round(meter.applied / seconds),
        "lag_p50_s": lags.quantile(0.5),
        "lag_p99_s": lags.quantile(0.99),
        "missing": sum(tally.missing for tally in tallies),
        "duplicate": sum(tally.duplicate for tally in tallies),
        "wrong": sum(tally.different + tally.unknown for tally in tallies),
        "daemon_rss_mib": round(meter.rss_mib_max["daemon"]),
        "database_rss_mib": round(meter.rss_mib_max["database"]),
        "cpu_s_per_million_rows": {
            name: round(used / max(meter.applied, 1) * MILLION, 3)
            for name, used in meter.cpu_s.items()
        },
        "cores_used": {name: round(used / seconds, 2) for name, used in meter.cpu_s.items()},
        "asked_rate": options.rate,
        "symbols": options.symbols,
        "seed": options.seed,
    }


def main() -> int:
    """Parse, run, print; 1 where a row is missing, doubled or wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rate", type=int, default=400_000, help="trades a second that are offered"
    )
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--symbols", type=int, default=40, help="per feed")
    parser.add_argument("--pump", default="", metavar="COIN", help="a coin that gets 80 %% of all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, default=None, help="keep the data here")
    options = parser.parse_args()
    log.configure(level=logging.WARNING)
    if options.data is not None:
        figures = trio.run(partial(measure, options, options.data))
    else:
        with tempfile.TemporaryDirectory(prefix="pumpwatch-bench-") as folder:
            figures = trio.run(partial(measure, options, Path(folder)))
    print(json.dumps(figures))
    return int(bool(figures["missing"] or figures["duplicate"] or figures["wrong"]))


if __name__ == "__main__":
    sys.exit(main())
