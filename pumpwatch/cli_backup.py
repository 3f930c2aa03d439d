"""The verbs ``backup create``, ``list``, ``verify``, ``restore`` and ``key``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pumpwatch.cli_data import parse_time_ns
from pumpwatch.cli_print import ConfigOption, JsonOption, load, print_json, print_rows
from pumpwatch.errors import EXIT_NO, UsageError

if TYPE_CHECKING:
    from pumpwatch.config import Config

backup = typer.Typer(help="Make, list, test and restore backups.")
COLUMNS = ("name", "state", "created_at", "verified_at", "bytes", "location")

NameArgument = Annotated[str, typer.Argument(help="As `backup list` shows it.")]
RemoteOption = Annotated[
    bool, typer.Option("--from-remote", help="Read it from backup.remote_url.")
]


@backup.command("create")
def create(config: ConfigOption = None, as_json: JsonOption = False) -> int:
    """Save the database while rows come in, restore the copy and compare it.

    Exit code 1 if it is not good, or was not uploaded.
    """
    settings = _start(config)
    from pumpwatch import upkeep_verbs

    state = upkeep_verbs.create(settings)
    row = next(
        row
        for row in upkeep_verbs.list_backups(settings, remote=False)
        if row["name"] == state.name
    )
    if as_json:
        print_json([row])
    else:
        print_rows([row], COLUMNS)
        if state.error:
            print(state.error)
    return EXIT_NO if state.error or state.state != "good" else 0


@backup.command("list")
def show(
    remote: Annotated[bool, typer.Option("--remote", help="Those at backup.remote_url.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """List backups, oldest first."""
    settings = _start(config)
    from pumpwatch import upkeep_verbs

    rows = upkeep_verbs.list_backups(settings, remote=remote)
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, COLUMNS)
    return 0


@backup.command("verify")
def verify(
    name: NameArgument,
    quick: Annotated[
        bool, typer.Option("--quick", help="A sample of partitions instead of everything.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Read every object, restore everything, compare; exit code 1 on a difference."""
    settings = _start(config)
    from pumpwatch import upkeep_verbs

    problems = upkeep_verbs.verify(settings, name, full=not quick)
    if as_json:
        print_json([{"problem": problem} for problem in problems])
    else:
        for problem in problems:
            print(problem)
        print(f"{len(problems)} problems" if problems else f"backup {name} is good")
    return EXIT_NO if problems else 0


@backup.command("restore")
def restore(
    name: NameArgument,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="DIR|TIME",
            help="The whole database into this empty folder; with --from: the end of the span.",
        ),
    ] = None,
    table: Annotated[
        str, typer.Option(metavar="TABLE", help="For a span: trades, event_trades, archive_trades.")
    ] = "trades",
    partition: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="This partition, into the running database."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="A span instead, up to --to; ISO 8601 UTC."),
    ] = None,
    from_remote: RemoteOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Restore a backup: to a new folder, or a span of trades into the running database."""
    if partition is None and to is None:
        raise UsageError("backup restore: give --to DIR, or --partition, or --from and --to TIME")
    settings = _start(config)
    from pumpwatch import upkeep_verbs

    if partition is None and start is None:
        folder = Path(str(to)).absolute()
        manifest = upkeep_verbs.restore_to(settings, name, folder, from_remote=from_remote)
        document = {"name": name, "to": str(folder), "rows": manifest.rows}
        text = (
            f"{manifest.rows} rows restored and compared. To start on them: set data_dir ="
            f' "{folder}" (or PUMPWATCH_DATA_DIR) and `python -m pumpwatch run`'
        )
    else:
        span_ns = _span_ns(partition, start, to)
        result = upkeep_verbs.restore_rows(settings, name, table, span_ns, from_remote=from_remote)
        document = {"name": name, "table": table, "rows": result.rows, "now": result.live_rows}
        text = f"{result.rows} rows of {table} sent; {result.live_rows} are there now"
    if as_json:
        print_json([document])
    else:
        print(text)
    return 0


@backup.command("key")
def key(config: ConfigOption = None) -> int:
    """Make the key file that backup.key_file names; keep a copy where the backups are not."""
    settings = _start(config)
    from pumpwatch import upkeep_verbs

    path, public = upkeep_verbs.create_key(settings)
    print(f"{path}: without a copy of it elsewhere the backups are lost with this machine")
    print(f"public key: {public}")
    return 0


def _span_ns(partition: str | None, start: str | None, end: str | None) -> tuple[int, int]:
    from pumpwatch.store.partitions import span_of

    if partition is not None:
        if start is not None or end is not None:
            raise UsageError("backup restore: --partition goes without --from and --to")
        try:
            return span_of(partition)
        except ValueError as error:
            raise UsageError(f"--partition: {error}; as 2026-01-31T13") from None
    if start is None or end is None:
        raise UsageError("backup restore: --from and --to belong together")
    span_ns = parse_time_ns("--from", start), parse_time_ns("--to", end)
    if span_ns[0] >= span_ns[1]:
        raise UsageError(f"--from {start}: must be before --to {end}")
    return span_ns


def _start(path: Path | None) -> Config:
    settings = load(path)
    from pumpwatch import log

    log.configure()
    return settings
