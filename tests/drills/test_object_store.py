"""The relay in front of the drill's object store: everything passes, until the line is cut."""

from __future__ import annotations

import contextlib
from functools import partial

import trio

from pumpwatch.drills.object_store import run_relay

LOOPBACK = "127.0.0.1"


async def echo(stream: trio.SocketStream) -> None:
    async with stream:
        with contextlib.suppress(trio.BrokenResourceError):
            async for data in stream:
                await stream.send_all(data)


async def dial(url: str) -> trio.SocketStream:
    return await trio.open_tcp_stream(LOOPBACK, int(url.rpartition(":")[2]))


async def read_to_end(stream: trio.SocketStream) -> bytes:
    found = b""
    with contextlib.suppress(trio.BrokenResourceError):
        async for data in stream:
            found += data
    return found


async def test_it_passes_both_ways_until_it_is_cut() -> None:
    listeners = await trio.open_tcp_listeners(0, host=LOOPBACK)
    port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(trio.serve_listeners, echo, listeners))
        async with run_relay(f"http://{LOOPBACK}:{port}") as relay:
            with trio.fail_after(60):
                async with await dial(relay.url) as stream:
                    await stream.send_all(b"x" * 1000)
                    assert await stream.receive_some(4096)
                assert relay.bytes_up == 1000

                relay.cut_after(10)
                async with await dial(relay.url) as stream:
                    await stream.send_all(b"y" * 100)
                    assert len(await read_to_end(stream)) <= 10
                assert relay.is_cut
                async with await dial(relay.url) as stream:
                    assert await read_to_end(stream) == b""

                relay.cut_after(None)
                async with await dial(relay.url) as stream:
                    await stream.send_all(b"z")
                    assert await stream.receive_some(1) == b"z"
        nursery.cancel_scope.cancel()
