"""The flight recorder: what came from the sockets in the last minutes, as it came (R17).

Raw bytes and receive stamps, compressed in a thread, a file per connection and minute. It proves
nothing and decides nothing: a frame that is absent is noted. It is the first thing that is
switched off under load: when the event loop is late, when the spool's buffers fill, or when
compressing alone takes more than a tenth of a core; half a minute later it tries again.
"""

from __future__ import annotations

import math
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import structlog
import trio
import zstandard

from pumpwatch.capture.flight_frames import Chunk, RawFrame, messages, naming
from pumpwatch.clock import Clock

log = structlog.get_logger()

WRITE_S = 0.5
FILE_NS = 60 * 10**9
BUFFER_BYTES_MAX = 32 << 20  # of all tapes together, while the disk is slow
LOOP_LAG_S_MAX = 0.25
BUFFERED_SHARE_MAX = 0.25  # of spool.buffer_max_mib
WORK_SHARE_MAX = 0.1  # of one core
OFF_S = 30.0
MIB = 1 << 20
SUFFIX = ".flight"
BROKEN, GOES_ON, BEGINS = 0, 1, 2  # what lies before a block: bytes are missing, a block, nothing
# first and last receive stamp, compressed and raw bytes, what lies before
HEAD = struct.Struct("<qqIIB")
PIECE = struct.Struct("<qI")


class Extract(msgspec.Struct, frozen=True, kw_only=True):
    """Frames that name what was asked for, and what is known to be absent."""

    frames: list[RawFrame]
    absent: list[str]  # in words: feed and why


class Tape:
    """One connection's; ``note`` is on the road and only appends."""

    def __init__(self, recorder: FlightRecorder, feed: str, number: int) -> None:
        self.feed = feed
        self.number = number
        self.chunks: list[Chunk] = []
        self.before = BEGINS  # of ``chunks``
        self.is_closed = False
        self._recorder = recorder

    def note(self, data: bytes, receive_ns: int) -> None:
        """These bytes were read."""
        if self._recorder.take(len(data)):
            self.chunks.append(Chunk(receive_ns, data))
        elif self.chunks or self.before != BROKEN:
            self._recorder.interrupt(self)


class FlightRecorder:
    """``minutes`` 0 switches it off. ``is_busy`` says whether others need the machine more."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        *,
        minutes: int,
        disk_max_mib: int,
        is_busy: Callable[[], str] = lambda: "",
    ) -> None:
        self.dropped_bytes = 0
        self.disk_bytes = 0
        self.off_reason = ""  # empty: it records
        self._folder = folder
        self._clock = clock
        self._keep_ns = minutes * FILE_NS
        self._disk_bytes_max = disk_max_mib * MIB
        self._is_busy = is_busy
        self._is_on = minutes > 0
        self._off_until_s = -math.inf
        self._buffered_bytes = 0
        self._last = 0
        self._tapes: list[Tape] = []
        self._absences: deque[tuple[int, int, str, str]] = deque(maxlen=1000)

    # --- on the road ------------------------------------------------------------------------------

    def begin(self, feed: str) -> Tape:
        """A connection begins, at the first byte behind its handshake."""
        self._last += 1
        tape = Tape(self, feed, self._last)
        self._tapes.append(tape)
        return tape

    def take(self, size_bytes: int) -> bool:
        """Whether so many bytes are taken."""
        if self.off_reason or not self._is_on or self._buffered_bytes > BUFFER_BYTES_MAX:
            self.dropped_bytes += size_bytes
            return False
        self._buffered_bytes += size_bytes
        return True

    def interrupt(self, tape: Tape) -> None:
        """Bytes were left out: what comes next may begin in the middle of a frame."""
        if tape.chunks:
            self._buffered_bytes -= sum(len(one.data) for one in tape.chunks)
            self.dropped_bytes += sum(len(one.data) for one in tape.chunks)
            tape.chunks = []
        if tape.before != BROKEN and self._is_on:
            self._note_absent(tape.feed, self.off_reason or "more came than the disk took")
        tape.before = BROKEN

    def _note_absent(self, feed: str, reason: str) -> None:
        now_ns = self._clock.wall_ns()
        self._absences.append((now_ns, now_ns + int(OFF_S * 1e9), feed, reason))

    # --- writing ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write twice a second until cancelled; a disk that refuses switches it off for a while."""
        if not self._is_on:
            return
        is_clean = False  # of an earlier run's files, whose connections have the same numbers
        while True:
            await trio.sleep(WRITE_S)
            now_s = trio.current_time()
            if self.off_reason and now_s >= self._off_until_s:
                self.off_reason = ""
            if reason := self._is_busy():
                self._switch_off(reason)
            try:
                if not is_clean:
                    await trio.to_thread.run_sync(self._forget_earlier, self._clock.wall_ns())
                    is_clean = True
                worked_s = await trio.to_thread.run_sync(self._write, self._gather())
            except OSError as error:
                self._switch_off(f"the disk refuses: {error.strerror}")
                continue
            if worked_s > WORK_SHARE_MAX * (trio.current_time() - now_s + WRITE_S):
                self._switch_off("compressing takes more than a tenth of a core")

    def _switch_off(self, reason: str) -> None:
        if not self.off_reason:
            log.info("flight_off", reason=reason, for_s=OFF_S)
        self.off_reason = reason
        self._off_until_s = trio.current_time() + OFF_S

    def _gather(self) -> list[tuple[Tape, list[Chunk], int]]:
        found = []
        for tape in self._tapes:
            if tape.chunks:
                found.append((tape, tape.chunks, tape.before))
                self._buffered_bytes -= sum(len(one.data) for one in tape.chunks)
                tape.chunks, tape.before = [], GOES_ON
        self._tapes = [tape for tape in self._tapes if not tape.is_closed]
        return found

    def _write(self, gathered: Sequence[tuple[Tape, list[Chunk], int]]) -> float:
        """In a thread; returns the cpu seconds that it took."""
        began_ns = time.thread_time_ns()
        packer = zstandard.ZstdCompressor(level=1)
        for tape, chunks, before in gathered:
            raw = b"".join(PIECE.pack(one.receive_ns, len(one.data)) + one.data for one in chunks)
            packed = packer.compress(raw)
            head = HEAD.pack(
                chunks[0].receive_ns, chunks[-1].receive_ns, len(packed), len(raw), before
            )
            folder = self._folder / tape.feed
            folder.mkdir(parents=True, exist_ok=True)
            minute = chunks[0].receive_ns // FILE_NS
            with (folder / f"{minute:012d}-{tape.number:06d}{SUFFIX}").open("ab") as file:
                file.write(head + packed)
        self._forget_old()
        return (time.thread_time_ns() - began_ns) / 1e9

    def _files(self) -> list[Path]:
        """Oldest first."""
        return sorted(self._folder.glob(f"*/*{SUFFIX}"), key=lambda path: path.name)

    def _forget_old(self) -> None:
        sizes = [(path, path.stat().st_size) for path in self._files()]
        self.disk_bytes = sum(size for _, size in sizes)
        oldest = (self._clock.wall_ns() - self._keep_ns) // FILE_NS
        for path, size in sizes:
            if minute_of(path) >= oldest and self.disk_bytes <= self._disk_bytes_max:
                break
            path.unlink()
            self.disk_bytes -= size

    def _forget_earlier(self, before_ns: int) -> None:
        for path in self._files():
            if path.stat().st_mtime_ns < before_ns:
                path.unlink()

    # --- reading ----------------------------------------------------------------------------------

    async def extract(
        self, venue_symbols: Mapping[str, Sequence[str]], from_ns: int, to_ns: int
    ) -> Extract:
        """Frames received from ``from_ns`` to ``to_ns`` that name one of a feed's symbols.

        What was read in the last half second is written first.
        """
        if self._is_on:
            await trio.to_thread.run_sync(self._write, self._gather())
        return await trio.to_thread.run_sync(self._extract, venue_symbols, from_ns, to_ns)

    def _extract(
        self, venue_symbols: Mapping[str, Sequence[str]], from_ns: int, to_ns: int
    ) -> Extract:
        frames: list[RawFrame] = []
        absent = []
        for feed, names in venue_symbols.items():
            if not names:
                continue
            pattern, found = naming(names), False
            for number, runs in self._runs(feed, from_ns, to_ns):
                found = True
                for receive_ns, payload in _messages_of(runs):
                    if from_ns <= receive_ns < to_ns and pattern.search(payload):
                        frames.append(
                            RawFrame(feed=feed, connection=number, receive_ns=receive_ns,
                                     payload=payload)
                        )  # fmt: skip
            if not found:
                absent.append(f"{feed}: nothing was recorded in this span")
        for low, high, feed, reason in self._absences:
            if feed in venue_symbols and low < to_ns and high > from_ns:
                absent.append(f"{feed}: {reason}")
        frames.sort(key=lambda frame: (frame.receive_ns, frame.feed, frame.connection))
        return Extract(frames=frames, absent=sorted(set(absent)))

    def _runs(
        self, feed: str, from_ns: int, to_ns: int
    ) -> Iterator[tuple[int, list[tuple[int, list[Chunk]]]]]:
        """By connection: blocks of the span in order, each with what lies before it."""
        by_number: dict[int, list[Path]] = {}
        for path in sorted((self._folder / feed).glob(f"*{SUFFIX}")):
            # A minute more on each side: a frame may have begun in the block before.
            if from_ns // FILE_NS - 1 <= minute_of(path) <= to_ns // FILE_NS + 1:
                by_number.setdefault(int(path.stem.partition("-")[2]), []).append(path)
        for number, paths in by_number.items():
            yield number, [block for path in paths for block in read_blocks(path)]


def _messages_of(runs: list[tuple[int, list[Chunk]]]) -> Iterator[tuple[int, bytes]]:
    """Stretches without a break, each cut into messages."""
    stretch: list[Chunk] = []
    is_aligned = False
    for before, chunks in runs:
        if not stretch or before != GOES_ON:
            yield from messages(stretch, is_aligned=is_aligned)
            stretch, is_aligned = [], before == BEGINS
        stretch += chunks
    yield from messages(stretch, is_aligned=is_aligned)


def minute_of(path: Path) -> int:
    """When a file begins, in minutes since 1970."""
    return int(path.name.partition("-")[0])


def read_blocks(path: Path) -> Iterator[tuple[int, list[Chunk]]]:
    """A file's blocks; a torn tail (a crash) is left out."""
    data = path.read_bytes()
    at = 0
    unpacker = zstandard.ZstdDecompressor()
    while at + HEAD.size <= len(data):
        _, _, packed_bytes, raw_bytes, before = HEAD.unpack_from(data, at)
        at += HEAD.size
        if at + packed_bytes > len(data):
            return
        raw = unpacker.decompress(data[at : at + packed_bytes], max_output_size=raw_bytes)
        at += packed_bytes
        chunks, place = [], 0
        while place < len(raw):
            receive_ns, size = PIECE.unpack_from(raw, place)
            place += PIECE.size
            chunks.append(Chunk(receive_ns, raw[place : place + size]))
            place += size
        yield before, chunks
