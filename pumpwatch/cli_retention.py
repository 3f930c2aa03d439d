"""The verbs ``retention plan`` and ``retention run``."""

from __future__ import annotations

from typing import Annotated

import typer

from pumpwatch.cli_data import parse_time_ns
from pumpwatch.cli_print import ConfigOption, JsonOption, load, print_json, print_rows
from pumpwatch.errors import EXIT_NO

retention = typer.Typer(help="What is too old goes: look at it, or do it.")
COLUMNS = ("action", "table", "partition", "rows", "disk_bytes", "reason")
BeforeOption = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="A cut-off instead of retention.days; ISO 8601 UTC."),
]


@retention.command("plan")
def plan(
    before: BeforeOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> int:
    """Show what would go and why; exit code 1 if anything is over a limit."""
    settings = load(config)
    from pumpwatch import log, upkeep_verbs

    log.configure()
    rows, is_over = upkeep_verbs.plan_retention(settings, _cutoff_ns(before))
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, COLUMNS)
        drops = [row for row in rows if row["action"] == "drop"]
        print(f"{len(drops)} partitions, {sum(row['disk_bytes'] for row in drops)} bytes would go")
    return EXIT_NO if is_over else 0


@retention.command("run")
def run(
    before: BeforeOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> int:
    """Drop what is due; exit code 1 if something went wrong."""
    settings = load(config)
    from pumpwatch import log, upkeep_verbs

    log.configure()
    outcome = upkeep_verbs.run_retention(settings, _cutoff_ns(before))
    if as_json:
        print_json(outcome)
    else:
        print(outcome.detail())
    return EXIT_NO if outcome.problems else 0


def _cutoff_ns(before: str | None) -> int | None:
    return None if before is None else parse_time_ns("--before", before)
