"""What the verbs below ``listings`` do with bundles: check, ask the venues again, export, map."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any, Literal

import msgspec
import polars as pl
import trio

from pumpwatch.clock import SystemClock
from pumpwatch.config import FEED_NAMES, Config
from pumpwatch.errors import BundleError, UsageError
from pumpwatch.listing.archive import MAP_FILE, Archive, CoinMap, read_map
from pumpwatch.listing.bundle import TRADES
from pumpwatch.listing.certificate import FeedProof
from pumpwatch.listing.evidence import Window
from pumpwatch.listing.verify import Verdict, own_key, read_certificate, verify_bundle
from pumpwatch.model import Instrument
from pumpwatch.rest import RestClient
from pumpwatch.venue_lists import ask_venue, compare, held_of
from pumpwatch.venues import FEEDS_BY_NAME
from pumpwatch.whole_file import write_whole

ExportForm = Literal["original", "csv", "parquet", "bundle"]
AGREES, DIFFERS, BEYOND, UNREAD = "agrees", "differs", "beyond reach", "cannot be asked"


def find_bundle(config: Config, text: str) -> Path:
    """By folder, name, or the newest of a coin. Raises BundleError."""
    return Archive(config.data_dir).find(text)


def list_bundles(config: Config) -> list[dict[str, Any]]:
    """What is published, oldest name first."""
    rows = []
    for place in Archive(config.data_dir).bundles():
        certificate, _ = read_certificate(place)
        rows.append(
            {
                "bundle": place.name, "source": certificate.source, "symbol": certificate.symbol,
                "kind": certificate.window.kind, "state": certificate.state,
                "revision": certificate.revision, "rows": certificate.rows, **certificate.counts,
            }
        )  # fmt: skip
    return rows


def check(config: Config, place: Path, key_hex: str) -> Verdict:
    """Offline. Raises BundleError."""
    return verify_bundle(place, key_hex=key_hex, own_key_hex=own_key(config.data_dir))


# --- the venues again -----------------------------------------------------------------------------


class VenueAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What one venue says of a bundle's rows today."""

    feed: str
    answer: str
    rows: int  # in the bundle
    shown: int  # of the window, by the venue
    missing: int
    different: int
    text: str


def ask_venues(config: Config, place: Path) -> list[VenueAnswer]:
    """Hold a bundle's rows against the venues' lists; blocking. Raises BundleError."""
    certificate, _ = read_certificate(place)
    return trio.run(_ask_venues, config, place, certificate.window, certificate.feeds)


async def _ask_venues(
    config: Config, place: Path, window: Window, proofs: list[FeedProof]
) -> list[VenueAnswer]:
    answers: dict[str, VenueAnswer] = {}
    async with RestClient(config, random.Random()) as rest, trio.open_nursery() as nursery:

        async def ask(proof: FeedProof) -> None:
            answers[proof.feed] = await _ask_venue(config, rest, place, window, proof)

        for proof in proofs:
            if proof.instruments:
                nursery.start_soon(ask, proof)
    return [answers[proof.feed] for proof in proofs if proof.feed in answers]


async def _ask_venue(
    config: Config, rest: RestClient, place: Path, window: Window, proof: FeedProof
) -> VenueAnswer:
    clock, spec = SystemClock(), FEEDS_BY_NAME[proof.feed]
    shown = []
    for one in proof.instruments:
        instrument = Instrument(
            feed=proof.feed, venue_symbol=one.venue_symbol, symbol=one.symbol, base="", quote="",
            coin="", contract_value=one.contract_value, price_exponent=one.price_exponent,
        )  # fmt: skip
        shown.append(
            await ask_venue(
                rest, spec, instrument, window.from_ns, window.to_ns, clock.wall_ns(),
                has_api_key=config.feeds[proof.feed].api_key_file is not None,
            )
        )  # fmt: skip
    held = await trio.to_thread.run_sync(_held, place, proof.feed)
    found = compare(shown, held, window.from_ns, window.to_ns)
    if found.missing or found.different:
        answer, text = DIFFERS, f"{found.missing} rows not in the bundle, {found.different} others"
    elif found.error:
        answer, text = UNREAD, found.error
    elif found.reaches:
        answer, text = AGREES, f"all {found.shown} rows that it shows are in the bundle"
        if found.shown < proof.rows:
            answer, text = DIFFERS, f"it shows {found.shown} of {proof.rows} rows"
    else:
        answer = BEYOND
        text = f"it shows no trades so old; the {found.shown} rows that it shows agree"
    return VenueAnswer(
        feed=proof.feed, answer=answer, rows=proof.rows, shown=found.shown,
        missing=found.missing, different=found.different, text=text,
    )  # fmt: skip


def _held(place: Path, feed: str) -> dict[tuple[str, int, str], tuple[str, float, float]]:
    rows = (
        pl.scan_parquet(place / TRADES)
        .filter(pl.col("feed") == feed)
        .with_columns(pl.col("timestamp").cast(pl.Int64))
        .collect()
    )
    return held_of(rows.iter_rows(named=True))


# --- export and map -------------------------------------------------------------------------------


def export(place: Path, target: Path, form: ExportForm) -> Path:
    """Write a bundle's trades in another form; the same bytes each time. Raises BundleError.

    ``original`` is the layout of the JSON store: metadata.json and raw/<exchange>/spot.json and
    futures.json, ``null`` where there is no trade.
    """
    place_name = place.resolve().name
    read_certificate(place)
    out = target / place_name if form in ("original", "bundle") else target
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]) and out != target:
        raise UsageError(f"{out}: is there already")
    target.mkdir(parents=True, exist_ok=True)
    if form == "bundle":
        shutil.copytree(place, out)
        return out
    if form == "original":
        for feed in FEED_NAMES:
            exchange, _, market_type = feed.partition("_")
            content = (place / "raw" / f"{feed}.json").read_bytes()
            write_whole(
                out / "raw" / exchange / f"{market_type}.json",
                b"null\n" if content == b"[]\n" else content,
            )
        shutil.copyfile(place / "metadata.json", out / "metadata.json")
        return out
    path = target / f"{place_name}.{form}"
    if form == "parquet":
        shutil.copyfile(place / TRADES, path)
    else:
        pl.scan_parquet(place / TRADES).with_columns(
            pl.col("timestamp").cast(pl.Int64).alias("timestamp_ns")
        ).sink_csv(path, datetime_format="%Y-%m-%dT%H:%M:%S%.9fZ")
    return path


def map_coin(config: Config, coin: str, feed: str, verdict: str) -> CoinMap:
    """Note whether a feed's ticker is the coin. Raises BundleError, UsageError."""
    if feed not in FEED_NAMES:
        raise UsageError(f"{feed}: no such feed; there are {', '.join(FEED_NAMES)}")
    known = read_map(config.data_dir)
    of_coin = known.coins.setdefault(coin, {})
    if verdict == "forget":
        of_coin.pop(feed, None)
    else:
        of_coin[feed] = verdict
    if not of_coin:
        del known.coins[coin]
    content = msgspec.json.format(msgspec.json.encode(known, order="sorted")) + b"\n"
    write_whole(config.data_dir / MAP_FILE, content)
    return known


def report(place: Path, name: str) -> Path:
    """The report's file. Raises BundleError where this bundle has none."""
    path = place / name
    if not path.is_file():
        raise BundleError(f"{place.name}: has no {name}")
    return path
