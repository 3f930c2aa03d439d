"""Listings as polars frames: of a folder of bundles, or of a running PumpWatch.

>>> from pumpwatch import research
>>> events = research.events("data")
>>> panel = research.panel(events, before="5m", after="5m")

``data`` is a data_dir, a folder of bundles, one bundle, or the settings file (.toml) of a running
instance, which is asked as the user who can only read. Without it: ./pumpwatch.toml if there is
one, else ./data. docs/research.md describes every column; ``VERSION`` counts what they mean.

Only this module is public. Importing it costs little: polars comes with the first question.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pumpwatch.errors import PumpWatchError
from pumpwatch.research.columns import EVENTS, PANEL, TRADES, VERSION

if TYPE_CHECKING:
    from datetime import datetime

    import polars as pl

    from pumpwatch.research.replaying import ReplayRow

__all__ = [
    "EVENTS", "PANEL", "TRADES", "VERSION", "PumpWatchError", "events", "panel", "replay", "scan",
    "trades", "window",
]  # fmt: skip

Data = str | Path | None
EventName = str | Mapping[str, Any]  # its event_id, a coin (its newest), or a row of events()
Value = Literal["price", "quantity", "trade_count"]


def events(data: Data = None, *, since: str | datetime | None = None,
           source: str | None = None) -> pl.DataFrame:  # fmt: skip
    """One row an event, oldest first; columns as in ``EVENTS``.

    ``since``: only those announced (or opened) then or later; ``source``: upbit, bithumb, ...
    Raises PumpWatchError, as everything here does, saying what to do.
    """
    from pumpwatch.research.place import find_place
    from pumpwatch.research.spans import moment_ns

    since_ns = None if since is None else moment_ns("since", since)
    return find_place(data).events(since_ns, source)


def window(event: EventName, data: Data = None, *, kept: bool = False) -> pl.DataFrame:
    """The trades of an event's window, in canonical order; columns as in ``TRADES``.

    ``kept``: all that is held of the coin around it, from an hour before to an hour after.
    """
    from pumpwatch.research.place import find_place

    return find_place(data).window(event_name(event), kept=kept)


def trades(coin: str, start: str | datetime, end: str | datetime,
           data: Data = None) -> pl.DataFrame:  # fmt: skip
    """A coin's trades on all feeds with start <= timestamp < end; columns as in ``TRADES``.

    Of a folder: what its bundles hold. Times are ISO 8601 text in UTC, or datetimes with a zone.
    """
    from pumpwatch.research.place import find_place
    from pumpwatch.research.spans import moment_ns

    return find_place(data).trades(coin, moment_ns("start", start), moment_ns("end", end))


def scan(events: pl.DataFrame | Iterable[EventName] | None = None,
         data: Data = None) -> pl.LazyFrame:  # fmt: skip
    """All that bundles hold of their coins, lazily: filter and group before you ``collect()``.

    ``events``: of these only; else of all. Columns as in ``TRADES``.
    """
    from pumpwatch.research.place import find_place

    return find_place(data).scan(None if events is None else event_names(events))


def panel(
    events: pl.DataFrame | Iterable[EventName], before: str = "60m", after: str = "60m",
    every: str = "100ms", data: Data = None, *, value: Value = "price",
) -> pl.DataFrame:  # fmt: skip
    """All events on one grid of time: a row for each (event_id, t_ms), a column for each feed.

    ``price``: of one coin, the last one traded up to t_ms (null before the first): nothing of a row
    comes from after its time. ``quantity`` (coins) and ``trade_count``: of the step that ends with
    t_ms. A feed whose ticker may be another coin is left out; where it has two instruments of the
    coin, the busier one counts.
    """
    from pumpwatch.research.paneling import Grid, make_panel
    from pumpwatch.research.place import find_place

    grid = Grid.read(before, after, every)
    return make_panel(find_place(data).scan_each(event_names(events)), grid, value)


def replay(event: EventName, data: Data = None, *, kept: bool = False) -> Iterator[ReplayRow]:
    """An event's trades in the order in which they were received, with that moment.

    A row that no stream brought (backfill) stands where the stream would have brought it: at its
    trade time and the feed's usual lag.
    """
    from pumpwatch.research.place import find_place
    from pumpwatch.research.replaying import in_receive_order

    return in_receive_order(find_place(data).window(event_name(event), kept=kept))


def event_name(event: EventName) -> str:
    """The event_id of what stands for an event."""
    return event if isinstance(event, str) else str(event["event_id"])


def event_names(events: pl.DataFrame | Iterable[EventName]) -> list[str]:
    """The event_ids of a frame of events, or of names."""
    from polars import DataFrame

    if isinstance(events, DataFrame):
        return [str(name) for name in events["event_id"]]
    return [event_name(one) for one in events]
