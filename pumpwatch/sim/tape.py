"""What one feed has traded: the state of each symbol, its latest trades, and who got them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pumpwatch.sim.digits import Ints
from pumpwatch.sim.instruments import Entry, Instrument

HISTORY_NS = 3_600 * 10**9  # older rows are history when they are first sent (R5)


class Trade(NamedTuple):
    """One trade, for REST lists and single messages."""

    row: int
    ns: int
    number: int
    sequence: int
    entry: Entry


@dataclass(eq=False)
class Batch:
    """Trades that were made together; ``delivered`` is set where a row is in a client's hands."""

    symbol: Ints
    row: Ints
    ns: Ints
    number: Ints
    sequence: Ints
    pool: Ints
    delivered: npt.NDArray[np.uint8]
    open_chunks: int = 0  # on their way; when none is, the flags are final

    def __len__(self) -> int:
        return len(self.row)


class Late(NamedTuple):
    """A row that was first delivered by a snapshot or as the latest trade."""

    symbol: int
    row: int
    sequence: int
    history: bool


class Tape:
    """The latest ``depth`` trades of each symbol, and all that waits for the truth log."""

    def __init__(self, instruments: list[Instrument], depth: int, *, follows_delivery: bool) -> None:
        count = len(instruments)
        self.instruments = instruments
        self.depth = depth
        self.next_row = np.zeros(count, dtype=np.int64)
        self.next_number = np.zeros(count, dtype=np.int64)
        self.next_sequence = np.zeros(count, dtype=np.int64)
        self.last_ns = np.zeros(count, dtype=np.int64)
        self.entries: list[Entry] = []
        self.entry_symbols: list[int] = []
        self.batches: list[Batch] = []
        self.late: list[Late] = []
        self.generated = 0
        self._ns = np.zeros(count * depth, dtype=np.int64)
        self._number = np.zeros(count * depth, dtype=np.int64)
        self._sequence = np.zeros(count * depth, dtype=np.int64)
        self._pool = np.zeros(count * depth, dtype=np.int64)
        # Only where old rows are sent again must be known which of them nobody had.
        self._had = np.zeros(count * depth, dtype=np.bool_) if follows_delivery else None

    def add_entries(self, symbol: int, entries: list[Entry]) -> int:
        """Keep entries for as long as the run lasts; returns the first one's number."""
        first = len(self.entries)
        self.entries.extend(entries)
        self.entry_symbols.extend([symbol] * len(entries))
        return first

    def add(self, batch: Batch) -> None:
        """Trades happened: row numbers and state were drawn from this tape."""
        self.batches.append(batch)
        self.generated += len(batch)
        at = batch.symbol * self.depth + batch.row % self.depth
        self._ns[at] = batch.ns
        self._number[at] = batch.number
        self._sequence[at] = batch.sequence
        self._pool[at] = batch.pool
        if self._had is not None:
            self._had[at] = False

    def add_rows(
        self, symbol: int, rows: list[tuple[int, int, int, Entry]]
    ) -> Batch:
        """Single trades (ns, number, sequence, entry), oldest first."""
        first_row = int(self.next_row[symbol])
        pool = self.add_entries(symbol, [entry for *_, entry in rows])
        count = len(rows)
        batch = Batch(
            symbol=np.full(count, symbol, dtype=np.int64),
            row=np.arange(first_row, first_row + count, dtype=np.int64),
            ns=np.array([row[0] for row in rows], dtype=np.int64),
            number=np.array([row[1] for row in rows], dtype=np.int64),
            sequence=np.array([row[2] for row in rows], dtype=np.int64),
            pool=np.arange(pool, pool + count, dtype=np.int64),
            delivered=np.zeros(count, dtype=np.uint8),
        )
        self.next_row[symbol] += count
        self.last_ns[symbol] = max(int(self.last_ns[symbol]), int(batch.ns.max(initial=0)))
        self.add(batch)
        return batch

    def recent(self, symbol: int, count: int) -> list[Trade]:
        """The latest trades of a symbol, oldest first."""
        last = int(self.next_row[symbol])
        return self.between(symbol, last - count, last)

    def between(self, symbol: int, first_row: int, end_row: int) -> list[Trade]:
        """Trades with rows in [first_row, end_row), as far as they are remembered."""
        last = int(self.next_row[symbol])
        first = max(0, last - self.depth, first_row)
        rows = np.arange(first, max(first, min(end_row, last)), dtype=np.int64)
        at = symbol * self.depth + rows % self.depth
        return [
            Trade(row, ns, number, sequence, self.entries[pool])
            for row, ns, number, sequence, pool in zip(
                rows.tolist(), self._ns[at].tolist(), self._number[at].tolist(),
                self._sequence[at].tolist(), self._pool[at].tolist(), strict=True,
            )
        ]  # fmt: skip

    def remembered(self, symbol: int) -> Iterator[tuple[int, int, int]]:
        """(row, ns, number) of all that is remembered, newest first."""
        last = int(self.next_row[symbol])
        rows = np.arange(max(0, last - self.depth), last, dtype=np.int64)[::-1]
        at = symbol * self.depth + rows % self.depth
        return zip(
            rows.tolist(), self._ns[at].tolist(), self._number[at].tolist(), strict=True
        )

    def mark_had(self, batch: Batch, rows: Ints) -> None:
        """These rows of the batch are delivered."""
        batch.delivered[rows] = 1
        if self._had is not None:
            symbol, row = batch.symbol[rows], batch.row[rows]
            is_kept = row >= self.next_row[symbol] - self.depth
            self._had[(symbol * self.depth + row % self.depth)[is_kept]] = True

    def mark_sent_again(
        self, symbol: int, trades: list[Trade], sequence: int | None, now_ns: int
    ) -> None:
        """Old rows were delivered; those that nobody had are noted."""
        assert self._had is not None
        for trade in trades:
            at = symbol * self.depth + trade.row % self.depth
            if not self._had[at]:
                self._had[at] = True
                is_history = trade.ns < now_ns - HISTORY_NS
                self.late.append(
                    Late(symbol, trade.row, trade.sequence if sequence is None else sequence,
                         is_history)
                )  # fmt: skip
