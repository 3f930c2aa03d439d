from __future__ import annotations

import polars as pl
import pytest
from hypothesis import example, given

from pumpwatch.report.pumps import RISE_PERCENT, SPAN_NS, TRADES_MIN, find_pumps, rises
from tests.report.tapes import TICKS, Tick, tape


def naive_rises(trades: pl.DataFrame) -> list[tuple[int, float]]:
    """Every pair of every second."""
    rows = list(zip(trades["at_ns"], trades["price"], strict=True))
    found = []
    for first, (begin, _) in enumerate(rows):
        second = [price for at, price in rows[first:] if at < begin + SPAN_NS]
        pairs = [high / low for place, low in enumerate(second) for high in second[place:]]
        found.append((len(second), max(pairs)))
    return found


@given(TICKS)
def test_a_seconds_rise_is_that_of_its_best_pair(ticks: list[Tick]) -> None:
    trades = tape(ticks)
    found = rises(trades)
    expected = naive_rises(trades)
    assert found["count"].to_list() == [count for count, _ in expected]
    assert found["rise"].to_list() == pytest.approx([rise for _, rise in expected])


@given(TICKS)
@example([(n, 100 + n, 1, True) for n in range(5)])
def test_pumps_are_the_seconds_that_the_rule_names(ticks: list[Tick]) -> None:
    trades = tape(ticks)
    named = [
        at
        for at, (count, rise) in zip(trades["at_ns"], naive_rises(trades), strict=True)
        if count >= TRADES_MIN and rise >= 1 + RISE_PERCENT / 100
    ]
    pumps = find_pumps("okx_spot", trades, 0, 10.0)
    assert bool(pumps) == bool(named)
    for pump in pumps:
        assert pump.start_ns <= pump.peak_ns <= pump.end_ns
        assert pump.peak_price / pump.start_price - 1 == pytest.approx(pump.change_percent / 100)
        assert pump.change_percent >= RISE_PERCENT * (1 - 1e-12)
        assert pump.trades >= TRADES_MIN
        assert pump.volume_ratio is not None
        whole = 0.7 * pump.change_percent + 0.3 * pump.volume_ratio
        assert pump.intensity == pytest.approx(whole)
    # Pumps do not overlap, and every second that the rule names begins in one of them.
    ends = [(pump.crossed_ns - SPAN_NS, pump.end_ns) for pump in pumps]
    assert all(ends[n][1] <= pumps[n + 1].end_ns for n in range(len(pumps) - 1))
    assert all(any(low < at <= high for low, high in ends) for at in named)


@pytest.mark.parametrize(
    ("ticks", "pumps"),
    [
        ([(n * 100, 100 + n, 1, True) for n in range(5)], 1),
        ([(n * 100, 100 + n, 1, True) for n in range(4)], 0),  # four trades
        ([(n * 100, 104 - n, 1, True) for n in range(5)], 0),  # a fall
        ([(n * 300, 100 + n, 1, True) for n in range(9)], 1),  # 3 % within 900 ms
        ([(n * 400, 100 + n, 1, True) for n in range(9)], 0),  # too slow
        ([(k * 5_000 + n * 100, 100 + n, 1, True) for k in (0, 1) for n in range(5)], 2),
    ],
)
def test_what_is_a_pump(ticks: list[Tick], pumps: int) -> None:
    if pumps and ticks[1][0] == 300:
        ticks = [*ticks, *((at + 1, cents, 1, True) for at, cents, _, _ in ticks)]
    assert len(find_pumps("okx_spot", tape(ticks), 0, 0.0)) == pumps


def test_the_moment_is_the_trade_that_completes_the_rise() -> None:
    ticks = [(0, 100, 1, True), (10, 99, 1, True), (20, 101, 1, True), (30, 102, 1, True),
             (40, 104, 1, True), (50, 103, 1, True)]  # fmt: skip
    (pump,) = find_pumps("okx_spot", tape(ticks), 0, 0.0)
    assert pump.relative_ms == 30  # 102 over 99
    assert (pump.start_price, pump.peak_price) == (0.99, 1.04)
    assert pump.volume_ratio is None
    assert pump.intensity == pytest.approx(0.7 * pump.change_percent)
