"""The spool against plain lists, under random appends, reads, releases, kills and damage.

A failing run prints its steps, and a seed that repeats it (``--hypothesis-seed``).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from pumpwatch.model import Record
from pumpwatch.store import spool_files
from pumpwatch.store.segment import FILE_HEADER_BYTES, RecordRef
from pumpwatch.store.spool import Spool
from pumpwatch.store.spool_files import START
from tests.store.conftest import SMALL_SEGMENT_BYTES
from tests.store.records import (
    GAPS,
    QUARANTINE,
    TRADES,
    kill,
    new_spool,
    record,
    records_in,
    split,
)

FEEDS = (1, 2, 3)
SIDE_TABLES = (GAPS, QUARANTINE)
TABLES = (TRADES, *SIDE_TABLES)
Answer = TypeVar("Answer")


class Table:
    """What the model knows of one table: its rows in spool order, each with its place."""

    def __init__(self) -> None:
        self.rows: list[bytes] = []  # spooled since ever, as far as they are not lost
        self.read = 0  # how many a reader has seen since the last start
        self.cursor = START
        self.applied = 0  # how many are applied: only these may be gone
        self.applied_cursor = START
        self.released_max = 0  # no more than these may be gone
        self.moved_to = 0  # these lie there a second time, or are applied
        self.is_moving = False


class SpoolMachine(RuleBasedStateMachine):
    """One spool folder over many starts."""

    def __init__(self) -> None:
        super().__init__()
        self._exit = contextlib.ExitStack()
        folder = self._exit.enter_context(tempfile.TemporaryDirectory())
        self._exit.enter_context(
            mock.patch.object(spool_files, "SEGMENT_BYTES_MAX", SMALL_SEGMENT_BYTES)
        )
        # What a power cut takes is told from the counters of what was synced.
        self._exit.enter_context(mock.patch.object(os, "fsync"))
        self.folder = Path(folder)
        self.serial = 0
        self.tables = {table: Table() for table in TABLES}
        self.lost: Counter[str] = Counter()  # rows damaged on purpose, by segment
        self.spool: Spool = new_spool(self.folder)

    def teardown(self) -> None:
        kill(self.spool)
        self._exit.close()

    def run(self, step: Callable[..., Awaitable[Answer]], *args: Any) -> Answer:
        async def main() -> Answer:
            return await step(*args)

        return trio.run(main)

    def next_records(self, kinds: list[tuple[int, int, int]]) -> list[Record]:
        records = []
        for table, feed, rows in kinds:
            records.append(record(range(self.serial, self.serial + rows), table, feed))
            self.serial += rows
        return records

    # -- what may happen ----------------------------------------------------------------------

    @initialize()
    def start(self) -> None:
        self.run(self.spool.open)

    @rule(
        kinds=st.lists(
            st.tuples(st.sampled_from(TABLES), st.sampled_from(FEEDS), st.integers(1, 8)),
            min_size=1, max_size=12,
        )
    )  # fmt: skip
    def append(self, kinds: list[tuple[int, int, int]]) -> None:
        records = self.next_records(kinds)
        for one in records:
            self.spool.append(one)
        assert self.spool.write_now() == 0
        for one in sorted(records, key=lambda one: one.table != QUARANTINE):
            self.tables[one.table].rows += split(one.payload)

    @rule(
        tables=st.sampled_from([TABLES, *((table,) for table in TABLES)]),
        rows_max=st.integers(1, 20), bytes_max=st.integers(1, 900), batches=st.integers(1, 8),
        is_applied=st.booleans(),
    )  # fmt: skip
    def read(
        self, tables: tuple[int, ...], rows_max: int, bytes_max: int, batches: int, is_applied: bool
    ) -> None:
        for table in tables:
            model = self.tables[table]
            for _ in range(batches):
                if not self.spool.has_rows(table, model.cursor):
                    assert model.read == len(model.rows)
                    break
                self.read_batch(table, rows_max, bytes_max)
            if is_applied:
                model.applied = max(model.applied, model.read)
                model.applied_cursor = max(model.applied_cursor, model.cursor)

    def read_batch(self, table: int, rows_max: int, bytes_max: int) -> None:
        model = self.tables[table]
        batch = self.run(self.spool.next_rows, table, model.cursor, rows_max, bytes_max)
        assert batch is not None
        lines = [line for payload in batch.payloads for line in split(bytes(payload))]
        assert lines == model.rows[model.read : model.read + len(lines)]
        assert batch.rows == len(lines)
        assert len(batch.payloads) <= 1 or (
            batch.rows <= rows_max and batch.size_bytes <= bytes_max
        )
        model.read += len(lines)
        assert batch.is_cut == (model.read < len(model.rows))
        assert batch.end > model.cursor
        model.cursor = batch.end

    @rule()
    def catch_up(self) -> None:
        """Everything is applied and let go."""
        self.read(TABLES, 1000, 100_000, 1000, True)
        self.release()

    @rule()
    def release(self) -> None:
        cursors = {table: model.applied_cursor for table, model in self.tables.items()}
        self.run(self.spool.release, cursors)
        for table, model in self.tables.items():
            model.is_moving = False
            model.released_max = max(model.applied, model.moved_to)
            gone = len(model.rows) - self.held_rows(table)
            assert gone <= model.released_max
            model.applied = max(model.applied, gone)  # the copies of moved rows come next
            model.read = max(model.read, gone)
        ends = self.spool.files.table_ends()
        is_at_end = all(
            model.applied_cursor >= ends.get(table, START) for table, model in self.tables.items()
        )
        if is_at_end:
            assert len(self.spool.files.listed()) == 1  # nothing is kept for nothing
            assert self.spool.is_drained(cursors)
        if self.spool.is_drained(cursors):
            assert all(model.applied == len(model.rows) for model in self.tables.values())

    @rule(table=st.sampled_from(TABLES))
    def send_all_again(self, table: int) -> None:
        """The table was made anew: a reader begins with what the spool still holds."""
        is_moving = self.tables[table].is_moving
        self.begin_again(table, self.tables[table])
        self.tables[table].is_moving = is_moving

    @rule(table=st.sampled_from(SIDE_TABLES))
    def move_to_head(self, table: int) -> None:
        """Pending rows of a small table come again, behind themselves."""
        model = self.tables[table]
        is_pending = self.spool.has_rows(table, model.applied_cursor)
        has_moved = self.run(self.spool.move_to_head, table, model.applied_cursor)
        assert has_moved == (is_pending and not model.is_moving)
        assert self.spool.write_now() == 0
        if has_moved:
            model.is_moving = True
            model.moved_to = len(model.rows)
            model.rows += model.rows[model.applied :]

    @rule()
    def sync(self) -> None:
        self.spool.files.fsync()

    # -- how it may end -----------------------------------------------------------------------

    @rule(
        end=st.sampled_from(["kill", "kill amid a write", "in order", "damage", "power cut"]),
        kinds=st.lists(
            st.tuples(st.sampled_from(TABLES), st.just(1), st.integers(1, 5)),
            min_size=1, max_size=4,
        ),
        data=st.data(),
    )  # fmt: skip
    def end(self, end: str, kinds: list[tuple[int, int, int]], data: st.DataObject) -> None:
        if end == "kill":
            self.kill_with_rows_in_memory(kinds)
        elif end == "kill amid a write":
            self.kill_amid_a_write(kinds, data)
        elif end == "in order":
            self.end_in_order(data.draw(st.booleans(), label="drained"))
        elif end == "damage":
            self.damage(data)
        else:
            self.power_cut(data)

    def kill_with_rows_in_memory(self, kinds: list[tuple[int, int, int]]) -> None:
        for one in self.next_records(kinds):
            self.spool.append(one)
        kill(self.spool)
        self.restart()

    def kill_amid_a_write(self, kinds: list[tuple[int, int, int]], data: st.DataObject) -> None:
        """Of the write that nobody was told of, a beginning may be there."""
        number, before = self.spool.files.active.number, self.spool.files.active.size_bytes
        records = self.next_records(kinds)
        for one in records:
            self.spool.append(one)
        assert self.spool.write_now() == 0
        active = self.spool.files.active
        kill(self.spool)
        if active.number != number:
            before = 0  # it rolled: even the segment's header may be missing
        cut = data.draw(st.integers(before, active.size_bytes), label="cut at")
        kept = [one for one in records_in(active.path) if before <= one.offset and one.end <= cut]
        os.truncate(active.path, cut)
        written = sorted(records, key=lambda one: one.table != QUARANTINE)
        for one in written[: len(kept)]:
            self.tables[one.table].rows += split(one.payload)
        self.restart()

    def end_in_order(self, is_drained: bool) -> None:
        cursors = {table: model.applied_cursor for table, model in self.tables.items()}
        self.run(self.spool.seal, cursors if is_drained else {})
        if is_drained:
            for model in self.tables.values():
                model.released_max = model.applied
        self.restart()

    def damage(self, data: st.DataObject) -> None:
        """A bit flips in a record that is not the last: exactly its rows are lost, and said."""
        found = [(path, ref) for path in self.segment_paths() for ref in records_in(path)][:-1]
        if not found:
            return
        path, ref = data.draw(st.sampled_from(found), label="record")
        text = bytearray(path.read_bytes())
        lines = split(bytes(text[ref.payload_offset : ref.end]))
        text[data.draw(st.integers(ref.offset, ref.end - 1), label="byte")] ^= 0x40
        kill(self.spool)
        self.lose(path, ref, lines)
        path.write_bytes(text)
        self.lost[path.name] += len(lines)
        self.restart()
        assert self.spool.recovery is not None
        said = [hole.rows for name, hole in self.spool.recovery.damage if name == path.name]
        assert sum(said) == self.lost[path.name]

    def power_cut(self, data: st.DataObject) -> None:
        """What was not synced may be gone, from any byte on; what was synced is there."""
        active = self.spool.files.active
        safe = max(active.synced_bytes, FILE_HEADER_BYTES)
        cut = data.draw(st.integers(safe, active.size_bytes), label="cut at")
        text = active.path.read_bytes()
        kill(self.spool)
        for ref in reversed(records_in(active.path)):
            if ref.end > cut:
                self.lose(active.path, ref, split(text[ref.payload_offset : ref.end]))
                os.truncate(active.path, ref.offset)
        active.path.write_bytes(text[:cut])
        self.restart()

    def lose(self, path: Path, ref: RecordRef, lines: list[bytes]) -> None:
        """Take a record's rows out of the model; call it while the files are whole."""
        model = self.tables[ref.table]
        number = int(path.stem)
        before = sum(
            one.rows
            for segment in self.segment_paths()
            for one in records_in(segment)
            if one.table == ref.table and (int(segment.stem), one.offset) < (number, ref.offset)
        )
        first = len(model.rows) - self.held_rows(ref.table) + before
        assert model.rows[first : first + len(lines)] == lines
        del model.rows[first : first + len(lines)]
        model.released_max -= max(0, min(model.released_max - first, len(lines)))
        model.moved_to -= max(0, min(model.moved_to - first, len(lines)))

    def restart(self) -> None:
        """Open the folder again: readers begin with what it holds."""
        self.spool = new_spool(self.folder)
        recovery = self.run(self.spool.open)
        for table, model in self.tables.items():
            self.begin_again(table, model)
        assert recovery.rows == self.held_rows(TRADES)

    def begin_again(self, table: int, model: Table) -> None:
        gone = len(model.rows) - self.held_rows(table)
        assert 0 <= gone <= model.released_max
        model.read = model.applied = gone
        model.cursor = model.applied_cursor = START
        model.is_moving = False

    # -- what holds at any time ---------------------------------------------------------------

    def segment_paths(self) -> list[Path]:
        return sorted(self.folder.glob("*.seg"))

    def held_rows(self, table: int) -> int:
        """Rows that a reader can have, counted from the files alone."""
        return sum(
            ref.rows
            for path in self.segment_paths()
            for ref in records_in(path)
            if ref.table == table
        )

    @invariant()
    def nothing_is_lost(self) -> None:
        if self.spool.state == "closed":
            return
        for table, model in self.tables.items():
            assert len(model.rows) - self.held_rows(table) <= model.released_max

    @invariant()
    def the_counters_balance(self) -> None:
        if self.spool.recovery is None:
            return
        held: Counter[int] = Counter()
        for segment in self.spool.files.listed():
            held.update(segment.rows_by_feed)
        taken = self.spool.spooled_by_feed + Counter(self.spool.recovery.rows_by_feed)
        assert taken == +(held + self.spool.released_by_feed)
        assert self.spool.buffered_bytes == self.spool.buffered_rows == 0

    @invariant()
    def ordinals_only_grow(self) -> None:
        ordinals = [ref.first_ordinal for path in self.segment_paths() for ref in records_in(path)]
        assert ordinals == sorted(set(ordinals))


SpoolMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, print_blob=True
)
TestSpoolModel = SpoolMachine.TestCase
