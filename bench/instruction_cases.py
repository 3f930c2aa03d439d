"""``python -m bench.instruction_cases FILE``: what bench.instructions counts, under callgrind.

It imports little: what is imported there takes fifty times as long.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from bench.messages import FORMS, MANY, Form, Stream
from bench.roads import Road, chunks_of

ROWS = 3000
SYMBOLS = 200
SEED = 1
CASES = [(form, count) for form in FORMS for count in ((1, MANY) if form.rows_max > 1 else (1,))]


def case_name(form: Form, count: int) -> str:
    """As the table has it."""
    return f"{form.feed} {'one' if count == 1 else 'many'}"


def write_messages(path: Path) -> None:
    """What is sent down the roads: built outside, where it costs nothing."""
    chunks = [
        chunks_of(list(Stream(form, SEED, SYMBOLS).messages(ROWS, count))) for form, count in CASES
    ]
    path.write_bytes(msgspec.msgpack.encode(chunks))


def drive(path: Path) -> None:
    """Every case once, one call of RowBuffer.take at the end of each."""
    cases = msgspec.msgpack.decode(path.read_bytes(), type=list[list[bytes]])
    for (form, _), chunks in zip(CASES, cases, strict=True):
        road = Road(form, Stream(form, SEED, SYMBOLS))
        for chunk in chunks:
            road.feed(chunk)
        assert road.rows.take()[1] == ROWS
        road.check(ROWS)


if __name__ == "__main__":
    drive(Path(sys.argv[1]))
