"""Drives one feed's road in tests: messages in, decoded lines out, the balance checked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pumpwatch._fast.ilp import RowBuffer, split_lines
from pumpwatch._fast.instruments import InstrumentTable
from pumpwatch._fast.intake import Intake
from pumpwatch._fast.parser import Parser
from pumpwatch._fast.road import FeedRoad, VenueClock
from tests._fast.ilp_reading import Line, read_lines
from tests.strategies import TEXT, frame

SECOND_NS = 10**9
NOW_NS = 1_790_000_000 * SECOND_NS
NOW_MS = NOW_NS // 10**6


class Drive:
    """A road with one connection; ``connect`` replaces the connection by a fresh one."""

    def __init__(
        self,
        parser: Parser,
        *symbols: str,
        history_s: int = 3600,
        clock: VenueClock | None = None,
        feed: int = 1,
    ) -> None:
        exchange, market_type = parser.feed.split("_")
        self.table = InstrumentTable(exchange, market_type)
        for symbol in symbols:
            self.table.add(symbol, symbol)
        self.rows = RowBuffer()
        self.clock = clock or VenueClock()
        self.road = FeedRoad(parser, self.table, self.rows, self.clock, feed, history_s * SECOND_NS)
        self.intake = Intake(self.road)
        self.quarantine: list[tuple[str, bytes, int]] = []
        self.session: list[bytes] = []
        self.news: list[tuple[str, int, int, int, int, int]] = []

    def connect(self) -> None:
        """A new connection of the same feed."""
        self.intake = Intake(self.road)

    def message(self, *texts: str | bytes | dict[str, Any], receive_ns: int = NOW_NS) -> list[Line]:
        """Text messages, one frame each, received together; the lines they gave."""
        data = b"".join(frame(TEXT, as_bytes(text)) for text in texts)
        assert self.intake.feed(data, receive_ns) == b""
        return self.take()

    def take(self) -> list[Line]:
        """The lines that wait, decoded; what else was told goes to the lists."""
        messages, quarantine = self.intake.take_kept()
        self.session += messages
        self.quarantine += quarantine
        self.news += self.intake.take_news()
        assert not self.intake.has_news
        size_bytes, waiting = self.rows.size_bytes, self.rows.rows
        payload, rows, _received_ns = self.rows.take()
        lines = read_lines(payload)
        assert len(payload) == size_bytes
        assert len(lines) == len(split_lines(payload)) == rows == waiting
        self.assert_balance()
        return lines

    @property
    def counts(self) -> dict[str, int]:
        return self.road.counts_now()

    def assert_balance(self) -> None:
        """Promise 5, on this side of the spool."""
        count = self.counts
        assert count["parsed"] == (
            count["passed"] + count["repeated"] + count["history_skipped"] + count["quarantined"]
        )
        assert sum(rows for _, _, rows in self.quarantine) <= count["quarantined"]
        assert sum(self.table.rows(number) for number in range(self.table.count)) == count["passed"]


def as_bytes(text: str | bytes | dict[str, Any]) -> bytes:
    if isinstance(text, dict):
        text = json.dumps(text, separators=(",", ":"))
    return text.encode() if isinstance(text, str) else text


def binance_trade(
    number: int,
    *,
    ns: int = NOW_NS,
    symbol: str = "BTCUSDT",
    price: str = "1.5",
    quantity: str = "2",
) -> dict[str, Any]:
    """Binance spot ``@trade``: one trade, contiguous ids (FEEDS.md section 2)."""
    data = {
        "e": "trade",
        "E": ns // 10**6,
        "s": symbol,
        "t": number,
        "p": price,
        "q": quantity,
        "T": ns // 10**6,
        "m": True,
        "M": True,
    }
    return {"stream": f"{symbol.lower()}@trade", "data": data}


def bybit_trades(
    rows: Sequence[tuple[str, str, str]], *, ms: int = NOW_MS, symbol: str = "BTCUSDT"
) -> dict[str, Any]:
    """Bybit ``publicTrade``: rows of id, price and quantity, any many (section 4)."""
    data = [
        {
            "i": number,
            "T": ms,
            "p": price,
            "v": quantity,
            "S": "Buy",
            "s": symbol,
            "BT": False,
            "RPI": False,
            "seq": 7,
        }
        for number, price, quantity in rows
    ]
    return {"topic": f"publicTrade.{symbol}", "type": "snapshot", "ts": ms, "data": data}


def gate_trade(
    first: int, last: int, *, ns: int = NOW_NS, symbol: str = "BTC_USDT"
) -> dict[str, Any]:
    """Gate spot ``spot.trades``: first != last stands for several trades (section 7)."""
    result = {
        "id": 10_000 + last,
        "id_market": last,
        "create_time": ns // SECOND_NS,
        "create_time_ms": f"{ns // 10**6}.{ns % 10**6:06d}",
        "side": "sell",
        "currency_pair": symbol,
        "amount": "1.5",
        "price": "3",
        "range": f"{first}-{last}",
    }
    return {"time": ns // SECOND_NS, "channel": "spot.trades", "event": "update", "result": result}


def phemex_trades(
    rows: Sequence[tuple[int, str, str, str]], *, symbol: str = "BTCUSDT", kind: str = "incremental"
) -> str:
    """Phemex perpetual ``trades_p``: rows of ns, side, price, size, newest first (section 8)."""
    listed = [[ns, side, price, size] for ns, side, price, size in rows]
    return json.dumps({"sequence": 1, "symbol": symbol, "trades_p": listed, "type": kind})


def okx_trade(
    number: int,
    *,
    ns: int = NOW_NS,
    symbol: str = "BTC-USDT-SWAP",
    price: str = "2",
    quantity: str = "3",
) -> dict[str, Any]:
    """OKX ``trades-all``: one fill, quantities in contracts on swaps (section 5)."""
    row = {
        "instId": symbol,
        "tradeId": str(number),
        "px": price,
        "sz": quantity,
        "side": "buy",
        "ts": str(ns // 10**6),
    }
    return {"arg": {"channel": "trades-all", "instId": symbol}, "data": [row]}
