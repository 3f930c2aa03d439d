"""The road in memory, per format: received bytes -> frames -> struct -> lines.

``one`` is one trade a message, ``many`` 50 where the format has that. The clock is cpu time of one
thread; each round is a fresh connection over the same bytes.
"""

from __future__ import annotations

import argparse

from bench.machine import emit, emit_machine, timed
from bench.messages import FORMS, MANY, Form, Stream
from bench.roads import Road, chunks_of

ROWS = 100_000
SEED = 20261125


def measure(form: Form, count: int, rows: int) -> None:
    """One case, printed."""
    stream = Stream(form, SEED)
    messages = list(stream.messages(rows, count))
    chunks = chunks_of(messages)
    size_bytes = sum(map(len, chunks))
    passed, best_s, median_s = timed(lambda: Road(form, stream), lambda road: road.run(chunks))
    road = Road(form, stream)
    road.run(chunks)
    road.check(passed)
    emit(
        "parse",
        f"{form.feed} {'one' if count == 1 else 'many'}",
        passed,
        best_s,
        median_rows_per_s=round(passed / median_s),
        rows_per_message=count,
        bytes_per_row=round(size_bytes / passed, 1),
    )


def main() -> None:
    """All cases, or those of ``--feed``."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--feed", default="", help="only feeds whose name holds this")
    arguments.add_argument("--rows", type=int, default=ROWS)
    given = arguments.parse_args()
    emit_machine("parse")
    for form in FORMS:
        if given.feed in form.feed:
            for count in (1, MANY) if form.rows_max > 1 else (1,):
                measure(form, count, given.rows)


if __name__ == "__main__":
    main()
