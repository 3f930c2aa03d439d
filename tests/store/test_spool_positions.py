"""Where symbols stood is kept with the rows: rolls, releases, kills, clean ends, damage (R3)."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from pumpwatch._fast import parse_binance
from pumpwatch.model import Record
from pumpwatch.store.segment import (
    FILE_HEADER_BYTES,
    POSITIONS_TABLE,
    RECORD_HEADER_BYTES,
    RecordRef,
    scan,
)
from pumpwatch.store.spool import Spool
from pumpwatch.store.spool_files import Cursor
from pumpwatch.store.spool_positions import alive_record, read_alive
from pumpwatch.store.spool_recovery import holds_rows
from tests._fast.driving import NOW_NS, Drive
from tests.capture.rig import trade_frame
from tests.store.records import GAPS, TRADES, WALL_NS, flip, kill, opened, record, reopened, write

FEED = 1
pytestmark = pytest.mark.usefixtures("inline_threads")


def tables_of(path: Path) -> list[int]:
    return [ref.table for ref in refs_of(path)]


def refs_of(path: Path) -> list[RecordRef]:
    return [ref for ref in scan(path.read_bytes()) if isinstance(ref, RecordRef)]


def segments_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.seg"))


class Trades:
    """Records of one symbol as the road makes them."""

    def __init__(self) -> None:
        self._drive = Drive(parse_binance.SPOT, "BTCUSDT")

    def record(self, *ids: int) -> Record:
        """The trades with these ids; ids may jump."""
        self._drive.intake.feed(b"".join(map(trade_frame, ids)), NOW_NS)
        payload, rows, _ = self._drive.rows.take()
        self._drive.intake.take_news()
        return Record(table=TRADES, feed=FEED, rows=rows, payload=payload)


async def spool_in(folder: Path, **changes: Any) -> Spool:
    return await opened(folder, contiguous=[FEED], **changes)


async def again(spool: Spool) -> Spool:
    return await reopened(spool, contiguous=[FEED])


def stood(spool: Spool) -> tuple[int, int, list[tuple[int, int]]] | None:
    """Where the earlier run's records say that the symbol stood."""
    found = spool.files.stood.positions.get(FEED, "BTCUSDT")
    return found and (found.seen_from, found.seen_to, found.missing)


async def test_a_kill_leaves_what_was_spooled_and_not_a_row_more(tmp_path: Path) -> None:
    trades, spool = Trades(), await spool_in(tmp_path)
    write(spool, trades.record(1, 2), trades.record(5), alive_record({FEED: WALL_NS}))
    spool.append(trades.record(6, 7))  # received, and not in a segment yet
    assert holds_rows(tmp_path)
    spool = await again(spool)
    assert stood(spool) == (1, 5, [(3, 4)])
    assert spool.files.stood.alive_ns_by_feed == {FEED: WALL_NS}
    write(spool, trades.record(3))
    spool = await again(spool)
    assert stood(spool) == (1, 5, [(4, 4)])


async def test_nobody_moves_what_an_earlier_run_left(tmp_path: Path) -> None:
    trades, spool = Trades(), await spool_in(tmp_path)
    write(spool, trades.record(1, 2))
    spool = await again(spool)
    write(spool, trades.record(3))
    assert stood(spool) == (1, 2, [])


async def test_every_segment_begins_with_all_positions(
    tmp_path: Path, small_segments: None
) -> None:
    trades, spool = Trades(), await spool_in(tmp_path)
    for number in range(1, 60):
        write(spool, trades.record(number), alive_record({FEED: WALL_NS + number}))
    segments = spool.files.listed()
    assert len(segments) > 5
    for segment in segments[1:]:
        first, second = tables_of(segment.path)[:2]
        assert first == second == POSITIONS_TABLE
    # What the older segments held is applied and released: nothing is forgotten with them.
    last = spool.files.active
    await spool.release({TRADES: Cursor(last.number, last.size_bytes)})
    assert [one.number for one in spool.files.listed()] == [last.number]
    spool = await again(spool)
    assert stood(spool) == (1, 59, [])
    assert spool.files.stood.alive_ns_by_feed == {FEED: WALL_NS + 59}


async def test_a_clean_end_leaves_positions_and_no_rows(tmp_path: Path) -> None:
    trades, spool = Trades(), await spool_in(tmp_path)
    write(spool, trades.record(1, 2), alive_record({FEED: WALL_NS}), record([1], GAPS))
    done = Cursor(spool.files.active.number, spool.files.active.size_bytes)
    await spool.seal({TRADES: done, GAPS: done})
    (left,) = segments_in(tmp_path)
    assert set(tables_of(left)) == {POSITIONS_TABLE}
    assert not holds_rows(tmp_path)
    for _ in range(3):
        spool = await spool_in(tmp_path)
        assert spool.recovery is not None
        assert (spool.recovery.rows, spool.recovery.damage) == (0, [])
        assert stood(spool) == (1, 2, [])
        assert spool.is_drained({})
        await spool.seal({})
    assert len(segments_in(tmp_path)) == 1


async def test_kills_one_after_the_other_keep_them(tmp_path: Path) -> None:
    trades, spool = Trades(), await spool_in(tmp_path)
    write(spool, trades.record(1, 2))
    done = Cursor(spool.files.active.number, spool.files.active.size_bytes)
    await spool.seal({TRADES: done})
    spool = await spool_in(tmp_path)
    for _ in range(4):
        assert stood(spool) == (1, 2, [])
        spool = await again(spool)
    assert len(segments_in(tmp_path)) == 1


@pytest.mark.parametrize("seed", range(5))
async def test_a_set_that_is_damaged_is_replaced_by_the_one_before(
    tmp_path: Path, small_segments: None, seed: int
) -> None:
    rng = random.Random(seed)
    print(f"seed {seed}")
    trades, spool = Trades(), await spool_in(tmp_path)
    for number in range(1, 30):
        write(spool, trades.record(number))
    last = spool.files.active
    (first, *_) = last.positions
    kill(spool)
    flip(last.path, rng.randrange(first.offset, first.end))
    spool = await spool_in(tmp_path)
    assert stood(spool) == (1, 29, [])
    assert [hole.rows for _, hole in spool.damage] == [0]
    assert not spool.files.stood.is_lost


async def test_rows_lost_by_damage_are_missing_ids(tmp_path: Path) -> None:
    trades, spool = Trades(), await spool_in(tmp_path)
    write(spool, trades.record(1, 2))
    write(spool, trades.record(3, 4))
    write(spool, trades.record(5))
    at = spool.files.active.path
    _, lost, _ = refs_of(at)
    kill(spool)
    flip(at, lost.offset + RECORD_HEADER_BYTES + 5)
    spool = await spool_in(tmp_path)
    assert stood(spool) == (1, 5, [(3, 4)])


async def test_positions_that_cannot_be_read_are_said_to_be_lost(tmp_path: Path) -> None:
    trades, spool = Trades(), await spool_in(tmp_path)
    write(spool, trades.record(1, 2))
    done = Cursor(spool.files.active.number, spool.files.active.size_bytes)
    await spool.seal({TRADES: done})
    (left,) = segments_in(tmp_path)
    flip(left, FILE_HEADER_BYTES + RECORD_HEADER_BYTES + 3)
    spool = await spool_in(tmp_path)
    assert stood(spool) is None


def test_notes_are_read_back_and_nothing_else() -> None:
    notes = {1: WALL_NS, 12: 7}
    assert read_alive(alive_record(notes).payload) == notes
    for wrong in (b"", b"\x01\x01\x00\x00", alive_record(notes).payload[:-1]):
        with pytest.raises(ValueError, match="alive note"):
            read_alive(wrong)


async def test_a_first_segment_has_no_set_and_nothing_is_lost(tmp_path: Path) -> None:
    """Killed before the first roll: its alive notes are no positions that could not be read."""
    trades, spool = Trades(), await spool_in(tmp_path)
    write(spool, trades.record(100, 101), alive_record({FEED: WALL_NS}))
    kill(spool)
    spool = await spool_in(tmp_path)
    assert not spool.files.stood.is_lost
    assert stood(spool) == (100, 101, [])
