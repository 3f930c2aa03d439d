"""The figures of one listing, from its bundle's rows. Sans I/O; the same rows, the same figures."""

from __future__ import annotations

import polars as pl

from pumpwatch.report.before import before, held_from, leak
from pumpwatch.report.buying import purchases
from pumpwatch.report.document import VERSION, Moments, Pump, Report
from pumpwatch.report.figures import buckets, feed_figures, largest, share_percent
from pumpwatch.report.material import SECOND_NS, Material, seconds_of
from pumpwatch.report.movers import BY_VENUE, rankings
from pumpwatch.report.pumps import find_pumps
from pumpwatch.report.words import finding_sentences, proof_sentences

NOTICE_RESOLUTION_MS = 1000  # the boards tell the second


def study(material: Material) -> Report:
    """All of it."""
    certificate, window, event = material.certificate, material.window, material.event
    at_ns = window.at_ns
    inside = material.inside
    counted = material.counted(inside)
    bars = material.counted(_bars(material))
    by_feed = {proof.feed: _pumps(material, inside, proof.feed) for proof in certificate.feeds}
    feeds = [
        feed_figures(
            proof, inside.filter(pl.col("feed") == proof.feed), at_ns, len(by_feed[proof.feed])
        )
        for proof in certificate.feeds
    ]
    pumps = sorted(
        (one for feed, found in by_feed.items() for one in found if feed not in material.suspects),
        key=lambda one: (one.crossed_ns, one.feed),
    )
    ranked = rankings(pumps, certificate.feeds, at_ns)
    first_ns = next((r.movers[0].at_ns for r in ranked if r.by == BY_VENUE and r.movers), 0)
    quote = float(counted["quote"].sum())
    bought = float(counted.filter("is_buy")["quote"].sum())
    detection_ms = (event.detected_ns - (event.announced_ns or event.detected_ns)) // 10**6
    # What is held of the minutes before: the coin's first second, or BTC's where it is earlier.
    past = bars.filter(pl.col("second") < 0)
    market = material.market.filter(pl.col("second") < 0)
    return Report(
        version=VERSION, software=certificate.software, source=event.source,
        notice_id=event.notice_id, symbol=event.symbol, title=event.title, url=event.url,
        kind=window.kind, at_ns=at_ns, from_ns=window.from_ns, to_ns=window.to_ns,
        kept_to_ns=certificate.kept_to_ns, state=certificate.state,
        revision=certificate.revision, verdict=certificate.verdict,
        proof=proof_sentences(certificate),
        findings=finding_sentences(
            event.symbol, len(counted), counted["feed"].n_unique(), pumps, ranked, detection_ms
        ),
        moments=Moments(
            announced_ns=event.announced_ns, announced_resolution_ms=NOTICE_RESOLUTION_MS,
            last_absent_ns=event.last_absent_ns, first_seen_ns=event.detected_ns,
            opening_ns=event.opening_ns, detection_ms=detection_ms, first_mover_ns=first_ns,
        ),
        trades=len(counted), volume_quote=quote, taker_buy_percent=share_percent(bought, quote),
        feeds=feeds, pumps=pumps, rankings=ranked,
        buckets=buckets(counted, at_ns, window.from_ns, window.to_ns),
        largest=largest(counted, at_ns), past_s=_held_s(past, market),
        before=before(past, market), leak=leak(past, market, seed=at_ns),
        purchases=purchases(
            material.counted(material.trades), _anchors(material, first_ns), _known_to_ns(material)
        ),
    )  # fmt: skip


def _bars(material: Material) -> pl.DataFrame:
    """The coin's seconds: from the view as far as only that is held, then from its trades."""
    return pl.concat([material.past, seconds_of(material.trades, material.window.at_ns)])


def _held_s(past: pl.DataFrame, market: pl.DataFrame) -> int:
    return -held_from(past, market) if len(past) or len(market) else 0


def _known_to_ns(material: Material) -> int:
    """Until then trades are held: the window's end, or the end of what is kept around it."""
    return max(material.certificate.kept_to_ns, material.window.to_ns)


def _pumps(material: Material, inside: pl.DataFrame, feed: str) -> list[Pump]:
    of_feed = pl.col("feed") == feed
    trades = inside.filter(of_feed)
    before_window = material.trades.filter(of_feed & (pl.col("at_ns") < material.window.from_ns))
    usual = 0.0
    if len(before_window):
        first_ns = int(before_window["at_ns"][0])
        held_s = max(1.0, (material.window.from_ns - first_ns) / SECOND_NS)
        usual = float(before_window["quote"].sum()) / held_s
    return find_pumps(feed, trades, material.window.at_ns, usual)


def _anchors(material: Material, first_mover_ns: int) -> list[tuple[str, int]]:
    """Moments that a buyer could have acted on, where trades are held from there on."""
    window, event = material.window, material.event
    anchors = [(str(window.kind), window.at_ns), ("detection", event.detected_ns)]
    if first_mover_ns:
        anchors.append(("first_mover", first_mover_ns))
    return [one for one in anchors if window.from_ns <= one[1] < _known_to_ns(material)]
