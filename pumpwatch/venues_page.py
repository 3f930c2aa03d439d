"""docs/venues.md, made from FEEDS: what each feed is, as the code has it.

``python -m pumpwatch.venues_page > docs/venues.md``; a test compares.
"""

from __future__ import annotations

import sys

from pumpwatch.venues import FEEDS
from pumpwatch.venues.spec import FeedSpec, RestPage

HEAD = """\
# Venues

What PumpWatch knows of each feed, made from `pumpwatch/venues/` (do not edit). The settings
`websocket_url` and `rest_url` of a feed point elsewhere ([operations.md](operations.md)).
"""
HEADINGS = (
    "feed", "stream", "symbols a connection", "ids of trades", "recent list", "history",
)  # fmt: skip


def render() -> str:
    """The page."""
    lines = [HEAD, f"| {' | '.join(HEADINGS)} |", "| --- | --- | --- | --- | --- | --- |"]
    lines += [f"| {' | '.join(_cells(spec))} |" for spec in FEEDS]
    lines += ["", "## Limits that are kept", ""]
    lines += ["| feed | connects | requests on a connection | REST | life of a connection |"]
    lines += ["| --- | --- | --- | --- | --- |"]
    lines += [f"| {' | '.join(_limits(spec))} |" for spec in FEEDS]
    return "\n".join(lines) + "\n"


def _cells(spec: FeedSpec) -> list[str]:
    stream = "told by the venue for each connection" if spec.token else f"`{spec.websocket_url}`"
    history = "none" if spec.history is None else _page(spec.history)
    return [
        f"`{spec.name}`",
        stream,
        f"{spec.symbols_per_connection:,}",
        spec.ids.name.lower().replace("_", " "),
        _page(spec.recent),
        history,
    ]


def _page(page: RestPage) -> str:
    by = "id" if page.from_id_param else "time" if page.from_s_param else ""
    key = ", needs a key" if page.needs_api_key else ""
    return f"{page.rows_max:,} rows{f' by {by}' if by else ''}{key}"


def _limits(spec: FeedSpec) -> list[str]:
    pace, rest = spec.pace, spec.rest_allowance
    requests = f"one each {pace.interval_s:g} s"
    if pace.requests_max:
        requests += f", {pace.requests_max} in {pace.window_s:g} s"
    life = f"{spec.life_s / 3600:g} h" if spec.life_s else "no end"
    return [
        f"`{spec.name}`",
        f"one each {spec.connect_interval_s:g} s",
        requests,
        f"{rest.units:g} in {rest.per_s:g} s (`{rest.key}`)",
        life,
    ]


if __name__ == "__main__":
    sys.stdout.write(render())
