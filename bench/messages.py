"""Synthetic messages of the 12 feeds, spelled as the venues spell them today.

Shapes, key order and lengths of numbers are those of tests/samples; symbols, prices and sizes are
drawn, with a few busy symbols and many quiet ones. Contiguous ids count up per symbol, so that no
message tells of a gap.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from pumpwatch._fast import (
    parse_binance,
    parse_bybit,
    parse_gate,
    parse_kucoin,
    parse_okx,
    parse_phemex,
)
from pumpwatch._fast.parser import Parser

SECOND_NS = 10**9
START_NS = 1_790_000_000 * SECOND_NS
SYMBOLS = 500
MANY = 50  # rows a message where the format has that: a busy 20 ms
TEXT_FRAME = 0x81


@dataclass
class Market:
    """One instrument, and where its ids and price stand."""

    base: str
    price: int  # in ticks
    decimals: int  # of the price
    trade_id: int
    rng: random.Random

    def price_text(self) -> str:
        """The next price."""
        self.price = max(1, self.price + self.rng.randrange(-3, 4))
        return number_text(self.price, self.decimals)

    def next_id(self, step: int = 1) -> int:
        """The next trade id, or sequence where ``step`` may be more than 1."""
        self.trade_id += step
        return self.trade_id


@dataclass
class Row:
    """One trade before it is spelled."""

    market: Market
    ns: int
    price: str
    size: str
    is_sell: bool

    @property
    def ms(self) -> int:
        """The trade's time in milliseconds."""
        return self.ns // 10**6


@dataclass(frozen=True)
class Form:
    """One feed's messages."""

    parser: Parser
    symbol: Callable[[str], str]  # the venue's name of a base coin
    spell: Callable[[list[Row]], Any]  # a document of one message
    rows_max: int = 1
    contract_value: str = "1"
    price_exponent: int = 0

    @property
    def feed(self) -> str:
        """The feed's name."""
        return self.parser.feed


def number_text(digits: int, decimals: int) -> str:
    """``digits / 10**decimals`` as venues write it, without trailing zeros."""
    text = str(digits).rjust(decimals + 1, "0")
    if not decimals:
        return text
    return f"{text[:-decimals]}.{text[-decimals:]}".rstrip("0").rstrip(".")


def padded(text: str, decimals: int) -> str:
    """The number with zeros behind it, as Binance spot and Gate of old write it."""
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction.ljust(decimals, '0')}"


def scaled(text: str) -> int:
    """The number in units of 10**-8, as Phemex spot writes it."""
    return int(padded(text, 8).replace(".", ""))


def side(row: Row, buy: str = "buy", sell: str = "sell") -> str:
    """The taker's side in the venue's word."""
    return sell if row.is_sell else buy


def hex24(rng: random.Random) -> str:
    """An order id as KuCoin spot has them."""
    return f"{rng.getrandbits(96):024x}"


def binance(rows: list[Row], *, is_spot: bool) -> Any:
    row = rows[0]
    symbol = f"{row.market.base}USDT"
    data: dict[str, Any] = {"e": "trade", "E": row.ms + 1}
    if not is_spot:
        data["T"] = row.ms
    data |= {"s": symbol, "t": row.market.next_id()}
    data |= {"p": padded(row.price, 8) if is_spot else row.price}
    data |= {"q": padded(row.size, 8) if is_spot else row.size}
    data |= (
        {"T": row.ms, "m": row.is_sell, "M": True} if is_spot else {"X": "MARKET", "m": row.is_sell}
    )
    return {"stream": f"{symbol.lower()}@trade", "data": data}


def bybit_spot(rows: list[Row]) -> Any:
    symbol = f"{rows[0].market.base}USDT"
    data = [
        {"i": f"22900000{row.market.next_id(3):011d}", "T": row.ms, "p": row.price, "v": row.size,
         "S": side(row, "Buy", "Sell"), "seq": 113_508_069_853 + row.market.trade_id, "s": symbol,
         "BT": False, "RPI": False}
        for row in rows
    ]  # fmt: skip
    return {"topic": f"publicTrade.{symbol}", "ts": rows[-1].ms, "type": "snapshot", "data": data}


def bybit_futures(rows: list[Row]) -> Any:
    symbol = f"{rows[0].market.base}USDT"
    data = [
        {"T": row.ms, "s": symbol, "S": side(row, "Buy", "Sell"), "v": row.size, "p": row.price,
         "L": "ZeroPlusTick", "i": str(uuid.UUID(int=row.market.rng.getrandbits(128))), "BT": False,
         "RPI": False, "seq": 549_792_210_006 + row.market.next_id(3)}
        for row in rows
    ]  # fmt: skip
    return {"topic": f"publicTrade.{symbol}", "type": "snapshot", "ts": rows[-1].ms, "data": data}


def okx(rows: list[Row], *, suffix: str) -> Any:
    row = rows[0]
    symbol = f"{row.market.base}-USDT{suffix}"
    data = {"instId": symbol, "tradeId": str(row.market.next_id()), "px": row.price, "sz": row.size,
            "side": side(row), "ts": str(row.ms)}  # fmt: skip
    return {"arg": {"channel": "trades-all", "instId": symbol}, "data": [data]}


def kucoin_spot(rows: list[Row]) -> Any:
    row = rows[0]
    symbol = f"{row.market.base}-USDT"
    number = str(row.market.next_id(7))
    data = {"makerOrderId": hex24(row.market.rng), "price": row.price, "sequence": number,
            "side": side(row), "size": row.size, "symbol": symbol,
            "takerOrderId": hex24(row.market.rng),
            "time": str(row.ns), "tradeId": number, "type": "match"}  # fmt: skip
    return {"topic": f"/market/match:{symbol}", "type": "message", "subject": "trade.l3match",
            "data": data}  # fmt: skip


def kucoin_futures(rows: list[Row]) -> Any:
    row = rows[0]
    symbol = f"{row.market.base}USDTM"
    number = row.market.next_id(7)
    orders = [str(484_590_000_000_000_000 + row.market.rng.getrandbits(50)) for _ in range(2)]
    data = {"symbol": symbol, "sequence": number, "side": side(row), "size": whole(row),
            "price": row.price, "takerOrderId": orders[0], "makerOrderId": orders[1],
            "tradeId": str(number), "ts": row.ns // 10**6 * 10**6}  # fmt: skip
    return {"topic": f"/contractMarket/execution:{symbol}", "type": "message", "subject": "match",
            "sn": number, "data": data}  # fmt: skip


def whole(row: Row) -> int:
    """A size in whole contracts."""
    return int(row.size.replace(".", "").lstrip("0") or "1") % 1000 + 1


def gate_spot(rows: list[Row]) -> Any:
    row = rows[0]
    number = row.market.next_id()
    result = {"id": number, "id_market": number, "create_time": row.ns // SECOND_NS,
              "create_time_ms": f"{row.ms}.{row.ns % 10**6:06d}", "side": side(row),
              "currency_pair": f"{row.market.base}_USDT", "amount": row.size, "price": row.price,
              "range": f"{number}-{number}", "trade_mode": 0}  # fmt: skip
    return {"time": row.ns // SECOND_NS, "time_ms": row.ms + 1, "channel": "spot.trades",
            "event": "update", "result": result}  # fmt: skip


def gate_futures(rows: list[Row]) -> Any:
    result = [
        {"id": row.market.next_id(), "size": -whole(row) if row.is_sell else whole(row),
         "create_time": row.ns // SECOND_NS, "create_time_ms": row.ms, "price": row.price,
         "contract": f"{row.market.base}_USDT"}
        for row in rows
    ]  # fmt: skip
    last = rows[-1]
    return {"time": last.ns // SECOND_NS, "time_ms": last.ms + 1, "channel": "futures.trades",
            "event": "update", "result": result}  # fmt: skip


def phemex_spot(rows: list[Row]) -> Any:
    trades = [[row.ns, side(row, "Buy", "Sell"), scaled(row.price), scaled(row.size)]
              for row in reversed(rows)]  # fmt: skip
    last = rows[-1]
    return {"dts": last.ns + 9_000_000, "mts": last.ns + 8_000_000,
            "sequence": last.market.next_id(9), "symbol": f"s{last.market.base}USDT",
            "trades": trades, "type": "incremental"}  # fmt: skip


def phemex_futures(rows: list[Row]) -> Any:
    trades = [[row.ns, side(row, "Buy", "Sell"), row.price, row.size] for row in reversed(rows)]
    last = rows[-1]
    return {"dts": last.ns + 9_000_000, "mts": last.ns + 8_000_000,
            "sequence": last.market.next_id(9), "symbol": f"{last.market.base}USDT",
            "trades_p": trades, "type": "incremental"}  # fmt: skip


FORMS = (
    Form(parse_binance.SPOT, "{}USDT".format, lambda rows: binance(rows, is_spot=True)),
    Form(parse_binance.FUTURES, "{}USDT".format, lambda rows: binance(rows, is_spot=False)),
    Form(parse_bybit.SPOT, "{}USDT".format, bybit_spot, 1024),
    Form(parse_bybit.FUTURES, "{}USDT".format, bybit_futures, 1024),
    Form(parse_okx.SPOT, "{}-USDT".format, lambda rows: okx(rows, suffix="")),
    Form(
        parse_okx.FUTURES, "{}-USDT-SWAP".format, lambda rows: okx(rows, suffix="-SWAP"), 1, "0.01"
    ),
    Form(parse_kucoin.SPOT, "{}-USDT".format, kucoin_spot),
    Form(parse_kucoin.FUTURES, "{}USDTM".format, kucoin_futures, 1, "0.001"),
    Form(parse_gate.SPOT, "{}_USDT".format, gate_spot),
    Form(parse_gate.FUTURES, "{}_USDT".format, gate_futures, 1000, "0.0001"),
    Form(parse_phemex.SPOT, "s{}USDT".format, phemex_spot, 1000, "0.00000001", -8),
    Form(parse_phemex.FUTURES, "{}USDT".format, phemex_futures, 1000),
)


@dataclass
class Stream:
    """Messages of one feed, the same for the same seed."""

    form: Form
    seed: int
    symbols: int = SYMBOLS
    markets: list[Market] = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.ns = START_NS
        self.markets = [self.market(number) for number in range(self.symbols)]
        # As on a venue: the tenth symbol trades a tenth as often as the first.
        self.weights = list(accumulate(1 / (number + 1) for number in range(self.symbols)))

    def market(self, number: int) -> Market:
        """Bases of 3 to 6 letters; prices from 0.00001 to 90,000."""
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        base = letters[number // 26 // 26 % 26] + letters[number // 26 % 26] + letters[number % 26]
        base += letters[: number % 4]
        decimals = self.rng.randrange(1, 7)
        price = self.rng.randrange(10**4, 10**6)
        return Market(base, price, decimals, self.rng.randrange(10**9, 5 * 10**9), self.rng)

    def rows(self, count: int) -> list[Row]:
        """The rows of one message: one symbol, the side mostly the same, times close together."""
        market = self.rng.choices(self.markets, cum_weights=self.weights)[0]
        is_sell = self.rng.random() < 0.5
        rows = []
        for _ in range(count):
            self.ns += self.rng.randrange(1, 200_000)
            size = number_text(
                self.rng.randrange(1, 10 ** self.rng.randrange(2, 7)), self.rng.randrange(5)
            )
            is_sell ^= self.rng.random() < 0.2
            rows.append(Row(market, self.ns, market.price_text(), size, is_sell))
        return rows

    def message(self, count: int) -> bytes:
        """The next message, of ``count`` rows."""
        document = self.form.spell(self.rows(min(count, self.form.rows_max)))
        return json.dumps(document, separators=(",", ":")).encode()

    def messages(self, rows: int, count: int) -> Iterator[bytes]:
        """Messages of ``count`` rows each, ``rows`` in all."""
        for _ in range(0, rows, count):
            yield self.message(count)


def frame(payload: bytes) -> bytes:
    """The payload as a server's text frame (RFC 6455 section 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes([TEXT_FRAME, size]) + payload
    if size < 65536:
        return bytes([TEXT_FRAME, 126]) + size.to_bytes(2, "big") + payload
    return bytes([TEXT_FRAME, 127]) + size.to_bytes(8, "big") + payload
