"""Connections on memory streams and a virtual clock: who is cut when, and what goes out last."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MemoryReceiveStream, memory_stream_pair

from pumpwatch.sim.connection import HANDSHAKE_S
from pumpwatch.sim.incoming import FrameScanner
from pumpwatch.sim.settings import SimSettings
from pumpwatch.sim.timers import Timers
from pumpwatch.sim.venue import Keepalive
from tests.sim.driving import HANDSHAKE, Client, Stage, simulator

CLOSE, PING, PONG, TEXT = 0x8, 0x9, 0xA, 0x1


def client_frame(opcode: int, payload: bytes = b"", mask: bytes = b"\1\2\3\4") -> bytes:
    """A masked frame (RFC 6455, 5.3)."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 65_536:
        head = bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0xFF)) + size.to_bytes(8, "big")
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


class RawClient:
    """A client that does nothing by itself: no pongs, no close frames."""

    def __init__(self, stage: Stage, nursery: trio.Nursery) -> None:
        self.stream, theirs = memory_stream_pair()
        nursery.start_soon(stage.exchange.serve, theirs)
        self._data = b""

    async def upgrade(self, path: str, request: str = HANDSHAKE) -> str:
        """The status line of the answer."""
        await self.stream.send_all(request.format(path=path).encode())
        while b"\r\n\r\n" not in self._data:
            data = bytes(await self.stream.receive_some())
            if not data:
                return ""
            self._data += data
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        return head.splitlines()[0].decode()

    async def frame(self) -> tuple[int, bytes] | None:
        """The next frame; None at the end of the stream."""
        while True:
            if len(self._data) >= 2:
                size, start = self._data[1] & 0x7F, 2
                if size >= 126:
                    start = 4 if size == 126 else 10
                    size = int.from_bytes(self._data[2:start], "big")
                if len(self._data) >= start + size:
                    opcode, payload = self._data[0] & 0x0F, self._data[start : start + size]
                    self._data = self._data[start + size :]
                    return opcode, payload
            data = bytes(await self.stream.receive_some())
            if not data:
                return None
            self._data += data


def settings_of(feed: str, **changes: Any) -> SimSettings:
    facts = {"feeds": (feed,), "symbols": 3, "recorded": False, **changes}
    return SimSettings(**facts)


async def life_of(client: Client) -> float:
    """Seconds until the venue closed the connection."""
    started_s = trio.current_time()
    with trio.fail_after(100_000):
        await client.closed.wait()
    return trio.current_time() - started_s


# --- the venue's pings ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("feed", "life_s"), [("binance_spot", 86_400), ("binance_futures", 86_400)]
)
async def test_binance_lets_an_answering_client_live_for_a_day(
    feed: str, life_s: int, autojump_clock: object
) -> None:
    async with simulator(settings_of(feed)) as stage:
        client = await stage.connect(feed)
        assert await life_of(client) == pytest.approx(life_s, abs=1)
        assert dict(stage.exchange.venues[feed].counts.violations) == {"age": 1}


@pytest.mark.parametrize(
    ("feed", "path", "ping_s", "within_s"),
    [
        ("binance_spot", "/ws", 20, 60),
        ("binance_futures", "/public/ws", 180, 600),
        ("gate_spot", "/ws/v4/", 20, 60),
    ],
)
@pytest.mark.parametrize("scale", [1.0, 0.1])
async def test_pings_come_and_want_a_pong(
    feed: str, path: str, ping_s: int, within_s: int, scale: float, autojump_clock: object
) -> None:
    settings = settings_of(feed, time_scale=scale)
    async with simulator(settings) as stage, trio.open_nursery() as nursery:
        client = RawClient(stage, nursery)
        assert " 101 " in await client.upgrade(f"/{feed}{path}")
        started_s = trio.current_time()
        answered = []
        for _ in range(4):
            opcode, payload = await client.frame() or (0, b"")
            assert opcode == PING
            answered.append(payload)
            await client.stream.send_all(client_frame(PONG, payload))
        assert len(set(answered)) == 4
        assert trio.current_time() - started_s == pytest.approx(4 * ping_s * scale)
        pings = 0
        while (found := await client.frame()) is not None and found[0] != CLOSE:
            assert found[0] == PING
            pings += 1
            await client.stream.send_all(client_frame(PONG, b"another payload"))
        assert pings == within_s // ping_s + 1
        lived_s = trio.current_time() - started_s
        assert lived_s == pytest.approx((5 * ping_s + within_s) * scale, abs=0.01)
        assert dict(stage.exchange.venues[feed].counts.violations) == {"no pong": 1}
        await client.stream.aclose()


def test_a_pong_answers_the_pings_before_it() -> None:
    timers = Timers(Keepalive(server_ping_s=20, pong_within_s=60), lambda seconds: seconds, 0.0)
    first, second, third = (timers.ping_due(at) for at in (20.0, 40.0, 60.0))
    assert first is not None
    assert second is not None
    timers.frame_came(PONG, second, 61.0)
    assert timers.verdict(100.0) is None
    timers.frame_came(PONG, first, 101.0)  # too late to mean anything
    assert timers.verdict(119.9) is None
    verdict = timers.verdict(120.0)
    assert verdict is not None
    assert verdict.why == "no pong"
    assert third is not None


# --- the client's silence -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("feed", "silence_s"),
    [
        ("bybit_spot", 600), ("bybit_futures", 600), ("kucoin_spot", 28), ("kucoin_futures", 28),
        ("phemex_spot", 30), ("phemex_futures", 30), ("okx_spot", 30), ("okx_futures", 30),
    ],
)  # fmt: skip
@pytest.mark.parametrize("scale", [1.0, 0.1])
async def test_a_silent_client_is_cut(
    feed: str, silence_s: int, scale: float, autojump_clock: object
) -> None:
    async with simulator(settings_of(feed, time_scale=scale)) as stage:
        client = await stage.connect(feed)
        assert await life_of(client) == pytest.approx(silence_s * scale, abs=0.01)
        assert sum(stage.exchange.venues[feed].counts.violations.values()) == 1


@pytest.mark.parametrize(
    ("feed", "ping", "every_s"),
    [
        ("bybit_spot", {"op": "ping"}, 500), ("kucoin_futures", {"id": "1", "type": "ping"}, 18),
        ("phemex_spot", {"id": 0, "method": "server.ping", "params": []}, 25),
        ("okx_spot", "ping", 25),
    ],
)  # fmt: skip
async def test_a_client_that_pings_lives(
    feed: str, ping: Any, every_s: int, autojump_clock: object
) -> None:
    async with simulator(settings_of(feed)) as stage:
        client = await stage.connect(feed)
        await client.subscribe(stage.tradable(feed)[:2])
        for _ in range(100):
            await trio.sleep(every_s)
            await client.say(ping)
        assert not client.closed.is_set()
        assert sum("pong" in text for text in client.texts) >= 99


async def test_phemex_takes_ping_frames_too(autojump_clock: object) -> None:
    async with simulator(settings_of("phemex_spot")) as stage:
        client = await stage.connect("phemex_spot")
        for _ in range(10):
            await trio.sleep(25)
            await client.socket.ping()
        assert not client.closed.is_set()
        assert await life_of(client) == pytest.approx(30, abs=0.1)


async def test_okx_cuts_who_is_not_subscribed_and_where_nothing_is_said(
    autojump_clock: object,
) -> None:
    """Pings do not help without a subscription; with one, trades are as good as pings."""
    feed = "okx_spot"
    async with (
        simulator(settings_of(feed, rate_per_s=50.0, tick_s=0.2)) as stage,
        trio.open_nursery() as nursery,
    ):
        pinging, reading, left = [await stage.connect(feed) for _ in range(3)]
        names = stage.tradable(feed)[:3]
        await reading.subscribe(names)
        await left.subscribe(names)
        nursery.start_soon(stage.trade, 100.0)
        for _ in range(3):
            await trio.sleep(10)
            assert not pinging.closed.is_set()
            await pinging.say("ping")
        with trio.fail_after(1):
            await pinging.closed.wait()
        args = [{"channel": "trades-all", "instId": name} for name in names]
        await left.say({"op": "unsubscribe", "args": args})
        await trio.sleep(29)
        assert not left.closed.is_set()
        await trio.sleep(1.1)
        assert left.closed.is_set()
        assert not reading.closed.is_set()
        await trio.sleep(40)  # trading ends after 100 s
        assert not reading.closed.is_set()
        assert await life_of(reading) == pytest.approx(30, abs=2)


# --- ends -----------------------------------------------------------------------------------------


async def test_an_error_arrives_before_the_close(autojump_clock: object) -> None:
    async with simulator(settings_of("kucoin_spot", rate_per_s=5000.0)) as stage:
        client = await stage.connect("kucoin_spot")
        await client.subscribe(stage.tradable("kucoin_spot"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.trade, 1.0)
            await trio.sleep(0.5)
            await client.say(*[{"id": str(at), "type": "ping"} for at in range(100)])
            await client.closed.wait()
        assert any(json.loads(text).get("code") == 509 for text in client.texts[-100:])
        assert client.socket.closed is not None
        assert client.socket.closed.code == 1000


async def test_binance_closes_on_a_flood_with_1008(autojump_clock: object) -> None:
    async with simulator(settings_of("binance_spot")) as stage:
        client = await stage.connect("binance_spot")
        await client.say(*[{"method": "SUBSCRIBE", "params": [], "id": at} for at in range(6)])
        await client.closed.wait()
        assert client.socket.closed is not None
        assert client.socket.closed.code == 1008


@pytest.mark.parametrize(
    "request_text",
    [
        "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        HANDSHAKE.replace("Version: 13", "Version: 8"),
        "garbage\r\n\r\n",
    ],
)
async def test_a_bad_handshake_ends_and_harms_nobody(
    request_text: str, autojump_clock: object
) -> None:
    async with simulator(settings_of("bybit_spot")) as stage, trio.open_nursery() as nursery:
        good = await stage.connect("bybit_spot")
        client = RawClient(stage, nursery)
        status = await client.upgrade("/bybit_spot/v5/public/spot", request_text)
        assert " 101 " not in status
        assert await client.frame() is None
        await good.say({"op": "ping"})
        await trio.sleep(HANDSHAKE_S + 1)
        assert "pong" in good.texts[0]
        assert len(stage.exchange.connections) == 1


@pytest.mark.parametrize(
    "garbage", [b"\xff\xff\xff\xff", client_frame(TEXT, b"\xff\xfe"), b"\x81\x02hi"]
)
async def test_bytes_that_are_no_websocket_end_one_connection(
    garbage: bytes, autojump_clock: object
) -> None:
    async with simulator(settings_of("bybit_spot")) as stage, trio.open_nursery() as nursery:
        client = RawClient(stage, nursery)
        await client.upgrade("/bybit_spot/v5/public/spot")
        await client.stream.send_all(garbage)
        while await client.frame() is not None:
            pass
        await trio.sleep(0.1)
        assert not stage.exchange.connections


async def test_clients_that_vanish_harm_nobody(autojump_clock: object) -> None:
    """Gone without a close frame, in the middle of trading; the others go on."""
    feed = "bybit_futures"
    async with (
        simulator(settings_of(feed, rate_per_s=3000.0)) as stage,
        trio.open_nursery() as nursery,
    ):
        good = await stage.connect(feed)
        names = stage.tradable(feed)
        await good.subscribe(names)
        nursery.start_soon(stage.trade, 2.0)
        args = [f"publicTrade.{name}" for name in names]
        for break_it in (False, True):
            client = RawClient(stage, nursery)
            await client.upgrade(f"/{feed}/v5/public/linear")
            text = json.dumps({"op": "subscribe", "args": args}).encode()
            await client.stream.send_all(client_frame(TEXT, text))
            await trio.sleep(0.3)
            assert len(stage.exchange.connections) == 2
            receiving = client.stream.receive_stream
            assert isinstance(receiving, MemoryReceiveStream)
            if break_it:
                receiving.close()  # what is sent now breaks
            await client.stream.send_stream.aclose()
            await trio.sleep(0.3)
            assert len(stage.exchange.connections) == 1
        before = len(good.texts)
        await trio.sleep(0.5)
        assert len(good.texts) > before


async def test_a_ping_to_a_client_that_is_gone(autojump_clock: object) -> None:
    feed = "binance_spot"
    async with simulator(settings_of(feed)) as stage, trio.open_nursery() as nursery:
        client = RawClient(stage, nursery)
        await client.upgrade(f"/{feed}/ws")
        receiving = client.stream.receive_stream
        assert isinstance(receiving, MemoryReceiveStream)
        receiving.close()  # half-open: nothing tells the server before it sends
        await trio.sleep(19)
        assert len(stage.exchange.connections) == 1
        await trio.sleep(2)
        assert not stage.exchange.connections


@pytest.mark.parametrize("path", ["/nowhere/ws", "/binance_spot/nowhere"])
async def test_unknown_places_are_404(path: str, autojump_clock: object) -> None:
    async with simulator(settings_of("binance_spot")) as stage, trio.open_nursery() as nursery:
        client = RawClient(stage, nursery)
        assert " 404 " in await client.upgrade(path)


# --- the scanner ----------------------------------------------------------------------------------

frames = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([0x0, TEXT, 0x2]), st.binary(max_size=300)),
        st.tuples(st.just(TEXT), st.integers(65_530, 65_540).map(bytes)),
        st.tuples(st.sampled_from([CLOSE, PING, PONG]), st.binary(max_size=125)),
    ),
    max_size=8,
)


@given(frames=frames, mask=st.binary(min_size=4, max_size=4), data=st.data())
def test_the_scanner_finds_every_frame_however_it_is_cut(
    frames: list[tuple[int, bytes]], mask: bytes, data: st.DataObject
) -> None:
    stream = b"".join(client_frame(opcode, payload, mask) for opcode, payload in frames)
    places = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    scanner = FrameScanner()
    found = []
    for first, last in itertools.pairwise([0, *places, len(stream)]):
        found += scanner.feed(stream[first:last])
    assert found == [(opcode, payload if opcode & 0x8 else b"") for opcode, payload in frames]
