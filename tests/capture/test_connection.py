from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from pumpwatch.capture import connection, tap
from pumpwatch.capture.connection import CLOSE_TIMEOUT_S, CONNECT_TIMEOUT_S, LATE_S, Connection
from pumpwatch.capture.feed_state import FLUSH_BYTES, ConnectionState
from pumpwatch.capture.session import LIFE_SHARES, PlannedEnd
from pumpwatch.errors import FeedSilentError, ProtocolError, VenueError
from pumpwatch.venues.spec import FeedSpec, Target
from tests._fast.driving import binance_trade
from tests.capture.rig import Rig, trade_frame
from tests.capture.specs import feed_spec, instrument, keepalive, names, subscribe, tell
from tests.strategies import CLOSE, PING, cut, frame

SYMBOLS = ["BTCUSDT", "ETHUSDT"]
CLOSE_HEAD = 0x80 | CLOSE
VIRTUAL_S_MAX = 10_000.0
READ_BYTES = 128  # less than a trade's message: a reader that is given so little falls behind

Script = Callable[["VenueSide"], Awaitable[None]]


class CutStream(trio.abc.Stream):
    """The venue's end of the connection: cuts what it sends at given places, and can add to it."""

    def __init__(self, stream: trio.abc.Stream, places: tuple[int, ...]) -> None:
        self.before_close = b""
        self.is_deaf = False
        self._stream = stream
        self._places = places

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if data[:1] == bytes([CLOSE_HEAD]):
            await self._stream.send_all(self.before_close)
        for piece in cut(bytes(data), [place % (len(data) + 1) for place in self._places]):
            await self._stream.send_all(piece)
            await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = bytes(await self._stream.receive_some(max_bytes))
        if self.is_deaf:
            await trio.sleep_forever()
        return data

    async def aclose(self) -> None:
        await self._stream.aclose()


class VenueSide:
    """What a script of a test has in hands: the venue's socket and the stream below it."""

    def __init__(self, stream: CutStream, socket: WebSocketConnection, headers: Any) -> None:
        self.stream = stream
        self.socket = socket
        self.headers = dict(headers)

    async def accept(self) -> list[str]:
        """Take a subscription; the symbols."""
        request = json.loads(await self.socket.get_message())
        await self.socket.send_message(tell("accepted", str(request["id"])).decode())
        return list(request["want"])

    async def trade(self, number: int, symbol: str = "BTCUSDT") -> None:
        await self.socket.send_message(json.dumps(binance_trade(number, symbol=symbol)))

    async def answer_pings(self) -> None:
        while True:
            text = await self.socket.get_message()
            if "ping" in text:
                await self.socket.send_message(tell("pong").decode())


class Wired:
    """One connection between memory streams; ``venue`` is what the far end does."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, spec: FeedSpec | None = None,
        symbols: list[str] = SYMBOLS,
    ) -> None:  # fmt: skip
        self.rig = Rig(spec or feed_spec(), symbols)
        self.stop = trio.Event()
        self.shown = ConnectionState(number=0, wanted=len(symbols))
        ours, self.theirs = memory_stream_pair()

        async def dial(_url: str, _proxy_url: str | None) -> tuple[trio.abc.Stream, str, str]:
            await trio.lowlevel.checkpoint()
            return ours, "127.0.0.1", "/ws"

        monkeypatch.setattr(connection, "open_stream", dial)
        self.connection = Connection(
            self.rig.feed, self.rig.instruments, self.shown, random.Random(1), self.stop
        )

    async def run(
        self, script: Script, *, places: tuple[int, ...] = (), target: Target | None = None
    ) -> None:
        """Until the connection's end; the script is cancelled then. Raises what ``run`` raises."""
        error: VenueError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._serve, script, places)
            try:
                with trio.fail_after(VIRTUAL_S_MAX):
                    await self.connection.run(target or Target(url="ws://127.0.0.1/ws"))
            except VenueError as raised:
                error = raised
            nursery.cancel_scope.cancel()
        if error is not None:
            raise error

    async def _serve(self, script: Script, places: tuple[int, ...]) -> None:
        stream = CutStream(self.theirs, places)
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            socket = await request.accept()
            try:
                await script(VenueSide(stream, socket, request.headers))
                await trio.sleep_forever()
            except ConnectionClosed:
                pass


async def run_raw(wired: Wired, script: Callable[[trio.abc.Stream], Awaitable[None]]) -> None:
    """As ``Wired.run``, with a far end that is no WebSocket server."""
    error: VenueError | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(script, wired.theirs)
        try:
            await wired.connection.run(Target(url="ws://127.0.0.1/ws"))
        except VenueError as raised:
            error = raised
        nursery.cancel_scope.cancel()
    if error is not None:
        raise error


# --- the good life --------------------------------------------------------------------------------


async def test_subscribes_records_and_closes_by_handshake(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch)

    async def script(venue: VenueSide) -> None:
        assert await venue.accept() == SYMBOLS
        await venue.trade(1)
        await venue.trade(7, "ETHUSDT")
        await trio.sleep(1)
        assert wired.shown.state == "open"
        assert wired.shown.subscribed == 2
        assert wired.shown.trades == 2
        venue.stream.before_close = trade_frame(2) + trade_frame(8, "ETHUSDT")
        wired.stop.set()
        with pytest.raises(ConnectionClosed) as closed:
            await venue.socket.get_message()
        assert closed.value.reason.code == 1000

    await wired.run(script, target=Target(url="ws://127.0.0.1/ws", headers=(("X-A", "1"),)))
    # What the venue sent before it answered our close is there, too.
    assert wired.rig.rows() == [("BTCUSDT", "1"), ("ETHUSDT", "7"), ("BTCUSDT", "2"),
                                ("ETHUSDT", "8")]  # fmt: skip
    assert wired.shown.state == "closed"
    assert wired.shown.subscribed == 0


async def test_a_ping_that_crosses_our_close_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """Nothing may be sent behind a close frame, and trio-websocket would try to answer."""
    wired = Wired(monkeypatch)

    async def script(venue: VenueSide) -> None:
        await venue.accept()
        ping = frame(PING, b"x")
        venue.stream.before_close = ping + trade_frame(1) + ping + trade_frame(2) + ping
        wired.stop.set()
        with pytest.raises(ConnectionClosed):
            await venue.socket.get_message()

    await wired.run(script)
    assert wired.rig.rows() == [("BTCUSDT", "1"), ("BTCUSDT", "2")]


async def test_headers_of_the_target_go_along(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch)
    seen: dict[bytes, bytes] = {}

    async def script(venue: VenueSide) -> None:
        seen.update(venue.headers)
        wired.stop.set()

    headers = (("X-Gate-Size-Decimal", "1"),)
    await wired.run(script, target=Target(url="ws://127.0.0.1/ws", headers=headers))
    assert seen[b"x-gate-size-decimal"] == b"1"


async def test_pings_of_the_venue_are_answered(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch)

    async def script(venue: VenueSide) -> None:
        await venue.accept()
        for number in range(3):
            await venue.trade(number + 1)
            with trio.fail_after(1):
                await venue.socket.ping(b"%d" % number)
        wired.stop.set()

    await wired.run(script)
    assert len(wired.rig.rows()) == 3


@given(places=st.lists(st.integers(0, 400), max_size=6).map(tuple))
@settings(deadline=None, max_examples=40)
def test_r22_any_cutting_of_the_venue_s_bytes_gives_the_same_rows(places: tuple[int, ...]) -> None:
    async def run() -> list[tuple[str, str]]:
        with pytest.MonkeyPatch.context() as monkeypatch:
            wired = Wired(monkeypatch)

            async def script(venue: VenueSide) -> None:
                for number in range(3):
                    await venue.trade(number + 1)
                await venue.accept()
                await venue.socket.ping()
                await venue.trade(4)
                await venue.socket.aclose(1001, "later")

            with pytest.raises(VenueError, match="1001 GOING_AWAY"):
                await wired.run(script, places=places)
            return wired.rig.rows()

    rows = trio.run(run, clock=MockClock(autojump_threshold=0))
    assert rows == [("BTCUSDT", str(number)) for number in (1, 2, 3, 4)]


async def test_what_is_not_understood_goes_to_quarantine_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch)
    broken = json.dumps(binance_trade(2))[:-20]
    unknown = json.dumps(binance_trade(3, symbol="NEWUSDT"))

    async def script(venue: VenueSide) -> None:
        await venue.accept()
        await venue.trade(1)
        await venue.socket.send_message(broken)
        await venue.socket.send_message(unknown)
        await venue.socket.send_message(b"\x00binary")
        await venue.socket.send_message('{"kind":"no such kind"}')
        await venue.trade(2)
        await trio.sleep(100)
        wired.stop.set()

    with capture_logs() as logs:
        await wired.run(script, target=calm_target())
    assert wired.rig.rows() == [("BTCUSDT", "1"), ("BTCUSDT", "2")]
    quarantined = dict(wired.rig.side.quarantined)
    assert quarantined["malformed"] == broken.encode()
    assert quarantined["unknown_symbol"] == unknown.encode()
    assert quarantined["binary"] == b"\x00binary"
    assert any("no such kind" in str(line.get("text")) for line in logs)


def calm_target() -> Target:
    """A venue from which nothing is expected."""
    return Target(url="ws://127.0.0.1/ws", keepalive=keepalive(ping=None, silence_s=1e6))


async def test_holes_are_told_in_front_of_the_rows_that_show_them(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch)

    async def script(venue: VenueSide) -> None:
        await venue.accept()
        await venue.trade(1)
        await venue.trade(5)
        await trio.sleep(1)
        wired.rig.feed.state = "stopping"
        wired.stop.set()

    await wired.run(script)
    (gap,) = wired.rig.side.ledger
    assert (gap.symbol, gap.cause, gap.first_id, gap.last_id) == ("BTCUSDT", "id_jump", 2, 4)


async def test_a_large_buffer_is_flushed_by_the_connection_itself(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch)
    rows = 2 * FLUSH_BYTES // 100

    async def script(venue: VenueSide) -> None:
        await venue.accept()
        await venue.stream.send_all(b"".join(trade_frame(number + 1) for number in range(rows)))
        await trio.sleep(1)
        wired.stop.set()

    await wired.run(script)
    assert wired.rig.sink.records
    assert len(wired.rig.rows()) == rows


async def test_refused_symbols_are_shown_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch)

    async def script(venue: VenueSide) -> None:
        request = json.loads(await venue.socket.get_message())
        refusal = tell("refused", str(request["id"]), symbols=("ETHUSDT",), text="unknown pair")
        await venue.socket.send_message(refusal.decode())
        assert await venue.accept() == ["BTCUSDT"]
        await trio.sleep(1)
        assert wired.shown.subscribed == 1
        wired.stop.set()

    with capture_logs() as logs:
        await wired.run(script)
    assert wired.rig.feed.refused == {"ETHUSDT": "unknown pair"}
    assert [line["symbol"] for line in logs if line["event"] == "symbol_refused"] == ["ETHUSDT"]


# --- ends -----------------------------------------------------------------------------------------


async def test_a_silent_venue_is_given_up(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch, feed_spec(keepalive=keepalive(ping=None, silence_s=30)))

    async def script(venue: VenueSide) -> None:
        await venue.accept()
        await trio.sleep(10)
        await venue.trade(1)

    with pytest.raises(FeedSilentError, match="not a byte for 30 s"):
        await wired.run(script)
    assert trio.current_time() == pytest.approx(40, abs=0.1)
    assert wired.rig.rows() == [("BTCUSDT", "1")]


async def test_a_venue_that_reads_no_more_is_given_up(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch, feed_spec(keepalive=keepalive(ping=None, silence_s=30)))

    async def script(venue: VenueSide) -> None:
        await venue.accept()
        venue.stream.is_deaf = True

    with pytest.raises(FeedSilentError):
        await wired.run(script)
    assert trio.current_time() == pytest.approx(30 + CLOSE_TIMEOUT_S, abs=0.1)


async def test_unanswered_pings_are_the_end_whatever_comes(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch)

    async def script(venue: VenueSide) -> None:
        await venue.accept()
        for number in range(1000):
            await venue.trade(number + 1)
            await trio.sleep(1)

    with pytest.raises(FeedSilentError, match="3 pings unanswered"):
        await wired.run(script)
    assert 80 <= trio.current_time() <= 80 + CLOSE_TIMEOUT_S
    assert len(wired.rig.rows()) >= 80


async def test_the_keepalive_of_the_target_is_used(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch)
    target = Target(url="ws://127.0.0.1/ws", keepalive=keepalive(ping=None, silence_s=7))

    async def script(venue: VenueSide) -> None:
        await venue.accept()

    with pytest.raises(FeedSilentError, match="7 s"):
        await wired.run(script, target=target)


async def test_r9_paused_reading_suspends_the_verdict_and_goes_on_pinging(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch, feed_spec(keepalive=keepalive(interval_s=20, silence_s=45)))
    pings_s: list[float] = []

    async def script(venue: VenueSide) -> None:
        await venue.accept()
        await trio.sleep(1)
        wired.rig.sink.close_gate()
        await venue.trade(1)  # wakes the reader, which then waits for room
        await venue.trade(2)
        with trio.move_on_at(500):
            while True:
                assert "ping" in await venue.socket.get_message()
                pings_s.append(trio.current_time())
                await venue.socket.send_message(tell("pong").decode())
        wired.rig.sink.open_gate()
        await trio.sleep(0.5)
        assert len(wired.rig.rows()) == 2
        await venue.answer_pings()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop_at, wired, 900)
        await wired.run(script)
    assert len(pings_s) == 24
    assert trio.current_time() == pytest.approx(900, abs=1)


async def test_r9_a_venue_is_not_given_up_while_its_answers_lie_unread(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """The reader gets its turn every 6 s, for less than a trade: the pongs are far behind."""
    monkeypatch.setattr(tap, "READ_BYTES", READ_BYTES)
    monkeypatch.setattr(tap, "FULL_BYTES", READ_BYTES)
    monkeypatch.setattr(tap, "BUSY_S", 1e9)
    monkeypatch.setattr(tap, "PACE_S", 6.0)
    wired = Wired(monkeypatch, feed_spec(keepalive=keepalive(interval_s=20, silence_s=60)))
    unread: list[int] = []

    async def script(venue: VenueSide) -> None:
        await venue.accept()
        with contextlib.suppress(ExceptionGroup):  # the end of the connection
            async with trio.open_nursery() as nursery:
                nursery.start_soon(venue.answer_pings)
                for number in range(95):
                    await venue.trade(number + 1)
                    await trio.sleep(1)
                    unread.append(number + 1 - len(wired.rig.rows()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop_at, wired, 1200)
        await wired.run(script)
    assert unread[80] > 60  # three pings are out, and the first pong is not read yet
    assert trio.current_time() == pytest.approx(1200, abs=CLOSE_TIMEOUT_S)
    assert len(wired.rig.rows()) == 95


@pytest.mark.parametrize("late_s", [LATE_S + 1, 0.0], ids=["late", "in time"])
async def test_r9_time_that_we_slept_ourselves_is_not_held_against_the_venue(
    monkeypatch: pytest.MonkeyPatch, mock_clock: MockClock, late_s: float
) -> None:
    """The whole process stood still, as under a stopped or starved machine."""
    wired = Wired(monkeypatch, feed_spec(keepalive=keepalive(ping=None, silence_s=30)))
    given_up = False

    async def script(venue: VenueSide) -> None:
        await venue.accept()
        await wait_all_tasks_blocked()
        mock_clock.jump(30 + late_s)
        await wait_all_tasks_blocked()
        if late_s:
            await venue.trade(1)
            await wait_all_tasks_blocked()
            wired.stop.set()
        else:
            mock_clock.jump(CLOSE_TIMEOUT_S)

    try:
        await wired.run(script)
    except FeedSilentError:
        given_up = True
    assert given_up is (not late_s)
    assert wired.rig.rows() == ([("BTCUSDT", "1")] if late_s else [])


async def stop_at(wired: Wired, at_s: float) -> None:
    await trio.sleep_until(at_s)
    wired.stop.set()


async def test_r9_after_a_pause_a_dead_connection_is_found_dead(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    spec = feed_spec(keepalive=keepalive(ping=None, silence_s=45), life_s=0)
    wired = Wired(monkeypatch, spec)

    async def script(venue: VenueSide) -> None:
        await venue.accept()
        await trio.sleep(1)
        wired.rig.sink.close_gate()
        await venue.trade(1)
        await venue.trade(2)
        await trio.sleep_until(300)
        wired.rig.sink.open_gate()

    with pytest.raises(FeedSilentError):
        await wired.run(script)
    assert trio.current_time() == pytest.approx(345, abs=2)
    assert len(wired.rig.rows()) == 2


async def test_a_fault_that_the_venue_tells_ends_the_connection_by_handshake(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch)
    codes: list[int] = []

    async def script(venue: VenueSide) -> None:
        await venue.accept()
        venue.stream.before_close = trade_frame(1)
        await venue.socket.send_message(tell("fault", text="token is expired").decode())
        with pytest.raises(ConnectionClosed) as closed:
            await venue.socket.get_message()
        codes.append(closed.value.reason.code)

    with pytest.raises(VenueError, match="binance_spot: token is expired"):
        await wired.run(script)
    assert codes == [1000]
    assert wired.rig.rows() == [("BTCUSDT", "1")]


async def test_r12_an_announced_end_is_told_and_the_reading_goes_on(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch)

    async def script(venue: VenueSide) -> None:
        await venue.accept()
        await venue.socket.send_message(tell("planned_end", text="upgrade", within=60).decode())
        await wired.connection.leaving.wait()
        assert wired.connection.planned == PlannedEnd("upgrade", 60)
        await venue.trade(1)
        await trio.sleep(50)
        await venue.trade(2)
        await trio.sleep(1)
        wired.stop.set()

    await wired.run(script, target=calm_target())
    assert wired.rig.rows() == [("BTCUSDT", "1"), ("BTCUSDT", "2")]
    assert wired.rig.side.ledger[0].cause == "handover"  # nothing took its place here


async def test_r12_the_age_limit_is_an_announced_end(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch, feed_spec(life_s=600))

    async def script(venue: VenueSide) -> None:
        await venue.accept()
        await venue.answer_pings()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wired.run, script)
        await wired.connection.leaving.wait()
        assert LIFE_SHARES[0] * 600 <= trio.current_time() <= LIFE_SHARES[1] * 600 + 1
        wired.stop.set()


async def test_a_venue_that_never_answers_requests_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch)

    async def script(venue: VenueSide) -> None:
        await venue.answer_pings()

    with pytest.raises(VenueError, match=r"binance_spot: no answer to 3 requests"):
        await wired.run(script)


async def test_a_close_by_the_venue_is_told_with_its_code(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch)

    async def script(venue: VenueSide) -> None:
        await venue.accept()
        await venue.trade(1)
        await venue.socket.aclose(1008, "Too many requests")

    with pytest.raises(VenueError, match="closed by the venue: 1008"):
        await wired.run(script)
    assert wired.rig.rows() == [("BTCUSDT", "1")]


async def test_a_cut_is_told_and_what_came_before_is_kept(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch)

    async def script(venue: VenueSide) -> None:
        await venue.accept()
        await venue.stream.send_all(trade_frame(1) + trade_frame(2)[:-3])
        await venue.stream.aclose()

    with pytest.raises(VenueError, match="1006"):
        await wired.run(script)
    assert wired.rig.rows() == [("BTCUSDT", "1")]


async def test_bytes_that_are_no_websocket_are_told_as_that(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch)

    async def script(venue: VenueSide) -> None:
        await venue.accept()
        await venue.stream.send_all(trade_frame(1) + b"\xf1\x05hello")

    with pytest.raises(ProtocolError, match="binance_spot"):
        await wired.run(script)
    assert wired.rig.rows() == [("BTCUSDT", "1")]


# --- beginnings -----------------------------------------------------------------------------------


async def test_a_refused_handshake_is_told_with_its_status(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch)

    async def refuse(stream: trio.abc.Stream) -> None:
        await stream.receive_some(4096)
        await stream.send_all(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\n\r\nslow")
        await trio.sleep_forever()

    with pytest.raises(VenueError, match=r"binance_spot: no handshake: .*429"):
        await run_raw(wired, refuse)
    assert trio.current_time() < 1


async def test_a_handshake_that_is_cut_is_given_up_at_once(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch)

    async def hang_up(stream: trio.abc.Stream) -> None:
        await stream.receive_some(4096)
        await stream.aclose()

    with pytest.raises(VenueError, match=r"no handshake: .*cut"):
        await run_raw(wired, hang_up)
    assert trio.current_time() < 1


async def test_a_handshake_without_an_answer_is_given_up(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch)

    async def say_nothing(stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    with pytest.raises(VenueError, match="no handshake in time"):
        await run_raw(wired, say_nothing)
    assert trio.current_time() == CONNECT_TIMEOUT_S


async def test_a_venue_that_is_not_there_is_told() -> None:
    rig = Rig(feed_spec(), names(1))
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    shown = ConnectionState(number=0)
    never = trio.Event()
    life = Connection(rig.feed, rig.instruments, shown, random.Random(1), never)
    with pytest.raises(VenueError, match="binance_spot: cannot connect"):
        await life.run(Target(url=f"ws://127.0.0.1:{port}/ws"))


async def test_a_stop_ends_a_handshake_at_once(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch)

    async def say_nothing(stream: trio.abc.Stream) -> None:
        await trio.sleep(1)
        wired.stop.set()

    await run_raw(wired, say_nothing)
    assert trio.current_time() == 1
    assert wired.shown.state == "closed"


async def test_a_stop_ends_dialling_at_once(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch)

    async def never_there(_url: str, _proxy_url: str | None) -> tuple[trio.abc.Stream, str, str]:
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(connection, "open_stream", never_there)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wired.connection.run, Target(url="ws://127.0.0.1/ws"))
        await trio.sleep(1)
        wired.stop.set()
    assert trio.current_time() == 1


# --- holes ----------------------------------------------------------------------------------------


async def test_a_cut_opens_a_row_for_each_of_its_symbols(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch)

    async def script(venue: VenueSide) -> None:
        await venue.accept()
        await venue.trade(7)
        await trio.sleep(10)
        await venue.stream.aclose()

    with pytest.raises(VenueError):
        await wired.run(script)
    btc, eth = wired.rig.side.ledger
    assert [(gap.symbol, gap.cause, gap.state) for gap in (btc, eth)] == [
        ("BTCUSDT", "cut", "suspected"), ("ETHUSDT", "cut", "suspected"),
    ]  # fmt: skip
    assert (btc.first_id, btc.to_ns) == (8, 0)
    assert wired.rig.feed.coverage.missing == ["BTCUSDT", "ETHUSDT"]


async def test_what_was_not_subscribed_yet_is_no_hole(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch)

    async def script(venue: VenueSide) -> None:
        await venue.stream.aclose()

    with pytest.raises(VenueError):
        await wired.run(script)
    assert wired.rig.side.ledger == []


async def test_at_the_end_of_all_nothing_is_a_hole(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch)

    async def script(venue: VenueSide) -> None:
        await venue.accept()
        wired.rig.feed.state = "stopping"
        wired.stop.set()

    await wired.run(script)
    assert wired.rig.side.ledger == []


async def test_r9_a_venue_that_cuts_us_while_we_pause_is_not_to_blame(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    wired = Wired(monkeypatch)

    async def script(venue: VenueSide) -> None:
        await venue.accept()
        await trio.sleep(1)
        wired.rig.sink.close_gate()
        await venue.trade(1)
        await trio.sleep(30)
        await venue.stream.aclose()
        await trio.sleep(30)
        wired.rig.sink.open_gate()

    with pytest.raises(VenueError):
        await wired.run(script, target=calm_target())
    assert {gap.cause for gap in wired.rig.side.ledger} == {"backpressure"}


async def test_refused_symbols_are_holes_while_they_trade(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    spec = feed_spec(subscribe=subscribe(is_atomic=False))
    wired = Wired(monkeypatch, spec, [*SYMBOLS, "SOLUSDT"])
    wired.rig.feed.coverage.wanted.discard("ETHUSDT")

    async def script(venue: VenueSide) -> None:
        for _ in range(2):
            request = json.loads(await venue.socket.get_message())
            for symbol in request["want"]:
                kind = "accepted" if symbol == "SOLUSDT" else "refused"
                reply = tell(kind, str(request["id"]), symbols=(symbol,))
                await venue.socket.send_message(reply.decode())
            await trio.sleep(5)
            wired.connection.add(["BTCUSDT", "ETHUSDT"])
        assert await venue.accept() == SYMBOLS
        await trio.sleep(1)
        wired.rig.feed.state = "stopping"
        wired.stop.set()

    with capture_logs() as logs:
        await wired.run(script)
    # A refused one that is taken may have traded in between: also the one that did not trade yet.
    btc, eth = wired.rig.side.ledger
    assert (btc.symbol, btc.cause) == ("BTCUSDT", "refused")
    assert (eth.symbol, eth.cause) == ("ETHUSDT", "late_subscription")
    assert btc.to_ns
    assert eth.to_ns
    assert sum(line["event"] == "symbol_refused" for line in logs) == 2
    assert wired.rig.feed.refused == {}


async def test_symbols_can_be_added_and_left_while_it_is_open(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    leaving = subscribe(leave_text='{"leave":[{args}]}')
    wired = Wired(monkeypatch, feed_spec(subscribe=leaving), ["BTCUSDT"])
    wired.rig.feed.add_instruments([instrument("ETHUSDT")])
    texts: list[str] = []

    async def script(venue: VenueSide) -> None:
        await venue.accept()
        wired.connection.add(["ETHUSDT"])
        assert await venue.accept() == ["ETHUSDT"]
        await trio.sleep(1)
        assert wired.shown.subscribed == 2
        wired.connection.leave(["BTCUSDT"])
        texts.append(await venue.socket.get_message())
        assert wired.shown.subscribed == 1
        await venue.trade(1)  # what still comes is recorded
        await trio.sleep(1)
        wired.stop.set()

    await wired.run(script)
    assert texts == ['{"leave":["BTCUSDT"]}']
    assert wired.rig.rows() == [("BTCUSDT", "1")]
