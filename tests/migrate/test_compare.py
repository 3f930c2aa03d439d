"""Two readings of a window: each kind of difference is counted once, on the right side."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.migrate.compare import DIFFERENCES_KEPT_MAX, SeenTrade, Tally, compare_feed


def seen(number: int, **changes: object) -> SeenTrade:
    trade = SeenTrade(
        trade_id=str(number), timestamp_ms=1_758_516_600_000 + number, side="buy", price=1.5,
        quantity=2.0,
    )  # fmt: skip
    return msgspec.structs.replace(trade, **changes)  # type: ignore[arg-type]


def test_equal_readings_are_equal() -> None:
    rows = [seen(n) for n in range(5)]
    found = compare_feed("okx_spot", rows, reversed(rows))
    assert (found.equal, found.differences, found.only_new, found.kept) == (5, 0, 0, [])


def test_each_difference_is_named_with_both_sides() -> None:
    old = [seen(1), seen(2), seen(3)]
    new = [seen(1, price=1.6, side="sell"), seen(3), seen(4)]
    found = compare_feed("okx_spot", old, new)
    assert (found.equal, found.differing, found.only_old, found.only_new) == (1, 1, 1, 1)
    assert found.fields == {"price": 1, "side": 1}
    assert found.kept == [
        {"feed": "okx_spot", "old": old[0], "new": new[0]},
        {"feed": "okx_spot", "old": old[1], "new": None},
    ]


def test_shares_by_feed_and_field() -> None:
    tally = Tally()
    tally.add([compare_feed("okx_spot", [seen(1), seen(2)], [seen(1), seen(2, price=9.0)])])
    tally.add([compare_feed("okx_spot", [seen(1), seen(2)], [seen(1)])])
    assert (tally.windows, tally.differences) == (2, 2)
    shares = tally.shares()["okx_spot"]
    assert shares["rows"] == 0.75
    assert shares["price"] == 1 - 1 / 3
    assert shares["side"] == 1.0


@given(st.lists(st.integers(0, 60), max_size=60), st.lists(st.integers(0, 60), max_size=60))
def test_nothing_is_counted_twice_or_forgotten(old: list[int], new: list[int]) -> None:
    found = compare_feed("x", map(seen, old), map(seen, new))
    assert found.equal + found.differing + found.only_old == len(old)
    assert found.equal + found.differing + found.only_new == len(new)
    assert found.differing == 0
    assert len(found.kept) == min(found.differences, DIFFERENCES_KEPT_MAX)
