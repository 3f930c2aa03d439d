"""Spool records for tests: short lines, each of its own, and a clock that only moves when told."""

from __future__ import annotations

import errno
import os
import random
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pumpwatch.model import Record
from pumpwatch.store.schema import TABLES
from pumpwatch.store.segment import MIB, RecordRef, scan
from pumpwatch.store.spool import Spool
from pumpwatch.store.spool_files import START, Cursor

NAMES = {number: name for name, number in TABLES.items()}
TRADES, GAPS, QUARANTINE = TABLES["trades"], TABLES["feed_gaps"], TABLES["quarantine"]
WALL_NS = 1_790_000_000_000_000_000


class SetClock:
    """A wall clock that stands still until it is set."""

    def __init__(self, wall_ns: int = WALL_NS) -> None:
        self.now_ns = wall_ns

    def wall_ns(self) -> int:
        return self.now_ns


def lines_of(table: int, serials: Iterable[int], feed: int = 1, text: str = "") -> list[bytes]:
    """A line per serial number; equal serials of a table are the same row."""
    return [
        f'{NAMES[table]},feed={feed} id={serial}i,text="{text}" {WALL_NS + serial}\n'.encode()
        for serial in serials
    ]


def record(
    serials: Iterable[int], table: int = TRADES, feed: int = 1, text: str = "", received_ns: int = 0
) -> Record:
    """A record of these rows."""
    lines = lines_of(table, serials, feed if table == TRADES else 0, text)
    return Record(
        table=table, feed=feed if table == TRADES else 0, rows=len(lines),
        payload=b"".join(lines), received_ns=received_ns,
    )  # fmt: skip


def new_spool(folder: Path, **changes: Any) -> Spool:
    """A spool that is not open yet; the limits are the widest that tests want."""
    settings: dict[str, Any] = {
        "schema_version": 11, "disk_bytes_max": 1024 * MIB, "fsync_s": 1.0,
        "buffer_bytes_max": 64 * MIB,
    }  # fmt: skip
    return Spool(folder, SetClock(), random.Random(1), **(settings | changes))


async def opened(folder: Path, **changes: Any) -> Spool:
    """An open spool; its tasks do not run."""
    spool = new_spool(folder, **changes)
    await spool.open()
    return spool


async def reopened(spool: Spool, **changes: Any) -> Spool:
    """The spool after a SIGKILL and a new start."""
    kill(spool)
    return await opened(spool.files.directory, **changes)


def write(spool: Spool, *records: Record) -> None:
    """Append and have it in a segment."""
    for one in records:
        spool.append(one)
    assert spool.write_now() == 0


def kill(spool: Spool) -> None:
    """What a SIGKILL leaves: the kernel lets the lock go, nothing else is done."""
    spool.files._let_go()


def held(spool: Spool, table: int = TRADES, cursor: Cursor = START) -> list[bytes]:
    """All lines of the table behind ``cursor`` that a reader can have now."""
    lines: list[bytes] = []
    upto = spool.files.table_ends().get(table, START)
    while cursor < upto:
        batch = spool.files.read(table, cursor, upto, 1000, MIB)
        if batch is None:
            break
        lines += [line for payload in batch.payloads for line in split(bytes(payload))]
        cursor = batch.end
    return lines


async def read_all(spool: Spool, table: int = TRADES) -> list[bytes]:
    """All lines of the table, as a writer would get them."""
    cursor, lines = START, []
    while spool.has_rows(table, cursor):
        batch = await spool.next_rows(table, cursor, 3, MIB)
        assert batch is not None
        assert batch.rows == sum(len(split(bytes(payload))) for payload in batch.payloads)
        lines += [line for payload in batch.payloads for line in split(bytes(payload))]
        cursor = batch.end
    return lines


def split(payload: bytes) -> list[bytes]:
    """The lines of a payload that holds no binary values."""
    return payload.splitlines(keepends=True)


def segment_names(folder: Path) -> list[str]:
    """The folder's segments, sound or set aside."""
    return sorted(path.name for path in folder.iterdir() if path.suffix in {".seg", ".damaged"})


def records_in(path: Path) -> list[RecordRef]:
    """The sound records of a segment."""
    return [found for found in scan(path.read_bytes()) if isinstance(found, RecordRef)]


def flip(path: Path, offset: int) -> None:
    """Flip one bit of a byte."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of the folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def header_of_version(version: int) -> bytes:
    """As a later PumpWatch would write it: the header's layout is the same in every version."""
    zero = struct.pack("<8sQQII", b"PWSPOOL" + bytes([version]), 7, WALL_NS, 0, 0)
    return zero[:24] + struct.pack("<II", zlib.crc32(zero), 0)


class BadWrites:
    """``os.pwritev`` that puts half of what it gets on the disk and fails, as often as told."""

    def __init__(self, failures: int, error: int = errno.ENOSPC) -> None:
        self.failures = failures
        self.error = error
        self._real = os.pwritev

    def __call__(self, fd: int, buffers: Sequence[Any], offset: int) -> int:
        if self.failures == 0:
            return self._real(fd, buffers, offset)
        self.failures -= 1
        text = b"".join(bytes(buffer) for buffer in buffers)
        self._real(fd, [text[: len(text) // 2]], offset)
        raise OSError(self.error, os.strerror(self.error))
