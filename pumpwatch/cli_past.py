"""``listings backfill`` on the command line: its progress, and what was to be had."""

from __future__ import annotations

from threading import Event

from rich.console import Console
from rich.table import Table

from pumpwatch.config import Config
from pumpwatch.daemon_client import act
from pumpwatch.errors import EXIT_GOOD, EXIT_NO
from pumpwatch.moments import iso_ns
from pumpwatch.past_journal import ASK, ORDER, Journal, PastEvent, read_journal
from pumpwatch.status_screen import PIPED_COLUMNS

__all__ = ["ORDER", "print_past", "wait_for_past"]

POLL_S = 1.0
DOUBTS_SHOWN = 10


def wait_for_past(config: Config, told: str, *, is_quiet: bool) -> str:
    """Until it is done; returns the last answer. Interrupted, it goes on in the daemon."""
    console = Console(stderr=True, quiet=is_quiet)
    with console.status("") as line:
        while True:
            journal = read_journal(told)
            if journal is None or journal.state == "done":
                return told
            line.update(progress(journal))
            Event().wait(POLL_S)
            told = act(config, ASK)


def progress(journal: Journal) -> str:
    """One line."""
    if journal.state == "notices":
        where = f"page {journal.page} of {journal.source}, {journal.notices} notices"
    else:
        done = sum(one.state != "waiting" for one in journal.events)
        where = f"event {done + 1} of {len(journal.events)}"
    return f"{where}: {journal.note}" if journal.note else where


def print_past(told: str, *, as_json: bool) -> int:
    """The table per feed; exit code 1 where an event failed."""
    journal = read_journal(told)
    assert journal is not None
    if as_json:
        print(told)
    else:
        _print(journal)
    return EXIT_NO if any(one.state == "failed" for one in journal.events) else EXIT_GOOD


def _print(journal: Journal) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPED_COLUMNS)
    for one in journal.events:
        console.print(f"[bold]{one.event.symbol}[/]  {iso_ns(one.event.announced_ns)[:19]}"
                      f"  {one.bundle or one.state}")  # fmt: skip
        if one.error:
            console.print(f"  {one.error}", markup=False)
        if any(had.symbol for had in one.feeds):
            console.print(table_of(one))
        if one.again_ns:
            console.print(f"files that are not out are asked for again on"
                          f" {iso_ns(one.again_ns)[:16]}")  # fmt: skip
        if without := [had.feed for had in one.feeds if not had.symbol]:
            console.print(f"no instrument of this coin is known on {', '.join(without)}")
    for doubt in journal.doubts[:DOUBTS_SHOWN]:
        console.print(f"look at it yourself: {doubt}", markup=False)
    stored = sum(one.state == "stored" for one in journal.events)
    text = f"{journal.notices} notices since {iso_ns(journal.since_ns)[:10]}, {stored} of"
    text += f" {len(journal.events)} new events stored"
    if journal.state != "done":
        text += f"; it goes on ({progress(journal)})"
    console.print(text, markup=False)


def table_of(one: PastEvent) -> Table:
    """What was to be had of an event, a line an instrument."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("feed", "symbol"):
        table.add_column(name, no_wrap=True)
    for name in ("list", "files"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("window", "whole from", "why not all"):
        table.add_column(name)
    for had in one.feeds:
        if not had.symbol:
            continue
        table.add_row(
            had.feed, had.symbol, f"{had.from_list:,}", f"{had.from_file:,}",
            "whole" if had.is_window_reached else "-",
            iso_ns(had.reached_ns)[:19] if had.from_list + had.from_file else "-", had.text,
        )  # fmt: skip
    return table
