"""Windows with rows on some feeds, and bundles of them, for tests of what proves them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pumpwatch.config import FEED_NAMES
from pumpwatch.listing.bundle import BundleDraft, bundle_name, seal
from pumpwatch.listing.certificate import Certificate, FeedEvidence, certify
from pumpwatch.listing.events import ListingEvent
from pumpwatch.listing.evidence import RestCheck, SymbolRows, Window
from pumpwatch.listing.signing import Signer
from pumpwatch.model import Gap, Instrument, Watermark
from pumpwatch.store.window_model import FeedAnswer, UsedInstrument

NS = 10**9
AT_NS = 1_790_000_000 * NS
WINDOW = Window(kind="announcement", at_ns=AT_NS, from_ns=AT_NS - 20 * NS, to_ns=AT_NS + 20 * NS)
SYMBOL = "PODUSDT"
IDS = {"binance": "contiguous", "okx": "contiguous", "bybit": "opaque", "kucoin": "opaque",
       "phemex": "none"}  # fmt: skip
SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def ids_of(feed: str) -> str:
    """What an id of a feed proves."""
    if feed.startswith("gate"):
        return "observed" if feed.endswith("futures") else "contiguous"
    return IDS[feed.partition("_")[0]]


def event(**changes: Any) -> ListingEvent:
    """A coin that was announced at ``AT_NS`` and seen 3 s later."""
    facts: dict[str, Any] = {
        "source": "upbit", "notice_id": "77", "symbol": "POD", "url": "https://upbit.com/77",
        "title": "돌핀(POD) 신규 거래지원 안내 (KRW 마켓)", "channel": "upbit_web",
        "announced_ns": AT_NS, "detected_ns": AT_NS + 3 * NS,
    }  # fmt: skip
    return ListingEvent(**{**facts, **changes})


def instrument(feed: str, **changes: Any) -> Instrument:
    """POD on a feed."""
    facts = {"venue_symbol": "POD-USDT", "symbol": SYMBOL, "base": "POD", "quote": "USDT"}
    return Instrument(**{"feed": feed, "coin": "POD", **facts, **changes})


def row(feed: str, at_s: float, number: int, **changes: Any) -> dict[str, Any]:
    """A trade so long after ``AT_NS``."""
    exchange, _, market_type = feed.partition("_")
    timestamp = AT_NS + int(at_s * NS)
    return {
        "timestamp": timestamp, "exchange": exchange, "market_type": market_type,
        "symbol": SYMBOL, "side": "buy", "price": 1.25, "quantity": 10.5,
        "trade_id": str(number), "sequence_number": number, "received_at": timestamp + 30_000_000,
        "origin": "stream", "kind": None, "venue_symbol": "POD-USDT", **changes,
    }  # fmt: skip


def frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows as an answer's frame, in canonical order."""
    names = ("timestamp", "exchange", "market_type", "symbol", "sequence_number", "trade_id")
    ordered = sorted(rows, key=lambda one: tuple(one[name] for name in names))
    times = {name: pl.Datetime("ns", "UTC") for name in ("timestamp", "received_at")}
    texts = {"kind": pl.String}
    return pl.DataFrame(ordered, schema_overrides={**times, **texts}, infer_schema_length=None)


def market(seed: int, feeds: Sequence[str] = FEED_NAMES) -> list[dict[str, Any]]:
    """Trades of a minute before to a minute after on each feed, numbered without a hole."""
    rng = random.Random(seed)
    rows = []
    for feed in feeds:
        at_s = -60.0
        for number in range(1000, 1000 + rng.randint(150, 250)):
            at_s += rng.expovariate(2.0)
            if at_s > 60:
                break
            price = round(rng.uniform(1.2, 1.3), 5)
            rows.append(row(feed, at_s, number, price=price, quantity=round(rng.random(), 4)))
    return rows


def evidence(
    feed: str, rows: Mapping[str, SymbolRows], sha256: str, **changes: Any
) -> FeedEvidence:
    """All is well on this feed, unless ``changes`` say otherwise."""
    answer = FeedAnswer(
        feed=feed, instruments=(UsedInstrument(instrument=instrument(feed)),),
        covered_from_ns=WINDOW.from_ns - NS, covered_to_ns=WINDOW.to_ns + NS,
    )  # fmt: skip
    mark = Watermark(feed=feed, symbol=SYMBOL, to_ns=WINDOW.to_ns + NS, proof="alive")
    facts: dict[str, Any] = {
        "answer": answer, "ids": ids_of(feed), "rows": rows, "sha256": sha256,
        "watermarks": (mark,), "rest": RestCheck(asked_ns=WINDOW.to_ns + 5 * NS, reaches=True),
    }  # fmt: skip
    return FeedEvidence(**{**facts, **changes})


def make_bundle(
    folder: Path, rows: Sequence[Mapping[str, Any]], *, pieces: int = 1,
    feed_changes: Mapping[str, Mapping[str, Any]] | None = None,
    bars: pl.DataFrame | None = None, kept_to_ns: int = WINDOW.to_ns,
) -> tuple[Path, Certificate]:  # fmt: skip
    """A whole, sealed bundle; ``bars``: 1-s bars of its past."""
    units = {(feed, SYMBOL): 1 for feed in FEED_NAMES}
    place = folder / bundle_name("POD", WINDOW)
    draft = BundleDraft(place, event(), WINDOW, FEED_NAMES, units)
    whole = frame(rows)
    step = -(-len(whole) // pieces)
    for number in range(pieces if rows else 0):
        draft.add(whole.slice(number * step, step))
    if bars is not None:
        draft.add_bars(bars)
    draft.end_rows()
    digests, prices, lags = draft.digests(), draft.prices_before(), draft.lags()
    feeds = []
    for feed in FEED_NAMES:
        tallies = {symbol: tally for (name, symbol), tally in draft.rows.items() if name == feed}
        least, median = lags.get(feed, (0, 0))
        facts = {"price": prices.get(feed, 0.0), "lag_ns_min": least, "lag_ns_median": median}
        changes = (feed_changes or {}).get(feed, {})
        feeds.append(evidence(feed, tallies, digests[feed], **{**facts, **changes}))
    certificate = certify(
        event(), WINDOW, feeds, software="3.0.0", revision=1, state="complete", missing=[],
        made_at_ns=WINDOW.to_ns + 6 * NS, kept_to_ns=kept_to_ns,
    )  # fmt: skip
    draft.write_facts(certificate, SIGNER)
    seal(place, SIGNER, place.name)
    return place, certificate


def gap(feed: str, **changes: Any) -> Gap:
    """A hole in the middle of the window."""
    exchange, _, market_type = feed.partition("_")
    facts: dict[str, Any] = {
        "gap_id": "1", "opened_ns": AT_NS, "exchange": exchange, "market_type": market_type,
        "symbol": SYMBOL, "cause": "cut", "from_ns": AT_NS - NS, "to_ns": AT_NS + NS,
    }  # fmt: skip
    return Gap(**{**facts, **changes})
