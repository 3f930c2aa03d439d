"""What a careful user would write in Python: decode, build a line of text, one f-string a row.

Favours are given: symbols are looked up as ready prefixes, numbers stay as the text that came where
that is right, no gaps or repeats are looked for, and Phemex gets no ordinals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec
import orjson

from bench.messages import Form, Stream
from bench.roads import RECEIVE_NS

Fields = tuple[str, str, Any, Any, Any, int, int]  # symbol, side, price, quantity, id, sequence, ns
Reader = Callable[[Any], Iterator[Fields]]
SIDES = {"Buy": "buy", "Sell": "sell", "buy": "buy", "sell": "sell"}


# Typed as msgspec's documentation recommends: only the fields that are used.


class BinanceData(msgspec.Struct):
    s: str
    t: int
    p: str
    q: str
    T: int
    m: bool


class Binance(msgspec.Struct):
    data: BinanceData


class BybitRow(msgspec.Struct):
    i: str
    T: int
    p: str
    v: str
    S: Literal["Buy", "Sell"]
    s: str
    seq: int


class Bybit(msgspec.Struct):
    data: list[BybitRow]


class OkxRow(msgspec.Struct):
    symbol: str = msgspec.field(name="instId")
    trade_id: str = msgspec.field(name="tradeId")
    px: str
    sz: str
    side: Literal["buy", "sell"]
    ts: str


class Okx(msgspec.Struct):
    data: list[OkxRow]


class KucoinSpotData(msgspec.Struct):
    symbol: str
    side: Literal["buy", "sell"]
    size: str
    price: str
    trade_id: str = msgspec.field(name="tradeId")
    sequence: str
    time: str


class KucoinSpot(msgspec.Struct):
    data: KucoinSpotData


class KucoinFuturesData(msgspec.Struct):
    symbol: str
    side: Literal["buy", "sell"]
    size: int
    price: str
    trade_id: str = msgspec.field(name="tradeId")
    sequence: int
    ts: int


class KucoinFutures(msgspec.Struct):
    data: KucoinFuturesData


class GateSpotRow(msgspec.Struct):
    id: int
    create_time_ms: str
    side: Literal["buy", "sell"]
    currency_pair: str
    amount: str
    price: str
    id_market: int


class GateSpot(msgspec.Struct):
    result: GateSpotRow


class GateFuturesRow(msgspec.Struct):
    id: int
    size: int
    create_time_ms: int
    price: str
    contract: str


class GateFutures(msgspec.Struct):
    result: list[GateFuturesRow]


class PhemexSpot(msgspec.Struct):
    sequence: int
    symbol: str
    trades: list[tuple[int, str, int, int]]


class PhemexFutures(msgspec.Struct):
    sequence: int
    symbol: str
    trades_p: list[tuple[int, str, str, str]]


def ns_of_text(ms: str) -> int:
    """Milliseconds with a fraction of six digits."""
    return int(ms.replace(".", ""))


def binance_typed(d: Binance) -> Iterator[Fields]:
    r = d.data
    yield r.s, "sell" if r.m else "buy", r.p, r.q, r.t, r.t, r.T * 1_000_000


def binance_plain(d: Any) -> Iterator[Fields]:
    r = d["data"]
    yield r["s"], "sell" if r["m"] else "buy", r["p"], r["q"], r["t"], r["t"], r["T"] * 1_000_000


def bybit_typed(d: Bybit) -> Iterator[Fields]:
    for r in d.data:
        yield r.s, SIDES[r.S], r.p, r.v, r.i, r.seq, r.T * 1_000_000


def bybit_plain(d: Any) -> Iterator[Fields]:
    for r in d["data"]:
        yield r["s"], SIDES[r["S"]], r["p"], r["v"], r["i"], r["seq"], r["T"] * 1_000_000


def okx_typed(d: Okx, value: float) -> Iterator[Fields]:
    for r in d.data:
        size = r.sz if value == 1 else float(r.sz) * value
        yield r.symbol, r.side, r.px, size, r.trade_id, int(r.trade_id), int(r.ts) * 1_000_000


def okx_plain(d: Any, value: float) -> Iterator[Fields]:
    for r in d["data"]:
        size, number = r["sz"] if value == 1 else float(r["sz"]) * value, r["tradeId"]
        yield r["instId"], r["side"], r["px"], size, number, int(number), int(r["ts"]) * 1_000_000


def kucoin_spot_typed(d: KucoinSpot) -> Iterator[Fields]:
    r = d.data
    yield r.symbol, r.side, r.price, r.size, r.trade_id, int(r.sequence), int(r.time)


def kucoin_spot_plain(d: Any) -> Iterator[Fields]:
    r = d["data"]
    number = int(r["sequence"])
    yield r["symbol"], r["side"], r["price"], r["size"], r["tradeId"], number, int(r["time"])


def kucoin_futures_typed(d: KucoinFutures) -> Iterator[Fields]:
    r = d.data
    yield r.symbol, r.side, r.price, r.size * 0.001, r.trade_id, r.sequence, r.ts


def kucoin_futures_plain(d: Any) -> Iterator[Fields]:
    r = d["data"]
    size = r["size"] * 0.001
    yield r["symbol"], r["side"], r["price"], size, r["tradeId"], r["sequence"], r["ts"]


def gate_spot_typed(d: GateSpot) -> Iterator[Fields]:
    r = d.result
    ns = ns_of_text(r.create_time_ms)
    yield r.currency_pair, r.side, r.price, r.amount, r.id, r.id_market, ns


def gate_spot_plain(d: Any) -> Iterator[Fields]:
    r = d["result"]
    ns = ns_of_text(r["create_time_ms"])
    yield r["currency_pair"], r["side"], r["price"], r["amount"], r["id"], r["id_market"], ns


def gate_futures_typed(d: GateFutures) -> Iterator[Fields]:
    for r in d.result:
        side, size = "sell" if r.size < 0 else "buy", abs(r.size) * 0.0001
        yield r.contract, side, r.price, size, r.id, r.id, r.create_time_ms * 1_000_000


def gate_futures_plain(d: Any) -> Iterator[Fields]:
    for r in d["result"]:
        side, size = "sell" if r["size"] < 0 else "buy", abs(r["size"]) * 0.0001
        ns = r["create_time_ms"] * 1_000_000
        yield r["contract"], side, r["price"], size, r["id"], r["id"], ns


def phemex_rows(symbol: str, sequence: int, rows: Any, scale: float) -> Iterator[Fields]:
    for ns, side, price, size in reversed(rows):
        price, size = (price, size) if scale == 1 else (price * scale, size * scale)
        yield symbol, SIDES[side], price, size, f"{side}-{price}-{size}-0", sequence, ns


def phemex_spot_typed(d: PhemexSpot) -> Iterator[Fields]:
    return phemex_rows(d.symbol, d.sequence, d.trades, 1e-8)


def phemex_spot_plain(d: Any) -> Iterator[Fields]:
    return phemex_rows(d["symbol"], d["sequence"], d["trades"], 1e-8)


def phemex_futures_typed(d: PhemexFutures) -> Iterator[Fields]:
    return phemex_rows(d.symbol, d.sequence, d.trades_p, 1)


def phemex_futures_plain(d: Any) -> Iterator[Fields]:
    return phemex_rows(d["symbol"], d["sequence"], d["trades_p"], 1)


def with_value(reader: Callable[[Any, float], Iterator[Fields]], value: float) -> Reader:
    return lambda document: reader(document, value)


READERS: dict[str, tuple[type, Reader, Reader]] = {
    "binance_spot": (Binance, binance_typed, binance_plain),
    "binance_futures": (Binance, binance_typed, binance_plain),
    "bybit_spot": (Bybit, bybit_typed, bybit_plain),
    "bybit_futures": (Bybit, bybit_typed, bybit_plain),
    "okx_spot": (Okx, with_value(okx_typed, 1), with_value(okx_plain, 1)),
    "okx_futures": (Okx, with_value(okx_typed, 0.01), with_value(okx_plain, 0.01)),
    "kucoin_spot": (KucoinSpot, kucoin_spot_typed, kucoin_spot_plain),
    "kucoin_futures": (KucoinFutures, kucoin_futures_typed, kucoin_futures_plain),
    "gate_spot": (GateSpot, gate_spot_typed, gate_spot_plain),
    "gate_futures": (GateFutures, gate_futures_typed, gate_futures_plain),
    "phemex_spot": (PhemexSpot, phemex_spot_typed, phemex_spot_plain),
    "phemex_futures": (PhemexFutures, phemex_futures_typed, phemex_futures_plain),
}


def prefixes_of(form: Form, stream: Stream) -> dict[tuple[str, str], str]:
    """The tags of every symbol and side."""
    exchange, market_type = form.feed.split("_")
    return {
        (form.symbol(market.base), side): f"trades,exchange={exchange},market_type={market_type},"
        f"symbol={market.base}USDT,side={side},origin=stream"
        for market in stream.markets
        for side in ("buy", "sell")
    }


def run(decode: Callable[[bytes], Any], read: Reader, prefixes: Any, messages: list[bytes]) -> int:
    """Messages to one payload of lines; returns the rows."""
    lines = []
    for message in messages:
        for symbol, side, price, quantity, trade_id, sequence, ns in read(decode(message)):
            lines.append(
                f"{prefixes[symbol, side]} price={price},quantity={quantity},"
                f'trade_id="{trade_id}",sequence_number={sequence}i,'
                f"received_at={RECEIVE_NS}n {ns}\n"
            )
    "".join(lines).encode()
    return len(lines)


def decoders(feed: str) -> dict[str, tuple[Callable[[bytes], Any], Reader]]:
    """The two peers of a feed."""
    kind, typed, plain = READERS[feed]
    return {
        "msgspec": (msgspec.json.Decoder(kind).decode, typed),
        "orjson": (orjson.loads, plain),
    }
