"""The frame scanner alone, over the frames of every format: rows are messages here."""

from __future__ import annotations

from bench.machine import emit, emit_machine, timed
from bench.messages import FORMS, MANY, Form, Stream, frame
from pumpwatch._fast.frames import count_frames

MESSAGES = 20_000
ROUNDS = 15
SEED = 20261125


def measure(form: Form, count: int) -> None:
    """One case, printed."""
    stream = Stream(form, SEED)
    data = b"".join(map(frame, stream.messages(MESSAGES * count, count)))
    messages, best_s, median_s = timed(lambda: data, lambda data: count_frames(data)[0], ROUNDS)
    assert messages == MESSAGES
    emit(
        "frames",
        f"{form.feed} {'one' if count == 1 else 'many'}",
        messages,
        best_s,
        median_rows_per_s=round(messages / median_s),
        mib_per_s=round(len(data) / best_s / 2**20),
    )


def main() -> None:
    """All cases."""
    emit_machine("frames")
    for form in FORMS:
        measure(form, 1)
        if form.rows_max > 1:
            measure(form, MANY)


if __name__ == "__main__":
    main()
