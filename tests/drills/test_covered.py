"""Which absent rows the ledger tells of."""

from __future__ import annotations

import polars as pl
import pytest

from pumpwatch.drills.covered import uncovered
from pumpwatch.drills.spooled import KEY_TYPES
from pumpwatch.model import Gap

ABSENT = pl.DataFrame(
    [("okx_spot", "BTCUSDT", "7", 100)], schema=KEY_TYPES, orient="row"
)  # fmt: skip


def gap(**facts: object) -> Gap:
    known = {"symbol": "BTCUSDT", "from_ns": 90, "to_ns": 110, "state": "suspected"} | facts
    return Gap(gap_id="1", opened_ns=1, exchange="okx", market_type="spot", cause="cut", **known)  # type: ignore[arg-type]


@pytest.mark.parametrize("state", ["suspected", "confirmed", "lost"])
@pytest.mark.parametrize("to_ns", [100, 110, 0])
def test_a_row_within_a_hole_is_told(state: str, to_ns: int) -> None:
    assert uncovered(ABSENT, [gap(state=state, to_ns=to_ns)]).is_empty()


@pytest.mark.parametrize(
    "facts",
    [
        {"symbol": "ETHUSDT"}, {"from_ns": 101}, {"to_ns": 99}, {"state": "filled"},
        {"state": "empty"},
    ],
    ids=str,
)  # fmt: skip
def test_any_other_hole_does_not_tell_it(facts: dict[str, object]) -> None:
    assert uncovered(ABSENT, [gap(**facts)]).rows() == ABSENT.rows()


def test_without_a_ledger_nothing_is_told() -> None:
    assert len(uncovered(ABSENT, [])) == 1
