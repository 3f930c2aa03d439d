"""The verb ``migrate``: from the original's JSON store to this one, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pumpwatch.cli_print import ConfigOption, JsonOption, load, print_json, print_rows
from pumpwatch.errors import EXIT_NO

if TYPE_CHECKING:
    from pumpwatch.migrate.importer import FolderReport

migrate = typer.Typer(help="Come over from the original's JSON store, and go back.")
IMPORT_COLUMNS = (
    "folder", "state", "files", "read", "stored", "repeated", "refused", "other_coins", "mended",
    "notes",
)  # fmt: skip
SHADOW_COLUMNS = (
    "feed", "windows", "equal", "only_old", "only_new", "differing", "fields", "rows_share",
)  # fmt: skip


@migrate.command("import")
def import_(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="The original's data folder, or one event's.")
    ],
    again: Annotated[
        bool, typer.Option("--again", help="Also folders that were imported before.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> int:
    """Import event folders: SYMBOL_YYYYMMDD_HHMMSS with metadata.json and raw/.

    Rows go to archive_trades, events to the list of listings (state imported). What the original
    is known to have stored wrongly is put right and counted; what cannot be believed goes to
    quarantine with file and line: exit code 1. An interrupted import goes on where it was.
    """
    settings = load(config)
    from pumpwatch import log

    log.configure()
    from rich.console import Console
    from rich.progress import Progress

    from pumpwatch.migrate_verbs import import_folders

    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("importing", total=None)

        def on_folder(report: FolderReport, folders: int) -> None:
            progress.update(bar, total=folders, advance=1, description=report.folder)

        reports = import_folders(settings, path, again=again, on_folder=on_folder)
    rows = [_row(one) for one in reports]
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, IMPORT_COLUMNS)
    return EXIT_NO if any(one.refused for one in reports) else 0


def _row(report: FolderReport) -> dict[str, object]:
    import msgspec

    return {
        **msgspec.structs.asdict(report),
        "mended": ", ".join(f"{name} {rows}" for name, rows in report.mended.items()),
        "notes": "; ".join(report.notes),
    }


@migrate.command()
def export(
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Where to; made when missing.")],
    bundles: Annotated[
        list[str] | None,
        typer.Argument(metavar="[BUNDLE]...", help="A coin, a name or a folder; none: all."),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> int:
    """Write our listings as the original did, for scripts that read its folders.

    One folder each: SYMBOL_YYYYMMDD_HHMMSS with metadata.json and raw/EXCHANGE/spot.json and
    futures.json. The records have the original's fields, and ours behind them. A folder that is
    there is left alone.
    """
    settings = load(config)
    from pumpwatch.migrate_verbs import export_bundles

    rows = export_bundles(settings, to, bundles or [])
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, ("folder", "state", "symbol", "rows"))
    return 0


@migrate.command()
def shadow(
    windows: Annotated[int, typer.Option(min=1, max=100_000, help="So many, at random.")] = 100,
    seed: Annotated[int, typer.Option(help="The same one draws the same windows.")] = 1,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> int:
    """Read random windows from both stores and compare them, now; exit code 1 on a difference.

    The old store is the folder of migration.shadow. Each difference is kept with both sides in
    migrate/differences.jsonl below data_dir. A running daemon does the same all the time.
    """
    settings = load(config)
    from pumpwatch import log

    log.configure()
    from pumpwatch.migrate_verbs import compare

    rows = compare(settings, windows, seed)
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, SHADOW_COLUMNS)
    return EXIT_NO if any(row["only_old"] or row["differing"] for row in rows) else 0


@migrate.command()
def status(as_json: JsonOption = False, config: ConfigOption = None) -> int:
    """Show the stage, what the next one still needs, and how the comparison stands."""
    settings = load(config)
    from pumpwatch.migrate_verbs import standing

    document = standing(settings)
    if as_json:
        print_json(document)
        return 0
    place: Any = document["place"]
    print(
        f"stage {place['stage']} of {document['stages']}: {document['read_percent']} % of reads go"
        f" to QuestDB, {'the old store' if document['fallback'] else 'nothing'} behind it"
    )
    if place["cause"]:
        print(f"last change: {place['change']}, {place['cause']}")
    print(f"compared: {document['windows']} windows since then")
    missing: Any = document["missing_for_advance"]
    print("next stage: " + ("; ".join(missing) if missing else "`migrate advance` is allowed"))
    return 0


@migrate.command()
def advance(config: ConfigOption = None) -> int:
    """Go one stage on, if its criteria hold: days, comparisons, errors, speed, disk."""
    settings = load(config)
    from pumpwatch.daemon_client import act

    print(act(settings, "migration_advance"))
    return 0


@migrate.command()
def rollback(
    whole: Annotated[bool, typer.Option("--whole", help="All reads to the old store.")] = False,
    config: ConfigOption = None,
) -> int:
    """Go one stage back. Reads only: every row is written as before, nothing is lost."""
    settings = load(config)
    from pumpwatch.daemon_client import act

    print(act(settings, "migration_rollback", whole="yes" if whole else "no"))
    return 0
