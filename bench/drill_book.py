"""Keeps the last figures of each drill in docs/drills.md, from the lines that drills print.

``python -m pumpwatch drill all | tee lines.jsonl; python -m bench.drill_book lines.jsonl``. A drill
that is not in the lines keeps its row. The lines themselves stay in bench/lines/drills.jsonl, with
commit, machine and load beside them.
"""

from __future__ import annotations

import argparse
import fileinput
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from bench.machine import commit, cpu_name
from pumpwatch.drills.acceptance import number_of, target_of
from pumpwatch.drills.catalog import DRILLS, in_order

HERE = Path(__file__).parent
LINES = HERE / "lines/drills.jsonl"
BOOK = HERE.parent / "docs/drills.md"
MARKER = "<!-- figures: below this line bench/drill_book.py writes -->"
# Said in columns of their own, or too long for one.
ASIDE = {
    "drill", "number", "seed", "target", "pass", "rows", "missing", "duplicate", "seconds",
    "faults", "folder", "commit", "machine", "load", "at", "rss_trace", "timeline", "plan",
    "proof", "rows_by_feed", "causes", "refusals",
}  # fmt: skip
VALUE_CHARACTERS_MAX = 120


def read(files: list[str]) -> list[dict[str, Any]]:
    """The lines that are a drill's."""
    found = []
    with fileinput.input(files, encoding="utf-8") as lines:
        for line in lines:
            try:
                told = json.loads(line)
            except ValueError:
                continue
            if isinstance(told, dict) and told.get("drill") in DRILLS:
                found.append(told)
    return found


def keep(fresh: list[dict[str, Any]], about: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The newest line of each drill, by name."""
    held = {}
    if LINES.exists():
        held = {one["drill"]: one for one in map(json.loads, LINES.read_text().splitlines())}
    held |= {one["drill"]: {**one, **about} for one in fresh}
    text = "".join(json.dumps(held[name]) + "\n" for name in sorted(held))
    LINES.write_text(text, encoding="utf-8")
    return held


def table(held: dict[str, dict[str, Any]]) -> str:
    """A row for each drill of the catalogue."""
    lines = [
        "| number | drill | what must hold, beside missing 0 and duplicate 0 | passed | rows |"
        " missing | twice | seconds | figures | commit, machine |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in in_order():
        one = held.get(name)
        first = f"| {number_of(name) or 'own'} | `{name}` | {target_of(name) or 'nothing else'} |"
        if one is None:
            lines.append(f"{first} no line yet | | | | | | |")
            continue
        figures = "; ".join(
            f"{key} {text[:VALUE_CHARACTERS_MAX]}"
            for key, value in one.items()
            if key not in ASIDE
            for text in [json.dumps(value).replace('"', "").replace("|", "/")]
        )
        passed = "yes" if one["pass"] else "**no**: " + "; ".join(one["faults"][:2])
        lines.append(
            f"{first} {passed} | {one['rows']:,} | {one['missing']} | {one['duplicate']} |"
            f" {one['seconds']:.0f} | {figures} | {one['commit']}, {one['machine']}, load"
            f" {one['load']} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Take in lines, write the table."""
    parser = argparse.ArgumentParser(description="Last figures of the drills: docs/drills.md.")
    parser.add_argument("files", nargs="*", metavar="FILE", help="lines of drills; none: stdin")
    parser.add_argument("--commit", default="", help="of which they are; else the checked out one")
    parser.add_argument("--render", action="store_true", help="write the table, read no lines")
    options = parser.parse_args()
    about = {
        "commit": options.commit or commit(),
        "machine": f"{cpu_name()}, {len(os.sched_getaffinity(0))} cores",
        "load": f"{os.getloadavg()[2]:.0f}",
        "at": subprocess.check_output(["date", "-u", "+%F"], text=True).strip(),
    }
    held = keep([] if options.render else read(options.files), about)
    above = BOOK.read_text(encoding="utf-8").partition(MARKER)[0]
    BOOK.write_text(f"{above}{MARKER}\n\n{table(held)}", encoding="utf-8")


if __name__ == "__main__":
    main()
