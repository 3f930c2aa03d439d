"""Upbit's announcement socket, simulated: token, subscription, PING, idle cut, messages."""

from __future__ import annotations

from typing import Any

import jwt
import msgspec
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from pumpwatch.sim.outgoing import SharedStream
from pumpwatch.sim.venue import Upgrade

PATH = "/websocket/v1/private"
ACCESS_KEY = "simulated-access-key-0123456789abcdef0123"
SECRET_KEY = "simulated-secret-key-0123456789abcdef0123"
IDLE_S = 120.0
UP = '{"status":"UP"}'


class BoardSockets:
    """All open announcement sockets."""

    def __init__(self, time_scale: float = 1.0) -> None:
        self.connects = 0
        self.refused = 0
        self._idle_s = IDLE_S * time_scale
        self._nonces: set[str] = set()
        self._subscribed: set[WebSocketConnection] = set()
        self._open: set[trio.CancelScope] = set()

    async def serve(self, stream: trio.abc.Stream, head: bytes, upgrade: Upgrade) -> None:
        """One client, until it goes or falls silent."""
        is_ours = upgrade.path == PATH and self._is_authorised(upgrade)
        try:
            async with trio.open_nursery() as nursery:
                request = await wrap_server_stream(nursery, SharedStream(stream, head))
                if not is_ours:
                    self.refused += 1
                    await request.reject(401 if upgrade.path == PATH else 404)
                else:
                    socket = await request.accept()
                    self.connects += 1
                    self._open.add(nursery.cancel_scope)
                    try:
                        await self._obey(socket)
                    finally:
                        self._open.discard(nursery.cancel_scope)
                        self._subscribed.discard(socket)
                nursery.cancel_scope.cancel()
        except* ConnectionClosed:
            pass
        finally:
            with trio.move_on_after(1.0, shield=True):
                await trio.aclose_forcefully(stream)

    async def tell(self, text: str) -> int:
        """Send a message to every subscriber; returns how many there were."""
        sockets = list(self._subscribed)
        for socket in sockets:
            try:
                await socket.send_message(text)
            except ConnectionClosed:
                self._subscribed.discard(socket)
        return len(sockets)

    def drop(self) -> None:
        """Cut them all without a close frame."""
        for scope in list(self._open):
            scope.cancel()

    def _is_authorised(self, upgrade: Upgrade) -> bool:
        kind, _, token = upgrade.headers.get("authorization", "").partition(" ")
        try:
            claims = jwt.decode(token, SECRET_KEY, algorithms=["HS256"])
        except jwt.InvalidTokenError:
            return False
        nonce = str(claims.get("nonce", ""))
        is_fresh = bool(nonce) and nonce not in self._nonces
        self._nonces.add(nonce)
        return kind == "Bearer" and claims.get("access_key") == ACCESS_KEY and is_fresh

    async def _obey(self, socket: WebSocketConnection) -> None:
        while True:
            message: str | bytes | None = None
            with trio.move_on_after(self._idle_s):
                message = await socket.get_message()
            if message is None:
                await socket.aclose(1000, "idle")
                return
            if message in ("PING", b"PING"):
                await socket.send_message(UP)
                continue
            error = _subscription_error(message)
            if error:
                await socket.send_message(
                    msgspec.json.encode({"error": {"name": error, "message": error}}).decode()
                )
                continue
            self._subscribed.add(socket)


def _subscription_error(message: str | bytes) -> str:
    """The name of what is wrong with a request; empty where nothing is."""
    try:
        parts: Any = msgspec.json.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "WRONG_FORMAT"
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        return "WRONG_FORMAT"
    if not any(part.get("ticket") for part in parts):
        return "NO_TICKET"
    kinds = [part for part in parts if "type" in part]
    if not kinds:
        return "NO_TYPE"
    return "" if all(part["type"] == "announcement" for part in kinds) else "INVALID_PARAM"
