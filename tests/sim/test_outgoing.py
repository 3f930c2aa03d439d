"""Data and control frames on one socket: whole frames only, and a truthful count."""

from __future__ import annotations

import socket

import numpy as np
import trio

from pumpwatch.sim.digits import Ints
from pumpwatch.sim.frames import frame
from pumpwatch.sim.outgoing import Chunk, SharedStream

PONG, CLOSE = b"\x8a\x02hi", b"\x88\x02\x03\xe9"
FRAMES = 4000
TEXT = "x" * 1500


def chunk(told: list[int], first: int) -> Chunk:
    """Frames of two rows each, numbered."""
    pieces = [frame(f"{first + number:06d}{TEXT}") for number in range(FRAMES)]
    ends = np.cumsum([len(piece) for piece in pieces])
    rows = np.arange(first * 2, (first + FRAMES) * 2)

    def tell(some: Ints) -> None:
        told.extend(some.tolist())

    return Chunk(b"".join(pieces), ends, np.arange(2, 2 * FRAMES + 1, 2), tell, rows, None)


def taken_apart(data: bytes) -> list[tuple[int, bytes]]:
    """The frames of a server's stream; what is not whole at the end is left out."""
    found, at = [], 0
    while at + 2 <= len(data):
        size, start = data[at + 1] & 0x7F, at + 2
        if size == 126:
            size, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
        assert data[at] in (0x81, 0x8A, 0x88), f"no frame begins at {at}"
        if start + size <= len(data):
            found.append((data[at] & 0x0F, data[start : start + size]))
        at = start + size
    return found


async def read_all(reader: trio.SocketStream, into: bytearray) -> None:
    async for data in reader:
        into += data


def pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    ours, theirs = trio.socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
    return trio.SocketStream(ours), trio.SocketStream(theirs)


async def test_control_frames_go_between_data_frames() -> None:
    """Also when a push has just written half of a frame and the writer was not awake yet."""
    told: list[int] = []
    into = bytearray()
    writer, reader = pair()
    link = SharedStream(writer)
    all_out = trio.Event()
    link.on_delivered = lambda rows: all_out.set() if len(told) == 4 * FRAMES else None
    async with reader, writer, trio.open_nursery() as nursery:
        link.push(chunk(told, 0))
        assert link.backlog_bytes > 0
        nursery.start_soon(read_all, reader, into)
        await link.send_all(PONG)
        nursery.start_soon(link.run_writer)
        link.push(chunk(told, FRAMES))
        for _ in range(3):
            await link.send_all(PONG)
            await trio.sleep(0.01)
        with trio.fail_after(60):
            await all_out.wait()
        await trio.testing.wait_all_tasks_blocked(0.05)
        nursery.cancel_scope.cancel()
    frames = taken_apart(bytes(into))
    assert sum(opcode == 0xA for opcode, _ in frames) == 4
    texts = [payload for opcode, payload in frames if opcode == 0x1]
    assert [int(text[:6]) for text in texts] == list(range(2 * FRAMES))
    assert told == list(range(4 * FRAMES))


async def test_after_a_close_frame_comes_nothing_and_the_count_is_what_went_out() -> None:
    told: list[int] = []
    into = bytearray()
    writer, reader = pair()
    link = SharedStream(writer)
    counts: list[int] = []
    link.on_delivered = counts.append
    async with reader, writer, trio.open_nursery() as nursery:
        link.push(chunk(told, 0))
        link.push(chunk(told, FRAMES))
        nursery.start_soon(read_all, reader, into)
        await link.send_all(CLOSE)
        nursery.start_soon(link.run_writer)
        await trio.testing.wait_all_tasks_blocked(0.05)
        nursery.cancel_scope.cancel()
    link.push(chunk(told, 2 * FRAMES))
    frames = taken_apart(bytes(into))
    assert frames[-1] == (0x8, b"\x03\xe9")
    assert 0 < len(frames) - 1 < 2 * FRAMES
    assert told == list(range(2 * (len(frames) - 1)))
    assert sum(counts) == len(told)


async def test_a_socket_that_broke_settles_all() -> None:
    told: list[int] = []
    writer, reader = pair()
    link = SharedStream(writer)
    async with writer:
        await reader.aclose()
        link.push(chunk(told, 0))
        assert link.is_ended
        assert link.backlog_bytes == 0
    assert told == []
