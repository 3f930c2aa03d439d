"""The verb ``verify``."""

from __future__ import annotations

from typing import Annotated

import typer

from pumpwatch.cli_data import parse_time_ns
from pumpwatch.cli_print import ConfigOption, JsonOption, load, print_json, print_rows
from pumpwatch.errors import EXIT_NO, UsageError

COLUMNS = ("feed", "symbol", "check", "what", "reason")
SAMPLE_MAX = 1000


def verify(
    start: Annotated[str, typer.Option("--from", metavar="TIME", help="ISO 8601 UTC.")],
    end: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="ISO 8601 UTC; else now.")
    ] = None,
    feed: Annotated[
        str | None, typer.Option(metavar="FEED", help="Only this feed, as okx_spot.")
    ] = None,
    sample: Annotated[
        int,
        typer.Option(
            min=0, max=SAMPLE_MAX, help="Symbols of each feed to compare with their venue."
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of the choice of symbols.")] = 1,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> int:
    """Check the record of a span against itself and the venues.

    Prints differences, with the reason where the ledger knows one; exit code 1 if one has none.
    """
    import msgspec
    import trio

    from pumpwatch.clock import SystemClock
    from pumpwatch.config import FEED_NAMES
    from pumpwatch.verify import verify as check
    from pumpwatch.verify_book import Span

    if feed is not None and feed not in FEED_NAMES:
        raise UsageError(f"--feed {feed}: no such feed; there are {', '.join(FEED_NAMES)}")
    to_ns = SystemClock().wall_ns() if end is None else parse_time_ns("--to", end)
    from_ns = parse_time_ns("--from", start)
    if from_ns >= to_ns:
        raise UsageError(f"--from {start}: must be before --to {end or '(now)'}")
    settings = load(config)
    feeds = settings.enabled_feeds if feed is None else (feed,)
    found = trio.run(check, settings, Span(from_ns, to_ns), feeds, sample, seed)
    rows = [msgspec.structs.asdict(one) for one in found]
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, COLUMNS)
        silent = sum(not one.reason for one in found)
        print(f"{len(feeds)} feeds, {len(found)} differences, {silent} without a reason")
    return EXIT_NO if any(not one.reason for one in found) else 0
