"""One feed while its instrument list changes, over connections that a venue of ours serves."""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, memory_stream_pair
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from pumpwatch.capture import connection
from pumpwatch.capture.feed import (
    EARLY_RETRY_S,
    GONE_QUIET_S,
    LIST_BEHIND_NS,
    LIST_S_MAX,
    LIST_S_MIN,
    REFUSED_RETRY_S,
    FeedRun,
    poll_interval_s,
)
from pumpwatch.capture.feed_state import FeedState
from pumpwatch.capture.ledger import PROOF_LAG_NS
from pumpwatch.capture.pacing import ConnectPacer
from pumpwatch.config import FeedConfig
from pumpwatch.errors import VenueError
from pumpwatch.venues import FEEDS
from pumpwatch.venues.spec import FeedSpec, Listed, ListPage, ListRequest, Params
from tests._fast.driving import binance_trade
from tests.capture.rig import Rig
from tests.capture.specs import feed_spec, keepalive, names, subscribe, tell

CALM = keepalive(ping=None, silence_s=1e9)


def read_list(body: bytes) -> ListPage:
    entries = json.loads(body)
    return ListPage(
        listed=[
            Listed(venue_symbol=name, base=name.removesuffix("USDT"), quote="USDT", **facts)
            for name, facts in entries.items()
        ],
        refused=[],
    )  # fmt: skip


async def run_here(function: Callable[..., Any], *arguments: Any) -> Any:
    await trio.lowlevel.checkpoint()
    return function(*arguments)


class Venue:
    """Lists what ``listed`` holds, takes every subscription but those of ``refused``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *symbols: str) -> None:
        self.listed: dict[str, dict[str, Any]] = {name: {"status": "trading"} for name in symbols}
        self.refused: set[str] = set()
        self.is_down = False
        self.lists = 0
        self.asked: list[tuple[float, str, list[str]]] = []
        self.lines: dict[WebSocketConnection, set[str]] = {}
        self._nursery: trio.Nursery
        monkeypatch.setattr(connection, "open_stream", self._dial)
        # The virtual clock jumps over threads (that lists are read in one has a test of its own).
        monkeypatch.setattr(trio.to_thread, "run_sync", run_here)

    async def get(
        self, source: FeedSpec, path: str, params: Params | None = None, weight: float = 1
    ) -> bytes:
        await trio.lowlevel.checkpoint()
        self.lists += 1
        if self.is_down:
            raise VenueError("the list is not to be had")
        return json.dumps(self.listed).encode()

    async def post(
        self, source: FeedSpec, path: str, params: Params | None = None, weight: float = 1
    ) -> bytes:
        raise AssertionError(path)

    async def _dial(self, _url: str, _proxy_url: str | None) -> tuple[trio.abc.Stream, str, str]:
        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(self._serve, theirs)
        await trio.lowlevel.checkpoint()
        return ours, "127.0.0.1", "/ws"

    async def _serve(self, stream: trio.abc.Stream) -> None:
        async with trio.open_nursery() as nursery:
            socket = await (await wrap_server_stream(nursery, stream)).accept()
            self.lines[socket] = set()
            try:
                while True:
                    await self._answer(socket, json.loads(await socket.get_message()))
            except ConnectionClosed:
                del self.lines[socket]

    async def _answer(self, socket: WebSocketConnection, request: dict[str, Any]) -> None:
        what = "leave" if "leave" in request else "want"
        symbols = request[what]
        self.asked.append((trio.current_time(), what, symbols))
        if what == "leave":
            self.lines[socket] -= set(symbols)
            return
        for symbol in symbols:
            kind = "refused" if symbol in self.refused else "accepted"
            if kind == "accepted":
                self.lines[socket].add(symbol)
            await socket.send_message(
                tell(kind, str(request["id"]), symbols=(symbol,), text="no feed").decode()
            )

    async def trade(self, symbol: str, number: int) -> int:
        """To everybody who is subscribed; how many that were."""
        lines = [line for line, symbols in self.lines.items() if symbol in symbols]
        for line in lines:
            await line.send_message(json.dumps(binance_trade(number, symbol=symbol)))
        return len(lines)

    async def cut(self) -> None:
        for line in list(self.lines):
            await line._stream.aclose()

    async def play(
        self, run: FeedRun, script: Callable[[], Awaitable[None]], stop: trio.Event
    ) -> None:
        async with trio.open_nursery() as self._nursery:
            async with trio.open_nursery() as inner:
                inner.start_soon(run.run, note_listed)
                await script()
                stop.set()
            self._nursery.cancel_scope.cancel()


def note_listed(feed: FeedState) -> None:
    assert feed.instruments
    assert feed.connections == []


class Stage:
    """A feed on that venue."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        *symbols: str,
        config: FeedConfig | None = None,
        **spec: Any,
    ) -> None:
        how = subscribe(is_atomic=False, leave_text='{"id":{id},"leave":[{args}]}')
        facts: dict[str, Any] = {
            "keepalive": CALM, "subscribe": how,
            "instruments": ListRequest(path="/list", read=read_list),
        }  # fmt: skip
        self.venue = Venue(monkeypatch, *symbols)
        self.rig = Rig(feed_spec(**facts | spec), [])
        self.feed = self.rig.feed
        self.stop = trio.Event()
        self.run = FeedRun(
            self.feed, config or FeedConfig(), self.venue,
            ConnectPacer(0), random.Random(1), self.stop, lambda: (None, None),
        )  # fmt: skip

    async def play(self, script: Callable[[], Awaitable[None]]) -> None:
        await self.venue.play(self.run, script, self.stop)
        assert self.feed.state == "stopped"

    def holes(self) -> list[tuple[str, str, bool]]:
        return [(gap.symbol, gap.cause, gap.to_ns > 0) for gap in self.rig.side.ledger]


async def test_subscribed_is_wanted_and_a_stop_ends_all(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    stage = Stage(monkeypatch, *names(250))

    async def script() -> None:
        await trio.sleep(30)
        assert stage.feed.state == "running"
        assert (stage.feed.subscribed, stage.feed.wanted) == (250, 250)
        assert len(stage.venue.lines) == 3

    await stage.play(script)
    assert stage.venue.lines == {}
    assert stage.holes() == []
    assert len(stage.rig.side.states) == 250


async def test_a_new_instrument_is_subscribed_with_the_next_list(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    stage = Stage(monkeypatch, *names(3))

    async def script() -> None:
        await trio.sleep(15)
        stage.venue.listed["NEWUSDT"] = {"status": "prelaunch"}
        await trio.sleep(LIST_S_MIN + 1)
        assert stage.feed.subscribed == stage.feed.wanted == 4
        assert await stage.venue.trade("NEWUSDT", 1) == 1
        stage.venue.listed["NEWUSDT"] = {"status": "trading"}
        stage.venue.listed["LATEUSDT"] = {"status": "trading"}
        await trio.sleep(LIST_S_MIN + 1)
        assert await stage.venue.trade("LATEUSDT", 7) == 1
        await trio.sleep(1)

    await stage.play(script)
    assert stage.rig.rows() == [("NEWUSDT", "1"), ("LATEUSDT", "7")]
    assert len(stage.venue.asked) == 3  # on the connection that had room
    # What traded when it was first listed was missed since the list before, and what was about to
    # may have begun before the venue took the subscription.
    assert stage.holes() == [
        ("NEWUSDT", "late_subscription", True),
        ("LATEUSDT", "late_subscription", True),
    ]
    for gap in stage.rig.side.ledger:
        assert 9 < (gap.to_ns - gap.from_ns - LIST_BEHIND_NS) / 1e9 < 12
    rows = [(one.instrument.symbol, one.instrument.status) for one in stage.rig.side.states[3:]]
    assert rows == [("NEWUSDT", "prelaunch"), ("NEWUSDT", "trading"), ("LATEUSDT", "trading")]


async def test_other_symbols_of_the_settings_come_with_the_next_list_and_cut_nothing(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    stage = Stage(
        monkeypatch, "AAUSDT", "BBUSDT", config=FeedConfig(symbols=("AA*",), redundancy=1)
    )

    async def script() -> None:
        await trio.sleep(15)
        before = set(stage.venue.lines)
        assert stage.feed.subscribed == 1
        stage.run.use(FeedConfig(symbols=("BB*",), redundancy=2, connections_max=7))
        await trio.sleep(LIST_S_MIN + 1)
        assert stage.feed.subscribed == stage.feed.wanted == 2
        assert set(stage.venue.lines) == before
        assert [await stage.venue.trade(name, 1) for name in ("AAUSDT", "BBUSDT")] == [1, 1]

    await stage.play(script)
    assert {cause for _, cause, _ in stage.holes()} <= {"late_subscription"}


async def test_new_ones_without_room_get_a_connection_of_their_own(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    stage = Stage(monkeypatch, *names(3), symbols_per_connection=2)

    async def script() -> None:
        await trio.sleep(15)
        assert len(stage.venue.lines) == 2
        stage.venue.listed |= {f"N{number}USDT": {"status": "trading"} for number in range(4)}
        await trio.sleep(12)
        assert (stage.feed.subscribed, stage.feed.wanted) == (7, 7)
        assert sorted(len(symbols) for symbols in stage.venue.lines.values()) == [1, 2, 2, 2]

    await stage.play(script)


async def test_two_connections_per_symbol_for_new_ones_too(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    stage = Stage(monkeypatch, *names(2), config=FeedConfig(redundancy=2))

    async def script() -> None:
        await trio.sleep(15)
        stage.venue.listed["NEWUSDT"] = {"status": "prelaunch"}
        await trio.sleep(12)
        assert await stage.venue.trade("NEWUSDT", 1) == 2
        assert await stage.venue.trade("C0USDT", 1) == 2
        await trio.sleep(1)
        assert stage.feed.subscribed == stage.feed.wanted == 3
        # One of the two ends: no hole.
        await next(iter(stage.venue.lines))._stream.aclose()
        await trio.sleep(20)

    await stage.play(script)
    # Only of the time before it was subscribed; the end of one connection of two opens none.
    assert stage.holes() == [("NEWUSDT", "late_subscription", True)]
    assert sorted(stage.rig.rows()) == [("C0USDT", "1"), ("NEWUSDT", "1")]


async def test_r12_one_of_a_limited_number_of_connections_stays_free(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    stage = Stage(
        monkeypatch, *names(9), symbols_per_connection=2, config=FeedConfig(connections_max=4)
    )

    async def script() -> None:
        await trio.sleep(15)
        assert len(stage.venue.lines) == 3
        assert (stage.feed.subscribed, stage.feed.wanted) == (6, 6)
        assert len(stage.feed.left_out) == 3
        for line in list(stage.venue.lines):
            await line.send_message(tell("planned_end", text="upgrade", within=60).decode())
            await trio.sleep(0.5)
            assert len(stage.venue.lines) == 4
            await trio.sleep(10)
            assert len(stage.venue.lines) == 3
        stage.venue.listed["NEWUSDT"] = {"status": "trading"}
        await trio.sleep(12)
        assert len(stage.feed.left_out) == 4
        assert len(stage.venue.lines) == 3

    await stage.play(script)
    assert stage.holes() == []
    assert stage.feed.replacements == 3


async def test_gone_ones_are_left_after_their_last_trade_and_make_room(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    stage = Stage(
        monkeypatch, *names(3), symbols_per_connection=2, config=FeedConfig(connections_max=1)
    )

    async def script() -> None:
        await trio.sleep(15)
        assert [one.symbol for one in stage.feed.left_out] == ["C2USDT"]
        del stage.venue.listed["C0USDT"]
        for number in range(1, 11):
            await trio.sleep(100)
            assert await stage.venue.trade("C0USDT", number) == 1  # it trades on
        await trio.sleep(GONE_QUIET_S + 40)
        assert await stage.venue.trade("C0USDT", 11) == 0
        assert stage.feed.coverage.wanted == {"C1USDT", "C2USDT"}
        assert stage.feed.subscribed == 2
        assert stage.feed.left_out == []

    await stage.play(script)
    assert [number for _, number in stage.rig.rows()] == [str(one) for one in range(1, 11)]
    assert ("C0USDT", "ended") in [
        (one.instrument.symbol, one.instrument.status) for one in stage.rig.side.states
    ]  # fmt: skip


@pytest.mark.parametrize("list_is_first", [False, True])  # to say that it trades
@pytest.mark.parametrize("status", ["prelaunch", "halted"])  # new, and not trading, is about to
async def test_a_venue_that_refuses_before_the_first_trade_is_asked_until_it_takes_it(
    status: str, list_is_first: bool, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    stage = Stage(monkeypatch, *names(2), prelaunch_has_feed=False)

    async def script() -> None:
        await trio.sleep(15)
        stage.venue.listed["NEWUSDT"] = {"status": status}
        stage.venue.refused.add("NEWUSDT")
        await trio.sleep(60)
        assert (stage.feed.subscribed, stage.feed.wanted) == (2, 2)  # it is not missing yet
        if list_is_first:
            stage.venue.listed["NEWUSDT"] = {"status": "trading"}
            await trio.sleep(LIST_S_MIN + 1)
        stage.venue.refused.clear()
        await trio.sleep(EARLY_RETRY_S + 1)
        assert await stage.venue.trade("NEWUSDT", 1) == 1
        stage.venue.listed["NEWUSDT"] = {"status": "trading"}
        await trio.sleep(12)
        assert (stage.feed.subscribed, stage.feed.wanted) == (3, 3)

    with capture_logs() as logs:
        await stage.play(script)
    # Between the last refusal and the acceptance it may have traded.
    cause = "refused" if list_is_first else "late_subscription"
    assert stage.holes() == [("NEWUSDT", cause, True)]
    (gap,) = stage.rig.side.ledger
    late_s = LIST_S_MIN + 1 if list_is_first else 0.0
    assert gap.to_ns - gap.from_ns <= (late_s + EARLY_RETRY_S + 1) * 1e9 + PROOF_LAG_NS
    assert sum(line["event"] == "symbol_refused" for line in logs) == 1


async def test_a_refused_symbol_that_trades_is_a_hole_and_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    stage = Stage(monkeypatch, *names(2))
    stage.venue.refused.add("C1USDT")

    async def script() -> None:
        await trio.sleep(15)
        assert (stage.feed.subscribed, stage.feed.wanted) == (1, 2)
        assert stage.holes() == [("C1USDT", "refused", False)]
        stage.venue.refused.clear()
        await trio.sleep(REFUSED_RETRY_S)
        assert stage.feed.subscribed == 2

    await stage.play(script)
    assert stage.holes() == [("C1USDT", "refused", True)]


async def test_r13_rows_count_by_the_new_value_from_the_list_that_has_it(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    stage = Stage(monkeypatch, "AUSDT")
    stage.venue.listed["AUSDT"]["contract_value"] = "0.01"
    quantities: list[float] = []

    async def script() -> None:
        await trio.sleep(15)
        await stage.venue.trade("AUSDT", 1)
        stage.venue.listed["AUSDT"]["contract_value"] = "0.1"
        await trio.sleep(12)
        await stage.venue.trade("AUSDT", 2)
        await trio.sleep(1)

    await stage.play(script)
    quantities = [float(fields["quantity"]) for fields in stage.rig.fields()]
    assert quantities[1] == pytest.approx(10 * quantities[0])
    (gap,) = stage.rig.side.ledger
    assert (gap.cause, gap.symbol) == ("contract_value", "AUSDT")
    assert gap.reason == "0.01 -> 0.1, price exponent 0 -> 0"
    assert 9 < (gap.to_ns - gap.from_ns) / 1e9 < 11


async def test_r21_a_list_that_fails_or_shrinks_costs_nobody_a_subscription(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    stage = Stage(monkeypatch, *names(100))

    async def script() -> None:
        await trio.sleep(15)
        whole = dict(stage.venue.listed)
        stage.venue.is_down = True
        await trio.sleep(60)
        stage.venue.is_down = False
        stage.venue.listed = dict(list(whole.items())[:50])
        lists = stage.venue.lists
        while stage.venue.lists == lists:  # noqa: ASYNC110 - a list is not announced
            await trio.sleep(1)
        stage.venue.listed = whole
        await trio.sleep(2 * GONE_QUIET_S)
        assert stage.feed.subscribed == stage.feed.wanted == 100

    with capture_logs() as logs:
        await stage.play(script)
    assert [what for _, what, _ in stage.venue.asked if what == "leave"] == []
    assert any(line["event"] == "list_shrank" for line in logs)


async def test_without_a_list_nothing_begins_and_a_stop_ends_it(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    stage = Stage(monkeypatch)

    async def script() -> None:
        await trio.sleep(100)
        assert stage.feed.state == "failing"
        assert "no instrument" in stage.feed.error
        stage.venue.is_down = True
        await trio.sleep(100)
        assert "not to be had" in stage.feed.error

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.run.run, note_listed)
        await script()
        stage.stop.set()
    assert stage.venue.lists > 10


def test_lists_are_asked_for_as_often_as_the_budget_allows() -> None:
    for spec in FEEDS:
        for requests in (1, 3, 100):
            interval_s = poll_interval_s(spec, requests)
            assert LIST_S_MIN <= interval_s <= LIST_S_MAX
        share = spec.instruments.weight / poll_interval_s(spec, 1)
        assert share <= 0.1 * spec.rest_allowance.units / spec.rest_allowance.per_s, spec.name


async def test_what_begins_to_trade_between_the_list_and_the_subscription_is_a_hole(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """The list calls it prelaunch; the venue takes it at once (drill newborn, seed 23)."""
    stage = Stage(monkeypatch, *names(2), prelaunch_has_feed=False)

    async def script() -> None:
        await trio.sleep(15)
        stage.venue.listed["NEWUSDT"] = {"status": "prelaunch"}
        await trio.sleep(30)

    await stage.play(script)
    assert stage.holes() == [("NEWUSDT", "late_subscription", True)]
