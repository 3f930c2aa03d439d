"""One version of a bundle: rows from the table, lists from the venues, proof, signature."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import polars as pl
import structlog
import trio

from pumpwatch.capture.flight import FlightRecorder
from pumpwatch.errors import ServerError
from pumpwatch.listing.archive import STAGING, Archive, read_map
from pumpwatch.listing.bundle import CERTIFICATE, TRADES, BundleDraft, file_digest, seal
from pumpwatch.listing.certificate import Certificate, FeedEvidence, certify
from pumpwatch.listing.events import ListingEvent
from pumpwatch.listing.evidence import RestCheck, Window
from pumpwatch.listing.rows import read_bars, read_pieces, read_window_gaps, touches
from pumpwatch.listing.signing import Signer
from pumpwatch.listing.window import KEPT_NS, SECOND_NS, WindowLife
from pumpwatch.listing_frames import add_frames, take_over
from pumpwatch.listing_view import FeedView, names_of, units_of
from pumpwatch.model import Gap
from pumpwatch.store.event_windows import copy_window
from pumpwatch.store.partitions import read_partitions
from pumpwatch.store.retention_plan import Window as KeptWindow
from pumpwatch.store.sql import Sql
from pumpwatch.venue_lists import Shown, compare, held_of, inside, missing_of
from pumpwatch.version import VERSION

log = structlog.get_logger()

BARS_BEFORE_NS = 86_400 * SECOND_NS
MARKET_COINS = ("BTC", "ETH")
MARKET_SYMBOL = "BTCUSDT"
ROW_CHARACTERS_MAX = 12_000  # of the certificate in the table: the whole one lies in the bundle
in_thread = trio.to_thread.run_sync


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    place: Path
    certificate: Certificate
    digest: str  # sha256 of certificate.json


class MissingRows(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that a venue shows and we do not hold."""

    feed: str
    symbol: str
    from_ns: int
    to_ns: int
    rows: int


class Publisher:
    """Makes bundles; ``refine`` writes the report into a staged folder."""

    def __init__(
        self, sql: Sql, archive: Archive, data_dir: Path, signer: Signer,
        refine: Callable[[Path], None] | None,
    ) -> None:  # fmt: skip
        self._sql = sql
        self._archive = archive
        self._data_dir = data_dir
        self._signer = signer
        self._refine = refine

    async def publish(
        self, life: WindowLife, event: ListingEvent, views: Sequence[FeedView],
        shown: Mapping[str, list[Shown]], state: Literal["complete", "partial"], now_ns: int,
    ) -> Published | list[MissingRows]:  # fmt: skip
        """Put a version in place; or say what a complete one misses.

        Raises ServerError, OSError.
        """
        window = life.window
        staged = self._archive.staging(life.key, window)
        units = units_of(views)
        draft = await in_thread(
            BundleDraft, staged, event, window, [view.feed for view in views], units
        )
        try:
            kept_to_ns = min(now_ns, window.at_ns + KEPT_NS)
            await self._add_rows(draft, views, kept_to_ns, is_kept=now_ns >= life.kept_ns)
            await in_thread(draft.end_rows)
            checks, missing = await in_thread(_check, draft, views, shown)
            if missing and state == "complete":
                await in_thread(draft.discard)
                return missing
            certificate = await self._certify(
                draft, life, views, checks, state=state, now_ns=now_ns, kept_to_ns=kept_to_ns
            )
            return await self.put_in_place(draft, certificate)
        except BaseException:
            draft.discard()
            raise

    async def put_in_place(self, draft: BundleDraft, certificate: Certificate) -> Published:
        """Write what is said of the rows, sign and seal it, make it the bundle. Raises OSError."""
        await in_thread(self._finish, draft, certificate)
        place = await in_thread(
            self._archive.publish, draft.folder, draft.event.key, draft.window,
            certificate.revision,
        )  # fmt: skip
        digest = (await in_thread(file_digest, place / CERTIFICATE))["sha256"]
        return Published(place=place, certificate=certificate, digest=digest)

    async def _add_rows(
        self, draft: BundleDraft, views: Sequence[FeedView], to_ns: int, *, is_kept: bool
    ) -> None:
        window = draft.window
        from_ns = window.at_ns - KEPT_NS
        symbols = sorted({symbol for _, symbol in draft.units})
        end_ns = max(to_ns, window.to_ns)
        async for frame in read_pieces(self._sql, symbols, from_ns, end_ns, names_of(views)):
            await in_thread(draft.add, frame)
        if not is_kept:
            await self._add_past(draft, views, symbols, end_ns)
            return
        others = sorted({f"{coin}USDT" for coin in MARKET_COINS} - set(symbols))
        for symbol in others:
            async for frame in read_pieces(self._sql, [symbol], from_ns, end_ns, {}):
                await in_thread(draft.add_other, frame)
        first_ns = window.at_ns - BARS_BEFORE_NS
        async for bars in read_bars(self._sql, [*symbols, *others], first_ns, end_ns):
            await in_thread(draft.add_bars, bars)
        kept = KeptWindow(
            name="/".join(draft.event.key), symbols=(*symbols, *others), from_ns=from_ns,
            to_ns=end_ns, is_kept=False,
        )  # fmt: skip
        partitions = [p for p in await read_partitions(self._sql, "trades") if kept.overlaps(p)]
        if not await copy_window(self._sql, kept, partitions):
            log.warning("kept_span_differs", window=kept.name)

    async def _add_past(
        self, draft: BundleDraft, views: Sequence[FeedView], symbols: Sequence[str], end_ns: int
    ) -> None:
        """What the report holds the last minutes against: the coin's bars, and BTC's of one feed.

        The proof does not hang on it.
        """
        first_ns = draft.window.at_ns - BARS_BEFORE_NS
        recorded = next((view.feed for view in views if view.state is not None), "")
        asked = [(symbols, ""), ([MARKET_SYMBOL], recorded)]
        try:
            for wanted, feed in asked:
                async for bars in read_bars(self._sql, wanted, first_ns, end_ns, feed=feed):
                    await in_thread(draft.add_bars, bars)
        except ServerError as error:
            log.warning("listing_past_unread", bundle=draft.folder.name, message=str(error))

    async def _certify(
        self, draft: BundleDraft, life: WindowLife, views: Sequence[FeedView],
        checks: Mapping[str, RestCheck | None], *, state: Literal["complete", "partial"],
        now_ns: int, kept_to_ns: int,
    ) -> Certificate:  # fmt: skip
        window = life.window
        symbols = sorted({symbol for _, symbol in draft.units})
        ledger = await read_window_gaps(self._sql, symbols, window.from_ns, window.to_ns)
        digests, lags = draft.digests(), await in_thread(draft.lags)
        prices = await in_thread(draft.prices_before)
        mapped = (await in_thread(read_map, self._data_dir)).coins.get(draft.event.symbol, {})
        evidence = []
        for view in views:
            rows = {symbol: t for (feed, symbol), t in draft.rows.items() if feed == view.feed}
            least, median = lags.get(view.feed, (0, 0))
            evidence.append(
                FeedEvidence(
                    answer=view.answer(window, sum(one.count for one in rows.values())),
                    ids=view.ids, rows=rows, sha256=digests[view.feed],
                    watermarks=view.watermarks, gaps=_gaps_of(view, ledger, window),
                    rest=checks[view.feed], absence=view.absence,
                    price=prices.get(view.feed, 0.0), mapped=mapped.get(view.feed, ""),
                    lag_ns_min=least, lag_ns_median=median,
                )
            )  # fmt: skip
        return certify(
            draft.event, window, evidence, software=VERSION, revision=life.revision + 1,
            state=state, missing=life.missing if state == "partial" else [], made_at_ns=now_ns,
            kept_to_ns=kept_to_ns,
        )  # fmt: skip

    def _finish(self, draft: BundleDraft, certificate: Certificate) -> None:
        draft.write_facts(certificate, self._signer)
        if self._refine is not None:
            try:
                self._refine(draft.folder)
            except Exception:
                # The proof does not hang on the report; the next version tries it again.
                log.exception("report_failed", bundle=draft.folder.name)
        place = self._archive.place(draft.event.key, draft.window)
        if self._archive.published(draft.event.key, draft.window) is not None:
            take_over(place, draft.folder)
        seal(draft.folder, self._signer, place.name)

    async def add_frames(
        self, flight: FlightRecorder, place: Path, window: Window, views: Sequence[FeedView]
    ) -> None:
        """The raw messages of the coin, once the bundle is in place. Raises OSError."""
        names = {view.feed: [one.venue_symbol for one in view.used] for view in views if view.used}
        staged = self._archive.root / STAGING / f"{place.name}.frames"
        count = await add_frames(flight, place, staged, names, window, self._signer)
        log.info("listing_frames", bundle=place.name, frames=count)


def _gaps_of(view: FeedView, ledger: Sequence[Gap], window: Window) -> list[Gap]:
    """The ledger's rows of a feed's instruments; what is open is newer in memory."""
    symbols = {one.symbol for one in view.used} | {"*"}
    found = {
        gap.gap_id: gap for gap in ledger
        if gap.feed == view.feed and gap.symbol in symbols
        and touches(gap, window.from_ns, window.to_ns)
    }  # fmt: skip
    for gap in view.open_gaps:
        if gap.gap_id not in found or gap.revision >= found[gap.gap_id].revision:
            found[gap.gap_id] = gap
    return list(found.values()) if view.used else []


def _check(
    draft: BundleDraft, views: Sequence[FeedView], shown: Mapping[str, list[Shown]]
) -> tuple[dict[str, RestCheck | None], list[MissingRows]]:
    """Hold what the venues showed against the draft's rows."""
    window = draft.window
    checks: dict[str, RestCheck | None] = {}
    missing: list[MissingRows] = []
    for view in views:
        told = shown.get(view.feed, [])
        if not told:
            checks[view.feed] = None
            continue
        listed = inside(told, window.from_ns, window.to_ns)
        times = [at_ns for _, at_ns, _ in listed]
        at = pl.col("timestamp").cast(pl.Int64)
        is_shown = at.is_between(min(times, default=0), max(times, default=0))
        rows = (
            pl.scan_parquet(draft.folder / TRADES)
            .filter((pl.col("feed") == view.feed) & is_shown)
            .with_columns(at.alias("timestamp"))
            .collect()
        )
        held = held_of(rows.iter_rows(named=True))
        checks[view.feed] = compare(told, held, window.from_ns, window.to_ns)
        by_symbol: dict[str, list[int]] = {}
        for symbol, at_ns, _ in missing_of(listed, held):
            by_symbol.setdefault(symbol, []).append(at_ns)
        missing += [
            MissingRows(feed=view.feed, symbol=symbol, from_ns=min(found), to_ns=max(found),
                        rows=len(found))
            for symbol, found in by_symbol.items()
        ]  # fmt: skip
    return checks, missing


def row_certificate(published: Published) -> str:
    """The certificate as it stands in listing_events: short enough for a row."""
    certificate = published.certificate
    document: dict[str, Any] = {
        "bundle": published.place.name,
        "sha256": published.digest,
        "revision": certificate.revision,
        "state": certificate.state,
        "verdict": certificate.verdict,
        "missing": certificate.missing[:4],
        "rows": certificate.rows,
        "window": certificate.window,
        "feeds": {
            feed.feed: {
                "grade": feed.grade, "rows": feed.rows, "sha256": feed.sha256,
                "reasons": [reason[:200] for reason in feed.reasons[:2]],
                **({"suspicion": feed.suspicion} if feed.suspicion else {}),
            }
            for feed in certificate.feeds
        },
    }  # fmt: skip
    text = msgspec.json.encode(document).decode()
    if len(text) > ROW_CHARACTERS_MAX:
        for feed in document["feeds"].values():
            del feed["reasons"]
        text = msgspec.json.encode(document).decode()
    return text


def verdict_of(event: ListingEvent) -> str:
    """What was last told of an event; "": nothing."""
    try:
        told = msgspec.json.decode(event.certificate, type=dict)
    except msgspec.DecodeError:
        return ""
    return str(told.get("verdict", ""))
