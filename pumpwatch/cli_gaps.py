"""Verbs of the ledger: gaps list, gaps show, gaps retry."""

from __future__ import annotations

from typing import Annotated

import typer

from pumpwatch.cli_data import SYMBOL, parse_time_ns
from pumpwatch.cli_print import ConfigOption, JsonOption, load, print_json, print_rows
from pumpwatch.errors import EXIT_NO, UsageError

LIMIT_MAX = 1_000_000
LIST_COLUMNS = (
    "opened_at",
    "gap_id",
    "exchange",
    "market_type",
    "symbol",
    "cause",
    "state",
    "from_ts",
    "to_ts",
    "missing",
    "filled_rows",
    "reason",
)


def gaps_list(
    is_open: Annotated[
        bool, typer.Option("--open", help="Only holes that are not closed.")
    ] = False,
    feed: Annotated[
        str | None, typer.Option(metavar="FEED", help="Only this feed, as okx_spot.")
    ] = None,
    symbol: Annotated[
        str | None, typer.Option(metavar="SYMBOL", help="Only this one, as BTCUSDT.")
    ] = None,
    with_late: Annotated[
        bool, typer.Option("--late", help="Also where rows only came in another order.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_MAX, help="At most so many.")] = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> int:
    """List holes of the record, newest first: why, what they may span, what became of them."""
    from pumpwatch.config import FEED_NAMES

    if symbol is not None and symbol != "*" and SYMBOL.fullmatch(symbol) is None:
        raise UsageError(f"--symbol {symbol!r}: allowed: 1 to 40 characters without space ' \" = ;")
    if feed is not None and feed not in FEED_NAMES:
        raise UsageError(f"--feed {feed}: no such feed; there are {', '.join(FEED_NAMES)}")
    settings = load(config)
    from pumpwatch.store.gap_rows import read_gaps

    rows = read_gaps(
        settings, is_open=is_open, feed=feed, symbol=symbol, limit=limit, with_late=with_late
    )
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, LIST_COLUMNS)
    return 0


def gaps_show(
    gap_id: Annotated[str, typer.Argument(help="As `gaps list` shows it.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> int:
    """Show everything that is known of one hole; exit code 1 where there is no such one."""
    settings = load(config)
    from pumpwatch.store.gap_rows import read_gaps

    rows = read_gaps(settings, gap_id=gap_id)
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            print_rows([{"column": n, "value": v} for n, v in row.items()], ("column", "value"))
    return 0 if rows else EXIT_NO


def gaps_retry(
    gap_id: Annotated[
        str | None, typer.Argument(metavar="[GAP_ID]", help="One hole, open or lost.")
    ] = None,
    feed: Annotated[
        str | None, typer.Option(metavar="FEED", help="Open and lost holes of it, as okx_spot.")
    ] = None,
    is_open: Annotated[bool, typer.Option("--open", help="Only holes that are open.")] = False,
    config: ConfigOption = None,
) -> int:
    """Have the running daemon ask the venues for holes again now; lost ones are opened again."""
    from pumpwatch.daemon_client import act

    if gap_id is None and feed is None and not is_open:
        raise UsageError("which holes? A GAP_ID, --feed FEED, or --open for all that are open")
    arguments = {"gap_id": gap_id, "feed": feed, "open": "true" if is_open else None}
    wanted = {name: value for name, value in arguments.items() if value is not None}
    print(act(load(config), "retry_gaps", **wanted))
    return 0


def gaps_settle(
    gap_id: Annotated[str, typer.Argument(help="A hole of cause contract_value.")],
    at: Annotated[
        str, typer.Option("--at", metavar="TIME", help="When the contract changed, ISO 8601 UTC.")
    ],
    config: ConfigOption = None,
) -> int:
    """Count rows anew around the moment at which a contract's value changed, and close the hole."""
    from pumpwatch.daemon_client import act

    moment_ns = parse_time_ns("--at", at)
    print(act(load(config), "settle_contract_value", gap_id=gap_id, moment_ns=str(moment_ns)))
    return 0
