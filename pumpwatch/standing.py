"""How the daemon stands at one instant: what the page, the metrics, health and alerts all read.

The seat fills it in once a second (seat.py); nothing here looks at anything. Counters run from the
daemon's start; spans are seconds, moments are ISO 8601 in UTC.
"""

from __future__ import annotations

import msgspec

from pumpwatch.balance import FeedBalance


class ConnectionStanding(msgspec.Struct, frozen=True, kw_only=True):
    """One connection of a feed."""

    number: int
    state: str  # new, connecting, open, closing, closed, waiting
    wanted: int
    subscribed: int
    reconnects: int
    messages: int
    trades: int
    opened_at: str | None
    error: str


class BackfillStanding(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked of one feed's venue, and what its lists showed."""

    requests: int
    failures: int
    rows: int  # that the stream had not brought
    closed: dict[str, int]  # holes that REST closed: filled, empty, lost
    waiting: int  # holes that are open
    times_apart: int  # rows whose time in REST is not the stream's
    withheld: int  # rows that a comparison found missing on an unbroken stream
    mute: int  # how often a symbol traded and nothing of it came
    mute_symbols: list[str]  # of which that is so now
    witness_told: int = 0  # newer ids that another stream of the venue told of
    witness_found: int = 0  # symbols that it found silent
    unchecked_s: dict[str, float]  # symbols whose comparison is overdue: since when there was none


class BudgetStanding(msgspec.Struct, frozen=True, kw_only=True):
    """One budget of REST requests."""

    budget: str
    requests: int
    delayed: int  # of them, that had to wait
    refusals: int  # 429, 403 and the like
    waiting: int
    closed_s: float  # for so long nothing more is asked


class FeedStanding(msgspec.Struct, frozen=True, kw_only=True):
    """One feed: subscriptions, rates, rows."""

    feed: str
    exchange: str
    market_type: str
    state: str  # starting, running, failing, paused, stopped
    error: str
    connections_open: int
    subscribed: int
    wanted: int
    left_out: int
    refused: dict[str, str]  # symbol -> the venue's words
    reconnects: int
    messages: int
    unreadable: int  # messages that were not understood: in quarantine
    rows_per_s: dict[str, float]  # over the last "1", "10" and "60" seconds
    lag_ms: float | None  # from the venue's trade time to our socket, for the newest row
    silent_s: float | None  # since anything came; None: nothing came yet
    inexact_values: int  # numbers with more digits than a double keeps
    gaps_open: int | None  # None: the database has not been asked yet, or does not answer
    balance: FeedBalance
    connections: list[ConnectionStanding]
    backfill: BackfillStanding | None = None  # None: switched off
    change: str = ""  # what is other about messages that could not be read lately
    route: str = ""  # the address in use, where the venue's first one is silent


class HistogramStanding(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds in buckets: ``counts`` has one more than ``edges_s``, for everything above."""

    edges_s: tuple[float, ...]
    counts: tuple[int, ...]
    sum_s: float

    def quantile(self, share: float) -> float | None:
        """The upper edge of the bucket that reaches the share (0 ... 1); None without counts."""
        total, reached = sum(self.counts), 0
        if not total:
            return None
        for edge, count in zip((*self.edges_s, self.edges_s[-1]), self.counts, strict=True):
            reached += count
            if reached and reached >= share * total:
                return edge
        raise AssertionError("a share of all is reached by all")


class WriterStanding(msgspec.Struct, frozen=True, kw_only=True):
    """The writer of one table."""

    table: str
    state: str  # idle, sending, retrying, faulty
    requests: int
    retries: int
    error: str


class SpoolStanding(msgspec.Struct, frozen=True, kw_only=True):
    """The disk between sockets and database."""

    state: str  # open, full, failing, closed
    disk_bytes: int
    disk_bytes_max: int
    buffered_bytes: int
    buffered_rows: int
    segments: int
    damaged: int  # places found damaged since the start


class DatabaseStanding(msgspec.Struct, frozen=True, kw_only=True):
    """The server, as the watch on its tables sees it."""

    state: str  # starting, up, silent, down, suspended
    silent_s: float | None  # since its last answer; None: it has not answered yet
    pending_rows: int  # spooled, not known to be in the table
    pending_s: float  # how long rows have been waiting without any being applied
    applied_rows: int
    refused_rows: int
    suspended_tables: list[str]
    restarts: int
    rss_bytes: int
    disk_bytes: int | None  # all tables; None: not asked yet


class VolumeStanding(msgspec.Struct, frozen=True, kw_only=True):
    """The file system that data_dir lies on."""

    used_bytes: int
    free_bytes: int  # for us: what is reserved for root counts as neither

    @property
    def used_share(self) -> float:
        """0 ... 1, as df shows it."""
        total_bytes = self.used_bytes + self.free_bytes
        return self.used_bytes / total_bytes if total_bytes else 0.0


class ProcessStanding(msgspec.Struct, frozen=True, kw_only=True):
    """The daemon itself."""

    pid: int
    version: str
    started_at: str
    uptime_s: float
    rss_bytes: int
    memory_bytes_max: int  # what the plan allows the daemon and the database together
    cpu_s: float
    open_files: int
    open_files_max: int
    loop_lag_s: float  # by how much the event loop overslept in the last second


class GapStanding(msgspec.Struct, frozen=True, kw_only=True):
    """One open hole of the ledger."""

    gap_id: str
    feed: str
    symbol: str
    cause: str
    state: str
    opened_at: str
    from_ts: str | None
    to_ts: str | None
    missing: int


class ListingStanding(msgspec.Struct, frozen=True, kw_only=True):
    """One announced coin."""

    source: str
    notice_id: str
    symbol: str
    title: str
    url: str
    announced_at: str | None
    detected_at: str
    trigger_delay_ms: int | None
    state: str
    collected_trades: int
    exchanges_with_data: int
    certificate: dict[str, object] | None


class OperationStanding(msgspec.Struct, frozen=True, kw_only=True):
    """One backup, retention run, verification or change of stage."""

    started_at: str
    finished_at: str | None
    operation: str
    subject: str
    result: str
    detail: str


class TablesStanding(msgspec.Struct, frozen=True, kw_only=True):
    """What the database's side tables say, asked every few seconds."""

    asked_at: str
    gaps: list[GapStanding]  # the newest open ones
    gaps_open: dict[str, int]  # by feed
    gaps_lost: dict[str, int]  # by feed, in the last day
    listings: list[ListingStanding]
    operations: list[OperationStanding]
    disk_bytes: int


class DetectorStanding(msgspec.Struct, frozen=True, kw_only=True):
    """One watch on a notice board or market list."""

    name: str  # "upbit notices"
    interval_s: float  # between two looks
    silent_s: float | None  # since it last read the board; None: not yet
    error: str


class TierStanding(msgspec.Struct, frozen=True, kw_only=True):
    """Trades in one state: hot (memory), warm (native), cold (Parquet), gone."""

    name: str
    partitions: int
    rows: int  # of gone: dropped since the daemon's start
    bytes: int
    oldest: str | None  # of gone: what is older than this goes, or went


class DiskStanding(msgspec.Struct, frozen=True, kw_only=True):
    """One file system that is looked after: the database's, the spool's, the backups'."""

    name: str
    path: str
    level: str  # ok, warn, emergency, stop
    used_share: float
    free_bytes: int


class UpkeepStanding(msgspec.Struct, frozen=True, kw_only=True):
    """What is done for months of data."""

    tiers: list[TierStanding] = []
    days_left: float | None = None  # until the database's disk is full, at the last day's rate
    disks: list[DiskStanding] = []
    told: dict[str, str] = {}  # rule -> text: what the last runs complained of
    writers_stopped: bool = False  # the database's disk is as good as full
    working_on: str = ""  # backup, retention, cold, proof; empty: nothing right now
    backup: str = "none yet"
    backup_age_s: float | None = None  # of the newest good one
    proof: str = ""  # the last nightly line


class AlertStanding(msgspec.Struct, frozen=True, kw_only=True):
    """One alert that stands."""

    rule: str
    subject: str
    severity: str
    text: str
    since: str
    repeats: int
    silenced: bool
    suppressed_by: str  # the alert above it that was told instead; empty: none


class HourStanding(msgspec.Struct, frozen=True, kw_only=True):
    """The memory hour, and what was asked of it."""

    rows: int = 0
    unheld_rows: int = 0  # that found no memory
    size_bytes: int = 0
    reaches_back_s: float = 0.0  # arrival of the oldest row of the roads
    loaded_rows: int = 0  # read back from the table after the start
    covered_share: float = 0.0  # of the wanted instruments: covered for the last minute
    cache_hits: int = 0
    cache_misses: int = 0
    comparisons: int = 0  # of a window in memory with the same one in the database
    differences: int = 0  # of them, with one
    difference_file: str = ""  # both sides of the newest


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Everything, at one instant."""

    at: str
    state: str  # starting, running, closing, draining, drained, stopped
    process: ProcessStanding
    feeds: list[FeedStanding]
    spool: SpoolStanding
    database: DatabaseStanding
    volume: VolumeStanding
    writers: list[WriterStanding]
    differences: list[str]  # where the counters do not balance
    spooled_lag: HistogramStanding  # received -> in a segment
    applied_lag: HistogramStanding  # received -> visible in SQL
    queries: dict[str, HistogramStanding]  # by source: memory, sql, both, cache
    detectors: list[DetectorStanding] = []
    tables: TablesStanding | None = None  # None: not asked yet, or no answer
    alerts: list[AlertStanding] = []
    alert_deliveries: dict[str, int] = {}  # delivered, failed, waiting
    budgets: list[BudgetStanding] = []
    upkeep: UpkeepStanding = UpkeepStanding()
    hour: HourStanding = HourStanding()
    page_clients: int = 0
    page_requests: dict[str, int] = {}  # by status class: 2xx, 4xx, 5xx, refused

    @property
    def rows_per_s(self) -> float:
        """All feeds, over the last ten seconds."""
        return sum(feed.rows_per_s.get("10", 0.0) for feed in self.feeds)
