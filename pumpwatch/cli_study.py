"""``listings study``: many listings in one statistic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pumpwatch.cli_bundles import group
from pumpwatch.cli_data import parse_time_ns
from pumpwatch.cli_print import ConfigOption, JsonOption, load, print_json, print_rows

__all__ = ["group"]

LEAGUE_COLUMNS = ("feed", "points", "alone", "tied", "events", "behind_ms")


@group.command()
def study(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where to; made when missing.")
    ] = Path("study"),
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Only events from then on: ISO 8601 UTC.")
    ] = "",
    source: Annotated[str, typer.Option(help="Only of this board: upbit, bithumb.")] = "",
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder of bundles; else the data_dir's.")
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> int:
    """Judge all published listings together: who moves first, how far, what was before."""
    since_ns = parse_time_ns("--since", since) if since else None
    folder = data or load(config).data_dir
    import msgspec

    from pumpwatch.research import study as studies
    from pumpwatch.research.place import find_place

    found = studies.study(find_place(folder), since_ns, source or None)
    files = studies.write(found, out)
    league = [msgspec.to_builtins(one) for one in found.league]
    drift = {
        "events": len(found.judged), "percent": found.drift_percent, "low": found.drift_low,
        "high": found.drift_high, "has_drift": found.has_drift,
    }  # fmt: skip
    if as_json:
        print_json(
            {"events": len(found.events), "league": league, "drift": drift,
             "sizes": [msgspec.to_builtins(one) for one in found.sizes],
             "files": [str(file) for file in files]}
        )  # fmt: skip
        return 0
    print_rows(league, LEAGUE_COLUMNS)
    told = f"{found.drift_percent:+.3f} %" if found.has_drift else "none is shown"
    print(f"drift before the notice, {len(found.judged)} events: {told}")
    for file in files:
        print(file)
    return 0
