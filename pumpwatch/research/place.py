"""Where the data of a question is: bundles on disk, or a running instance."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pumpwatch.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

SETTINGS_FILE, DATA_DIR = "pumpwatch.toml", "data"


class EventRows(NamedTuple):
    """What is held of one event's coin."""

    event_id: str
    at_ns: int
    rows: pl.LazyFrame  # columns as in TRADES


class Place(Protocol):
    """Who answers."""

    def events(self, since_ns: int | None, source: str | None) -> pl.DataFrame:
        """One row an event, oldest first."""
        ...

    def window(self, event_id: str, *, kept: bool) -> pl.DataFrame:
        """The rows of an event."""
        ...

    def trades(self, coin: str, from_ns: int, to_ns: int) -> pl.DataFrame:
        """A coin's rows."""
        ...

    def scan(self, event_ids: Sequence[str] | None) -> pl.LazyFrame:
        """What is held around events; None: around all."""
        ...

    def scan_each(self, event_ids: Sequence[str]) -> Iterator[EventRows]:
        """The same event by event."""
        ...


def find_place(data: str | Path | None) -> Place:
    """The place that ``data`` names. Raises UsageError where it names none."""
    from pumpwatch.research.bundles import BundleFolder

    if data is None:
        data = SETTINGS_FILE if Path(SETTINGS_FILE).is_file() else DATA_DIR
    path = Path(data)
    if path.suffix == ".toml":
        from pumpwatch.config import load_config
        from pumpwatch.research.instance import Instance

        return Instance(load_config(path, os.environ))
    if not path.is_dir():
        raise UsageError(
            f"{path}: no such folder; data = a data_dir, a folder of bundles, one bundle, or the"
            " settings file (.toml) of a running instance"
        )
    return BundleFolder(path)
