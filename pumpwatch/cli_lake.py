"""``lake``: the table as Parquet files for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pumpwatch.cli_print import ConfigOption, JsonOption, load, print_json

lake = typer.Typer(help="The table as Parquet files for other programs.")


@lake.command()
def sync(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Made when missing.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> int:
    """Write the closed hours that are not there yet, or have changed since."""
    settings = load(config)
    from pumpwatch.research.lake import Lake, describe

    place = Lake(directory, settings)
    written = rows = 0
    for hour in place.sync():
        written += hour.written
        rows += hour.rows if hour.written else 0
        if hour.written and not as_json:
            print(f"{hour.hour}  {hour.rows:,} rows")
    whole = describe(place)
    if as_json:
        print_json({"written_hours": written, "written_rows": rows, **whole})
    else:
        print(f"{written} hours written; {whole['hours']} hours, {whole['rows']:,} rows,"
              f" {whole['bytes'] / 1e6:,.1f} MB in {directory}")  # fmt: skip
    return 0
