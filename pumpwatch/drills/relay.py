"""A proxy between the daemon and one feed that can fall silent: nothing is refused, nothing comes.

Takes CONNECT and requests in absolute form, as ``proxy_url`` of the settings wants it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import urlsplit

import trio

from pumpwatch.dialling import address_of

LOOPBACK = "127.0.0.1"
READ_BYTES = 65536


class Relay:
    """``silence`` and ``speak`` hold for all that goes through, and for what comes later."""

    def __init__(self) -> None:
        self.url = ""
        self.tunnels = 0
        self._speaking = trio.Event()
        self._speaking.set()

    def silence(self) -> None:
        """From now on not a byte passes, either way."""
        self._speaking = trio.Event()

    def speak(self) -> None:
        """What waited passes."""
        self._speaking.set()

    async def serve(self, client: trio.SocketStream) -> None:
        """One client's tunnel or request."""
        async with client:
            head = b""
            while b"\r\n\r\n" not in head:
                data = await client.receive_some(READ_BYTES)
                if not data:
                    return
                head += data
            first, _, rest = head.partition(b"\r\n")
            method, target, _ = first.decode("latin-1").split(" ")
            await self._speaking.wait()
            if method == "CONNECT":
                host, _, port = target.rpartition(":")
                upstream = await trio.open_tcp_stream(host, int(port))
                await client.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
                self.tunnels += 1
            else:
                parts = urlsplit(target)
                upstream = await trio.open_tcp_stream(*address_of(parts))
                path = target.partition(f"//{parts.netloc}")[2]
                await upstream.send_all(f"{method} {path} HTTP/1.1\r\n".encode() + rest)
            async with upstream, trio.open_nursery() as nursery:
                nursery.start_soon(self._pump, client, upstream, nursery.cancel_scope)
                nursery.start_soon(self._pump, upstream, client, nursery.cancel_scope)

    async def _pump(
        self, source: trio.SocketStream, sink: trio.SocketStream, both: trio.CancelScope
    ) -> None:
        try:
            while data := await source.receive_some(READ_BYTES):
                await self._speaking.wait()
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # one of them went; so does the other
        both.cancel()


@asynccontextmanager
async def run_relay() -> AsyncIterator[Relay]:
    """A relay on a free port; it is gone when the block ends."""
    relay = Relay()
    (listener,) = await trio.open_tcp_listeners(0, host=LOOPBACK)
    relay.url = f"http://{LOOPBACK}:{listener.socket.getsockname()[1]}"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(_serve_all, relay, listener))
        yield relay
        nursery.cancel_scope.cancel()


async def _serve_all(relay: Relay, listener: trio.SocketListener) -> None:
    async def one(client: trio.SocketStream) -> None:
        try:
            await relay.serve(client)
        except OSError:
            return  # the venue is not there: the client sees its connection close

    await trio.serve_listeners(one, [listener])
