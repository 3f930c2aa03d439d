"""What a symbol has behind it when its trading begins: recorded messages, or a made-up past."""

from __future__ import annotations

import random

import numpy as np

from pumpwatch.sim.digits import Ints
from pumpwatch.sim.recorded import move, renumber, without_rows
from pumpwatch.sim.tape import HISTORY_NS
from pumpwatch.sim.venue import Recorded, Venue

SECOND_NS = 10**9
# Rows about an hour old are judged by whoever reads them later: none is sent.
DOUBTFUL_NS = (HISTORY_NS - 300 * SECOND_NS, HISTORY_NS + 60 * SECOND_NS)
PAST_ROWS_MIN = 20
PAST_ENTRIES_MAX = 64  # of them the rows of a past are made


def prepare(messages: list[Recorded], venue: Venue, now_ns: int) -> list[Recorded]:
    """A symbol's recorded messages as they are played now."""
    if not messages:
        return []
    messages = move(messages, now_ns)
    if venue.number_pattern is not None:
        messages = renumber(messages, venue.number_pattern)
    low_ns, high_ns = now_ns - DOUBTFUL_NS[1], now_ns - DOUBTFUL_NS[0]
    return [
        without_rows(message, lambda row: low_ns <= row.ns <= high_ns)
        if message.is_snapshot
        else message
        for message in messages
    ]


def past_length(venue: Venue, rng: random.Random) -> int:
    """How many trades a venue tells of on subscribing."""
    if venue.greeting == "latest":
        return 1
    most = venue.settings.phemex_snapshot_rows
    return rng.randint(min(PAST_ROWS_MIN, most), most)


def past_ages(count: int, youngest_ns: int, step_ns: int, rng: np.random.Generator) -> Ints:
    """Ages of ``count`` trades, oldest first, the youngest more than a second above another's."""
    mean_ns = 10 ** rng.uniform(8.5, 10.2)
    steps = rng.exponential(mean_ns, count).astype(np.int64) + step_ns
    ages = youngest_ns + SECOND_NS + np.cumsum(steps)
    ages[ages >= DOUBTFUL_NS[0]] += DOUBTFUL_NS[1] - DOUBTFUL_NS[0]
    return ages[::-1]


def repeated(count: int, share: float, rng: np.random.Generator) -> Ints:
    """For each row its own index, or for some the one before: they are equal to it."""
    is_equal = rng.random(count) < share
    return np.maximum.accumulate(np.where(is_equal, 0, np.arange(count)))
