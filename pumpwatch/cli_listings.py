"""``listings``: what was announced, and announcements that a person names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pumpwatch.cli_data import parse_time_ns
from pumpwatch.cli_print import ConfigOption, JsonOption, load, print_json, print_rows
from pumpwatch.errors import EXIT_NO, UsageError

if TYPE_CHECKING:
    from pumpwatch.config import Config

LIMIT_MAX = 100_000
DAY_CHARACTERS = len("2026-01-31")
TAKEN_WITHIN_S = 5.0  # a running daemon looks twice a second
TAKEN_POLL_S = 0.1
LIST_COLUMNS = (
    "announced_at",
    "source",
    "notice_id",
    "symbol",
    "trigger_delay_ms",
    "state",
    "exchanges_with_data",
    "title",
)

group = typer.Typer(help="Announced coins: what is known of them, naming one by hand.")


@group.command("list")
def list_events(
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_MAX, help="At most so many rows.")] = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> int:
    """List announced coins, newest announcement first."""
    rows = _rows(load(config), symbol=None, limit=limit)
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, LIST_COLUMNS)
    return 0


@group.command()
def show(
    symbol: Annotated[str, typer.Argument(help="The coin, as AVA.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> int:
    """Show all that is known of a coin's announcements; exit code 1 where there is none."""
    coin = coin_of(symbol)
    rows = _rows(load(config), symbol=coin, limit=LIMIT_MAX)
    if as_json:
        print_json(rows)
        return 0 if rows else EXIT_NO
    for row in rows:
        for name, value in row.items():
            print(f"{name:<20} {'' if value is None else value}".rstrip())
        print()
    if not rows:
        print(f"no announcement of {coin} is known")
    return 0 if rows else EXIT_NO


@group.command()
def add(
    symbol: Annotated[str, typer.Argument(help="The coin, as AVA.")],
    at: Annotated[str, typer.Option(metavar="TIME", help="When it was announced: ISO 8601 UTC.")],
    note: Annotated[str, typer.Option(help="Stands as the title.")] = "",
    config: ConfigOption = None,
) -> int:
    """Name an announcement by hand; from then on it is an event as any other."""
    coin = coin_of(symbol)
    announced_ns = parse_time_ns("--at", at)
    settings = load(config)
    import trio

    from pumpwatch.listing.requests import ListingRequest, put_request

    if announced_ns <= 0:
        raise UsageError(f"--at {at}: must be after 1970")
    request = ListingRequest(symbol=coin, announced_ns=announced_ns, note=note)
    path = put_request(settings.data_dir, request)
    if _daemon_runs(settings) and trio.run(_is_taken, path):
        print(f"added {coin}, announced at {at}")
    else:
        print(f"{coin} waits in {path}: a daemon takes it when it runs on this data_dir")
    return 0


@group.command()
def backfill(
    since: Annotated[str, typer.Option(metavar="DATE", help="From this day on, or ISO 8601 UTC.")],
    source: Annotated[str, typer.Option(metavar="BOARD", help="upbit or bithumb.")] = "upbit",
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Stay until it is done; it goes on anyway.")
    ] = True,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> int:
    """Fetch listings of before the recording: the notices, and what venues still have of trades.

    The running daemon does it, behind everything else that asks a venue, and goes on after a
    restart. Rows come from the venues' lists and, where archives.enabled is set, from their daily
    files. Exit code 1 where something could not be fetched.
    """
    text = f"{since}T00:00:00Z" if len(since) == DAY_CHARACTERS else since
    parse_time_ns("--since", text)
    settings = load(config)
    from pumpwatch.cli_past import ORDER, print_past, wait_for_past
    from pumpwatch.daemon_client import act

    told = act(settings, ORDER, since=text, source=source)
    if wait:
        told = wait_for_past(settings, told, is_quiet=as_json)
    return print_past(told, as_json=as_json)


def coin_of(symbol: str) -> str:
    """A coin from the command line. Raises UsageError."""
    from pumpwatch.model import COIN

    if COIN.fullmatch(symbol) is None:
        raise UsageError(f"SYMBOL {symbol!r}: allowed: a coin, 1 to 15 of A-Z 0-9")
    return symbol


def _rows(settings: Config, *, symbol: str | None, limit: int) -> list[dict[str, Any]]:
    from pumpwatch.listing.stored import read_rows

    return read_rows(settings, symbol=symbol, limit=limit)


def _daemon_runs(settings: Config) -> bool:
    from pumpwatch.errors import PumpWatchError
    from pumpwatch.status import read_status

    try:
        return bool(read_status(settings)["state"] != "stopped")
    except PumpWatchError:
        return False


async def _is_taken(path: Path) -> bool:
    import trio

    with trio.move_on_after(TAKEN_WITHIN_S):
        while await trio.Path(path).exists():  # noqa: ASYNC110 - another process removes it
            await trio.sleep(TAKEN_POLL_S)
        return True
    return False
