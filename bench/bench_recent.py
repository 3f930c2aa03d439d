"""The memory hour: what a row costs on its way in, and a window out of a full ring.

The ring is filled through the roads of all 12 feeds, 500 symbols each, the first trading most; the
venues' times go on by a second a turn. A window is 40 s of one symbol on all feeds: of those that
have about 1,000 rows there, and of the busiest; at the newest end, in the middle, at the oldest.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Iterable
from pathlib import Path

from bench.machine import ROUNDS, emit, emit_machine, timed
from bench.messages import FORMS, MANY, SECOND_NS, START_NS, Form, Stream
from bench.roads import Road, chunks_of
from pumpwatch._fast.recent import Recent
from pumpwatch.capture.overlap import Held

MIB = 1024 * 1024
ROWS = 100_000
SEED = 20261125
ROWS_A_TURN = 8_000  # a feed's in one second
WINDOW_NS = 40 * SECOND_NS
ASKED = 100
AROUND_NS = 4 * SECOND_NS
LISTED = 1_000
FULL_MIB = 1024  # where the machine has twice that free
LESS_MIB = 256
PUT_MIB = 64  # more than the caches hold
WINDOW_S = 3600.0
SECOND_TEXT = b"%d" % (START_NS // SECOND_NS)


def put_cost(form: Form, count: int, rows: int) -> None:
    """The road with and without the ring, over the same bytes."""
    stream = Stream(form, SEED)
    chunks = chunks_of(list(stream.messages(rows, count)))
    recent = Recent(PUT_MIB * MIB, WINDOW_S)

    def with_recent() -> Road:
        road = Road(form, stream)
        road.road.recent = recent
        return road

    while recent.bytes_held < PUT_MIB * MIB:  # from here on a chunk is given up for each new one
        with_recent().run(chunks)
    passed, plain_s, both_s = 0, math.inf, math.inf
    for _ in range(ROUNDS):  # in turn: what else the machine does slows both
        passed, seconds, _ = timed(lambda: Road(form, stream), lambda road: road.run(chunks), 1)
        plain_s = min(plain_s, seconds)
        _, seconds, _ = timed(with_recent, lambda road: road.run(chunks), 1)
        both_s = min(both_s, seconds)
    emit(
        "recent",
        f"put {form.feed} {'one' if count == 1 else 'many'}",
        passed,
        both_s,
        put_ns_per_row=round((both_s - plain_s) / passed * 1e9, 1),
        text_rows=recent.text_rows,
    )


def fill(recent: Recent, bytes_wanted: int) -> tuple[int, int]:
    """Second after second of all feeds until the ring is full; returns the seconds and the rows."""
    streams = [Stream(form, SEED + number) for number, form in enumerate(FORMS)]
    turns = [
        chunks_of(list(stream.messages(ROWS_A_TURN, MANY if stream.form.rows_max > 1 else 1)))
        for stream in streams
    ]
    second = 0
    while recent.bytes_held < bytes_wanted or recent.rows_held == 0:
        text = b"%d" % (START_NS // SECOND_NS + second)
        for feed, (stream, chunks) in enumerate(zip(streams, turns, strict=True), start=1):
            road = Road(stream.form, stream, feed)
            road.road.recent = recent
            for place, chunk in enumerate(chunks, start=1):
                receive_ns = START_NS + second * SECOND_NS + place * SECOND_NS // len(chunks)
                road.intake.feed(chunk.replace(SECOND_TEXT, text), receive_ns)
                road.rows.take()
        second += 1
    return second, recent.rows_held


def ask(recent: Recent, case: str, coins: list[int], from_ns: int) -> None:
    """A coin's window on all feeds, one coin after the other: none of its rows is in a cache.

    Cpu time of this thread: the machine is shared, and waiting for it is nobody's work.
    """
    times = []
    rows = 0
    for coin in coins:
        start_ns = time.thread_time_ns()
        windows = [
            recent.window(feed, coin, from_ns, from_ns + WINDOW_NS)
            for feed in range(1, len(FORMS) + 1)
        ]
        times.append(time.thread_time_ns() - start_ns)
        rows += sum(map(len, windows))
    times.sort()
    emit(
        "recent",
        f"window {case}",
        rows // len(coins),
        times[len(times) // 2] / 1e9,
        asked=len(coins),
        median_ms=round(times[len(times) // 2] / 1e6, 3),
        worst_ms=round(times[-1] / 1e6, 3),
    )


def dict_cost(recent: Recent, coin: int, from_ns: int) -> None:
    """The same rows as dicts."""
    windows = [recent.window(feed, coin, from_ns, from_ns + WINDOW_NS) for feed in range(1, 13)]
    rows, best_s, _ = timed(lambda: None, lambda _: sum(len(window.rows()) for window in windows))
    emit("recent", "rows as dicts", rows, best_s, ms=round(best_s * 1e3, 3))


def list_cost(recent: Recent, from_ns: int) -> None:
    """A list of the busiest symbol against 4 s of it: its own rows looked for, or all read."""
    coin, to_ns = 0, from_ns + AROUND_NS
    feeds = range(1, len(FORMS) + 1)
    feed = max(feeds, key=lambda feed: len(recent.window(feed, coin, from_ns, to_ns)))
    ids = recent.held_ids(feed, coin, from_ns, to_ns)
    listed = ids[len(ids) // 2 :][:LISTED]

    def by_id(rows: Iterable[tuple[int, str, int, int]]) -> int:
        held: dict[str, list[Held]] = {}
        for at_ns, trade_id, origin, received_ns in rows:
            one = Held(at_ns, trade_id, origin == 0, received_ns)
            held.setdefault(trade_id, []).append(one)
        return sum(trade_id in held for trade_id in listed)

    def own(_: None) -> int:
        return by_id(recent.window(feed, coin, from_ns, to_ns).rows_of(listed))

    def every(_: None) -> int:
        window = recent.window(feed, coin, from_ns, to_ns)
        columns = window.exchange_ns, window.trade_ids(), window.origins, window.received_ns
        return by_id(zip(*columns, strict=True))

    found, own_s, _ = timed(lambda: None, own)
    _, every_s, _ = timed(lambda: None, every)
    emit("recent", "a list's own rows", found, own_s, around=len(ids), ms=round(own_s * 1e3, 3),
         all_ms=round(every_s * 1e3, 3))  # fmt: skip


def free_mib() -> int:
    """Memory that could be had now."""
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    return 0


def coins_of_about(recent: Recent, from_ns: int, wanted: int) -> list[int]:
    """The symbols whose windows hold about that many rows, in a mixed order."""
    counts = {
        coin: sum(
            len(recent.window(feed, coin, from_ns, from_ns + WINDOW_NS))
            for feed in range(1, len(FORMS) + 1)
        )
        for coin in range(500)
    }
    near = sorted(counts, key=lambda coin: abs(counts[coin] - wanted))[:ASKED]
    random.Random(SEED).shuffle(near)
    return near


def main() -> None:
    """All cases."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=ROWS)
    arguments.add_argument("--mib", type=int, default=0, help="size of the ring")
    given = arguments.parse_args()
    emit_machine("recent")
    for form in FORMS:
        put_cost(form, MANY if form.rows_max > 1 else 1, given.rows)
    size_mib = given.mib or (FULL_MIB if free_mib() > 2 * FULL_MIB else LESS_MIB)
    recent = Recent(size_mib * MIB, WINDOW_S)
    start_s = time.perf_counter()
    seconds, rows = fill(recent, size_mib * MIB)
    emit("recent", "fill", rows, time.perf_counter() - start_s, mib=size_mib, seconds_held=seconds)
    newest_ns = START_NS + seconds * SECOND_NS - WINDOW_NS
    moments = {
        "newest": newest_ns,
        "middle": START_NS + (seconds - 40) * SECOND_NS // 2,
        "oldest": START_NS,
    }
    some = coins_of_about(recent, newest_ns, 1_000)
    for name, from_ns in moments.items():
        ask(recent, f"of about 1,000 rows, {name}", some, from_ns)
    for name, from_ns in moments.items():
        ask(recent, f"of the busiest, {name}", [0], from_ns)
    dict_cost(recent, some[0], newest_ns)
    list_cost(recent, START_NS + seconds * SECOND_NS - AROUND_NS)


if __name__ == "__main__":
    main()
