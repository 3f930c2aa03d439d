"""What the simulator may be told, and the names of the feeds."""

from __future__ import annotations

from dataclasses import dataclass

EXCHANGES = ("binance", "bybit", "okx", "kucoin", "gate", "phemex")
FEED_NAMES = tuple(f"{name}_{kind}" for name in EXCHANGES for kind in ("spot", "futures"))

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, kw_only=True)
class SimSettings:
    """One run; times in seconds."""

    seed: int = 1
    feeds: tuple[str, ...] = FEED_NAMES
    symbols: int = 40  # tradable ones against USDT, per feed
    rate_per_s: float = 1000.0  # trades, over all feeds
    pump: str = ""  # a coin that gets ``pump_share`` of all trades
    pump_share: float = 0.8
    burst_rows: int = 0  # every ``burst_every_s`` one symbol of each feed gets that many at once
    burst_every_s: float = 5.0
    tick_s: float = 0.02
    recorded: bool = True  # play the recorded messages first
    time_scale: float = 1.0  # the venues' keepalive times times this
    rest_limits: bool = True  # request budgets of the REST sides
    gate_ranges: bool = False  # Gate spot messages that stand for several trades (R7)
    phemex_connections_max: int = 0  # 0: not enforced; documented are 5
    phemex_snapshot_rows: int = 1000  # as recorded; the documentation says 200
    depth_rows: int = 32_768  # what a venue with history by id remembers of a symbol
    phemex_first_only: bool = False  # of several symbols in one request only the first is served
    goes_on: bool = False  # a symbol that began to trade does so whether or not anybody listens
    newborns: int = 0  # instruments per feed that no list shows before they are announced
    backlog_bytes_max: int = 4 * MIB  # a symbol whose reader is this far behind does not trade

    def has(self, feed: str) -> bool:
        """Whether this feed is served."""
        return feed in self.feeds
