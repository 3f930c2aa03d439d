"""Bundles on disk as frames: nothing but files is read, and no signature is taken for granted.

Whether a bundle is as it was signed is told by ``listings verify``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from pumpwatch.errors import BundleError, UsageError
from pumpwatch.listing.archive import FOLDER
from pumpwatch.listing.bundle import EVENT, KEPT
from pumpwatch.listing.bundle import TRADES as TRADES_FILE
from pumpwatch.listing.certificate import GRADES, Certificate
from pumpwatch.listing.events import ListingEvent
from pumpwatch.listing.evidence import Window
from pumpwatch.listing.past_notices import CHANNEL
from pumpwatch.listing.verify import read_certificate
from pumpwatch.research.columns import EVENTS, TRADES
from pumpwatch.research.place import EventRows

TIME = pl.Datetime("ns", "UTC")
TYPES: dict[str, Any] = {
    "String": pl.String, "Datetime(ns, UTC)": TIME, "Int64": pl.Int64, "Float64": pl.Float64,
    "Boolean": pl.Boolean,
}  # fmt: skip
KEY = ("timestamp", "exchange", "market_type", "symbol", "trade_id")
ORDER = ("timestamp", "exchange", "market_type", "symbol", "sequence_number", "trade_id")
MS_NS = 1_000_000
HISTORIC = "historic"  # listings backfill brought it: nobody recorded it


def schema_of(columns: dict[str, str]) -> dict[str, Any]:
    """Polars' types of a documented frame."""
    return {name: TYPES[kind] for name, kind in columns.items()}


class _EventFile(msgspec.Struct):
    event: ListingEvent
    window: Window


class Bundle:
    """One of them, read when it is asked for."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.event_id = place.resolve().name

    @cached_property
    def certificate(self) -> Certificate:
        """What is proven. Raises BundleError."""
        return read_certificate(self.place)[0]

    @cached_property
    def facts(self) -> tuple[ListingEvent, Window]:
        """What was announced, and the window. Raises BundleError."""
        path = self.place / EVENT
        try:
            found = msgspec.json.decode(path.read_bytes(), type=_EventFile)
        except (OSError, msgspec.MsgspecError) as error:
            raise BundleError(
                f"{path}: {error}; `listings verify {self.place}` tells more"
            ) from None
        return found.event, found.window

    @property
    def at_ns(self) -> int:
        """The moment that t_ms counts from."""
        return self.facts[1].at_ns

    def row(self) -> dict[str, Any]:
        """Its row of ``events()``, times in ns."""
        event, window = self.facts
        proof = self.certificate
        state = HISTORIC if event.channel == CHANNEL else proof.state
        return {
            "event_id": self.event_id, "source": event.source, "notice_id": event.notice_id,
            "coin": event.symbol, "kind": window.kind, "title": event.title, "at": window.at_ns,
            "from": window.from_ns, "to": window.to_ns, "announced_at": event.announced_ns,
            "detected_at": event.detected_ns, "opening_at": event.opening_ns or None,
            "kept_to": proof.kept_to_ns, "state": state, "revision": proof.revision,
            "rows": proof.rows, **{grade: proof.counts.get(grade, 0) for grade in GRADES},
            "bundle": str(self.place),
        }  # fmt: skip

    def scan(self, *, kept: bool) -> pl.LazyFrame:
        """The coin's rows of the window, or all that are kept around it; columns as in TRADES."""
        path = self.place / (KEPT if kept else TRADES_FILE)
        if not path.is_file():
            raise BundleError(f"{path}: is not there; `listings verify {self.place}` tells more")
        window, proof = self.facts[1], self.certificate
        coin = pl.DataFrame(
            [
                (feed.feed, one.symbol, feed.grade, feed.is_suspect_identity)
                for feed in proof.feeds
                for one in feed.instruments
            ],
            schema={"feed": pl.String, "symbol": pl.String, "grade": pl.String,
                    "suspect": pl.Boolean},
            orient="row",
        ).unique(maintain_order=True)  # fmt: skip
        moment = pl.col("timestamp").cast(pl.Int64)
        is_inside = (moment >= window.from_ns) & (moment < window.to_ns)
        return (
            pl.scan_parquet(path)
            .join(coin.lazy(), on=["feed", "symbol"], how="inner", maintain_order="left")
            .with_columns(
                event_id=pl.lit(self.event_id),
                t_ms=(moment - window.at_ns) / MS_NS,
                certified=pl.when(is_inside).then(pl.col("grade")),
            )
            .select(pl.col(name).cast(kind) for name, kind in schema_of(TRADES).items())
        )


class BundleFolder:
    """A data_dir, a folder of bundles, or one bundle."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def bundles(self) -> list[Bundle]:
        """All of them. Raises UsageError where there is none."""
        folder = self.folder
        if (folder / EVENT).is_file():
            return [Bundle(folder)]
        if (folder / FOLDER).is_dir():
            folder = folder / FOLDER
        found = sorted(one for one in folder.iterdir() if (one / EVENT).is_file())
        if not found:
            raise UsageError(
                f"{folder}: holds no bundle of a listing; they lie in data_dir/{FOLDER}, and"
                " `listings bundles` lists them"
            )
        return [Bundle(one) for one in found]

    def find(self, name: str) -> Bundle:
        """By event_id, or the newest of a coin. Raises UsageError."""
        known = self.bundles()
        for bundle in known:
            if bundle.event_id == name:
                return bundle
        of_coin = [one for one in known if one.facts[0].symbol == name]
        if not of_coin:
            shown = ", ".join(one.event_id for one in known[-3:])
            raise UsageError(f"{name}: no event of this name or coin in {self.folder}, as {shown}")
        return max(of_coin, key=lambda one: one.at_ns)

    def events(self, since_ns: int | None, source: str | None) -> pl.DataFrame:
        """See ``research.events``."""
        rows = [
            bundle.row()
            for bundle in self.bundles()
            if (since_ns is None or bundle.at_ns >= since_ns)
            and source in (None, bundle.facts[0].source)
        ]
        return events_frame(rows)

    def window(self, event_id: str, *, kept: bool) -> pl.DataFrame:
        """See ``research.window``."""
        return self.find(event_id).scan(kept=kept).collect()

    def trades(self, coin: str, from_ns: int, to_ns: int) -> pl.DataFrame:
        """What bundles hold of the span; a row that several hold is taken from a window first."""
        moment = pl.col("timestamp").cast(pl.Int64)
        parts = [
            bundle.scan(kept=True).filter((moment >= from_ns) & (moment < to_ns))
            for bundle in self.bundles()
            if bundle.facts[0].symbol == coin
        ]
        if not parts:
            raise UsageError(f"{coin}: no bundle of this coin in {self.folder}")
        return unique_rows(pl.concat(parts).collect())

    def scan(self, event_ids: Sequence[str] | None) -> pl.LazyFrame:
        """See ``research.scan``."""
        chosen = self.bundles() if event_ids is None else [self.find(one) for one in event_ids]
        if not chosen:
            return pl.LazyFrame(schema=schema_of(TRADES))
        return pl.concat([bundle.scan(kept=True) for bundle in chosen])

    def scan_each(self, event_ids: Sequence[str]) -> Iterator[EventRows]:
        """Event by event."""
        by_name = {bundle.event_id: bundle for bundle in self.bundles()}
        for name in event_ids:
            bundle = by_name.get(name) or self.find(name)
            yield EventRows(bundle.event_id, bundle.at_ns, bundle.scan(kept=True))


def events_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows with times in ns as the documented frame, oldest first."""
    plain = {name: pl.Int64 if kind == TIME else kind for name, kind in schema_of(EVENTS).items()}
    frame = pl.DataFrame(rows, schema=plain, orient="row").sort("at", "event_id")
    return frame.select(pl.col(name).cast(kind) for name, kind in schema_of(EVENTS).items())


def unique_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Each row once, in canonical order; a certified one is preferred."""
    return (
        frame.sort("certified", nulls_last=True, maintain_order=True)
        .unique(KEY, keep="first", maintain_order=True)
        .sort(ORDER)
    )
