"""The sending side of one connection: whole data frames between trio-websocket's control frames."""

from __future__ import annotations

import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import trio

from pumpwatch.sim.digits import Ints
from pumpwatch.sim.frames import frame
from pumpwatch.sim.incoming import FrameScanner
from pumpwatch.sim.tape import Batch, Tape

CLOSE_FRAME = 0x88
PIECE_BYTES_MAX = 256 * 1024
HALF_FRAME = b'\x81\x7e\x01\x00{"half":'  # of 256 bytes that its head promises
NO_LINGER = struct.pack("ii", 1, 0)  # closing resets the connection


@dataclass(eq=False)
class Chunk:
    """Frames that are written together, and the trades in them."""

    data: bytes
    frame_ends: Ints  # in ``data``
    rows_until: Ints  # trades in the frames up to each
    told: Callable[[Ints], None]  # takes the indices of delivered trades
    rows: Ints  # each trade's index for ``told``
    batch: Batch | None  # whose flags wait for this chunk

    def settle(self, written: int) -> int:
        """So many bytes went out, and no more will; returns how many trades that were."""
        frames = int(np.searchsorted(self.frame_ends, written, side="right"))
        count = int(self.rows_until[frames - 1]) if frames else 0
        if count:
            self.told(self.rows[:count])
        if self.batch is not None:
            self.batch.open_chunks -= 1
        return count


def batch_chunk(
    tape: Tape, batch: Batch, data: bytes, frame_ends: Ints, rows_until: Ints, rows: Ints
) -> Chunk:
    """A chunk with trades of a batch."""
    batch.open_chunks += 1
    return Chunk(data, frame_ends, rows_until, lambda some: tape.mark_had(batch, some), rows, batch)


def single_chunk(text: str, count: int = 0, told: Callable[[Ints], None] | None = None) -> Chunk:
    """One message with ``count`` trades that are no batch's; ``told`` takes their indices."""
    data = frame(text)
    told = told or (lambda rows: None)
    return Chunk(data, np.array([len(data)]), np.array([count]), told, np.arange(count), None)


def push_undelivered(link: SharedStream, chunk: Chunk) -> None:
    """Frames that tell of a batch's trades, and are not the stream that has to bring them."""
    nothing = np.zeros(0, dtype=np.int64)
    link.push(replace(
        chunk, rows_until=np.zeros_like(chunk.rows_until), told=lambda rows: None, rows=nothing
    ))  # fmt: skip


class SharedStream(trio.abc.Stream):
    """A connection's stream: trio-websocket reads and sends control frames, ``push`` sends data.

    What was read before (a request's head) is read again first. Every frame that the client sends
    is shown to ``on_frame`` before trio-websocket sees it, control frames with their payload.
    """

    def __init__(self, stream: trio.abc.Stream, already_read: bytes = b"") -> None:
        self.spell: Callable[[bytes], bytes] = lambda data: data  # as long as it was
        self.on_frame: Callable[[int, bytes], None] = lambda opcode, payload: None
        self.on_delivered: Callable[[int], None] = lambda rows: None
        self.backlog_bytes = 0
        self.is_ended = False  # no data frame may follow
        self.is_silent = False  # nothing goes out: what should is given up
        self._hearing = trio.Event()
        self._hearing.set()
        self._stream = stream
        self._already_read = already_read
        self._scanner = FrameScanner()
        self._queue: deque[Chunk] = deque()
        self._lock = trio.Lock()
        self._waiting = 0  # control frames
        self._wake = trio.Event()
        self._socket = stream.socket if isinstance(stream, trio.SocketStream) else None

    # --- for trio-websocket -----------------------------------------------------------------------

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What was read before, then the stream."""
        if self._already_read:
            data, self._already_read = self._already_read, b""
            return data
        data = bytes(await self._stream.receive_some(max_bytes))
        await self._hearing.wait()
        for opcode, payload in self._scanner.feed(data):
            self.on_frame(opcode, payload)
        return data

    def scan_rest(self, data: bytes) -> None:
        """Client frames that came along with the request's head."""
        for opcode, payload in self._scanner.feed(data):
            self.on_frame(opcode, payload)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Handshake, control frames and acks: between two data frames."""
        if self.is_silent:
            return
        self._waiting += 1
        try:
            async with self._lock:
                if self._queue and not self._at_frame_end():
                    await self._write_up_to(self._frame_end())
                if data and data[0] == CLOSE_FRAME:
                    self.is_ended = True
                    self._wake.set()
                await self._stream.send_all(data)
        finally:
            self._waiting -= 1

    async def wait_send_all_might_not_block(self) -> None:
        """Pass on."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close; what is queued is not delivered."""
        self.is_ended = True
        self._wake.set()
        await self._stream.aclose()

    # --- faults -----------------------------------------------------------------------------------

    def silence(self, *, is_deaf: bool) -> None:
        """Say nothing from now on, once the frame that has begun is out; deaf: read nothing."""
        self.is_silent = True
        if is_deaf:
            self._hearing = trio.Event()

    def resume(self) -> None:
        """Go on, as if nothing had been."""
        self.is_silent = False
        self._hearing.set()

    async def cut(self, how: str) -> None:
        """End without a word: fin, reset, or behind half a frame (mid_frame)."""
        if how == "mid_frame" and not self.is_silent:
            await self._send_half()
        self.is_ended = True
        self._wake.set()
        self._hearing.set()
        if how == "reset" and self._socket is not None:
            with suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        await trio.aclose_forcefully(self._stream)

    async def _send_half(self) -> None:
        """A frame that is half out already needs nothing more."""
        if self._queue and not self._at_frame_end():
            return
        with suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            if self._socket is not None:
                os.write(self._socket.fileno(), HALF_FRAME)
            elif not self._lock.locked():
                await self._stream.send_all(HALF_FRAME)

    # --- data -------------------------------------------------------------------------------------

    def push(self, chunk: Chunk) -> None:
        """Send at once what the socket takes, and the rest in order later."""
        if self.is_ended or self.is_silent:
            chunk.settle(0)
            return
        chunk.data = self.spell(chunk.data)
        if self._socket is not None and not self._queue and not self._lock.locked():
            try:
                written = os.write(self._socket.fileno(), chunk.data)
            except BlockingIOError:
                written = 0
            except OSError:  # the client is gone
                self.is_ended = True
                chunk.settle(0)
                return
            if written == len(chunk.data):
                self.on_delivered(chunk.settle(written))
                return
            self._begun = written
        else:
            self._begun = self._begun if self._queue else 0
        self._queue.append(chunk)
        self.backlog_bytes += len(chunk.data)
        self._wake.set()

    _begun = 0  # bytes of the queue's head that are out

    async def run_writer(self) -> None:
        """Write what is queued, until the end; whole frames only."""
        try:
            while not self.is_ended:
                if not self._queue:
                    self._wake = trio.Event()
                    await self._wake.wait()
                    continue
                async with self._lock:  # fair: control frames that wait come first
                    await self._write_some()
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            self.is_ended = True
        finally:
            self.is_ended = True
            self._drop_queue()

    async def _write_some(self) -> None:
        """The rest of the queue's head; when control frames wait, only up to the end of a frame."""
        while self._queue and not self.is_ended:
            if self._waiting and self._at_frame_end():
                return
            if self.is_silent and self._at_frame_end():
                self._drop_queue()
                return
            head = self._queue[0]
            await self._write_up_to(self._frame_end() if self._waiting else self._far_end())
            if not self._queue or self._queue[0] is not head:
                return

    async def _write_up_to(self, end: int) -> None:
        chunk = self._queue[0]
        while self._begun < end:
            piece = memoryview(chunk.data)[self._begun : end]
            if self._socket is None:
                await self._stream.send_all(piece)
                self._begun = end
            else:
                written = await self._socket.send(piece)
                self._begun += written
        if self._begun == len(chunk.data):
            self._queue.popleft()
            self.backlog_bytes -= len(chunk.data)
            self._begun = 0
            self.on_delivered(chunk.settle(len(chunk.data)))

    def _at_frame_end(self) -> bool:
        ends = self._queue[0].frame_ends
        at = int(np.searchsorted(ends, self._begun))
        return self._begun == 0 or int(ends[at]) == self._begun

    def _frame_end(self) -> int:
        """Where the frame ends that is written now."""
        ends = self._queue[0].frame_ends
        return int(ends[np.searchsorted(ends, self._begun, side="right")])

    def _far_end(self) -> int:
        """The end of a frame as far away as a piece may be."""
        ends = self._queue[0].frame_ends
        fits = int(np.searchsorted(ends, self._begun + PIECE_BYTES_MAX, side="right")) - 1
        return max(int(ends[max(fits, 0)]), self._frame_end())

    def _drop_queue(self) -> None:
        begun, self._begun = self._begun, 0
        while self._queue:
            rows = self._queue.popleft().settle(begun)
            if rows:
                self.on_delivered(rows)
            begun = 0
        self.backlog_bytes = 0
