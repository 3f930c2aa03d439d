"""Make before break (R12): who replaces whom, when, and what is a hole then."""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, memory_stream_pair
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from pumpwatch.capture import connection
from pumpwatch.capture.slot import ALONE_MAX, MUTE_S, OVERLAP_S_MIN, Slot
from pumpwatch.errors import VenueError
from pumpwatch.venues.spec import FeedSpec, Target
from tests._fast.driving import binance_trade
from tests.capture.rig import Rig
from tests.capture.specs import feed_spec, instrument, keepalive, tell

SYMBOLS = ["BTCUSDT", "ETHUSDT"]
CALM = keepalive(ping=None, silence_s=1e6)


class Line:
    """The venue's end of one connection."""

    def __init__(self, number: int, socket: WebSocketConnection, stream: trio.abc.Stream) -> None:
        self.number = number
        self.closed = trio.Event()
        self._socket = socket
        self._stream = stream

    async def accept(self) -> list[str]:
        request = json.loads(await self._socket.get_message())
        await self._socket.send_message(tell("accepted", str(request["id"])).decode())
        return list(request["want"])

    async def trade(self, number: int, symbol: str = "BTCUSDT") -> None:
        await self._socket.send_message(json.dumps(binance_trade(number, symbol=symbol)))

    async def say(self, *args: Any, **facts: Any) -> None:
        await self._socket.send_message(tell(*args, **facts).decode())

    async def cut(self) -> None:
        await self._stream.aclose()

    async def listen(self) -> None:
        try:
            while True:
                await self._socket.get_message()
        except ConnectionClosed:
            self.closed.set()


class Stage:
    """A slot, and a venue that lets a test play each of its connections."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, spec: FeedSpec | None = None) -> None:
        self.rig = Rig(spec or feed_spec(keepalive=CALM), SYMBOLS)
        self.feed = self.rig.feed
        self.stop = trio.Event()
        self.slot = Slot(1, self.feed, self, random.Random(1), self.stop, self.rig.instruments)
        self.dials_s: list[float] = []
        self.refuses = False
        self._send, self._receive = trio.open_memory_channel[Line](100)
        self._nursery: trio.Nursery
        monkeypatch.setattr(connection, "open_stream", self._dial)

    async def target(self) -> Target:
        await trio.lowlevel.checkpoint()
        return Target(url="ws://127.0.0.1/ws")

    async def _dial(self, _url: str, _proxy_url: str | None) -> tuple[trio.abc.Stream, str, str]:
        self.dials_s.append(trio.current_time())
        if self.refuses:
            raise OSError("nobody there")
        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(self._serve, theirs)
        await trio.lowlevel.checkpoint()
        return ours, "127.0.0.1", "/ws"

    async def _serve(self, stream: trio.abc.Stream) -> None:
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            line = Line(len(self.dials_s), await request.accept(), stream)
            await self._send.send(line)
            await line.closed.wait()
            nursery.cancel_scope.cancel()

    async def line(self) -> Line:
        """The next connection that the slot makes."""
        with trio.fail_after(1000):
            return await self._receive.receive()

    async def play(self, script: Callable[[Stage], Awaitable[None]]) -> None:
        """Until the script ends; then the stop."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._look)
            async with trio.open_nursery() as inner:
                inner.start_soon(self.slot.run)
                await script(self)
                self.feed.state = "stopping"
                self.stop.set()
            nursery.cancel_scope.cancel()

    async def _look(self) -> None:
        while True:
            self.feed.look()
            await trio.sleep(1)

    def holes(self) -> list[tuple[str, str, str]]:
        self.feed.look()
        return [(gap.symbol, gap.cause, gap.state) for gap in self.rig.side.ledger]

    @asynccontextmanager
    async def replacing(self) -> Any:
        """Two connections: one whose end is announced, and its successor."""
        old = await self.line()
        await old.accept()
        self._nursery.start_soon(old.listen)
        await old.trade(1)
        await old.say("planned_end", text="upgrade", within=60)
        yield old, await self.line()


async def test_the_old_one_ends_when_all_that_trades_came_on_the_new_one(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def script(stage: Stage) -> None:
        async with stage.replacing() as (old, new):
            await old.trade(2)
            assert await new.accept() == SYMBOLS
            stage._nursery.start_soon(new.listen)
            for number in range(3, 30):
                await trio.sleep(1)
                await old.trade(number)
                assert not old.closed.is_set()  # the new one has shown nothing yet
            await new.trade(29)
            await trio.sleep(1)
            assert old.closed.is_set()
            await new.trade(30)
            await trio.sleep(1)
            assert stage.feed.subscribed == 2
            assert stage.feed.replacements == 1
            assert [shown.state for shown in stage.feed.connections] == ["open"]
            assert stage.feed.connections[0].reconnects == 0

    stage = Stage(monkeypatch)
    await stage.play(script)
    assert [number for _, number in stage.rig.rows()] == [str(one) for one in range(1, 31)]
    assert stage.holes() == []


async def test_a_quiet_connection_is_replaced_on_the_venue_s_word(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def script(stage: Stage) -> None:
        async with stage.replacing() as (old, new):
            began_s = trio.current_time()
            await trio.sleep(5)
            assert not old.closed.is_set()  # not even subscribed
            await new.accept()
            stage._nursery.start_soon(new.listen)
            await old.closed.wait()
            assert trio.current_time() - began_s == pytest.approx(5 + OVERLAP_S_MIN, abs=0.3)
            await new.trade(2)

    stage = Stage(monkeypatch)
    await stage.play(script)
    assert stage.holes() == []


async def test_at_the_deadline_what_did_not_come_is_a_hole_until_it_comes(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def script(stage: Stage) -> None:
        async with stage.replacing() as (old, new):
            await new.accept()
            stage._nursery.start_soon(new.listen)
            number = 1
            while trio.current_time() < 46:
                await trio.sleep(1)
                number += 1
                await old.trade(number)
                await old.trade(number, "ETHUSDT")
                await new.trade(number, "ETHUSDT")
            assert not old.closed.is_set()
            await old.closed.wait()
            await trio.sleep(0.5)
            assert trio.current_time() == pytest.approx(60 * 0.8, abs=2)
            (gap,) = stage.rig.side.ledger
            assert (gap.symbol, gap.cause, gap.to_ns) == ("BTCUSDT", "handover", 0)
            assert gap.first_id == number + 1
            assert stage.feed.coverage.missing == ["BTCUSDT"]
            await trio.sleep(20)
            await new.trade(number + 1)
            await trio.sleep(2)
            assert stage.feed.subscribed == 2
            assert stage.holes() == [("BTCUSDT", "handover", "empty")]

    stage = Stage(monkeypatch)
    with capture_logs() as logs:
        await stage.play(script)
    assert stage.feed.replacements == 0
    assert any(line["event"] == "handover_incomplete" for line in logs)


async def test_an_end_that_comes_before_the_successor_is_subscribed_is_a_hole(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def script(stage: Stage) -> None:
        async with stage.replacing() as (old, new):
            await trio.sleep(5)
            await old.cut()
            await trio.sleep(1)
            assert [gap.to_ns for gap in stage.rig.side.ledger] == [0, 0]
            await new.accept()
            await trio.sleep(1)
            assert all(gap.to_ns for gap in stage.rig.side.ledger)
            assert len(stage.dials_s) == 2

    stage = Stage(monkeypatch)
    await stage.play(script)
    assert [cause for _, cause, _ in stage.holes()] == ["cut", "cut"]


async def test_an_end_that_comes_after_the_successor_is_subscribed_is_none(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def script(stage: Stage) -> None:
        async with stage.replacing() as (old, new):
            await new.accept()
            await old.cut()
            await new.trade(2)
            await trio.sleep(1)

    stage = Stage(monkeypatch)
    await stage.play(script)
    assert stage.holes() == []


async def test_a_successor_that_fails_has_a_successor_itself(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def script(stage: Stage) -> None:
        async with stage.replacing() as (old, new):
            await new.accept()
            await old.trade(2)
            await new.cut()
            another = await stage.line()
            assert not old.closed.is_set()
            await another.accept()
            stage._nursery.start_soon(another.listen)
            await old.trade(3)
            await another.trade(3)
            await old.closed.wait()
            await another.trade(4)
            await trio.sleep(1)

    stage = Stage(monkeypatch)
    await stage.play(script)
    assert stage.holes() == []
    assert [number for _, number in stage.rig.rows()] == ["1", "2", "3", "4"]


async def test_the_age_limit_replaces_connections_for_ever_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    made = 0

    async def script(stage: Stage) -> None:
        nonlocal made
        lines: list[Line] = []

        async def meet() -> None:
            while True:
                line = await stage.line()
                await line.accept()
                stage._nursery.start_soon(line.listen)
                lines.append(line)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(meet)
            while stage.feed.replacements < 8:
                await trio.sleep(1)
                made += 1
                for line in lines:
                    if not line.closed.is_set():
                        await line.trade(made)
            nursery.cancel_scope.cancel()
        assert sum(not line.closed.is_set() for line in lines) <= 2

    stage = Stage(monkeypatch, feed_spec(keepalive=CALM, life_s=120))
    await stage.play(script)
    rows = [int(number) for _, number in stage.rig.rows()]
    assert rows == list(range(1, made + 1))
    assert stage.holes() == []


async def test_control_an_unannounced_end_loses_what_trades_meanwhile(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def script(stage: Stage) -> None:
        line = await stage.line()
        await line.accept()
        await line.trade(1)
        await trio.sleep(1)
        await line.cut()
        line = await stage.line()
        await line.accept()
        await line.trade(5)
        await trio.sleep(1)
        assert stage.feed.connections[0].reconnects == 1

    stage = Stage(monkeypatch)
    await stage.play(script)
    btc, eth = stage.rig.side.ledger
    assert (btc.cause, btc.state, btc.first_id, btc.last_id) == ("cut", "confirmed", 2, 4)
    assert (eth.cause, eth.state) == ("cut", "suspected")
    assert eth.to_ns


async def test_dialling_goes_on_with_growing_pauses_and_a_stop_ends_it_at_once(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    stage = Stage(monkeypatch)
    stage.refuses = True

    async def script(stage: Stage) -> None:
        await trio.sleep(600)
        pauses = [b - a for a, b in zip(stage.dials_s, stage.dials_s[1:], strict=False)]
        assert pauses[0] < 0.3
        assert 15 <= max(pauses) <= 30
        assert stage.feed.connections[0].state == "waiting"
        assert "nobody there" in stage.feed.connections[0].error

    await stage.play(script)
    assert trio.current_time() == 600


async def test_a_pause_before_dialling_ends_when_the_venue_answers_again(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    stage = Stage(monkeypatch)
    stage.refuses = True

    async def script(stage: Stage) -> None:
        await trio.sleep(600)
        made = len(stage.dials_s)
        await trio.sleep(0.05)
        assert len(stage.dials_s) == made
        stage.slot.dial_now()
        await trio.testing.wait_all_tasks_blocked()
        assert len(stage.dials_s) == made + 1
        await trio.sleep(1)
        assert len(stage.dials_s) >= made + 3  # pauses begin small again

    await stage.play(script)


async def test_a_connection_is_renewed_without_a_hole(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    stage = Stage(monkeypatch)

    async def script(stage: Stage) -> None:
        old = await stage.line()
        await old.accept()
        await old.trade(1)
        await trio.sleep(2)
        assert not stage.slot.is_renewing
        stage.slot.renew()
        new = await stage.line()
        assert stage.slot.is_renewing
        await new.accept()
        await trio.sleep(1)
        for line in (old, new):
            await line.trade(2)
        stage._nursery.start_soon(old.listen)
        with trio.fail_after(60):
            while stage.slot.is_renewing:  # noqa: ASYNC110 - virtual time
                await trio.sleep(0.1)
        await new.trade(3)
        assert stage.feed.replacements == 1

    await stage.play(script)
    assert stage.holes() == []
    assert [int(number) for _, number in stage.rig.rows()] == [1, 2, 3]


async def test_a_token_that_cannot_be_had_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    stage = Stage(monkeypatch)
    failures = 3

    async def target() -> Target:
        nonlocal failures
        await trio.sleep(1)
        if failures:
            failures -= 1
            raise VenueError("no token")
        return Target(url="ws://127.0.0.1/ws")

    monkeypatch.setattr(stage, "target", target)

    async def script(stage: Stage) -> None:
        await (await stage.line()).accept()
        await trio.sleep(1)
        assert stage.feed.subscribed == 2

    await stage.play(script)


async def test_members_come_and_go_and_without_any_the_slot_ends(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    stage = Stage(monkeypatch)
    stage.feed.add_instruments([instrument("SOLUSDT")])

    async def script(stage: Stage) -> None:
        line = await stage.line()
        await line.accept()
        await trio.sleep(1)
        stage.slot.add([instrument("SOLUSDT")])
        assert await line.accept() == ["SOLUSDT"]
        assert stage.feed.connections[0].wanted == 3
        stage._nursery.start_soon(line.listen)
        stage.slot.leave(["BTCUSDT", "SOLUSDT"])
        assert list(stage.slot.members) == ["ETHUSDT"]
        await trio.sleep(1)
        assert not line.closed.is_set()
        stage.slot.leave(["ETHUSDT"])
        await line.closed.wait()

    await stage.play(script)
    assert len(stage.dials_s) == 1


async def test_a_mute_symbol_gets_another_connection_and_its_hole_an_end(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """R11: the venue took the subscription, and sends nothing of it."""

    async def script(stage: Stage) -> None:
        old = await stage.line()
        await old.accept()
        stage._nursery.start_soon(old.listen)
        await old.trade(1)
        await trio.sleep(MUTE_S / 2)
        feed = stage.feed
        feed.ledger.cut(feed.spec, [feed.edge("ETHUSDT")], cause="silence")
        stage.slot.replace("ETHUSDT")
        assert feed.subscribed == 1
        await trio.sleep(MUTE_S / 4)
        assert len(stage.dials_s) == 1  # the connection is young
        await trio.sleep(MUTE_S)
        stage.slot.replace("ETHUSDT")
        stage.slot.replace("ETHUSDT")  # one successor is enough
        new = await stage.line()
        assert await new.accept() == SYMBOLS
        stage._nursery.start_soon(new.listen)
        await trio.sleep(2)
        assert feed.subscribed == 2
        [gap] = feed.ledger.open_gaps()
        assert (gap.symbol, gap.cause) == ("ETHUSDT", "silence")
        assert gap.to_ns > 0
        await trio.sleep(5)
        assert old.closed.is_set()
        assert len(stage.dials_s) == 2

    await Stage(monkeypatch).play(script)


@pytest.mark.parametrize("count", [1, ALONE_MAX, ALONE_MAX + 1])
def test_a_few_refused_ones_are_asked_for_one_by_one(count: int) -> None:
    """One that begins to trade does not wait for the refusals of the others."""
    names = [f"C{number:02d}USDT" for number in range(count)]
    rig = Rig(feed_spec(), names)
    slot = Slot(1, rig.feed, None, random.Random(1), trio.Event(), rig.instruments)  # type: ignore[arg-type]
    asked: list[list[str]] = []
    slot._lives = [SimpleNamespace(connection=SimpleNamespace(add=asked.append))]  # type: ignore[list-item]
    slot.ask_again({*names, "GONEUSDT"})
    assert asked == ([[name] for name in names] if count <= ALONE_MAX else [names])
