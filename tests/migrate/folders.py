"""Event folders as the original wrote them: two layouts, Go's JSON with two blanks of indent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FEEDS = [
    (exchange, market_type)
    for exchange in ("binance", "okx", "bybit", "kucoin", "phemex", "gate")
    for market_type in ("spot", "futures")
]
TRIGGER_MS = 1_758_516_600_000  # 2025-09-22T04:50:00Z


def trade(
    exchange: str,
    market_type: str,
    number: int,
    /,
    *,
    symbol: str | None = "0GUSDT",
    **changes: Any,
) -> dict[str, Any]:
    """A sound record; a change to None leaves the field out."""
    record = {
        "exchange": exchange,
        "market_type": market_type,
        "symbol": symbol,
        "trade_id": str(1000 + number),
        "price": f"2.{number:04d}0",
        "quantity": f"{number + 1}.50",
        "side": "buy" if number % 2 else "sell",
        "timestamp": TRIGGER_MS - 20_000 + number * 7,
        "collected_at": TRIGGER_MS - 19_900 + number * 7,
        "trigger_time": TRIGGER_MS,
    }
    record |= changes
    return {name: value for name, value in record.items() if value is not None}


def metadata(symbol: str = "0G", **changes: Any) -> dict[str, Any]:
    """Of the newer generation; times in Seoul's zone."""
    return {
        "symbol": symbol,
        "title": f"{symbol} 신규 거래지원 안내",
        "markets": ["KRW"],
        "announced_at": "2025-09-22T13:50:00+09:00",
        "detected_at": "2025-09-22T13:50:13.25+09:00",
        "notice_url": "https://upbit.com/service_center/notice?id=1",
        "trigger_time": "2025-09-22T13:50:00+09:00",
        "is_krw_listing": True,
        "stored_at": "2025-09-22T13:50:40+09:00",
        **changes,
    }


def write_folder(
    root: Path,
    name: str,
    trades: Mapping[tuple[str, str], Sequence[object]],
    *,
    told: object = None,
    is_flat: bool = False,
) -> Path:
    """``is_flat``: raw/okx_spot.json instead of raw/okx/spot.json. Empty feeds get Go's null."""
    folder = root / name
    raw = folder / "raw"
    raw.mkdir(parents=True)
    if told is not None:
        (folder / "metadata.json").write_text(json.dumps(told, indent=2, ensure_ascii=False))
    for exchange, market_type in FEEDS:
        path = raw / (
            f"{exchange}_{market_type}.json" if is_flat else f"{exchange}/{market_type}.json"
        )
        path.parent.mkdir(exist_ok=True)
        records = list(trades.get((exchange, market_type), ()))
        path.write_text(json.dumps(records or None, indent=2))
    return folder
