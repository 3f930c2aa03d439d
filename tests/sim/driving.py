"""Drives the simulator in tests: on a virtual clock, without sockets, with a stock client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import trio
from trio.testing import memory_stream_pair
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from pumpwatch.sim.exchange import Exchange
from pumpwatch.sim.instruments import Instrument
from pumpwatch.sim.settings import SimSettings
from pumpwatch.sim.truth import load_truth
from pumpwatch.sim.venue import Request, Session, Upgrade

SECOND_NS = 10**9
START_NS = 1_790_000_000 * SECOND_NS + 123_456_789
SYMBOLS = 12
OKX_CONNECT_PAUSE_S = 1.0
BYBIT_SPOT_ARGS = 10
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: sim.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class VirtualClock:
    """Wall time that runs with trio's."""

    def __init__(self, start_ns: int = START_NS) -> None:
        self.start_ns = start_ns
        self._start_s: float | None = None

    def wall_ns(self) -> int:
        now_s = trio.current_time()
        if self._start_s is None:
            self._start_s = now_s
        return self.start_ns + round((now_s - self._start_s) * SECOND_NS)


class StandingClock:
    """Wall time that is told, for sessions without trio."""

    def __init__(self) -> None:
        self.ns = START_NS

    def wall_ns(self) -> int:
        return self.ns


class Client:
    """One connection, every text that came, and when."""

    def __init__(self, stage: Stage, feed: str, socket: WebSocketConnection) -> None:
        self.stage = stage
        self.feed = feed
        self.socket = socket
        self.texts: list[str] = []
        self.came_s: list[float] = []
        self.closed = trio.Event()

    async def run(self) -> None:
        """Read until the connection ends."""
        try:
            while True:
                text = await self.socket.get_message()
                assert isinstance(text, str)
                self.texts.append(text)
                self.came_s.append(trio.current_time())
        except ConnectionClosed:
            self.closed.set()

    async def say(self, *documents: Any) -> None:
        for one in documents:
            text = one if isinstance(one, str) else json.dumps(one, ensure_ascii=False)
            await self.socket.send_message(text)

    async def subscribe(self, names: Sequence[str]) -> None:
        clock_s = self.stage.clock.wall_ns() // SECOND_NS
        await self.say(*subscriptions(self.feed, names, clock_s))


class Stage:
    """A simulator without sockets."""

    def __init__(
        self, exchange: Exchange, clock: VirtualClock, nursery: trio.Nursery, folder: Path | None
    ) -> None:
        self.exchange = exchange
        self.clock = clock
        self.urls = exchange.listen_at("sim.test", 80)
        self._nursery = nursery
        self._folder = folder

    async def connect(
        self, feed: str, *, path: str = "", headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> Client:
        """A stock trio-websocket client on memory streams."""
        parts = urlsplit(path or self.urls[feed]["websocket_url"])
        resource = f"/{feed}{path}" if path else parts.path
        if feed.startswith("kucoin") and "token=" not in resource:
            resource += f"?token={self.token(feed)}&connectId=c1"
        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(self.exchange.serve, theirs)
        socket = await wrap_client_stream(
            self._nursery, ours, "sim.test", resource, extra_headers=list(headers),
            message_queue_size=1_000_000,
        )  # fmt: skip
        client = Client(self, feed, socket)
        self._nursery.start_soon(client.run)
        return client

    def token(self, feed: str) -> str:
        document = self.get(feed, "/api/v1/bullet-public", method="POST")
        return str(document["data"]["token"])

    def get(self, feed: str, path: str, *, method: str = "GET", **query: Any) -> Any:
        status, document = ask(self.exchange, feed, path, trio.current_time(), method, **query)
        assert status == 200, document
        return document

    def tradable(self, feed: str) -> list[str]:
        """Venue symbols that trade, against whatever quote."""
        return tradable(self.exchange, feed)

    async def trade(self, seconds: float) -> None:
        await self.exchange.run(seconds)
        await self.exchange.drain()

    def truth(self, *, everything: bool = False) -> pl.DataFrame:
        """What the simulator says that clients got; only when all connections are closed."""
        assert self._folder is not None
        assert not self.exchange.connections
        self.exchange.truth.flush()
        return load_truth(self._folder, everything=everything)

    async def close(self) -> None:
        await self.exchange.close()


@asynccontextmanager
async def simulator(
    settings: SimSettings, folder: Path | None = None, start_ns: int = START_NS
) -> AsyncIterator[Stage]:
    """The simulator for a while; its seed is printed."""
    print(f"seed {settings.seed}")
    clock = VirtualClock(start_ns)
    async with trio.open_nursery() as nursery:
        clock.wall_ns()
        yield Stage(Exchange(settings, clock, folder), clock, nursery, folder)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def traded(
    feed: str, seconds: float, *, symbols: int = 1, rate_per_s: float = 30.0
) -> AsyncIterator[tuple[Stage, str]]:
    """A venue after some seconds of trading, and the symbol to which somebody listens."""
    settings = SimSettings(feeds=(feed,), symbols=symbols, recorded=False, rate_per_s=rate_per_s)
    async with simulator(settings) as stage:
        symbol = stage.tradable(feed)[0]
        client = await stage.connect(feed, headers=[(b"x-gate-size-decimal", b"1")])
        await client.subscribe([symbol])
        await trio.sleep(0.1)
        await stage.trade(seconds)
        yield stage, symbol


def ask(
    exchange: Exchange, feed: str, path: str, now_s: float, method: str = "GET", **query: Any
) -> tuple[int, Any]:
    """A REST request without sockets: status and document. ``headers`` may be among the query."""
    headers = query.pop("headers", {})
    texts = {name.rstrip("_"): str(value) for name, value in query.items()}
    answer = exchange.venues[feed].answer(Request(method, path, texts, headers), now_s)
    return answer.status, json.loads(answer.body)


def tradable(exchange: Exchange, feed: str) -> list[str]:
    instruments: list[Instrument] = exchange.venues[feed].market.instruments
    return [one.venue_symbol for one in instruments if one.status == "trading"]


def open_session(exchange: Exchange, feed: str, path: str = "", **query: str) -> Session:
    """A session without a socket."""
    venue = exchange.venues[feed]
    session = venue.open_session(Upgrade(path or venue.websocket_path, query, {}), 0.0)
    assert isinstance(session, Session)
    return session


def subscriptions(feed: str, names: Sequence[str], clock_s: int) -> Iterator[dict[str, Any]]:
    """What a client says to get these symbols, as FEEDS.md has it, within the venue's limits."""
    size = BYBIT_SPOT_ARGS if feed == "bybit_spot" else 100
    for at in range(0, len(names), size):
        some = list(names[at : at + size])
        match feed.split("_"):
            case "binance", _:
                streams = [f"{name.lower()}@trade" for name in some]
                yield {"method": "SUBSCRIBE", "params": streams, "id": at + 1}
            case "bybit", _:
                args = [f"publicTrade.{name}" for name in some]
                yield {"req_id": str(at + 1), "op": "subscribe", "args": args}
            case "okx", _:
                pairs = [{"channel": "trades-all", "instId": name} for name in some]
                yield {"id": str(at + 1), "op": "subscribe", "args": pairs}
            case "kucoin", kind:
                topic = "/market/match:" if kind == "spot" else "/contractMarket/execution:"
                yield {"id": str(at + 1), "type": "subscribe", "topic": topic + ",".join(some),
                       "privateChannel": False, "response": True}  # fmt: skip
            case "gate", kind:
                yield {"time": clock_s, "id": at + 1, "channel": f"{kind}.trades",
                       "event": "subscribe", "payload": some}  # fmt: skip
            case _, kind:
                method = "trade.subscribe" if kind == "spot" else "trade_p.subscribe"
                yield {"id": at + 1, "method": method, "params": some}


def contract_values(stage: Stage, feed: str) -> dict[str, Decimal]:
    """Base coins per unit of quantity, by the venue's own instrument list; 1 where it has none."""
    if feed == "okx_futures":
        rows = stage.get(feed, "/api/v5/public/instruments", instType="SWAP")["data"]
        return {
            row["instId"]: Decimal(row["ctVal"]) * Decimal(row["ctMult"])
            for row in rows
            if row["ctType"] == "linear"
        }
    if feed == "kucoin_futures":
        rows = stage.get(feed, "/api/v1/contracts/active")["data"]
        return {
            row["symbol"]: Decimal(repr(row["multiplier"])) for row in rows if not row["isInverse"]
        }
    if feed == "gate_futures":
        rows = stage.get(feed, "/api/v4/futures/usdt/contracts")
        return {row["name"]: Decimal(row["quanto_multiplier"]) for row in rows}
    scale = Decimal("1e-8") if feed == "phemex_spot" else Decimal(1)
    return dict.fromkeys(stage.tradable(feed), scale)


def plain(number: Decimal) -> str:
    """Digits without exponent and trailing zeros."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
