"""Many events on one grid of time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Self

import polars as pl

from pumpwatch.config import FEED_NAMES
from pumpwatch.errors import UsageError
from pumpwatch.research.place import EventRows
from pumpwatch.research.spans import span_ms

STEPS_MAX = 10_000_000  # of one event: a slip of the pen, not a question
MS_NS = 1_000_000
VALUES = ("price", "quantity", "trade_count")


class Grid(NamedTuple):
    """Points from ``-before_ms`` to ``after_ms`` around an event's moment."""

    before_ms: int
    after_ms: int
    every_ms: int

    @classmethod
    def read(cls, before: str, after: str, every: str) -> Self:
        """From texts as ``60m`` and ``100ms``. Raises UsageError."""
        grid = cls(span_ms("before", before), span_ms("after", after), span_ms("every", every))
        if not grid.every_ms or grid.steps > STEPS_MAX:
            raise UsageError(f"every = {every}: too fine for before = {before}, after = {after}")
        return grid

    @property
    def steps(self) -> int:
        """How many points there are behind the first one."""
        return (self.before_ms + self.after_ms) // self.every_ms


def make_panel(events: Iterable[EventRows], grid: Grid, value: str) -> pl.DataFrame:
    """See ``research.panel``. One event's rows are in memory at a time."""
    if value not in VALUES:
        raise UsageError(f"value = {value!r}: allowed: {', '.join(VALUES)}")
    parts = list(_parts(events, grid, value))
    if not parts:
        return pl.DataFrame(schema={"event_id": pl.String, "t_ms": pl.Int64})
    whole = pl.concat(parts, how="diagonal", rechunk=False)
    feeds = [name for name in FEED_NAMES if name in whole.columns]
    return whole.select("event_id", "t_ms", *feeds)


def _parts(events: Iterable[EventRows], grid: Grid, value: str) -> Iterator[pl.DataFrame]:
    step = pl.int_range(0, grid.steps + 1, dtype=pl.Int32)
    points = pl.select(step=step)
    for one in events:
        wide = wide_steps(one, grid, value)
        filled = points.join(wide, on="step", how="left", maintain_order="left")
        by_feed = pl.exclude("step")
        filled = filled.with_columns(
            by_feed.forward_fill() if value == "price" else by_feed.fill_null(0.0)
        )
        t_ms = pl.col("step").cast(pl.Int64) * grid.every_ms - grid.before_ms
        yield filled.select(pl.lit(one.event_id).alias("event_id"), t_ms.alias("t_ms"), by_feed)


def wide_steps(one: EventRows, grid: Grid, value: str) -> pl.DataFrame:
    """Steps in which something traded, a column for each feed.

    A step ends with its point: the point's own moment is in it, a nanosecond later is not.
    """
    from_ns = one.at_ns - grid.before_ms * MS_NS
    every_ns = grid.every_ms * MS_NS
    step = (pl.col("timestamp").cast(pl.Int64) - from_ns + every_ns - 1) // every_ns
    # What a coin cost when the grid begins was said before.
    step = step.clip(0) if value == "price" else step
    amount = {
        "price": (pl.col("price") / pl.col("unit")).last(),
        "quantity": (pl.col("quantity") * pl.col("unit")).sum(),
        "trade_count": pl.len().cast(pl.Float64),
    }[value]
    steps = (
        one.rows.filter(~pl.col("suspect"))
        .with_columns(step=step)
        .filter((pl.col("step") >= 0) & (pl.col("step") <= grid.steps))
        .group_by("feed", "symbol", "step")
        .agg(value=amount, rows=pl.len())
        .collect()
    )
    busiest = (
        steps.group_by("feed", "symbol")
        .agg(pl.col("rows").sum())
        .sort(["feed", "rows", "symbol"], descending=[False, True, False])
        .unique("feed", keep="first", maintain_order=True)
    )
    return (
        steps.join(busiest.select("feed", "symbol"), on=["feed", "symbol"], how="semi")
        .select(pl.col("step").cast(pl.Int32), "feed", "value")
        .pivot("feed", index="step", values="value")
    )
