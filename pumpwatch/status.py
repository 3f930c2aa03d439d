"""How the daemon stands, on one screen: written by the daemon every second, read by ``status``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import psutil

from pumpwatch.config import Config
from pumpwatch.errors import PumpWatchError

STATUS_FILE = "status.json"
STALE_S = 15.0  # a daemon writes every second; one that does not for this long is stuck or gone


def write_status(data_dir: Path, document: dict[str, Any]) -> None:
    """Replace the status file as a whole, so that readers never see half of one."""
    path = data_dir / STATUS_FILE
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(document))
    os.replace(fresh, path)


def read_status(config: Config) -> dict[str, Any]:
    """The daemon's last word. Raises PumpWatchError where no daemon runs on this data_dir."""
    path = config.data_dir / STATUS_FILE
    try:
        document: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    except FileNotFoundError:
        raise PumpWatchError(
            f"no daemon has run on {config.data_dir}: start one with `pumpwatch run`"
        ) from None
    pid = int(document["pid"])
    if not psutil.pid_exists(pid):
        document["state"] = "stopped"
    return document


def render_status(document: dict[str, Any]) -> str:
    """The document as text of at most 30 lines."""
    lines = [
        f"pumpwatch {document['version']}  {document['state']}  pid {document['pid']}"
        f"  up {document['uptime_s']:.0f} s  as of {document['at']}",
        f"{'feed':<16}{'state':<10}{'conn':>5}{'subscribed':>12}{'left out':>9}"
        f"{'rows':>13}{'rows/s':>9}{'lag ms':>8}{'gaps':>8}",
    ]
    for feed in document["feeds"]:
        subscribed = f"{feed['subscribed']}/{feed['wanted']}"
        lag = "-" if feed["lag_ms"] is None else f"{feed['lag_ms']:.0f}"
        lines.append(
            f"{feed['feed']:<16}{feed['state']:<10}{feed['connections']:>5}{subscribed:>12}"
            f"{feed['left_out']:>9}{feed['passed']:>13,}{feed['rows_per_s']:>9,.0f}{lag:>8}"
            f"{feed['gaps_suspected'] + feed['gaps_confirmed']:>8}"
        )
    store = document["store"]
    lines += [
        f"spool     {store['spool_state']}, {store['spool_mib']:.1f} MiB on disk,"
        f" {store['buffered_rows']:,} rows in memory",
        f"database  {store['database']}, {store['pending_rows']:,} rows pending,"
        f" {store['applied_rows']:,} applied, {store['refused_rows']:,} refused,"
        f" received -> visible p50 {_seconds(store['lag_p50_s'])}"
        f" p99 {_seconds(store['lag_p99_s'])}",
        f"memory    daemon {document['daemon_rss_mib']:.0f} MiB,"
        f" database {document['database_rss_mib']:.0f} MiB",
        "balance   " + ("; ".join(document["differences"]) or "every row accounted for"),
        *_upkeep_lines(document.get("upkeep", {})),
    ]
    lines += [f"          {feed['feed']}: {note}" for feed in document["feeds"]
              for note in _notes(feed)]  # fmt: skip
    return "\n".join(lines)


def _upkeep_lines(upkeep: dict[str, Any]) -> list[str]:
    """Tiers, disks, backup and the last nightly line."""
    lines = [
        f"{tier['name']:<10}{tier['rows']:,} rows, {tier['bytes'] / 2**20:,.1f} MiB"
        + (f", {'older than' if tier['name'] == 'gone' else 'since'} {tier['oldest'][:16]}"
           if tier["oldest"] else "")
        for tier in upkeep.get("tiers", [])
    ]  # fmt: skip
    disks = [
        f"{disk['name']} {disk['used_share']:.0%} ({disk['level']})"
        for disk in upkeep.get("disks", [])
    ]
    if disks:
        left = upkeep["days_left"]
        more = f"; {left:,.0f} days left at this rate" if left is not None else ""
        more += "; the writers wait for room" if upkeep["writers_stopped"] else ""
        lines.append("disk      " + ", ".join(disks) + more)
        lines.append(f"backup    {upkeep['backup']}")
    if upkeep.get("proof"):
        lines.append(f"proof     {upkeep['proof'].partition('; certificates')[0]}")
    return lines


def _notes(feed: dict[str, Any]) -> list[str]:
    """What a person should know of one feed."""
    notes = [feed["error"]] if feed["error"] else []
    if feed["gaps_confirmed"]:
        notes.append(f"{feed['gaps_confirmed']} holes are confirmed (`gaps list --open`)")
    backfill = feed["backfill"]
    if backfill and backfill["unchecked_s"]:
        longest = max(backfill["unchecked_s"].values())
        notes.append(f"{len(backfill['unchecked_s'])} symbols are compared with REST too late,"
                     f" the last one {longest:.0f} s ago")  # fmt: skip
    if feed["unchecked"]:
        notes.append(f"{feed['unchecked']} symbols without a trade since they are subscribed")
    return notes


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f} s"


def watch_status(config: Config) -> None:
    """Show it each second until interrupted."""
    from threading import Event

    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console()
    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        while True:
            live.update(Text(render_status(read_status(config))), refresh=True)
            Event().wait(1.0)
