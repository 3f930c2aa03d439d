"""Verbs of the quarantine: list, show, retry."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from pumpwatch.cli_print import ConfigOption, JsonOption, load, print_json, print_rows
from pumpwatch.errors import EXIT_NO, UsageError

LIMIT_MAX = 1_000_000
LIST_COLUMNS = ("received_at", "exchange", "market_type", "reason", "detail", "messages", "rows")
SHOW_COLUMNS = ("received_at", "reason", "detail", "raw")
FeedOption = Annotated[
    str | None, typer.Option(metavar="FEED", help="Only this feed, as okx_spot.")
]
LimitOption = Annotated[int, typer.Option(min=1, max=LIMIT_MAX, help="At most so many.")]

quarantine = typer.Typer(help="What could not be read: kinds, messages, another try.")


@quarantine.command("list")
def quarantine_list(
    feed: FeedOption = None,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> int:
    """List kinds of messages that could not be read, newest first: one row a kind and minute."""
    _check(feed)
    settings = load(config)
    from pumpwatch.store.quarantine_read import read_kinds

    rows = read_kinds(settings, feed=feed, limit=limit)
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, LIST_COLUMNS)
    return 0


@quarantine.command("show")
def quarantine_show(
    feed: Annotated[str, typer.Argument(metavar="FEED", help="As okx_spot.")],
    limit: LimitOption = 10,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> int:
    """Show messages that are kept whole, oldest first; exit code 1 where there is none."""
    _check(feed)
    settings = load(config)
    from pumpwatch.store.quarantine_read import read_kept

    rows = list(islice(read_kept(settings, feed), limit))
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, SHOW_COLUMNS)
    return 0 if rows else EXIT_NO


@quarantine.command("retry")
def quarantine_retry(
    feed: FeedOption = None,
    renames: Annotated[
        list[str] | None,
        typer.Option("--rename", metavar="NEW=OLD", help="Read the member NEW as OLD."),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> int:
    """Have the running daemon read the kept messages again; exit code 1 where some stay."""
    _check(feed)
    settings = load(config)
    from pumpwatch.quarantine_orders import read_again

    result = read_again(settings, feed, renames or [])
    if as_json:
        print_json(result.as_row())
    else:
        print(result.text())
    return EXIT_NO if result.stay else 0


def _check(feed: str | None) -> None:
    from pumpwatch.config import FEED_NAMES

    if feed is not None and feed not in FEED_NAMES:
        raise UsageError(f"feed {feed}: no such feed; there are {', '.join(FEED_NAMES)}")
