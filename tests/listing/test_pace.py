"""When a board is asked again."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from pumpwatch.listing.pace import Pace, PaceRules, read_http_date, read_retry_after

EXACT = PaceRules(jitter=0.0)
NOW = datetime(2026, 11, 25, 8, 0, 0, tzinfo=UTC)


def test_refusals_double_from_30_s_to_10_min() -> None:
    pace = Pace(6.0, EXACT, random.Random(1))
    assert pace.good() == 6
    assert [pace.refused(None) for _ in range(7)] == [30, 60, 120, 240, 480, 600, 600]
    assert pace.good() == 6
    assert pace.refused(None) == 30


def test_retry_after_counts_before_our_own_figures() -> None:
    pace = Pace(6.0, EXACT, random.Random(1))
    assert pace.refused(90.0) == 90
    assert pace.refused(0.0) == 6  # never faster than the interval
    assert pace.refused(1e9) == 3600
    assert pace.refused(None) == 240  # the fourth in a row


def test_faults_are_asked_again_sooner() -> None:
    pace = Pace(6.0, EXACT, random.Random(1))
    assert [pace.failed() for _ in range(5)] == [6, 12, 24, 48, 60]
    assert pace.faults == 5
    assert Pace(300.0, EXACT, random.Random(1)).failed() == 300


@pytest.mark.parametrize("seed", range(20))
def test_jitter_only_adds(seed: int) -> None:
    pace = Pace(6.0, PaceRules(), random.Random(seed))
    assert 6 <= pace.good() <= 6.6
    assert 30 <= pace.refused(None) <= 33
    assert 90 <= pace.refused(90) <= 99


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        (format_datetime(NOW.replace(minute=2), usegmt=True), 120.0),
        (format_datetime(NOW.replace(hour=7), usegmt=True), 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
        (None, None),
        ("²", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert read_retry_after(value, NOW.timestamp()) == seconds


def test_http_dates() -> None:
    assert read_http_date("Wed, 25 Nov 2026 08:00:00 GMT") == NOW
    for broken in (None, "", "yesterday", "Wed, 25 Nov 2026 08:00:00"):
        assert read_http_date(broken) is None
