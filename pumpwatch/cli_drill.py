"""The verb that breaks things on purpose: drill."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pumpwatch.cli_print import JsonOption, print_json, print_rows


def drill(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A drill, or list.")],
    seed: Annotated[int, typer.Option(min=0, help="Repeats a drill's choices.")] = 1,
    count: Annotated[
        int | None, typer.Option(min=1, help="How often; drill list says of what.")
    ] = None,
    long: Annotated[bool, typer.Option("--long", help="As often as drill list says.")] = False,
    rate: Annotated[
        int | None, typer.Option(min=12, max=1_000_000, help="Trades a second, over all feeds.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Keep the data here.")
    ] = None,
    backfill: Annotated[
        bool, typer.Option(help="Without it, drills of holes must fail: a control.")
    ] = True,
    compare: Annotated[
        bool, typer.Option(help="Without it, drill thinned must fail: a control.")
    ] = True,
    as_json: JsonOption = False,
) -> int:
    """Break a simulated run on purpose; one line of JSON.

    Exit code 1 if a row is missing or stored twice, or a rule did not hold. Contacts no exchange.
    """
    from pumpwatch.drills.catalog import DRILLS, play

    if name == "list":
        rows = [
            {"drill": title, "what": one.text, "count": f"{one.count} {one.counts}",
             "long": one.count_long, "rate": one.rate_per_s}
            for title, one in DRILLS.items()
        ]  # fmt: skip
        if as_json:
            print_json(rows)
        else:
            print_rows(rows, ("drill", "what", "count", "long", "rate"))
        return 0
    from pumpwatch import log

    log.configure(level=30)
    code, line = play(
        name, seed=seed, count=count, is_long=long, rate_per_s=rate, folder=data,
        with_backfill=backfill, with_comparisons=compare,
    )  # fmt: skip
    print(line)
    return code
