from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from pumpwatch.metrics import METRICS, buckets_of, render
from pumpwatch.rates import LAG_BUCKETS_S, LagHistogram
from pumpwatch.standing import DiskStanding, HistogramStanding, TierStanding, UpkeepStanding
from tests.standings import balance, database, standing, with_feed

ROOT = Path(__file__).parents[1]


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_names_keep_the_conventions() -> None:
    names = [metric.full_name for metric in METRICS]
    assert len(set(names)) == len(names)
    for metric in METRICS:
        assert re.fullmatch(r"pumpwatch_[a-z][a-z0-9_]*", metric.full_name)
        assert (metric.kind == "counter") == metric.name.endswith("_total")
        assert not re.search(r"_(ms|mib|minutes|percent)(_|$)", metric.name)


def test_every_metric_is_in_a_scrape() -> None:
    upkeep = UpkeepStanding(
        tiers=[TierStanding(name="cold", partitions=1, rows=2, bytes=3, oldest=None)],
        disks=[DiskStanding(name="spool", path="/", level="ok", used_share=0.5, free_bytes=9)],
        days_left=41.0, backup_age_s=60.0,
    )  # fmt: skip
    found = {name for name, _ in samples(render(standing(upkeep=upkeep)))}
    found |= {re.sub(r"_(bucket|count|sum)$", "", name) for name in found}
    unread = {"pumpwatch_alert_deliveries_total", "pumpwatch_page_requests_total"}  # nothing yet
    assert {metric.full_name for metric in METRICS} - found - unread == set()


def test_every_metric_is_in_operations() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    assert [m.full_name for m in METRICS if f"| `{m.full_name}` |" not in text] == []


def test_the_balance_is_shown_per_feed() -> None:
    shown = with_feed("okx_spot", balance=balance("okx_spot", 900, repeated=7, applied=850))
    found = samples(render(shown))
    label = (("feed", "okx_spot"),)
    assert found["pumpwatch_rows_parsed_total", label] == 900
    assert found["pumpwatch_rows_repeated_total", label] == 7
    assert found["pumpwatch_rows_applied_total", label] == 850
    assert found["pumpwatch_rows_pending", label] == 50
    assert found["pumpwatch_rows_applied_total", (("feed", "gate_spot"),)] == 1000


def test_what_is_not_known_is_left_out_and_not_zero() -> None:
    found = samples(render(with_feed("okx_spot", lag_ms=None, gaps_open=None)))
    assert ("pumpwatch_feed_lag_seconds", (("feed", "okx_spot"),)) not in found
    assert ("pumpwatch_gaps_open", (("feed", "okx_spot"),)) not in found
    assert found["pumpwatch_gaps_open", (("feed", "gate_spot"),)] == 0


@pytest.mark.parametrize(("state", "up"), [("up", 1), ("down", 0), ("suspended", 0)])
def test_database_up(state: str, up: int) -> None:
    assert (
        samples(render(standing(database=database(state=state))))["pumpwatch_database_up", ()] == up
    )


@given(st.lists(st.tuples(st.floats(0, 1000), st.integers(1, 1000)), max_size=50))
def test_buckets_are_cumulative_and_end_in_all(lags: list[tuple[float, int]]) -> None:
    histogram = LagHistogram()
    for lag_s, rows in lags:
        histogram.note(lag_s, rows)
    shown = HistogramStanding(
        edges_s=LAG_BUCKETS_S, counts=tuple(histogram.rows), sum_s=histogram.sum_s
    )
    buckets = buckets_of(shown)
    counts = [count for _, count in buckets]
    assert counts == sorted(counts)
    assert buckets[-1] == ("+Inf", sum(rows for _, rows in lags))
    for (edge, count), limit in zip(buckets, LAG_BUCKETS_S, strict=False):
        assert float(edge) == pytest.approx(limit)
        assert count == sum(rows for lag_s, rows in lags if lag_s < limit)
