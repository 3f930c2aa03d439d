"""A WebSocket server that only sends: prebuilt frames, as fast as its clients read.

A process of its own with a thread a connection, so that it costs the measured process nothing.
Prints its port. ``GET /NUMBER`` gets the bytes of the file of that number, then nothing more.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import re
import socket
import ssl
import threading
from pathlib import Path

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 4.2.2
KEY = re.compile(rb"sec-websocket-key: *(\S+)", re.IGNORECASE)
PATH = re.compile(rb"GET /(\d+) ")
SEND_BYTES = 256 * 1024


def serve(connection: socket.socket, folder: Path, context: ssl.SSLContext | None) -> None:
    """One client to its end."""
    with connection:
        if context is not None:
            connection = context.wrap_socket(connection, server_side=True)
        head = b""
        while b"\r\n\r\n" not in head:
            more = connection.recv(4096)
            if not more:
                return
            head += more
        key, path = KEY.search(head), PATH.search(head)
        assert key is not None
        assert path is not None
        accept = base64.b64encode(hashlib.sha1(key[1] + GUID).digest()).decode()
        answer = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )
        connection.sendall(answer.encode())
        frames = memoryview((folder / path[1].decode()).read_bytes())
        try:
            for at in range(0, len(frames), SEND_BYTES):
                connection.sendall(frames[at : at + SEND_BYTES])
            while connection.recv(4096):  # until the client goes
                pass
        except OSError:
            return  # the client has what it wants


def main() -> None:
    """Serve until the process is ended."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--certificate", type=Path, default=None)
    given = arguments.parse_args()
    context = None
    if given.certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(given.certificate)
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(
            target=serve, args=(connection, given.folder, context), daemon=True
        ).start()


if __name__ == "__main__":
    main()
