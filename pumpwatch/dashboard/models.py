"""What the HTTP interface answers; OpenAPI at /schema is made from these."""

from __future__ import annotations

from typing import Any

import msgspec

from pumpwatch.health import Part
from pumpwatch.standing import (
    DatabaseStanding,
    FeedStanding,
    ListingStanding,
    ProcessStanding,
    SpoolStanding,
    UpkeepStanding,
    VolumeStanding,
    WriterStanding,
)


class Refusal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Any answer that is none: what is wrong, with which parameter, and what is allowed."""

    error: str
    parameter: str = ""
    allowed: str = ""


class HealthAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict and every part's."""

    state: str  # ok, degraded, down
    ready: bool
    at: str
    uptime_s: float
    parts: list[Part]


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """/livez and /readyz."""

    state: str
    reasons: str = ""


class MetricsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The figures that people ask for first; all others are at /metrics."""

    at: str
    uptime_s: float
    trades_per_second: dict[str, float]  # over the last 1, 10 and 60 seconds
    trades_total: int  # visible in the table, counted since the start
    pending_rows: int
    active_connections: int
    database_health: str
    disk_used_ratio: float
    disk_free_bytes: int
    memory_bytes: int
    database_memory_bytes: int
    cpu_s: float
    applied_lag_s: dict[str, float | None]  # p50, p99
    spooled_lag_s: dict[str, float | None]
    queries: dict[str, dict[str, float | None]]  # by source: count, p50, p99
    cache_hit_ratio: float | None  # answers from memory; None: nobody asked yet
    last_listing: ListingStanding | None
    balanced: bool
    differences: list[str]
    gaps_open: int | None


class FeedsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Every feed that is recorded."""

    at: str
    feeds: list[FeedStanding]


class SystemAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Process, spool, database, disk."""

    at: str
    state: str
    process: ProcessStanding
    spool: SpoolStanding
    database: DatabaseStanding
    volume: VolumeStanding
    upkeep: UpkeepStanding
    writers: list[WriterStanding]
    differences: list[str]
    operations: list[dict[str, Any]]
    alerts: list[dict[str, Any]]


class TradeRow(msgspec.Struct, frozen=True, kw_only=True):
    """One trade; quantity is in base coins, side the taker's."""

    timestamp: str
    exchange: str
    market_type: str
    symbol: str
    side: str | None
    price: float
    quantity: float
    trade_id: str
    sequence_number: int | None
    received_at: str | None
    origin: str | None
    kind: str | None


class TradesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The newest trades, newest first."""

    trades: list[TradeRow]
    count: int
    limit: int
    source: str


class InstrumentRow(msgspec.Struct, frozen=True, kw_only=True):
    """An instrument that a window took rows of, or why it took none."""

    venue_symbol: str
    symbol: str
    base: str
    unit: int  # how many coins one base is
    status: str
    used: bool
    note: str


class WindowFeed(msgspec.Struct, frozen=True, kw_only=True):
    """One feed of a window; covered: of that span all that came is in the answer."""

    feed: str
    rows: int
    source: str
    covered_from: str | None
    covered_to: str | None
    open_gaps: int
    instruments: list[InstrumentRow]
    note: str


class WindowAnswer(
    msgspec.Struct, frozen=True, kw_only=True, rename={"start": "from", "end": "to"}
):
    """The trades of a span, oldest first; truncated: there are more than ``limit``."""

    symbols: list[str]
    start: str
    end: str
    trades: list[TradeRow]
    count: int
    limit: int
    truncated: bool
    source: str  # memory, database, both; old_store while reads move
    feeds: list[WindowFeed]


class GapRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the ledger."""

    opened_at: str
    gap_id: str
    exchange: str
    market_type: str
    symbol: str
    cause: str
    from_ts: str | None
    to_ts: str | None
    first_id: int | None
    last_id: int | None
    missing: int
    exact: bool
    state: str
    filled_rows: int | None
    closed_at: str | None
    reason: str | None


class GapsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of the ledger, newest first."""

    gaps: list[GapRow]
    count: int
    limit: int


class ListingsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Announced coins, newest first."""

    listings: list[ListingStanding]
    count: int
    limit: int


class ListingAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One announced coin, what its window holds per feed, and its bundle's name below listings/."""

    listing: ListingStanding
    bundle: str | None
    start: str
    end: str
    rows_by_feed: dict[str, int]
    symbols: list[str]


class ActionRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The arguments of an action, by name."""

    arguments: dict[str, str] = {}


class ActionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What was done."""

    action: str
    result: str
