"""Runs in its own environment (Python >= 3.13, cryptofeed): messages -> Trade -> QuestDB line.

Reads ``{case: {"feed", "symbols", "messages"}}`` (JSON) from the file named, prints one JSON line
``{"case", "rows", "seconds"}`` or ``{"case", "skipped"}`` per case. cryptofeed is only called:
nothing of it is part of PumpWatch (it is AGPL).
"""

# mypy: ignore-errors
# (typed against a package that this environment does not have)
from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from cryptofeed.backends.quest import TradeQuest
from cryptofeed.defines import PERPETUAL, SPOT, TRADES
from cryptofeed.symbols import Symbol, Symbols

ROUNDS = 3
# Feed -> module, class, address of the connection. KuCoin's messages are not what cryptofeed
# subscribes to: it takes the unified API.
CLASSES = {
    "binance_spot": ("binance", "Binance", ""),
    "binance_futures": ("binance_futures", "BinanceFutures", ""),
    "bybit_spot": ("bybit", "Bybit", "wss://stream.bybit.com/v5/public/spot"),
    "bybit_futures": ("bybit", "Bybit", "wss://stream.bybit.com/v5/public/linear"),
    "okx_spot": ("okx", "OKX", ""),
    "okx_futures": ("okx", "OKX", ""),
    "gate_spot": ("gate", "Gate", ""),
    "gate_futures": ("gate_futures", "GateFutures", ""),
    "phemex_spot": ("phemex", "Phemex", ""),
    "phemex_futures": ("phemex", "Phemex", ""),
}


class Lines:
    """cryptofeed's own line encoder behind its callback, without the HTTP part."""

    def __init__(self):
        self.quest = TradeQuest()
        self.lines = []

    async def __call__(self, trade, receipt_timestamp):
        data = trade.to_dict(numeric_type=self.quest.numeric_type, none_to=self.quest.none_to)
        data.setdefault("timestamp", trade.timestamp)
        data["receipt_timestamp"] = receipt_timestamp
        self.lines.append(self.quest._encode(data))


def feed_of(name, symbols):
    """A feed that knows the symbols without having asked the exchange."""
    module, class_name, address = CLASSES[name]
    kind = getattr(importlib.import_module(f"cryptofeed.exchanges.{module}"), class_name)
    market = SPOT if name.endswith("_spot") else PERPETUAL
    if name == "bybit_spot":  # its own spelling, which tells the two markets apart
        symbols = [(base, f"{base}/USDT") for base, _ in symbols]
    known = {Symbol(base, "USDT", type=market).normalized: venue for base, venue in symbols}
    info = {"instrument_type": dict.fromkeys(known, market), "tick_size": dict.fromkeys(known, "1")}
    for scale in ("price_scale", "quantity_scale", "contract_size", "is_quanto", "multiplier"):
        info[scale] = dict.fromkeys(known, 1)
    Symbols.clear()
    Symbols.set(kind.id, known, info)
    lines = Lines()
    feed = kind(symbols=list(known)[:1], channels=[TRADES], callbacks={TRADES: lines})
    return feed, SimpleNamespace(address=address, uuid="bench"), lines


async def run(name, symbols, messages):
    """Best of the rounds: rows and seconds of cpu time."""
    best = None
    for _ in range(ROUNDS):
        feed, connection, lines = feed_of(name, symbols)
        start_ns = time.thread_time_ns()
        for message in messages:
            await feed.message_handler(message, connection, 1_790_000_060.0)
        "\n".join(lines.lines).encode()
        seconds = (time.thread_time_ns() - start_ns) / 1e9
        best = seconds if best is None else min(best, seconds)
    return len(lines.lines), best


def main():
    """All cases of the file."""
    cases = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for case, given in cases.items():
        told = {"case": case}
        if given["feed"] not in CLASSES:
            told["skipped"] = "cryptofeed subscribes to another message here"
        else:
            try:
                rows, seconds = asyncio.run(run(given["feed"], given["symbols"], given["messages"]))
                told |= {"rows": rows, "seconds": seconds}
            except Exception as error:  # noqa: BLE001  whatever it raises is the answer
                told["skipped"] = f"{type(error).__name__}: {error}"
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
