"""Whether PumpWatch does its work, part by part, judged from how it stands; sans-IO.

Sockets that are open prove nothing: a feed is well while trades of it arrive. Every limit is
below ten seconds for what a person can stop (D-12), and longer only where markets are quiet.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from pumpwatch.standing import DatabaseStanding, FeedStanding, Standing

DATABASE_SILENT_S_MAX = 6.0  # the watch asks at least once a second
PENDING_S_MAX = 30.0  # rows that wait this long while none is applied
FEED_SILENT_S_MAX = 60.0  # even the quietest feed pushes something in that time
LOOP_LAG_S_MAX = 2.0
DISK_USED_WARN = 0.85
DISK_USED_DOWN = 0.95
SUBSCRIBED_SHARE_MIN = 0.98  # a venue refuses a delisted symbol now and then

State = Literal["ok", "degraded", "down"]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One part and its state in words."""

    name: str
    state: State
    text: str
    age_s: float | None = None  # since this part last gave a sign of life


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict: ``state`` is the worst part's."""

    state: State
    is_ready: bool  # feeds subscribed, spool writable, database applying
    parts: list[Part]

    def reasons(self) -> str:
        """What is not well, in one line; empty when all is."""
        return "; ".join(f"{p.name}: {p.text}" for p in self.parts if p.state != "ok")


READY_PARTS = ("daemon", "feeds", "spool", "database")
ORDER: tuple[State, ...] = ("ok", "degraded", "down")


def judge(standing: Standing) -> Health:
    """The health of every part."""
    parts = [
        _daemon(standing),
        _feeds(standing),
        *(feed_part(feed) for feed in standing.feeds),
        _spool(standing),
        database_part(standing.database),
        _balance(standing),
        _disk(standing),
    ]
    state = max((part.state for part in parts), key=ORDER.index)
    ready = all(part.state != "down" for part in parts if part.name in READY_PARTS)
    return Health(state=state, is_ready=ready, parts=parts)


def _daemon(standing: Standing) -> Part:
    lag_s = standing.process.loop_lag_s
    if standing.state != "running":
        return Part(name="daemon", state="down", text=standing.state)
    if lag_s > LOOP_LAG_S_MAX:
        return Part(name="daemon", state="degraded", text=f"the event loop is {lag_s:.1f} s late")
    return Part(name="daemon", state="ok", text=f"up {standing.process.uptime_s:.0f} s")


def feed_part(feed: FeedStanding) -> Part:
    """One feed: connected, subscribed, and heard."""

    def part(state: State, text: str) -> Part:
        return Part(name=feed.feed, state=state, text=text, age_s=feed.silent_s)

    if feed.state == "paused":
        return part("degraded", "paused by the operator")
    if not feed.wanted:
        return part("down", feed.error or "the instrument list has not come yet")
    if not feed.connections_open:
        return part("down", feed.error or "no connection is open")
    if not feed.subscribed:
        return part("down", feed.error or "nothing is subscribed")
    if feed.silent_s is None or feed.silent_s > FEED_SILENT_S_MAX:
        since = "since the start" if feed.silent_s is None else f"for {feed.silent_s:.0f} s"
        is_new = feed.silent_s is None and any(c.opened_at for c in feed.connections)
        return part("degraded" if is_new else "down", f"no trade came {since}")
    counts = f"{feed.subscribed} of {feed.wanted} symbols subscribed"
    if feed.subscribed < feed.wanted * SUBSCRIBED_SHARE_MIN:
        return part("degraded", counts)
    return part("ok", counts)


def _feeds(standing: Standing) -> Part:
    parts = [feed_part(feed) for feed in standing.feeds]
    down = [part.name for part in parts if part.state == "down"]
    if not parts or down:
        text = "none is enabled" if not parts else f"{len(down)} of {len(parts)} down"
        return Part(name="feeds", state="down", text=text)
    weak = [part.name for part in parts if part.state == "degraded"]
    if weak:
        return Part(name="feeds", state="degraded", text=f"{', '.join(weak)} degraded")
    return Part(name="feeds", state="ok", text=f"all {len(parts)} feeds are recorded")


def _spool(standing: Standing) -> Part:
    spool = standing.spool
    texts = {
        "full": "the disk limit is reached: sockets are not read",
        "failing": "the disk refuses writes",
        "closed": "it is closed",
    }
    if spool.state in texts:
        return Part(name="spool", state="down", text=texts[spool.state])
    share = spool.disk_bytes / spool.disk_bytes_max if spool.disk_bytes_max else 0.0
    text = f"{share:.0%} of its limit in use"
    return Part(name="spool", state="degraded" if share > DISK_USED_WARN else "ok", text=text)


def database_part(database: DatabaseStanding) -> Part:
    """The server: it answers, and applies what it accepted."""

    def part(state: State, text: str) -> Part:
        return Part(name="database", state=state, text=text, age_s=database.silent_s)

    if database.suspended_tables:
        return part("down", f"suspended: {', '.join(database.suspended_tables)}")
    if silence := database_silence(database):
        return part("down", silence)
    if database.pending_rows and database.pending_s > PENDING_S_MAX:
        waiting = f"{database.pending_rows:,} rows have waited for {database.pending_s:.0f} s"
        return part("down", waiting)
    return part("ok", f"{database.pending_rows:,} rows pending")


def database_silence(database: DatabaseStanding) -> str:
    """In words; empty while it answers."""
    if database.silent_s is None:
        return "it has not answered yet"
    if database.state == "down" or database.silent_s > DATABASE_SILENT_S_MAX:
        return f"no answer for {database.silent_s:.0f} s"
    return ""


def _balance(standing: Standing) -> Part:
    if standing.differences:
        return Part(name="balance", state="down", text="; ".join(standing.differences))
    return Part(name="balance", state="ok", text="every row is accounted for")


def _disk(standing: Standing) -> Part:
    share = standing.volume.used_share
    text = f"{share:.0%} used, {standing.volume.free_bytes / 2**30:.1f} GiB free"
    if share >= DISK_USED_DOWN:
        return Part(name="disk", state="down", text=text)
    return Part(name="disk", state="degraded" if share >= DISK_USED_WARN else "ok", text=text)
