from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pumpwatch.listing_view import LISTED_LATE_NS, choose
from pumpwatch.model import InstrumentState
from tests.listing.bundles import AT_NS, WINDOW, instrument


def state(valid_from_ns: int = 1, first_seen_ns: int = 1, **changes: Any) -> InstrumentState:
    return InstrumentState(
        instrument=instrument("okx_spot", **changes), valid_from_ns=valid_from_ns,
        first_seen_ns=first_seen_ns,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("one", "is_used", "note"),
    [
        (state(), True, ""),
        (state(status="halted"), True, ""),
        (state(status="prelaunch"), False, "prelaunch: it did not trade yet"),
        (state(status="ended", valid_from_ns=WINDOW.from_ns - 1), False, "ended before"),
        (state(status="ended", valid_from_ns=AT_NS), True, ""),
        (state(first_seen_ns=WINDOW.to_ns + LISTED_LATE_NS), False, "listed later"),
        (state(first_seen_ns=AT_NS), True, ""),
        (state(unit=1000, base="1000POD"), True, "1 1000POD = 1000 POD"),
    ],
)
def test_which_instruments_traded_in_the_window(
    one: InstrumentState, is_used: bool, note: str
) -> None:
    (used,) = choose([one], WINDOW)
    assert (used.is_used, used.note) == (is_used, note)


def test_a_symbol_is_taken_once_and_what_trades_goes_first() -> None:
    ended = state(status="ended", valid_from_ns=AT_NS, venue_symbol="A-OLD")
    trading = state(venue_symbol="B-NEW")
    other = msgspec.structs.replace(
        trading,
        instrument=instrument("okx_spot", venue_symbol="K", symbol="1000PODUSDT", unit=1000),
    )
    chosen = choose([ended, trading, other], WINDOW)
    used = [one.instrument.venue_symbol for one in chosen if one.is_used]
    assert used == ["B-NEW", "K"]
    (left,) = [one for one in chosen if not one.is_used]
    assert left.note == "the same as B-NEW"
