"""Simulator, daemon and database in one command, ending in a table of sent against stored."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import trio
from rich.console import Console
from rich.live import Live
from rich.table import Table

from pumpwatch import demo_listing, log
from pumpwatch.clock import SystemClock
from pumpwatch.config import in_folder, load_config
from pumpwatch.daemon import Daemon, watch_signals
from pumpwatch.errors import EXIT_GOOD, EXIT_NO, PumpWatchError
from pumpwatch.sim.process import Simulator, run_simulator
from pumpwatch.store.embedded import hold_data_dir
from pumpwatch.tally import FeedTally, compare, fetch_stored

SETTLE_S = 120.0  # for the last rows to be applied after the simulator stopped
SHOW_S = 0.5


def run_demo(*, seconds: int, rate_per_s: int, data_dir: Path | None, seed: int = 1) -> int:
    """The ``demo`` verb; returns the exit code: 1 if a row is missing, doubled or wrong."""
    folder = data_dir or Path(tempfile.mkdtemp(prefix="pumpwatch-demo-"))
    log.configure(level=30)  # warnings: the screen is the display's
    try:
        return trio.run(_demo, seconds, rate_per_s, folder, seed)
    except* PumpWatchError as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None


async def _demo(seconds: int, rate_per_s: int, folder: Path, seed: int) -> int:
    console = Console()
    arguments = ["--rate", str(rate_per_s), "--seed", str(seed), *demo_listing.ARGUMENTS]
    console.print(f"12 simulated venues -> pumpwatch -> QuestDB, {rate_per_s:,} trades/s for"
                  f" {seconds} s; data in {folder}")  # fmt: skip
    with hold_data_dir(folder):
        async with run_simulator(folder / "truth", arguments) as simulator:
            config = simulator.configure(in_folder(load_config(None, {}), folder))
            config = demo_listing.configure(config, seconds)
            daemon = Daemon(config, SystemClock(), random.Random(seed))
            tallies = await run_and_tally(daemon, simulator, seconds, console, has_listing=True)
    console.print(tally_table(tallies, daemon, seconds))
    place = demo_listing.bundle_of(config)
    if place is None:
        console.print(demo_listing.UNPROVEN, soft_wrap=True)
    else:
        table, lines = demo_listing.closing_lines(place)
        console.print(table)
        for line in lines:
            console.print(line, soft_wrap=True)
    is_exact = all(tally.is_exact for tally in tallies) and any(tally.sent for tally in tallies)
    if not is_exact:
        console.print("[red]rows are missing, doubled or wrong[/red]")
    console.print(f"the data is in {folder}")
    return EXIT_GOOD if is_exact else EXIT_NO


async def run_and_tally(
    daemon: Daemon, simulator: Simulator, seconds: float, console: Console | None, *,
    has_listing: bool = False,
) -> list[FeedTally]:  # fmt: skip
    """Record for a while, let the simulator end, and hold the table against the truth."""
    tallies: list[FeedTally] = []

    async def at_end() -> None:
        await simulator.end()
        for name in (feed.spec.name for feed in daemon.feeds):
            truth = await simulator.truth(name)
            stored = await fetch_stored(daemon.server.address, feed=name)
            tallies.extend(await trio.to_thread.run_sync(compare, truth, stored, [name]))

    daemon.at_end = at_end
    async with trio.open_nursery() as nursery:
        await nursery.start(watch_signals, daemon)
        waits = console if has_listing else None
        nursery.start_soon(_steer, daemon, simulator, seconds, waits)
        if has_listing:
            nursery.start_soon(_list_a_coin, daemon, simulator, int(seconds))
        if console is not None:
            nursery.start_soon(_tell_page, daemon, console)
        if console is not None and console.is_terminal:
            nursery.start_soon(_show, daemon, console)
        await daemon.run()
        nursery.cancel_scope.cancel()
    return tallies


async def _steer(
    daemon: Daemon, simulator: Simulator, seconds: float, console: Console | None
) -> None:
    """``console``: where a listing's window is waited for, too, is said there."""
    await daemon.capturing.wait()
    with trio.move_on_after(seconds):
        await daemon.stop.wait()
    if console is not None and not daemon.stop.is_set():
        await demo_listing.until_published(daemon, console.print)
    await simulator.stop_generating()
    with trio.move_on_after(SETTLE_S):
        while True:
            sent = await simulator.delivered_rows()
            parsed = sum(feed.road.counts_now()["parsed"] for feed in daemon.feeds)
            if parsed >= sent and not daemon.monitor.pending_rows():
                break
            await trio.sleep(0.1)
    daemon.stop.set()


async def _list_a_coin(daemon: Daemon, simulator: Simulator, seconds: int) -> None:
    await daemon.capturing.wait()
    await trio.sleep(demo_listing.notice_after_s(seconds))
    await simulator.script_boards([demo_listing.NOTICE])
    await simulator.lift(demo_listing.COIN)


async def _tell_page(daemon: Daemon, console: Console) -> None:
    while not daemon.page_url:  # noqa: ASYNC110 - served within a second, or never
        await trio.sleep(0.1)
    console.print(f"the page is at [bold]{daemon.page_url}[/bold]")


async def _show(daemon: Daemon, console: Console) -> None:
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while True:
            live.update(progress_table(daemon))
            await trio.sleep(SHOW_S)


def progress_table(daemon: Daemon) -> Table:
    """What happens right now."""
    document = daemon.monitor.document()
    store = document["store"]
    table = Table(
        title=f"{document['state']}: {store['applied_rows']:,} rows applied,"
        f" {store['pending_rows']:,} pending"
    )
    for heading in ("feed", "connections", "subscribed", "rows", "rows/s"):
        table.add_column(heading, justify="left" if heading == "feed" else "right")
    for feed in document["feeds"]:
        table.add_row(
            feed["feed"], str(feed["connections"]), f"{feed['subscribed']}/{feed['wanted']}",
            f"{feed['passed']:,}", f"{feed['rows_per_s']:,.0f}",
        )  # fmt: skip
    return table


def tally_table(tallies: list[FeedTally], daemon: Daemon, seconds: float) -> Table:
    """The end: per feed what was sent, what is stored, and the difference."""
    lags = daemon.monitor.lags
    p50, p99 = lags.quantile(0.5), lags.quantile(0.99)
    table = Table(
        title="sent by the simulator, stored in QuestDB",
        caption=f"received -> visible in SQL: p50 {_seconds(p50)}, p99 {_seconds(p99)}",
    )
    headings = ("feed", "generated", "stored", "missing", "duplicate", "wrong", "rows/s")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "feed" else "right")
    rows = [
        (t.feed, t.sent, t.stored, t.missing, t.duplicate, t.different + t.unknown) for t in tallies
    ]
    sums = ("all", *(sum(column) for column in list(zip(*rows, strict=True))[1:])) if rows else ()
    for row in [*rows, *([sums] if sums else [])]:
        if row is sums:
            table.add_section()
        name, *numbers = row
        table.add_row(str(name), *(f"{n:,}" for n in numbers), f"{int(numbers[1]) / seconds:,.0f}")
    return table


def print_taste(daemon: Daemon) -> None:
    """What a taste of the live thing recorded: there is no truth to hold it against."""
    document = daemon.monitor.document()
    lags = daemon.monitor.lags
    table = Table(
        title=f"recorded in {document['uptime_s']:.0f} s",
        caption=f"received -> visible in SQL: p50 {_seconds(lags.quantile(0.5))},"
        f" p99 {_seconds(lags.quantile(0.99))}",
    )
    for heading in ("feed", "received", "stored", "repeated", "quarantined", "refused symbols"):
        table.add_column(heading, justify="left" if heading == "feed" else "right")
    for feed in daemon.feeds:
        balance = daemon.monitor.balance(feed)
        table.add_row(
            balance.feed, f"{balance.parsed:,}", f"{balance.applied:,}", f"{balance.repeated:,}",
            f"{balance.quarantined:,}", str(len(feed.refused)),
        )  # fmt: skip
    console = Console()
    console.print(table)
    console.print(f"the data is in {daemon.config.data_dir}")


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"
