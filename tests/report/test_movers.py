from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pumpwatch.listing.certificate import FeedProof
from pumpwatch.report.document import Pump
from pumpwatch.report.movers import BY_RECEIPT, BY_VENUE, rankings

MS = 1_000_000


def pump(feed: str, at_ms: float, here_ms: float | None = None) -> Pump:
    here = None if here_ms is None else int(here_ms * MS)
    at_ns = int(at_ms * MS)
    return Pump(
        feed=feed, symbol="PODUSDT", relative_ms=at_ms, crossed_ns=at_ns, crossed_received_ns=here,
        start_ns=at_ns, peak_ns=at_ns, end_ns=at_ns, start_price=1.0, peak_price=1.1,
        change_percent=10.0, trades=9, volume_quote=1.0, volume_ratio=None, intensity=7.0,
    )  # fmt: skip


def proof(feed: str, least_ms: float, median_ms: float) -> FeedProof:
    facts: dict[str, Any] = {
        "feed": feed, "grade": "proven", "reasons": [], "ids": "contiguous", "rows": 9,
        "sha256": "", "instruments": [], "gaps": [], "rest": None, "is_suspect_identity": False,
        "suspicion": "", "lag_ns_min": int(least_ms * MS), "lag_ns_median": int(median_ms * MS),
    }  # fmt: skip
    return msgspec.convert(facts, FeedProof)


PROOFS = [proof("okx_spot", 20, 25), proof("gate_spot", -5, 40), proof("bybit_spot", 0, 0)]


def test_who_is_nearer_than_both_errors_is_a_tie() -> None:
    for behind_ms, is_tie in ((25, True), (26, False)):
        pumps = [pump("okx_spot", 100), pump("gate_spot", 100 + behind_ms)]
        ranking = rankings(pumps, PROOFS, 0)[0]
        assert ranking.by == BY_VENUE
        assert [one.error_ms for one in ranking.movers] == [20, 5]
        assert ranking.movers[0].is_first
        assert ranking.movers[1].is_tie is is_tie
        assert ("tie" in ranking.verdict) is is_tie


def test_an_error_that_is_not_known_proves_nothing() -> None:
    ranking = rankings([pump("okx_spot", 0), pump("bybit_spot", 9_000)], PROOFS, 0)[0]
    assert ranking.movers[1].error_ms is None
    assert ranking.movers[1].is_tie


def test_by_our_clock_only_what_came_live_counts() -> None:
    pumps = [pump("okx_spot", 0, None), pump("gate_spot", 10, 60), pump("gate_spot", 5_000, 5_001)]
    by_venue, by_receipt = rankings(pumps, PROOFS, 0)
    assert [one.feed for one in by_venue.movers] == ["okx_spot", "gate_spot"]
    assert by_receipt.by == BY_RECEIPT
    assert [(one.feed, one.relative_ms) for one in by_receipt.movers] == [("gate_spot", 60)]
    assert by_receipt.movers[0].error_ms == pytest.approx(45)


def test_without_a_pump_nobody_was_first() -> None:
    assert [one.movers for one in rankings([], PROOFS, 0)] == [[], []]
