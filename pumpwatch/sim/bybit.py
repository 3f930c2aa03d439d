"""Bybit v5 spot and linear (FEEDS.md, section 4)."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from pumpwatch.sim.digits import fixed, taken_apart
from pumpwatch.sim.frames import EVENT_MS, MS, NUMBER, SEQUENCE, UUID
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

ARGS_MAX_SPOT = 10
ARGS_CHARS_MAX = 21_000
SILENCE_S = 600.0
CONNECTS_MAX, CONNECTS_WINDOW_S = 500, 300.0
REQUESTS_MAX, REQUESTS_WINDOW_S = 600, 5.0
PATHS = (
    "/v5/market/instruments-info", "/v5/market/recent-trade", "/v5/market/tickers",
)  # fmt: skip
PAGE_ROWS_MAX = 30  # of the linear list: small, so that even a short one has several pages
RECENT_MAX = {"spot": 60, "linear": 1000}
MULTIPLIED = {"BONK": 1000, "PEPE": 1000, "SATS": 10_000, "MOG": 1_000_000, "SHIB": 1000}
TOPIC = "publicTrade."
TICKS = ("PlusTick", "ZeroPlusTick", "MinusTick", "ZeroMinusTick")


class BybitSession(Session):
    """Topics; one that is wrong, or one too many, fails the whole request."""

    keepalive = Keepalive(client_silence_s=SILENCE_S, code=1000, reason="")

    def received(self, text: str, now_s: float) -> list[Action]:
        """subscribe, unsubscribe, ping."""
        request = read_object(text) or {}
        operation, args = request.get("op"), texts_of(request.get("args", []))
        request_id = request.get("req_id")
        if not isinstance(operation, str) or args is None:
            return [Refuse("bad request"), self._reply(False, "Params Error", request_id, "")]
        if operation == "ping":
            return [self._reply(True, "pong", request_id, "ping")]
        if operation not in ("subscribe", "unsubscribe"):
            return [
                Refuse("unknown op"),
                self._reply(False, f"unknown op {operation}", request_id, operation),
            ]
        problem = self._problem(args, is_more=operation == "subscribe")
        if problem:
            why = problem.split(":")[0]
            return [Refuse(why), self._reply(False, problem, request_id, operation)]
        instruments = [self.venue.market.by_name[arg.removeprefix(TOPIC)] for arg in args]
        said = "subscribe" if self._is_spot and operation == "subscribe" else ""
        change = self.add if operation == "subscribe" else self.remove
        return [self._reply(True, said, request_id, operation), *change(instruments)]

    def refusal(self, text: str) -> list[Action]:
        """The whole request fails, and no topic is to blame."""
        request = read_object(text) or {}
        if request.get("op") != "subscribe":
            return []
        why = "Too many visits. Exceeded the API Rate Limit."
        return [Refuse(why), self._reply(False, why, request.get("req_id"), "subscribe")]

    @property
    def _is_spot(self) -> bool:
        return self.venue.name == "bybit_spot"

    def _problem(self, args: list[str], *, is_more: bool) -> str:
        if not args:
            return "args size is 0"
        if self._is_spot and len(args) > ARGS_MAX_SPOT:
            return "args size >10"
        held = {TOPIC + name for name in self.subscribed} if is_more else set()
        if sum(map(len, held.union(args))) > ARGS_CHARS_MAX:
            return "args too long: more than 21000 characters"
        for arg in args:
            instrument = self.venue.market.by_name.get(arg.removeprefix(TOPIC))
            if not arg.startswith(TOPIC) or instrument is None or instrument.status != "trading":
                return f"error:handler not found,topic:{arg}"
        return ""

    def _reply(self, success: bool, message: str, request_id: Any, operation: str) -> Send:
        document: dict[str, Any] = {
            "success": success, "ret_msg": message, "conn_id": "d9avrj8i70nu0j2a80n0-sim",
        }  # fmt: skip
        if request_id is not None:
            document["req_id"] = request_id
        elif not self._is_spot:
            document["req_id"] = ""
        document["op"] = operation
        text = json.dumps(document, separators=(",", ":"))
        return Send(text.replace(">", "\\u003e"))  # as it is on the wire


class Bybit(Venue):
    """What both Bybit feeds share."""

    category: str
    suffix = "]}"

    def _listed(self, rows: list[tuple[str, str, Status, str]]) -> list[Instrument]:
        """Instruments from (coin, quote, status, contract type)."""
        found: list[Instrument] = []
        for coin, quote, status, kind in rows:
            multiplier = MULTIPLIED.get(coin, 1) if self.category == "linear" else 1
            base = f"{multiplier}{coin}" if multiplier > 1 else coin
            price = coin_price(coin) * multiplier
            name = base + quote
            if kind == "LinearFutures":
                name = f"{base}USDT-25DEC26"
            elif quote == "USDC" and self.category == "linear":
                name = f"{base}PERP"
            found.append(Instrument(
                index=len(found), venue_symbol=name, base=base, quote=quote, coin=coin,
                price=price, price_decimals=price_decimals(price),
                quantity_decimals=min(6, quantity_decimals(price)), status=status,
                listed={"contractType": kind},
            ))  # fmt: skip
        return found

    def read_recorded(self, text: str) -> Recorded | None:
        """``publicTrade`` messages."""
        document = json.loads(text)
        if not document.get("topic", "").startswith(TOPIC):
            return None
        rows = []
        for row in document["data"]:
            is_number = row["i"].isdigit()
            entry = Entry(
                row["S"] == "Sell", *taken_apart(row["p"]), *taken_apart(row["v"]),
                trade_id="" if is_number else row["i"],
            )  # fmt: skip
            number = int(row["i"]) if is_number else None
            rows.append(RecordedRow(row["T"] * 10**6, entry, number, row.get("seq", 0)))
        return Recorded(text, document["data"][0]["s"], rows)

    def open_session(self, upgrade: Upgrade, now_s: float) -> Session | Answer:
        """The path names the market."""
        if not self.spend("connects", CONNECTS_MAX, CONNECTS_WINDOW_S, now_s):
            return json_answer({"retCode": 10006, "retMsg": "Too many visits!"}, 403)
        if upgrade.path.rstrip("/") != self.websocket_path:
            return NOT_FOUND
        return BybitSession(self)

    # --- REST

    def answer(self, request: Request, now_s: float) -> Answer:
        """Instruments, recent trades, tickers."""
        if self.settings.rest_limits and not self.spend(
            "requests", REQUESTS_MAX, REQUESTS_WINDOW_S, now_s
        ):
            return json_answer({"retCode": 10006, "retMsg": "Too many visits!"}, 403)
        if request.path not in PATHS:
            return NOT_FOUND
        if request.query.get("category") != self.category:
            return self._wrong("category")
        match request.path:
            case "/v5/market/instruments-info":
                return self._instruments_page(request)
            case "/v5/market/recent-trade":
                return self._recent(request)
            case _:
                return self._good([
                    {"symbol": one.venue_symbol, "lastPrice": str(one.price), "volume24h": "1000",
                     "turnover24h": f"{1e9 / (one.index + 1):.2f}"}
                    for one in self.market.listed
                ])  # fmt: skip

    def _wrong(self, what: str) -> Answer:
        return json_answer({"retCode": 10001, "retMsg": f"params error: {what} invalid",
                            "result": {}, "retExtInfo": {}})  # fmt: skip

    def _good(self, rows: list[Any], cursor: str | None = None) -> Answer:
        result: dict[str, Any] = {"category": self.category, "list": rows}
        if cursor is not None:
            result["nextPageCursor"] = cursor
        return json_answer({"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {},
                            "time": self.clock.wall_ns() // 10**6})  # fmt: skip

    def _recent(self, request: Request) -> Answer:
        instrument = self.market.by_name.get(request.query.get("symbol", ""))
        if instrument is None:
            return self._wrong("symbol")
        most = RECENT_MAX[self.category]
        trades = self.market.tape.recent(instrument.index, request.number("limit", most, most))
        ids = self.trade_ids(instrument, trades)
        return self._good([
            {"execId": trade_id, "symbol": instrument.venue_symbol,
             "price": trade.entry.price_text, "size": trade.entry.quantity_text,
             "side": "Sell" if trade.entry.is_sell else "Buy", "time": str(trade.ns // 10**6),
             "isBlockTrade": False, "isRPITrade": False, "seq": str(trade.sequence)}
            for trade_id, trade in zip(reversed(ids), reversed(trades), strict=True)
        ])  # fmt: skip

    def trade_ids(self, instrument: Instrument, trades: Sequence[Trade]) -> list[str]:
        """As ``trade_id``, of many at once."""
        return [self.trade_id(instrument, trade) for trade in trades]

    def _instruments_page(self, request: Request) -> Answer:
        raise NotImplementedError


class BybitSpot(Bybit):
    """bybit_spot: ids are digits with holes, at most 60 recent trades."""

    name = "bybit_spot"
    category = "spot"
    websocket_path = "/v5/public/spot"
    flow = Flow(number_step_max=16, sequences="match", rows_max=1024, new_message_share=0.5)

    def instruments(self) -> list[Instrument]:
        """Coins against USDT, other quotes, ended and future ones."""
        coins = coin_names(self.settings.symbols, ("SOL", "OL"))
        return self._listed([
            *((coin, "USDT", "trading", "") for coin in coins),
            ("BTC", "USDC", "trading", ""), ("ETH", "BTC", "trading", ""),
            ("LUNA", "USDT", "ended", ""), ("NEWC", "USDT", "prelaunch", ""),
        ])  # fmt: skip

    def first_numbers(self, instrument: Instrument, rng: random.Random) -> tuple[int, int]:
        """19 digits with a prefix for the symbol's shard."""
        shard = rng.choice((2100, 2200, 2290))
        return shard * 10**15 + rng.randint(10**8, 2 * 10**9), rng.randint(10**10, 2 * 10**11)

    def prefix_text(self, instrument: Instrument, dialect: str) -> str:
        """Up to the first trade; ``type`` behind ``ts``."""
        topic = TOPIC + instrument.venue_symbol
        return f'{{"topic":"{topic}","ts":{EVENT_MS},"type":"snapshot","data":['

    def row_text(self, instrument: Instrument, entry: Entry, dialect: str) -> str:
        """The key order of spot."""
        return (
            f'{{"i":"{NUMBER}","T":{MS},"p":"{entry.price_text}","v":"{entry.quantity_text}",'
            f'"S":"{"Sell" if entry.is_sell else "Buy"}","seq":{SEQUENCE},'
            f'"s":"{instrument.venue_symbol}","BT":false,"RPI":false}}'
        )

    def _instruments_page(self, request: Request) -> Answer:
        """Everything at once; limit and cursor are ignored."""
        status = {
            "trading": "Trading",
            "prelaunch": "PreLaunch",
            "ended": "Closed",
            "halted": "Closed",
        }
        return self._good([
            {"symbol": one.venue_symbol, "baseCoin": one.base, "quoteCoin": one.quote,
             "innovation": "0", "status": status[one.status],
             "lotSizeFilter": {"basePrecision": fixed(1, one.quantity_decimals)},
             "priceFilter": {"tickSize": fixed(1, one.price_decimals)}}
            for one in self.market.listed
        ])  # fmt: skip


class BybitFutures(Bybit):
    """bybit_futures: ids are UUIDs; the instrument list comes in pages."""

    name = "bybit_futures"
    category = "linear"
    websocket_path = "/v5/public/linear"
    id_kind = "uuid"
    styles = 4
    kind_styles = {"block": 3}  # noqa: RUF012
    flow = Flow(sequences="match", rows_max=1024, new_message_share=0.5)

    def instruments(self) -> list[Instrument]:
        """Perpetuals against USDT, USDC and dated ones, ended and future ones."""
        perpetual = "LinearPerpetual"
        coins = coin_names(self.settings.symbols, ("SOL", "LTC", "BOME", "BONK", "SATS", "PEPE"))
        return self._listed([
            *((coin, "USDT", "trading", perpetual) for coin in coins),
            ("BTC", "USDC", "trading", perpetual), ("BTC", "USDT", "trading", "LinearFutures"),
            ("LUNA", "USDT", "ended", perpetual), ("NEWC", "USDT", "prelaunch", perpetual),
        ])  # fmt: skip

    def first_numbers(self, instrument: Instrument, rng: random.Random) -> tuple[int, int]:
        """Only the sequence matters."""
        return 10**7, rng.randint(10**11, 8 * 10**11)

    def prefix_text(self, instrument: Instrument, dialect: str) -> str:
        """Up to the first trade; ``ts`` behind ``type``."""
        topic = TOPIC + instrument.venue_symbol
        return f'{{"topic":"{topic}","type":"snapshot","ts":{EVENT_MS},"data":['

    def row_text(self, instrument: Instrument, entry: Entry, dialect: str) -> str:
        """The key order of linear; trailing zeros in the price."""
        side = "Sell" if entry.is_sell else "Buy"
        return (
            f'{{"T":{MS},"s":"{instrument.venue_symbol}","S":"{side}",'
            f'"v":"{fixed(entry.quantity, entry.quantity_decimals)}",'
            f'"p":"{fixed(entry.price, entry.price_decimals)}","L":"{TICKS[entry.style]}",'
            f'"i":"{UUID}","BT":{"true" if entry.style == 3 else "false"},"RPI":false,'
            f'"seq":{SEQUENCE}}}'
        )

    def trade_id(self, instrument: Instrument, trade: Trade) -> str:
        """The UUID that the stream had."""
        return self.trade_ids(instrument, [trade])[0]

    def trade_ids(self, instrument: Instrument, trades: Sequence[Trade]) -> list[str]:
        """Those of recorded trades are their own."""
        made = self.market.uuids_of(instrument.index, [trade.row for trade in trades])
        return [trade.entry.trade_id or one for trade, one in zip(trades, made, strict=True)]

    def _instruments_page(self, request: Request) -> Answer:
        """A page that begins where the cursor says."""
        status = {"trading": "Trading", "prelaunch": "PreLaunch", "ended": "Closed",
                  "halted": "Settling"}  # fmt: skip
        start = request.number("cursor", 0)
        end = start + request.number("limit", 500, PAGE_ROWS_MAX)
        rows = self.market.listed[start:end]
        cursor = str(end) if end < len(self.market.listed) else ""
        return self._good([
            {"symbol": one.venue_symbol, "contractType": one.listed["contractType"],
             "status": status[one.status], "baseCoin": one.base, "quoteCoin": one.quote,
             "launchTime": "1672971039000", "deliveryTime": "0", "deliveryFeeRate": "",
             "priceScale": str(one.price_decimals),
             "priceFilter": {"tickSize": fixed(1, one.price_decimals)},
             "lotSizeFilter": {"qtyStep": fixed(1, one.quantity_decimals)},
             "unifiedMarginTrade": True, "fundingInterval": 480, "settleCoin": one.quote}
            for one in rows
        ], cursor)  # fmt: skip
