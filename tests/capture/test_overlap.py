"""A list beside what is held: which rows are one, what is missing, how far the list reaches."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch._fast import parse_phemex
from pumpwatch.capture.overlap import (
    CLOCKS_APART_NS,
    Held,
    Listed,
    Mark,
    judge,
    match,
    name_rows,
    passed_by,
    plain,
    without_cut_instant,
)
from pumpwatch.venues.spec import RestTrade
from tests._fast.driving import NOW_NS, SECOND_NS, Drive
from tests.capture.desk import FORMS_BY_FEED, Desk

T = NOW_NS


def trade(trade_id: str | None, ns: int = T, *, price: str = "1", quantity: str = "1") -> RestTrade:
    return RestTrade(trade_id=trade_id, order_id=0, sequence_number=0, side="buy", price=price,
                     quantity=quantity, exchange_ns=ns)  # fmt: skip


def listed(*rows: tuple[str, int]) -> list[Listed]:
    return [Listed(trade(name, ns), name) for name, ns in rows]


# --- identity -------------------------------------------------------------------------------------

AMOUNTS = st.decimals(
    min_value=Decimal("0.000000001"), max_value=10**12, allow_nan=False, allow_infinity=False,
    places=9,
).map(lambda value: format(value, "f"))  # fmt: skip


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 2), st.booleans(), AMOUNTS, AMOUNTS), max_size=12),
    value=st.sampled_from(["1", "0.001", "25"]),
    exponent=st.integers(-8, 2),
)
def test_a_composed_id_is_the_roads_own(
    rows: list[tuple[int, bool, str, str]], value: str, exponent: int
) -> None:
    """R6: what a list's rows are called is what the road writes for them."""
    drive = Drive(parse_phemex.FUTURES)
    drive.table.add("BTCUSDT", "BTCUSDT", value, exponent)
    trades = [
        RestTrade(trade_id=None, order_id=0, sequence_number=5, side="sell" if sells else "buy",
                  price=price, quantity=quantity, exchange_ns=T + at)
        for at, sells, price, quantity in sorted(rows)
    ]  # fmt: skip
    desk = Desk(FORMS_BY_FEED["phemex_futures"])
    named = name_rows(trades, desk.instrument(contract_value=value, price_exponent=exponent))
    for row in named:
        one = row.trade
        verdict = drive.road.take_backfill(
            "BTCUSDT", one.side, one.price, one.quantity, one.exchange_ns, None, 0, 5, "", T,
            row.ordinal,
        )  # fmt: skip
        assert verdict == "new"
    assert [line.fields["trade_id"] for line in drive.take()] == [row.trade_id for row in named]


def test_numbers_are_plain() -> None:
    assert plain("1.500") == "1.5"
    assert plain("1228700", exponent=-8) == "0.012287"
    assert plain("100") == "100"
    assert plain("0.0") == "0"
    assert plain("3", "0.01") == "0.03"
    assert plain("9" * 38, "0.000000001") == "9" * 29 + "." + "9" * 9


def test_of_a_list_that_was_cut_the_oldest_instant_is_not_believed() -> None:
    """R6: ordinals count from the list's oldest row, and there it may begin in the middle."""
    trades = [trade(None, T), trade(None, T), trade(None, T + 1)]
    rows = name_rows(trades, Desk(FORMS_BY_FEED["phemex_futures"]).instrument())
    assert [row.trade_id for row in rows] == ["buy-1-1-0", "buy-1-1-1", "buy-1-1-0"]
    assert without_cut_instant(rows) == rows[2:]
    assert without_cut_instant(listed(("a", T))) == listed(("a", T))
    assert without_cut_instant([]) == []


def test_equal_rows_are_matched_one_by_one() -> None:
    """A set would call the second of two equal trades held."""
    instrument = Desk(FORMS_BY_FEED["phemex_futures"]).instrument()
    rows = name_rows([trade(None, T), trade(None, T), trade(None, T + 1)], instrument)
    found = match(rows, [Held(T, "buy-1-1-0"), Held(T + 1, "buy-1-1-0", is_stream=False)])
    assert found.marks == [Mark.STREAMED, Mark.MISSING, Mark.BACKFILLED]
    assert found.times_apart == 0


def test_one_id_with_two_times_is_held_and_told() -> None:
    """R4: sent again it would be stored twice, for the time is part of the key."""
    found = match(listed(("a", T), ("b", T + 1)), [Held(T + 5, "a"), Held(T + 1, "b")])
    assert found.marks == [Mark.STREAMED, Mark.STREAMED]
    assert found.times_apart == 1


# --- judging --------------------------------------------------------------------------------------


def verdict(rows: list[Listed], held: list[Held], **changes: object):  # type: ignore[no-untyped-def]
    facts = {"from_ns": T, "to_ns": T + 100, "before": frozenset({"a"})} | changes
    return judge(match(rows, held), **facts)  # type: ignore[arg-type]


ROWS = listed(("a", T), ("b", T + 50), ("c", T + 100))


def test_a_list_that_reaches_past_both_edges_closes() -> None:
    found = verdict(ROWS, [Held(T, "a"), Held(T + 100, "c")])
    assert [row.trade_id for row in found.missing] == ["b"]
    assert found.closes
    assert not found.is_empty
    found = verdict(ROWS, [Held(T, "a"), Held(T + 50, "b", is_stream=False), Held(T + 100, "c")])
    assert found.is_empty


@pytest.mark.parametrize(
    ("rows", "held", "start", "end"),
    [
        (ROWS[1:], [Held(T + 100, "c")], False, True),  # begins behind the hole's beginning
        (ROWS[:2], [Held(T, "a")], True, False),  # ends before its end
        (ROWS, [Held(T, "a")], True, False),  # the row behind it came from nowhere yet
        (ROWS, [Held(T, "a"), Held(T + 100, "c", is_stream=False)], True, False),  # REST's own
        (listed(("z", T - 1), *[("c", T + 100)]), [Held(T + 100, "c")], True, True),
        ([], [], False, False),
    ],
)  # fmt: skip
def test_a_list_that_does_not_reach_closes_nothing(
    rows: list[Listed], held: list[Held], start: bool, end: bool
) -> None:
    """R2."""
    found = verdict(rows, held)
    assert (found.reaches_start, found.reaches_end) == (start, end)
    assert found.closes == (start and end)
    assert found.beyond_ns == (rows[0].exchange_ns if rows and not start else 0)


def test_one_instant_may_have_rows_on_both_sides() -> None:
    """A row that came after the hole proves nothing of its beginning, whatever its time is."""
    rows = listed(("c", T))
    found = verdict(rows, [Held(T, "c")], to_ns=T, before=frozenset({"a"}))
    assert not found.reaches_start
    found = verdict(listed(("a", T), ("b", T)), [Held(T, "a")], to_ns=T, before=frozenset({"a"}))
    assert found.reaches_start
    assert not found.reaches_end


def test_rows_behind_the_end_are_the_streams_to_bring() -> None:
    """Until it goes on behind them, they may be under way; then they are the hole's."""
    rows = listed(("a", T), ("b", T + 101), ("c", T + 102))
    assert verdict(rows, [Held(T, "a")]).missing == []
    found = verdict(rows, [Held(T, "a"), Held(T + 102, "c")])
    assert [row.trade_id for row in found.missing] == ["b"]
    late = listed(("a", T), ("b", T + 101 + CLOCKS_APART_NS), ("c", T + 102 + CLOCKS_APART_NS))
    held = [Held(T, "a"), Held(T + 102 + CLOCKS_APART_NS, "c")]
    assert verdict(late, held).missing == []


def test_while_it_is_open_everything_is_missing() -> None:
    found = verdict(ROWS, [Held(T, "a")], to_ns=0)
    assert [row.trade_id for row in found.missing] == ["b", "c"]
    assert not found.reaches_end


def test_times_of_another_clock_are_no_edge() -> None:
    """R4: then only rows that are held are."""
    rows = listed(("z", T - 1), ("c", T + 100))
    held = [Held(T + 100, "c")]
    assert verdict(rows, held).reaches_start
    assert not verdict(rows, held, by_id_only=True).reaches_start


# --- what the stream should have brought ----------------------------------------------------------


def test_a_row_is_withheld_when_a_later_one_came() -> None:
    read_ns = T + 200
    rows = listed(("a", T), ("b", T + 50), ("c", T + 100), ("d", T + 150))
    held = [Held(T, "a"), Held(T + 100, "c")]
    found = passed_by(match(rows, held), from_ns=T, read_ns=read_ns)
    assert [row.trade_id for row in found] == ["b"]  # d may be under way
    later_ns = T + 151 + CLOCKS_APART_NS
    found = passed_by(match(rows, held), from_ns=T, read_ns=later_ns)
    assert [row.trade_id for row in found] == ["b", "d"]
    assert passed_by(match(rows, held), from_ns=T + 150, read_ns=later_ns + SECOND_NS) == []
    # REST's own row is no sign of the stream.
    held = [Held(T, "a"), Held(T + 100, "c", is_stream=False)]
    assert passed_by(match(rows, held), from_ns=T, read_ns=read_ns) == []
