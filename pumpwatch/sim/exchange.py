"""All simulated feeds together, and what a request for one of them leads to."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Any

import trio

from pumpwatch.clock import Clock
from pumpwatch.errors import UsageError
from pumpwatch.sim.archives import PREFIX as ARCHIVES
from pumpwatch.sim.archives import archive_answer
from pumpwatch.sim.binance import BinanceFutures, BinanceSpot
from pumpwatch.sim.boards import BOARDS, Boards
from pumpwatch.sim.bybit import BybitFutures, BybitSpot
from pumpwatch.sim.connection import Connection
from pumpwatch.sim.engine import Engine
from pumpwatch.sim.faults import Fault, read_plan
from pumpwatch.sim.gate import GateFutures, GateSpot
from pumpwatch.sim.kucoin import KucoinFutures, KucoinSpot
from pumpwatch.sim.market import Market
from pumpwatch.sim.okx import OkxFutures, OkxSpot
from pumpwatch.sim.phemex import PhemexFutures, PhemexSpot
from pumpwatch.sim.player import FaultPlayer
from pumpwatch.sim.server import MALFORMED, serve_client
from pumpwatch.sim.settings import SimSettings
from pumpwatch.sim.truth import TruthLog
from pumpwatch.sim.venue import NOT_FOUND, Answer, Budget, Request, Upgrade, Venue, json_answer

VENUES: dict[str, type[Venue]] = {
    one.name: one
    for one in (
        BinanceSpot, BinanceFutures, BybitSpot, BybitFutures, OkxSpot, OkxFutures,
        KucoinSpot, KucoinFutures, GateSpot, GateFutures, PhemexSpot, PhemexFutures,
    )
}  # fmt: skip
FLUSH_EVERY_S = 1.0
DRAIN_S = 10.0  # for what is on its way when trading stops


class Exchange:
    """The venues of one run: serve clients with ``serve``, trade with ``run``."""

    def __init__(self, settings: SimSettings, clock: Clock, truth_dir: Path | None = None) -> None:
        self.settings = settings
        self.venues: dict[str, Venue] = {}
        self.connections: dict[int, Connection] = {}
        self.stopping = trio.Event()
        self._clock = clock
        self._connections_made = 0
        self._left = trio.Event()  # a connection is gone
        for number, name in enumerate(VENUES):
            if settings.has(name):
                rng = random.Random(settings.seed * 100 + number)
                venue = VENUES[name](settings, clock, rng)
                venue.market = self.market_of(venue, number)
                self.venues[name] = venue
        self.markets = [venue.market for venue in self.venues.values()]
        budgets: dict[str, dict[str, Budget]] = {}
        for name, venue in self.venues.items():
            venue.siblings = [
                other.market
                for other_name, other in self.venues.items()
                if other_name != name and other_name.split("_")[0] == name.split("_")[0]
            ]
            exchange = name.split("_")[0]
            venue.open_connections = partial(self._open_connections, exchange)
            venue.budgets = budgets.setdefault(exchange, {})
        self.engine = Engine(self.markets, settings, clock)
        self.boards = Boards(
            clock, random.Random(settings.seed * 100 + 99),
            limits=settings.rest_limits, time_scale=settings.time_scale,
        )  # fmt: skip
        self.truth = TruthLog(truth_dir, self.markets)
        self.faults = FaultPlayer(self.venues, self.connections, clock, truth_dir)
        self.plan: list[Fault] = []  # to be played from the first subscription on

    def market_of(self, venue: Venue, number: int) -> Market:
        """What is traded on the ``number``-th feed."""
        return Market(venue, self.settings.seed, number)

    def somebody_subscribed(self) -> None:
        """There is a reader."""
        self.engine.somebody_subscribed()

    def listen_at(self, host: str, port: int, *, tls: bool = False) -> dict[str, dict[str, str]]:
        """Tell the venues where they are; returns each feed's URLs."""
        urls = {}
        for name, venue in self.venues.items():
            venue.base_url = f"http{'s' if tls else ''}://{host}:{port}/{name}"
            venue.websocket_base_url = f"ws{'s' if tls else ''}://{host}:{port}/{name}"
            urls[name] = {
                "websocket_url": venue.websocket_base_url + venue.websocket_path,
                "rest_url": venue.base_url,
            }
        return urls

    # --- serving ----------------------------------------------------------------------------------

    async def serve(self, stream: trio.abc.Stream) -> None:
        """One client."""
        await serve_client(stream, self.answer, self._connect)

    async def _connect(
        self, name: str, stream: trio.abc.Stream, head: bytes, upgrade: Upgrade
    ) -> None:
        if name == "upbit":
            await self.boards.sockets.serve(stream, head, upgrade)
            return
        venue = self.venues.get(name)
        if venue is not None and self.faults.is_refused(name, trio.current_time()):
            return
        if venue is None:
            await stream.send_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            return
        self._connections_made += 1
        number = self._connections_made
        connection = Connection(number, venue, self._clock, self.somebody_subscribed)
        self.connections[number] = connection
        try:
            await connection.run(stream, head, upgrade, self.stopping)
        finally:
            del self.connections[number]
            self._left.set()

    async def answer(self, name: str, request: Request) -> Answer:
        """A REST request to a feed, a board or to the simulator itself."""
        if name == "control":
            return await self.control(request)
        if name in BOARDS:
            return self.boards.answer(name, request)
        venue = self.venues.get(name)
        if venue is None:
            return NOT_FOUND
        if self.faults.is_refused(name, trio.current_time()):
            raise trio.BrokenResourceError("refused")  # the connection ends without an answer
        try:
            answer = await self.faults.rest_answer(name, trio.current_time())
            if answer is None and request.path.startswith(ARCHIVES):
                answer = archive_answer(venue, request)
            answer = answer or venue.answer(request, trio.current_time())
        except ValueError:  # a number in the query that is none
            answer = MALFORMED
        venue.counts.rest[f"{request.path} {answer.status}"] += 1
        return answer

    async def control(self, request: Request) -> Answer:
        """A request to the simulator itself."""
        if request.path == "/boards":
            return self.boards.control(request)
        match request.method, request.path:
            case "GET", "/stats":
                return json_answer(self.stats())
            case "POST", "/stop":
                self.engine.stop()
                return json_answer(await self.drain())
            case "POST", "/rate":
                return self._take_rate(request)
            case "POST", "/lift":  # the body is a coin: its price rises, as on a listing
                return json_answer({"lifted": self.engine.lift(request.body.decode("ascii"))})
            case "POST", "/flush":
                return json_answer(self.truth.flush())
            case "GET", "/faults":
                return json_answer(self.faults.played)
            case "POST", "/faults":
                return self._take_faults(request)
        return NOT_FOUND

    def _take_faults(self, request: Request) -> Answer:
        try:
            plan = read_plan(request.body)
            self.faults.give(plan, trio.current_time())
        except UsageError as error:
            return json_answer({"message": str(error)}, 400)
        return json_answer({"taken": len(plan)})

    def _take_rate(self, request: Request) -> Answer:
        """Trades a second from the next tick on: the body is the number."""
        try:
            self.engine.rate_per_s = max(0.0, float(request.body))
        except ValueError:
            return json_answer({"message": "the body is a number: trades a second"}, 400)
        return json_answer({"rows_per_s": self.engine.rate_per_s})

    def _open_connections(self, exchange: str) -> int:
        """Both feeds of an exchange together."""
        return sum(
            one.venue.name.startswith(exchange) and one.session is not None
            for one in self.connections.values()
        )

    def stats(self) -> dict[str, Any]:
        """What happened so far."""
        engine = self.engine
        return {
            "seed": self.settings.seed,
            "is_trading": engine.started_s is not None and not engine.stopped.is_set(),
            "throttled_s": round(engine.throttled_s, 3),
            "feeds": {name: self._feed_stats(name, venue) for name, venue in self.venues.items()},
        }

    def _feed_stats(self, name: str, venue: Venue) -> dict[str, Any]:
        counts = venue.counts
        mine = [one for one in self.connections.values() if one.venue is venue]
        links = [one.link for one in mine if one.session is not None and one.link is not None]
        return {
            "generated": venue.market.tape.generated,
            "delivered": counts.delivered,
            "connections": len(links),
            "connects": counts.connects,
            "subscriptions": venue.market.subscriptions(),
            "messages_in": counts.messages_in,
            "backlog_bytes": sum(link.backlog_bytes for link in links),
            "refused": dict(counts.refused),
            "violations": dict(counts.violations),
            "rest": dict(counts.rest),
        }

    # --- running ----------------------------------------------------------------------------------

    async def run(self, seconds: float | None = None) -> None:
        """Trade until stopped, writing the truth as it goes."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._flush_often)
            nursery.start_soon(self._play_plan)
            await self.engine.run(seconds)
            nursery.cancel_scope.cancel()

    async def _play_plan(self) -> None:
        await self.engine.subscribed.wait()
        self.faults.give(self.plan, trio.current_time())

    async def _flush_often(self) -> None:
        while True:
            await trio.sleep(FLUSH_EVERY_S)
            self.truth.flush()

    async def drain(self) -> dict[str, int]:
        """After trading: wait until all is delivered or given up, and write it."""
        written = 0
        with trio.move_on_after(DRAIN_S):
            while True:
                found = self.truth.flush()
                written += found["written"]
                if not found["waiting"]:
                    break
                await trio.sleep(0.02)
        return {"written": written, "waiting": self.truth.flush()["waiting"]}

    async def close(self) -> None:
        """Close every connection in order; when all are gone, ``truth.flush`` writes the rest."""
        self.engine.stop()
        self.stopping.set()
        for one in self.connections.values():
            one.resume()
        with trio.move_on_after(DRAIN_S):
            while self.connections:
                self._left = trio.Event()
                await self._left.wait()
