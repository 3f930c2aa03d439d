"""A bad day for rehearsals: what happens when, as shares of its length. Sans-IO."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["pump", "outage", "database", "disk", "listing", "reload"]


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that goes wrong; shares of the whole day."""

    at: float
    kind: Kind
    lasts: float
    text: str
    logs: tuple[str, ...]  # events of which the daemon's log must show one
    alerts: tuple[str, ...]  # rules of which one fires where it lasts longer than they wait


DAY = (
    Trouble(
        at=0.04, kind="pump", lasts=0.05, text="a coin is pumped: twenty times the usual rate",
        logs=(), alerts=(),
    ),
    Trouble(
        at=0.14, kind="outage", lasts=0.09, text="a venue is gone, its REST with it",
        logs=("connection_ended",), alerts=("feed_down",),
    ),
    Trouble(
        at=0.30, kind="database", lasts=0.09, text="the database is killed, again and again",
        logs=("server_died", "applied_watch_no_answer"), alerts=("database_down",),
    ),
    Trouble(
        at=0.46, kind="disk", lasts=0.07, text="the database's disk is nearly full",
        logs=("writers_stopped",), alerts=("writers_stopped", "disk_floor", "disk_full"),
    ),
    Trouble(
        at=0.62, kind="listing", lasts=0.0, text="a listing, seen 13 s after it was announced",
        logs=("listing_message", "listing_published"), alerts=(),
    ),
    Trouble(
        at=0.80, kind="reload", lasts=0.02, text="somebody reloads a broken configuration",
        logs=("reload_refused",), alerts=(),
    ),
)  # fmt: skip
