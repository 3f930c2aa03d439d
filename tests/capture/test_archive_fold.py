"""A daily file beside what is held: rows it adds, and when nothing of it is believed."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.capture.archive_fold import Folded, Stored, fold, values_of
from pumpwatch.venues.spec import RestTrade
from tests.capture.specs import instrument

ONE = msgspec.structs.replace(instrument("BTCUSDT"), contract_value="0.1")
FROM_NS, TO_NS = 1000, 2000


def trade(number: int, ns: int, price: str = "1.5", quantity: str = "3") -> RestTrade:
    return RestTrade(
        trade_id=str(number), order_id=number, sequence_number=number, side="buy", price=price,
        quantity=quantity, exchange_ns=ns,
    )  # fmt: skip


def stored(row: RestTrade) -> Stored:
    return Stored(str(row.trade_id), *values_of(row, ONE))


def ids(folded: Folded) -> list[str]:
    return [row.trade_id for row in folded.missing]


ROWS = [trade(number, number * 100) for number in range(5, 26)]
HELD = [stored(row) for row in ROWS if not 12 <= row.order_id <= 15]


@pytest.mark.parametrize("by_id", [True, False])
def test_what_only_the_file_has_is_missing(by_id: bool) -> None:
    folded = fold(ROWS, HELD, ONE, FROM_NS, TO_NS, by_id=by_id)
    assert ids(folded) == ["12", "13", "14", "15"]
    assert (folded.disagreements, folded.alone) == ([], 0)


@pytest.mark.parametrize("by_id", [True, False])
@pytest.mark.parametrize("at", [500, 1200, 1600, 2500])
def test_a_row_that_is_held_and_not_in_the_file_makes_it_unbelievable(by_id: bool, at: int) -> None:
    held = [*HELD, stored(trade(99, at, price="7"))]
    assert fold(ROWS, held, ONE, FROM_NS, TO_NS, by_id=by_id).disagreements


@pytest.mark.parametrize("by_id", [True, False])
@pytest.mark.parametrize("changes", [{"price": "9"}, {"quantity": "4"}, {"exchange_ns": 1701}])
def test_one_row_with_other_values_makes_it_unbelievable(
    by_id: bool, changes: dict[str, object]
) -> None:
    rows = [msgspec.structs.replace(row, **changes) if row.order_id == 17 else row for row in ROWS]
    assert fold(rows, HELD, ONE, FROM_NS, TO_NS, by_id=by_id).disagreements


@pytest.mark.parametrize("by_id", [True, False])
def test_rows_outside_of_the_hole_are_told_and_not_taken(by_id: bool) -> None:
    held = [one for one in HELD if one.trade_id != "23"]
    folded = fold(ROWS, held, ONE, FROM_NS, TO_NS, by_id=by_id)
    assert (ids(folded), folded.alone) == (["12", "13", "14", "15"], 1)
    assert not folded.disagreements


@given(st.lists(st.integers(0, 3), max_size=30), st.data())
def test_equal_rows_are_an_ordered_multiset(kinds: list[int], data: st.DataObject) -> None:
    """Of equal rows as many are missing as the file has more, whichever of them those are."""
    rows = [trade(at, 1500, quantity=str(kind + 1)) for at, kind in enumerate(kinds)]
    kept = data.draw(st.sets(st.sampled_from(range(len(rows))))) if rows else set()
    held = [msgspec.structs.replace(stored(rows[at]), trade_id=f"own-{at}") for at in kept]
    folded = fold(rows, held, ONE, FROM_NS, TO_NS, by_id=False)
    assert not folded.disagreements
    assert len(folded.missing) == len(rows) - len(kept)
    left = sorted(one.trade.quantity for one in folded.missing)
    assert left == sorted(row.quantity for at, row in enumerate(rows) if at not in kept)
