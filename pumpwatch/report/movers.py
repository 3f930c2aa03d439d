"""Who moved first, how far behind the others were, and how well that is known. Sans I/O.

Two clocks tell a trade's time: the venue's, and ours when it was here. Received minus traded is the
way and the difference of the clocks together, and both are unknown: the least of it in the window
bounds what the venue's time may be off, the median what ours is late. Where two feeds are nearer to
each other than their errors together, it is a tie.
"""

from __future__ import annotations

from collections.abc import Sequence

from pumpwatch.listing.certificate import FeedProof
from pumpwatch.report.document import Mover, Pump, Ranking

VENUE_ERROR_MS_MIN = 1.0  # what most venues' times are rounded to
BY_VENUE, BY_RECEIPT = "venue", "receipt"


def rankings(pumps: Sequence[Pump], proofs: Sequence[FeedProof], at_ns: int) -> list[Ranking]:
    """By the venues' clocks and by ours; the first pump of each feed counts."""
    first: dict[str, Pump] = {}
    for pump in pumps:
        first.setdefault(pump.feed, pump)
    lags = {proof.feed: proof for proof in proofs}
    by_venue = [(one.crossed_ns, _venue_error_ms(lags[feed]), feed) for feed, one in first.items()]
    by_receipt = [
        (one.crossed_received_ns, _receipt_error_ms(lags[feed]), feed)
        for feed, one in first.items()
        if one.crossed_received_ns is not None
    ]
    return [_rank(BY_VENUE, by_venue, at_ns), _rank(BY_RECEIPT, by_receipt, at_ns)]


def _is_measured(proof: FeedProof) -> bool:
    return bool(proof.lag_ns_min or proof.lag_ns_median)


def _venue_error_ms(proof: FeedProof) -> float | None:
    """How far the venue's clock may be off ours."""
    if not _is_measured(proof):
        return None
    return max(abs(proof.lag_ns_min) / 1e6, VENUE_ERROR_MS_MIN)


def _receipt_error_ms(proof: FeedProof) -> float | None:
    """How late it may have been here."""
    if not _is_measured(proof):
        return None
    return max(abs(proof.lag_ns_median), abs(proof.lag_ns_median - proof.lag_ns_min)) / 1e6


def _rank(by: str, times: Sequence[tuple[int, float | None, str]], at_ns: int) -> Ranking:
    ordered = sorted(times, key=lambda one: (one[0], one[2]))
    if not ordered:
        return Ranking(by=by, movers=[], verdict="no feed rose by 3 % within a second")
    lead_ns, lead_error, leader = ordered[0]
    movers = []
    for at, error, feed in ordered:
        behind_ms = (at - lead_ns) / 1e6
        is_tie = feed != leader and (
            error is None or lead_error is None or behind_ms <= error + lead_error
        )
        movers.append(
            Mover(
                feed=feed, at_ns=at, relative_ms=(at - at_ns) / 1e6, behind_ms=behind_ms,
                error_ms=error, is_first=feed == leader, is_tie=is_tie,
            )
        )  # fmt: skip
    ties = [one.feed for one in movers if one.is_tie]
    if ties:
        verdict = f"a tie within the error: {', '.join([leader, *ties])}"
    elif len(movers) == 1:
        verdict = f"{leader}, the only one"
    else:
        verdict = f"{leader}, {movers[1].behind_ms:.1f} ms before {movers[1].feed}"
    return Ranking(by=by, movers=movers, verdict=verdict)
