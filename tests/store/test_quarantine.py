"""R15: 600 table rows a minute of one feed and reason; the rest goes to bounded files, counted."""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from pumpwatch.store import quarantine as quarantine_module
from pumpwatch.store.quarantine import (
    FLUSH_NS,
    MINUTE_NS,
    RAW_CHARACTERS_MAX,
    ROWS_PER_MINUTE_MAX,
    Entry,
    Overflow,
    Quarantine,
)

START_NS = 1_790_000_000_000_000_000 // MINUTE_NS * MINUTE_NS


def entry(number: int, **changes: Any) -> Entry:
    facts: dict[str, Any] = {
        "at_ns": START_NS + number, "exchange": "okx", "market_type": "spot",
        "reason": "malformed", "detail": "", "raw": f"message {number}", "rows": 0,
    }  # fmt: skip
    return Entry(**(facts | changes))


class Kept:
    """A quarantine in a folder, and the table rows that it made."""

    def __init__(self, folder: Path) -> None:
        self.rows: list[Entry] = []
        self.overflow = Overflow(folder)
        self.quarantine = Quarantine(self.overflow, self.rows.append)
        self._folder = folder

    def in_files(self) -> list[Entry]:
        """What a reader finds now, file after file."""
        return [one for path in sorted(self._folder.glob("*.zst")) for one in read_file(path)]

    def overflow_many(self, first: int, count: int, **changes: Any) -> None:
        """Entries that the table is spared."""
        for number in range(first, first + count):
            self.quarantine.add(entry(number, **changes), to_file=True)


def read_file(path: Path) -> list[Entry]:
    reader = zstandard.ZstdDecompressor().stream_reader(
        io.BytesIO(path.read_bytes()), read_across_frames=True
    )
    return [Entry(**json.loads(line)) for line in reader.read().splitlines()]


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    one = Kept(tmp_path / "quarantine")
    yield one
    one.quarantine.close()


def test_six_hundred_rows_a_minute_then_files(kept: Kept) -> None:
    entries = [entry(number) for number in range(ROWS_PER_MINUTE_MAX + 5)]
    for one in entries:
        kept.quarantine.add(one)
    kept.quarantine.close()
    assert ROWS_PER_MINUTE_MAX == 600
    assert kept.rows == entries[:600]
    assert kept.in_files() == entries[600:]
    assert kept.quarantine.table_rows == {("okx_spot", "malformed"): 600}
    assert kept.quarantine.overflowed == {("okx_spot", "malformed"): 5}


def test_each_feed_and_reason_has_its_own_six_hundred(kept: Kept) -> None:
    kinds: list[dict[str, str]] = [
        {}, {"exchange": "gate"}, {"market_type": "futures"}, {"reason": "refused"},
    ]  # fmt: skip
    for number in range(601):
        for kind in kinds:
            kept.quarantine.add(entry(number, **kind))
    kept.quarantine.close()
    assert set(kept.quarantine.table_rows.values()) == {600}
    assert set(kept.quarantine.overflowed.values()) == {1}
    assert len(kept.quarantine.overflowed) == 4


def test_the_next_minute_starts_from_nothing(kept: Kept) -> None:
    for minute in range(3):
        for number in range(ROWS_PER_MINUTE_MAX + 1):
            kept.quarantine.add(entry(minute * MINUTE_NS + number))
    kept.quarantine.close()
    assert len(kept.rows) == 1800
    assert len(kept.in_files()) == 3


def test_a_quiet_quarantine_makes_no_file(kept: Kept, tmp_path: Path) -> None:
    kept.quarantine.add(entry(1))
    kept.quarantine.close()
    assert list(tmp_path.iterdir()) == []


def test_a_text_too_long_for_the_table_lies_whole_in_a_file(kept: Kept) -> None:
    long, fits = (entry(n, raw="x" * (RAW_CHARACTERS_MAX + n)) for n in (1, 0))
    kept.quarantine.add(long)
    kept.quarantine.add(fits)
    kept.quarantine.close()
    assert kept.rows == [long, fits]
    assert kept.in_files() == [long]


def test_an_entry_may_be_sent_to_a_file_only(kept: Kept) -> None:
    kept.quarantine.add(entry(1), to_file=True)
    kept.quarantine.close()
    assert (kept.rows, kept.in_files()) == ([], [entry(1)])
    assert kept.quarantine.overflowed == {("okx_spot", "malformed"): 1}


# --- a kill ---------------------------------------------------------------------------------------


def test_what_was_flushed_survives_a_kill(kept: Kept) -> None:
    kept.overflow_many(0, 10)
    kept.quarantine.flush()
    kept.overflow_many(10, 10)
    assert kept.in_files() == [entry(number) for number in range(10)]  # the rest is in memory


def test_a_flood_is_flushed_once_a_second(kept: Kept) -> None:
    kept.overflow_many(0, 10)
    assert [one.raw for one in kept.in_files()] == ["message 0"]  # the first at once
    kept.overflow_many(FLUSH_NS, 1)
    assert len(kept.in_files()) == 11


# --- bounds ---------------------------------------------------------------------------------------


def test_files_are_bounded_in_size_and_number(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine_module, "FILE_BYTES_MAX", 1000)
    monkeypatch.setattr(quarantine_module, "FILES_MAX", 3)
    for number in range(100):
        kept.overflow_many(number, 1)
    kept.quarantine.close()
    paths = sorted((tmp_path / "quarantine").iterdir())
    assert len(paths) == 3
    sizes = [sum(len(json.dumps(e.raw)) + 90 for e in read_file(path)) for path in paths]
    assert max(sizes) < 1300
    left = kept.in_files()
    assert left == [entry(number) for number in range(100 - len(left), 100)]  # the newest
    assert len(kept.quarantine.overflowed) == 1


def test_a_new_start_goes_on_beside_the_old_files(tmp_path: Path) -> None:
    for number in range(3):
        kept = Kept(tmp_path)
        kept.overflow_many(number, 1)
        kept.quarantine.close()
    assert len(list(tmp_path.iterdir())) == 3
    assert kept.in_files() == [entry(number) for number in range(3)]


# --- a disk that refuses --------------------------------------------------------------------------


class FullDisk:
    """Stands in for a compressor whose file cannot grow."""

    def _refuse(self, *_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write = flush = close = _refuse


@pytest.mark.parametrize("step", ["add", "flush", "close"])
def test_a_full_disk_is_counted_and_ends_nothing(kept: Kept, step: str) -> None:
    kept.overflow_many(0, 3)  # the first one is flushed
    kept.overflow._writer = FullDisk()  # type: ignore[assignment]
    act: dict[str, Callable[[], None]] = {
        "add": lambda: kept.overflow_many(3, 1),
        "flush": kept.quarantine.flush,
        "close": kept.quarantine.close,
    }
    act[step]()
    lost = 3 if step == "add" else 2
    assert kept.quarantine.unwritten == lost
    kept.overflow_many(10, 2)  # there is room again: a new file, and all of it can be read
    kept.quarantine.close()
    assert kept.quarantine.unwritten == lost
    assert [one.raw for one in read_file(sorted(kept._folder.iterdir())[-1])] == [
        "message 10",
        "message 11",
    ]


def test_a_folder_that_cannot_be_made_is_counted(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept = Kept(tmp_path / "file")
    kept.overflow_many(0, 3)
    kept.quarantine.flush()
    kept.quarantine.close()
    assert kept.quarantine.unwritten == 3
    assert kept.rows == []
