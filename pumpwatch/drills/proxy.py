"""A proxy between daemon and database that does what networks and servers do at their worst.

It speaks as much HTTP as the writers do: requests and answers with a Content-Length, one after
another on a connection. Faults meet ``/write`` only.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import urlsplit

import trio

from pumpwatch.drills.spooled import key_of, lines_of
from pumpwatch.store.server import LOOPBACK

READ_BYTES = 256 * 1024
PIECE_S = 0.1  # a slowed request is passed on in pieces of so much time
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
SEQUENCE = re.compile(rb"sequence_number=-?\d+i")

STORED = b"HTTP/1.1 204"

PASS = "pass"
CUT_AFTER_WRITE = "cut after the write"  # the rows are stored, the answer never comes
CUT_IN_REQUEST = "cut in the request"  # half of the body goes out
ERROR_503 = "503"
ERROR_500 = "500"
HANG = "hang"  # the request is read and nothing follows
FAULTS = (CUT_AFTER_WRITE, CUT_IN_REQUEST, ERROR_503, ERROR_500, HANG)


class FaultProxy:
    """One listener; ``mode`` may change at any time and meets the requests that come then."""

    def __init__(self, upstream_url: str) -> None:
        parts = urlsplit(upstream_url)
        assert parts.hostname is not None
        assert parts.port is not None
        self.mode = PASS
        self.met = 0  # requests that met a fault
        self.bytes_per_s: float | None = None  # of request bodies, all connections together
        self.poison_one_in = 0  # trades: every so many-th line is made one that is refused
        self.poisoned: set[tuple[str, str, str, int]] = set()
        self.on_stored: Callable[[bytes], None] | None = None  # gets the body of each 204
        self.on_refused: Callable[[], None] | None = None  # the database stored no row of a request
        self.url = ""
        self._upstream = (parts.hostname, parts.port)
        self._changed = trio.Event()
        self._pace = trio.Lock()

    def set_mode(self, mode: str) -> None:
        """From the next request on; requests that hang are let go (by a cut)."""
        self.mode = mode
        self._changed.set()
        self._changed = trio.Event()

    async def serve(self, client: trio.SocketStream) -> None:
        """One connection of the daemon's, for as long as both sides want it."""
        try:
            async with client, await self._connect() as upstream:
                reader, back = _Reader(client), _Reader(upstream)
                while (message := await reader.message()) is not None:
                    if not await self._pass_on(message, client, upstream, back):
                        return
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async def _pass_on(
        self,
        message: tuple[bytes, bytes],
        client: trio.SocketStream,
        upstream: trio.SocketStream,
        back: _Reader,
    ) -> bool:
        """One request and its answer; False: the connection is over."""
        head, body = message
        is_write = head.startswith(b"POST /write")
        mode = self.mode if is_write else PASS
        self.met += mode != PASS
        if mode == HANG:
            await self._changed.wait()
            return False
        if mode in (ERROR_500, ERROR_503):
            reason = b"500 Internal Server Error" if mode == ERROR_500 else b"503 Unavailable"
            await client.send_all(b"HTTP/1.1 " + reason + b"\r\nContent-Length: 0\r\n\r\n")
            return True
        if is_write and self.poison_one_in:
            head, body = self._poison(head, body)
        if mode == CUT_IN_REQUEST:
            await upstream.send_all(head + body[: len(body) // 2])
            return False
        await upstream.send_all(head)
        await self._send_body(upstream, body)
        answer = await back.message()
        if is_write and not (answer and answer[0].startswith(STORED)):
            self._refused()
        if answer is None or mode == CUT_AFTER_WRITE:
            return False
        if is_write and self.on_stored is not None and answer[0].startswith(STORED):
            self.on_stored(body)
        await client.send_all(b"".join(answer))
        return True

    async def _connect(self) -> trio.SocketStream:
        try:
            return await trio.open_tcp_stream(*self._upstream)
        except OSError:
            self._refused()
            raise

    def _refused(self) -> None:
        if self.on_refused is not None:
            self.on_refused()

    async def _send_body(self, upstream: trio.SocketStream, body: bytes) -> None:
        sent = 0
        while sent < len(body):
            bytes_per_s = self.bytes_per_s
            if bytes_per_s is None:
                await upstream.send_all(body[sent:])
                return
            async with self._pace:
                await trio.sleep(PIECE_S)
                size = max(1, int(bytes_per_s * PIECE_S))
                await upstream.send_all(body[sent : sent + size])
            sent += size

    def _poison(self, head: bytes, body: bytes) -> tuple[bytes, bytes]:
        """Give some trades a text for a number: always the same ones, however they are sent."""
        if not body.startswith(b"trades,"):
            return head, body
        lines = lines_of(body)
        for place, line in enumerate(lines):
            if zlib.crc32(line) % self.poison_one_in == 0:
                lines[place] = SEQUENCE.sub(b'sequence_number="poison"', line, count=1)
                self.poisoned.add(key_of(line))
        body = b"".join(lines)
        length = b"\r\nContent-Length: " + str(len(body)).encode()
        return LENGTH.sub(length, head, count=1), body


class _Reader:
    """Whole messages from one side."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._data = bytearray()

    async def message(self) -> tuple[bytes, bytes] | None:
        """Head and body; None at the end."""
        while (end := self._data.find(b"\r\n\r\n")) < 0:
            if not await self._more():
                return None
        head = self._take(end + 4)
        if CHUNKED.search(head):
            while not self._data.endswith(b"0\r\n\r\n"):
                if not await self._more():
                    return None
            return head, self._take(len(self._data))
        found = LENGTH.search(head)
        size = int(found[1]) if found else 0
        while len(self._data) < size:
            if not await self._more():
                return None
        return head, self._take(size)

    def _take(self, size: int) -> bytes:
        part = bytes(self._data[:size])
        del self._data[:size]
        return part

    async def _more(self) -> bool:
        data = await self._stream.receive_some(READ_BYTES)
        self._data += data
        return bool(data)


@asynccontextmanager
async def run_proxy(upstream_url: str) -> AsyncIterator[FaultProxy]:
    """A proxy on a free port; it is gone when the block ends."""
    proxy = FaultProxy(upstream_url)
    listeners = await trio.open_tcp_listeners(0, host=LOOPBACK)
    proxy.url = f"http://{LOOPBACK}:{listeners[0].socket.getsockname()[1]}"
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(trio.serve_listeners, proxy.serve, listeners))
        yield proxy
        nursery.cancel_scope.cancel()
