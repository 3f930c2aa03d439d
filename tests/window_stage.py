"""A feed's real road, ledger and memory hour beside a table that applies rows when it is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pumpwatch._fast.recent import Recent
from pumpwatch.hour import COUNT_SQL, Hour
from pumpwatch.model import Gap, InstrumentState
from pumpwatch.rates import TimesBySource
from pumpwatch.store.window_instruments import InstrumentIndex
from pumpwatch.store.window_model import WindowAnswer, WindowQuestion
from pumpwatch.store.window_reader import ROW_SQL, Windows
from tests._fast.driving import SECOND_NS
from tests._fast.ilp_reading import Line
from tests.capture.desk import SYMBOL, Desk
from tests.venues.rest_forms import FORMS, Made

FORM = next(form for form in FORMS if form.feed == "binance_spot")
COIN = "COIN"
CHUNK_BYTES = 4096

StoredRow = tuple[Any, ...]


def stored(line: Line) -> StoredRow:
    """A line as the table's questions give it."""
    fields, tags = line.fields, line.symbols
    return (
        tags["exchange"], tags["market_type"], tags["symbol"], line.timestamp_ns, tags["side"],
        float(fields["price"]), float(fields["quantity"]), str(fields["trade_id"]),
        int(fields["sequence_number"]), int(fields["received_at"]), tags["origin"],
        tags.get("kind"),
    )  # fmt: skip


class Table:
    """What QuestDB would hold: rows by their key; asked with the reader's own statements."""

    def __init__(self) -> None:
        self.asked = 0
        self.rows: dict[tuple[Any, ...], StoredRow] = {}

    def apply(self, lines: Sequence[Line]) -> None:
        for row in map(stored, lines):
            self.rows[(*row[:4], row[7])] = row

    async def query(self, sql: str, params: Sequence[Any] = ()) -> list[StoredRow]:
        self.asked += 1
        from_ns, to_ns, *more = params
        if sql == COUNT_SQL:
            return [(sum(from_ns <= row[3] < to_ns for row in self.rows.values()),)]
        symbols = (
            set(more[: sql.count("%s") - 3]) if sql.startswith(ROW_SQL[:30]) and more else None
        )
        return sorted(
            (
                row
                for row in self.rows.values()
                if from_ns <= row[3] < to_ns and (symbols is None or row[2] in symbols)
            ),
            key=lambda row: row[3],
        )

    async def query_dicts(self, sql: str, params: Sequence[Any] = ()) -> list[dict[str, Any]]:
        raise AssertionError("the index is told of instruments: nobody asks the table")


class WindowStage:
    """One run after the other over the same table; ``truth`` is every row that ever came."""

    def __init__(self, *, max_bytes: int = 16 << 20) -> None:
        self.table = Table()
        self.truth: dict[tuple[int, str], StoredRow] = {}
        self.applied_lines = 0
        self._max_bytes = max_bytes
        self.under_way: list[Gap] = []
        self._begin(0)

    def _begin(self, now_ns: int) -> None:
        self.desk = desk = Desk(FORM)
        if now_ns:
            desk.clock.now_ns = now_ns
        self.hour = Hour(desk.clock, max_mib=16, window_s=600)
        self.hour.recent = Recent(self._max_bytes, 600.0, CHUNK_BYTES)
        self.hour.attach([desk.feed])
        write = desk.side.gaps

        def write_gaps(gaps: list[Gap]) -> None:
            write(gaps)
            self.hour.note_gaps(gaps)

        desk.ledger._rows._emit = write_gaps
        self.index = InstrumentIndex(
            [InstrumentState(instrument=desk.instrument(), valid_from_ns=1, first_seen_ns=1)]
        )
        self.windows = Windows(
            self.table, desk.clock, TimesBySource(), index=self.index, memory=self.hour,
            gaps=desk.ledger.open_gaps, applied_ns=lambda: self.applied_ns,
            under_way=lambda: self.under_way,
            feeds=(FORM.feed, "okx_spot"),
        )  # fmt: skip
        self.hour.on_change = self.windows.cache.drop
        self.applied_lines = 0
        self.applied_ns = desk.clock.now_ns

    def hear(self, trades: Sequence[Made]) -> None:
        """The stream brings these; nothing of them is in the table yet."""
        self.desk.hear(trades)
        lines = self.desk.lines()
        for row in map(stored, lines[self.applied_lines :]):
            self.truth[(row[3], row[7])] = row
        if len(lines) > self.applied_lines:
            self.applied_ns = min(
                self.applied_ns, *(line.timestamp_ns for line in lines[self.applied_lines :])
            )

    def apply(self) -> None:
        """All that came is in the table."""
        lines = self.desk.lines()
        self.table.apply(lines[self.applied_lines :])
        self.applied_lines = len(lines)
        self.applied_ns = self.desk.clock.now_ns + 1

    async def restart(self, *, load: bool) -> None:
        """A new process; what came is applied first, as the spool sees to."""
        self.apply()
        now_ns = self.desk.clock.now_ns + SECOND_NS
        position = self.desk.feed.position(SYMBOL)
        self._begin(now_ns)
        self.desk.feed.resume(lambda _: position, now_ns - SECOND_NS)
        if load:
            await self.hour.load(self.table, now_ns)

    async def ask(self, from_ns: int, to_ns: int) -> WindowAnswer:
        return await self.windows.ask(WindowQuestion(coin=COIN, from_ns=from_ns, to_ns=to_ns))

    def came(self, from_ns: int, to_ns: int) -> list[StoredRow]:
        """Every row of a span that ever reached us, in canonical order."""
        rows = [row for row in self.truth.values() if from_ns <= row[3] < to_ns]
        return sorted(rows, key=lambda row: (row[3], *row[:3], row[8], row[7].encode()))


def answered(answer: WindowAnswer) -> list[StoredRow]:
    """An answer's rows, as the table gives them."""
    return [
        (
            row["exchange"], row["market_type"], row["symbol"], row["timestamp"], row["side"],
            row["price"], row["quantity"], row["trade_id"], row["sequence_number"],
            row["received_at"], row["origin"], row["kind"],
        )
        for row in answer.rows()
    ]  # fmt: skip
