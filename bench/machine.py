"""What a figure needs beside it: the machine, the commit, and how often it was measured."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pumpwatch.drills.stage import DaemonProcess
from pumpwatch.sim.process import Simulator
from pumpwatch.store.scratch_server import SERVER_FOLDER
from pumpwatch.store.server_process import find_leftovers

ROUNDS = 7  # the best is what the code can do, the spread is what the machine did meanwhile


def cpu_name() -> str:
    """The processor as the kernel calls it."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def commit() -> str:
    """The checked out commit; ``+`` behind it where files differ from it."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=10", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def set_nice(pid: int, nice: int) -> None:
    """All threads of a process, and its session where the kernel shares time by sessions.

    There (autogroup) a thread's own value counts only against the threads of its session. What is
    not allowed, or is gone, stays as it is.
    """
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.setpriority(os.PRIO_PROCESS, int(thread.name), nice)
        Path(f"/proc/{pid}/autogroup").write_text(str(nice), encoding="ascii")


def prefer(simulator: Simulator, daemon: DaemonProcess, nice: int) -> None:
    """Simulator, daemon and its database go before (below 0) what else is at work here."""
    assert daemon.process is not None
    servers = find_leftovers(daemon.data_dir, daemon.data_dir / SERVER_FOLDER)
    for pid in (simulator.process.pid, daemon.process.pid, *(server.pid for server in servers)):
        set_nice(pid, nice)


def emit(bench: str, case: str, rows: int, seconds: float, **more: Any) -> None:
    """One case's line on stdout; 0 seconds where something else is counted."""
    line = {
        "bench": bench,
        "case": case,
        "rows": rows,
        "seconds": round(seconds, 6),
        "rows_per_s": round(rows / seconds) if seconds else None,
        **more,
    }
    print(json.dumps(line), flush=True)


def emit_machine(bench: str) -> None:
    """The line before the cases: where and of what they are."""
    about = {
        "bench": bench,
        "machine": cpu_name(),
        "python": platform.python_version(),
        "commit": commit(),
    }
    print(json.dumps(about), flush=True)


def timed(
    prepare: Callable[[], Any], run: Callable[[Any], int], rounds: int = ROUNDS
) -> tuple[int, float, float]:
    """``(rows, best seconds, median seconds)`` of cpu time; ``prepare`` is not timed.

    Cpu time of this thread: the machine is shared, and waiting for it is nobody's work.
    """
    times = []
    rows = 0
    for _ in range(rounds):
        state = prepare()
        start_ns = time.thread_time_ns()
        rows = run(state)
        times.append((time.thread_time_ns() - start_ns) / 1e9)
    times.sort()
    return rows, times[0], times[len(times) // 2]
