"""OKX v5 spot and USDT swaps (FEEDS.md, section 5)."""

from __future__ import annotations

import json
import random
import re
from typing import Any

from pumpwatch.sim.digits import fixed, taken_apart
from pumpwatch.sim.frames import MS, NUMBER
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

BUSINESS, PUBLIC = "/ws/v5/business", "/ws/v5/public"
CHANNEL = "trades-all"
REQUESTS_MAX, REQUESTS_WINDOW_S = 480, 3600.0
PAYLOAD_BYTES_MAX = 65_536
SILENCE_S = 30.0
CONNECTS_MAX, CONNECTS_WINDOW_S = 3, 1.0
REST_LIMITS = {  # requests in two seconds
    "/api/v5/market/trades": 100, "/api/v5/market/history-trades": 20,
    "/api/v5/public/instruments": 20, "/api/v5/market/tickers": 20,
}  # fmt: skip
REST_WINDOW_S = 2.0
RECENT_MAX, HISTORY_MAX = 500, 100
CONNECTION_ID = "a4d3ae55"


def _pairs(args: Any) -> list[tuple[str, str]]:
    """Channel and instrument of each argument; [] when something is wrong with one."""
    if not isinstance(args, list) or not all(isinstance(arg, dict) for arg in args):
        return []
    pairs = [(arg.get("channel"), arg.get("instId")) for arg in args]
    return pairs if all(isinstance(text, str) for pair in pairs for text in pair) else []


class OkxSession(Session):
    """Channels by argument; each is acknowledged or refused on its own."""

    keepalive = Keepalive(
        client_silence_s=SILENCE_S, counts_both_ways=True, needs_subscription_s=SILENCE_S,
        code=4004, reason="No data received in 30s.",
    )  # fmt: skip

    def __init__(self, venue: Venue, path: str) -> None:
        super().__init__(venue)
        self._path = path
        self._requests = Budget(REQUESTS_MAX, venue.scaled(REQUESTS_WINDOW_S))

    def received(self, text: str, now_s: float) -> list[Action]:
        """The text ``ping``, or a request."""
        if text == "ping":
            return [Send("pong")]
        request = read_object(text) or {}
        operation, request_id = request.get("op"), request.get("id")
        pairs = _pairs(request.get("args"))
        if operation not in ("subscribe", "unsubscribe") or not pairs:
            why = f"Invalid request: {text}"
            return [Refuse("bad request"), self._error("60012", why, request_id)]
        if len(text.encode()) > PAYLOAD_BYTES_MAX:
            return [Refuse("payload over 64 KB"),
                    self._error("60012", "Invalid request: over 64 KB", request_id)]  # fmt: skip
        if not self._requests.take(now_s):
            return [Refuse("480 requests an hour"),
                    self._error("60014", "Requests too frequent", request_id)]  # fmt: skip
        actions: list[Action] = []
        for channel, name in pairs:
            actions += self._one(operation, channel, name, request_id)
        return actions

    def refusal(self, text: str) -> list[Action]:
        """A subscription that came too soon."""
        request = read_object(text) or {}
        if request.get("op") != "subscribe":
            return []
        why = "Requests too frequent"
        return [Refuse(why), self._error("60014", why, request.get("id"))]

    def farewell(self) -> list[str]:
        """The notice of a service upgrade."""
        document = {
            "event": "notice", "code": "64008", "connId": CONNECTION_ID,
            "msg": "The connection will soon be closed for a service upgrade. Please reconnect.",
        }  # fmt: skip
        return [json.dumps(document, separators=(",", ":"))]

    def _one(self, operation: str, channel: str, name: str, request_id: Any) -> list[Action]:
        instrument = self._find(name)
        if channel != CHANNEL or self._path != BUSINESS or instrument is None:
            text = (
                f"Wrong URL or channel:{channel}, instId:{name} doesn't exist. Please use the"
                " correct URL, channel and parameters referring to API document."
            )
            return [Refuse("wrong URL or channel"), self._error("60018", text, request_id)]
        document = {
            "event": operation, "arg": {"channel": channel, "instId": name},
            "connId": CONNECTION_ID,
        }  # fmt: skip
        if request_id is not None:
            document = {"id": request_id, **document}
        change = self.add if operation == "subscribe" else self.remove
        return [Send(json.dumps(document, separators=(",", ":"))), *change([instrument])]

    def _find(self, name: str) -> Instrument | None:
        for market in (self.venue.market, *self.venue.siblings):
            instrument = market.by_name.get(name)
            if instrument is not None and instrument.status in ("trading", "prelaunch"):
                return instrument
        return None

    @staticmethod
    def _error(code: str, text: str, request_id: Any) -> Send:
        document = {"event": "error", "msg": text, "code": code, "connId": CONNECTION_ID}
        if request_id is not None:
            document = {"id": request_id, **document}
        return Send(json.dumps(document, separators=(",", ":")))


class Okx(Venue):
    """What both OKX feeds share: they may be on one socket."""

    websocket_path = BUSINESS
    flow = Flow()
    greeting = "latest"
    has_deep_history = True
    number_pattern = re.compile(r'"tradeId":"(\d+)"')
    kind: str

    def first_numbers(self, instrument: Instrument, rng: random.Random) -> tuple[int, int]:
        """Ids of seven to ten digits."""
        return rng.randint(10**6, 3 * 10**9), 0

    def row_text(self, instrument: Instrument, entry: Entry, dialect: str) -> str:
        """One fill; no trailing zeros."""
        name = instrument.venue_symbol
        return (
            f'{{"arg":{{"channel":"{CHANNEL}","instId":"{name}"}},"data":[{{"instId":"{name}",'
            f'"tradeId":"{NUMBER}","px":"{entry.price_text}","sz":"{entry.quantity_text}",'
            f'"side":"{entry.side}","ts":"{MS}"}}]}}'
        )

    def read_recorded(self, text: str) -> Recorded | None:
        """Single fills; ``trades`` messages of one fill are given the name of ``trades-all``."""
        if not text.startswith("{"):
            return None
        document = json.loads(text)
        if not document.get("data"):
            return None
        row = document["data"][0]
        if int(row.get("count", 1)) != 1:
            return None  # several fills in one: no such thing on trades-all
        text = text.replace('"channel":"trades"', f'"channel":"{CHANNEL}"')
        text = re.sub(r',"count":"1","source":"0","seqId":\d+', "", text)
        number = int(row["tradeId"])
        entry = Entry(row["side"] == "sell", *taken_apart(row["px"]), *taken_apart(row["sz"]))
        return Recorded(
            text, row["instId"], [RecordedRow(int(row["ts"]) * 10**6, entry, number, number)]
        )

    def open_session(self, upgrade: Upgrade, now_s: float) -> Session | Answer:
        """Both paths connect; ``trades-all`` is only on one."""
        if not self.spend("connects", CONNECTS_MAX, CONNECTS_WINDOW_S, now_s):
            return json_answer({"code": "50011", "msg": "Too Many Requests"}, 429)
        if upgrade.path not in (BUSINESS, PUBLIC):
            return NOT_FOUND
        return OkxSession(self, upgrade.path)

    # --- REST

    def answer(self, request: Request, now_s: float) -> Answer:
        """Instruments, the latest trades, older ones by id, tickers."""
        most = REST_LIMITS.get(request.path)
        if most is None:
            return NOT_FOUND
        if self.settings.rest_limits and not self.spend(request.path, most, REST_WINDOW_S, now_s):
            return json_answer({"code": "50011", "msg": "Too Many Requests", "data": []}, 429)
        if request.path == "/api/v5/public/instruments":
            if request.query.get("instType") != self.kind:
                return self._wrong("instType")
            return self._good([self._list_entry(one) for one in self.market.listed])
        if request.path == "/api/v5/market/tickers":
            return self._good([
                {"instType": self.kind, "instId": one.venue_symbol, "last": str(one.price),
                 "vol24h": "1000", "volCcy24h": f"{1e9 / (one.index + 1):.2f}"}
                for one in self.market.listed
            ])  # fmt: skip
        instrument = self.market.by_name.get(request.query.get("instId", ""))
        if instrument is None:
            return self._wrong("instId")
        if request.path == "/api/v5/market/trades":
            limit = request.number("limit", 100, RECENT_MAX)
            trades = self.market.tape.recent(instrument.index, limit)
        else:
            trades = self._history(instrument, request)
        return self._good([
            {"instId": instrument.venue_symbol, "side": trade.entry.side,
             "sz": trade.entry.quantity_text, "px": trade.entry.price_text,
             "tradeId": str(trade.number), "ts": str(trade.ns // 10**6)}
            for trade in reversed(trades)
        ])  # fmt: skip

    def _history(self, instrument: Instrument, request: Request) -> list[Trade]:
        """``after``: older than this id; ``before``: newer. Oldest first here."""
        limit = request.number("limit", HISTORY_MAX, HISTORY_MAX)
        after, before = request.number("after", 0), request.number("before", 0)
        tape, symbol = self.market.tape, instrument.index
        known = tape.remembered(symbol)
        chosen = known.number > before
        if after:
            chosen &= known.number < after
        rows = known.row[chosen]
        return tape.trades(symbol, rows[max(0, len(rows) - limit) :])

    def _wrong(self, what: str) -> Answer:
        return json_answer({"code": "51001", "msg": f"Parameter {what} error", "data": []}, 400)

    @staticmethod
    def _good(rows: list[Any]) -> Answer:
        return json_answer({"code": "0", "data": rows, "msg": ""})

    def _list_entry(self, one: Instrument) -> dict[str, str]:
        state = {"trading": "live", "prelaunch": "preopen", "halted": "suspend", "ended": "expired"}
        return {
            "alias": "", "baseCcy": "", "category": "1", "ctMult": "", "ctType": "", "ctVal": "",
            "ctValCcy": "", "expTime": "", "instId": one.venue_symbol, "instType": self.kind,
            "lever": "10", "listTime": "1548133413000",
            "lotSz": fixed(1, one.quantity_decimals), "minSz": fixed(1, one.quantity_decimals),
            "optType": "", "quoteCcy": "", "settleCcy": "", "state": state[one.status], "stk": "",
            "tickSz": fixed(1, one.price_decimals), "uly": "",
        }  # fmt: skip


class OkxSpot(Okx):
    """okx_spot."""

    name = "okx_spot"
    kind = "SPOT"

    def instruments(self) -> list[Instrument]:
        """Coins against USDT, other quotes, suspended and future ones."""
        coins = coin_names(self.settings.symbols, ("SOL", "BSV", "SHIB"))
        rows: list[tuple[str, str, Status]] = [
            *((coin, "USDT", "trading") for coin in coins),
            ("BTC", "USDC", "trading"), ("ETH", "BTC", "trading"),
            ("LUNA", "USDT", "halted"), ("NEWC", "USDT", "prelaunch"),
        ]  # fmt: skip
        return [
            Instrument(
                index=index, venue_symbol=f"{coin}-{quote}", base=coin, quote=quote, coin=coin,
                price=coin_price(coin), price_decimals=price_decimals(coin_price(coin)),
                quantity_decimals=quantity_decimals(coin_price(coin)), status=status,
            )
            for index, (coin, quote, status) in enumerate(rows)
        ]  # fmt: skip

    def _list_entry(self, one: Instrument) -> dict[str, str]:
        return {**super()._list_entry(one), "baseCcy": one.base, "quoteCcy": one.quote}


class OkxFutures(Okx):
    """okx_futures: quantities are contracts, with decimals."""

    name = "okx_futures"
    kind = "SWAP"

    def instruments(self) -> list[Instrument]:
        """Linear swaps against USDT, inverse and USDC ones, suspended ones."""
        known = {"BTC": -2, "ETH": -1, "FITFI": 1, "DOGE": 3, "SHIB": 6}
        coins = coin_names(self.settings.symbols, ("SOL", "FITFI", "DOGE", "SHIB", "PEPE"))
        rows: list[tuple[str, str, Status]] = [
            *((coin, "USDT", "trading") for coin in coins),
            ("BTC", "USD", "trading"), ("BTC", "USDC", "trading"), ("LUNA", "USDT", "halted"),
        ]  # fmt: skip
        found = []
        for index, (coin, quote, status) in enumerate(rows):
            price = coin_price(coin)
            mantissa, decimals = contract_parts(known.get(coin, contract_exponent(price)))
            found.append(Instrument(
                index=index, venue_symbol=f"{coin}-{quote}-SWAP", base=coin, quote=quote, coin=coin,
                price=price, price_decimals=price_decimals(price),
                quantity_decimals=2 if index % 3 == 0 else 0, contract_mantissa=mantissa,
                contract_decimals=decimals, status=status, listed={"contracts": "yes"},
            ))  # fmt: skip
        return found

    def _list_entry(self, one: Instrument) -> dict[str, str]:
        is_linear = one.quote != "USD"
        return {
            **super()._list_entry(one), "ctMult": "1",
            "ctVal": one.contract_value if is_linear else "100",
            "ctType": "linear" if is_linear else "inverse",
            "ctValCcy": one.base if is_linear else "USD",
            "settleCcy": one.quote if is_linear else one.base, "uly": f"{one.base}-{one.quote}",
        }  # fmt: skip
