"""Gate v4 spot and USDT futures (FEEDS.md, section 7)."""

from __future__ import annotations

import json
import random
import re
from typing import Any

from pumpwatch.sim.digits import fixed, taken_apart
from pumpwatch.sim.frames import (
    EVENT_MS,
    EVENT_SECONDS,
    MICROS,
    MS,
    NUMBER,
    SECONDS,
    SHIFTED_NUMBER,
)
from pumpwatch.sim.generate import Flow
from pumpwatch.sim.instruments import (
    CJK_COIN,
    Entry,
    Instrument,
    Status,
    coin_names,
    coin_price,
    contract_exponent,
    contract_parts,
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

CLOCK_S = 60  # a request's time may be that wrong
SERVER_PING_S, PONG_WITHIN_S = 20.0, 60.0
CONNECTIONS_MAX = 300
REQUESTS_MAX, REQUESTS_WINDOW_S = 200, 10.0
ROWS_MAX = 1000
WHOLE, DECIMAL = "whole", "decimal"  # futures sizes
CONNECTION_ID, TRACE_ID = "06a3248d8f02479a", "1dc9df8b7bf583c0d0e9e18079d504ec"


class GateSession(Session):
    """Channels with a payload that is taken as a whole or refused as a whole."""

    keepalive = Keepalive(server_ping_s=SERVER_PING_S, pong_within_s=PONG_WITHIN_S, code=1001)

    def __init__(self, venue: Gate, dialect: str) -> None:
        super().__init__(venue, dialect)
        self._channel = venue.channel
        self._market_name = venue.channel.split(".")[0]

    def received(self, text: str, now_s: float) -> list[Action]:
        """subscribe, unsubscribe, and the ping that is a channel."""
        request = read_object(text) or {}
        channel, event, time_s = (
            request.get("channel"),
            request.get("event", ""),
            request.get("time"),
        )
        if not (isinstance(channel, str) and isinstance(event, str) and type(time_s) is int):
            return self._refused({}, 1, "invalid argument struct", "bad request")
        if channel == f"{self._market_name}.ping":
            return [self._pong(channel.replace("ping", "pong"))]
        if abs(time_s - self.venue.clock.wall_ns() // 10**9) > CLOCK_S:
            return self._refused(request, 2, "invalid timestamp", "time is off")
        if channel != self._channel:
            return self._refused(request, 2, f"unknown channel {channel}", "unknown channel")
        if event not in ("subscribe", "unsubscribe"):
            return self._refused(request, 2, f"unknown event {event}", "unknown event")
        return self._change(request, event)

    def refusal(self, text: str) -> list[Action]:
        """The server's own trouble."""
        request = read_object(text) or {}
        if request.get("event") != "subscribe":
            return []
        return self._refused(request, 3, "internal server error", "server trouble")

    def farewell(self) -> list[str]:
        """The system channel's event."""
        now_ms = self.venue.clock.wall_ns() // 10**6
        document = {
            "time": now_ms // 1000, "time_ms": now_ms, "channel": f"{self._market_name}.system",
            "event": "update",
            "result": {"type": "upgrade", "msg": "The server will be upgraded, please reconnect"},
        }  # fmt: skip
        return [json.dumps(document, separators=(",", ":"))]

    def _change(self, request: dict[str, Any], event: str) -> list[Action]:
        payload = texts_of(request.get("payload"))
        if not payload:
            why = "request payload does not follow json schema"
            return self._refused(request, 1, why, "bad payload")
        instruments: list[Instrument] = []
        for name in payload:
            instrument = self.venue.market.by_name.get(name)
            if instrument is None or instrument.status in ("ended", "halted"):
                kind = "currency pair" if self._market_name == "spot" else "contract"
                return self._refused(request, 2, f"unknown {kind} {name}", "unknown symbol")
            instruments.append(instrument)
        change = self.add if event == "subscribe" else self.remove
        return [self._reply(request, 0, ""), *change(instruments)]

    def _refused(self, request: dict[str, Any], code: int, message: str, why: str) -> list[Action]:
        return [Refuse(why), self._reply(request, code, message)]

    def _reply(self, request: dict[str, Any], code: int, message: str) -> Send:
        channel, event = request.get("channel", ""), request.get("event", "")
        now_ms = self.venue.clock.wall_ns() // 10**6
        document: dict[str, Any] = {"time": now_ms // 1000, "time_ms": now_ms}
        if "id" in request:
            document["id"] = request["id"]
        document |= {
            "conn_id": CONNECTION_ID, "trace_id": TRACE_ID, "channel": channel, "event": event,
            "payload": request.get("payload"),
        }  # fmt: skip
        if code:
            document["error"] = {"code": code, "message": message}
        document["result"] = {"status": "fail" if code else "success"}
        document["requestId"] = TRACE_ID
        return Send(json.dumps(document, separators=(",", ":"), ensure_ascii=False))

    def _pong(self, channel: str) -> Send:
        now_ms = self.venue.clock.wall_ns() // 10**6
        document: dict[str, Any] = {"time": now_ms // 1000}
        if self._market_name == "futures":
            document |= {"time_ms": now_ms, "channel": channel, "event": "", "result": None}
        else:
            document |= {"channel": channel, "event": "", "error": None, "result": None}
        return Send(json.dumps(document, separators=(",", ":")))


class Gate(Venue):
    """What both Gate feeds share."""

    channel: str
    has_deep_history = True

    def open_session(self, upgrade: Upgrade, now_s: float) -> Session | Answer:
        """Futures sizes come with decimals when the header asks for them."""
        if upgrade.path.rstrip("/") != self.websocket_path.rstrip("/"):
            return NOT_FOUND
        if self.open_connections() >= CONNECTIONS_MAX:
            return json_answer({"label": "TOO_MANY_CONNECTIONS", "message": "over 300"}, 429)
        wants_decimals = upgrade.headers.get("x-gate-size-decimal") == "1"
        return GateSession(self, self._dialect(wants_decimals=wants_decimals))

    def _dialect(self, *, wants_decimals: bool) -> str:
        raise NotImplementedError

    def answer(self, request: Request, now_s: float) -> Answer:
        """Every path has its own budget."""
        if self.settings.rest_limits and not self.spend(
            request.path, REQUESTS_MAX, REQUESTS_WINDOW_S, now_s
        ):
            message = "Request Rate Limit Exceeded"
            return json_answer({"label": "TOO_MANY_REQUESTS", "message": message}, 429)
        return self.lists(request)

    def lists(self, request: Request) -> Answer:
        """Instruments, trades, 24-hour figures."""
        raise NotImplementedError

    def chosen(self, instrument: Instrument, request: Request, skip: int) -> list[Trade]:
        """Trades between ``from`` and ``to`` (s), newest first, without the ``skip`` newest."""
        limit = max(0, request.number("limit", 100, ROWS_MAX))
        first_ns = request.number("from", 0) * 10**9
        last_ns = (request.number("to", 0) + 1) * 10**9 if request.query.get("to") else None
        last_id, wants_newer = request.number("last_id", 0), request.query.get("reverse") == "true"
        tape, symbol = self.market.tape, instrument.index
        known = tape.remembered(symbol)
        chosen = known.ns >= first_ns
        if last_ns is not None:
            chosen &= known.ns < last_ns
        if last_id:
            chosen &= known.number > last_id if wants_newer else known.number < last_id
        rows = known.row[chosen]
        if wants_newer:
            return tape.trades(symbol, rows[:limit])[::-1]
        return tape.trades(symbol, rows[::-1][skip : skip + limit])

    @staticmethod
    def unknown(label: str, name: str) -> Answer:
        """The refusal of a symbol."""
        return json_answer({"label": label, "message": f"unknown {name}"}, 400)


class GateSpot(Gate):
    """gate_spot: one trade a message; id_market counts without holes."""

    name = "gate_spot"
    channel = "spot.trades"
    websocket_path = "/ws/v4/"
    flow = Flow()
    number_pattern = None  # one recorded line has an id_market

    def _dialect(self, *, wants_decimals: bool) -> str:
        return ""

    def instruments(self) -> list[Instrument]:
        """Coins against USDT, other quotes, pairs that cannot be traded."""
        coins = coin_names(self.settings.symbols, ("SOL", CJK_COIN, "DIS", "PEPE"))
        rows: list[tuple[str, str, Status]] = [
            *((coin, "USDT", "trading") for coin in coins),
            ("NEO", "BTC", "trading"), ("TLOS", "BTC", "trading"), ("BTC", "USDC", "trading"),
            ("LUNA", "USDT", "ended"),
        ]  # fmt: skip
        bitcoin = coin_price("BTC")
        found = []
        for index, (coin, quote, status) in enumerate(rows):
            price = coin_price(coin) / (bitcoin if quote == "BTC" else 1)
            found.append(Instrument(
                index=index, venue_symbol=f"{coin}_{quote}", base=coin, quote=quote, coin=coin,
                price=price, price_decimals=price_decimals(price),
                quantity_decimals=min(6, quantity_decimals(price)), status=status,
                # ids and id_market are the same on some markets only; see frames.py on the size
                number_offset=10**9 * (index % 3) if index != 0 else 0,
            ))  # fmt: skip
        return found

    def step_ns(self, instrument: Instrument) -> int:
        """Microseconds."""
        return 1_000

    def first_numbers(self, instrument: Instrument, rng: random.Random) -> tuple[int, int]:
        """id_market; a coin listed a moment ago begins low."""
        if instrument.index % 10 == 7:
            return 1_000, 0
        return rng.randint(10**6, 3 * 10**8), 0

    def row_text(self, instrument: Instrument, entry: Entry, dialect: str) -> str:
        """The shape of 2026."""
        return (
            f'{{"time":{EVENT_SECONDS},"time_ms":{EVENT_MS},"channel":"{self.channel}",'
            f'"event":"update","result":{{"id":{SHIFTED_NUMBER},"id_market":{NUMBER},'
            f'"create_time":{SECONDS},"create_time_ms":"{MS}.{MICROS}00","side":"{entry.side}",'
            f'"currency_pair":"{instrument.venue_symbol}","amount":"{entry.quantity_text}",'
            f'"price":"{entry.price_text}","range":"{NUMBER}-{NUMBER}","trade_mode":0}}}}'
        )

    @property
    def merges_trades(self) -> bool:  # type: ignore[override]  # a setting's, not the class's
        """Only where a run asks for it: the venue documents it, no recording has it."""
        return self.settings.gate_ranges

    def merged_text(self, instrument: Instrument, entry: Entry, first_number: int) -> str:
        """``range`` from the first to the last id_market; the last trade's id."""
        text = self.row_text(instrument, entry, "")
        return text.replace(f'"range":"{NUMBER}-', f'"range":"{first_number}-')

    def read_recorded(self, text: str) -> Recorded | None:
        """Updates; those before 2025 have no id_market, and an id of another counter."""
        document = json.loads(text)
        if document.get("channel") != self.channel or document.get("event") != "update":
            return None
        row = document["result"]
        whole, _, part = row["create_time_ms"].partition(".")
        number = row.get("id_market")
        entry = Entry(
            row["side"] == "sell", *taken_apart(row["price"]), *taken_apart(row["amount"]),
            trade_id=str(row["id"]),
        )  # fmt: skip
        ns = int(whole) * 10**6 + int(part.ljust(6, "0"))
        recorded = RecordedRow(ns, entry, number, number or 0)
        return Recorded(text, row["currency_pair"], [recorded])

    def lists(self, request: Request) -> Answer:
        """/spot/currency_pairs, /spot/trades, /spot/tickers."""
        if request.path == "/api/v4/spot/currency_pairs":
            return json_answer([
                {"id": one.venue_symbol, "base": one.base, "quote": one.quote, "fee": "0.2",
                 "min_quote_amount": "1", "amount_precision": one.quantity_decimals,
                 "precision": one.price_decimals,
                 "trade_status": "tradable" if one.status == "trading" else "untradable",
                 "sell_start": 0, "buy_start": 0}
                for one in self.market.listed
            ])  # fmt: skip
        if request.path == "/api/v4/spot/tickers":
            return json_answer([
                {"currency_pair": one.venue_symbol, "last": str(one.price), "base_volume": "1000",
                 "quote_volume": f"{1e9 / (one.index + 1):.2f}"}
                for one in self.market.listed
            ])  # fmt: skip
        if request.path != "/api/v4/spot/trades":
            return NOT_FOUND
        instrument = self.market.by_name.get(request.query.get("currency_pair", ""))
        if instrument is None:
            return self.unknown("INVALID_CURRENCY_PAIR", "currency pair")
        skip = (request.number("page", 1) - 1) * request.number("limit", 100, ROWS_MAX)
        return json_answer([
            {"id": self.trade_id(instrument, trade), "create_time": str(trade.ns // 10**9),
             "create_time_ms": f"{trade.ns // 10**6}.{trade.ns % 10**6:06d}",
             "currency_pair": instrument.venue_symbol, "side": trade.entry.side,
             "amount": trade.entry.quantity_text, "price": trade.entry.price_text,
             "sequence_id": str(trade.number)}
            for trade in self.chosen(instrument, request, skip)
        ])  # fmt: skip


class GateFutures(Gate):
    """gate_futures: signed contracts, several trades a message."""

    name = "gate_futures"
    channel = "futures.trades"
    websocket_path = "/v4/ws/usdt"
    dialects = (WHOLE, DECIMAL)
    styles = 3
    number_pattern = re.compile(r'"id":(\d+)')
    flow = Flow(rows_max=64, new_message_share=0.6)
    suffix = "]}"
    PRICE_NUMBER, INTERNAL = 1, 2  # styles
    kind_styles = {"internal": INTERNAL}  # noqa: RUF012

    def _dialect(self, *, wants_decimals: bool) -> str:
        return DECIMAL if wants_decimals else WHOLE

    def instruments(self) -> list[Instrument]:
        """Contracts; some with decimal sizes, some that end or have not begun."""
        known = {"BTC": -4, "ETH": -2, "PEPE": 7, "SHIB": 4, "DOGE": 1, "MOB": 0}
        coins = coin_names(self.settings.symbols, ("SOL", "MOB", "PEPE", "SHIB", "DOGE", CJK_COIN))
        rows: list[tuple[str, str, Status]] = [
            *((coin, "USDT", "trading") for coin in coins), ("LUNA", "USDT", "ended"),
            ("NEWC", "USDT", "prelaunch"),
        ]  # fmt: skip
        found = []
        for index, (coin, quote, status) in enumerate(rows):
            price = coin_price(coin)
            mantissa, decimals = contract_parts(known.get(coin, contract_exponent(price)))
            has_decimals = coin == "ETH" or index % 8 == 5
            found.append(Instrument(
                index=index, venue_symbol=f"{coin}_{quote}", base=coin, quote=quote, coin=coin,
                price=price, price_decimals=price_decimals(price),
                quantity_decimals=2 if has_decimals else 0, contract_mantissa=mantissa,
                contract_decimals=decimals, status=status,
                listed={"contracts": "yes", "decimal": "yes" if has_decimals else ""},
            ))  # fmt: skip
        return found

    def first_numbers(self, instrument: Instrument, rng: random.Random) -> tuple[int, int]:
        """One counter per contract."""
        return rng.randint(10**6, 9 * 10**8), 0

    def prefix_text(self, instrument: Instrument, dialect: str) -> str:
        """Up to the first trade."""
        return (
            f'{{"time":{EVENT_SECONDS},"time_ms":{EVENT_MS},"channel":"{self.channel}",'
            f'"event":"update","result":['
        )

    def row_text(self, instrument: Instrument, entry: Entry, dialect: str) -> str:
        """Minus is a sale; without the header sizes are cut to whole contracts."""
        sign = "-" if entry.is_sell else ""
        if dialect == DECIMAL:
            size = f'"{sign}{entry.quantity_text}"'
        else:
            whole = entry.quantity // 10**entry.quantity_decimals
            size = f"{sign if whole else ''}{whole}"
        price = entry.price_text
        if entry.style != self.PRICE_NUMBER:
            price = f'"{price}"'
        inside = ',"is_internal":true' if entry.style == self.INTERNAL else ""
        return (
            f'{{"id":{NUMBER},"size":{size},"create_time":{SECONDS},"create_time_ms":{MS},'
            f'"price":{price},"contract":"{instrument.venue_symbol}"{inside}}}'
        )

    def read_recorded(self, text: str) -> Recorded | None:
        """Updates; in 2020 with whole seconds only."""
        document = json.loads(text)
        if document.get("channel") != self.channel or document.get("event") != "update":
            return None
        rows = []
        for row in document["result"]:
            quantity, decimals = taken_apart(str(row["size"]))
            price = taken_apart(str(row["price"]))
            entry = Entry(quantity < 0, *price, abs(quantity), decimals)
            ms = row.get("create_time_ms", row["create_time"] * 1000)
            rows.append(RecordedRow(ms * 10**6, entry, row["id"], row["id"]))
        return Recorded(text, document["result"][0]["contract"], rows)

    def spell(self, text: str, dialect: str) -> str:
        """Recorded sizes of both kinds are understood everywhere: nothing is changed."""
        return text

    def lists(self, request: Request) -> Answer:
        """/futures/usdt/contracts, /trades, /tickers."""
        if request.path == "/api/v4/futures/usdt/contracts":
            return json_answer([self._contract(one) for one in self.market.listed])
        if request.path == "/api/v4/futures/usdt/tickers":
            return json_answer([
                {"contract": one.venue_symbol, "last": str(one.price), "volume_24h": "1000",
                 "volume_24h_quote": str(int(1e9 / (one.index + 1)))}
                for one in self.market.listed
            ])  # fmt: skip
        if request.path != "/api/v4/futures/usdt/trades":
            return NOT_FOUND
        instrument = self.market.by_name.get(request.query.get("contract", ""))
        if instrument is None:
            return self.unknown("CONTRACT_NOT_FOUND", "contract")
        is_decimal = request.headers.get("x-gate-size-decimal") == "1"
        trades = self.chosen(instrument, request, request.number("offset", 0))
        return json_answer([
            {"id": trade.number, "contract": instrument.venue_symbol,
             "create_time": trade.ns // 10**6 / 1000, "create_time_ms": trade.ns // 10**6 / 1000,
             "size": _size(trade.entry, is_decimal), "price": trade.entry.price_text}
            for trade in trades
        ])  # fmt: skip

    def _contract(self, one: Instrument) -> dict[str, Any]:
        number = int(self.market.tape.next_number[one.index])
        status = {"trading": "trading", "prelaunch": "prelaunch", "ended": "delisted",
                  "halted": "delisting"}  # fmt: skip
        return {
            "name": one.venue_symbol, "type": "direct", "contract_type": "",
            "quanto_multiplier": one.contract_value, "status": status[one.status],
            "in_delisting": one.status == "ended", "enable_decimal": bool(one.listed["decimal"]),
            "order_price_round": fixed(1, one.price_decimals), "last_price": str(one.price),
            "order_size_min": 1, "trade_id": max(0, number - 1), "trade_size": 10_000,
            "funding_interval": 28_800, "leverage_max": "100", "create_time": 0,
        }  # fmt: skip


def _size(entry: Entry, is_decimal: bool) -> str | int:
    sign = -1 if entry.is_sell else 1
    if is_decimal:
        return ("-" if entry.is_sell else "") + entry.quantity_text
    return sign * int(entry.quantity // 10**entry.quantity_decimals)
