"""Looks at the daemon every second: balance, rates, lags. Writes status.json and a log line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import psutil
import structlog
import trio

from pumpwatch.balance import FeedBalance, differences
from pumpwatch.capture.feed_state import FeedState
from pumpwatch.moments import iso_ns
from pumpwatch.rates import LagHistogram, Rate
from pumpwatch.status import write_status
from pumpwatch.version import VERSION

if TYPE_CHECKING:
    from pumpwatch.daemon import Daemon

log = structlog.get_logger()

LOOK_S = 1.0
BEHIND_S = 1.0  # from receipt to visible: longer than it takes at 5,000 rows a second


class Monitor:
    """What the daemon knows of itself."""

    def __init__(self, daemon: Daemon) -> None:
        self.lags = LagHistogram()
        self.differences: list[str] = []
        self._daemon = daemon
        self._rates = {feed.spec.name: Rate() for feed in daemon.feeds}
        self._rows_per_s: dict[str, float] = {}
        self._started_ns = daemon.clock.wall_ns()
        self._process = psutil.Process(os.getpid())
        self._lag_s = self._lag_noted_s = 0.0

    def note_lag(self, lag_s: float, rows: int) -> None:
        """Rows became visible this long after they were received."""
        self.lags.note(lag_s, rows)
        self._lag_s, self._lag_noted_s = lag_s, trio.current_time()

    def is_behind(self) -> bool:
        """Whether rows take long just now: what can wait gives way to them."""
        if trio.current_time() - self._lag_noted_s > BEHIND_S:
            return self.pending_rows() > 0
        return self._lag_s > BEHIND_S

    async def run(self) -> None:
        """Look once a second until cancelled."""
        line_at_s = trio.current_time() + self._daemon.config.system.status_interval_s
        while True:
            self.look()
            self.write()
            self._daemon.side.look()
            if trio.current_time() >= line_at_s:
                line_at_s += self._daemon.config.system.status_interval_s
                self._log_line()
            await trio.sleep(LOOK_S)

    def look(self) -> None:
        """Check the balance; a new difference is an error in the log."""
        found = []
        for feed in self._daemon.feeds:
            counts = feed.road.counts_now()
            rate = self._rates[feed.spec.name].note(trio.current_time(), counts["passed"])
            self._rows_per_s[feed.spec.name] = rate
            found += differences(self.balance(feed), is_settled=self._is_settled())
        for text in found:
            if text not in self.differences:
                log.error("balance_broken", difference=text)
        self.differences = found

    def _is_settled(self) -> bool:
        trades = self._daemon.tables["trades"]
        return trades.applied == trades.accepted

    def _passed_on(self, feed: int, replayed: int) -> int | None:
        """Rows that lie before the writer's cursor; None where it is not behind one of our writes.

        Damage may be found in front of the cursor: with some, nothing is known before the end.
        """
        spool, trades = self._daemon.spool, self._daemon.tables["trades"]
        until = spool.rows_until(trades.accepted)
        lost = spool.lost_by_feed[feed]
        if until is None or (lost and spool.has_rows(trades.number, trades.accepted)):
            return None
        return replayed + until[feed] - lost

    def balance(self, feed: FeedState) -> FeedBalance:
        """One feed's counters at this instant."""
        counts = feed.road.counts_now()
        spool, trades = self._daemon.spool, self._daemon.tables["trades"]
        quarantine = self._daemon.side.quarantine
        replayed: Mapping[int, int] = spool.recovery.rows_by_feed if spool.recovery else {}
        return FeedBalance(
            feed=feed.spec.name,
            parsed=counts["parsed"],
            passed=counts["passed"],
            repeated=counts["repeated"],
            history_skipped=counts["history_skipped"],
            quarantined=counts["quarantined"],
            quarantined_kept=quarantine.rows[feed.spec.name],
            buffered=feed.rows.rows,
            queued=spool.queued_by_feed[feed.number],
            spooled=spool.spooled_by_feed[feed.number],
            replayed=replayed.get(feed.number, 0),
            passed_on=self._passed_on(feed.number, replayed.get(feed.number, 0)),
            accepted=trades.accepted_by_feed[feed.number],
            applied=trades.applied_by_feed[feed.number],
            refused=trades.refused_by_feed[feed.number],
            refused_kept=quarantine.refused[feed.spec.name],
            lost=spool.lost_by_feed[feed.number],
        )

    def pending_rows(self) -> int:
        """Rows of trades that are not known to be in the table."""
        return sum(self.balance(feed).pending for feed in self._daemon.feeds)

    def document(self) -> dict[str, Any]:
        """Everything ``status`` shows."""
        daemon = self._daemon
        now_ns = daemon.clock.wall_ns()
        return {
            "version": VERSION,
            "pid": os.getpid(),
            "state": daemon.state,
            "at": iso_ns(now_ns)[:19] + "Z",
            "uptime_s": (now_ns - self._started_ns) / 1e9,
            "feeds": [self._feed_document(feed) for feed in daemon.feeds],
            "store": self._store_document(),
            "daemon_rss_mib": self._process.memory_info().rss / 2**20,
            "database_rss_mib": self._database_rss_mib(),
            "differences": self.differences,
            "upkeep": msgspec.to_builtins(daemon.caretaker.standing()),
        }

    def _feed_document(self, feed: FeedState) -> dict[str, Any]:
        counts = feed.road.counts_now()
        road = feed.road
        lag_ns = road.last_receive_ns - road.last_exchange_ns
        errors = [c.error for c in feed.connections if c.error and c.state != "open"]
        gaps = self._daemon.ledger.open_gaps(feed.spec.name)
        return {
            "feed": feed.spec.name,
            "state": feed.state,
            "healthy": feed.state == "running" and feed.subscribed == feed.wanted,
            "connections": sum(c.state == "open" for c in feed.connections),
            "reconnects": sum(c.reconnects for c in feed.connections),
            "replacements": feed.replacements,
            "subscribed": feed.subscribed,
            "wanted": feed.wanted,
            "refused": feed.refused,
            "left_out": len(feed.left_out),
            "left_out_symbols": [instrument.symbol for instrument in feed.left_out],
            "rows_per_s": self._rows_per_s.get(feed.spec.name, 0.0),
            "lag_ms": lag_ns / 1e6 if road.last_exchange_ns else None,
            "unchecked": len(feed.unheard()),
            "backfill": self._backfill_document(feed.spec.name),
            "gaps_suspected": sum(gap.state == "suspected" for gap in gaps),
            "gaps_confirmed": sum(gap.state == "confirmed" for gap in gaps),
            "disagreements": feed.agreement.differences if feed.agreement else None,
            "error": feed.error or (errors[0] if errors else ""),
            **counts,
        }

    def _backfill_document(self, feed: str) -> dict[str, Any] | None:
        backfill = self._daemon.backfill
        return None if backfill is None else msgspec.structs.asdict(backfill.standing(feed))

    def _store_document(self) -> dict[str, Any]:
        daemon = self._daemon
        spool = daemon.spool
        trades = daemon.tables["trades"]
        is_answering = daemon.watch is not None and daemon.watch.is_answering
        return {
            "spool_state": spool.state,
            "spool_mib": spool.files.bytes_on_disk / 2**20,
            "spool_damage": len(spool.damage),
            "buffered_rows": spool.buffered_rows,
            "pending_rows": self.pending_rows(),
            "applied_rows": sum(trades.applied_by_feed.values()),
            "refused_rows": sum(trades.refused_by_feed.values()),
            "database": "suspended" if trades.suspended else "up" if is_answering else "down",
            "writers": {w.progress.name: w.state for w in daemon.writers},
            "lag_p50_s": self.lags.quantile(0.5),
            "lag_p99_s": self.lags.quantile(0.99),
        }

    def _database_rss_mib(self) -> float:
        pid = getattr(self._daemon.server, "pid", None)
        try:
            return psutil.Process(pid).memory_info().rss / 2**20 if pid else 0.0
        except psutil.Error:
            return 0.0

    def write(self) -> None:
        """Write status.json; a disk that refuses costs the status, nothing else."""
        try:
            write_status(self._daemon.config.data_dir, self.document())
        except OSError as error:
            log.warning("status_not_written", error=str(error))

    def _log_line(self) -> None:
        feeds = {
            feed.spec.name: (
                f"{sum(c.state == 'open' for c in feed.connections)}c"
                f" {self._rows_per_s.get(feed.spec.name, 0.0):.0f}/s"
                f" {(feed.road.last_receive_ns - feed.road.last_exchange_ns) / 1e6:.0f}ms"
            )
            for feed in self._daemon.feeds
        }
        log.info("status", pending_rows=self.pending_rows(), **feeds)
