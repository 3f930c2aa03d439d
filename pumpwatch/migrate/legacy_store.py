"""The old store as a reader: windows answered from its event folders, mended as an import is."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import msgspec

from pumpwatch.errors import UsageError
from pumpwatch.migrate.compare import MS_NS, SeenTrade
from pumpwatch.migrate.event_folder import EventFolder, find_folders
from pumpwatch.migrate.importer import Values, read_folder
from pumpwatch.migrate.legacy import LegacyRow

FOLDERS_HELD = 4  # read and kept in memory; an event has some 100,000 rows at most
SPAN_NS_MIN = 1_000_000_000
SIDE_NS = 20_000_000_000  # the original kept 20 s before and after an announcement (F.5)


class OldWindow(msgspec.Struct, frozen=True, kw_only=True):
    """A span of one event, and what the old store has of it."""

    folder: str
    symbols: tuple[str, ...]
    from_ns: int
    to_ns: int  # exclusive
    rows: tuple[LegacyRow, ...]

    def of_feed(self, exchange: str, market_type: str) -> list[SeenTrade]:
        """As both stores can tell it."""
        return [
            SeenTrade(
                trade_id=row.trade_id, timestamp_ms=row.timestamp_ns // MS_NS, side=row.side,
                price=float(row.price), quantity=float(row.quantity),
            )
            for row in self.rows
            if (row.exchange, row.market_type) == (exchange, market_type)
        ]  # fmt: skip


class LegacyStore:
    """Blocking; to be asked in threads."""

    def __init__(self, root: Path, values: Values, latest_ns: int) -> None:
        self._root = root
        self._values = values
        self._latest_ns = latest_ns
        self._held: OrderedDict[str, list[LegacyRow]] = OrderedDict()
        self._lock = Lock()  # readers and the comparison share what is held

    def folders(self) -> list[EventFolder]:
        """Those there are now; the old system may still write. Empty where there are none."""
        try:
            return find_folders(self._root)
        except UsageError:
            return []

    def rows_of(self, folder: EventFolder) -> list[LegacyRow]:
        """All rows of an event, oldest first."""
        key = f"{folder.name}:{folder.digest()}"
        with self._lock:
            if key not in self._held:
                self._held[key] = read_folder(folder, self._values, self._latest_ns).rows
                while len(self._held) > FOLDERS_HELD:
                    self._held.popitem(last=False)
            self._held.move_to_end(key)
            return self._held[key]

    def draw(self, rng: random.Random) -> OldWindow | None:
        """A random span of a random event; None where there is nothing to compare."""
        folders = self.folders()
        rng.shuffle(folders)
        for folder in folders:
            rows = self.rows_of(folder)
            if not rows:
                continue
            first_ns, last_ns = rows[0].timestamp_ns, rows[-1].timestamp_ns + MS_NS
            # Whole milliseconds: the old store knows no others, and an edge must cut both alike.
            span_ns = max(SPAN_NS_MIN, int((last_ns - first_ns) * rng.uniform(0.1, 1.0)))
            from_ns = first_ns + int(max(0, last_ns - first_ns - span_ns) * rng.random())
            from_ns -= from_ns % MS_NS
            return self._cut(folder, rows, from_ns, from_ns + span_ns - span_ns % MS_NS)
        return None

    def window(self, symbols: Sequence[str], from_ns: int, to_ns: int) -> OldWindow | None:
        """What it has of a question; None where no event of it covers the whole span.

        A span of which it has a part is not its to answer: the rest would look empty.
        """
        for folder in self.folders():
            if not any(folder.symbol in symbol for symbol in symbols):
                continue  # an event has rows of its own coin
            rows = self.rows_of(folder)
            if not {row.symbol for row in rows} & set(symbols):
                continue
            known_from_ns, known_to_ns = _span_of(folder, rows)
            if known_from_ns <= from_ns and to_ns <= known_to_ns:
                found = self._cut(folder, rows, from_ns, to_ns)
                kept = tuple(row for row in found.rows if row.symbol in symbols)
                return msgspec.structs.replace(found, symbols=tuple(symbols), rows=kept)
        return None

    def _cut(
        self, folder: EventFolder, rows: list[LegacyRow], from_ns: int, to_ns: int
    ) -> OldWindow:
        kept = tuple(row for row in rows if from_ns <= row.timestamp_ns < to_ns)
        return OldWindow(
            folder=folder.name, symbols=tuple(sorted({row.symbol for row in rows})),
            from_ns=from_ns, to_ns=to_ns, rows=kept,
        )  # fmt: skip


def _span_of(folder: EventFolder, rows: Sequence[LegacyRow]) -> tuple[int, int]:
    """What the original collected of an event: around its announcement, or as its rows reach."""
    first_ns, last_ns = rows[0].timestamp_ns, rows[-1].timestamp_ns + MS_NS
    announced_ns = folder.metadata.announced_ns or first_ns
    return min(first_ns, announced_ns - SIDE_NS), max(last_ns, announced_ns + SIDE_NS)
