"""Binance spot and USD-M futures (FEEDS.md, sections 2 and 3)."""

from __future__ import annotations

import json
import random
import re
from typing import Any, Self

from pumpwatch.sim.digits import fixed, taken_apart
from pumpwatch.sim.frames import EVENT_MS, MS, NUMBER
from pumpwatch.sim.generate import Flow
from pumpwatch.sim.instruments import (
    CJK_COIN,
    Entry,
    Instrument,
    coin_names,
    coin_price,
    price_decimals,
    quantity_decimals,
)
from pumpwatch.sim.tape import Trade
from pumpwatch.sim.venue import (
    NOT_FOUND,
    Action,
    Answer,
    Budget,
    End,
    Keepalive,
    Recorded,
    RecordedRow,
    Refuse,
    Request,
    Send,
    Session,
    Upgrade,
    Venue,
    json_answer,
    read_object,
    texts_of,
)

STREAMS_MAX = 1024
RAW, WRAPPED, AGGREGATED = "raw", "wrapped", "aggregated"
SPOT_DECIMALS = 8
RETRY_AFTER_S = 10
WEIGHT_WINDOW_S = 60.0
CONNECTS_MAX, CONNECTS_WINDOW_S = 300, 300.0
LIFE_S = 86_400.0
FUTURES_TRADE_ROUTE = "/public/"


def _error(code: int, text: str, request_id: Any) -> Send:
    return Send(json.dumps({"error": {"code": code, "msg": text}, "id": request_id},
                           separators=(",", ":")))  # fmt: skip


class BinanceSession(Session):
    """Subscriptions to ``@trade`` streams; too many frames a second end the connection."""

    def __init__(
        self, venue: Binance, dialect: str, keepalive: Keepalive, *, is_silent: bool
    ) -> None:
        super().__init__(venue, dialect)
        self._market = venue.market
        self._kind = "aggTrade" if dialect == venue.witness_dialect else "trade"
        self.keepalive = keepalive
        self._is_silent = is_silent  # the wrong route: acks, but no trade ever
        self._frames = Budget(venue.frames_per_s, 1.0)
        self._streams: set[str] = set()
        self._first: list[str] = []

    def with_streams(self, names: list[str]) -> Self:
        """The same with streams that the URL names."""
        self._first = names
        return self

    def opened(self, now_s: float) -> list[Action]:
        """The streams of the URL are not acknowledged."""
        return self.subscribe(self._first)

    def frame_came(self, opcode: int, now_s: float) -> list[Action]:
        """Pings and pongs count as messages too."""
        if self._frames.take(now_s):
            return []
        return [End(1008, "Too many requests", "too many frames")]

    def received(self, text: str, now_s: float) -> list[Action]:
        """SUBSCRIBE, UNSUBSCRIBE or nonsense."""
        try:
            request = json.loads(text)
        except (ValueError, RecursionError):
            return [Refuse("invalid JSON"), _error(3, "Invalid JSON: expected value", None)]
        if not isinstance(request, dict) or "method" not in request:
            return self._refused("missing field `method`", None)
        request_id, streams = request.get("id"), texts_of(request.get("params"))
        if streams is None:
            return self._refused("streams must be an array of strings", request_id)
        done = Send(json.dumps({"result": None, "id": request_id}, separators=(",", ":")))
        if request["method"] == "UNSUBSCRIBE":
            self._streams.difference_update(streams)
            return [done, *self.remove(self._named(streams))]
        if request["method"] != "SUBSCRIBE":
            return self._refused(f"unknown variant `{request['method']}`", request_id)
        return self.subscribe(streams, done)

    def refusal(self, text: str) -> list[Action]:
        """As for any request that cannot be taken."""
        request = read_object(text) or {}
        if request.get("method") != "SUBSCRIBE":
            return []
        return self._refused("too many requests in flight", request.get("id"))

    def farewell(self) -> list[str]:
        """The event of 2026-05."""
        return [f'{{"e":"serverShutdown","E":{self.venue.clock.wall_ns() // 10**6}}}']

    def subscribe(self, streams: list[str], *first: Action) -> list[Action]:
        """Add streams; unknown ones are accepted and never send."""
        if len(self._streams | set(streams)) > STREAMS_MAX:
            return [End(1008, "Too many streams", "more than 1024 streams")]
        self._streams.update(streams)
        return [*first, *self.add([] if self._is_silent else self._named(streams))]

    def _named(self, streams: list[str]) -> list[Instrument]:
        found = []
        for stream in streams:
            name, _, kind = stream.partition("@")
            instrument = self._market.by_name.get(name.upper())
            if instrument is None or instrument.status not in ("trading", "prelaunch"):
                continue
            if kind == self._kind and name == name.lower():
                found.append(instrument)
        return found

    @staticmethod
    def _refused(why: str, request_id: Any) -> list[Action]:
        return [Refuse("invalid request"), _error(2, f"Invalid request: {why}", request_id)]


class Binance(Venue):
    """What both Binance feeds share."""

    flow = Flow()
    dialects = (RAW, WRAPPED)
    has_deep_history = True
    number_pattern = re.compile(r'"t":(\d+)')
    frames_per_s: float
    rest_prefix: str
    weights: dict[str, float]
    weight_per_minute: float
    keepalive: Keepalive

    def first_numbers(self, instrument: Instrument, rng: random.Random) -> tuple[int, int]:
        """Ids of seven to ten digits; a coin listed a moment ago begins low."""
        if instrument.index % 10 == 7:
            return rng.randint(1_000, 9_000), 0
        return rng.randint(10**7, 8 * 10**9), 0

    def spell(self, text: str, dialect: str) -> str:
        """With or without the wrapper of combined streams."""
        wrapped = re.fullmatch(r'\{"stream":"[^"]*","data":(.*)\}', text)
        raw = wrapped.group(1) if wrapped else text
        if dialect == RAW:
            return raw
        return self._wrap(raw, json.loads(raw)["s"])

    @staticmethod
    def _wrap(raw: str, venue_symbol: str) -> str:
        return f'{{"stream":"{venue_symbol.lower()}@trade","data":{raw}}}'

    def read_recorded(self, text: str) -> Recorded | None:
        """Lines of ``@trade`` streams; other events belong to other streams."""
        document = json.loads(text)
        event = document.get("data", document)
        if event.get("e") != "trade":
            return None
        entry = Entry(event["m"], *taken_apart(event["p"]), *taken_apart(event["q"]))
        row = RecordedRow(event["T"] * 10**6, entry, event["t"], event["t"])
        return Recorded(text, event["s"], [row])

    def open_session(self, upgrade: Upgrade, now_s: float) -> Session | Answer:
        """``/ws`` is raw, ``/stream?streams=`` wrapped; streams may stand in the URL."""
        if not self.spend(f"{self.name} connects", CONNECTS_MAX, CONNECTS_WINDOW_S, now_s):
            return json_answer({"code": -1003, "msg": "Too many connects"}, 429)
        route, _, kind = upgrade.path.strip("/").rpartition("/")
        first = ""
        if kind not in ("ws", "stream"):  # /ws/btcusdt@trade
            route, _, name = route.rpartition("/")
            first, kind = kind, name
        if kind not in ("ws", "stream") or not self.knows_route(route):
            return NOT_FOUND
        session = BinanceSession(
            self, self.dialect_of(route, kind), self.keepalive,
            is_silent=not self.sends_trades(route) and not self.sends_aggregates(route),
        )  # fmt: skip
        named = [*first.split("/"), *upgrade.query.get("streams", "").split("/")]
        return session.with_streams([name for name in named if name])

    def knows_route(self, route: str) -> bool:
        """What may stand before /ws and /stream."""
        return route == ""

    def sends_trades(self, route: str) -> bool:
        """Whether ``@trade`` is on this route."""
        return True

    def sends_aggregates(self, route: str) -> bool:
        """Whether ``@aggTrade`` is, and nothing else of what is known here."""
        return False

    def dialect_of(self, route: str, kind: str) -> str:
        """How messages are spelled there; ``kind``: ws or stream."""
        return RAW if kind == "ws" else WRAPPED

    # --- REST

    def answer(self, request: Request, now_s: float) -> Answer:
        """Instruments, recent trades, trades by id, 24-hour figures."""
        if not request.path.startswith(self.rest_prefix):
            return NOT_FOUND
        name = request.path.removeprefix(self.rest_prefix)
        weight = self.weights.get(name)
        if weight is None:
            return NOT_FOUND
        if self.settings.rest_limits and not self.spend(
            f"{self.name} weight", self.weight_per_minute, WEIGHT_WINDOW_S, now_s, weight
        ):
            # Who goes on asking pays for it, and stays out.
            return json_answer({"code": -1003, "msg": "Too many requests"}, 429,
                               Retry_After=str(RETRY_AFTER_S))  # fmt: skip
        if name == "exchangeInfo":
            return json_answer(self.exchange_info())
        if name == "ticker/24hr":
            return json_answer([
                {"symbol": one.venue_symbol, "lastPrice": str(one.price), "volume": "1000",
                 "quoteVolume": f"{1e9 / (one.index + 1):.2f}"}
                for one in self.market.listed
            ])  # fmt: skip
        return self._trades(name, request)

    def _trades(self, name: str, request: Request) -> Answer:
        instrument = self.market.by_name.get(request.query.get("symbol", ""))
        if instrument is None:
            return json_answer({"code": -1121, "msg": "Invalid symbol."}, 400)
        if name == "historicalTrades" and refusal_of_history(self, request):
            return json_answer({"code": -2014, "msg": "API-key format invalid."}, 401)
        limit = request.number("limit", 500, 1000)
        market, symbol = self.market, instrument.index
        if name == "trades" or "fromId" not in request.query:
            trades = market.tape.recent(symbol, limit)
        else:
            known = market.tape.remembered(symbol)
            rows = known.row[known.number >= request.number("fromId", 0)]
            trades = market.tape.trades(symbol, rows[: max(limit, 0)])
        return json_answer([self.rest_row(instrument, trade) for trade in trades])

    def rest_row(self, instrument: Instrument, trade: Trade) -> dict[str, Any]:
        """One trade of a REST list."""
        entry = trade.entry
        quote = entry.price * entry.quantity
        places = entry.price_decimals + entry.quantity_decimals
        return {
            "id": trade.number,
            "price": fixed(entry.price, entry.price_decimals),
            "qty": fixed(entry.quantity, entry.quantity_decimals),
            "quoteQty": fixed(quote, places),
            "time": trade.ns // 10**6,
            "isBuyerMaker": entry.is_sell,
        }

    def exchange_info(self) -> dict[str, Any]:
        """The instrument list."""
        raise NotImplementedError


def refusal_of_history(venue: Binance, request: Request) -> bool:
    """Futures want an API key for trades by id."""
    return venue.name == "binance_futures" and not request.headers.get("x-mbx-apikey")


class BinanceSpot(Binance):
    """binance_spot."""

    name = "binance_spot"
    websocket_path = "/ws"
    frames_per_s = 5
    rest_prefix = "/api/v3/"
    weights = {"exchangeInfo": 20, "trades": 25, "historicalTrades": 25, "ticker/24hr": 80}  # noqa: RUF012
    weight_per_minute = 6000
    keepalive = Keepalive(
        server_ping_s=20.0, pong_within_s=60.0, life_s=LIFE_S, code=1008, reason=""
    )

    def instruments(self) -> list[Instrument]:
        """Coins against USDT, and pairs and states that must be filtered out."""
        found: list[Instrument] = []

        def add(coin: str, quote: str, status: Any = "trading", quote_price: float = 1.0) -> None:
            price = coin_price(coin) / quote_price
            found.append(Instrument(
                index=len(found), venue_symbol=coin + quote, base=coin, quote=quote, coin=coin,
                price=price, price_decimals=min(SPOT_DECIMALS, price_decimals(price, 8, 2)),
                quantity_decimals=quantity_decimals(price), status=status,
            ))  # fmt: skip

        for coin in coin_names(self.settings.symbols, ("SOL", CJK_COIN, "PEPE", "BTTC")):
            add(coin, "USDT")
        bitcoin = coin_price("BTC")
        add("BNB", "BTC", quote_price=bitcoin)
        add("ETH", "BTC", quote_price=bitcoin)
        add("BTC", "USDC")
        add("LUNA", "USDT", "halted")
        add("BCC", "USDT", "ended")
        return found

    def row_text(self, instrument: Instrument, entry: Entry, dialect: str) -> str:
        """Eight decimals in every number, as the venue writes them."""
        price = fixed(entry.price * 10 ** (8 - entry.price_decimals), 8)
        quantity = fixed(entry.quantity * 10 ** (8 - entry.quantity_decimals), 8)
        raw = (
            f'{{"e":"trade","E":{EVENT_MS},"s":"{instrument.venue_symbol}","t":{NUMBER},'
            f'"p":"{price}","q":"{quantity}","T":{MS},"m":{"true" if entry.is_sell else "false"},'
            f'"M":true}}'
        )
        return raw if dialect == RAW else self._wrap(raw, instrument.venue_symbol)

    def rest_row(self, instrument: Instrument, trade: Trade) -> dict[str, Any]:
        """Spot rows also say ``isBestMatch``."""
        return {**super().rest_row(instrument, trade), "isBestMatch": True}

    def exchange_info(self) -> dict[str, Any]:
        """GET /api/v3/exchangeInfo."""
        status = {"trading": "TRADING", "halted": "HALT", "ended": "BREAK", "prelaunch": "BREAK"}
        return {
            "timezone": "UTC",
            "serverTime": self.clock.wall_ns() // 10**6,
            "rateLimits": [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE",
                            "intervalNum": 1, "limit": 6000}],
            "exchangeFilters": [],
            "symbols": [
                {"symbol": one.venue_symbol, "status": status[one.status], "baseAsset": one.base,
                 "baseAssetPrecision": 8, "quoteAsset": one.quote, "quotePrecision": 8,
                 "quoteAssetPrecision": 8, "orderTypes": ["LIMIT", "MARKET"],
                 "isSpotTradingAllowed": True, "isMarginTradingAllowed": False,
                 "filters": [{"filterType": "PRICE_FILTER",
                              "tickSize": fixed(1, one.price_decimals)}],
                 "permissions": ["SPOT"]}
                for one in self.market.listed
            ],
        }  # fmt: skip


class BinanceFutures(Binance):
    """binance_futures; ``@trade`` only comes on the /public route."""

    name = "binance_futures"
    websocket_path = "/public/ws"
    styles = 3
    witness_dialect = AGGREGATED
    kind_styles = {"insurance": 1, "adl": 2}  # noqa: RUF012
    frames_per_s = 10
    rest_prefix = "/fapi/v1/"
    weights = {"exchangeInfo": 1, "trades": 5, "historicalTrades": 200, "ticker/24hr": 40}  # noqa: RUF012
    weight_per_minute = 2400
    keepalive = Keepalive(
        server_ping_s=180.0, pong_within_s=600.0, life_s=LIFE_S, code=1008, reason=""
    )

    def instruments(self) -> list[Instrument]:
        """Perpetuals against USDT, and dated, other-margined and ended ones."""
        found: list[Instrument] = []

        def add(coin: str, quote: str = "USDT", kind: str = "PERPETUAL", status: Any = "trading",
                name: str = "") -> None:  # fmt: skip
            multiplier = MULTIPLIED.get(coin, 1) if quote == "USDT" else 1
            base = f"{multiplier}{coin}" if multiplier > 1 else coin
            price = coin_price(coin) * multiplier
            found.append(Instrument(
                index=len(found), venue_symbol=name or base + quote, base=base, quote=quote,
                coin=coin, price=price, price_decimals=price_decimals(price, 7, 2),
                quantity_decimals=min(3, quantity_decimals(price)), status=status,
                listed={"contractType": kind},
            ))  # fmt: skip

        first = ("SOL", "BNB", "DOGE", "ETC", "PEPE", "MOG", CJK_COIN)
        for coin in coin_names(self.settings.symbols, first):
            add(coin)
        add("BTC", "USDC")
        add("BTC", kind="CURRENT_QUARTER", name="BTCUSDT_261225")
        add("LUNA", status="ended")
        add("SRM", status="halted")
        return found

    def knows_route(self, route: str) -> bool:
        """The routes of 2026-04, and the old URL without one."""
        return route in ("", "public", "market", "private")

    def sends_trades(self, route: str) -> bool:
        """On the wrong route a stream is accepted and stays silent."""
        return route == "public"

    def sends_aggregates(self, route: str) -> bool:
        """The documented stream has the other route."""
        return route == "market"

    def dialect_of(self, route: str, kind: str) -> str:
        """Aggregates are written in one way only."""
        return AGGREGATED if route == "market" else super().dialect_of(route, kind)

    def row_text(self, instrument: Instrument, entry: Entry, dialect: str) -> str:
        """The shape of 2026-08; a few trades were not made on the book."""
        kind = ("MARKET", "INSURANCE_FUND", "ADL")[entry.style]
        if dialect == AGGREGATED:  # each taker had one maker
            return (
                f'{{"e":"aggTrade","E":{EVENT_MS},"s":"{instrument.venue_symbol}","a":{NUMBER},'
                f'"p":"{fixed(entry.price, entry.price_decimals)}",'
                f'"q":"{fixed(entry.quantity, entry.quantity_decimals)}",'
                f'"nq":"{fixed(entry.quantity, entry.quantity_decimals)}","f":{NUMBER},'
                f'"l":{NUMBER},"T":{MS},"m":{"true" if entry.is_sell else "false"}}}'
            )
        raw = (
            f'{{"e":"trade","E":{EVENT_MS},"T":{MS},"s":"{instrument.venue_symbol}","t":{NUMBER},'
            f'"p":"{fixed(entry.price, entry.price_decimals)}",'
            f'"q":"{fixed(entry.quantity, entry.quantity_decimals)}","X":"{kind}",'
            f'"m":{"true" if entry.is_sell else "false"},"st":1}}'
        )
        return raw if dialect == RAW else self._wrap(raw, instrument.venue_symbol)

    def rest_row(self, instrument: Instrument, trade: Trade) -> dict[str, Any]:
        """Futures rows say whether it was an RPI trade."""
        return {**super().rest_row(instrument, trade), "isRPITrade": False}

    def exchange_info(self) -> dict[str, Any]:
        """GET /fapi/v1/exchangeInfo."""
        status = {"trading": "TRADING", "halted": "BREAK", "ended": "SETTLING",
                  "prelaunch": "PENDING_TRADING"}  # fmt: skip
        return {
            "timezone": "UTC",
            "serverTime": self.clock.wall_ns() // 10**6,
            "futuresType": "U_MARGINED",
            "rateLimits": [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE",
                            "intervalNum": 1, "limit": 2400}],
            "exchangeFilters": [],
            "assets": [{"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"}],
            "symbols": [
                {"symbol": one.venue_symbol, "pair": one.base + one.quote,
                 "contractType": one.listed["contractType"], "deliveryDate": 4133404800000,
                 "onboardDate": 1569398400000, "status": status[one.status],
                 "baseAsset": one.base, "quoteAsset": one.quote, "marginAsset": one.quote,
                 "pricePrecision": one.price_decimals,
                 "quantityPrecision": one.quantity_decimals, "baseAssetPrecision": 8,
                 "quotePrecision": 8, "underlyingType": "COIN", "underlyingSubType": [],
                 "filters": [], "orderTypes": ["LIMIT", "MARKET"],
                 "timeInForce": ["GTC", "IOC", "FOK", "GTX"]}
                for one in self.market.listed
            ],
        }  # fmt: skip


MULTIPLIED = {"PEPE": 1000, "SHIB": 1000, "BONK": 1000, "FLOKI": 1000, "SATS": 10_000,
              "MOG": 1_000_000, "BTTC": 1000}  # fmt: skip
