"""One TCP port for everything: WebSocket and REST of all feeds, the boards, and our own control."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl, unquote, urlsplit

import h11
import trio

from pumpwatch.sim.venue import Answer, Request, Upgrade, json_answer

READ_BYTES = 65_536
IDLE_S = 300.0
HEAD_BYTES_MAX = 64 * 1024
BODY_BYTES_MAX = 4 * 1024 * 1024
MALFORMED = json_answer({"message": "malformed request"}, 400)

RestHandler = Callable[[str, Request], Awaitable[Answer]]
SocketHandler = Callable[[str, trio.abc.Stream, bytes, Upgrade], Awaitable[None]]


async def serve_client(
    stream: trio.abc.Stream, on_rest: RestHandler, on_socket: SocketHandler
) -> None:
    """Answer one client's requests until it goes, or hand the stream over at an upgrade.

    Handlers get the first part of the path (a feed's name) and the rest on its own.
    """
    head = bytearray()
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
    try:
        while True:
            request = await _next_request(http, stream, head)
            if request is None:
                break
            first, rest, query = _split_target(request.target.decode("ascii", "replace"))
            headers = {
                name.decode("ascii", "replace").lower(): value.decode("latin-1")
                for name, value in request.headers
            }
            if headers.get("upgrade", "").lower() == "websocket":
                await on_socket(first, stream, bytes(head), Upgrade(rest, query, headers))
                return
            body = await _read_body(http, stream)
            if body is None:
                break
            method = request.method.decode("ascii")
            answer = await on_rest(first, Request(method, rest, query, headers, body))
            await _reply(http, stream, answer, method)
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                break
            head = bytearray(http.trailing_data[0])
            http.start_next_cycle()
    except (h11.RemoteProtocolError, trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    finally:
        with trio.move_on_after(1.0, shield=True):
            await trio.aclose_forcefully(stream)


async def _next_request(
    http: h11.Connection, stream: trio.abc.Stream, head: bytearray
) -> h11.Request | None:
    """The next request's head, its bytes kept in ``head``; None when there is none."""
    while True:
        event = http.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        with trio.move_on_after(IDLE_S):
            data = bytes(await stream.receive_some(READ_BYTES))
            head += data
            http.receive_data(data)
            continue
        return None


async def _read_body(http: h11.Connection, stream: trio.abc.Stream) -> bytes | None:
    """The request's body; None where the client went, or sends more than anyone needs."""
    body = bytearray()
    while len(body) <= BODY_BYTES_MAX:
        event = http.next_event()
        if isinstance(event, h11.EndOfMessage):
            return bytes(body)
        if event is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some(READ_BYTES)))
        elif isinstance(event, h11.Data):
            body += event.data
        else:
            return None
    return None


async def _reply(
    http: h11.Connection, stream: trio.abc.Stream, answer: Answer, method: str
) -> None:
    headers = [
        ("content-type", "application/json"),
        ("content-length", str(len(answer.body))),
        *answer.headers,
    ]
    out = http.send(h11.Response(status_code=answer.status, headers=headers)) or b""
    if method != "HEAD":
        out += http.send(h11.Data(data=answer.body)) or b""
    out += http.send(h11.EndOfMessage()) or b""
    await stream.send_all(out)


def _split_target(target: str) -> tuple[str, str, dict[str, str]]:
    parts = urlsplit(target)
    first, _, rest = parts.path.lstrip("/").partition("/")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return first, "/" + unquote(rest), query
