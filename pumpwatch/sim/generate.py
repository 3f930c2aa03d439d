"""Trades of one feed for one tick: columns of numbers, drawn for all symbols at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pumpwatch.sim.digits import Ints
from pumpwatch.sim.tape import Batch, Tape

SEQUENCE_STEP_MAX = 60  # of a message, or of a match
MATCH_STEP_MAX = 6


@dataclass(frozen=True, kw_only=True)
class Flow:
    """How a venue numbers and bundles its trades (FEEDS.md, section 0)."""

    number_step_max: int = 1  # 1: contiguous
    sequences: Literal["number", "match", "message"] = "number"
    rows_max: int = 1  # trades per message
    new_message_share: float = 1.0  # chance that a trade begins a new message
    newest_first: bool = False
    equal_share: float = 0.0  # trades equal in every field to the one before

    @property
    def is_contiguous(self) -> bool:
        """Whether ids rise by one."""
        return self.number_step_max == 1


@dataclass(frozen=True, eq=False)
class Draw:
    """One tick's trades in the order in which they are sent."""

    batch: Batch
    template: Ints
    messages: Messages | None  # None: every trade is a message

    def part(self, some: Ints) -> Draw:
        """Only these trades (ascending); a message is shorter without its others."""
        batch = self.batch
        fewer = Batch(
            batch.symbol[some], batch.row[some], batch.ns[some], batch.number[some],
            batch.sequence[some], batch.pool[some], batch.delivered[some],
        )  # fmt: skip
        messages = self.messages
        if messages is not None:
            owner = np.repeat(np.arange(len(messages.rows)), messages.rows)[some]
            rows = np.bincount(owner, minlength=len(messages.rows))
            left = np.flatnonzero(rows)
            messages = Messages(
                messages.symbol[left], rows[left], messages.ns[left], messages.sequence[left]
            )
        return Draw(fewer, self.template[some], messages)


@dataclass(frozen=True, eq=False)
class Messages:
    """Messages of several trades, in order; their rows follow each other in the batch."""

    symbol: Ints
    rows: Ints  # how many
    ns: Ints  # of the newest trade
    sequence: Ints


@dataclass(eq=False)
class Grouped:
    """Trades of one tick, symbol by symbol, oldest first."""

    symbols: Ints  # those that trade
    counts: Ints
    symbol: Ints  # of each trade
    nth: Ints  # of its symbol, from 0

    @classmethod
    def of(cls, symbols: Ints, counts: Ints) -> Grouped:
        """Lay out ``counts`` trades for each symbol."""
        some = counts > 0
        symbols, counts = symbols[some], counts[some]
        starts = np.cumsum(counts) - counts
        nth = np.arange(int(counts.sum()), dtype=np.int64) - np.repeat(starts, counts)
        return cls(symbols, counts, np.repeat(symbols, counts), nth)

    def running(self, steps: Ints, before: Ints) -> Ints:
        """``before`` of each symbol plus the sum of its steps up to each trade."""
        sums = np.cumsum(steps)
        ends = np.cumsum(self.counts) - 1
        offsets = np.concatenate((np.zeros(1, dtype=np.int64), sums[ends[:-1]]))
        return sums + np.repeat(before[self.symbols] - offsets, self.counts)

    def last(self) -> Ints:
        """Where each symbol's newest trade is."""
        return np.cumsum(self.counts) - 1


class Generator:
    """Draws ticks for one feed."""

    def __init__(
        self, tape: Tape, flow: Flow, rng: np.random.Generator, per_symbol: int, steps_ns: Ints
    ) -> None:
        count = len(tape.instruments)
        self.flow = flow
        self.fresh = np.zeros(count, dtype=np.bool_)  # a snapshot went out, nothing since
        self.pool = np.zeros(count * per_symbol, dtype=np.int64)  # each template's entry
        self._tape = tape
        self._rng = rng
        self._per_symbol = per_symbol
        self._steps_ns = steps_ns  # of each symbol's trade times
        self._last_template = np.zeros(count, dtype=np.int64)
        self._last_pool = np.full(count, -1, dtype=np.int64)

    def set_pool(self, symbol: int, first: int) -> None:
        """From now on this symbol's templates are written for the entries from ``first`` on."""
        start = symbol * self._per_symbol
        self.pool[start : start + self._per_symbol] = np.arange(first, first + self._per_symbol)

    def pool_of(self, symbol: int) -> int:
        """The first of the entries that this symbol's templates are written for."""
        return int(self.pool[symbol * self._per_symbol])

    def draw(
        self,
        symbols: Ints,
        counts: Ints,
        start_ns: int,
        end_ns: int,
        *,
        whole: int = -1,
        equal_from_ns: int = 0,
    ) -> Draw | None:
        """``counts`` trades for each of these symbols in [start, end); ``whole`` in one message.

        A trade older than ``equal_from_ns`` is not repeated.
        """
        grouped = Grouped.of(symbols, counts)
        total = len(grouped.symbol)
        if not total:
            return None
        tape, flow, rng = self._tape, self.flow, self._rng
        ns = self._times(grouped, start_ns, end_ns)
        template = grouped.symbol * self._per_symbol + rng.integers(0, self._per_symbol, total)
        if flow.equal_share:
            self._make_equal(grouped, ns, template, equal_from_ns)
        number, sequence = self._numbers(grouped)
        row = tape.next_row[grouped.symbol] + grouped.nth
        self._remember(grouped, ns, template, number, sequence)
        messages: Messages | None = None
        if flow.rows_max == 1:
            order = np.argsort(ns, kind="stable")
        else:
            order, messages = self._bundle(grouped, ns, sequence, whole)
        template = template[order]
        batch = Batch(
            grouped.symbol[order], row[order], ns[order], number[order], sequence[order],
            self.pool[template], np.zeros(total, dtype=np.uint8),
        )  # fmt: skip
        tape.add(batch)
        return Draw(batch, template, messages)

    def _times(self, grouped: Grouped, start_ns: int, end_ns: int) -> Ints:
        """Ascending within each symbol, and not before its last trade."""
        chance = self._rng.random(len(grouped.symbol))
        rank = np.repeat(np.arange(len(grouped.symbols)), grouped.counts)
        chance = np.sort(chance + rank) - rank  # sorts within each symbol: its rank comes first
        ns = start_ns + (chance * (end_ns - start_ns)).astype(np.int64)
        steps = self._steps_ns[grouped.symbol]
        # A recorded time may lie between two steps; what follows it is on the grid again.
        last_ns = self._tape.last_ns[grouped.symbol]
        return np.maximum(ns - ns % steps, last_ns + -last_ns % steps)

    def _make_equal(self, grouped: Grouped, ns: Ints, template: Ints, from_ns: int) -> None:
        """Some trades become equal to the one before, within a message and across two."""
        is_equal = self._rng.random(len(ns)) < self.flow.equal_share
        first = grouped.nth == 0
        symbol = grouped.symbol[first]
        last = self._last_template[symbol]
        last_ns = self._tape.last_ns[symbol]
        across = is_equal[first] & ~self.fresh[symbol] & (last_ns >= from_ns)
        across &= self._last_pool[symbol] == self.pool[last]
        ns[first] = np.where(across, last_ns, ns[first])
        template[first] = np.where(across, last, template[first])
        source = np.where(is_equal & ~first, 0, np.arange(len(ns)))
        source = np.maximum.accumulate(source)
        ns[:] = ns[source]
        template[:] = template[source]
        self.fresh[grouped.symbols] = False

    def _numbers(self, grouped: Grouped) -> tuple[Ints, Ints]:
        tape, flow, rng = self._tape, self.flow, self._rng
        total = len(grouped.symbol)
        if flow.is_contiguous:
            number = tape.next_number[grouped.symbol] + grouped.nth
        else:
            steps = rng.integers(1, flow.number_step_max + 1, total)
            number = grouped.running(steps, tape.next_number)
        if flow.sequences == "number":
            return number, number
        if flow.sequences == "match":  # the fills of one match share it
            steps = rng.integers(1, MATCH_STEP_MAX, total) * (rng.random(total) < 0.5)
            return number, grouped.running(steps, tape.next_sequence)
        steps = rng.integers(1, SEQUENCE_STEP_MAX, len(grouped.symbols))
        of_symbol = tape.next_sequence[grouped.symbols] + steps
        return number, np.repeat(of_symbol, grouped.counts)

    def _remember(
        self, grouped: Grouped, ns: Ints, template: Ints, number: Ints, sequence: Ints
    ) -> None:
        tape, symbols, last = self._tape, grouped.symbols, grouped.last()
        tape.next_row[symbols] += grouped.counts
        tape.next_number[symbols] = number[last] + 1
        tape.next_sequence[symbols] = sequence[last] + (self.flow.sequences != "match")
        tape.last_ns[symbols] = ns[last]
        self._last_template[symbols] = template[last]
        self._last_pool[symbols] = self.pool[template[last]]

    def _bundle(
        self, grouped: Grouped, ns: Ints, sequence: Ints, whole: int
    ) -> tuple[Ints, Messages]:
        """Rows -> messages in the order of their times: how rows are permuted, and the messages."""
        flow = self.flow
        total = len(ns)
        begins: npt.NDArray[np.bool_] = grouped.nth % flow.rows_max == 0
        if flow.new_message_share:
            chance = self._rng.random(total) < flow.new_message_share
            begins |= chance & (grouped.symbol != whole)
        message = np.cumsum(begins) - 1
        starts = np.flatnonzero(begins)
        rows = np.diff(np.append(starts, total))
        newest = starts + rows - 1
        by_time = np.argsort(ns[newest], kind="stable")
        ends = np.cumsum(rows[by_time])
        first = np.empty(len(starts), dtype=np.int64)
        first[by_time] = ends - rows[by_time]
        nth = np.arange(total) - starts[message]
        if flow.newest_first:
            nth = rows[message] - 1 - nth
        order = np.empty(total, dtype=np.int64)
        order[first[message] + nth] = np.arange(total)
        newest = newest[by_time]
        return order, Messages(grouped.symbol[newest], rows[by_time], ns[newest], sequence[newest])
