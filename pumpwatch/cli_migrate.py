"""The verb ``migrate``: from the original's JSON store to this one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pumpwatch.cli_print import ConfigOption, JsonOption, load, print_json, print_rows
from pumpwatch.errors import EXIT_NO

if TYPE_CHECKING:
    from pumpwatch.migrate.importer import FolderReport

migrate = typer.Typer(help="Come over from the original's JSON store.")
IMPORT_COLUMNS = (
    "folder", "state", "files", "read", "stored", "repeated", "refused", "other_coins", "mended",
    "notes",
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
