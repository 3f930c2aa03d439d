"""Lines alone: parsed trades of one message, found, scaled and written over and over.

Phemex has no trade ids and makes them on the road: its lines are part of bench_parse only.
"""

from __future__ import annotations

from bench.machine import emit, emit_machine, timed
from bench.messages import FORMS, Form, Stream
from bench.roads import FLUSH_BYTES, RECEIVE_NS, Road
from pumpwatch._fast.ilp import RowBuffer, write_lines

ROWS = 200_000
ROWS_A_CALL = 1_000
TIMES = 10  # reading the message once must not count
SEED = 20261125


def measure(form: Form) -> None:
    """One case, printed."""
    stream = Stream(form, SEED)
    # Joined documents are read as one message: many symbols, sides and prices, as on a road.
    message = b"".join(stream.messages(ROWS_A_CALL, 1))
    table = Road(form, stream).table

    def run(rows: RowBuffer) -> int:
        written = 0
        while written < ROWS:
            written += write_lines(rows, form.parser, table, message, RECEIVE_NS, TIMES)
            while rows.size_bytes >= FLUSH_BYTES:
                rows.take()
        return written

    written, best_s, median_s = timed(RowBuffer, run)
    emit("ilp", form.feed, written, best_s, median_rows_per_s=round(written / median_s))


def main() -> None:
    """All formats with ids."""
    emit_machine("ilp")
    for form in FORMS:
        if not form.feed.startswith("phemex"):
            measure(form)


if __name__ == "__main__":
    main()
