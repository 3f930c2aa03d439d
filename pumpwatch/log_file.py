"""A log file that never fills a disk: at its limit it is put aside, and the oldest goes.

Under systemd the journal does this; the file is for everybody else. A disk that refuses costs log
lines, never rows.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TextIO

MIB = 2**20
MODE = 0o600  # it names symbols, addresses and what went wrong


class RotatingFile:
    """What log.py writes to: ``pumpwatch.log``, ``pumpwatch.log.1`` (the newest before it), ..."""

    def __init__(self, path: Path, *, bytes_max: int, keep: int) -> None:
        """Raises OSError where the file cannot be opened."""
        self._path = path
        self._bytes_max = bytes_max
        self._keep = keep
        self._file: TextIO | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        self._open()

    def _open(self) -> None:
        opened = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, MODE)
        self._file = os.fdopen(opened, "a", encoding="utf-8", errors="replace")
        self._bytes = os.fstat(opened).st_size

    def write(self, text: str) -> None:
        """Append; a line is never split over two files. Raises OSError."""
        size = len(text.encode("utf-8", "replace"))
        if self._bytes and self._bytes + size > self._bytes_max:
            self._rotate()
        if self._file is None:
            self._open()
        assert self._file is not None
        self._file.write(text)
        self._bytes += size

    def flush(self) -> None:
        """Hand what was written to the kernel. Raises OSError."""
        if self._file is not None:
            self._file.flush()

    def isatty(self) -> bool:
        """Never: lines are JSON."""
        return False

    def close(self) -> None:
        """Close it; writing opens it again."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def _rotate(self) -> None:
        self.close()
        with contextlib.suppress(OSError):
            self._aside(self._keep).unlink(missing_ok=True)
            for number in range(self._keep - 1, 0, -1):
                if self._aside(number).exists():
                    self._aside(number).rename(self._aside(number + 1))
            self._path.rename(self._aside(1))

    def _aside(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
