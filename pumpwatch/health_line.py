"""The health of all feeds in one line, as users of the first PumpWatch know it; sans-IO.

``BN(3+4✅), BY(8+7✅), …``: connections of spot and futures that are open, and the verdict.
"""

from __future__ import annotations

from pumpwatch.health import ORDER, feed_part
from pumpwatch.standing import Standing

SHORT_NAMES = {
    "binance": "BN", "bybit": "BY", "okx": "OKX", "kucoin": "KC", "gate": "GT", "phemex": "PH",
}  # fmt: skip
MARKS = {"ok": "✅", "degraded": "⚠️", "down": "❌"}


def health_line(standing: Standing) -> str:
    """One entry an exchange, then rows a second and what waits."""
    entries = []
    for exchange in dict.fromkeys(feed.exchange for feed in standing.feeds):
        feeds = [feed for feed in standing.feeds if feed.exchange == exchange]
        counts = "+".join(str(feed.connections_open) for feed in feeds)
        worst = max((feed_part(feed).state for feed in feeds), key=ORDER.index)
        entries.append(f"{SHORT_NAMES.get(exchange, exchange)}({counts}{MARKS[worst]})")
    pending = standing.database.pending_rows
    return f"{', '.join(entries)} {standing.rows_per_s:,.0f} rows/s, {pending:,} pending"
