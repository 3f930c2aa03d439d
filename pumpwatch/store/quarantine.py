"""What was not understood is kept: a bounded number of table rows, the rest in bounded files (R15)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog
import zstandard

log = structlog.get_logger()

ROWS_PER_MINUTE_MAX = 600  # of one feed and reason
FILE_BYTES_MAX = 64 * 1024 * 1024  # of one overflow file, uncompressed
FILES_MAX = 16  # the oldest one goes then, and is said
RAW_BYTES_MAX = 12_000  # of a row's raw text in the table; files keep it whole
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
        self._directory = directory
        self._writer: zstandard.ZstdCompressionWriter | None = None
        self._written_bytes = 0
        self._serial = 0

    def add(self, entry: Entry) -> None:
        """Append an entry. Raises OSError when the disk refuses."""
        if self._writer is None or self._written_bytes >= FILE_BYTES_MAX:
            self._roll(entry.at_ns)
        assert self._writer is not None
        line = msgspec.json.encode(entry) + b"\n"
        self._writer.write(line)
        self._written_bytes += len(line)

    def _roll(self, at_ns: int) -> None:
        self.close()
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        old = sorted(self._directory.glob("*.jsonl.zst"))
        for path in old[: max(0, len(old) - FILES_MAX + 1)]:
            log.error("quarantine_file_dropped", file=path.name, limit_files=FILES_MAX)
            path.unlink()
        self._serial += 1
        path = self._directory / f"{at_ns:020d}-{self._serial:06d}.jsonl.zst"
        compressor = zstandard.ZstdCompressor(level=1)
        self._writer = compressor.stream_writer(path.open("xb"), closefd=True)
        self._written_bytes = 0

    def flush(self) -> None:
        """Make what was added readable for others."""
        if self._writer is not None:
            self._writer.flush(zstandard.FLUSH_FRAME)

    def close(self) -> None:
        """End the present file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class Quarantine:
    """Decides what becomes a table row and what goes to the overflow files, and counts both."""

    def __init__(self, overflow: Overflow, to_table: Callable[[Entry], None]) -> None:
        self.table_rows: Counter[tuple[str, str]] = Counter()  # by feed name and reason
        self.overflowed: Counter[tuple[str, str]] = Counter()
        self.unwritten = 0  # the overflow's disk refused: counted, said, and lost
        self._overflow = overflow
        self._to_table = to_table
        self._minute = -1
        self._in_minute: Counter[tuple[str, str]] = Counter()

    def add(self, entry: Entry) -> None:
        """Keep an entry; never raises for a full disk."""
        minute = entry.at_ns // MINUTE_NS
        if minute != self._minute:
            self._minute = minute
            self._in_minute.clear()
        key = (f"{entry.exchange}_{entry.market_type}", entry.reason)
        self._in_minute[key] += 1
        if self._in_minute[key] <= ROWS_PER_MINUTE_MAX:
            self.table_rows[key] += 1
            self._to_table(entry)
            return
        if self._in_minute[key] == ROWS_PER_MINUTE_MAX + 1:
            log.error("quarantine_overflow", feed=key[0], reason=key[1],
                      rows_per_minute_max=ROWS_PER_MINUTE_MAX)  # fmt: skip
        self.overflowed[key] += 1
        try:
            self._overflow.add(entry)
        except OSError as error:
            self.unwritten += 1
            log.error("quarantine_file_failed", error=str(error))

    def close(self) -> None:
        """End the overflow file."""
        self._overflow.close()
