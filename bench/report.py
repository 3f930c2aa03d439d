"""Runs the benches and rewrites the figures in bench/RESULTS.md from their JSON lines.

``python -m bench.report`` runs all, ``python -m bench.report tls daemon`` only these, ``--render``
none. The lines of each bench's last run are kept in bench/lines, with machine and commit, so that
what was not run again stays. What stands above the marker in RESULTS.md is written by hand and
stays too. Takes about half an hour; nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.machine import commit, cpu_name

HERE = Path(__file__).parent
LINES = HERE / "lines"
RESULTS = HERE / "RESULTS.md"
MARKER = "<!-- figures: below this line bench/report.py writes -->"
VERSIONS = ("cython", "msgspec", "trio", "trio-websocket", "httpx")
TIMEOUT_S = 3600
PEERS = "build/peers/bin/python"  # make bench-peers makes it
DAEMON = "bench.bench_daemon"
RUNS: dict[str, tuple[tuple[str, ...], ...]] = {
    "frames": (("bench.bench_frames",),),
    "parse": (("bench.bench_parse",),),
    "ilp": (("bench.bench_ilp",),),
    "spool": (("bench.bench_spool",),),
    "lists": (("bench.bench_lists",),),
    "late": (("bench.bench_late",),),
    "server": (("bench.bench_server",),),
    "tls": (("bench.bench_tls",),),
    "recent": (("bench.bench_recent",),),
    "positions": (("bench.bench_positions",),),
    "peers": (("bench.bench_peers",),),
    "window": (("bench.bench_window",),),
    "replay": (("bench.bench_replay",),),
    "panel": (("bench.bench_panel",),),
    "lake": (("bench.bench_lake",),),
    "seat": (
        ("bench.bench_seat", "--rate", "60000", "--seed", "1"),
        ("bench.bench_seat", "--rate", "200000", "--seed", "2"),
    ),
    "daemon": (
        (DAEMON, "--rate", "5000", "--seconds", "60"),
        (DAEMON, "--rate", "150000", "--seconds", "60"),
        (DAEMON, "--rate", "300000", "--seconds", "60"),
        (DAEMON, "--rate", "150000", "--seconds", "60", "--symbols", "475"),
        (DAEMON, "--rate", "150000", "--seconds", "60", "--pump", "BTC"),
    ),
}
FIRST = ("case", "asked_rate", "symbols", "rows", "seconds", "rows_per_s")
HIDDEN = ("bench", "seed")
ONE_BY_ONE = {"steady", "rss_mib"}  # too wide for a column


def missing(name: str) -> str:
    """Why a bench cannot run here; empty: it can."""
    module = RUNS[name][0][0]
    if not (HERE / f"{module.rpartition('.')[2]}.py").exists():
        return f"there is no {module}"
    if name == "peers" and not Path(PEERS).exists():
        return "no environment with cryptofeed: make bench-peers makes it"
    return ""


def about() -> dict[str, str]:
    """The machine and what runs on it."""
    gcc = subprocess.run(["gcc", "-dumpfullversion"], capture_output=True, text=True, check=False)
    found = {"machine": f"{cpu_name()}, {len(os.sched_getaffinity(0))} cores", "commit": commit()}
    found |= {"python": platform.python_version(), "gcc": gcc.stdout.strip()}
    return found | {name: version(name) for name in VERSIONS}


def run(name: str, runs: Iterable[tuple[str, ...]]) -> bool:
    """Run one bench, keep its lines; False when it failed."""
    load = f"{os.getloadavg()[0]:.1f}"
    lines: list[str] = []
    is_good = True
    for command in runs:
        print(f"bench: {' '.join(command)}", file=sys.stderr, flush=True)
        done = subprocess.run(
            [sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True,
            timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
        is_good &= done.returncode == 0
        lines += [line for line in done.stdout.splitlines() if line.startswith("{")]
    LINES.mkdir(exist_ok=True)
    head = json.dumps({**about(), "load_before": load})
    cases = [line for line in lines if "case" in json.loads(line)]
    (LINES / f"{name}.jsonl").write_text("\n".join([head, *cases]) + "\n", encoding="utf-8")
    return is_good


def shown(value: Any) -> str:
    """A figure in a table's cell."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(one)}" for key, one in value.items())
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "" if value is None else str(value)


def has(key: str) -> Callable[[dict[str, Any]], bool]:
    """Whether a case has a figure of this name."""
    return lambda case: case.get(key) not in (None, "")


def table(cases: list[dict[str, Any]]) -> list[str]:
    """The cases, a row each; columns that are empty everywhere are left out."""
    keys = dict.fromkeys([*FIRST, *(key for case in cases for key in case)])
    hidden = {*HIDDEN, *ONE_BY_ONE}
    columns = [key for key in keys if key not in hidden and any(map(has(key), cases))]
    rows = [[shown(case.get(key)) for key in columns] for case in cases]
    head = [key.replace("_", " ") for key in columns]
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def details(case: dict[str, Any]) -> list[str]:
    """What does not fit a column: the steady part, and memory over the run."""
    name = f"{case['case']}, {case['asked_rate']:,} offered, {case['symbols']:,} symbols"
    lines = ["", f"**Steady: {name}**", ""]
    for key, value in case["steady"].items():
        lines.append(f"* {key.replace('_', ' ')}: {shown(value)}")
    trace = ", ".join(f"{at} s {ours} + {theirs}" for at, ours, theirs in case["rss_mib"])
    return [*lines, f"* memory, daemon + database, MiB: {trace}"]


def section(path: Path) -> list[str]:
    """One bench's part of RESULTS.md."""
    head, *cases = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    names = " · ".join(f"{key.replace('_', ' ')} {value}" for key, value in head.items())
    lines = ["", f"## bench_{path.stem}", "", names, "", *(table(cases) if cases else ["no case"])]
    for case in cases:
        lines += details(case) if "steady" in case else []
    return lines


def render() -> None:
    """Rewrite what stands below the marker."""
    by_hand = RESULTS.read_text(encoding="utf-8").partition(MARKER)[0].rstrip()
    lines = [by_hand, "", MARKER]
    for name in RUNS:
        path = LINES / f"{name}.jsonl"
        lines += section(path) if path.exists() else []
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    """Run, keep, render; 1 where a bench failed."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("names", nargs="*", metavar="BENCH", help=", ".join(RUNS))
    arguments.add_argument("--render", action="store_true", help="only rewrite RESULTS.md")
    given = arguments.parse_args()
    if unknown := set(given.names) - set(RUNS):
        arguments.error(f"no such bench: {', '.join(sorted(unknown))}")
    failed = []
    for name in () if given.render else given.names or RUNS:
        if reason := missing(name):
            print(f"bench: {name} is left out: {reason}", file=sys.stderr)
        elif not run(name, RUNS[name]):
            failed.append(name)
    render()
    if failed:
        print(f"bench: failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
