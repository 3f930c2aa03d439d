"""Sockets of the page: Hypercorn's trio connections behind an accept loop of our own.

hypercorn.trio.serve would do, but for two things: it accepts without limit (each stalled client
holds a file handle that the spool and the feeds need), and it sends under a shield without a
deadline, so that one client that stops reading holds up the end of the daemon (ADR 0006).
"""

from __future__ import annotations

import socket
import sys
from typing import Any

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config as HypercornConfig
from hypercorn.logging import Logger
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from pumpwatch.config import DashboardConfig
from pumpwatch.dashboard.gate import App

log = structlog.get_logger()

IDLE_S_MAX = 15.0  # a connection without a whole request for this long is closed
SEND_S_MAX = 10.0  # a client that does not read for this long is dropped
END_S_MAX = 1.0
BACKLOG = 128
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
    b'connection: close\r\ncontent-length: 32\r\n\r\n{"error":"too many connections"}'
)


class BoundedStream:
    """A stream as TCPServer uses it, whose sends have a deadline."""

    def __init__(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]) -> None:
        self.inner = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)  # TCPServer tells TLS by the attributes it has

    async def send_all(self, data: bytes) -> None:
        """Send, or drop the client."""
        with trio.move_on_after(SEND_S_MAX) as deadline:
            await self.inner.send_all(data)
        if deadline.cancelled_caught:
            await trio.aclose_forcefully(self.inner)
            raise trio.BrokenResourceError("the client does not read")


class _Log(Logger):
    """Hypercorn's log: what it calls errors are faults of ours, the rest nobody needs."""

    def __init__(self, config: HypercornConfig) -> None:
        super().__init__(config)
        self.error_logger = None

    async def exception(self, message: str, *_args: Any, **_kwargs: Any) -> None:
        """A request ended in an exception that nobody caught."""
        log.error("page_request_failed", message=message, exc_info=sys.exc_info())


class _Connection(TCPServer):
    """One client's; it ends when the client does.

    Hypercorn's own waits for its idle timer first: whoever asks once and goes would hold a place
    for IDLE_S_MAX, and 256 such callers in that time would shut out everybody else.
    """

    async def _read_data(self) -> None:
        await super()._read_data()
        await self.idle_task.stop()


class PageServer:
    """Serves one application on one address; ``tls`` are the files of certificate and key."""

    def __init__(
        self, app: App, config: DashboardConfig, tls: tuple[str, str] | None = None
    ) -> None:
        self._app = ASGIWrapper(app)  # type: ignore[arg-type]
        self._config = config
        self._hypercorn = HypercornConfig()
        self._hypercorn.keep_alive_timeout = IDLE_S_MAX
        self._hypercorn.h11_max_incomplete_size = 16 * 1024
        self._hypercorn.alpn_protocols = ["http/1.1"]
        self._hypercorn.include_server_header = False
        self._hypercorn.logger_class = _Log
        if tls is not None:
            self._hypercorn.certfile, self._hypercorn.keyfile = tls
        self._open: set[BoundedStream] = set()
        self.port = 0

    async def serve(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; ``task_status`` gives the port. Raises OSError: the address."""
        listener = self._listen()
        self.port = listener.socket.getsockname()[1]
        context = WorkerContext(None)
        tls = self._hypercorn.create_ssl_context()

        async def one(stream: trio.SocketStream) -> None:
            await self._serve_one(
                stream if tls is None else trio.SSLStream(
                    stream, tls, server_side=True, https_compatible=True
                ),
                context,
            )  # fmt: skip

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, one, [listener])
            task_status.started(self.port)
            try:
                await trio.sleep_forever()
            finally:
                # Before the nursery waits for its tasks: those that send are shielded.
                with trio.move_on_after(END_S_MAX, shield=True):
                    for stream in list(self._open):
                        await trio.aclose_forcefully(stream.inner)

    def _listen(self) -> trio.SocketListener:
        host, port = self._config.host, self._config.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        plain = socket.socket(family, socket.SOCK_STREAM)
        try:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            plain.bind((host, port))
            plain.listen(BACKLOG)
            return trio.SocketListener(trio.socket.from_stdlib_socket(plain))
        except OSError:
            plain.close()
            raise

    async def _serve_one(
        self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream], context: WorkerContext
    ) -> None:
        bounded = BoundedStream(stream)
        if len(self._open) >= self._config.connections_max:
            with trio.move_on_after(END_S_MAX):
                if isinstance(stream, trio.SocketStream):
                    await stream.send_all(FULL)
            await trio.aclose_forcefully(stream)
            return
        self._open.add(bounded)
        try:
            await _Connection(
                self._app, self._hypercorn, context, ConnectionState({}), bounded  # type: ignore[arg-type]
            ).run()  # fmt: skip
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client went while it was answered
        except* Exception:
            # One connection's fault must not end everybody's: found by the drill of the console.
            log.exception("page_connection_failed")
        finally:
            self._open.discard(bounded)
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)
