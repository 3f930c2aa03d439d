"""Phemex spot and USDT perpetuals (FEEDS.md, section 8)."""

from __future__ import annotations

import json
import random
from typing import Any

from pumpwatch.sim.digits import fixed, taken_apart
from pumpwatch.sim.frames import EVENT_NS, NS, SEQUENCE
from pumpwatch.sim.generate import Flow
from pumpwatch.sim.instruments import (
    Entry,
    Instrument,
    Status,
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

VALUE_SCALE = 8  # of every coin here
SUBSCRIPTIONS_MAX = 20
REQUESTS_MAX, REQUESTS_WINDOW_S = 20, 1.0
SILENCE_S = 30.0
CONNECTS_MAX, CONNECTS_WINDOW_S = 200, 300.0
REST_OTHERS_MAX, REST_OTHERS_WINDOW_S = 100, 60.0
REST_MAX, REST_WINDOW_S = 5000, 300.0
METHODS = {"trade.subscribe": "phemex_spot", "trade_p.subscribe": "phemex_futures"}


class PhemexSession(Session):
    """Methods with symbols; each symbol counts as a subscription."""

    keepalive = Keepalive(client_silence_s=SILENCE_S, code=1000)

    def __init__(self, venue: Phemex) -> None:
        super().__init__(venue)
        self._requests = Budget(REQUESTS_MAX, REQUESTS_WINDOW_S)

    def received(self, text: str, now_s: float) -> list[Action]:
        """trade(_p).subscribe and .unsubscribe, server.ping."""
        request = read_object(text) or {}
        method, request_id = request.get("method"), request.get("id")
        params = texts_of(request.get("params"))
        if not isinstance(method, str) or params is None:
            return [Refuse("bad request"), self._error(request_id)]
        if not self._requests.take(now_s):
            return [End(1008, "too many requests", "20 requests a second")]
        if method == "server.ping":
            return [self._reply(request_id, "pong")]
        feed = METHODS.get(method.replace("unsubscribe", "subscribe"))
        instruments = self._find(feed, params)
        if not instruments:
            return [Refuse("invalid argument"), self._error(request_id)]
        done = self._reply(request_id, {"status": "success"})
        if "unsubscribe" in method:
            return [done, *self.remove(instruments)]
        names = {one.venue_symbol for one in instruments}
        if len(names | self.subscribed.keys()) > SUBSCRIPTIONS_MAX:
            return [Refuse("more than 20 subscriptions"), self._error(request_id)]
        if self.venue.settings.phemex_first_only:
            instruments = instruments[:1]  # the others are acknowledged, and never sent
        return [done, *self.add(instruments)]

    def refusal(self, text: str) -> list[Action]:
        """There is one error for everything."""
        request = read_object(text) or {}
        if "subscribe" not in str(request.get("method")):
            return []
        return [Refuse("refused"), self._error(request.get("id"))]

    def _find(self, feed: str | None, params: list[str]) -> list[Instrument]:
        """All of them, or none when one is unknown or of the other market."""
        markets = {one.name: one for one in (self.venue.market, *self.venue.siblings)}
        if feed not in markets:
            return []
        found = []
        for name in params:
            instrument = markets[feed].by_name.get(name)
            if instrument is None or instrument.status != "trading":
                return []
            found.append(instrument)
        return found

    @staticmethod
    def _reply(request_id: Any, result: Any) -> Send:
        document = {"error": None, "id": request_id, "result": result}
        return Send(json.dumps(document, separators=(",", ":")))

    @staticmethod
    def _error(request_id: Any) -> Send:
        error = {"code": 6001, "message": "invalid argument"}
        document = {"error": error, "id": request_id, "result": None}
        return Send(json.dumps(document, separators=(",", ":")))


class Phemex(Venue):
    """What both Phemex feeds share: no ids, a snapshot first, rows newest first."""

    websocket_path = "/"
    id_kind = "ordinal"
    greeting = "snapshot"
    flow = Flow(
        sequences="message", rows_max=1000, new_message_share=0.0, newest_first=True,
        equal_share=0.01,
    )  # fmt: skip
    rows_key: str

    def step_ns(self, instrument: Instrument) -> int:
        """The engine's nanoseconds."""
        return 1

    def first_numbers(self, instrument: Instrument, rng: random.Random) -> tuple[int, int]:
        """No ids; a sequence of nine to eleven digits."""
        return 10**7, rng.randint(10**8, 7 * 10**10)

    def open_session(self, upgrade: Upgrade, now_s: float) -> Session | Answer:
        """The fifth connection is the last, where that is enforced."""
        if not self.spend("connects", CONNECTS_MAX, CONNECTS_WINDOW_S, now_s):
            return json_answer({"error": "too many connections"}, 429)
        if upgrade.path not in ("/", "/ws"):
            return NOT_FOUND
        most = self.settings.phemex_connections_max
        if most and self.open_connections() >= most:
            return json_answer({"error": "too many connections"}, 429)
        return PhemexSession(self)

    # --- REST

    def answer(self, request: Request, now_s: float) -> Answer:
        """Products, the latest trades, 24-hour figures."""
        has_left = self.spend("group others", REST_OTHERS_MAX, REST_OTHERS_WINDOW_S, now_s)
        has_left &= self.spend("all requests", REST_MAX, REST_WINDOW_S, now_s)
        if self.settings.rest_limits and not has_left:
            return json_answer({"code": 11, "msg": "Too many requests"}, 429,
                               x_ratelimit_retry_after="10")  # fmt: skip
        if request.path in ("/public/products", "/public/products-plus"):
            return json_answer(self._products())
        if request.path == self.trades_path:
            instrument = self.market.by_name.get(request.query.get("symbol", ""))
            if instrument is None:
                return json_answer({"error": {"code": 6001, "message": "invalid argument"},
                                    "id": None, "result": None})  # fmt: skip
            newest = self.market.snapshot(instrument.index)[::-1]
            sequence = int(self.market.tape.next_sequence[instrument.index])
            text = self.snapshot_text(instrument, newest, sequence)
            return Answer(200, f'{{"error":null,"id":0,"result":{text}}}'.encode())
        if request.path == self.tickers_path:
            rows = [
                {"symbol": one.venue_symbol, "turnoverEv": int(1e17 / (one.index + 1)),
                 "turnoverRv": f"{1e9 / (one.index + 1):.2f}", "volumeRq": "1000"}
                for one in self.market.listed
            ]  # fmt: skip
            return json_answer({"error": None, "id": 0, "result": rows})
        return NOT_FOUND

    trades_path: str
    tickers_path: str

    def _products(self) -> dict[str, Any]:
        """Both markets' lists in one document, as the venue has it."""
        markets = (self.market, *self.siblings)
        of = {market.name: market.listed for market in markets}
        spot, perpetual = of.get("phemex_spot", []), of.get("phemex_futures", [])
        coins = sorted({one.base for one in spot} | {"USDT", "USDC", "BTC"})
        status = {"trading": "Listed", "ended": "Delisted", "halted": "Suspended",
                  "prelaunch": "Preview"}  # fmt: skip
        return {"code": 0, "msg": "OK", "data": {
            "ratioScale": 8,
            "currencies": [
                {"currency": coin, "valueScale": 4 if coin == "USD" else VALUE_SCALE,
                 "minValueEv": 1, "maxValueEv": 5000000000000000000, "name": coin, "needAddrTag": 0}
                for coin in [*coins, "USD"]
            ],
            "products": [
                {"symbol": "BTCUSD", "displaySymbol": "BTC / USD", "settleCurrency": "BTC",
                 "quoteCurrency": "USD", "contractSize": 1.0, "priceScale": 4, "ratioScale": 8,
                 "type": "Perpetual", "status": "Listed"},
                *({"symbol": one.venue_symbol, "displaySymbol": f"{one.base} / {one.quote}",
                   "quoteCurrency": one.quote, "pricePrecision": one.price_decimals, "type": "Spot",
                   "baseCurrency": one.base,
                   "baseTickSize": f"{fixed(1, one.quantity_decimals)} {one.base}",
                   "quoteTickSize": f"{fixed(1, one.price_decimals)} {one.quote}",
                   "status": status[one.status], "tipOrderQty": 20}
                  for one in spot),
            ],
            "perpProductsV2": [
                {"symbol": one.venue_symbol, "code": 41541 + one.index, "type": "PerpetualV2",
                 "displaySymbol": f"{one.base} / {one.quote}", "contractUnderlyingAssets": one.base,
                 "settleCurrency": one.quote, "quoteCurrency": one.quote,
                 "tickSize": fixed(1, one.price_decimals), "priceScale": 0, "ratioScale": 0,
                 "pricePrecision": one.price_decimals, "baseCurrency": one.base,
                 "status": status[one.status], "tipOrderQty": 0}
                for one in perpetual
            ],
            "riskLimits": [], "leverages": [],
        }}  # fmt: skip

    # --- the wire

    def price_json(self, entry: Entry) -> str:
        """As it stands in a row."""
        raise NotImplementedError

    def quantity_json(self, entry: Entry) -> str:
        """As it stands in a row."""
        raise NotImplementedError

    def row_text(self, instrument: Instrument, entry: Entry, dialect: str) -> str:
        """One row."""
        return f"[{NS}{self._tail(entry, {})}"

    def _tail(self, entry: Entry, known: dict[Entry, str]) -> str:
        """What stands behind a row's time."""
        if entry not in known:
            side = "Sell" if entry.is_sell else "Buy"
            known[entry] = f',"{side}",{self.price_json(entry)},{self.quantity_json(entry)}]'
        return known[entry]

    def snapshot_text(self, instrument: Instrument, newest: list[Trade], sequence: int) -> str:
        """Recent trades, newest first."""
        tails: dict[Entry, str] = {}  # a past is made of few entries
        rows = ",".join([f"[{trade.ns}{self._tail(trade.entry, tails)}" for trade in newest])
        return (
            f'{{"sequence":{sequence},"symbol":"{instrument.venue_symbol}","{self.rows_key}":[{rows}],'
            f'"type":"snapshot"}}'
        )

    def read_rows(self, text: str, scale: int) -> Recorded | None:
        """A recorded message's rows."""
        document = json.loads(text)
        if self.rows_key not in document:
            return None
        rows = []
        for ns, side, price, quantity in reversed(document[self.rows_key]):
            price_parts, quantity_parts = taken_apart(str(price)), taken_apart(str(quantity))
            entry = Entry(
                side == "Sell", price_parts[0], price_parts[1] + scale,
                quantity_parts[0], quantity_parts[1] + scale,
            )  # fmt: skip
            rows.append(RecordedRow(ns, entry, None, document["sequence"]))
        is_snapshot = document.get("type") == "snapshot"
        return Recorded(text, document["symbol"], rows, is_snapshot)


class PhemexSpot(Phemex):
    """phemex_spot: scaled integers."""

    name = "phemex_spot"
    rows_key = "trades"
    trades_path = "/md/trade"
    tickers_path = "/md/spot/ticker/24hr/all"
    suffix = '],"type":"incremental"}'
    long_decimals_max = VALUE_SCALE
    scales_values = True

    def instruments(self) -> list[Instrument]:
        """``s`` and the name; sOLUSDT is the coin OL."""
        coins = coin_names(self.settings.symbols, ("OL", "SOL", "GRT"))
        rows: list[tuple[str, str, Status]] = [
            *((coin, "USDT", "trading") for coin in coins),
            ("BTC", "USDC", "trading"), ("LUNA", "USDT", "ended"),
        ]  # fmt: skip
        return [
            Instrument(
                index=index, venue_symbol=f"s{coin}{quote}", base=coin, quote=quote, coin=coin,
                price=coin_price(coin),
                price_decimals=price_decimals(coin_price(coin), VALUE_SCALE),
                quantity_decimals=quantity_decimals(coin_price(coin)), status=status,
            )
            for index, (coin, quote, status) in enumerate(rows)
        ]  # fmt: skip

    def prefix_text(self, instrument: Instrument, dialect: str) -> str:
        """Up to the first row; no times here in any recording."""
        return f'{{"sequence":{SEQUENCE},"symbol":"{instrument.venue_symbol}","trades":['

    def price_json(self, entry: Entry) -> str:
        """Price times 10^8."""
        return str(entry.price * 10 ** (VALUE_SCALE - entry.price_decimals))

    def quantity_json(self, entry: Entry) -> str:
        """Size times 10^8."""
        return str(entry.quantity * 10 ** (VALUE_SCALE - entry.quantity_decimals))

    def read_recorded(self, text: str) -> Recorded | None:
        """``trades``."""
        return self.read_rows(text, VALUE_SCALE)


class PhemexFutures(Phemex):
    """phemex_futures: decimal texts."""

    name = "phemex_futures"
    rows_key = "trades_p"
    trades_path = "/md/v2/trade"
    tickers_path = "/md/v2/ticker/24hr/all"
    suffix = '],"type":"incremental"}'

    def instruments(self) -> list[Instrument]:
        """Perpetuals against USDT; SOLUSDT is the coin SOL."""
        coins = coin_names(self.settings.symbols, ("SOL", "PEPE"))
        rows: list[tuple[str, str, Status]] = [
            *((coin, "USDT", "trading") for coin in coins),
            ("BTC", "USDC", "trading"), ("LUNA", "USDT", "ended"),
        ]  # fmt: skip
        found = []
        for index, (coin, quote, status) in enumerate(rows):
            multiplier = 1000 if coin in ("PEPE", "SHIB", "BONK", "FLOKI") else 1
            base = f"{multiplier}{coin}" if multiplier > 1 else coin
            price = coin_price(coin) * multiplier
            found.append(Instrument(
                index=index, venue_symbol=base + quote, base=base, quote=quote, coin=coin,
                price=price, price_decimals=price_decimals(price),
                quantity_decimals=min(3, quantity_decimals(price)), status=status,
            ))  # fmt: skip
        return found

    def prefix_text(self, instrument: Instrument, dialect: str) -> str:
        """Up to the first row, with the times of 2025."""
        return (
            f'{{"dts":{EVENT_NS},"mts":{EVENT_NS},"sequence":{SEQUENCE},'
            f'"symbol":"{instrument.venue_symbol}","trades_p":['
        )

    def price_json(self, entry: Entry) -> str:
        """Decimal text."""
        return f'"{entry.price_text}"'

    def quantity_json(self, entry: Entry) -> str:
        """Decimal text."""
        return f'"{entry.quantity_text}"'

    def read_recorded(self, text: str) -> Recorded | None:
        """``trades_p``; made-up times of the documentation are as good as others."""
        return self.read_rows(text, 0)
