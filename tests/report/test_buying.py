from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.report.buying import ALL, FILL_NS_MAX, Tape, purchases
from tests.report.tapes import MS_NS, TICKS, Tick, tape


@given(TICKS, st.integers(-4_000, 4_000), st.floats(0.5, 500))
def test_a_buyer_takes_the_place_of_those_who_bought(
    ticks: list[Tick], at_ms: int, size: float
) -> None:
    trades = tape(ticks)
    quote, coins, end_ns = Tape(trades).buy(at_ms * MS_NS, size)
    left, got, end = size, 0.0, at_ms * MS_NS
    for one in trades.iter_rows(named=True):
        if one["is_buy"] and one["at_ns"] >= at_ms * MS_NS and left > 1e-9:
            taken = min(left, one["quote"])
            left, got, end = left - taken, got + taken / one["price"], one["at_ns"]
    assert quote == pytest.approx(size - left, abs=1e-6)
    assert coins == pytest.approx(got, abs=1e-6)
    if abs(left) > 1e-6 or quote == size:
        assert end_ns >= end
    prices = [one["price"] for one in trades.iter_rows(named=True) if one["is_buy"]]
    if coins > 1e-6:
        assert min(prices) * (1 - 1e-9) <= quote / coins <= max(prices) * (1 + 1e-9)


def test_who_cannot_buy_within_a_minute_is_told_what_there_was() -> None:
    late = FILL_NS_MAX // MS_NS + 1
    trades = tape([(0, 100, 40, True), (late + 100, 100, 9_999, True), (5, 100, 9_999, False)])
    found = purchases(trades, [("announcement", -100 * MS_NS)], (late + 200) * MS_NS)
    one = next(p for p in found if p.feed == ALL and p.delay_s == 0.1 and p.size_quote == 1_000)
    assert not one.is_filled
    assert one.filled_quote == 40
    assert one.fill_ms is None


def test_marks_beyond_what_is_held_are_not_known() -> None:
    trades = tape([(0, 100, 9, True), (200, 100, 99_999, True), (15_000, 110, 1, False)])
    found = purchases(trades, [("announcement", 0)], 20_000 * MS_NS)
    one = next(p for p in found if p.feed == ALL and p.delay_s == 0.1 and p.size_quote == 1_000)
    assert (one.price, one.fill_ms, one.slippage_percent) == (pytest.approx(1.0), 100, 0)
    assert one.mark_10_s_percent == pytest.approx(0)
    assert one.mark_60_s_percent is None
    assert {p.feed for p in found} == {ALL, "okx_spot"}
