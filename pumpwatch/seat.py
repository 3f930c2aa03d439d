"""The operator's seat: looks at the daemon once a second, and feeds page, metrics and alerts.

Nothing here is on the road of a trade: counters are read where they stand.
"""

from __future__ import annotations

import math
import os
import resource
import shutil
from collections import deque
from typing import TYPE_CHECKING

import psutil
import structlog
import trio

from pumpwatch.capture.feed_state import ConnectionState, FeedState
from pumpwatch.health_line import health_line
from pumpwatch.moments import iso_ns
from pumpwatch.rates import LAG_BUCKETS_S, LagHistogram, Rate, TimesBySource
from pumpwatch.standing import (
    AlertStanding,
    ConnectionStanding,
    DatabaseStanding,
    DetectorStanding,
    FeedStanding,
    HistogramStanding,
    ProcessStanding,
    SpoolStanding,
    Standing,
    TablesStanding,
    VolumeStanding,
    WriterStanding,
)
from pumpwatch.version import VERSION

if TYPE_CHECKING:
    from pumpwatch.daemon import Daemon

log = structlog.get_logger()

LOOK_S = 1.0
STUCK_S = 10.0  # without a look for so long
RATE_SPANS_S = (1, 10, 60)
HISTORY_S = 180  # of rows a second, for the page's sparklines
ANNOUNCED_MAX = 64  # listings that a slow listener may be behind


class Seat:
    """What is known of the daemon right now, and a short history of its rates."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._process = psutil.Process(os.getpid())
        self._started_ns = daemon.clock.wall_ns()
        self._rates = {
            feed.spec.name: {span: Rate(float(span)) for span in RATE_SPANS_S}
            for feed in daemon.feeds
        }
        self._rows_per_s: dict[str, dict[str, float]] = {}
        self._loop_lag_s = 0.0
        self._looked_s = math.inf  # until the first look nobody is late
        self._applied_rows = -1
        self._applied_moved_s: float | None = None
        self.history: deque[tuple[int, ...]] = deque(maxlen=HISTORY_S)  # rows/s by feed
        self.query_times = TimesBySource()
        # Filled in by their owners; what nobody fills in is shown as not known.
        self.tables: TablesStanding | None = None
        self.alerts: list[AlertStanding] = []
        self.alert_deliveries: dict[str, int] = {}
        self.page_clients = 0
        self.page_requests: dict[str, int] = {}
        self.standing = self._look()
        self.looked = trio.Event()  # set at each look and announcement, and replaced
        self.announced: deque[bytes] = deque(maxlen=ANNOUNCED_MAX)  # JSON, newest last
        self.announcements = 0  # so far

    async def run(self) -> None:
        """Look once a second until cancelled."""
        line_at_s = trio.current_time() + self._daemon.config.system.status_interval_s
        while True:
            due_s = trio.current_time() + LOOK_S
            await trio.sleep_until(due_s)
            self._loop_lag_s = trio.current_time() - due_s
            self.look()
            if due_s >= line_at_s:
                line_at_s += self._daemon.config.system.status_interval_s
                log.info("health", line=health_line(self.standing))

    def announce(self, document: bytes) -> None:
        """Tell a listing to all who listen to the live stream, now."""
        self.announced.append(document)
        self.announcements += 1
        self._tell()

    def _tell(self) -> None:
        looked, self.looked = self.looked, trio.Event()
        looked.set()

    def is_alive(self) -> bool:
        """Whether it has looked lately."""
        return trio.current_time() - self._looked_s < STUCK_S

    def look(self) -> Standing:
        """Bring everything up to date and tell those who wait for it."""
        for feed in self._daemon.feeds:
            passed = feed.road.counts_now()["passed"]
            rates = self._rates[feed.spec.name]
            now_s = trio.current_time()
            self._rows_per_s[feed.spec.name] = {
                str(span): round(rate.note(now_s, passed), 1) for span, rate in rates.items()
            }
        self._note_applied()
        self.standing = self._look()
        self.history.append(
            tuple(round(feed.rows_per_s.get("1", 0.0)) for feed in self.standing.feeds)
        )
        self._looked_s = trio.current_time()
        self._tell()
        return self.standing

    def _note_applied(self) -> None:
        applied = sum(self._daemon.tables["trades"].applied_by_feed.values())
        if applied != self._applied_rows or not self._daemon.monitor.pending_rows():
            self._applied_rows = applied
            self._applied_moved_s = trio.current_time()

    def _look(self) -> Standing:
        daemon = self._daemon
        now_ns = daemon.clock.wall_ns()
        return Standing(
            at=iso_ns(now_ns)[:23] + "Z",
            state=daemon.state,
            process=self._look_at_process(now_ns),
            feeds=[self._look_at_feed(feed, now_ns) for feed in daemon.feeds],
            spool=self._look_at_spool(),
            database=self._look_at_database(),
            volume=self._look_at_volume(),
            writers=[
                WriterStanding(
                    table=writer.progress.name, state=writer.state, requests=writer.requests,
                    retries=writer.retries, error=writer.last_error,
                )
                for writer in daemon.writers
            ],
            differences=daemon.monitor.differences,
            spooled_lag=histogram(daemon.spool.lags),
            applied_lag=histogram(daemon.monitor.lags),
            queries={k: histogram(v) for k, v in self.query_times.by_source.items()},
            detectors=self._look_at_detectors(now_ns),
            tables=self.tables,
            alerts=self.alerts,
            upkeep=daemon.caretaker.standing(),
            hour=daemon.answers.standing(),
            alert_deliveries=self.alert_deliveries,
            budgets=daemon.backfill.budgets() if daemon.backfill else [],
            page_clients=self.page_clients,
            page_requests=dict(self.page_requests),
        )  # fmt: skip

    def _look_at_process(self, now_ns: int) -> ProcessStanding:
        with self._process.oneshot():
            times = self._process.cpu_times()
            return ProcessStanding(
                pid=self._process.pid,
                version=VERSION,
                started_at=iso_ns(self._started_ns)[:19] + "Z",
                uptime_s=(now_ns - self._started_ns) / 1e9,
                rss_bytes=self._process.memory_info().rss,
                memory_bytes_max=self._daemon.memory.budget_mib * 2**20,
                cpu_s=times.user + times.system,
                open_files=self._process.num_fds(),
                open_files_max=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
                loop_lag_s=round(self._loop_lag_s, 4),
            )

    def _look_at_feed(self, feed: FeedState, now_ns: int) -> FeedStanding:
        name, road, counts = feed.spec.name, feed.road, feed.road.counts_now()
        errors = [c.error for c in feed.connections if c.error and c.state != "open"]
        received_ns = road.last_receive_ns
        gaps = None if self.tables is None else self.tables.gaps_open.get(name, 0)
        backfill = self._daemon.backfill
        return FeedStanding(
            feed=name,
            exchange=feed.spec.exchange,
            market_type=feed.spec.market_type,
            state=feed.state,
            error=feed.error or (errors[0] if errors else ""),
            connections_open=sum(c.state == "open" for c in feed.connections),
            subscribed=feed.subscribed,
            wanted=feed.wanted,
            left_out=len(feed.left_out),
            refused=feed.refused,
            reconnects=sum(c.reconnects for c in feed.connections),
            messages=counts["messages"],
            unreadable=counts["quarantined_messages"],
            rows_per_s=self._rows_per_s.get(name, {}),
            lag_ms=(received_ns - road.last_exchange_ns) / 1e6 if road.last_exchange_ns else None,
            silent_s=(now_ns - received_ns) / 1e9 if received_ns else None,
            inexact_values=feed.rows.inexact_values,
            gaps_open=gaps,
            balance=self._daemon.monitor.balance(feed),
            connections=[_connection(connection) for connection in feed.connections],
            backfill=backfill.standing(name) if backfill else None,
            change=feed.shape.named(now_ns),
            route=feed.route,
        )

    def _look_at_detectors(self, now_ns: int) -> list[DetectorStanding]:
        watch = self._daemon.listing
        if watch is None:  # the events of earlier runs are not loaded yet
            return []
        return [
            DetectorStanding(
                name=name,
                interval_s=watch.looks_every_s(witness),
                silent_s=(now_ns - witness.good_ns) / 1e9 if witness.good_ns else None,
                error=witness.reason,
            )
            for name, witness in watch.witnesses.items()
        ]

    def _look_at_spool(self) -> SpoolStanding:
        spool = self._daemon.spool
        return SpoolStanding(
            state=spool.state,
            disk_bytes=spool.files.bytes_on_disk,
            disk_bytes_max=spool.disk_bytes_max,
            buffered_bytes=spool.buffered_bytes,
            buffered_rows=spool.buffered_rows,
            segments=len(spool.files.segments),
            damaged=sum(not hole.is_tail for _, hole in spool.damage),
        )

    def _look_at_database(self) -> DatabaseStanding:
        daemon = self._daemon
        trades, watch = daemon.tables["trades"], daemon.watch
        has_answered = watch is not None and watch.last_look_s > 0
        silent_s = trio.current_time() - watch.last_look_s if watch and has_answered else None
        suspended = [table.name for table in daemon.tables.values() if table.suspended]
        if watch is None or not has_answered:
            state = "starting"
        elif suspended:
            state = "suspended"
        else:
            state = "up" if watch.is_answering else "down"
        moved_s = self._applied_moved_s
        return DatabaseStanding(
            state=state,
            silent_s=silent_s,
            pending_rows=daemon.monitor.pending_rows(),
            pending_s=0.0 if moved_s is None else trio.current_time() - moved_s,
            applied_rows=sum(trades.applied_by_feed.values()),
            refused_rows=sum(trades.refused_by_feed.values()),
            suspended_tables=suspended,
            restarts=getattr(daemon.server, "restarts", 0),
            rss_bytes=self._database_rss_bytes(),
            disk_bytes=None if self.tables is None else self.tables.disk_bytes,
        )

    def _database_rss_bytes(self) -> int:
        pid = getattr(self._daemon.server, "pid", None)
        try:
            return psutil.Process(pid).memory_info().rss if pid else 0
        except psutil.Error:
            return 0

    def _look_at_volume(self) -> VolumeStanding:
        try:
            usage = shutil.disk_usage(self._daemon.config.data_dir)
        except OSError:
            return VolumeStanding(used_bytes=0, free_bytes=0)
        return VolumeStanding(used_bytes=usage.used, free_bytes=usage.free)


def histogram(lags: LagHistogram) -> HistogramStanding:
    """A copy of live counters."""
    return HistogramStanding(
        edges_s=LAG_BUCKETS_S, counts=tuple(lags.rows), sum_s=round(lags.sum_s, 6)
    )


def _connection(shown: ConnectionState) -> ConnectionStanding:
    return ConnectionStanding(
        number=shown.number,
        state=shown.state,
        wanted=shown.wanted,
        subscribed=shown.subscribed,
        reconnects=shown.reconnects,
        messages=shown.messages,
        trades=shown.trades,
        opened_at=iso_ns(shown.opened_ns) if shown.opened_ns else None,
        error=shown.error,
    )
