"""Verbs that ask the store: trades, status, schema."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from pumpwatch.cli_print import ConfigOption, JsonOption, load, print_json, print_rows
from pumpwatch.errors import EXIT_NO, UsageError
from pumpwatch.moments import EXAMPLE, parse_iso_ns

SYMBOL = re.compile(r"[^\s'\"=;]{1,40}")
LIMIT_MAX = 1_000_000
SPAN_NS_DEFAULT = 60 * 1_000_000_000
TRADE_COLUMNS = (
    "timestamp",
    "exchange",
    "market_type",
    "symbol",
    "side",
    "price",
    "quantity",
    "trade_id",
)


def trades(
    symbol: Annotated[str, typer.Argument(help="BASE+QUOTE, as BTCUSDT.")],
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="ISO 8601 UTC; else a minute before --to."),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="ISO 8601 UTC; else now.")
    ] = None,
    feed: Annotated[
        str | None, typer.Option(metavar="FEED", help="Only this feed, as okx_spot.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_MAX, help="At most so many rows.")] = 1000,
    by_coin: Annotated[
        bool, typer.Option("--coin", help="SYMBOL is a coin, as PEPE: its symbols on all feeds.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> int:
    """List the trades of a symbol, oldest first.

    Those with --from <= timestamp < --to.
    """
    from pumpwatch.clock import SystemClock
    from pumpwatch.config import FEED_NAMES

    if SYMBOL.fullmatch(symbol) is None:
        raise UsageError(f"SYMBOL {symbol!r}: allowed: 1 to 40 characters without space ' \" = ;")
    if feed is not None and feed not in FEED_NAMES:
        raise UsageError(f"--feed {feed}: no such feed; there are {', '.join(FEED_NAMES)}")
    to_ns = SystemClock().wall_ns() if end is None else parse_time_ns("--to", end)
    from_ns = to_ns - SPAN_NS_DEFAULT if start is None else parse_time_ns("--from", start)
    if from_ns >= to_ns:
        raise UsageError(f"--from {start}: must be before --to {end or '(now)'}")
    settings = load(config)
    from pumpwatch.store.window_model import WindowQuestion
    from pumpwatch.trades_verb import read_trades

    question = WindowQuestion(
        from_ns=from_ns, to_ns=to_ns, coin=symbol if by_coin else "",
        symbols=() if by_coin else (symbol,), feeds=() if feed is None else (feed,),
    )  # fmt: skip
    rows = read_trades(settings, question, limit)
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, TRADE_COLUMNS)
    return 0


def status(
    config: ConfigOption = None,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Stay, and show it each second.")] = False,
) -> int:
    """Show feeds, rows, spool and database on one screen."""
    settings = load(config)
    from pumpwatch.status import read_status

    if as_json:
        print_json(read_status(settings))
        return 0
    from pumpwatch import status_screen

    if watch:
        status_screen.watch_status(settings)
    status_screen.show_status(read_status(settings))
    return 0


def schema_apply(config: ConfigOption = None) -> int:
    """Make the tables and bring them to this version; forward only."""
    settings = load(config)
    from pumpwatch import log
    from pumpwatch.schema_verbs import apply

    log.configure()
    version = apply(settings)
    print(f"schema is at version {version}")
    return 0


def schema_check(config: ConfigOption = None, as_json: JsonOption = False) -> int:
    """Compare the tables with what this version writes; exit code 1 on a difference."""
    settings = load(config)
    from pumpwatch import log
    from pumpwatch.schema_verbs import differences

    log.configure()
    found = differences(settings)
    if as_json:
        print_json([{"difference": text} for text in found])
    else:
        for text in found:
            print(text)
        print(f"{len(found)} differences" if found else "the tables are as they should be")
    return EXIT_NO if found else 0


def parse_time_ns(option: str, text: str) -> int:
    """ISO 8601 in UTC, up to 9 digits of a second -> ns since 1970. Raises UsageError."""
    moment_ns = parse_iso_ns(text)
    if moment_ns is None:
        raise UsageError(f"{option} {text!r}: allowed: ISO 8601 in UTC, as {EXAMPLE}")
    return moment_ns
