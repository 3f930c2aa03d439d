"""A real S3 server on loopback (moto, in memory), and a relay in front of it that can be cut."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from urllib.parse import urlsplit

import httpx
import trio

from pumpwatch.errors import DrillError
from pumpwatch.store.server import LOOPBACK

READ_BYTES = 64 * 1024
BUCKET = "backups"


@contextmanager
def s3_server() -> Iterator[str]:
    """Its URL; it has an empty bucket. Raises DrillError where moto is not installed."""
    try:
        from moto.server import ThreadedMotoServer
    except ImportError:
        raise DrillError(
            "this drill needs an S3 server: pip install 'pumpwatch[dev]' brings moto"
        ) from None
    server = ThreadedMotoServer(ip_address=LOOPBACK, port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        url = f"http://{LOOPBACK}:{port}"
        httpx.put(f"{url}/{BUCKET}", trust_env=False).raise_for_status()
        yield url
    finally:
        server.stop()


class Relay:
    """Passes bytes on; once ``cut_after`` more bytes went up, nothing goes any more."""

    def __init__(self, upstream_url: str) -> None:
        parts = urlsplit(upstream_url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._upstream = (parts.hostname, parts.port)
        self.url = ""
        self.bytes_up = 0
        self._left: int | None = None  # None: no limit

    @property
    def is_cut(self) -> bool:
        """Whether the limit was reached."""
        return self._left is not None and self._left <= 0

    def cut_after(self, size_bytes: int | None) -> None:
        """From now on; None: pass everything."""
        self._left = size_bytes

    async def serve(self, client: trio.SocketStream) -> None:
        """One connection."""
        if self.is_cut:
            await client.aclose()
            return
        try:
            async with (
                client,
                await trio.open_tcp_stream(*self._upstream) as upstream,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(self._down, upstream, client, nursery.cancel_scope)
                await self._up(client, upstream)
                nursery.cancel_scope.cancel()
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # what a cut line looks like from here

    async def _up(self, client: trio.SocketStream, upstream: trio.SocketStream) -> None:
        while data := await client.receive_some(READ_BYTES):
            self.bytes_up += len(data)
            if self._left is not None:
                data = data[: max(0, self._left)]
                self._left -= len(data)
            await upstream.send_all(data)
            if self.is_cut:
                return

    async def _down(
        self, upstream: trio.SocketStream, client: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        while data := await upstream.receive_some(READ_BYTES):
            await client.send_all(data)
        scope.cancel()


@asynccontextmanager
async def run_relay(upstream_url: str) -> AsyncIterator[Relay]:
    """A relay on a free port; it is gone when the block ends."""
    relay = Relay(upstream_url)
    listeners = await trio.open_tcp_listeners(0, host=LOOPBACK)
    relay.url = f"http://{LOOPBACK}:{listeners[0].socket.getsockname()[1]}"
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(trio.serve_listeners, relay.serve, listeners))
        yield relay
        nursery.cancel_scope.cancel()
