"""Bundles of known shape, through the writer that makes the real ones.

A shape says what each feed's price does; rows are drawn from a seed, and lie on the grid that the
venue's own times have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from pumpwatch.config import FEED_NAMES
from pumpwatch.listing.bundle import BundleDraft, bundle_name, seal
from pumpwatch.listing.certificate import FeedEvidence, certify
from pumpwatch.listing.events import ListingEvent
from pumpwatch.listing.evidence import RestCheck, SymbolRows, Window
from pumpwatch.model import Instrument, Watermark
from pumpwatch.store.window_model import FeedAnswer, UsedInstrument
from tests.listing.bundles import NS, SIGNER, ids_of

MS_NS = 1_000_000
FIRST_NS = 1_780_000_000 * NS
VENUE_NAMES = {
    "binance_spot": "{}USDT", "binance_futures": "{}USDT", "bybit_spot": "{}USDT",
    "bybit_futures": "{}USDT", "okx_spot": "{}-USDT", "okx_futures": "{}-USDT-SWAP",
    "kucoin_spot": "{}-USDT", "kucoin_futures": "{}USDTM", "gate_spot": "{}_USDT",
    "gate_futures": "{}_USDT", "phemex_spot": "s{}USDT", "phemex_futures": "{}USDT",
}  # fmt: skip
CONTRACTS = {"okx_futures": "10", "kucoin_futures": "0.1", "gate_futures": "10"}
SCALES = {"phemex_spot": "0.00000001"}  # as its list gives it: no contract, a scale of the wire
PRICE_DECIMALS = 6


@dataclass(frozen=True)
class Move:
    """A feed's price: ``percent`` up within ``rise_ms``, from ``at_ms`` after the event on."""

    at_ms: float
    percent: float
    rise_ms: float = 2_000.0


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One event; times in seconds around its moment."""

    coin: str = "POD"
    source: str = "upbit"
    at_ns: int = FIRST_NS
    moves: Mapping[str, Move] = field(default_factory=dict)  # by feed; others stay where they are
    drift_percent: float = 0.0  # from drift_s before the event to it, all feeds together
    drift_s: float = 300.0
    noise_percent: float = 0.02  # of a single trade around the feed's price
    rate_per_s: float = 1.0  # of each feed
    window_rate_per_s: float = 0.0  # so many more in the 20 s around the event's moment
    before_s: float = 60.0
    after_s: float = 60.0
    feeds: Sequence[str] = FEED_NAMES
    price: float = 1.25
    seed: int = 1


def make_bundle(folder: Path, shape: Shape, **changes: Any) -> Path:
    """The whole, sealed bundle. ``changes`` go into the certificate."""
    at_ns = shape.at_ns
    window = Window(
        kind="announcement", at_ns=at_ns, from_ns=at_ns - 20 * NS, to_ns=at_ns + 20 * NS
    )
    symbol = f"{shape.coin}USDT"
    announced = ListingEvent(
        source=shape.source, notice_id=str(at_ns // NS % 100_000), symbol=shape.coin,
        url="https://upbit.com/77", title=f"이름({shape.coin}) 신규 거래지원 안내 (KRW 마켓)",
        channel=f"{shape.source}_web", announced_ns=at_ns, detected_ns=at_ns + 2 * NS + 345_678,
    )  # fmt: skip
    place = folder / bundle_name(shape.coin, window)
    draft = BundleDraft(
        place, announced, window, FEED_NAMES, {(feed, symbol): 1 for feed in shape.feeds}
    )
    draft.add(rows_of(shape))
    draft.end_rows()
    digests, prices, lags = draft.digests(), draft.prices_before(), draft.lags()
    feeds = [
        _evidence(
            feed, shape, window, draft.rows, sha256=digests[feed], price=prices.get(feed, 0.0),
            lags=lags.get(feed, (0, 0)),
        )
        for feed in FEED_NAMES
    ]  # fmt: skip
    facts: dict[str, Any] = {"state": "complete", "missing": [], "revision": 1}
    certificate = certify(
        announced, window, feeds, software="3.0.0", made_at_ns=window.to_ns + 6 * NS,
        kept_to_ns=at_ns + int(shape.after_s * NS), **{**facts, **changes},
    )  # fmt: skip
    draft.write_facts(certificate, SIGNER)
    seal(place, SIGNER, place.name)
    return place


def make_bundles(folder: Path, shapes: Iterable[Shape]) -> list[Path]:
    """One after the other."""
    return [make_bundle(folder, shape) for shape in shapes]


def rows_of(shape: Shape) -> pl.DataFrame:
    """All feeds' rows in canonical order, as the tables have them."""
    rng = np.random.default_rng(shape.seed)
    parts = [_feed_rows(shape, feed, rng) for feed in shape.feeds]
    order = ("timestamp", "exchange", "market_type", "symbol", "sequence_number", "trade_id")
    return pl.concat(parts).sort(order)


def _feed_rows(shape: Shape, feed: str, rng: np.random.Generator) -> pl.DataFrame:
    exchange, _, market_type = feed.partition("_")
    span_s = shape.before_s + shape.after_s
    count = max(2, rng.poisson(shape.rate_per_s * span_s))
    more = rng.poisson(shape.window_rate_per_s * 40)
    offsets_ms = np.sort(
        np.concatenate(
            [
                rng.integers(-int(shape.before_s * 1000), int(shape.after_s * 1000), count),
                rng.integers(-20_000, 20_000, more),
            ]
        )
    )
    count += int(more)
    traded = shape.at_ns + offsets_ms.astype(np.int64) * MS_NS
    factor = _path(shape, feed, offsets_ms / 1000) * (
        1 + rng.normal(0, shape.noise_percent / 100, count)
    )
    prices = np.round(shape.price * factor, PRICE_DECIMALS)
    contract = float(CONTRACTS.get(feed, "1"))
    quantities = np.round(rng.integers(1, 5_000, count) * contract, 3)
    first = int(rng.integers(10**6, 10**7))
    numbers = np.arange(first, first + count, dtype=np.int64)
    sides = np.where(rng.random(count) < 0.5, "buy", "sell")
    received = np.maximum.accumulate(traded + rng.integers(20, 60, count) * MS_NS)
    is_phemex = exchange == "phemex"
    ids = _phemex_ids(sides, prices, quantities, traded) if is_phemex else _ids(feed, numbers)
    frame = pl.DataFrame(
        {
            "timestamp": traded, "side": sides, "price": prices, "quantity": quantities,
            "sequence_number": numbers, "received_at": received,
        }
    ).with_columns(
        exchange=pl.lit(exchange), market_type=pl.lit(market_type),
        symbol=pl.lit(f"{shape.coin}USDT"), origin=pl.lit("stream"),
        kind=pl.lit(None, dtype=pl.String), trade_id=ids,
        venue_symbol=pl.lit(VENUE_NAMES[feed].format(shape.coin)),
    )  # fmt: skip
    return frame.with_columns(
        pl.col(name).cast(pl.Datetime("ns", "UTC")) for name in ("timestamp", "received_at")
    )


def _path(shape: Shape, feed: str, at_s: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The price over time, 1 at the beginning."""
    drifted = np.clip((at_s + shape.drift_s) / shape.drift_s, 0, 1) * shape.drift_percent / 100
    move = shape.moves.get(feed)
    moved = np.zeros_like(at_s)
    if move is not None:
        moved = np.clip((at_s * 1000 - move.at_ms) / move.rise_ms, 0, 1) * move.percent / 100
    path: npt.NDArray[np.float64] = (1 + drifted) * (1 + moved)
    return path


def _ids(feed: str, numbers: npt.NDArray[np.int64]) -> pl.Series:
    texts = [str(number) for number in numbers.tolist()]
    if feed == "bybit_futures":
        texts = [f"{number:08x}-0000-5000-8000-{number:012x}" for number in numbers.tolist()]
    return pl.Series(texts, dtype=pl.String)


def _phemex_ids(sides: Any, prices: Any, quantities: Any, traded: Any) -> pl.Series:
    """Side, price and size, and which of several equal ones of that nanosecond (R6)."""
    from pumpwatch.listing.canonical import number_text

    seen: dict[tuple[int, str], int] = {}
    found = []
    for side, price, quantity, at_ns in zip(
        sides.tolist(), prices.tolist(), quantities.tolist(), traded.tolist(), strict=True
    ):
        text = f"{side}-{number_text(price)}-{number_text(quantity)}"
        ordinal = seen[at_ns, text] = seen.get((at_ns, text), -1) + 1
        found.append(f"{text}-{ordinal}")
    return pl.Series(found, dtype=pl.String)


def _evidence(
    feed: str, shape: Shape, window: Window, rows: Mapping[tuple[str, str], SymbolRows], *,
    sha256: str, price: float, lags: tuple[int, int],
) -> FeedEvidence:  # fmt: skip
    symbol = f"{shape.coin}USDT"
    instrument = Instrument(
        feed=feed, venue_symbol=VENUE_NAMES[feed].format(shape.coin), symbol=symbol,
        base=shape.coin, quote="USDT", coin=shape.coin,
        contract_value={**CONTRACTS, **SCALES}.get(feed, "1"),
    )  # fmt: skip
    is_listed = feed in shape.feeds
    answer = FeedAnswer(
        feed=feed, instruments=(UsedInstrument(instrument=instrument),) if is_listed else (),
        covered_from_ns=window.from_ns - NS, covered_to_ns=window.to_ns + NS,
    )  # fmt: skip
    mark = Watermark(feed=feed, symbol=symbol, to_ns=window.to_ns + NS, proof="alive")
    return FeedEvidence(
        answer=answer, ids=ids_of(feed),
        rows={name: tally for (owner, name), tally in rows.items() if owner == feed},
        sha256=sha256, watermarks=(mark,), price=price, lag_ns_min=lags[0], lag_ns_median=lags[1],
        rest=RestCheck(asked_ns=window.to_ns + 5 * NS, reaches=True),
        absence="" if is_listed else "the venue lists no such coin",
    )  # fmt: skip
