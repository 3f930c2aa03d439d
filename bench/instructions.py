"""Instructions per row and format, counted by callgrind: the same on every run, unlike seconds.

``python -m bench.instructions`` compares with instructions.tsv and fails where a format got more
than 10 % dearer; ``--update`` rewrites the table. Counted is Intake.feed with all that it calls.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.instruction_cases import CASES, ROWS, case_name, write_messages
from bench.machine import emit

TABLE = Path(__file__).with_name("instructions.tsv")
GROWTH_MAX = 0.10
TIMEOUT_S = 1200  # a minute, but for a machine that is busy with drills


def c_name(module: str, method: str) -> str:
    """What Cython calls a method's entry in the extension's symbol table."""
    origin = importlib.import_module(module).__file__
    assert origin is not None
    found = re.search(rb"__pyx_pw_\w*_\d+" + method.encode() + rb"\b", Path(origin).read_bytes())
    if found is None:
        sys.exit(f"instructions: {origin} names no {method}: was it stripped?")
    return found[0].decode()


def count() -> dict[str, float]:
    """Instructions per row of every case."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        sys.exit("instructions: no valgrind (Debian: apt-get install valgrind)")
    with tempfile.TemporaryDirectory() as folder:
        messages = Path(folder, "messages")
        write_messages(messages)
        command = [
            valgrind, "--tool=callgrind", f"--callgrind-out-file={folder}/out",
            f"--toggle-collect={c_name('pumpwatch._fast.intake', 'feed')}",
            f"--dump-after={c_name('pumpwatch._fast.ilp', 'take')}",
            sys.executable, "-m", "bench.instruction_cases", str(messages),
        ]  # fmt: skip
        environment = os.environ | {"PYTHONHASHSEED": "0", "PYTHONMALLOC": "malloc"}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        if done.returncode:
            sys.exit(f"instructions: the driver failed\n{done.stderr[-3000:]}")
        return {
            case_name(*case): total_of(Path(folder, f"out.{number}")) / ROWS
            for number, case in enumerate(CASES, 1)
        }


def total_of(path: Path) -> int:
    """The instructions of one dump."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("summary:"):
            return int(line.split()[1])
    raise ValueError(f"{path} has no summary")


def read_table() -> dict[str, float]:
    """The committed figures."""
    if not TABLE.exists():
        return {}
    lines = TABLE.read_text(encoding="utf-8").splitlines()[1:]
    return {name: float(figure) for name, figure in (line.split("\t") for line in lines)}


def compare(figures: dict[str, float], table: dict[str, float]) -> bool:
    """Prints every case; True when none grew too much and the table knows them all."""
    is_good = True
    for name, figure in figures.items():
        before = table.get(name)
        emit("instructions", name, ROWS, 0, instructions_per_row=figure, table=before)
        if before is None or figure > before * (1 + GROWTH_MAX):
            print(
                f"instructions: {name}: {figure:.0f} a row, the table has {before}", file=sys.stderr
            )
            is_good = False
    return is_good


def main() -> None:
    """Count, then compare or rewrite the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--update", action="store_true", help="rewrite instructions.tsv")
    given = arguments.parse_args()
    figures = count()
    if given.update:
        lines = ["case\tinstructions_per_row", *(f"{n}\t{f:.0f}" for n, f in figures.items())]
        TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
        compare(figures, read_table())
    elif not compare(figures, read_table()):
        sys.exit("instructions: make it cheaper, or say why not and run make instructions-update")


if __name__ == "__main__":
    main()
