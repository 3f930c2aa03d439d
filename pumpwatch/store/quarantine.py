"""What was not understood is kept: a bounded number of table rows, the rest in files (R15)."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import msgspec
import structlog
import zstandard

log = structlog.get_logger()

ROWS_PER_MINUTE_MAX = 600  # of one feed and reason
FILE_BYTES_MAX = 64 * 1024 * 1024  # of one overflow file, uncompressed
FILES_MAX = 16  # the oldest one goes then, and is said
RAW_CHARACTERS_MAX = 12_000  # of a row's raw text in the table; a longer one lies in a file too
REFUSED = "refused"  # the reason of a line that the server did not take
FLUSH_NS = 1_000_000_000  # what lies in the compressor is lost in a kill
MINUTE_NS = 60_000_000_000


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One message (or line) that was not understood."""

    at_ns: int
    exchange: str
    market_type: str
    reason: str
    detail: str
    raw: str
    rows: int  # refused rows in it; 0: it could not be read at all


class Overflow:
    """Bounded compressed files for what the table is spared: one JSON document a line."""

    def __init__(self, directory: Path) -> None:
        self.lost = 0  # entries that the disk refused
        self._directory = directory
        self._file: BinaryIO | None = None
        self._writer: zstandard.ZstdCompressionWriter | None = None
        self._written_bytes = 0
        self._unflushed = 0  # entries in the compressor
        self._flushed_ns = 0
        self._serial = 0

    def add(self, entry: Entry) -> None:
        """Append an entry. Raises OSError when the disk refuses; ``lost`` counts what it cost."""
        line = msgspec.json.encode(entry) + b"\n"
        self._unflushed += 1
        with self._counted():
            if self._writer is None or self._written_bytes >= FILE_BYTES_MAX:
                self._roll(entry.at_ns)
            assert self._writer is not None
            self._writer.write(line)
        self._written_bytes += len(line)
        if entry.at_ns - self._flushed_ns >= FLUSH_NS:
            self._flushed_ns = entry.at_ns
            self.flush()

    def flush(self) -> None:
        """Make what was added safe from a kill, and readable. Raises OSError."""
        if self._unflushed and self._writer is not None:
            with self._counted():
                self._writer.flush(zstandard.FLUSH_FRAME)
            self._unflushed = 0

    def close(self) -> None:
        """End the present file. Raises OSError."""
        with self._counted():
            self._end_file()

    def _end_file(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None and self._file is not None:
            with self._file:
                writer.close()  # type: ignore[no-untyped-call]
            self._unflushed = 0

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        """Where the disk refuses, leave the file: behind a broken frame nothing can be read."""
        try:
            yield
        except OSError:
            self.lost += self._unflushed
            self._unflushed = 0
            with contextlib.suppress(OSError):
                self._end_file()
            raise

    def _roll(self, at_ns: int) -> None:
        self._end_file()
        self._unflushed = 1  # the entry that wants the new file
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        old = sorted(self._directory.glob("*.jsonl.zst"))
        for path in old[: max(0, len(old) - FILES_MAX + 1)]:
            log.error("quarantine_file_dropped", file=path.name, limit_files=FILES_MAX)
            path.unlink()
        self._serial += 1
        path = self._directory / f"{at_ns:020d}-{self._serial:06d}.jsonl.zst"
        compressor = zstandard.ZstdCompressor(level=1)
        self._file = path.open("xb")
        self._writer = compressor.stream_writer(self._file, closefd=False)
        self._written_bytes = 0


class Quarantine:
    """Decides what becomes a table row and what goes to the overflow files, and counts both."""

    def __init__(self, overflow: Overflow, to_table: Callable[[Entry], None]) -> None:
        self.table_rows: Counter[tuple[str, str]] = Counter()  # by feed name and reason
        self.overflowed: Counter[tuple[str, str]] = Counter()
        self.rows: Counter[str] = Counter()  # by feed name: of messages that we refused
        self.refused: Counter[str] = Counter()  # by feed name: lines that the server refused
        self._overflow = overflow
        self._to_table = to_table
        self._minute = -1
        self._in_minute: Counter[tuple[str, str]] = Counter()

    @property
    def unwritten(self) -> int:
        """Entries that a file's disk refused: counted, said, and lost."""
        return self._overflow.lost

    def add(self, entry: Entry, *, to_file: bool = False) -> None:
        """Keep an entry, ``to_file`` in any case; never raises for a full disk."""
        minute = entry.at_ns // MINUTE_NS
        if minute != self._minute:
            self._minute = minute
            self._in_minute.clear()
        key = (f"{entry.exchange}_{entry.market_type}", entry.reason)
        kept = self.refused if entry.reason == REFUSED else self.rows
        kept[key[0]] += entry.rows
        self._in_minute[key] += not to_file
        if to_file or self._in_minute[key] > ROWS_PER_MINUTE_MAX:
            if self._in_minute[key] == ROWS_PER_MINUTE_MAX + 1:
                log.error("quarantine_overflow", feed=key[0], reason=key[1],
                          rows_per_minute_max=ROWS_PER_MINUTE_MAX)  # fmt: skip
            self.overflowed[key] += 1
            self._write(partial(self._overflow.add, entry))
            return
        self.table_rows[key] += 1
        self._to_table(entry)
        if len(entry.raw) > RAW_CHARACTERS_MAX:
            self._write(partial(self._overflow.add, entry))

    def flush(self) -> None:
        """Make what went to the files safe from a kill."""
        self._write(self._overflow.flush)

    def close(self) -> None:
        """End the overflow file."""
        self._write(self._overflow.close)

    def _write(self, step: Callable[[], None]) -> None:
        try:
            step()
        except OSError as error:
            log.error("quarantine_file_failed", error=str(error), entries_lost=self.unwritten)  # noqa: TRY400
