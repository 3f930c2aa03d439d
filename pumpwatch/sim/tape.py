"""What one feed has traded: the state of each symbol, its latest trades, and who got them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pumpwatch.sim.digits import Ints
from pumpwatch.sim.instruments import Entry, Instrument

HISTORY_NS = 3_600 * 10**9  # older rows are history when they are first sent (R5)
DELIVERED, WITHHELD = 1, 2  # what a row's flag says; 0: it never went out


class Trade(NamedTuple):
    """One trade, for REST lists and single messages."""

    row: int
    ns: int
    number: int
    sequence: int
    entry: Entry


class NewRows(NamedTuple):
    """Trades of one symbol that are put on the tape by themselves, oldest first."""

    ns: Ints
    number: Ints
    sequence: Ints
    pool: Ints  # their entries' numbers


@dataclass(eq=False)
class Batch:
    """Trades that were made together; ``delivered`` says whether a row is in a client's hands."""

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


class Remembered(NamedTuple):
    """What is remembered of a symbol, oldest first."""

    row: Ints
    ns: Ints
    number: Ints


class Tape:
    """The latest ``depth`` trades of each symbol, and all that waits for the truth log."""

    def __init__(
        self, instruments: list[Instrument], depth: int, *, follows_delivery: bool
    ) -> None:
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
        # ns, number, sequence, pool side by side: a trade costs one cache line, not four.
        self._kept = np.zeros((count * depth, 4), dtype=np.int64)
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
        kept = np.empty((len(batch), 4), dtype=np.int64)
        kept[:, 0], kept[:, 1] = batch.ns, batch.number
        kept[:, 2], kept[:, 3] = batch.sequence, batch.pool
        self._kept[at] = kept
        if self._had is not None:
            self._had[at] = False

    def add_rows(self, symbol: int, rows: NewRows) -> Batch:
        """Trades that no generator drew."""
        first_row = int(self.next_row[symbol])
        count = len(rows.ns)
        batch = Batch(
            symbol=np.full(count, symbol, dtype=np.int64),
            row=np.arange(first_row, first_row + count, dtype=np.int64),
            ns=rows.ns, number=rows.number, sequence=rows.sequence, pool=rows.pool,
            delivered=np.zeros(count, dtype=np.uint8),
        )  # fmt: skip
        self.next_row[symbol] += count
        self.last_ns[symbol] = max(int(self.last_ns[symbol]), int(rows.ns.max(initial=0)))
        self.add(batch)
        return batch

    # --- looking back -----------------------------------------------------------------------------

    def remembered(self, symbol: int) -> Remembered:
        """All that is remembered of a symbol, for choosing rows."""
        last = int(self.next_row[symbol])
        rows = np.arange(max(0, last - self.depth), last, dtype=np.int64)
        kept = self._kept[symbol * self.depth + rows % self.depth]
        return Remembered(rows, kept[:, 0], kept[:, 1])

    def trades(self, symbol: int, rows: Ints) -> list[Trade]:
        """The trades with these row numbers, all of which must be remembered."""
        kept = self._kept[symbol * self.depth + rows % self.depth].tolist()
        return [
            Trade(row, ns, number, sequence, self.entries[pool])
            for row, (ns, number, sequence, pool) in zip(rows.tolist(), kept, strict=True)
        ]

    def recent(self, symbol: int, count: int) -> list[Trade]:
        """The latest trades of a symbol, oldest first."""
        last = int(self.next_row[symbol])
        first = max(0, last - min(count, self.depth))
        return self.trades(symbol, np.arange(first, last, dtype=np.int64))

    # --- what clients got -------------------------------------------------------------------------

    def mark_had(self, batch: Batch, rows: Ints) -> None:
        """These rows of the batch are delivered."""
        batch.delivered[rows] = DELIVERED
        if self._had is not None:
            symbol, row = batch.symbol[rows], batch.row[rows]
            is_kept = row >= self.next_row[symbol] - self.depth
            self._had[(symbol * self.depth + row % self.depth)[is_kept]] = True

    def mark_sent_again(
        self, symbol: int, trades: list[Trade], sequence: int | None, now_ns: int
    ) -> None:
        """Old rows were delivered; those that nobody had are noted.

        A row that was forgotten while its message waited for a slow reader counts as one of them.
        """
        assert self._had is not None
        first_kept = int(self.next_row[symbol]) - self.depth
        for trade in trades:
            at = symbol * self.depth + trade.row % self.depth
            is_kept = trade.row >= first_kept
            if is_kept and self._had[at]:
                continue
            if is_kept:
                self._had[at] = True
            self.late.append(
                Late(
                    symbol,
                    trade.row,
                    trade.sequence if sequence is None else sequence,
                    trade.ns < now_ns - HISTORY_NS,
                )
            )
