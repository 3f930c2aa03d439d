"""The verb that breaks things on purpose: drill."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pumpwatch.cli_print import JsonOption, print_json, print_rows
from pumpwatch.errors import UsageError

COLUMNS = ("number", "drill", "what", "count", "full", "rate")


def drill(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...", help="list, all, or drills: names or numbers, as crash or D-08."
        ),
    ],
    seed: Annotated[int, typer.Option(min=0, help="Repeats a drill's choices.")] = 1,
    count: Annotated[
        int | None, typer.Option(min=1, help="How often; drill list says of what.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full/--short", "--long", help="As often as drill list says.")
    ] = False,
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
    control: Annotated[
        bool, typer.Option("--control", help="Play what must fail: gaps and thinned have one.")
    ] = False,
    feeds: Annotated[
        str, typer.Option(metavar="A,B", help="Only these, where a drill may do with fewer.")
    ] = "",
    alone: Annotated[
        bool,
        typer.Option(
            "--alone/--beside-others",
            help="Beside other work figures of speed are told, not judged.",
        ),
    ] = True,
    as_json: JsonOption = False,
) -> int:
    """Break a simulated run on purpose; one line of JSON each.

    Exit code 1 if a row is missing or stored twice, or a rule did not hold. Progress goes to
    stderr. Contacts no exchange.
    """
    from pumpwatch.config import FEED_NAMES
    from pumpwatch.drills.catalog import find, in_order, play

    if words == ["list"]:
        return _list(as_json=as_json)
    named = words[1:] if words[0] == "run" else words  # `drill run crash` is `drill crash`
    if not named:
        raise UsageError("drill run: which? `drill list` names them")
    names = in_order() if named == ["all"] else find(named)
    from pumpwatch import log

    log.configure(level=30)
    worst = 0
    for name in names:
        code, line = play(
            name, seed=seed, count=count, is_long=full, rate_per_s=rate,
            folder=data if data is None or len(names) == 1 else data / name,
            with_backfill=backfill, with_comparisons=compare, is_control=control, is_alone=alone,
            feeds=feeds.split(",") if feeds else FEED_NAMES,
        )  # fmt: skip
        print(line, flush=True)
        worst = max(worst, code)
    return worst


def _list(*, as_json: bool) -> int:
    from pumpwatch.drills.acceptance import number_of, target_of
    from pumpwatch.drills.catalog import DRILLS, in_order

    rows = [
        {"number": number_of(name), "drill": name, "what": one.text,
         "count": f"{one.count} {one.counts}", "full": one.count_long, "long": one.count_long,
         "rate": one.rate_per_s, "target": target_of(name)}
        for name in in_order()
        for one in [DRILLS[name]]
    ]  # fmt: skip
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, COLUMNS)
    return 0
