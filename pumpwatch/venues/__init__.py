"""The feeds: the one place where a venue is registered."""

from __future__ import annotations

from pumpwatch.venues import binance, bybit, gate, kucoin, okx, phemex
from pumpwatch.venues.spec import FeedSpec

FEEDS: tuple[FeedSpec, ...] = (
    binance.SPOT, binance.FUTURES, bybit.SPOT, bybit.FUTURES, okx.SPOT, okx.FUTURES,
    kucoin.SPOT, kucoin.FUTURES, gate.SPOT, gate.FUTURES, phemex.SPOT, phemex.FUTURES,
)  # fmt: skip
FEEDS_BY_NAME: dict[str, FeedSpec] = {spec.name: spec for spec in FEEDS}
