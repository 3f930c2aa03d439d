"""What a row costs the spool's write thread: positions moved by the lines of a record.

Records of 256 KiB as the road leaves them, of contiguous feeds and others; and what the positions
of all instruments cost at the head of a segment.
"""

from __future__ import annotations

import argparse

from bench.machine import emit, emit_machine, timed
from bench.messages import FORMS, MANY, Form, Stream
from bench.roads import FLUSH_BYTES, RECEIVE_NS, Road, chunks_of
from pumpwatch._fast.positions import SpoolPositions

ROWS = 100_000
SEED = 20261125
SYMBOLS = 500
CONTIGUOUS = {"binance", "okx", "gate"}


def records_of(form: Form, rows: int) -> list[bytes]:
    """The feed's records."""
    stream = Stream(form, SEED, SYMBOLS)
    road = Road(form, stream)
    records = []
    for chunk in chunks_of(list(stream.messages(rows, MANY if form.rows_max > 1 else 1))):
        road.intake.feed(chunk, RECEIVE_NS)
        if road.rows.size_bytes >= FLUSH_BYTES:
            records.append(road.rows.take()[0])
    return [*records, road.rows.take()[0]]


def measure(feed: int, form: Form, rows: int, everything: SpoolPositions) -> None:
    """One feed, printed."""
    records = records_of(form, rows)
    numbers = {feed} if form.feed.split("_")[0] in CONTIGUOUS else set()

    def run(positions: SpoolPositions) -> int:
        for record in records:
            positions.apply(feed, record)
        assert positions.unread == 0
        return sum(position.rows for _, _, position in positions)

    passed, best_s, median_s = timed(lambda: SpoolPositions(numbers), run)
    emit(
        "positions",
        f"apply {form.feed}",
        passed,
        best_s,
        ns_per_row=round(best_s / passed * 1e9, 1),
        median_ns_per_row=round(median_s / passed * 1e9, 1),
        bytes_per_row=round(sum(map(len, records)) / passed, 1),
    )
    run(everything)


def main() -> None:
    """All feeds, then the positions of all of them as a record."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=ROWS)
    given = arguments.parse_args()
    emit_machine("positions")
    everything = SpoolPositions(range(1, len(FORMS) + 1))
    for feed, form in enumerate(FORMS, start=1):
        measure(feed, form, given.rows, everything)
    count, best_s, _ = timed(lambda: None, lambda _: len(everything.encode()) and len(everything))
    payloads = everything.encode()
    size_bytes = sum(map(len, payloads))
    emit("positions", "encode", count, best_s, ms=round(best_s * 1e3, 2), bytes=size_bytes)

    def load(positions: SpoolPositions) -> int:
        for payload in payloads:
            positions.load(payload)
        return len(positions)

    count, best_s, _ = timed(lambda: SpoolPositions(()), load)
    emit("positions", "load", count, best_s, ms=round(best_s * 1e3, 2))


if __name__ == "__main__":
    main()
