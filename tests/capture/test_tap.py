from __future__ import annotations

import json
import math

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, memory_stream_pair
from trio_websocket import HandshakeError

from pumpwatch._fast.intake import Intake
from pumpwatch.capture.tap import PACE_S, Tap
from pumpwatch.errors import ProtocolError
from tests._fast.driving import binance_trade
from tests.capture.rig import Rig, trade_frame
from tests.capture.specs import feed_spec
from tests.strategies import PING, PONG, FrameStream, chunkings, frame, frame_streams

ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


class Tapped:
    """A tap between two memory streams; ``venue`` is the far end."""

    def __init__(self) -> None:
        self.rig = Rig(feed_spec(), ["BTCUSDT"])
        ours, self.venue = memory_stream_pair()
        self.chunk_times_s: list[float] = []
        feed = self.rig.feed
        self.tap = Tap(
            ours, Intake(feed.road), self.rig.sink, feed.clock, self.chunk_times_s.append
        )

    def quarantined(self) -> list[bytes]:
        _, quarantine = self.tap.intake.take_kept()
        return [raw for _, raw, _ in quarantine]

    async def read_to_end(self) -> list[bytes]:
        pieces = []
        while piece := await self.tap.receive_some(4096):
            pieces.append(piece)
        return pieces


async def test_r22_frames_that_share_the_read_with_the_handshake_are_kept() -> None:
    tapped = Tapped()
    ping = frame(PING, b"now")
    await tapped.venue.send_all(ANSWER + trade_frame(1) + ping + trade_frame(2)[:30])
    await tapped.venue.send_all(trade_frame(2)[30:])
    await tapped.venue.send_eof()
    assert await tapped.read_to_end() == [ANSWER + ping]
    assert tapped.rig.rows() == [("BTCUSDT", "1"), ("BTCUSDT", "2")]


TRADES = st.integers(1, 9).map(lambda number: json.dumps(binance_trade(number)).encode())


@given(stream=frame_streams(TRADES | st.just(b"!noise")), data=st.data())
@settings(deadline=None)
def test_any_chunking_gives_the_same_rows_and_control_frames(
    stream: FrameStream, data: st.DataObject
) -> None:
    async def carry(chunks: list[bytes]) -> tuple[bytes, list[tuple[str, str]], list[bytes]]:
        tapped = Tapped()

        async def send() -> None:
            for chunk in chunks:
                await tapped.venue.send_all(chunk)
                await trio.sleep(0.001)  # each in a read of its own, sometimes two together
            await tapped.venue.send_eof()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            pieces = await tapped.read_to_end()
        return b"".join(pieces), tapped.rig.rows(), tapped.quarantined()

    def run(chunks: list[bytes]) -> tuple[bytes, list[tuple[str, str]], list[bytes]]:
        return trio.run(carry, chunks, clock=MockClock(autojump_threshold=0))

    whole = run([ANSWER + stream.data])
    assert whole[0] == ANSWER + stream.control
    assert run(data.draw(chunkings(ANSWER + stream.data))) == whole
    texts = [text for text in stream.messages if text.startswith(b"{")]
    assert {row[1] for row in whole[1]} == {str(json.loads(text)["data"]["t"]) for text in texts}
    assert whole[2] == [text for text in stream.messages if text == b"!noise"]


async def test_a_refusal_s_text_is_passed_on_and_is_no_frame() -> None:
    tapped = Tapped()
    refusal = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 9\r\n\r\n"
    await tapped.venue.send_all(refusal + b"slow ")
    assert await tapped.tap.receive_some(4096) == refusal + b"slow "
    await tapped.venue.send_all(b"down")
    await tapped.venue.send_eof()
    assert await tapped.read_to_end() == [b"down"]
    assert tapped.rig.rows() == []


async def test_a_handshake_that_is_cut_is_told_at_once() -> None:
    for said in (b"", ANSWER[:-5]):
        tapped = Tapped()
        await tapped.venue.send_all(said)
        await tapped.venue.send_eof()
        with pytest.raises(HandshakeError, match="cut"):
            await tapped.tap.receive_some(4096)


async def test_bytes_that_are_no_websocket_break_the_stream_and_say_why() -> None:
    tapped = Tapped()
    await tapped.venue.send_all(ANSWER)
    assert await tapped.tap.receive_some(4096) == ANSWER
    await tapped.venue.send_all(trade_frame(1) + b"\x83\x00")
    with pytest.raises(trio.BrokenResourceError):
        await tapped.tap.receive_some(4096)
    assert isinstance(tapped.tap.error, ProtocolError)
    assert tapped.rig.rows() == [("BTCUSDT", "1")]


async def test_reading_pauses_while_the_spool_has_no_room(autojump_clock: MockClock) -> None:
    tapped = Tapped()
    await tapped.venue.send_all(ANSWER)
    await tapped.tap.receive_some(4096)
    tapped.rig.sink.close_gate()
    await tapped.venue.send_all(trade_frame(1) + frame(PONG, b""))
    chunks = len(tapped.chunk_times_s)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tapped.tap.receive_some, 4096)
        await trio.sleep(100)
        assert tapped.tap.is_paused
        assert tapped.rig.rows() == []
        tapped.rig.sink.open_gate()
    assert not tapped.tap.is_paused
    assert tapped.rig.rows() == [("BTCUSDT", "1")]
    # The end of the pause is told before the first read: a verdict at this instant would be wrong.
    assert tapped.chunk_times_s[chunks:] == [100.0, 100.0]


async def test_a_busy_connection_is_read_less_often(autojump_clock: MockClock) -> None:
    tapped = Tapped()
    await tapped.venue.send_all(ANSWER)
    await tapped.tap.receive_some(4096)

    async def read() -> None:
        await tapped.read_to_end()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for number in range(1000):
            await tapped.venue.send_all(trade_frame(number + 1))
            await trio.sleep(0.0001)
        await tapped.venue.send_eof()
    assert len(tapped.rig.rows()) == 1000
    spans = math.ceil(0.1 / PACE_S)
    assert spans / 2 <= len(tapped.chunk_times_s) <= spans + 3


async def test_a_quiet_connection_is_read_at_once(autojump_clock: MockClock) -> None:
    tapped = Tapped()
    await tapped.venue.send_all(ANSWER)
    await tapped.tap.receive_some(4096)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tapped.read_to_end)
        for number in range(5):
            await trio.sleep(1)
            await tapped.venue.send_all(trade_frame(number + 1))
        await trio.sleep(0.001)
        assert tapped.chunk_times_s == [1.0, 2.0, 3.0, 4.0, 5.0]
        await tapped.venue.send_eof()


async def test_what_is_sent_and_closed_goes_through() -> None:
    tapped = Tapped()
    await tapped.tap.wait_send_all_might_not_block()
    await tapped.tap.send_all(b"hello")
    assert await tapped.venue.receive_some() == b"hello"
    await tapped.tap.aclose()
    assert await tapped.venue.receive_some() == b""
