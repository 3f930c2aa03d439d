"""R13: rows on the wrong side of a contract's change are counted anew, once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.model import Gap
from pumpwatch.store.recount import change_of, recounted
from tests._fast.ilp_reading import read_lines

FROM_NS = 1_790_000_000_000_000_000
SECOND_NS = 10**9
TO_NS = FROM_NS + 10 * SECOND_NS  # when the list with the new value came
NOW_NS = TO_NS + 60 * SECOND_NS
GAP = Gap(
    gap_id="a", opened_ns=TO_NS, exchange="okx", market_type="futures", symbol="BTCUSDT",
    cause="contract_value", from_ns=FROM_NS, to_ns=TO_NS,
    reason="0.01 -> 0.1, price exponent 0 -> 0",
)  # fmt: skip


def row(second: float, received: float, quantity: float, **changes: Any) -> dict[str, Any]:
    return {
        "exchange_ns": FROM_NS + int(second * SECOND_NS), "exchange": "okx",
        "market_type": "futures", "symbol": "BTCUSDT", "side": "buy", "price": 0.1,
        "quantity": quantity, "trade_id": f"{second}", "sequence_number": 7, "origin": "stream",
        "kind": None, "received_ns": FROM_NS + int(received * SECOND_NS),
    } | changes  # fmt: skip


def counted(rows: list[dict[str, Any]], moment_s: float, gap: Gap = GAP) -> list[dict[str, Any]]:
    """The table after it."""
    change = change_of(gap)
    assert change is not None
    lines = recounted(rows, gap, change, FROM_NS + int(moment_s * SECOND_NS), NOW_NS)
    table = {(one["exchange_ns"], one["trade_id"]): dict(one) for one in rows}
    for line in read_lines(b"".join(lines)):
        stored = table[(line.timestamp_ns, line.fields["trade_id"])]
        assert {**line.symbols} == {
            name: stored[name]
            for name in ("exchange", "market_type", "symbol", "side", "origin", "kind")
            if stored[name]
        }
        for name in ("quantity", "price"):
            stored[name] = float(str(line.fields[name]))
        stored["received_ns"] = line.fields["received_at"]
    return list(table.values())


def test_rows_behind_the_moment_count_by_the_new_value() -> None:
    rows = [row(3, 3.1, 0.03), row(5, 5.1, 0.03), row(9.9, 9.95, 0.07)]
    found = counted(rows, 5)
    assert [one["quantity"] for one in found] == [0.03, 0.3, 0.7]
    assert [one["received_ns"] for one in found[1:]] == [NOW_NS, NOW_NS]


def test_rows_that_rest_brought_later_count_by_the_old_value() -> None:
    late = row(3, 30, 0.3, origin="backfill", kind="rpi")
    found = counted([late, row(9, 30, 0.3)], 5)
    assert [one["quantity"] for one in found] == [0.03, 0.3]


def test_prices_change_with_the_exponent() -> None:
    gap = msgspec.structs.replace(GAP, reason="1 -> 1, price exponent -8 -> -4")
    assert [one["price"] for one in counted([row(6, 6, 2.0, price=0.5)], 5, gap)] == [5000.0]


@given(
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 40), st.integers(1, 10**6))),
    st.floats(0, 10),
)
def test_a_second_run_finds_nothing_to_do(
    facts: list[tuple[float, float, int]], moment_s: float
) -> None:
    rows = [
        row(at, at + late, contracts / 100, trade_id=str(number))
        for number, (at, late, contracts) in enumerate(facts)
    ]
    once = counted(rows, moment_s)
    change = change_of(GAP)
    assert change is not None
    assert recounted(once, GAP, change, FROM_NS + int(moment_s * SECOND_NS), NOW_NS) == []


@pytest.mark.parametrize("reason", ["", "1 -> 2"])
def test_a_row_that_does_not_tell_the_change_is_none(reason: str) -> None:
    assert change_of(msgspec.structs.replace(GAP, reason=reason)) is None
