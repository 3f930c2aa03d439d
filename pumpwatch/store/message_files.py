"""Messages that could not be read, whole, in compressed segments of each feed. Blocking calls.

``quarantine/FEED/`` below data_dir holds one segment that grows (``FIRST.open``) and sealed ones
(``FIRST-LAST-COUNT.kept``; the two are receive times, ns). A segment is a row of blocks::

    u32 magic | u32 crc32 | u32 payload bytes | u32 messages    little-endian
    zstd frame of a msgpack list of [at_ns, reason, detail, rows, raw]

The crc covers the last two fields and the payload. A block is written by one call, so a kill tears
at most the last one, and a reader stops there. Blocks of a few messages compress badly: a segment
is packed anew when it is sealed.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec
import structlog
import zstandard

from pumpwatch.store.spool_recovery import write_all
from pumpwatch.whole_file import sync_path

log = structlog.get_logger()

SEGMENT_BYTES_MAX = 8 * 1024 * 1024  # as it grows, before it is packed
BLOCK_RAW_BYTES = 4 * 1024 * 1024  # of a packed segment: what a reader holds at once
QUICK_LEVEL, PACKED_LEVEL = 1, 6  # of zstd
OPEN, SEALED, NEW = ".open", ".kept", ".new"

_HEAD = struct.Struct("<IIII")
_MAGIC = 0x31515750  # "PWQ1" as it lies in the file


class KeptMessage(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message, as it came."""

    at_ns: int  # when it was received
    reason: str
    detail: str
    rows: int  # refused rows in it; 0: it could not be read at all
    raw: bytes


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(list[KeptMessage])


class Sealed(msgspec.Struct, frozen=True, order=True):
    """A segment that grows no more."""

    path: Path
    first_ns: int
    last_ns: int
    count: int


def encode_block(messages: Sequence[KeptMessage], level: int) -> bytes:
    """One block of a segment."""
    payload = zstandard.ZstdCompressor(level=level).compress(_ENCODER.encode(messages))
    tail = struct.pack("<II", len(payload), len(messages))
    return _HEAD.pack(_MAGIC, _crc(tail, payload), len(payload), len(messages)) + payload


def _crc(tail: bytes, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(tail))


def read_messages(path: Path) -> Iterator[KeptMessage]:
    """A segment's messages in order, up to a block that a kill tore. Raises OSError."""
    with path.open("rb") as file:
        while block := _next_block(file):
            yield from block


def _next_block(file: BinaryIO) -> list[KeptMessage]:
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return []
    magic, crc, size, _ = _HEAD.unpack(head)
    payload = file.read(size) if magic == _MAGIC else b""
    if len(payload) < size or magic != _MAGIC or _crc(head[8:], payload) != crc:
        log.error("quarantine_segment_damaged", file=file.name, offset=file.tell())
        return []
    return _DECODER.decode(zstandard.ZstdDecompressor().decompress(payload))


def segments_of(folder: Path) -> list[Sealed]:
    """The sealed segments of one feed's folder, oldest first."""
    found = []
    for path in folder.glob(f"*{SEALED}"):
        with contextlib.suppress(ValueError):  # a name of somebody else's
            first, last, count = map(int, path.name.removesuffix(SEALED).split("-"))
            found.append(Sealed(path, first, last, count))
    return sorted(found, key=lambda one: one.first_ns)


def kept_of(folder: Path) -> Iterator[KeptMessage]:
    """All messages of one feed, oldest first; may be called while a daemon writes."""
    growing = sorted(folder.glob(f"*{OPEN}"))
    for path in [*(one.path for one in segments_of(folder)), *growing]:
        with contextlib.suppress(FileNotFoundError):  # sealed, packed or read again just now
            yield from read_messages(path)


class MessageFiles:
    """The folder of all feeds' segments; one caller at a time. OSError: the disk refuses."""

    def __init__(self, directory: Path) -> None:
        self.bytes_by_feed: Counter[str] = Counter()  # on disk
        self._directory = directory
        self._growing: dict[str, BinaryIO] = {}
        self._ends: dict[str, int] = {}  # bytes of whole blocks in each growing segment
        self._unsynced: set[str] = set()

    def folder(self, feed: str) -> Path:
        """Where one feed's messages lie."""
        return self._directory / feed

    def open(self) -> None:
        """Take over what an earlier run left: its growing segments are sealed."""
        for folder in sorted(self._directory.glob("*_*")):
            for path in folder.glob(f"*{NEW}"):
                path.unlink()
            for path in sorted(folder.glob(f"*{OPEN}")):
                self._pack(folder.name, path)
            self.bytes_by_feed[folder.name] = sum(
                one.path.stat().st_size for one in segments_of(folder)
            )

    def append(self, feed: str, messages: Sequence[KeptMessage]) -> None:
        """Write these, all or none."""
        block = encode_block(messages, QUICK_LEVEL)
        file = self._growing.get(feed)
        if file is None:
            file = self._begin(feed, messages[0].at_ns)
        end = self._ends[feed]
        try:
            write_all(file.fileno(), [block], end)
        except OSError:
            with contextlib.suppress(OSError):  # half a block: the next one goes over it
                os.ftruncate(file.fileno(), end)
            raise
        self._ends[feed] = end + len(block)
        self._unsynced.add(feed)
        self.bytes_by_feed[feed] += len(block)
        if self._ends[feed] >= SEGMENT_BYTES_MAX:
            self.seal(feed)

    def _begin(self, feed: str, at_ns: int) -> BinaryIO:
        folder = self.folder(feed)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = (folder / f"{at_ns:020d}{OPEN}").open("xb", buffering=0)
        self._growing[feed], self._ends[feed] = file, 0
        return self._growing[feed]

    def fsync(self) -> None:
        """Make what was written safe from a power cut."""
        for feed in sorted(self._unsynced):
            if feed in self._growing:
                os.fsync(self._growing[feed].fileno())
            self._unsynced.discard(feed)

    def seal(self, feed: str) -> None:
        """The growing segment grows no more."""
        file = self._growing.pop(feed, None)
        if file is not None:
            os.fsync(file.fileno())
            file.close()
            self.bytes_by_feed[feed] -= self._ends.pop(feed)
            self.bytes_by_feed[feed] += self._pack(feed, Path(file.name))

    def _pack(self, feed: str, path: Path) -> int:
        """Rewrite a segment as a sealed one; returns its bytes."""
        return self._write_sealed(feed, path, read_messages(path))

    def replace(self, feed: str, old: Path, messages: Iterable[KeptMessage]) -> None:
        """These are what stays of a sealed segment."""
        before = old.stat().st_size
        self.bytes_by_feed[feed] += self._write_sealed(feed, old, messages) - before

    def _write_sealed(self, feed: str, old: Path, messages: Iterable[KeptMessage]) -> int:
        folder, first_ns, last_ns, count = self.folder(feed), 0, 0, 0
        new = old.with_suffix(NEW)
        with new.open("wb") as file:
            for block in _blocks(messages):
                file.write(encode_block(block, PACKED_LEVEL))
                first_ns = first_ns or block[0].at_ns
                last_ns, count = max(last_ns, block[-1].at_ns), count + len(block)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        if count:
            new.rename(folder / f"{first_ns:020d}-{last_ns:020d}-{count}{SEALED}")
        else:
            new.unlink()
        if old.name != f"{first_ns:020d}-{last_ns:020d}-{count}{SEALED}":
            old.unlink()
        sync_path(folder)
        return size

    def expire(self, before_ns: int) -> None:
        """Delete segments whose last message is older than this, and say so."""
        for folder in sorted(self._directory.glob("*_*")):
            for one in segments_of(folder):
                if one.last_ns < before_ns:
                    self.bytes_by_feed[folder.name] -= one.path.stat().st_size
                    one.path.unlink()
                    log.warning("quarantine_expired", feed=folder.name, messages=one.count)

    def close(self) -> None:
        """Sync and leave the growing segments; the next start seals them."""
        with contextlib.suppress(OSError):
            self.fsync()
        for file in self._growing.values():
            file.close()
        self._growing.clear()


def _blocks(messages: Iterable[KeptMessage]) -> Iterator[list[KeptMessage]]:
    block: list[KeptMessage] = []
    size_bytes = 0
    for message in messages:
        block.append(message)
        size_bytes += len(message.raw)
        if size_bytes >= BLOCK_RAW_BYTES:
            yield block
            block, size_bytes = [], 0
    if block:
        yield block
