"""The tap: a trio Stream between TCP (or TLS) and trio-websocket that keeps the data frames.

trio-websocket drives it: each of its reads is answered by an inner loop that reads up to 256 KiB
at a time, hands the bytes to the C intake and returns only when control frames came. Pings, pongs,
closing and sending stay with trio-websocket; a trade never becomes a Python object (ADR 0001).
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import trio
from trio_websocket import HandshakeError

from pumpwatch._fast.intake import Intake
from pumpwatch.capture.flight import Tape
from pumpwatch.clock import Clock
from pumpwatch.errors import ProtocolError
from pumpwatch.model import RowSink

READ_BYTES = 256 * 1024
FULL_BYTES = READ_BYTES // 2  # a read that brings less has emptied the socket (TLS adds to it)
HEADERS_BYTES_MAX = 64 * 1024  # a handshake answer is well below 4 KiB
BUSY_S = 0.006  # reads closer together than this are worth batching
PACE_S = 0.004  # a wake-up costs about 30 us whatever it brings: let the kernel collect
OPCODE_CLOSE = 0x8
HEADERS_END = b"\r\n\r\n"
SWITCHED = b"HTTP/1.1 101"  # any other answer is a refusal: what follows is its text, not frames


class Tap(trio.abc.Stream):
    """Feeds one connection's bytes to its intake.

    ``on_chunk`` is called with the trio time after each read and each pause; it must not block.
    Raises trio.BrokenResourceError where the bytes are no WebSocket (``error`` then says why), and
    HandshakeError where the answer to the handshake is cut: trio-websocket would go on waiting.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        intake: Intake,
        sink: RowSink,
        clock: Clock,
        on_chunk: Callable[[float], None],
        tape: Tape | None = None,
    ) -> None:
        self.intake = intake
        self.error: ProtocolError | None = None
        self.is_closing = False  # our close frame went out: RFC 6455 lets us send nothing more
        self.is_paused = False  # waiting for room in the spool: not the venue's fault (R9)
        self.paused_until_s = -inf  # when the last pause ended
        self.is_waiting = False  # for bytes, of which there may be some by now
        self.times_empty = 0  # how often a read has emptied the socket
        self._stream = stream
        self._sink = sink
        self._clock = clock
        self._on_chunk = on_chunk
        self._tape = tape  # the flight recorder's, of what lies behind the handshake
        self._head: bytearray | None = bytearray()  # None once the handshake's answer is through
        self._is_refused = False
        self._last_read_s = -1.0

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The handshake's answer first, then only control frames; b"" at the end of the stream."""
        if self._head is not None:
            return await self._receive_headers(self._head)
        if self._is_refused:
            return bytes(await self._stream.receive_some(max_bytes))
        while True:
            if not self._sink.has_room():
                self.is_paused = True
                await self._sink.room()
                self.is_paused = False
                self.paused_until_s = trio.current_time()
                self._on_chunk(trio.current_time())
            self.is_waiting = True
            data = await self._stream.receive_some(READ_BYTES)
            self.is_waiting = False
            if not data:
                return b""
            control = self._take(bytes(data))
            if len(data) < FULL_BYTES:
                self.times_empty += 1
                self.intake.emptied(self.intake.receive_ns)
            if self.is_closing:
                control = close_frames(control)
            if control:
                return control
            await self._pace()

    async def _receive_headers(self, head: bytearray) -> bytes:
        """R22: the answer's end and the first frames may share one read; they part here."""
        while True:
            data = await self._stream.receive_some(READ_BYTES)
            head += data
            end = head.find(HEADERS_END)
            if end < 0 and not data:
                raise HandshakeError("the answer was cut")
            if end < 0 and len(head) < HEADERS_BYTES_MAX:
                continue
            self._head = None
            self._is_refused = not head.startswith(SWITCHED)
            if self._is_refused:
                return bytes(head)
            split = len(head) if end < 0 else end + len(HEADERS_END)
            answer, rest = bytes(head[:split]), bytes(head[split:])
            return answer + (self._take(rest) if rest else b"")

    def _take(self, data: bytes) -> bytes:
        receive_ns = self._clock.wall_ns()
        if self._tape is not None:
            self._tape.note(data, receive_ns)
        try:
            control: bytes = self.intake.feed(data, receive_ns)
        except ProtocolError as error:
            self.error = error
            raise trio.BrokenResourceError(str(error)) from error
        finally:
            self._on_chunk(trio.current_time())
        return control

    async def _pace(self) -> None:
        now_s = trio.current_time()
        is_busy = now_s - self._last_read_s < BUSY_S
        self._last_read_s = now_s
        if is_busy:
            await trio.sleep(PACE_S)
            self._last_read_s += PACE_S

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Pass on to the stream below."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Pass on to the stream below."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the stream below."""
        await self._stream.aclose()


def close_frames(control: bytes) -> bytes:
    """The close frames among whole control frames: a ping that is handed up wants an answer."""
    found, at = b"", 0
    while at < len(control):
        end = at + 2 + control[at + 1]  # unmasked, at most 125 bytes: the intake has checked that
        if control[at] & 0x0F == OPCODE_CLOSE:
            found += control[at:end]
        at = end
    return found
