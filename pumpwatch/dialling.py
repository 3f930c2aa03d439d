"""Where a socket leads: straight to a host, or through a proxy's CONNECT tunnel (RFC 9110, 9.3.6).

A proxy may stand between this machine and one venue only (``feeds.NAME.proxy_url``,
``listing.BOARD.proxy_url``). It sees host and port; with wss:// nothing of what is said.
"""

from __future__ import annotations

import base64
from urllib.parse import SplitResult, unquote, urlsplit

import trio

from pumpwatch.errors import VenueError

HEAD_BYTES_MAX = 16 * 1024
READ_BYTES = 1  # not a byte beyond the head: what follows is the tunnel's
DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


class ProxyRefusedError(VenueError):
    """The proxy did not open the tunnel."""


def address_of(parts: SplitResult) -> tuple[str, int]:
    """Host and port of a URL."""
    assert parts.hostname is not None
    return parts.hostname, parts.port or DEFAULT_PORTS[parts.scheme]


async def open_tcp(host: str, port: int, proxy_url: str | None = None) -> trio.SocketStream:
    """A connection to host and port; through the proxy where there is one.

    Raises OSError, or ProxyRefusedError with the proxy's own words. The caller sets the deadline.
    """
    if proxy_url is None:
        return await trio.open_tcp_stream(host, port)
    parts = urlsplit(proxy_url)
    stream = await trio.open_tcp_stream(*address_of(parts))
    try:
        await stream.send_all(connect_request(host, port, parts))
        await _read_answer(stream, f"{host}:{port}")
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


def connect_request(host: str, port: int, proxy: SplitResult) -> bytes:
    """What the proxy is asked; user and password of its URL as Basic."""
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
    if proxy.username is not None:
        secret = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(secret.encode()).decode()}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


async def _read_answer(stream: trio.SocketStream, place: str) -> None:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = await stream.receive_some(READ_BYTES)
        if not byte or len(head) >= HEAD_BYTES_MAX:
            raise ProxyRefusedError(f"the proxy did not answer CONNECT {place}: check proxy_url")
        head += byte
    status = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")[2]
    if not status.startswith("2"):
        raise ProxyRefusedError(f"the proxy refused CONNECT {place}: {status}")
