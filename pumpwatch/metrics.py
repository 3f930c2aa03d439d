"""Every Prometheus metric, declared once: name, kind, labels, meaning, and where it is read.

Nothing counts here: values are read from how the daemon stands (standing.py) when somebody asks,
so that the road pays nothing. Base units (seconds, bytes), counters end in ``_total``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import (
    Metric as Family,
)
from prometheus_client.registry import Collector

from pumpwatch.health import ORDER, READY_PARTS, judge
from pumpwatch.standing import (
    BackfillStanding,
    BudgetStanding,
    ConnectionStanding,
    FeedStanding,
    HistogramStanding,
    Standing,
)

PREFIX = "pumpwatch_"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[str, ...]
Value = float | HistogramStanding
Read = Callable[[Standing], Iterable[tuple[Labels, Value]]]


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric; ``name`` has no prefix, and its ``_total`` where it is a counter."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Labels = ()
    read: Read

    @property
    def full_name(self) -> str:
        """As Prometheus shows it."""
        return PREFIX + self.name


def _one(read: Callable[[Standing], Value | None]) -> Read:
    def values(standing: Standing) -> Iterator[tuple[Labels, Value]]:
        value = read(standing)
        if value is not None:
            yield (), value

    return values


def _per_feed(read: Callable[[FeedStanding], float | None]) -> Read:
    def values(standing: Standing) -> Iterator[tuple[Labels, Value]]:
        for feed in standing.feeds:
            value = read(feed)
            if value is not None:
                yield (feed.feed,), value

    return values


def _per_backfill(read: Callable[[BackfillStanding], float]) -> Read:
    return _per_feed(lambda feed: None if feed.backfill is None else read(feed.backfill))


def _closed_by_result(standing: Standing) -> Iterator[tuple[Labels, Value]]:
    for feed in standing.feeds:
        for result in ("filled", "empty", "lost"):
            if feed.backfill is not None:
                yield (feed.feed, result), feed.backfill.closed.get(result, 0)


def _per_budget(read: Callable[[BudgetStanding], float]) -> Read:
    return lambda standing: [((one.budget,), read(one)) for one in standing.budgets]


def _per_connection(read: Callable[[ConnectionStanding], float]) -> Read:
    def values(standing: Standing) -> Iterator[tuple[Labels, Value]]:
        for feed in standing.feeds:
            for connection in feed.connections:
                yield (feed.feed, str(connection.number)), read(connection)

    return values


def _feed_counter(name: str, text: str, read: Callable[[FeedStanding], float | None]) -> Metric:
    return Metric(name=name, kind="counter", help=text, labels=("feed",), read=_per_feed(read))


def _feed_gauge(name: str, text: str, read: Callable[[FeedStanding], float | None]) -> Metric:
    return Metric(name=name, kind="gauge", help=text, labels=("feed",), read=_per_feed(read))


def _gauge(name: str, text: str, read: Callable[[Standing], float | None]) -> Metric:
    return Metric(name=name, kind="gauge", help=text, read=_one(read))


def _counter(name: str, text: str, read: Callable[[Standing], float | None]) -> Metric:
    return Metric(name=name, kind="counter", help=text, read=_one(read))


METRICS: tuple[Metric, ...] = (
    # --- the balance, in rows (promise 5) ---
    _feed_counter("rows_parsed_total", "Trades read from messages.", lambda f: f.balance.parsed),
    _feed_counter(
        "rows_passed_total", "Trades made into rows for the spool.", lambda f: f.balance.passed
    ),
    _feed_counter(
        "rows_repeated_total",
        "Trades that were proven to be held already.",
        lambda f: f.balance.repeated,
    ),
    _feed_counter(
        "rows_history_skipped_total",
        "Trades of a first subscription that are older than history_s.",
        lambda f: f.balance.history_skipped,
    ),
    _feed_counter(
        "rows_quarantined_total",
        "Trades that were read and cannot be stored: in quarantine.",
        lambda f: f.balance.quarantined,
    ),
    _feed_counter("rows_spooled_total", "Rows put on disk.", lambda f: f.balance.spooled),
    _feed_counter(
        "rows_replayed_total", "Rows that an earlier run left.", lambda f: f.balance.replayed
    ),
    _feed_counter(
        "rows_accepted_total",
        "Rows that the database has taken into its log.",
        lambda f: f.balance.accepted,
    ),
    _feed_counter("rows_applied_total", "Rows visible in the table.", lambda f: f.balance.applied),
    _feed_counter(
        "rows_refused_total",
        "Rows that the database refused: in quarantine.",
        lambda f: f.balance.refused,
    ),
    _feed_gauge(
        "rows_pending", "Rows on disk, not known to be visible.", lambda f: f.balance.pending
    ),
    _gauge(
        "balance_differences",
        "Places where the counters do not add up; 0 is the promise kept.",
        lambda s: len(s.differences),
    ),
    # --- feeds and connections ---
    _feed_counter("messages_total", "Text messages received.", lambda f: f.messages),
    _feed_counter(
        "messages_quarantined_total", "Messages that were not understood.", lambda f: f.unreadable
    ),
    _feed_counter(
        "inexact_values_total",
        "Prices and quantities with more digits than a double keeps, stored rounded.",
        lambda f: f.inexact_values,
    ),
    _feed_counter("reconnects_total", "Connections made again.", lambda f: f.reconnects),
    _feed_gauge("connections_open", "Connections that are open.", lambda f: f.connections_open),
    _feed_gauge(
        "subscriptions", "Symbols that the venue has acknowledged.", lambda f: f.subscribed
    ),
    _feed_gauge("subscriptions_wanted", "Symbols that should be subscribed.", lambda f: f.wanted),
    _feed_gauge(
        "symbols_refused", "Symbols that the venue refuses.", lambda f: len(f.refused)
    ),
    _feed_gauge(
        "symbols_left_out", "Symbols for which the venue's limits leave no place.",
        lambda f: f.left_out,
    ),
    _feed_gauge(
        "feed_lag_seconds",
        "From the venue's trade time to our socket, for the newest row.",
        lambda f: None if f.lag_ms is None else f.lag_ms / 1e3,
    ),
    _feed_gauge("feed_silent_seconds", "Since the last trade came.", lambda f: f.silent_s),
    _feed_gauge("gaps_open", "Holes of the ledger that are not closed.", lambda f: f.gaps_open),
    Metric(
        name="connection_up", kind="gauge", help="1 while the connection is open.",
        labels=("feed", "connection"), read=_per_connection(lambda c: float(c.state == "open")),
    ),
    Metric(
        name="connection_subscriptions", kind="gauge", help="Symbols acknowledged on it.",
        labels=("feed", "connection"), read=_per_connection(lambda c: c.subscribed),
    ),
    Metric(
        name="connection_reconnects_total", kind="counter", help="How often it was made again.",
        labels=("feed", "connection"), read=_per_connection(lambda c: c.reconnects),
    ),
    # --- past trades from REST ---
    Metric(
        name="backfill_requests_total", kind="counter", labels=("feed",),
        help="Requests for past trades.", read=_per_backfill(lambda b: b.requests),
    ),
    Metric(
        name="backfill_failures_total", kind="counter", labels=("feed",),
        help="Of them, without an answer that could be read.",
        read=_per_backfill(lambda b: b.failures),
    ),
    Metric(
        name="backfill_rows_total", kind="counter", labels=("feed",),
        help="Rows that came from REST alone.", read=_per_backfill(lambda b: b.rows),
    ),
    Metric(
        name="backfill_gaps_closed_total", kind="counter", labels=("feed", "result"),
        help="Holes that REST closed, by what became of them.", read=_closed_by_result,
    ),
    Metric(
        name="backfill_gaps_waiting", kind="gauge", labels=("feed",),
        help="Holes that are open in the ledger.", read=_per_backfill(lambda b: b.waiting),
    ),
    Metric(
        name="backfill_times_apart_total", kind="counter", labels=("feed",),
        help="Rows whose time in REST is not the stream's.",
        read=_per_backfill(lambda b: b.times_apart),
    ),
    Metric(
        name="withheld_rows_total", kind="counter", labels=("feed",),
        help="Rows that an unbroken stream did not bring, found in REST.",
        read=_per_backfill(lambda b: b.withheld),
    ),
    Metric(
        name="mute_symbols_total", kind="counter", labels=("feed",),
        help="How often a symbol traded and nothing of it came.",
        read=_per_backfill(lambda b: b.mute),
    ),
    Metric(
        name="witness_ids_total", kind="counter", labels=("feed",),
        help="Newer ids that another stream of the venue told of.",
        read=_per_backfill(lambda b: b.witness_told),
    ),
    Metric(
        name="witness_mute_total", kind="counter", labels=("feed",),
        help="Symbols that it found silent on ours.",
        read=_per_backfill(lambda b: b.witness_found),
    ),
    Metric(
        name="symbols_unchecked", kind="gauge", labels=("feed",),
        help="Symbols whose comparison with REST is overdue.",
        read=_per_backfill(lambda b: len(b.unchecked_s)),
    ),
    Metric(
        name="unchecked_seconds_max", kind="gauge", labels=("feed",),
        help="Since the comparison that is longest overdue; 0: none is.",
        read=_per_backfill(lambda b: max(b.unchecked_s.values(), default=0.0)),
    ),
    Metric(
        name="rest_requests_total", kind="counter", help="Requests under one budget.",
        labels=("budget",), read=_per_budget(lambda b: b.requests),
    ),
    Metric(
        name="rest_delayed_total", kind="counter", help="Of them, that had to wait their turn.",
        labels=("budget",), read=_per_budget(lambda b: b.delayed),
    ),
    Metric(
        name="rest_refusals_total", kind="counter", help="Answers that it was one too many.",
        labels=("budget",), read=_per_budget(lambda b: b.refusals),
    ),
    Metric(
        name="rest_waiting", kind="gauge", help="Requests that wait.", labels=("budget",),
        read=_per_budget(lambda b: b.waiting),
    ),
    Metric(
        name="rest_closed_seconds", kind="gauge", labels=("budget",),
        help="For so long nothing more is asked: the venue said so.",
        read=_per_budget(lambda b: b.closed_s),
    ),
    # --- spool, writers, database ---
    _gauge("spool_disk_bytes", "Size of the spool's segments.", lambda s: s.spool.disk_bytes),
    _gauge("spool_disk_limit_bytes", "spool.disk_max_mib.", lambda s: s.spool.disk_bytes_max),
    _gauge("spool_buffered_bytes", "Rows in memory only.", lambda s: s.spool.buffered_bytes),
    _gauge("spool_segments", "Segments on disk.", lambda s: s.spool.segments),
    _gauge("spool_writable", "1 while rows can be put on disk.", lambda s: s.spool.state == "open"),
    _counter("spool_damaged_total", "Places found damaged on disk.", lambda s: s.spool.damaged),
    Metric(
        name="writer_requests_total", kind="counter", help="Requests sent to the database.",
        labels=("table",), read=lambda s: [((w.table,), w.requests) for w in s.writers],
    ),
    Metric(
        name="writer_retries_total", kind="counter", help="Requests that had to be sent again.",
        labels=("table",), read=lambda s: [((w.table,), w.retries) for w in s.writers],
    ),
    Metric(
        name="writer_faulty", kind="gauge",
        help="1 while the database refuses a table's rows for a reason that is not a row's.",
        labels=("table",), read=lambda s: [((w.table,), w.state == "faulty") for w in s.writers],
    ),
    _gauge("database_up", "1 while the database answers.", lambda s: s.database.state == "up"),
    _gauge(
        "database_suspended_tables", "Tables whose log is not applied.",
        lambda s: len(s.database.suspended_tables),
    ),
    _counter("database_restarts_total", "Starts after the first.", lambda s: s.database.restarts),
    _gauge(
        "database_resident_memory_bytes", "Of the embedded server.",
        lambda s: s.database.rss_bytes,
    ),
    _gauge("database_disk_bytes", "Size of all tables.", lambda s: s.database.disk_bytes),
    Metric(
        name="spooled_lag_seconds", kind="histogram", help="Rows: from receipt to disk.",
        read=_one(lambda s: s.spooled_lag),
    ),
    Metric(
        name="applied_lag_seconds", kind="histogram",
        help="Rows: from receipt until visible in SQL.", read=_one(lambda s: s.applied_lag),
    ),
    Metric(
        name="query_seconds", kind="histogram", help="Answers, by where they came from.",
        labels=("source",), read=lambda s: [((k,), v) for k, v in s.queries.items()],
    ),
    # --- the operator's side ---
    Metric(
        name="health", kind="gauge", help="By part: 0 ok, 1 degraded, 2 down.", labels=("part",),
        read=lambda s: [((p.name,), ORDER.index(p.state)) for p in judge(s).parts],
    ),
    _gauge(
        "ready", f"1 while none of {', '.join(READY_PARTS)} is down.", lambda s: judge(s).is_ready
    ),
    Metric(
        name="alerts_active", kind="gauge", help="Alerts that stand, by severity.",
        labels=("severity",), read=lambda s: _alerts_by_severity(s).items(),
    ),
    Metric(
        name="alert_deliveries_total", kind="counter", help="Messages to targets, by outcome.",
        labels=("outcome",), read=lambda s: [((k,), v) for k, v in s.alert_deliveries.items()],
    ),
    _gauge("page_clients", "Open event streams.", lambda s: s.page_clients),
    Metric(
        name="page_requests_total", kind="counter", help="HTTP requests, by outcome.",
        labels=("outcome",), read=lambda s: [((k,), v) for k, v in s.page_requests.items()],
    ),
    # --- months of data ---
    Metric(
        name="disk_used_ratio", kind="gauge", help="Of each file system that is looked after.",
        labels=("volume",), read=lambda s: [((d.name,), d.used_share) for d in s.upkeep.disks],
    ),
    _gauge(
        "disk_left_days", "Until the database's disk is full, at the last day's rate.",
        lambda s: s.upkeep.days_left,
    ),
    Metric(
        name="tier_rows", kind="gauge", help="Trades by where they lie.", labels=("tier",),
        read=lambda s: [((t.name,), t.rows) for t in s.upkeep.tiers],
    ),
    Metric(
        name="tier_bytes", kind="gauge", help="And what they take.", labels=("tier",),
        read=lambda s: [((t.name,), t.bytes) for t in s.upkeep.tiers],
    ),
    _gauge(
        "backup_age_seconds", "Since the newest good one was made.",
        lambda s: s.upkeep.backup_age_s,
    ),
    # --- process and machine ---
    _gauge("volume_free_bytes", "Free where data_dir lies.", lambda s: s.volume.free_bytes),
    _gauge("volume_used_ratio", "Used share of it.", lambda s: s.volume.used_share),
    _counter("process_cpu_seconds_total", "User and system time.", lambda s: s.process.cpu_s),
    _gauge("process_resident_memory_bytes", "Of the daemon.", lambda s: s.process.rss_bytes),
    _gauge("process_open_files", "File handles in use.", lambda s: s.process.open_files),
    _gauge("process_open_files_limit", "And how many may be.", lambda s: s.process.open_files_max),
    _gauge("process_uptime_seconds", "Since the start.", lambda s: s.process.uptime_s),
    _gauge("event_loop_lag_seconds", "How late the event loop is.", lambda s: s.process.loop_lag_s),
    # --- the memory hour ---
    _gauge("memory_hour_rows", "Trades held in memory.", lambda s: s.hour.rows),
    _gauge("memory_hour_bytes", "Memory of the hour.", lambda s: s.hour.size_bytes),
    _gauge(
        "memory_hour_reaches_back_seconds",
        "Since the oldest trade in memory came.",
        lambda s: s.hour.reaches_back_s,
    ),
    _gauge(
        "memory_hour_covered_ratio",
        "Share of the wanted symbols whose last minute memory has in full.",
        lambda s: s.hour.covered_share,
    ),
    _counter(
        "memory_hour_unheld_rows_total",
        "Trades that found no memory; the database has them.",
        lambda s: s.hour.unheld_rows,
    ),
    _counter(
        "memory_hour_loaded_rows_total",
        "Trades read back from the database after the start.",
        lambda s: s.hour.loaded_rows,
    ),
    _counter("window_cache_hits_total", "Windows kept from before.", lambda s: s.hour.cache_hits),
    _counter("window_cache_misses_total", "Windows made anew.", lambda s: s.hour.cache_misses),
    _counter(
        "window_comparisons_total",
        "Windows that were compared between memory and database.",
        lambda s: s.hour.comparisons,
    ),
    _counter(
        "window_differences_total", "And were not the same.", lambda s: s.hour.differences
    ),
    Metric(
        name="build_info", kind="gauge", help="Always 1; the version is a label.",
        labels=("version",), read=lambda s: [((s.process.version,), 1)],
    ),
)  # fmt: skip


def _alerts_by_severity(standing: Standing) -> dict[Labels, float]:
    counts: dict[Labels, float] = {("page",): 0, ("notify",): 0, ("digest",): 0}
    for alert in standing.alerts:
        counts[(alert.severity,)] = counts.get((alert.severity,), 0) + 1
    return counts


class StandingCollector(Collector):
    """What prometheus_client asks for values."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing

    def collect(self) -> Iterator[Family]:
        """One family per declared metric."""
        for metric in METRICS:
            yield family_of(metric, self._standing)


def family_of(metric: Metric, standing: Standing) -> Family:
    """One metric with its values at this instant."""
    values = metric.read(standing)
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.full_name, metric.help, labels=metric.labels)
        for labels, value in values:
            assert isinstance(value, HistogramStanding)
            histogram.add_metric(labels, buckets_of(value), value.sum_s)
        return histogram
    maker = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = maker(metric.full_name, metric.help, labels=metric.labels)
    for labels, value in values:
        assert not isinstance(value, HistogramStanding)
        family.add_metric(labels, float(value))
    return family


def buckets_of(histogram: HistogramStanding) -> list[tuple[str, float]]:
    """Cumulated, as Prometheus wants them; an upper edge belongs to its bucket."""
    reached, found = 0, []
    for edge, count in zip((*histogram.edges_s, None), histogram.counts, strict=True):
        reached += count
        found.append(("+Inf" if edge is None else f"{edge:g}", float(reached)))
    return found


def render(standing: Standing) -> bytes:
    """The text that a scrape gets."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StandingCollector(standing))
    return generate_latest(registry)
