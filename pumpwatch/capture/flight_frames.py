"""What was read from a socket, cut into the venue's messages again. Sans I/O.

A recording may begin in the middle of a frame (it was switched off before): then the first place is
taken from which two frames follow each other; what lies before it is not told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

TEXT, BINARY, CONTINUATION = 0x1, 0x2, 0x0
CONTROL = (0x8, 0x9, 0xA)
FRAME_BYTES_MAX = 1 << 20
WORD = rb"[A-Za-z0-9_-]"  # what a venue's name may go on with


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """Bytes of one read, and when they came (our clock)."""

    receive_ns: int
    data: bytes


class RawFrame(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One message as the venue sent it; ``receive_ns``: when its last byte came."""

    feed: str
    connection: int
    receive_ns: int
    payload: bytes


def naming(venue_symbols: Iterable[str]) -> re.Pattern[bytes]:
    """Finds a name that stands alone, in either case: ``btcusdt@trade`` and ``"BTCUSDT"``."""
    names = b"|".join(re.escape(name.encode()) for name in sorted(venue_symbols))
    return re.compile(rb"(?<!" + WORD + rb")(?:" + names + rb")(?!" + WORD + rb")", re.IGNORECASE)


def messages(chunks: Iterable[Chunk], *, is_aligned: bool) -> Iterator[tuple[int, bytes]]:
    """Whole messages, and when each ended; ``is_aligned``: the first chunk begins with a frame."""
    held, parts = bytearray(), bytearray()
    for chunk in chunks:
        held += chunk.data
        if not is_aligned:
            start = aligned_at(held)
            if start is None:
                continue
            del held[:start]
            is_aligned = True
        at = 0
        while (frame := _frame(held, at)) is not None:
            opcode, is_last, first, end = frame
            if opcode not in CONTROL:
                parts += held[first:end]
                if is_last:
                    yield chunk.receive_ns, bytes(parts)
                    parts.clear()
            at = end
        del held[:at]


def aligned_at(data: bytes | bytearray) -> int | None:
    """The first place where a message begins and another frame follows; None: not here yet."""
    for at in range(len(data) - 3):
        if data[at] not in (0x81, 0x82):
            continue
        frame = _frame(data, at)
        if frame is None or frame[3] >= len(data) or data[frame[2]] not in b"{[":
            continue
        follower = data[frame[3]]
        if follower & 0x70 == 0 and (follower & 0x0F) in (TEXT, BINARY, *CONTROL):
            return at
    return None


def _frame(data: bytes | bytearray, at: int) -> tuple[int, bool, int, int] | None:
    """Opcode, whether it ends its message, and where its payload lies; None: it is not whole."""
    if len(data) < at + 2:
        return None
    size, first = data[at + 1] & 0x7F, at + 2
    if size >= 126:
        width = 2 if size == 126 else 8
        if len(data) < first + width:
            return None
        size = int.from_bytes(data[first : first + width], "big")
        first += width
    if size > FRAME_BYTES_MAX or len(data) < first + size:
        return None
    return data[at] & 0x0F, bool(data[at] & 0x80), first, first + size
