"""A recording played back as the venues and the notice board, at the pace of its receive times."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import trio

from pumpwatch.clock import Clock
from pumpwatch.sim.boards import BOARDS, LISTING_CATEGORY, Boards
from pumpwatch.sim.exchange import VENUES, Exchange
from pumpwatch.sim.market import Market
from pumpwatch.sim.notices import opening_body, socket_text
from pumpwatch.sim.replay_market import ReplayMarket
from pumpwatch.sim.settings import SimSettings
from pumpwatch.sim.told import ToldInstrument, ToldMessage, ToldNotice, ToldTrade
from pumpwatch.sim.venue import Answer, Request, Venue, json_answer

SECOND_NS = 10**9
QUIET_COINS = 2  # of each venue's own: BTC and ETH are in its lists, and do not trade
FORGET_EVERY_S = 1.0
BEHIND_POLL_S = 0.005
MARKETS_SUFFIX = "_markets"  # a coin that was first seen in a board's list of markets

Item = ToldMessage | ToldNotice


class ReplayClock:
    """The recording's time: it stands until the first thing is told, and runs with the pace."""

    def __init__(self, first_ns: int) -> None:
        self.now_ns = first_ns
        self._ran_s: float | None = None
        self._speed = 0.0

    def wall_ns(self) -> int:
        """Nanoseconds since 1970 UTC."""
        if self._ran_s is None:
            return self.now_ns
        return self.now_ns + int((trio.current_time() - self._ran_s) * self._speed * SECOND_NS)

    def run_from(self, now_ns: int, speed: float) -> None:
        """It is this moment, and time goes on."""
        self.now_ns, self._ran_s, self._speed = now_ns, trio.current_time(), speed


class ReplayExchange(Exchange):
    """The twelve venues and both boards of one recording.

    ``speed``: 1 is real time; 0 as fast as the readers take it. It begins when for ``wait_s``
    nothing more was subscribed, or at ``POST /control/start``. ``to_now``: every time is moved by
    whole seconds so that the first thing is told now, for readers who judge age.
    """

    def __init__(
        self, settings: SimSettings, clock: Clock, instruments: Sequence[ToldInstrument],
        items: Sequence[Item], *, speed: float, wait_s: float, to_now: bool = False,
    ) -> None:  # fmt: skip
        self._instruments = instruments
        super().__init__(settings, clock)
        self.items = items
        self.speed = speed
        self.wait_s = wait_s
        self.to_now = to_now
        self.offset_ns = 0
        self.told_trades = 0
        self.told_frames = {"recorded": 0, "rebuilt": 0}
        self.told_notices = 0
        self.finished = trio.Event()
        self._asked = trio.Event()
        self._subscribed_s = 0.0
        first_ns = items[0].at_ns if items else clock.wall_ns()
        self.board_clock = ReplayClock(clock.wall_ns() if to_now else first_ns)
        self.boards = Boards(
            self.board_clock, random.Random(settings.seed), limits=settings.rest_limits,
            time_scale=settings.time_scale,
        )  # fmt: skip
        coins = {item.coin for item in items if isinstance(item, ToldNotice)}
        for name, markets in self.boards.markets.items():
            self.boards.markets[name] = [one for one in markets if one.split("-")[1] not in coins]

    def market_of(self, venue: Venue, number: int) -> Market:
        """Nothing is traded but what was recorded."""
        return ReplayMarket(venue, self.settings.seed, number, self._instruments)

    def somebody_subscribed(self) -> None:
        """The beginning waits a little for more."""
        self._subscribed_s = trio.current_time()
        super().somebody_subscribed()

    async def control(self, request: Request) -> Answer:
        """Also ``POST /control/start``, ``GET /control/replay``."""
        match request.method, request.path:
            case "POST", "/start":
                self._asked.set()
                self.engine.somebody_subscribed()
                return json_answer(self.progress())
            case "GET", "/replay":
                return json_answer(self.progress())
        return await super().control(request)

    def progress(self) -> dict[str, Any]:
        """How far it is."""
        return {
            "has_begun": self.engine.started_s is not None, "is_over": self.finished.is_set(),
            "speed": self.speed or "max", "moved_ns": self.offset_ns,
            "told": {"trades": self.told_trades, "notices": self.told_notices},
            "frames": self.told_frames,
        }  # fmt: skip

    # --- playing ----------------------------------------------------------------------------------

    async def play(self) -> None:
        """Tell everything once; the venues stay open behind it."""
        await self._wait_for_readers()
        started_s = self.engine.started_s = trio.current_time()
        if self.items:
            first_ns = self.items[0].at_ns
            if self.to_now:
                ahead_s = (self._clock.wall_ns() - first_ns) // SECOND_NS
                self.offset_ns = ahead_s * SECOND_NS
            self.board_clock.run_from(first_ns + self.offset_ns, self.speed)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._forget_often)
                for item in self.items:
                    await self._wait_until(started_s, item.at_ns - first_ns)
                    await self._tell(item)
                nursery.cancel_scope.cancel()
        self.finished.set()

    async def _wait_for_readers(self) -> None:
        await self.engine.subscribed.wait()
        while not self._asked.is_set():
            seen_s = self._subscribed_s
            with trio.move_on_at(seen_s + self.wait_s):
                await self._asked.wait()
            if self._subscribed_s == seen_s:
                return

    async def _wait_until(self, started_s: float, after_ns: int) -> None:
        if self.speed:
            await trio.sleep_until(started_s + after_ns / SECOND_NS / self.speed)
            return
        await trio.lowlevel.checkpoint()
        while any(map(is_behind, self.markets)):  # noqa: ASYNC110 - a socket has no such event
            await trio.sleep(BEHIND_POLL_S)

    async def _forget_often(self) -> None:
        """What everybody has is not kept twice."""
        while True:
            await trio.sleep(FORGET_EVERY_S)
            self.truth.flush()

    async def _tell(self, item: Item) -> None:
        if not self.speed:
            self.board_clock.run_from(item.at_ns + self.offset_ns, 0.0)
        if isinstance(item, ToldNotice):
            self.told_notices += 1
            await self._announce(item)
            return
        if self.offset_ns:  # recorded texts have the times of then
            item = ToldMessage([one.moved(self.offset_ns) for one in item.rows])
        self.told_trades += len(item.rows)
        self.told_frames["recorded" if item.text else "rebuilt"] += 1
        market = self.venues[item.rows[0].feed].market
        assert isinstance(market, ReplayMarket)
        market.tell(item)

    async def _announce(self, told: ToldNotice) -> None:
        """As the board showed it; it keeps its number."""
        name = told.source.removesuffix(MARKETS_SUFFIX)
        if name != told.source:
            self.boards.markets[name].append(f"KRW-{told.coin}")
            return
        body = ""
        if told.opening_ns:
            body = opening_body((told.coin,), told.opening_ns + self.offset_ns)
        posted = self.boards.boards[name].publish(
            told.title,
            LISTING_CATEGORY[name],
            told.announced_ns + self.offset_ns,
            symbols=(told.coin,),
            body=body,
        )
        if told.notice_id.isdecimal():
            posted.number = int(told.notice_id)
        if name == "upbit":
            text = socket_text(posted, told.at_ns + self.offset_ns, is_created=True)
            await self.boards.sockets.tell(text)


def is_behind(market: Market) -> bool:
    """A reader of it is far behind."""
    return isinstance(market, ReplayMarket) and market.is_behind


def items_of(
    trades: Iterable[ToldTrade], notice: ToldNotice | None, recorded: Sequence[ToldMessage] = ()
) -> list[Item]:
    """What is told when: messages as the venues made them, and the notice between them.

    ``trades`` in receive order; those of the ``recorded`` messages are told by them.
    """
    is_told = {row for message in recorded for row in message.rows}
    items: list[Item] = [*recorded, *_messages(row for row in trades if row not in is_told)]
    boards = {*BOARDS, *(f"{name}{MARKETS_SUFFIX}" for name in BOARDS)}
    if notice is not None and notice.source in boards:
        items.append(notice)
    items.sort(key=lambda item: item.at_ns)  # stable
    return items


def _messages(trades: Iterable[ToldTrade]) -> Iterator[ToldMessage]:
    """Made anew: rows that came in one message have one receive time.

    Where a message of several trades has a number, they have that, too.
    """

    def message(told: ToldTrade) -> tuple[Any, ...]:
        flow = VENUES[told.feed].flow
        number = told.sequence_number if flow.sequences == "message" else 0
        return told.at_ns, told.feed, told.venue_symbol, number

    for _, group in groupby(trades, message):
        rows = list(group)
        most = VENUES[rows[0].feed].flow.rows_max
        for at in range(0, len(rows), most):
            yield ToldMessage(rows[at : at + most])
