"""What is worth telling, as data: each rule reads how the daemon stands; sans-IO.

A rule finds (subject, text) pairs that hold right now. ``above`` names the alerts that explain it:
while one of them stands this one is not told (network > feed > connection > symbol > gap).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import msgspec

from pumpwatch.health import FEED_SILENT_S_MAX, SUBSCRIBED_SHARE_MIN, database_silence
from pumpwatch.standing import FeedStanding, Standing

Severity = Literal["page", "notify", "digest"]
Key = tuple[str, str]  # rule, subject
Found = Iterable[tuple[str, str]]

SPOOL_SHARE_WARN = 0.5
DISK_SHARE_WARN = 0.70
DISK_SHARE_PAGE = 0.85
MEMORY_SHARE_WARN = 0.90
PENDING_S_MAX = 30.0
CLOCK_OFFSET_MS_MAX = 500.0  # a row that was traded later than it came: our clock is slow
LOOP_LAG_S_MAX = 1.0
DETECTOR_INTERVALS_MAX = 10
MUTE_SYMBOLS_MAX = 3  # of a feed; more are told in one message
DETECTOR_SILENT_S_MIN = 30.0
BAD_RESULTS = frozenset({"failed", "error", "different"})


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule; ``hold_s`` is how long it must hold before anybody is told."""

    name: str
    severity: Severity
    hold_s: float
    help: str
    find: Callable[[Standing], Found]
    above: Callable[[str], tuple[Key, ...]] = lambda subject: ()
    tells_recovery: bool = True
    is_urgent: bool = False  # quiet hours do not hold it back


def _is_up(feed: FeedStanding) -> bool:
    return bool(feed.connections_open and feed.subscribed)


def _recorded(standing: Standing) -> list[FeedStanding]:
    return [feed for feed in standing.feeds if feed.state != "paused"]


def _network(standing: Standing) -> Found:
    feeds = _recorded(standing)
    if standing.state == "running" and len(feeds) > 1 and not any(map(_is_up, feeds)):
        yield "", f"none of {len(feeds)} feeds is connected: network, name service or firewall?"


def _feed_down(standing: Standing) -> Found:
    for feed in _recorded(standing):
        if standing.state == "running" and not _is_up(feed):
            yield feed.feed, feed.error or "no connection is open"


def _feed_silent(standing: Standing) -> Found:
    for feed in _recorded(standing):
        if _is_up(feed) and feed.silent_s is not None and feed.silent_s > FEED_SILENT_S_MAX:
            yield feed.feed, f"connected, but no trade came for more than {FEED_SILENT_S_MAX:g} s"


def _connection_down(standing: Standing) -> Found:
    for feed in _recorded(standing):
        for connection in feed.connections:
            if standing.state == "running" and connection.state != "open":
                text = f"{connection.state}: {connection.error or 'no error told'}"
                yield f"{feed.feed}/{connection.number}", text


def _symbols_missing(standing: Standing) -> Found:
    for feed in _recorded(standing):
        if _is_up(feed) and feed.subscribed < feed.wanted * SUBSCRIBED_SHARE_MIN:
            yield feed.feed, f"{feed.subscribed} of {feed.wanted} symbols are subscribed"


def _gap_lost(standing: Standing) -> Found:
    for feed, gaps in (standing.tables.gaps_lost if standing.tables else {}).items():
        if gaps:
            yield feed, f"{gaps} holes were declared lost in the last day"


def _symbol_mute(standing: Standing) -> Found:
    for feed in _recorded(standing):
        mute = feed.backfill.mute_symbols if feed.backfill else ()
        if len(mute) > MUTE_SYMBOLS_MAX:  # one cause, whatever it is: told once
            yield feed.feed, f"{len(mute)} symbols trade, and the stream brings nothing of them"
            continue
        for symbol in mute:
            yield f"{feed.feed}/{symbol}", "it trades, and the stream brings nothing of it"


def _route_silent(standing: Standing) -> Found:
    for feed in _recorded(standing):
        if feed.route:
            yield feed.feed, f"its address brings nothing of what trades: {feed.route} is tried"


def _messages_changed(standing: Standing) -> Found:
    for feed in standing.feeds:
        if feed.change:
            yield feed.feed, feed.change


def _times_apart(standing: Standing) -> Found:
    for feed in _recorded(standing):
        if feed.backfill and feed.backfill.times_apart:
            yield feed.feed, "REST has other times than the stream: its rows go by ids only"


def _balance(standing: Standing) -> Found:
    for difference in standing.differences:
        place, _, text = difference.partition(": ")
        yield place, text


def _spool_filling(standing: Standing) -> Found:
    spool = standing.spool
    if spool.disk_bytes > SPOOL_SHARE_WARN * spool.disk_bytes_max:
        yield "", f"more than {SPOOL_SHARE_WARN:.0%} of spool.disk_max_mib is in use"


def _spool_stopped(standing: Standing) -> Found:
    if standing.spool.state == "full":
        yield "", "spool.disk_max_mib is reached: sockets are not read"
    if standing.spool.state == "failing":
        yield "", "the disk refuses writes: rows are held in memory"


def _spool_damaged(standing: Standing) -> Found:
    if standing.spool.damaged:
        yield "", f"{standing.spool.damaged} places on the disk are damaged: rows are lost"


def _database_down(standing: Standing) -> Found:
    """However long rows have waited meanwhile: else it would seem to recover after a while."""
    silence = database_silence(standing.database)
    if silence and not standing.database.suspended_tables:
        yield "", silence


def _database_suspended(standing: Standing) -> Found:
    for table in standing.database.suspended_tables:
        yield table, "its log is not applied: is the disk full? It is resumed by itself"


def _database_lagging(standing: Standing) -> Found:
    database = standing.database
    if database.pending_rows and database.pending_s > PENDING_S_MAX:
        yield "", f"rows have waited for more than {PENDING_S_MAX:g} s without one being applied"


def _writer_faulty(standing: Standing) -> Found:
    for writer in standing.writers:
        if writer.state == "faulty":
            yield writer.table, writer.error or "the database refuses the table's rows"


def _disk(low: float, high: float, *levels: str) -> Callable[[Standing], Found]:
    """By ``levels`` each file system that is looked after; before that, the one of data_dir."""

    def find(standing: Standing) -> Iterator[tuple[str, str]]:
        disks = standing.upkeep.disks
        if not disks and low <= standing.volume.used_share < high:
            yield "", f"more than {low:.0%} of the disk of data_dir is in use"
        for disk in disks:
            if disk.level in levels:
                yield disk.name, f"{disk.path} is on a disk that is fuller than {disk.level} allows"

    return find


def _writers_stopped(standing: Standing) -> Found:
    if standing.upkeep.writers_stopped:
        yield "", "the database's disk is full: rows wait in the spool until there is room"


def _told(rule: str) -> Callable[[Standing], Found]:
    """What the last run of retention, conversion or backup complained of: rule, or rule/subject."""

    def find(standing: Standing) -> Iterator[tuple[str, str]]:
        for key, text in standing.upkeep.told.items():
            name, _, subject = key.partition("/")
            if name == rule:
                yield subject, text

    return find


def _window_differs(standing: Standing) -> Found:
    if standing.hour.differences:
        yield (
            "",
            f"memory and database give different rows, both are in {standing.hour.difference_file}",
        )


def _memory(standing: Standing) -> Found:
    used_bytes = standing.process.rss_bytes + standing.database.rss_bytes
    if used_bytes > MEMORY_SHARE_WARN * standing.process.memory_bytes_max:
        yield "", f"daemon and database use more than {MEMORY_SHARE_WARN:.0%} of memory.budget_mib"


def _clock(standing: Standing) -> Found:
    lags = [feed.lag_ms for feed in standing.feeds if feed.lag_ms is not None]
    ahead = sum(lag_ms < -CLOCK_OFFSET_MS_MAX for lag_ms in lags)
    if len(lags) > 1 and ahead * 2 > len(lags):
        yield "", f"trades of {ahead} feeds come before they happen: our clock is slow (NTP?)"


def _loop(standing: Standing) -> Found:
    if standing.process.loop_lag_s > LOOP_LAG_S_MAX:
        yield "", "the event loop is late: this machine is too slow, or busy with something else"


def _detector_blind(standing: Standing) -> Found:
    for detector in standing.detectors:
        limit_s = max(DETECTOR_SILENT_S_MIN, DETECTOR_INTERVALS_MAX * detector.interval_s)
        if detector.silent_s is None or detector.silent_s > limit_s:
            yield detector.name, detector.error or f"has not read its board for {limit_s:g} s"


def _listing_partial(standing: Standing) -> Found:
    for listing in standing.tables.listings if standing.tables else []:
        if listing.state == "partial":
            subject = f"{listing.source}/{listing.notice_id}/{listing.symbol}"
            yield subject, "its window is not complete: see its certificate"


def _backup_failed(standing: Standing) -> Found:
    if "backup_failed" in standing.upkeep.told:
        yield "", standing.upkeep.told["backup_failed"]
        return
    operations = standing.tables.operations if standing.tables else []
    newest = next((o for o in operations if o.operation == "backup" and o.finished_at), None)
    if newest is not None and newest.result in BAD_RESULTS:
        yield "", newest.detail or newest.result


NETWORK: Key = ("network_down", "")


def _under_feed(subject: str) -> tuple[Key, ...]:
    feed = subject.partition("/")[0]
    return (NETWORK, ("feed_down", feed), ("feed_silent", feed))


def _under_socket(subject: str) -> tuple[Key, ...]:
    """A full spool stops the reading: what is not read is no silence of the venue's (R9)."""
    return (*_under_feed(subject), ("spool_stopped", ""))


def _under_database(_subject: str) -> tuple[Key, ...]:
    return (("database_down", ""), ("database_suspended", "trades"), ("writers_stopped", ""))


RULES: tuple[Rule, ...] = (
    Rule(name="network_down", severity="page", hold_s=15, find=_network,
         help="no feed is connected"),
    Rule(name="feed_down", severity="page", hold_s=30, find=_feed_down,
         above=lambda _: (NETWORK,), help="a feed has no open connection or no subscription"),
    Rule(name="feed_silent", severity="page", hold_s=0, find=_feed_silent,
         above=lambda feed: (NETWORK, ("feed_down", feed)),
         help="a feed is connected and brings nothing"),
    Rule(name="connection_down", severity="notify", hold_s=120, find=_connection_down,
         above=_under_feed, help="one of several connections stays away"),
    Rule(name="symbols_missing", severity="notify", hold_s=300, find=_symbols_missing,
         above=_under_feed, help="a venue does not acknowledge symbols"),
    Rule(name="gap_lost", severity="digest", hold_s=0, find=_gap_lost, above=_under_feed,
         help="holes that could not be filled", tells_recovery=False),
    Rule(name="symbol_mute", severity="notify", hold_s=30, find=_symbol_mute, above=_under_socket,
         help="a symbol trades on a connection that brings nothing of it"),
    Rule(name="route_silent", severity="page", hold_s=0, find=_route_silent,
         above=lambda _: (NETWORK,),
         help="a feed's address takes subscriptions and brings nothing: another one is tried"),
    Rule(name="messages_changed", severity="page", hold_s=0, find=_messages_changed,
         help="messages of a feed cannot be read: its venue changed them, or the parser is wrong"),
    Rule(name="rest_times_differ", severity="notify", hold_s=0, find=_times_apart,
         help="a venue's lists give trades other times than its stream"),
    Rule(name="balance_broken", severity="page", hold_s=5, find=_balance,
         help="the counters do not add up: rows are not accounted for"),
    Rule(name="spool_filling", severity="notify", hold_s=30, find=_spool_filling,
         above=lambda _: (("spool_stopped", ""), ("database_down", "")),
         help="the database does not keep up"),
    Rule(name="spool_stopped", severity="page", hold_s=5, find=_spool_stopped,
         help="nothing more can be put on disk"),
    Rule(name="spool_damaged", severity="page", hold_s=0, find=_spool_damaged,
         help="the disk returned other bytes than were written"),
    Rule(name="database_down", severity="page", hold_s=20, find=_database_down,
         help="the database does not answer"),
    Rule(name="database_suspended", severity="page", hold_s=10, find=_database_suspended,
         help="a table's log is not applied"),
    Rule(name="database_lagging", severity="notify", hold_s=30, find=_database_lagging,
         above=_under_database, help="accepted rows do not become visible"),
    Rule(name="writer_faulty", severity="page", hold_s=10, find=_writer_faulty,
         above=_under_database, help="the database refuses a table's rows, whatever is in them"),
    Rule(name="disk_filling", severity="notify", hold_s=60,
         find=_disk(DISK_SHARE_WARN, DISK_SHARE_PAGE, "warn"),
         help="retention will drop days soon"),
    Rule(name="disk_full", severity="page", hold_s=30,
         find=_disk(DISK_SHARE_PAGE, 2.0, "emergency", "stop"), help="retention drops days"),
    Rule(name="disk_emergency", severity="page", hold_s=0, find=_told("disk_emergency"),
         help="the oldest days go, for the disk's sake"),
    Rule(name="disk_floor", severity="page", hold_s=0, find=_told("disk_floor"),
         help="the disk is full, and nothing more may be dropped"),
    Rule(name="writers_stopped", severity="page", hold_s=5, find=_writers_stopped,
         help="the database's disk is as good as full: rows stay in the spool"),
    Rule(name="retention_refused", severity="page", hold_s=0, find=_told("retention_refused"),
         help="the clock contradicts the trades: nothing is dropped"),
    Rule(name="retention_failed", severity="notify", hold_s=0, find=_told("retention_failed"),
         help="old days could not be dropped, or a window in them not be copied"),
    Rule(name="cold_failed", severity="page", hold_s=0, find=_told("cold_failed"),
         help="an hour holds other rows as Parquet than before"),
    Rule(name="migration_rolled_back", severity="page", hold_s=0,
         find=_told("migration_rolled_back"), help="reads went one stage back to the old store"),
    Rule(name="window_differs", severity="notify", hold_s=0, find=_window_differs,
         help="a window in memory is not the one in the database", tells_recovery=False),
    Rule(name="memory_high", severity="notify", hold_s=60, find=_memory,
         help="more memory than planned"),
    Rule(name="clock_offset", severity="notify", hold_s=60, find=_clock,
         help="this machine's clock is wrong"),
    Rule(name="loop_late", severity="notify", hold_s=30, find=_loop,
         help="the daemon does not get the processor it needs"),
    Rule(name="detector_blind", severity="page", hold_s=10, find=_detector_blind,
         above=lambda _: (NETWORK,), help="a notice board is not read: listings could be missed"),
    Rule(name="listing_partial", severity="notify", hold_s=60, find=_listing_partial,
         is_urgent=True, help="the window of a listing is not complete"),
    Rule(name="backup_failed", severity="notify", hold_s=0, find=_backup_failed,
         help="the last backup failed, or differs from the data"),
    Rule(name="backup_broken", severity="page", hold_s=0, find=_told("backup_broken"),
         help="a backup that was good is not any more"),
    Rule(name="backup_not_rotated", severity="notify", hold_s=0, find=_told("backup_not_rotated"),
         help="old backups could not be removed"),
)  # fmt: skip
RULE_NAMES = tuple(rule.name for rule in RULES)


def find_signals(standing: Standing, rules: Iterable[Rule] = RULES) -> dict[Key, str]:
    """What holds right now: (rule, subject) -> text."""
    return {(rule.name, subject): text for rule in rules for subject, text in rule.find(standing)}
