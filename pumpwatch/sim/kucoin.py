"""KuCoin classic, spot and futures (FEEDS.md, section 6)."""

from __future__ import annotations

import json
import random
from typing import Any

from pumpwatch.sim.digits import fixed, plain, taken_apart
from pumpwatch.sim.frames import NS, NUMBER
from pumpwatch.sim.generate import Flow
from pumpwatch.sim.instruments import (
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
)

PING_INTERVAL_MS, PING_TIMEOUT_MS = 18_000, 10_000
TOKEN_LIFE_S = 86_400.0
SYMBOLS_PER_TOPIC_MAX = 100
TOPICS_MAX = {"kucoin_spot": 400, "kucoin_futures": 0}  # symbols per connection; 0: not stated
UPLINK_MAX, UPLINK_WINDOW_S = 100, 10.0
CONNECTS_MAX, CONNECTS_WINDOW_S = 30, 60.0
RECENT_MAX = 100
UNAUTHORISED = '{{"type":"error","code":401,"data":"{}"}}'
TOKEN_IS_EXPIRED = "token is expired"
PRICE_NUMBER, PRICE_POWER = 1, 2  # styles of futures messages


class KucoinSession(Session):
    """Welcome first; then topics with comma lists."""

    keepalive = Keepalive(client_silence_s=(PING_INTERVAL_MS + PING_TIMEOUT_MS) / 1000, code=1000)

    def __init__(self, venue: Kucoin, connect_id: str, problem: str) -> None:
        super().__init__(venue)
        self._topic = venue.topic
        self._connect_id = connect_id
        self._problem = problem
        self._uplink = Budget(UPLINK_MAX, UPLINK_WINDOW_S)

    def opened(self, now_s: float) -> list[Action]:
        """The welcome, or why there is none."""
        if self._problem:
            text = UNAUTHORISED.format(self._problem)
            return [Send(text), End(1000, "", self._problem)]
        return [Send(f'{{"id":{json.dumps(self._connect_id)},"type":"welcome"}}')]

    def received(self, text: str, now_s: float) -> list[Action]:
        """subscribe, unsubscribe, ping."""
        request = read_object(text) or {}
        kind, request_id = request.get("type"), request.get("id")
        if not self._uplink.take(now_s):
            why = "exceed max permits per 10 seconds"
            return [self._error(request_id, 509, why), End(1000, "", why)]
        if kind == "ping":
            return [Send(f'{{"id":{json.dumps(request_id)},"type":"pong"}}')]
        topic = request.get("topic")
        if kind not in ("subscribe", "unsubscribe") or not isinstance(topic, str):
            why = f"type {kind} is not supported"
            return [self._error(request_id, 400, why), Refuse("bad request")]
        return self._change(request, kind, topic)

    def refusal(self, text: str) -> list[Action]:
        """The limit that goes away by waiting."""
        request = read_object(text) or {}
        if request.get("type") != "subscribe":
            return []
        why = "exceed max permits per 10 seconds"
        return [Refuse(why), self._error(request.get("id"), 509, why)]

    def _change(self, request: dict[str, Any], kind: str, topic: str) -> list[Action]:
        request_id = request.get("id")
        head, _, names = topic.partition(":")
        symbols = names.split(",")
        if len(symbols) > SYMBOLS_PER_TOPIC_MAX:
            why = "exceed max subscription count limitation of 100 per time"
            return [self._error(request_id, 509, why), End(1000, "", why)]
        instruments: list[Instrument] = []
        for name in symbols:
            instrument = self.venue.market.by_name.get(name)
            if head != self._topic or instrument is None or instrument.status != "trading":
                why = f"topic {head}:{name} is not found"
                return [self._error(request_id, 404, why), Refuse("topic is not found")]
            instruments.append(instrument)
        most = TOPICS_MAX[self.venue.name]
        if kind == "subscribe" and most and len({*self.subscribed, *symbols}) > most:
            why = f"exceed max subscription count limitation of {most} per session"
            return [self._error(request_id, 509, why), Refuse(why)]
        actions: list[Action] = []
        if request.get("response"):
            actions.append(Send(f'{{"id":{json.dumps(request_id)},"type":"ack"}}'))
        return actions + (self.add if kind == "subscribe" else self.remove)(instruments)

    @staticmethod
    def _error(request_id: Any, code: int, text: str) -> Send:
        document = {"id": request_id, "type": "error", "code": code, "data": text}
        return Send(json.dumps(document, separators=(",", ":")))


class Kucoin(Venue):
    """What both KuCoin feeds share: tokens, and ids that are shared with the book."""

    websocket_path = "/"
    flow = Flow(number_step_max=40)
    topic: str

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._tokens: dict[str, tuple[float, bool]] = {}  # until when, used

    def step_ns(self, instrument: Instrument) -> int:
        """Most pairs have whole milliseconds, some the engine's nanoseconds."""
        return 1 if instrument.index % 5 == 2 else 1_000_000

    def open_session(self, upgrade: Upgrade, now_s: float) -> Session | Answer:
        """A token is good for one connection, for a day."""
        if not self.spend("connects", CONNECTS_MAX, CONNECTS_WINDOW_S, now_s):
            return json_answer({"code": "429000", "msg": "too many requests"}, 429)
        if upgrade.path != "/":
            return NOT_FOUND
        token = upgrade.query.get("token", "")
        until_s, is_used = self._tokens.get(token, (0.0, True))
        problem = TOKEN_IS_EXPIRED if is_used or now_s > until_s else ""
        self._tokens[token] = (until_s, True)
        return KucoinSession(self, upgrade.query.get("connectId", ""), problem)

    def expire(self) -> list[str]:
        """No token is good any more; connections are told so."""
        self._tokens.clear()
        return [UNAUTHORISED.format(TOKEN_IS_EXPIRED)]

    # --- REST

    def answer(self, request: Request, now_s: float) -> Answer:
        """The token; lists come from the subclasses."""
        if request.path == "/api/v1/bullet-public":
            return self._token(now_s) if request.method == "POST" else NOT_FOUND
        return self.lists(request)

    def _token(self, now_s: float) -> Answer:
        token = "2neAiuYvAU61ZDXANAGAsiL4-" + "".join(
            self.rng.choices("abcdefghijkmnpqrstuvwxyz23456789_-", k=120)
        )
        self._tokens[token + "=="] = (now_s + self.scaled(TOKEN_LIFE_S), False)
        server = {
            "endpoint": f"{self.websocket_base_url}/", "encrypt": True, "protocol": "websocket",
            "pingInterval": int(self.scaled(PING_INTERVAL_MS)),
            "pingTimeout": int(self.scaled(PING_TIMEOUT_MS)),
        }  # fmt: skip
        return self.good({"token": token + "==", "instanceServers": [server]})

    def lists(self, request: Request) -> Answer:
        """Instruments, recent trades, 24-hour figures."""
        raise NotImplementedError

    @staticmethod
    def good(data: Any) -> Answer:
        """The venue's envelope."""
        return json_answer({"code": "200000", "data": data})

    def recent(self, request: Request) -> tuple[Instrument, list[Trade]] | Answer:
        """The latest 100 trades of the symbol asked for, oldest first."""
        instrument = self.market.by_name.get(request.query.get("symbol", ""))
        if instrument is None:
            return json_answer({"code": "400100", "msg": "symbol is invalid"}, 400)
        return instrument, self.market.tape.recent(instrument.index, RECENT_MAX)


class KucoinSpot(Kucoin):
    """kucoin_spot."""

    name = "kucoin_spot"
    topic = "/market/match"

    def instruments(self) -> list[Instrument]:
        """Coins against USDT, other quotes, disabled ones."""
        coins = coin_names(self.settings.symbols, ("SOL", "OL", "PEPE"))
        rows: list[tuple[str, str, Status]] = [
            *((coin, "USDT", "trading") for coin in coins),
            ("DAPPT", "BTC", "trading"), ("LMR", "BTC", "trading"), ("BTC", "USDC", "trading"),
            ("LUNA", "USDT", "ended"),
        ]  # fmt: skip
        quotes = {"BTC": coin_price("BTC")}
        return [
            Instrument(
                index=index, venue_symbol=f"{coin}-{quote}", base=coin, quote=quote, coin=coin,
                price=0.00000011 if quote == "BTC" else coin_price(coin),
                price_decimals=price_decimals(coin_price(coin) / quotes.get(quote, 1)),
                quantity_decimals=quantity_decimals(coin_price(coin)), status=status,
            )
            for index, (coin, quote, status) in enumerate(rows)
        ]  # fmt: skip

    def first_numbers(self, instrument: Instrument, rng: random.Random) -> tuple[int, int]:
        """13 to 17 digits; beyond 2^53 too."""
        return rng.choice((1_636_276_321_894, 455_391_760_226_305, 11_067_996_711_960_577)), 0

    def row_text(self, instrument: Instrument, entry: Entry, dialect: str) -> str:
        """The shape of 2024: id and sequence are the same."""
        name = instrument.venue_symbol
        return (
            f'{{"topic":"{self.topic}:{name}","type":"message","subject":"trade.l3match","data":{{'
            f'"makerOrderId":"671b5007389355000701b1d3","price":"{entry.price_text}",'
            f'"sequence":"{NUMBER}","side":"{entry.side}","size":"{entry.quantity_text}",'
            f'"symbol":"{name}","takerOrderId":"671b50161777ff00074c168d","time":"{NS}",'
            f'"tradeId":"{NUMBER}","type":"match"}}}}'
        )

    def read_recorded(self, text: str) -> Recorded | None:
        """Matches; until 2022 their id is not the sequence."""
        document = json.loads(text)
        if document.get("subject") != "trade.l3match":
            return None
        row = document["data"]
        sequence = int(row["sequence"])
        entry = Entry(
            row["side"] == "sell", *taken_apart(row["price"]), *taken_apart(row["size"]),
            trade_id="" if row["tradeId"] == row["sequence"] else row["tradeId"],
        )  # fmt: skip
        return Recorded(
            text, row["symbol"], [RecordedRow(int(row["time"]), entry, sequence, sequence)]
        )

    def lists(self, request: Request) -> Answer:
        """/api/v2/symbols and its older form, /api/v1/market/histories, allTickers."""
        if request.path in ("/api/v2/symbols", "/api/v1/symbols"):
            return self.good([
                {"symbol": one.venue_symbol, "name": one.venue_symbol, "baseCurrency": one.base,
                 "quoteCurrency": one.quote, "feeCurrency": one.quote, "market": "USDS",
                 "baseIncrement": fixed(1, one.quantity_decimals),
                 "priceIncrement": fixed(1, one.price_decimals), "priceLimitRate": "0.1",
                 "isMarginEnabled": False, "enableTrading": one.status == "trading"}
                for one in self.market.listed
            ])  # fmt: skip
        if request.path == "/api/v1/market/allTickers":
            return self.good({"time": self.clock.wall_ns() // 10**6, "ticker": [
                {"symbol": one.venue_symbol, "last": str(one.price), "vol": "1000",
                 "volValue": f"{1e9 / (one.index + 1):.2f}"}
                for one in self.market.listed
            ]})  # fmt: skip
        if request.path != "/api/v1/market/histories":
            return NOT_FOUND
        found = self.recent(request)
        if isinstance(found, Answer):
            return found
        return self.good([
            {"sequence": str(trade.number), "price": trade.entry.price_text,
             "size": trade.entry.quantity_text, "side": trade.entry.side, "time": trade.ns}
            for trade in found[1]
        ])  # fmt: skip


class KucoinFutures(Kucoin):
    """kucoin_futures: whole contracts; XBT is BTC."""

    name = "kucoin_futures"
    topic = "/contractMarket/execution"
    styles = 3
    long_decimals_max = 0

    def instruments(self) -> list[Instrument]:
        """Perpetuals against USDT, inverse and dated ones, ended ones."""
        known = {"BTC": -3, "ETH": -2, "SOL": -1, "ZRX": 1}
        coins = coin_names(self.settings.symbols, ("SOL", "ZRX", "PEPE"))
        rows: list[tuple[str, str, str, Status]] = [
            *((coin, "USDT", "FFWCSX", "trading") for coin in coins),
            ("BTC", "USD", "FFWCSX", "trading"), ("BTC", "USDT", "FFICSX", "trading"),
            ("BTC", "USDC", "FFWCSX", "trading"), ("LUNA", "USDT", "FFWCSX", "ended"),
        ]  # fmt: skip
        found = []
        for index, (coin, quote, kind, status) in enumerate(rows):
            price = coin_price(coin)
            mantissa, decimals = contract_parts(known.get(coin, contract_exponent(price)))
            name = f"{'XBT' if coin == 'BTC' else coin}{quote}M"
            found.append(Instrument(
                index=index, venue_symbol="XBTMZ26" if kind == "FFICSX" else name, base=coin,
                quote=quote, coin=coin, price=price, price_decimals=price_decimals(price),
                quantity_decimals=0, contract_mantissa=mantissa, contract_decimals=decimals,
                status=status, listed={"type": kind, "contracts": "yes"},
            ))  # fmt: skip
        return found

    def step_ns(self, instrument: Instrument) -> int:
        """Multiples of one or ten milliseconds."""
        return 10_000_000 if instrument.index % 2 else 1_000_000

    def first_numbers(self, instrument: Instrument, rng: random.Random) -> tuple[int, int]:
        """13 digits."""
        return rng.randint(10**12, 2 * 10**12), 0

    def row_text(self, instrument: Instrument, entry: Entry, dialect: str) -> str:
        """The shape of 2026; now and then the price is a number, small ones with a power of ten."""
        name, price = instrument.venue_symbol, f'"{entry.price_text}"'
        if entry.style == PRICE_NUMBER:
            price = entry.price_text
        elif entry.style == PRICE_POWER and len(str(entry.price)) == entry.price_decimals - 4:
            price = f"{plain(entry.price, len(str(entry.price)) - 1)}E-5"
        return (
            f'{{"topic":"{self.topic}:{name}","type":"message","subject":"match","sn":{NUMBER},'
            f'"data":{{"symbol":"{name}","sequence":{NUMBER},"side":"{entry.side}",'
            f'"size":{entry.quantity_text},"price":{price},"takerOrderId":"484590665674690560",'
            f'"makerOrderId":"484590651955064832","tradeId":"{NUMBER}","ts":{NS}}}}}'
        )

    def read_recorded(self, text: str) -> Recorded | None:
        """Matches; in 2021 with another id."""
        document = json.loads(text)
        if document.get("subject") != "match":
            return None
        row = document["data"]
        sequence = int(row["sequence"])
        entry = Entry(
            row["side"] == "sell", *taken_apart(str(row["price"])), *taken_apart(str(row["size"])),
            trade_id="" if row["tradeId"] == str(sequence) else row["tradeId"],
        )  # fmt: skip
        return Recorded(text, row["symbol"], [RecordedRow(row["ts"], entry, sequence, sequence)])

    def lists(self, request: Request) -> Answer:
        """/api/v1/contracts/active and /api/v1/trade/history."""
        if request.path == "/api/v1/contracts/active":
            return self.good([
                {"symbol": one.venue_symbol, "rootSymbol": one.quote, "type": one.listed["type"],
                 "baseCurrency": "XBT" if one.base == "BTC" else one.base,
                 "quoteCurrency": one.quote,
                 "settleCurrency": "XBT" if one.quote == "USD" else one.quote, "lotSize": 1,
                 "tickSize": float(fixed(1, one.price_decimals)),
                 "multiplier": -1.0 if one.quote == "USD" else float(one.contract_value),
                 "isInverse": one.quote == "USD",
                 "status": {"trading": "Open", "prelaunch": "Init"}.get(one.status, "Closed"),
                 "turnoverOf24h": 1e9 / (one.index + 1), "volumeOf24h": 1000.0,
                 "lastTradePrice": one.price}
                for one in self.market.listed
            ])  # fmt: skip
        if request.path != "/api/v1/trade/history":
            return NOT_FOUND
        found = self.recent(request)
        if isinstance(found, Answer):
            return found
        instrument, trades = found
        return self.good([
            {"sequence": trade.number, "contractId": 1,
             "tradeId": self.trade_id(instrument, trade), "makerOrderId": "236679665752801280",
             "takerOrderId": "236679667975745536", "ts": trade.ns,
             "size": int(trade.entry.quantity_text), "price": trade.entry.price_text,
             "side": trade.entry.side}
            for trade in reversed(trades)
        ])  # fmt: skip
