"""Made trades in the two forms in which a venue tells them: a message of its stream, a REST list.

Written from FEEDS.md, by hand and apart from the readers, so that both forms can be sent down the
same road and compared.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate
from typing import Any

from hypothesis import strategies as st

from pumpwatch.venues import FEEDS_BY_NAME
from tests._fast.driving import NOW_NS, SECOND_NS, Drive

MS = 10**6


@dataclass(frozen=True)
class Made:
    """One trade of a venue."""

    number: int  # counts up by one, and is the id where ids do
    sequence: int  # grows by any step
    ns: int
    is_sell: bool
    price: str
    quantity: str

    @property
    def side(self) -> str:
        return "sell" if self.is_sell else "buy"

    @property
    def uuid(self) -> str:
        return str(uuid.UUID(int=self.number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128))


@dataclass(frozen=True)
class Form:
    """How one feed tells its trades."""

    feed: str
    venue_symbol: str
    contract_value: str
    price_exponent: int
    step_ns: int
    messages: Callable[[str, Sequence[Made]], list[dict[str, Any]]]
    rest: Callable[[str, Sequence[Made]], str]
    whole_numbers: bool = False
    has_ids: bool = True

    def drive(self) -> Drive:
        drive = Drive(FEEDS_BY_NAME[self.feed].parser)
        drive.table.add(self.venue_symbol, "COINUSDT", self.contract_value, self.price_exponent)
        return drive

    def trades(self, *, size_max: int = 12) -> st.SearchStrategy[list[Made]]:
        return made_trades(self, size_max)


@st.composite
def made_trades(draw: st.DrawFn, form: Form, size_max: int) -> list[Made]:
    """Trades in their order; several of one instant, many of equal price and quantity."""
    places = st.just(0) if form.whole_numbers else st.integers(0, 8)
    numbers = st.builds(
        lambda mantissa, exponent: format(Decimal(mantissa).scaleb(-exponent), "f"),
        st.integers(1, 20) | st.integers(1, 10**14), places,
    )  # fmt: skip
    rows = draw(st.lists(
        st.tuples(st.sampled_from([0, 0, 1, 7]) | st.integers(0, 90 * SECOND_NS // form.step_ns),
                  st.integers(1, 50), st.booleans(), numbers, numbers),
        min_size=1, max_size=size_max,
    ))  # fmt: skip
    first = draw(st.integers(1, 10**15))
    start_ns = (NOW_NS - 3000 * SECOND_NS) // form.step_ns * form.step_ns
    times = accumulate((row[0] * form.step_ns for row in rows), initial=start_ns)
    sequences = accumulate((row[1] for row in rows), initial=first)
    return [
        Made(first + at, sequence, ns, is_sell, price, quantity)
        for at, ((_, _, is_sell, price, quantity), ns, sequence) in enumerate(
            zip(rows, times, sequences, strict=False)
        )
    ]


# --- the forms ------------------------------------------------------------------------------------


def binance_spot(symbol: str, trades: Sequence[Made]) -> list[dict[str, Any]]:
    return [
        {"e": "trade", "E": one.ns // MS + 1, "s": symbol, "t": one.number, "p": one.price,
         "q": one.quantity, "T": one.ns // MS, "m": one.is_sell, "M": True}
        for one in trades
    ]  # fmt: skip


def binance_futures(symbol: str, trades: Sequence[Made]) -> list[dict[str, Any]]:
    return [
        {"e": "trade", "E": one.ns // MS + 1, "T": one.ns // MS, "s": symbol, "t": one.number,
         "p": one.price, "q": one.quantity, "X": "MARKET", "m": one.is_sell, "st": 1}
        for one in trades
    ]  # fmt: skip


def binance_rest(_symbol: str, trades: Sequence[Made]) -> str:
    return json.dumps([
        {"id": one.number, "price": one.price, "qty": one.quantity, "quoteQty": "1.0",
         "time": one.ns // MS, "isBuyerMaker": one.is_sell, "isRPITrade": False}
        for one in trades
    ])  # fmt: skip


def bybit(id_of: Callable[[Made], str]) -> Callable[[str, Sequence[Made]], list[dict[str, Any]]]:
    def messages(symbol: str, trades: Sequence[Made]) -> list[dict[str, Any]]:
        rows = [
            {"i": id_of(one), "T": one.ns // MS, "p": one.price, "v": one.quantity,
             "S": one.side.title(), "seq": one.sequence, "s": symbol, "BT": False, "RPI": False}
            for one in trades
        ]  # fmt: skip
        return [{"topic": f"publicTrade.{symbol}", "ts": 1, "type": "snapshot", "data": rows}]

    return messages


def bybit_rest(id_of: Callable[[Made], str]) -> Callable[[str, Sequence[Made]], str]:
    def body(symbol: str, trades: Sequence[Made]) -> str:
        rows = [
            {"execId": id_of(one), "symbol": symbol, "price": one.price, "size": one.quantity,
             "side": one.side.title(), "time": str(one.ns // MS), "isBlockTrade": False,
             "isRPITrade": False, "seq": str(one.sequence)}
            for one in reversed(trades)
        ]  # fmt: skip
        return json.dumps({"retCode": 0, "retMsg": "OK", "result": {"category": "", "list": rows}})

    return body


def okx(symbol: str, trades: Sequence[Made]) -> list[dict[str, Any]]:
    return [
        {"arg": {"channel": "trades-all", "instId": symbol},
         "data": [{"instId": symbol, "tradeId": str(one.number), "px": one.price,
                   "sz": one.quantity, "side": one.side, "ts": str(one.ns // MS)}]}
        for one in trades
    ]  # fmt: skip


def okx_rest(symbol: str, trades: Sequence[Made]) -> str:
    rows = [
        {"instId": symbol, "side": one.side, "sz": one.quantity, "px": one.price,
         "tradeId": str(one.number), "ts": str(one.ns // MS)}
        for one in reversed(trades)
    ]  # fmt: skip
    return json.dumps({"code": "0", "msg": "", "data": rows})


def kucoin_spot(symbol: str, trades: Sequence[Made]) -> list[dict[str, Any]]:
    return [
        {"type": "message", "topic": f"/market/match:{symbol}", "subject": "trade.l3match",
         "data": {"makerOrderId": "a", "price": one.price, "sequence": str(one.sequence),
                  "side": one.side, "size": one.quantity, "symbol": symbol, "takerOrderId": "b",
                  "time": str(one.ns), "tradeId": str(one.sequence), "type": "match"}}
        for one in trades
    ]  # fmt: skip


def kucoin_spot_rest(_symbol: str, trades: Sequence[Made]) -> str:
    rows = [
        {"sequence": str(one.sequence), "price": one.price, "size": one.quantity,
         "side": one.side, "time": one.ns}
        for one in trades
    ]  # fmt: skip
    return json.dumps({"code": "200000", "data": rows})


def kucoin_futures(symbol: str, trades: Sequence[Made]) -> list[dict[str, Any]]:
    return [
        {"topic": f"/contractMarket/execution:{symbol}", "type": "message", "subject": "match",
         "sn": one.sequence,
         "data": {"symbol": symbol, "sequence": one.sequence, "side": one.side,
                  "size": int(one.quantity), "price": one.price, "takerOrderId": "a",
                  "makerOrderId": "b", "tradeId": str(one.sequence), "ts": one.ns}}
        for one in trades
    ]  # fmt: skip


def kucoin_futures_rest(_symbol: str, trades: Sequence[Made]) -> str:
    rows = [
        {"sequence": one.sequence, "contractId": 1, "tradeId": str(one.sequence),
         "makerOrderId": "a", "takerOrderId": "b", "ts": one.ns, "size": int(one.quantity),
         "price": one.price, "side": one.side}
        for one in reversed(trades)
    ]  # fmt: skip
    return json.dumps({"code": "200000", "data": rows})


def gate_ms(ns: int) -> str:
    return f"{ns // MS}.{ns % MS:06d}"


def gate_spot(symbol: str, trades: Sequence[Made]) -> list[dict[str, Any]]:
    return [
        {"time": one.ns // SECOND_NS, "channel": "spot.trades", "event": "update",
         "result": {"id": one.sequence, "id_market": one.number,
                    "create_time": one.ns // SECOND_NS, "create_time_ms": gate_ms(one.ns),
                    "side": one.side, "currency_pair": symbol, "amount": one.quantity,
                    "price": one.price, "range": f"{one.number}-{one.number}"}}
        for one in trades
    ]  # fmt: skip


def gate_spot_rest(symbol: str, trades: Sequence[Made]) -> str:
    return json.dumps([
        {"id": str(one.sequence), "create_time": str(one.ns // SECOND_NS),
         "create_time_ms": gate_ms(one.ns), "currency_pair": symbol, "side": one.side,
         "amount": one.quantity, "price": one.price, "sequence_id": str(one.number)}
        for one in reversed(trades)
    ])  # fmt: skip


def gate_futures(symbol: str, trades: Sequence[Made]) -> list[dict[str, Any]]:
    rows = [
        {"contract": symbol, "create_time": one.ns // SECOND_NS, "create_time_ms": one.ns // MS,
         "id": one.number, "price": one.price, "size": "-" * one.is_sell + one.quantity}
        for one in trades
    ]  # fmt: skip
    return [{"time": 1, "time_ms": 1, "channel": "futures.trades", "event": "update",
             "result": rows}]  # fmt: skip


def gate_futures_rest(symbol: str, trades: Sequence[Made]) -> str:
    """Seconds with a fraction, written as Go and JavaScript do: without trailing zeros."""
    rows = []
    for one in reversed(trades):
        seconds = f"{one.ns // SECOND_NS}.{one.ns // MS % 1000:03d}".rstrip("0").rstrip(".")
        size = "-" * one.is_sell + one.quantity
        rows.append(
            f'{{"id":{one.number},"contract":"{symbol}","create_time":{seconds},'
            f'"create_time_ms":{seconds},"size":"{size}","price":"{one.price}"}}'
        )
    return "[" + ",".join(rows) + "]"


SEQUENCE = 77766796


def phemex_rows(trades: Sequence[Made], *, scaled: bool) -> list[list[Any]]:
    number: Callable[[str], Any] = int if scaled else str
    return [
        [one.ns, one.side.title(), number(one.price), number(one.quantity)]
        for one in reversed(trades)
    ]


def phemex(rows_key: str, *, scaled: bool) -> Callable[[str, Sequence[Made]], list[dict[str, Any]]]:
    def messages(symbol: str, trades: Sequence[Made]) -> list[dict[str, Any]]:
        return [{"sequence": SEQUENCE, "symbol": symbol,
                 rows_key: phemex_rows(trades, scaled=scaled), "type": "incremental"}]  # fmt: skip

    return messages


def phemex_rest(rows_key: str, *, scaled: bool) -> Callable[[str, Sequence[Made]], str]:
    def body(symbol: str, trades: Sequence[Made]) -> str:
        result = {"sequence": SEQUENCE, "symbol": symbol,
                  rows_key: phemex_rows(trades, scaled=scaled), "type": "snapshot"}  # fmt: skip
        return json.dumps({"error": None, "id": 0, "result": result})

    return body


def spot_id(one: Made) -> str:
    return str(one.sequence)


def futures_id(one: Made) -> str:
    return one.uuid


FORMS = (
    Form("binance_spot", "BTCUSDT", "1", 0, MS, binance_spot, binance_rest),
    Form("binance_futures", "BTCUSDT", "1", 0, MS, binance_futures, binance_rest),
    Form("bybit_spot", "BTCUSDT", "1", 0, MS, bybit(spot_id), bybit_rest(spot_id)),
    Form("bybit_futures", "BTCUSDT", "1", 0, MS, bybit(futures_id), bybit_rest(futures_id)),
    Form("okx_spot", "BTC-USDT", "1", 0, MS, okx, okx_rest),
    Form("okx_futures", "BTC-USDT-SWAP", "0.01", 0, MS, okx, okx_rest),
    Form("kucoin_spot", "BTC-USDT", "1", 0, 1, kucoin_spot, kucoin_spot_rest),
    Form("kucoin_futures", "XBTUSDTM", "0.001", 0, MS, kucoin_futures, kucoin_futures_rest,
         whole_numbers=True),
    Form("gate_spot", "币安人生_USDT", "1", 0, 1, gate_spot, gate_spot_rest),
    Form("gate_futures", "BTC_USDT", "0.0001", 0, MS, gate_futures, gate_futures_rest),
    Form("phemex_spot", "sBTCUSDT", "0.00000001", -8, 1, phemex("trades", scaled=True),
         phemex_rest("trades", scaled=True), whole_numbers=True, has_ids=False),
    Form("phemex_futures", "BTCUSDT", "1", 0, 1, phemex("trades_p", scaled=False),
         phemex_rest("trades_p", scaled=False), has_ids=False),
)  # fmt: skip
