"""The composition root: builds the parts, owns the nursery tree and the order of shutdown.

server          dies last: QuestDB, or a connection to one
  store         spool, writers, applied watch
    capture     feeds; ends first, by closing each socket with a handshake
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import trio

from pumpwatch._fast.road import VenueClock
from pumpwatch.alerts import AlertDesk, run_alerts
from pumpwatch.answering import Answering
from pumpwatch.archiving import Archiving, offer_look
from pumpwatch.backfilling import Backfilling, offer_retry
from pumpwatch.budget import host_memory_mib, plan_memory
from pumpwatch.capture.feed import FeedRun
from pumpwatch.capture.feed_state import FeedState
from pumpwatch.capture.krw import KrwCoins
from pumpwatch.capture.ledger import Ledger
from pumpwatch.capture.pacing import ConnectPacer
from pumpwatch.caretaker import Caretaker
from pumpwatch.clock import Clock, SystemClock
from pumpwatch.config import Config, RunOptions
from pumpwatch.dashboard.actions import ActionDesk
from pumpwatch.dashboard.page import run_page
from pumpwatch.errors import EXIT_GOOD, SchemaError, ServerError
from pumpwatch.feed_switch import FeedSwitch, offer_switches
from pumpwatch.listing.stored import load_events
from pumpwatch.listing.watch import ListingWatch
from pumpwatch.listing_desk import ListingDesk
from pumpwatch.listing_order import offer_listing
from pumpwatch.monitor import Monitor
from pumpwatch.moving import Moving
from pumpwatch.past import Past
from pumpwatch.past_listings import PastListings, offer_past
from pumpwatch.reading_again import ReadingAgain
from pumpwatch.reload import reload
from pumpwatch.report.write import write_report
from pumpwatch.rest import RestClient
from pumpwatch.revaluing import Revaluing
from pumpwatch.seat import Seat
from pumpwatch.spool_damage import tell_losses
from pumpwatch.store.applied import AppliedWatch
from pumpwatch.store.embedded import hold_data_dir, run_server
from pumpwatch.store.ilp_client import IlpClient
from pumpwatch.store.progress import TableProgress
from pumpwatch.store.schema import SCHEMA_VERSION, TABLES, apply_schema, check_schema
from pumpwatch.store.segment import MIB
from pumpwatch.store.side_tables import SideTables
from pumpwatch.store.spool import Spool, run_spool
from pumpwatch.store.spool_files import START
from pumpwatch.store.spool_positions import alive_record
from pumpwatch.store.spool_recovery import holds_rows
from pumpwatch.store.sql import Sql
from pumpwatch.store.writer import TableWriter
from pumpwatch.systemd import Notifier, run_notify
from pumpwatch.venues import FEEDS

log = structlog.get_logger()

ALIVE_S = 1.0  # between two notes of what was read
FLUSH_S = 0.01  # rows wait at most this long for their record (promise 1)
DRAIN_POLL_S = 0.05
REPLAY_S_MAX = 600.0  # then the events are loaded although an earlier run's rows are not applied
KRW_WAIT_S = 3.0  # for the won market lists, which only matter where a venue takes fewer symbols
PAST_WAIT_S = 3.0  # for what earlier runs left in the tables; it may also come later
CAPTURE_END_S = 10.0  # for closing handshakes; then the sockets are dropped


class Daemon:
    """The parts of one run, for those who show them; ``run`` gives them life."""

    def __init__(self, config: Config, clock: Clock, rng: random.Random) -> None:
        self.config = config
        self.clock = clock
        self.rng = rng
        self.memory = plan_memory(config, host_memory_mib())
        self.state = "starting"
        self.stop = trio.Event()
        self.capturing = trio.Event()
        self.server: Any = None
        self.spool = Spool(
            config.data_dir / "spool",
            clock,
            self._child_rng(),
            schema_version=SCHEMA_VERSION,
            disk_bytes_max=config.spool.disk_max_mib * MIB,
            fsync_s=config.spool.fsync_ms / 1000,
            buffer_bytes_max=config.spool.buffer_max_mib * MIB,
            contiguous=[number for number, spec in enumerate(FEEDS, start=1) if spec.counts_up],
        )
        self.tables = {name: TableProgress(number, name) for name, number in TABLES.items()}
        self.writers: list[TableWriter] = []
        self.watch: AppliedWatch | None = None
        self.side = SideTables(
            self.spool, clock, FEEDS, config.data_dir / "quarantine", config.quarantine,
            fsync_s=config.spool.fsync_ms / 1000,
        )  # fmt: skip
        self.answers = Answering(self)
        self.ledger = Ledger(clock.wall_ns, self.answers.write_gaps, f"{rng.getrandbits(32):08x}")
        venue_clock = VenueClock()
        self.feeds = [
            FeedState(
                spec, number, self.spool, self.side, clock, venue_clock, self.ledger,
                history_ns=config.feeds[spec.name].history_s * 1_000_000_000,
            )
            for number, spec in enumerate(FEEDS, start=1)
            if config.feeds[spec.name].enabled
        ]  # fmt: skip
        self.answers.attach(self.feeds)
        self.archiving: Archiving | None = None  # there while capture runs, if it is enabled
        self.backfill: Backfilling | None = None  # there while capture runs, if it is enabled
        self.rest: RestClient | None = None  # there while capture runs
        self.listing: ListingWatch | None = None  # there once the events are loaded
        self.listing_desk: ListingDesk | None = None
        self.desk = ActionDesk()
        self.caretaker = Caretaker(self)
        self.moving = Moving(self)
        self.monitor = Monitor(self)
        self.seat = Seat(self)
        self.switches = {feed.spec.name: FeedSwitch(feed, self.stop) for feed in self.feeds}
        offer_switches(self.desk, self.switches)
        offer_retry(self.desk, lambda: self.backfill)
        offer_look(self.desk, lambda: self.archiving)
        offer_listing(self.desk, config.data_dir)
        self.reading_again = ReadingAgain(self)
        self.revaluing = Revaluing(self)
        self.runs: dict[str, FeedRun] = {}  # of feeds that were started, by name
        self.alerts: AlertDesk | None = None
        self.page_url = ""  # empty until the page is served
        # Called once when all is drained and the database still answers.
        self.at_end: Callable[[], Awaitable[None]] | None = None

    def _child_rng(self) -> random.Random:
        return random.Random(self.rng.getrandbits(64))

    async def run(self, *, task_status: trio.TaskStatus[Daemon] = trio.TASK_STATUS_IGNORED) -> None:
        """Start everything, record until ``stop``, end in order."""
        async with trio.open_nursery() as server_nursery:
            self.server = await server_nursery.start(
                lambda task_status: run_server(
                    self.config, self.clock,
                    heap_mib=self.memory.heap_mib, task_status=task_status,
                )
            )  # fmt: skip
            await self._with_store(task_status)
            server_nursery.cancel_scope.cancel()

    async def _with_store(self, task_status: trio.TaskStatus[Daemon]) -> None:
        sql = Sql(self.server.address)
        sender = IlpClient(self.server.address)
        try:
            await self._prepare_schema(sql)
            self.watch = AppliedWatch(
                self.spool, list(self.tables.values()), sql, self.clock,
                on_lag=self.monitor.note_lag,
            )  # fmt: skip
            async with trio.open_nursery() as store:
                await store.start(run_spool, self.spool, self.watch.applied)
                await self.caretaker.resume(sql)
                self._start_writers(store, sender, sql)
                await store.start(self.side.messages.run)
                store.start_soon(self.reading_again.run, sql)
                self.revaluing.sql = sql
                store.start_soon(self.watch.run)
                store.start_soon(self.monitor.run)
                store.start_soon(self.seat.run)
                store.start_soon(self.caretaker.run)
                store.start_soon(self._run_page)
                store.start_soon(run_alerts, self._make_alerts)
                files = self.spool.files
                past = Past(
                    sql, self.tables, files.table_ends(), self.ledger, standings=files.stood
                )
                store.start_soon(past.run)
                store.start_soon(tell_losses, self.spool, self.feeds, self.ledger)
                store.start_soon(self.answers.run, sql, past, files.table_ends())
                async with trio.open_nursery() as listing:
                    listing.start_soon(self._watch_listings, sql, sender)
                    listing.start_soon(self.moving.run, self._replayed)
                    await self._with_capture(past, sql, task_status)
                    listing.cancel_scope.cancel()
                self.state = "draining"
                await self._drain()
                self.state = "drained"
                if self.at_end is not None:
                    await self.at_end()
                store.cancel_scope.cancel()
        finally:
            with trio.move_on_after(2, shield=True):
                await sender.aclose()
                await sql.aclose()
            self.state = "stopped"
            self.monitor.write()

    def _make_alerts(self) -> AlertDesk:
        self.alerts = AlertDesk(self.config, self.clock, self.seat)
        return self.alerts

    async def _run_page(self) -> None:
        def served(url: str) -> None:
            self.page_url = url

        await run_page(
            self.config,
            self.clock,
            self.seat,
            self.desk,
            self.server.address,
            self.moving.windows(),
            on_address=served,
        )

    async def _prepare_schema(self, sql: Sql) -> None:
        spool_folder = self.config.data_dir / "spool"
        await self.caretaker.prepare(sql)
        await apply_schema(sql, spool_is_empty=lambda: not holds_rows(spool_folder))
        drift = await check_schema(sql)
        if drift:
            raise SchemaError(
                f"the tables differ from schema version {SCHEMA_VERSION}: {'; '.join(drift)}"
                " (`pumpwatch schema check` lists them)"
            )

    async def _watch_listings(self, sql: Sql, sender: IlpClient) -> None:
        """Load the events once what an earlier run left is applied (R3), then watch the boards."""
        await self._replayed()
        try:
            stored = await load_events(sql)
        except ServerError as error:
            log.warning("listing_events_not_loaded", message=str(error))
            stored = None
        self.listing_desk = ListingDesk(self, sql, refine=write_report)
        self.listing = ListingWatch(
            self.config, self.listing_desk.log, self.clock, self._child_rng(), stored=stored
        )
        self.past_listings = PastListings(self, sql, sender, self._child_rng())
        offer_past(self.desk, self.past_listings)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.listing_desk.run, self.listing.book.all())
            nursery.start_soon(self.listing.run)
            nursery.start_soon(self.past_listings.run)

    async def _replayed(self) -> None:
        """What an earlier run left in the spool is applied, or that takes too long."""
        ends = self.spool.files.table_ends()
        assert self.watch is not None
        with trio.move_on_after(REPLAY_S_MAX):
            while any(self.watch.applied.get(table, START) < end for table, end in ends.items()):  # noqa: ASYNC110
                await trio.sleep(DRAIN_POLL_S)

    def _start_writers(self, nursery: trio.Nursery, sender: IlpClient, sql: Sql) -> None:
        for progress in self.tables.values():
            writer = TableWriter(
                progress, self.spool, sender, self.side.refused_line, self._child_rng(),
                rows_max=self.config.writer.rows_max,
                interval_s=self.config.writer.interval_ms / 1000, gate=self.caretaker.gate,
                check_schema=partial(check_schema, sql),
            )  # fmt: skip
            self.writers.append(writer)
            nursery.start_soon(writer.run)

    async def _with_capture(
        self, past: Past, sql: Sql, task_status: trio.TaskStatus[Daemon]
    ) -> None:
        async with RestClient(self.config, self._child_rng()) as rest:
            self.rest = rest
            krw = KrwCoins(rest, self.config.listing)
            pacers = {spec.exchange: ConnectPacer(spec.connect_interval_s) for spec in FEEDS}
            async with trio.open_nursery() as flusher:
                flusher.start_soon(self._flush_loop)
                if self.config.backfill.enabled:
                    self.backfill = Backfilling(self, rest, sql, self._child_rng())
                    flusher.start_soon(self.backfill.run)
                if self.config.archives.enabled:
                    self.archiving = Archiving(self, rest, sql)
                    flusher.start_soon(self.archiving.run)
                with trio.CancelScope() as hard_end:
                    async with trio.open_nursery() as capture:
                        capture.start_soon(krw.run, self.stop)
                        await krw.first(KRW_WAIT_S)
                        await past.known(PAST_WAIT_S)
                        for feed in self.feeds:
                            capture.start_soon(
                                self.switches[feed.spec.name].run,
                                partial(
                                    self._record, feed, rest, pacers[feed.spec.exchange],
                                    self._child_rng(), krw, past,
                                ),
                            )  # fmt: skip
                        capture.start_soon(self._end_capture, hard_end)
                        self.state = "running"
                        self.capturing.set()
                        task_status.started(self)
                if hard_end.cancelled_caught:
                    log.warning("capture_cut", reason="a venue did not answer the close in time")
                flusher.cancel_scope.cancel()
            self._flush()
        self.side.close()

    async def _record(
        self, feed: FeedState, rest: RestClient, pacer: ConnectPacer, rng: random.Random,
        krw: KrwCoins, past: Past, end: trio.Event,
    ) -> None:  # fmt: skip
        run = FeedRun(
            feed, self.config.feeds[feed.spec.name], rest, pacer, rng, end, krw.coins,
            past.instruments_of(feed.spec.name),
        )  # fmt: skip
        self.runs[feed.spec.name] = run
        await run.run(past.resume)

    async def _end_capture(self, hard_end: trio.CancelScope) -> None:
        await self.stop.wait()
        self.state = "closing"
        hard_end.deadline = trio.current_time() + CAPTURE_END_S

    async def _flush_loop(self) -> None:
        alive_s = trio.current_time()
        while True:
            await trio.sleep(FLUSH_S)
            self._flush()
            if trio.current_time() >= alive_s:
                alive_s = trio.current_time() + ALIVE_S
                self._note_alive()

    def _flush(self) -> None:
        for feed in self.feeds:
            feed.flush()

    def _note_alive(self) -> None:
        """Behind what was flushed: until when each feed's connections are known to be read (R3)."""
        alive = {feed.number: ns for feed in self.feeds if (ns := feed.alive_ns())}
        if alive:
            self.spool.append(alive_record(alive))

    async def _drain(self) -> None:
        """Wait until all is applied, at most ``shutdown_s``; what is left stays in the spool."""
        assert self.watch is not None
        self.spool.begin_drain()
        with trio.move_on_after(self.config.system.shutdown_s):
            while not self.spool.is_drained(self.watch.applied):  # noqa: ASYNC110 - polled by design
                await trio.sleep(DRAIN_POLL_S)
            log.info("drained")
            return
        log.warning("undrained", rows=self.monitor.pending_rows(),
                    message="they stay in the spool and are sent at the next start")  # fmt: skip


async def watch_reload(
    daemon: Daemon,
    path: Path | None,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """SIGHUP: read the settings again."""
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            reload(daemon, path)


async def watch_signals(
    daemon: Daemon,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """First SIGTERM or SIGINT: end in order. The second: exit at once, the spool sound."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            if daemon.stop.is_set():
                log.error("second_signal", signal=number, message="exit at once")
                for feed in daemon.feeds:
                    feed.flush()
                daemon.spool.write_now()
                daemon.side.messages.write_now()
                os._exit(128 + number)
            log.info("stopping", signal=number)
            daemon.stop.set()


def run(config: Config, options: RunOptions) -> int:
    """The ``run`` verb: record until a signal (or for a while); returns the exit code."""
    seed = random.SystemRandom().getrandbits(64)
    return trio.run(_main, config, options, SystemClock(), random.Random(seed))


async def _main(config: Config, options: RunOptions, clock: Clock, rng: random.Random) -> int:
    with hold_data_dir(config.data_dir):
        daemon = Daemon(config, clock, rng)
        async with trio.open_nursery() as nursery:
            await nursery.start(watch_signals, daemon)
            await nursery.start(watch_reload, daemon, options.config_path)
            nursery.start_soon(
                partial(run_notify, daemon, Notifier(os.environ), is_alive=daemon.seat.is_alive)
            )
            if options.duration_s is not None:
                nursery.start_soon(_stop_after, daemon, options.duration_s)
            await daemon.run()
            nursery.cancel_scope.cancel()
        if options.duration_s is not None:
            print_summary(daemon)
    return EXIT_GOOD


async def _stop_after(daemon: Daemon, duration_s: float) -> None:
    await daemon.capturing.wait()
    await trio.sleep(duration_s)
    daemon.stop.set()


def print_summary(daemon: Daemon) -> None:
    """The table that a taste ends in."""
    from pumpwatch.demo import print_taste

    print_taste(daemon)
