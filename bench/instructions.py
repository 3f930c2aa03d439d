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

import msgspec

from bench.machine import emit
from bench.messages import FORMS, MANY, Form, Stream
from bench.roads import Road, chunks_of

TABLE = Path(__file__).with_name("instructions.tsv")
GROWTH_MAX = 0.10
ROWS = 3000
SYMBOLS = 200
SEED = 1
TIMEOUT_S = 1200  # a minute, but for a machine that is busy with drills
CASES = [(form, count) for form in FORMS for count in ((1, MANY) if form.rows_max > 1 else (1,))]


def case_name(form: Form, count: int) -> str:
    """As the table has it."""
    return f"{form.feed} {'one' if count == 1 else 'many'}"


def write_messages(path: Path) -> None:
    """What the driver sends down the roads: built here, where it costs nothing."""
    chunks = [
        chunks_of(list(Stream(form, SEED, SYMBOLS).messages(ROWS, count))) for form, count in CASES
    ]
    path.write_bytes(msgspec.msgpack.encode(chunks))


def drive(path: Path) -> None:
    """Runs under callgrind: every case once, one call of RowBuffer.take at the end of each."""
    cases = msgspec.msgpack.decode(path.read_bytes(), type=list[list[bytes]])
    for (form, _), chunks in zip(CASES, cases, strict=True):
        road = Road(form, Stream(form, SEED, SYMBOLS))
        for chunk in chunks:
            road.feed(chunk)
        assert road.rows.take()[1] == ROWS
        road.check(ROWS)


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
            sys.executable, "-m", "bench.instructions", "--drive", str(messages),
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
    arguments.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.drive:
        drive(given.drive)
        return
    figures = count()
    if given.update:
        lines = ["case\tinstructions_per_row", *(f"{n}\t{f:.0f}" for n, f in figures.items())]
        TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
        compare(figures, read_table())
    elif not compare(figures, read_table()):
        sys.exit("instructions: make it cheaper, or say why not and run make instructions-update")


if __name__ == "__main__":
    main()
