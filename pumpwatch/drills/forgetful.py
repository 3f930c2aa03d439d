"""A disk that forgets what nobody asked it to keep: what a power cut leaves of a folder.

As a kernel may: each page that was written since a file's last fsync is there or not, whatever
became of its neighbours; a file's new length is there or not; so is the name of a new file.
"""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PAGE_BYTES = 4096


class ForgetfulDisk:
    """Knows each file as of its last fsync, and each folder's names as of its own."""

    def __init__(self) -> None:
        self.fsyncs = 0
        self._files: dict[int, bytes] = {}  # by inode
        self._names: dict[int, set[str]] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While this lasts, ``os.fsync`` is this disk's."""
        real = os.fsync
        os.fsync = self.fsync  # type: ignore[assignment]
        try:
            yield
        finally:
            os.fsync = real

    def fsync(self, fd: int) -> None:
        """Keep what the file, or the folder, is now."""
        self.fsyncs += 1
        state = os.fstat(fd)
        if stat.S_ISDIR(state.st_mode):
            self._names[state.st_ino] = set(os.listdir(f"/proc/self/fd/{fd}"))
        else:
            # By path: a descriptor may be for writing only.
            self._files[state.st_ino] = Path(f"/proc/self/fd/{fd}").read_bytes()

    def cut_power(self, folder: Path, after: Path, rng: random.Random) -> None:
        """Make ``after`` what a power cut might leave of ``folder``'s segments."""
        safe_names = self._names.get(folder.stat().st_ino, set())
        after.mkdir()
        for path in sorted(folder.glob("*.seg")):
            if path.name not in safe_names and rng.random() < 0.5:
                continue
            safe = self._files.get(path.stat().st_ino, b"")
            (after / path.name).write_bytes(_survivor(safe, path.read_bytes(), rng))


def _survivor(safe: bytes, now: bytes, rng: random.Random) -> bytes:
    """The old contents with any of the new pages, up to any length between the two."""
    size = rng.choice([len(safe), len(now), rng.randint(*sorted((len(safe), len(now))))])
    out = bytearray(safe[:size].ljust(size, b"\0"))
    share = rng.choice([0.0, 0.5, 0.9, 1.0])
    for begin in range(0, size, PAGE_BYTES):
        end = min(begin + PAGE_BYTES, size)
        if rng.random() < share:
            out[begin:end] = now[begin:end].ljust(end - begin, b"\0")
    return bytes(out)
