"""``listings study``: one statistic over many events. The same input gives the same bytes."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from pumpwatch.errors import UsageError
from pumpwatch.research.moves import (
    Drift,
    FeedMove,
    drift_of,
    feed_moves,
    middle_path,
)
from pumpwatch.research.place import Place

EVENTS_FILE, PAGE_FILE = "events.parquet", "study.html"
SEED = 1
PATH_S = 60  # to both sides of the event
RESAMPLES, BAND = 400, (5.0, 95.0)  # of the median path
MEAN_RESAMPLES, MEAN_BAND = 2_000, (0.5, 99.5)  # of the mean drift
COLUMNS: dict[str, Any] = {
    "event_id": pl.String, "feed": pl.String, "exchange": pl.String, "market_type": pl.String,
    "certified": pl.String, "rows": pl.Int64, "left_out": pl.String, "base": pl.Float64,
    "noise_percent": pl.Float64, "first_ms": pl.Float64, "first_from_ms": pl.Float64,
    "behind_ms": pl.Float64, "is_first": pl.Boolean, "peak_percent": pl.Float64,
    "peak_error_percent": pl.Float64,
}  # fmt: skip


class League(msgspec.Struct, frozen=True, kw_only=True):
    """One feed's record as a first mover."""

    feed: str
    events: int  # in which it moved
    alone: int  # certainly first
    tied: int  # nobody was certainly earlier, somebody perhaps as early
    points: float  # 1 for each event, shared between those who tie
    behind_ms: float  # median


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """How far one feed went within the minute after."""

    feed: str
    events: int
    median_percent: float
    low_percent: float  # quartiles
    high_percent: float


class MedianPath(msgspec.Struct, frozen=True, kw_only=True):
    """The median of all events each second, with its bootstrap band."""

    t_s: list[int]
    percent: list[float]
    low: list[float]
    high: list[float]
    events: int


class Study(msgspec.Struct, kw_only=True):
    """All that the page shows."""

    events: pl.DataFrame
    moves: list[FeedMove]
    drifts: list[Drift]
    league: list[League]
    sizes: list[Sizes]
    path: MedianPath
    drift_percent: float  # mean over events of what is more than at random times
    drift_low: float
    drift_high: float
    seed: int

    @property
    def judged(self) -> list[Drift]:
        """Events whose drift has a figure."""
        return [one for one in self.drifts if one.excess_percent is not None]

    @property
    def has_drift(self) -> bool:
        """All events together: the interval does not hold 0."""
        return bool(self.judged) and not self.drift_low <= 0 <= self.drift_high


def study(place: Place, since_ns: int | None, source: str | None, seed: int = SEED) -> Study:
    """Judge all events of a place. Raises UsageError where there is none."""
    events = place.events(since_ns, source).filter(pl.col("bundle").is_not_null())
    if not len(events):
        raise UsageError("no bundle of a listing to study: `listings bundles` lists what there is")
    moves: list[FeedMove] = []
    drifts, paths = [], []
    for event in place.scan_each(events["event_id"].to_list()):
        moves += feed_moves(event)
        drifts.append(drift_of(event, seed))
        paths.append(middle_path(event, PATH_S, PATH_S))
    excess = [one.excess_percent for one in drifts if one.excess_percent is not None]
    low, high = _mean_band(excess, seed)
    return Study(
        events=events, moves=moves, drifts=drifts, league=league_of(moves), sizes=sizes_of(moves),
        path=_median_path(paths, seed), drift_percent=statistics.fmean(excess) if excess else 0.0,
        drift_low=low, drift_high=high, seed=seed,
    )  # fmt: skip


def league_of(moves: Sequence[FeedMove]) -> list[League]:
    """Who moves first, the best first."""
    first: dict[str, list[str]] = {}
    for one in moves:
        if one.is_first:
            first.setdefault(one.event_id, []).append(one.feed)
    found = []
    for feed in sorted({one.feed for one in moves if one.first_ms is not None}):
        mine = [one for one in moves if one.feed == feed and one.behind_ms is not None]
        shares = [len(feeds) for feeds in first.values() if feed in feeds]
        found.append(
            League(
                feed=feed, events=len(mine), alone=shares.count(1),
                tied=len(shares) - shares.count(1), points=sum(1 / share for share in shares),
                behind_ms=statistics.median(one.behind_ms or 0.0 for one in mine),
            )
        )  # fmt: skip
    return sorted(found, key=lambda one: (-one.points, one.behind_ms, one.feed))


def sizes_of(moves: Sequence[FeedMove]) -> list[Sizes]:
    """By venue and market type."""
    found = []
    for feed in sorted({one.feed for one in moves}):
        sizes = [
            one.peak_percent for one in moves
            if one.feed == feed and one.peak_percent is not None
        ]  # fmt: skip
        if sizes:
            found.append(
                Sizes(
                    feed=feed, events=len(sizes), median_percent=statistics.median(sizes),
                    low_percent=quantile(sizes, 25.0), high_percent=quantile(sizes, 75.0),
                )
            )  # fmt: skip
    return found


def _median_path(paths: Sequence[list[float | None]], seed: int) -> MedianPath:
    seconds = list(range(-PATH_S, PATH_S + 1))
    whole = [[100 * (value - 1) for value in path if value is not None] for path in paths]
    whole = [path for path in whole if len(path) == len(seconds)]
    if not whole:
        return MedianPath(t_s=seconds, percent=[], low=[], high=[], events=0)
    table = pl.DataFrame(whole, schema=[str(one) for one in seconds], orient="row")
    rng = random.Random(seed)
    count = len(whole)
    drawn = pl.concat(
        [table[[rng.randrange(count) for _ in range(count)]].median() for _ in range(RESAMPLES)]
    )
    low, high = (drawn.select(pl.all().quantile(level / 100, "linear")).row(0) for level in BAND)
    return MedianPath(t_s=seconds, percent=list(table.median().row(0)), low=list(low),
                  high=list(high), events=count)  # fmt: skip


def _mean_band(values: Sequence[float], seed: int) -> tuple[float, float]:
    if not values:
        return 0.0, 0.0
    rng = random.Random(seed)
    means = [statistics.fmean(rng.choices(values, k=len(values))) for _ in range(MEAN_RESAMPLES)]
    return quantile(means, MEAN_BAND[0]), quantile(means, MEAN_BAND[1])


def quantile(values: Sequence[float], percent: float) -> float:
    """Between neighbours where it falls between them; of at least one value."""
    found = pl.Series(values, dtype=pl.Float64).quantile(percent / 100, interpolation="linear")
    assert found is not None
    return found


def moves_frame(moves: Sequence[FeedMove]) -> pl.DataFrame:
    """A row for each event and feed."""
    return pl.DataFrame([msgspec.to_builtins(one) for one in moves], schema=COLUMNS, orient="row")


def write(found: Study, folder: Path) -> list[Path]:
    """events.parquet and study.html. Raises OSError."""
    from pumpwatch.research.study_page import render

    folder.mkdir(parents=True, exist_ok=True)
    moves_frame(found.moves).write_parquet(folder / EVENTS_FILE, compression="zstd")
    (folder / PAGE_FILE).write_text(render(found), encoding="utf-8")
    return [folder / EVENTS_FILE, folder / PAGE_FILE]
