"""What looking costs: windows with and without readers in turn, within one run.

Readers are the page in a real Chromium and 100 API clients that ask without a pause. In life they
are on another machine; here they run at the lowest priority, so that what is measured is what the
daemon does for them. Prints one JSON line; exit code 1 where rows a second fall by 5 % or more.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import trio

from bench.machine import prefer, set_nice
from pumpwatch.drills.stage import DaemonProcess, applied_rows, is_subscribed, parsed_rows, stage
from pumpwatch.environment import read_runtime

CLIENTS = 100
PATHS = ("/metrics", "/api/metrics", "/api/feeds", "/api/system/status", "/api/health")
SETTLE_S = 2.0  # after readers came or went
FALL_MAX = 0.05
NICE = 19


# --- the readers' process -------------------------------------------------------------------------


class Readers:
    """A hundred clients on kept connections, as cheap as Python can make them."""

    def __init__(self, port: int) -> None:
        self.statuses: Counter[str] = Counter()
        self._port = port

    async def run(self, stop: threading.Event) -> None:
        """Ask until ``stop``."""
        async with trio.open_nursery() as nursery:
            for number in range(CLIENTS):
                nursery.start_soon(self._ask, PATHS[number % len(PATHS)])
            while not stop.is_set():  # noqa: ASYNC110 - another thread's
                await trio.sleep(0.05)
            nursery.cancel_scope.cancel()

    async def _ask(self, path: str) -> None:
        request = f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
        stream = await trio.open_tcp_stream("127.0.0.1", self._port)
        held = b""
        while True:
            await stream.send_all(request)
            while b"\r\n\r\n" not in held:
                held += await stream.receive_some(65536)
            head, _, held = held.partition(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            while len(held) < size:
                held += await stream.receive_some(65536)
            held = held[size:]
            self.statuses[head[9:12].decode()] += 1


def read_for_ever(port: int) -> int:
    """The child: each line on stdin starts or ends the reading; answers with a line."""
    from tests.dashboard.browser import open_browser, open_page

    os.nice(NICE)
    this = psutil.Process()
    readers = Readers(port)
    with open_browser() as browser:
        print("ready", flush=True)
        for _ in sys.stdin:
            stop = threading.Event()
            with open_page(browser, f"http://127.0.0.1:{port}/"):
                for process in (this, *this.children(recursive=True)):
                    set_nice(process.pid, NICE)  # the browser's have sessions of their own
                clients = threading.Thread(target=trio.run, args=(readers.run, stop))
                clients.start()
                print("on", flush=True)
                sys.stdin.readline()
                stop.set()
                clients.join()
            print(json.dumps(readers.statuses), flush=True)
    return 0


# --- the measuring --------------------------------------------------------------------------------


async def window(daemon: DaemonProcess, seconds: float) -> dict[str, float]:
    """Rows a second and the daemon's share of a core, by its own clock."""
    assert daemon.process is not None
    process = psutil.Process(daemon.process.pid)
    first, cpu = await daemon.until(bool, "seen"), process.cpu_times()
    begun_s = trio.current_time()
    await trio.sleep(seconds)
    last, cpu_end = await daemon.until(bool, "seen"), process.cpu_times()
    passed_s = last["uptime_s"] - first["uptime_s"]
    used_s = cpu_end.user + cpu_end.system - cpu.user - cpu.system
    return {
        "applied": (applied_rows(last) - applied_rows(first)) / passed_s,
        "parsed": (parsed_rows(last) - parsed_rows(first)) / passed_s,
        "core": used_s / (trio.current_time() - begun_s),
    }


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """``pairs`` windows without and with readers, in turn."""
    without: list[dict[str, float]] = []
    reading: list[dict[str, float]] = []
    statuses: dict[str, int] = {}
    async with stage(folder, options.seed, options.rate) as (simulator, daemon):
        daemon.start()
        await daemon.until(is_subscribed, "subscribed")
        prefer(simulator, daemon, options.nice)
        # The backlog of the start drains faster than rows arrive: the first window would show it.
        await daemon.until(lambda seen: seen["store"]["pending_rows"] < options.rate, "level")
        runtime = read_runtime(daemon.data_dir)
        assert runtime is not None
        command = [sys.executable, "-m", "bench.bench_seat", "--read", str(runtime.dashboard_port)]
        with subprocess.Popen(  # noqa: ASYNC220 - once, before anything is measured
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as readers:
            assert readers.stdin is not None
            assert readers.stdout is not None

            async def turn() -> str:
                readers.stdin.write("\n")  # type: ignore[union-attr]
                readers.stdin.flush()  # type: ignore[union-attr]
                return await trio.to_thread.run_sync(readers.stdout.readline)  # type: ignore[union-attr]

            await trio.to_thread.run_sync(readers.stdout.readline)
            for number in range(options.pairs):
                # In turn the first of a pair: a backlog that grows must not look like readers.
                for is_read in (False, True) if number % 2 == 0 else (True, False):
                    if is_read:
                        await turn()
                    await trio.sleep(SETTLE_S)
                    found = await window(daemon, options.seconds)
                    (reading if is_read else without).append(found)
                    if is_read:
                        statuses = json.loads(await turn())
            readers.stdin.close()
        last = daemon.status()
    answers = sum(statuses.values())
    figures: dict[str, Any] = {
        "bench": "seat", "case": "page and 100 clients", "asked_rate": options.rate,
        "clients": CLIENTS, "pairs": options.pairs,
        "window_s": options.seconds, "nice": options.nice, "statuses": statuses,
        "answers_per_s": round(answers / (options.pairs * (options.seconds + SETTLE_S))),
        "lag_p99_s": last["store"]["lag_p99_s"],
    }  # fmt: skip
    for name in ("applied", "parsed"):
        before = statistics.mean(one[name] for one in without)
        during = statistics.mean(one[name] for one in reading)
        figures[f"{name}_rows_per_s"] = round(before)
        figures[f"{name}_rows_per_s_read"] = round(during)
        figures[f"{name}_fall_percent"] = round(100 * (1 - during / before), 2)
    figures["windows"] = [[round(one["applied"]) for one in side] for side in (without, reading)]
    figures["daemon_core"] = round(statistics.mean(one["core"] for one in without), 3)
    figures["daemon_core_read"] = round(statistics.mean(one["core"] for one in reading), 3)
    return figures


def main() -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=400_000, help="trades a second offered")
    parser.add_argument("--seconds", type=float, default=7.0, help="of a window")
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--nice", type=int, default=0, help="below 0 on a busy machine")
    parser.add_argument("--read", type=int, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read is not None:
        return read_for_ever(options.read)
    with tempfile.TemporaryDirectory(prefix="pumpwatch-seat-") as folder:
        figures = trio.run(measure, options, Path(folder))
    print(json.dumps(figures))
    return int(figures["applied_fall_percent"] >= 100 * FALL_MAX)


if __name__ == "__main__":
    sys.exit(main())
