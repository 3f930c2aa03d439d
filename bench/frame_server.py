"""A venue that only sends: handshake, prebuilt frames as fast as TCP takes them, a close frame.

A process of its own, so that its work is nobody else's: ``python -m bench.frame_server FOLDER``
serves the file ``frames`` of the folder to every connection, through TLS where ``server.pem`` lies
beside it. Prints the port; ends by a signal.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import ssl
from functools import partial
from pathlib import Path

import trio

from bench.messages import CLOSE_FRAME

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
HEADERS_END = b"\r\n\r\n"
KEY = b"sec-websocket-key"
SEND_BYTES = 64 * 1024  # a piece at a time, so that connections take turns
BACKLOG = 128


async def serve(frames: bytes, stream: trio.abc.Stream) -> None:
    """One connection, from its handshake until the client has gone."""
    head = bytearray()
    while HEADERS_END not in head:
        data = await stream.receive_some(4096)
        if not data:
            return
        head += data
    headers = dict(line.split(b": ", 1) for line in bytes(head).split(b"\r\n") if b": " in line)
    key = next(value for name, value in headers.items() if name.lower() == KEY)
    accept = base64.b64encode(hashlib.sha1(key.strip() + GUID).digest())
    answer = (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + HEADERS_END
    )
    view = memoryview(frames)
    try:
        await stream.send_all(answer)
        for at in range(0, len(view), SEND_BYTES):
            await stream.send_all(view[at : at + SEND_BYTES])
        await stream.send_all(CLOSE_FRAME)
        while await stream.receive_some(4096):
            pass
    except trio.BrokenResourceError:
        return  # the client does not say goodbye on the TLS layer


async def listen(folder: Path) -> None:
    """Serve until a signal comes."""
    frames = (folder / "frames").read_bytes()
    certificate = folder / "server.pem"
    handler = partial(serve, frames)
    async with trio.open_nursery() as nursery:
        if certificate.exists():
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate)
            start = partial(
                trio.serve_ssl_over_tcp, handler, 0, context, host="127.0.0.1",
                backlog=BACKLOG, https_compatible=True,
            )  # fmt: skip
        else:
            start = partial(trio.serve_tcp, handler, 0, host="127.0.0.1", backlog=BACKLOG)
        [listener] = await nursery.start(start)
        socket = getattr(listener, "transport_listener", listener).socket
        print(socket.getsockname()[1], flush=True)


def main() -> None:
    """Serve the folder."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    trio.run(listen, arguments.parse_args().folder)


if __name__ == "__main__":
    main()
