"""Upbit's announcement socket: one connection from its token to its end.

It replays nothing and may lag the web page (LISTINGS 1.2), so it runs beside the polling.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import jwt
import msgspec
import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)

from pumpwatch.clock import Clock
from pumpwatch.config import Config
from pumpwatch.dialling import address_of, open_tcp
from pumpwatch.errors import ConfigError, FeedSilentError, VenueError
from pumpwatch.listing.board_client import BoardRefusedError
from pumpwatch.listing.detector import Look
from pumpwatch.listing.notices import SocketNews, read_upbit_message
from pumpwatch.listing.pace import read_retry_after
from pumpwatch.trust import system_roots

NAME = "upbit_socket"
CONNECT_TIMEOUT_S = 15.0
PING_INTERVAL_S = 45.0  # Upbit closes an idle socket after 120 s, and answers a PING with UP
ANSWER_TIMEOUT_S = 20.0
MESSAGE_BYTES_MAX = 1024 * 1024
SUBSCRIPTION = (
    {"type": "announcement", "categories": ["trade"], "include_body": False},
    {"format": "DEFAULT"},
)


class SocketKeys(msgspec.Struct, frozen=True):
    """An API key of Upbit; it needs no permission at all."""

    access: str
    secret: str

    def __repr__(self) -> str:
        """Without the key."""
        return "SocketKeys(hidden)"

    def token(self) -> str:
        """A fresh JWT: each connection needs a nonce of its own."""
        claims = {"access_key": self.access, "nonce": str(uuid.uuid4())}
        return jwt.encode(claims, self.secret, algorithm="HS256")


def read_keys(config: Config) -> SocketKeys | None:
    """The key of the two files; None where they are not set. Raises ConfigError."""
    upbit = config.listing.upbit
    if upbit.access_key_file is None or upbit.secret_key_file is None:
        return None
    found = []
    for name in ("access_key_file", "secret_key_file"):
        path = config.path(getattr(upbit, name))
        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"listing.upbit.{name} = {path}: cannot be read: {error}") from None
        if not text.isascii() or not text.isprintable() or not text:
            raise ConfigError(f"listing.upbit.{name} = {path}: allowed: one line of ASCII")
        found.append(text)
    return SocketKeys(*found)


async def watch_socket(
    url: str,
    keys: SocketKeys,
    clock: Clock,
    on_alive: Callable[[], None],
    on_news: Callable[[SocketNews, Look], None],
    *,
    proxy_url: str | None = None,
) -> None:
    """Connect, subscribe, hand on what comes. Ends with a VenueError only."""
    stream, host, resource = await _dial(url, proxy_url)
    try:
        async with trio.open_nursery() as nursery:
            socket = await _shake_hands(nursery, stream, host, resource, keys)
            await _listen(socket, clock, on_alive, on_news)
    except* (VenueError, HandshakeError, ConnectionClosed, trio.TooSlowError) as group:
        raise _reason(group, clock) from None
    finally:
        # trio-websocket leaves the stream of a refused handshake open.
        with trio.move_on_after(1.0, shield=True):
            await trio.aclose_forcefully(stream)


def _reason(group: BaseExceptionGroup[Any], clock: Clock) -> VenueError:
    """Why the connection ended: trio-websocket's own task fails beside ours."""
    leaf: BaseException = group
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    if isinstance(leaf, VenueError):
        return leaf
    if isinstance(leaf, ConnectionRejected):
        text = f"{NAME}: the handshake was refused with HTTP {leaf.status_code}"
        return BoardRefusedError(text, leaf.status_code, _retry_after(leaf, clock))
    return VenueError(f"{NAME}: {type(leaf).__name__}: {leaf}")


async def _dial(url: str, proxy_url: str | None) -> tuple[trio.abc.Stream, str, str]:
    """Connect; returns the stream, the Host header and the resource. Raises VenueError."""
    parts = urlsplit(url)
    name, port = address_of(parts)
    host = name if parts.port is None else f"{name}:{port}"
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        with trio.fail_after(CONNECT_TIMEOUT_S):
            transport = await open_tcp(name, port, proxy_url)
            if parts.scheme != "wss":
                return transport, host, resource
            stream = trio.SSLStream(transport, system_roots("socket"), server_hostname=name)
            try:
                await stream.do_handshake()
            except BaseException:
                await trio.aclose_forcefully(transport)
                raise
            return stream, host, resource
    except (OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
        raise VenueError(f"{NAME}: cannot connect: {error!r}") from error


async def _shake_hands(
    nursery: trio.Nursery, stream: Any, host: str, resource: str, keys: SocketKeys
) -> WebSocketConnection:
    """Open the WebSocket and subscribe."""
    with trio.fail_after(CONNECT_TIMEOUT_S):
        socket = await wrap_client_stream(
            nursery, stream, host, resource,
            extra_headers=[(b"authorization", f"Bearer {keys.token()}".encode())],
            max_message_size=MESSAGE_BYTES_MAX,
        )  # fmt: skip
        request = [{"ticket": str(uuid.uuid4())}, *SUBSCRIPTION]
        await socket.send_message(msgspec.json.encode(request).decode())
    return socket


async def _listen(
    socket: WebSocketConnection,
    clock: Clock,
    on_alive: Callable[[], None],
    on_news: Callable[[SocketNews, Look], None],
) -> None:
    """Read for ever; a PING when nothing came for a while, the first one at once."""
    pause_s, is_asked = 0.0, False
    while True:
        message = None
        with trio.move_on_after(ANSWER_TIMEOUT_S if is_asked else pause_s):
            message = await socket.get_message()
        if message is None:
            if is_asked:
                raise FeedSilentError(f"{NAME}: no answer to a PING for {ANSWER_TIMEOUT_S:g} s")
            await socket.send_message("PING")
            is_asked = True
            continue
        now_ns = clock.wall_ns()
        pause_s, is_asked = PING_INTERVAL_S, False
        news = read_upbit_message(message)
        if news.error:
            is_auth = "AUTH" in news.error.upper() or "TOKEN" in news.error.upper()
            text = f"{NAME}: {news.error}"
            raise BoardRefusedError(text, 401, None) if is_auth else VenueError(text)
        on_alive()
        if news.notice is not None:
            on_news(news, Look(now_ns, now_ns))


def _retry_after(error: ConnectionRejected, clock: Clock) -> float | None:
    for name, value in error.headers or ():
        if bytes(name).lower() == b"retry-after":
            return read_retry_after(bytes(value).decode("latin-1"), clock.wall_ns() / 1e9)
    return None
