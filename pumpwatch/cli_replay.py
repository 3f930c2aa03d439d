"""``replay``: a bundle played back as if it were live."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pumpwatch.cli_bundles import BundleArgument
from pumpwatch.cli_print import ConfigOption, load
from pumpwatch.errors import UsageError

SPEED_MAX = 1000.0


def replay(
    bundle: BundleArgument,
    speed: Annotated[
        str, typer.Option(metavar="N", help="1 is real time, 10 ten times as fast; or max.")
    ] = "1",
    serve: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Be the twelve venues there; port 0: any.")
    ] = "",
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Print one ordered stream, a JSON document a line.")
    ] = False,
    kept: Annotated[
        bool, typer.Option("--kept", help="All that is kept of the coin, not only the window.")
    ] = False,
    to_now: Annotated[
        bool, typer.Option("--now", help="Move every time by whole seconds, so that it begins now.")
    ] = False,
    wait: Annotated[
        float,
        typer.Option(min=0.0, max=3600.0, metavar="S", help="Begin S after the last subscription."),
    ] = 3.0,
    rebuilt: Annotated[
        bool,
        typer.Option("--rebuilt", help="Make every message anew, not only where none was kept."),
    ] = False,
    ends: Annotated[
        bool, typer.Option("--exit", help="End behind the last trade, not by a signal.")
    ] = False,
    write_config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write settings that point here: TOML.")
    ] = None,
    config: ConfigOption = None,
) -> int:
    """Play a listing back as the twelve venues, or as JSON lines.

    The notice appears on the simulated board when it was seen. Messages are those that were
    recorded, and made anew from rows where none was kept; what is printed says how many of each.
    """
    if bool(serve) == jsonl:
        raise UsageError("replay: say either --serve HOST:PORT or --jsonl")
    if jsonl and (to_now or write_config is not None):
        raise UsageError("--jsonl: prints what was recorded; --now and --write-config need --serve")
    pace = parse_speed(speed)
    from pumpwatch import replay_verb
    from pumpwatch.listing_verbs import find_bundle

    options = replay_verb.Options(
        speed=pace,
        wait_s=wait,
        kept=kept,
        to_now=to_now,
        rebuilt=rebuilt,
        ends=ends,
        config_file=write_config,
    )
    address = replay_verb.read_address(serve) if serve else None
    place = find_bundle(load(config), bundle)
    if address is None:
        return replay_verb.print_lines(place, options)
    return replay_verb.serve(place, *address, options)


def parse_speed(text: str) -> float:
    """``1``, ``10``, ``0.5``, ``max`` (0). Raises UsageError."""
    if text == "max":
        return 0.0
    try:
        speed = float(text)
    except ValueError:
        speed = -1.0
    if not 0 < speed <= SPEED_MAX:
        raise UsageError(f"--speed {text}: allowed: max, or a number up to {SPEED_MAX:g}")
    return speed
