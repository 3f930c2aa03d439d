"""A TCP proxy between daemon and simulator that can be cut."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import trio

READ_BYTES = 65_536


class Proxy:
    """Passes bytes both ways; while it is cut, nobody gets through."""

    def __init__(self, upstream_port: int, renamed_port: int = 0) -> None:
        """``renamed_port``: what the upstream says of its own address names this port instead."""
        self.port = 0
        self._renamed = (f"127.0.0.1:{upstream_port}".encode(), b"")
        if renamed_port:
            self._renamed = (self._renamed[0], f"127.0.0.1:{renamed_port}".encode())
            assert len(self._renamed[0]) == len(self._renamed[1]), "lengths stand in headers"
        self.is_cut = False
        self._upstream_port = upstream_port
        self._scopes: set[trio.CancelScope] = set()

    def through(self, url: str) -> str:
        """The URL of an upstream address, by way of the proxy."""
        parts = urlsplit(url)
        return urlunsplit(parts._replace(netloc=f"127.0.0.1:{self.port}"))

    def cut(self) -> None:
        """Reset every connection, and let none through until ``mend``."""
        self.is_cut = True
        for scope in self._scopes:
            scope.cancel()

    def mend(self) -> None:
        """Let connections through again."""
        self.is_cut = False

    async def serve(self, client: trio.SocketStream) -> None:
        """One connection's life."""
        if self.is_cut:
            await trio.aclose_forcefully(client)
            return
        try:
            server = await trio.open_tcp_stream("127.0.0.1", self._upstream_port)
        except OSError:  # upstream has ended
            await trio.aclose_forcefully(client)
            return
        async with client, server:
            with trio.CancelScope() as scope:
                self._scopes.add(scope)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._pass_on, client, server, nursery.cancel_scope)
                    nursery.start_soon(self._pass_on, server, client, nursery.cancel_scope)
            self._scopes.discard(scope)

    async def _pass_on(
        self, source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        try:
            while data := await source.receive_some(READ_BYTES):
                own, shown = self._renamed
                await sink.send_all(bytes(data).replace(own, shown) if shown else data)
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            scope.cancel()


@asynccontextmanager
async def run_proxy(upstream_url: str, renamed_port: int = 0) -> AsyncIterator[Proxy]:
    """A proxy in front of that address, on a free port."""
    port = urlsplit(upstream_url).port
    assert port is not None
    proxy = Proxy(port, renamed_port)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy.port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, proxy.serve, listeners)
        yield proxy
        nursery.cancel_scope.cancel()
