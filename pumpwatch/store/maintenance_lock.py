"""One at a time: backup, conversion, retention and restore take one lock (R14).

A lock of the kernel on a file of the data_dir: it holds between the daemon and the command line,
and is gone with the process that had it, however that ended.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pumpwatch.errors import MaintenanceBusyError

LOCK_FILE = "maintenance.lock"
HOLDER_BYTES_MAX = 200


@contextmanager
def hold_maintenance(data_dir: Path, work: str) -> Iterator[None]:
    """Have the lock for ``work`` ("retention", "backup", ...).

    Raises MaintenanceBusyError, saying who has it and for what, at once: nothing waits here.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, HOLDER_BYTES_MAX, 0).decode("utf-8", "replace").strip()
            raise MaintenanceBusyError(
                f"{work}: {holder or 'another run'} is at work on {data_dir}; try again when it"
                " has ended"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{work} (pid {os.getpid()})\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
