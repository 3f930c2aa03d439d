"""End to end: simulator → sockets → daemon → spool → QuestDB applied, all on this machine.

Prints one JSON line. ``rows_per_s`` counts applied rows from the first row received until the last
one was applied; ``steady`` is the same between the warm-up and the end of trading, with processor
time by process and thread. A lag is the time from a row's receipt until it is visible in SQL, the
upper edge of its bucket (1.25 times the one before).
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import re
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import trio

from pumpwatch import log
from pumpwatch.clock import SystemClock
from pumpwatch.config import in_folder, load_config
from pumpwatch.daemon import Daemon
from pumpwatch.demo import run_and_tally
from pumpwatch.rates import LagHistogram
from pumpwatch.sim.process import Simulator, run_simulator
from pumpwatch.store.embedded import hold_data_dir

SAMPLE_S = 0.2
WARM_UP_S = 15.0
RSS_POINTS = 20
THREADS_SHOWN = 10
SHARES = (0.5, 0.9, 0.99, 0.999)
MILLION = 1_000_000


class Used:
    """Processor seconds so far, by process and by kind of thread."""

    def __init__(self, pids: dict[str, int]) -> None:
        self.at_s = trio.current_time()
        self.cpu_s: dict[str, float] = {}
        self.threads_s: Counter[str] = Counter()
        for name, pid in pids.items():
            try:
                process = psutil.Process(pid)
                times = process.cpu_times()
                self.cpu_s[name] = times.user + times.system
                for thread in process.threads():
                    kind = thread_kind(pid, thread.id)
                    self.threads_s[f"{name}: {kind}"] += thread.user_time + thread.system_time
            except psutil.Error:
                self.cpu_s.setdefault(name, 0.0)


def thread_kind(pid: int, thread: int) -> str:
    """A thread's name without its number; the first one of a process is its main thread."""
    if pid == thread:
        return "main"
    try:
        name = Path(f"/proc/{pid}/task/{thread}/comm").read_text(encoding="utf-8")
    except OSError:
        return "ended"
    return re.sub(r"[\s_#-]*\d*$", "", name.strip()) or "unnamed"


class Meter:
    """Processor time and memory of the three processes, and when rows came and were applied.

    The steady part begins ``warm_up_s`` after the first row (a JVM compiles itself meanwhile) and
    ends when trading does.
    """

    def __init__(
        self, daemon: Daemon, simulator: Simulator, *, warm_up_s: float, seconds: float
    ) -> None:
        self.daemon = daemon
        self.simulator = simulator
        self.rss_mib: list[tuple[int, int, int]] = []  # seconds, daemon, database
        self.first_row_s = 0.0
        self.last_applied_s = 0.0
        self.applied = 0
        self.before: Used | None = None
        self.after: Used | None = None  # at the last applied row
        self.steady_from: tuple[Used, int, list[int]] | None = None  # with rows and lags
        self.steady_to: tuple[Used, int, list[int]] | None = None
        self._warm_up_s = warm_up_s
        self._seconds = seconds

    def _pids(self) -> dict[str, int]:
        return {
            "daemon": psutil.Process().pid,
            "database": self.daemon.server.pid,
            "simulator": self.simulator.process.pid,
        }

    async def run(self) -> None:
        """Sample until the last row is applied."""
        await self.daemon.capturing.wait()
        began_s = trio.current_time()
        self.before = Used(self._pids())
        while self.daemon.state != "drained":  # comparing with the truth comes after
            now_s = trio.current_time() - began_s
            self._look()
            if self.steady_from is None and now_s >= self._warm_up_s:
                self.steady_from = self._mark()
            if self.steady_to is None and now_s >= self._seconds:
                self.steady_to = self._mark()
            if now_s >= len(self.rss_mib) * self._seconds / RSS_POINTS:
                self._weigh(round(now_s))
            await trio.sleep(SAMPLE_S)
        self._look()  # the last rows were applied since the look before

    def _mark(self) -> tuple[Used, int, list[int]]:
        return Used(self._pids()), self.applied, list(self.daemon.monitor.lags.rows)

    def _look(self) -> None:
        now_s = trio.current_time()
        parsed = sum(feed.road.counts_now()["parsed"] for feed in self.daemon.feeds)
        applied = sum(self.daemon.tables["trades"].applied_by_feed.values())
        if parsed and not self.first_row_s:
            self.first_row_s = now_s
        if applied != self.applied:
            self.applied, self.last_applied_s = applied, now_s
            self.after = Used(self._pids())

    def _weigh(self, now_s: int) -> None:
        weights = []
        for name in ("daemon", "database"):
            try:
                weights.append(psutil.Process(self._pids()[name]).memory_info().rss >> 20)
            except psutil.Error:
                weights.append(0)
        self.rss_mib.append((now_s, weights[0], weights[1]))

    def whole(self) -> dict[str, Any]:
        """Figures from the first row to the last."""
        seconds = max(self.last_applied_s - self.first_row_s, 1e-9)
        lags = self.daemon.monitor.lags
        assert self.before is not None
        return {
            "applied": self.applied,
            "seconds": round(seconds, 2),
            "rows_per_s": round(self.applied / seconds),
            "lag_p50_s": lags.quantile(0.5),
            "lag_p99_s": lags.quantile(0.99),
            "cpu_s_per_million_rows": cpu_per_million(self.before, self.after, self.applied),
        }

    def steady(self) -> dict[str, Any]:
        """Figures between the marks; {} where the run was too short for them."""
        if self.steady_from is None or self.steady_to is None:
            return {}
        (before, rows_before, lags_before), (after, rows_after, lags_after) = (
            self.steady_from, self.steady_to,
        )  # fmt: skip
        rows, seconds = rows_after - rows_before, after.at_s - before.at_s
        lags = LagHistogram()
        lags.rows = [to - since for to, since in zip(lags_after, lags_before, strict=True)]
        threads_s = after.threads_s - before.threads_s
        return {
            "seconds": round(seconds, 1),
            "rows_per_s": round(rows / seconds),
            **{f"lag_p{round(share * 1000) / 10:g}_s": lags.quantile(share) for share in SHARES},
            "cores": {
                name: round((after.cpu_s[name] - before.cpu_s[name]) / seconds, 3)
                for name in after.cpu_s
            },
            "cpu_s_per_million_rows": cpu_per_million(before, after, rows),
            "threads_cpu_s_per_million_rows": {
                name: round(used / max(rows, 1) * MILLION, 3)
                for name, used in threads_s.most_common(THREADS_SHOWN)
            },
        }


def cpu_per_million(before: Used, after: Used | None, rows: int) -> dict[str, float]:
    """Processor seconds per million rows, by process."""
    if after is None:
        return {}
    return {
        name: round((used - before.cpu_s[name]) / max(rows, 1) * MILLION, 3)
        for name, used in after.cpu_s.items()
    }


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
            meter = Meter(daemon, simulator, warm_up_s=options.warm_up, seconds=options.seconds)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(meter.run)
                tallies = await run_and_tally(daemon, simulator, options.seconds, None)
                nursery.cancel_scope.cancel()
    return {
        "bench": "daemon",
        "case": (options.pump and f"pump_{options.pump}") or "spread",
        "asked_rate": options.rate,
        "symbols": options.symbols * len(tallies),
        "rows": sum(tally.sent for tally in tallies),
        **meter.whole(),
        "missing": sum(tally.missing for tally in tallies),
        "duplicate": sum(tally.duplicate for tally in tallies),
        "wrong": sum(tally.different + tally.unknown for tally in tallies),
        "steady": meter.steady(),
        "rss_mib": meter.rss_mib,
        "seed": options.seed,
    }


def main() -> int:
    """Parse, run, print; 1 where a row is missing, doubled or wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rate", type=int, default=400_000, help="trades a second that are offered"
    )
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--warm-up", type=float, default=WARM_UP_S, help="s before the steady part")
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
