"""The status document on one screen, drawn with rich; plain text where no terminal is."""

from __future__ import annotations

from threading import Event
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pumpwatch.config import Config
from pumpwatch.status import read_status

GOOD, WATCH, BAD = "green", "yellow", "bold red"
STATES = {
    **dict.fromkeys(("running", "open", "up", "ok"), GOOD),
    **dict.fromkeys(
        ("starting", "stopping", "draining", "drained", "closing", "paused", "warn"), WATCH
    ),
}
PIPED_COLUMNS = 160  # a file or a pipe has no width of its own
NUMBERS = ("conn", "subscribed", "left out", "rows", "rows/s", "lag ms", "gaps")
REFRESH_S = 1.0


def show_status(document: dict[str, Any]) -> None:
    """Print it once, on stdout."""
    _console().print(draw_status(document))


def watch_status(config: Config) -> None:
    """Show it each second until interrupted. Raises PumpWatchError where no daemon has run."""
    console = _console()
    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        while True:
            live.update(draw_status(read_status(config)), refresh=True)
            Event().wait(REFRESH_S)


def draw_status(document: dict[str, Any]) -> RenderableType:
    """Some 25 lines: feeds, what is stored, the disk, and what a person should know."""
    head = Text.assemble(
        f"pumpwatch {document['version']}  ", _state(document["state"]),
        f"  pid {document['pid']}  up {document['uptime_s']:.0f} s  as of {document['at']}",
    )  # fmt: skip
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column()
    for name, value in (*_store_facts(document), *_upkeep_facts(document.get("upkeep", {}))):
        facts.add_row(name, value)
    for feed in document["feeds"]:
        for note in _notes(feed):
            facts.add_row("", Text(f"{feed['feed']}: {note}", style=WATCH))
    return Group(head, _feeds(document["feeds"]), facts)


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPED_COLUMNS)


def _state(word: str) -> Text:
    return Text(word, style=STATES.get(word, BAD))


def _feeds(feeds: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("feed", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in NUMBERS:
        table.add_column(name, justify="right", no_wrap=True)
    for feed in feeds:
        gaps = feed["gaps_suspected"] + feed["gaps_confirmed"]
        is_whole = feed["subscribed"] >= feed["wanted"]
        table.add_row(
            feed["feed"],
            _state(feed["state"]),
            f"{feed['connections']}",
            Text(f"{feed['subscribed']}/{feed['wanted']}", style="" if is_whole else WATCH),
            f"{feed['left_out']}",
            f"{feed['passed']:,}",
            f"{feed['rows_per_s']:,.0f}",
            "-" if feed["lag_ms"] is None else f"{feed['lag_ms']:.0f}",
            Text(f"{gaps}", style=WATCH if gaps else ""),
        )
    return table


def _store_facts(document: dict[str, Any]) -> list[tuple[str, Text]]:
    store, differences = document["store"], document["differences"]
    balance = "; ".join(differences) or "every row accounted for"
    return [
        ("spool", Text.assemble(
            _state(store["spool_state"]), f", {store['spool_mib']:.1f} MiB on disk,"
            f" {store['buffered_rows']:,} rows in memory",
        )),
        ("database", Text.assemble(
            _state(store["database"]), f", {store['pending_rows']:,} rows pending,"
            f" {store['applied_rows']:,} applied, {store['refused_rows']:,} refused,"
            f" received -> visible p50 {_seconds(store['lag_p50_s'])}"
            f" p99 {_seconds(store['lag_p99_s'])}",
        )),
        ("memory", Text(f"daemon {document['daemon_rss_mib']:.0f} MiB,"
                        f" database {document['database_rss_mib']:.0f} MiB")),
        ("balance", Text(balance, style=BAD if differences else GOOD)),
    ]  # fmt: skip


def _upkeep_facts(upkeep: dict[str, Any]) -> list[tuple[str, Text]]:
    """Tiers, disks, backup and the last nightly line."""
    facts = []
    for tier in upkeep.get("tiers", []):
        text = f"{tier['rows']:,} rows, {tier['bytes'] / 2**20:,.1f} MiB"
        if tier["oldest"]:
            since = "older than" if tier["name"] == "gone" else "since"
            text += f", {since} {tier['oldest'][:16]}"
        facts.append((tier["name"], Text(text)))
    if disks := upkeep.get("disks", []):
        line = Text(", ").join(
            Text.assemble(f"{disk['name']} {disk['used_share']:.0%} (", _state(disk["level"]), ")")
            for disk in disks
        )
        if (days_left := upkeep["days_left"]) is not None:
            line.append(f"; {days_left:,.0f} days left at this rate")
        if upkeep["writers_stopped"]:
            line.append("; the writers wait for room", style=BAD)
        facts += [("disk", line), ("backup", Text(upkeep["backup"]))]
    if upkeep.get("proof"):
        facts.append(("proof", Text(upkeep["proof"].partition("; certificates")[0])))
    return facts


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
