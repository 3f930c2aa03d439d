"""The report's sentences: what is proven, what is not, and what happened. Sans I/O."""

from __future__ import annotations

from collections.abc import Sequence

from pumpwatch.listing.certificate import GRADES, Certificate, FeedProof
from pumpwatch.report.document import Pump, Ranking

MOMENTS = {"announcement": "the announcement", "opening": "the opening of trading"}
CLOCKS = {"venue": "the venues' clocks", "receipt": "our clock"}
REASONS_SHOWN = 2


def feeds_text(feeds: Sequence[FeedProof]) -> str:
    """``okx_spot, gate_spot``."""
    return ", ".join(feed.feed for feed in feeds)


def proof_sentences(certificate: Certificate) -> list[str]:
    """The first one says all; the others go grade by grade."""
    of: dict[str, list[FeedProof]] = {
        grade: [feed for feed in certificate.feeds if feed.grade == grade] for grade in GRADES
    }
    window = certificate.window
    before_s = (window.at_ns - window.from_ns) // 10**9
    after_s = (window.to_ns - window.at_ns) // 10**9
    span = f"from {before_s} s before to {after_s} s after {MOMENTS[window.kind]}"
    listed = len(certificate.feeds) - len(of["not_listed"])
    told = [_first(certificate, of, span, listed)]
    if of["covered"]:
        told.append(
            f"Nothing says that a trade is missing, though the venue's ids cannot prove it, on"
            f" {len(of['covered'])}: {feeds_text(of['covered'])}."
        )
    told += [
        f"A trade is missing or may be missing on {feed.feed}:"
        f" {'; '.join(feed.reasons[:REASONS_SHOWN])}."
        for feed in of["incomplete"]
    ]
    told += [f"{feed.feed}: {'; '.join(feed.reasons[:REASONS_SHOWN])}." for feed in of["archive"]]
    if of["not_listed"]:
        told.append(
            f"{len(of['not_listed'])} of the {len(certificate.feeds)} feeds had no such coin to"
            f" trade: {feeds_text(of['not_listed'])}."
        )
    suspects = [feed for feed in certificate.feeds if feed.is_suspect_identity]
    if suspects:
        told.append(
            f"{feeds_text(suspects)}: perhaps another coin of this name; its trades are kept, but"
            f" no figure of several feeds holds them."
        )
    if certificate.state == "partial":
        told.append(f"This version is not the last: {'; '.join(certificate.missing[:4])}.")
    return told


def _first(certificate: Certificate, of: dict[str, list[FeedProof]], span: str, listed: int) -> str:
    coin = certificate.symbol
    if not listed:
        return f"None of the twelve feeds had {coin} to trade {span}: there is nothing to prove."
    proven = len(of["proven"])
    if of["archive"]:
        return (
            f"Nobody recorded {coin} {span}: this is what the venues still had of it, on"
            f" {sum(feed.rows > 0 for feed in of['archive'])} of the {listed} feeds that trade it."
        )
    if of["incomplete"]:
        whole = proven + len(of["covered"])
        return (
            f"Not every trade of {coin} {span} is certain to be here: on {len(of['incomplete'])} of"
            f" the {listed} feeds that trade it something is missing or may be,"
            f" on {whole} nothing is{f', and {proven} of these are proven' if proven else ''}."
        )
    if proven == listed:
        return (
            f"It is proven that every trade of {coin} {span} is here, on all {listed} feeds that"
            f" trade it."
        )
    if not proven:
        return (
            f"Nothing says that a trade of {coin} {span} is missing, on any of the {listed} feeds"
            f" that trade it, but on none of them do the venue's ids prove it."
        )
    return (
        f"It is proven that every trade of {coin} {span} is here on {proven} of the {listed} feeds"
        f" that trade it; on the other {listed - proven} nothing says that one is missing."
    )


def finding_sentences(
    coin: str, trades: int, feeds: int, pumps: Sequence[Pump], ranked: Sequence[Ranking],
    detection_ms: int,
) -> list[str]:  # fmt: skip
    """What happened."""
    told = [f"{trades:,} trades on {feeds} feeds; the notice was seen {seconds_text(detection_ms)}"
            f" after its time."]  # fmt: skip
    if not pumps:
        told.append(f"{coin} rose by 3 % within a second on no feed.")
        return told
    most = max(pumps, key=lambda pump: (pump.change_percent, -pump.crossed_ns))
    moved = {pump.feed for pump in pumps}
    times = f"{len(pumps)} times" if len(pumps) > 1 else "once"
    told.append(
        f"{coin} rose by 3 % or more within a second {times}, on {len(moved)} feeds; most on"
        f" {most.feed}: {most.change_percent:.1f} % at {relative_text(most.relative_ms)}."
    )
    told += [f"First to move by {CLOCKS[one.by]}: {one.verdict}." for one in ranked if one.movers]
    return told


def seconds_text(duration_ms: float) -> str:
    """``340 ms``, ``2.4 s``, ``13 min``."""
    size = abs(duration_ms)
    if size < 1000:
        return f"{duration_ms:.0f} ms"
    return f"{duration_ms / 1000:.1f} s" if size < 120_000 else f"{duration_ms / 60_000:.0f} min"


def relative_text(relative_ms: float) -> str:
    """``-1.234 s``, ``+0.120 s``: after the window's centre."""
    return f"{relative_ms / 1000:+.3f} s"
