"""The tap's TLS against another implementation's server: all bytes, in order, to the very end."""

from __future__ import annotations

import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
import trustme

from pumpwatch.capture.tls import TlsStream

HOST = "venue.example"
RECORD_BYTES = 16 * 1024
Peer = Callable[[trio.SSLStream[trio.abc.Stream]], Awaitable[None]]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@asynccontextmanager
async def talking(
    authority: trustme.CA, peer: Peer, *, host: str = HOST, is_trusted: bool = True
) -> AsyncIterator[tuple[TlsStream, trio.abc.Stream]]:
    """Our stream before its handshake, and the transport; ``peer`` runs behind trio's own TLS."""
    ours, theirs = trio.testing.memory_stream_pair()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    trust = ssl.create_default_context()
    if is_trusted:
        authority.configure_trust(trust)
    server = trio.SSLStream(theirs, context, server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer, server)
        yield TlsStream(ours, trust, host), ours
        nursery.cancel_scope.cancel()


async def read_to_end(stream: TlsStream) -> tuple[bytes, list[int]]:
    parts = []
    while part := await stream.receive_some():
        parts.append(part)
    return b"".join(parts), [len(part) for part in parts]


async def test_all_records_of_a_read_come_at_once(authority: trustme.CA) -> None:
    data = random.Random(3).randbytes(40 * RECORD_BYTES)

    async def peer(stream: trio.SSLStream[trio.abc.Stream]) -> None:
        await stream.send_all(data)
        await stream.aclose()

    async with talking(authority, peer) as (stream, _):
        with trio.fail_after(60):
            await stream.do_handshake()
            await trio.testing.wait_all_tasks_blocked()
            got, sizes = await read_to_end(stream)
    assert got == data
    assert max(sizes) > RECORD_BYTES  # trio's own stream never hands out more than a record


@pytest.mark.parametrize("seed", range(5))
async def test_bytes_cut_anywhere_arrive_in_order_both_ways(
    authority: trustme.CA, seed: int
) -> None:
    rng = random.Random(seed)
    there, back = rng.randbytes(200_000), rng.randbytes(200_000)
    print(f"seed {seed}")

    async def peer(stream: trio.SSLStream[trio.abc.Stream]) -> None:
        heard = bytearray()

        async def hear() -> None:
            while len(heard) < len(there):
                heard.extend(await stream.receive_some(rng.randrange(1, 5000)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear)
            at = 0
            while at < len(back):
                size = rng.randrange(1, 30_000)
                await stream.send_all(back[at : at + size])
                at += size
        assert bytes(heard) == there
        await stream.aclose()

    async with talking(authority, peer) as (stream, transport):
        assert isinstance(transport, trio.StapledStream)
        whole = transport.receive_stream.receive_some

        async def in_pieces(max_bytes: int | None = None) -> bytes:
            return bytes(await whole(rng.randrange(1, 3000)))

        transport.receive_stream.receive_some = in_pieces  # type: ignore[method-assign]
        with trio.fail_after(60):
            await stream.do_handshake()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.send_all, there)
                got, _ = await read_to_end(stream)
    assert got == back


async def test_the_end_without_a_goodbye_is_an_end(authority: trustme.CA) -> None:
    async def peer(stream: trio.SSLStream[trio.abc.Stream]) -> None:
        await stream.send_all(b"last words")
        await stream.transport_stream.aclose()

    async with talking(authority, peer) as (stream, _):
        with trio.fail_after(60):
            await stream.do_handshake()
            assert await read_to_end(stream) == (b"last words", [10])
            assert await stream.receive_some() == b""


async def test_bytes_that_are_no_tls_are_named(authority: trustme.CA) -> None:
    async def peer(stream: trio.SSLStream[trio.abc.Stream]) -> None:
        await stream.do_handshake()
        await stream.transport_stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with talking(authority, peer) as (stream, _):
        with trio.fail_after(60):
            await stream.do_handshake()
            with pytest.raises(trio.BrokenResourceError, match="TLS"):
                await read_to_end(stream)


@pytest.mark.parametrize(("host", "is_trusted"), [("other.example", True), (HOST, False)])
async def test_a_certificate_that_is_not_the_venues_is_refused(
    authority: trustme.CA, host: str, is_trusted: bool
) -> None:
    async def peer(stream: trio.SSLStream[trio.abc.Stream]) -> None:
        with pytest.raises(trio.BrokenResourceError):
            await stream.do_handshake()

    async with talking(authority, peer, host=host, is_trusted=is_trusted) as (stream, _):
        with trio.fail_after(60), pytest.raises(ssl.SSLCertVerificationError):
            await stream.do_handshake()


async def test_closing_says_so_and_closes_the_transport(authority: trustme.CA) -> None:
    heard = trio.Event()

    async def peer(stream: trio.SSLStream[trio.abc.Stream]) -> None:
        assert await stream.receive_some() == b""  # close_notify: an end without one raises here
        heard.set()

    async with talking(authority, peer) as (stream, transport):
        with trio.fail_after(60):
            await stream.do_handshake()
            await stream.aclose()
            await heard.wait()
            with pytest.raises(trio.ClosedResourceError):
                await transport.send_all(b"x")
