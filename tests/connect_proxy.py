"""A small real proxy for tests: CONNECT tunnels, and requests in absolute form."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import urlsplit

import trio

USER, PASSWORD = "seat", "p:w/ 1"


class ConnectProxy:
    """What came through it; ``refuses`` is a status line to answer with instead."""

    def __init__(self, *, wants_password: bool = False) -> None:
        self.tunnels: list[str] = []
        self.requests: list[str] = []
        self.refuses = ""
        self.port = 0
        secret = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        self._wanted = f"proxy-authorization: Basic {secret}" if wants_password else ""

    @property
    def url(self) -> str:
        login = "seat:p%3Aw%2F%201@" if self._wanted else ""
        return f"http://{login}127.0.0.1:{self.port}"

    async def serve(self, client: trio.SocketStream) -> None:
        async with client:
            head = b""
            while b"\r\n\r\n" not in head:
                data = await client.receive_some(4096)
                if not data:
                    return
                head += data
            head, _, rest = head.partition(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            method, target, _ = lines[0].split(" ")
            fields = [
                line.partition(":")[0].lower() + ":" + line.partition(":")[2] for line in lines
            ]
            if self._wanted and self._wanted not in fields:
                await client.send_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            elif self.refuses:
                await client.send_all(f"HTTP/1.1 {self.refuses}\r\n\r\n".encode())
            elif method == "CONNECT":
                self.tunnels.append(target)
                host, _, port = target.rpartition(":")
                upstream = await trio.open_tcp_stream(host, int(port))
                await client.send_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await self._join(client, upstream)
            else:
                self.requests.append(f"{method} {target}")
                parts = urlsplit(target)
                assert parts.hostname
                assert parts.port
                upstream = await trio.open_tcp_stream(parts.hostname, parts.port)
                path = target.partition(f"//{parts.netloc}")[2]
                first = f"{method} {path} HTTP/1.1"
                await upstream.send_all(
                    "\r\n".join([first, *lines[1:]]).encode() + b"\r\n\r\n" + rest
                )
                await self._join(client, upstream)

    async def _join(self, client: trio.SocketStream, upstream: trio.SocketStream) -> None:
        async def pump(source: trio.SocketStream, sink: trio.SocketStream) -> None:
            try:
                while data := await source.receive_some(65536):
                    await sink.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            nursery.cancel_scope.cancel()

        async with upstream, trio.open_nursery() as nursery:
            nursery.start_soon(pump, client, upstream)
            nursery.start_soon(pump, upstream, client)


@asynccontextmanager
async def connect_proxy(*, wants_password: bool = False) -> AsyncIterator[ConnectProxy]:
    """On a free port; gone when the block ends."""
    proxy = ConnectProxy(wants_password=wants_password)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    proxy.port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.serve_listeners, proxy.serve, [listener]))
        yield proxy
        nursery.cancel_scope.cancel()
