"""Verbs of the operator's seat: sql, feeds, capacity."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pumpwatch.cli_print import ConfigOption, JsonOption, load, print_json, print_rows
from pumpwatch.cli_run import parse_duration_s
from pumpwatch.errors import EXIT_NO, PumpWatchError, UsageError

RATE_DEFAULT = 5_000.0  # all feeds on an ordinary day
MEASURE_S_MIN = 2.0

feeds = typer.Typer(help="Pause a feed of the running daemon, or record it again.")


def sql(
    query: Annotated[
        str | None, typer.Argument(help="One statement, as 'SELECT count() FROM trades'.")
    ] = None,
    form: Annotated[
        str, typer.Option("--format", metavar="FORM", help="table, json, csv or parquet.")
    ] = "table",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it there.")] = None,
    psql: Annotated[bool, typer.Option("--psql", help="Open psql instead.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> int:
    """Ask the database, through the user who can only read.

    docs/sql.md has questions to begin with.
    """
    from pumpwatch import sql_verb

    settings = load(config)
    chosen = "json" if as_json else form
    if chosen not in sql_verb.FORMATS:
        raise UsageError(f"--format {form}: allowed: {', '.join(sql_verb.FORMATS)}")
    if psql:
        sql_verb.run_psql(settings)
    if not query:
        raise UsageError("QUERY: needed, or --psql")
    names, rows = sql_verb.ask(settings, query)
    sql_verb.show(names, rows, chosen, out)
    return 0


@feeds.command("pause")
def feeds_pause(
    feed: Annotated[str, typer.Argument(help="As okx_spot.")], config: ConfigOption = None
) -> int:
    """Close a feed's connections until it is resumed, or the daemon starts anew.

    What it has brought stays; what it misses meanwhile is a gap.
    """
    from pumpwatch.daemon_client import act

    print(act(load(config), "pause_feed", feed=feed))
    return 0


@feeds.command("resume")
def feeds_resume(
    feed: Annotated[str, typer.Argument(help="As okx_spot.")], config: ConfigOption = None
) -> int:
    """Record a paused feed again."""
    from pumpwatch.daemon_client import act

    print(act(load(config), "resume_feed", feed=feed))
    return 0


@feeds.command("renew")
def feeds_renew(
    feed: Annotated[str, typer.Argument(help="As okx_spot.")], config: ConfigOption = None
) -> int:
    """Replace a feed's connections one after the other; nothing is missed.

    Each ends when its successor has delivered, as before an end that the venue plans.
    """
    from pumpwatch.daemon_client import act

    print(act(load(config), "renew_feed", feed=feed))
    return 0


def capacity(
    rate: Annotated[
        float | None, typer.Option(metavar="ROWS", min=1, help="Rows a second; else 5000.")
    ] = None,
    measure: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Measure the running daemon for so long (60s)."),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> int:
    """Say what a rate of rows needs, and whether this host has it.

    Exit code 1 if it does not fit.
    """
    import os

    import msgspec

    from pumpwatch import capacity as needs
    from pumpwatch.environment import gather

    settings = load(config)
    facts = gather(settings)
    rows_per_s = rate or RATE_DEFAULT
    if measure is not None:
        rows_per_s = _measured_rate(settings.data_dir, parse_duration_s(measure))
    host = needs.Host(
        processors=os.cpu_count() or 1,
        disk_free_bytes=facts.disk_free_mib * 2**20,
        hour_bytes=settings.memory.max_mib * 2**20,
        window_s=settings.memory.window_s,
        spool_bytes=settings.spool.disk_max_mib * 2**20,
    )
    lines = [msgspec.structs.asdict(line) for line in needs.plan(rows_per_s, host)]
    if as_json:
        print_json(lines)
    else:
        print(f"at {rows_per_s:,.0f} rows a second, on this host:\n")
        print_rows(lines, ("state", "what", "needs", "has"))
    return EXIT_NO if any(line["state"] == "too much" for line in lines) else 0


def _measured_rate(data_dir: Path, seconds: float) -> float:
    """Rows a second of the running daemon, from its counters at both ends."""
    from threading import Event

    import msgspec

    from pumpwatch.status import STATUS_FILE

    def look() -> tuple[float, int]:
        try:
            document = msgspec.json.decode((data_dir / STATUS_FILE).read_bytes())
        except OSError:
            raise PumpWatchError(
                f"no daemon has run on {data_dir}: start one with `pumpwatch run`"
            ) from None
        return float(document["uptime_s"]), sum(feed["passed"] for feed in document["feeds"])

    began_s, began_rows = look()
    Event().wait(max(seconds, MEASURE_S_MIN))
    ended_s, ended_rows = look()
    if ended_s <= began_s:
        raise PumpWatchError(f"the daemon of {data_dir} does not run")
    return (ended_rows - began_rows) / (ended_s - began_s)
