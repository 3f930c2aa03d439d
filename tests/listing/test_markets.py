"""The market lists: they confirm, they replace a notice that nobody saw, and they may be broken."""

from __future__ import annotations

import pytest

from pumpwatch.listing.notices import NS
from tests.listing.making import NOW_NS, OLD, TWO, Bench, upbit

COINS = {f"C{n}" for n in range(150)}


@pytest.fixture
def bench() -> Bench:
    """A detector that has seen Upbit's board and market list once."""
    bench = Bench()
    bench.web(0, *OLD)
    assert bench.coins(0, COINS).seeded == 150
    return bench


def test_a_new_market_without_a_notice_is_an_event_of_its_own(bench: Bench) -> None:
    bench.coins(5, COINS)
    bench.coins(10, COINS | {"A"})
    assert bench.settle().listed == []  # the board was last asked before
    bench.web(11, *OLD)
    found = bench.settle()
    assert [event.key for event in found.events] == [("upbit_markets", "KRW-A", "A")]
    event = found.events[0]
    assert event.announced_ns == event.detected_ns == NOW_NS + 10 * NS
    assert event.last_absent_ns == NOW_NS + 5 * NS - NS // 5
    assert bench.alerts == ["markets"]
    bench.coins(15, COINS | {"A"})
    assert bench.settle().listed == []


def test_a_market_whose_notice_was_seen_confirms_it(bench: Bench) -> None:
    bench.web(6, upbit(200, TWO, 5), *OLD)
    bench.coins(10, COINS | {"A", "B"})
    bench.web(12, upbit(200, TWO, 5), *OLD)
    assert bench.settle().listed == []
    assert bench.alerts == []
    assert bench.markets.coins("upbit") == COINS | {"A", "B"}


def test_a_notice_may_come_a_moment_after_its_market(bench: Bench) -> None:
    bench.coins(10, COINS | {"A", "B"})
    bench.web(11, upbit(200, TWO, 9.5), *OLD)
    assert bench.settle().listed == []
    assert [key[0] for key in bench.found()] == ["upbit", "upbit"]


def test_a_blind_board_is_not_waited_for(bench: Bench) -> None:
    bench.coins(10, COINS | {"A"})
    assert bench.settle(is_blind=False).listed == []
    assert [event.symbol for event in bench.settle(is_blind=True).events] == ["A"]


def test_the_other_boards_notice_explains_nothing(bench: Bench) -> None:
    bench.web(6, upbit(200, TWO, 5), *OLD)
    bench.coins(0, COINS, source="bithumb")
    bench.coins(10, COINS | {"A"}, source="bithumb")
    found = bench.settle(is_blind=True, source="bithumb")
    assert [event.source for event in found.events] == ["bithumb_markets"]


def test_a_market_that_waits_survives_a_restart(bench: Bench) -> None:
    bench.coins(10, COINS | {"A"})
    again = bench.restarted()
    again.coins(20, COINS | {"A"})
    again.web(21, *OLD)
    assert [event.symbol for event in again.settle().events] == ["A"]


def test_a_list_with_holes_is_not_believed_at_once(bench: Bench) -> None:
    part = set(sorted(COINS)[:100])
    bench.coins(10, part)
    bench.coins(20, part)
    bench.coins(30, COINS)
    assert bench.settle(is_blind=True).listed == []
    for at_s in (40, 50, 60):  # said three times it is true
        bench.coins(at_s, part)
    assert bench.markets.coins("upbit") == part
    bench.coins(70, part | {"C99"})
    assert [event.symbol for event in bench.settle(is_blind=True).events] == ["C99"]


def test_one_list_without_a_coin_is_no_delisting(bench: Bench) -> None:
    for at_s in (10, 20):
        bench.coins(at_s, COINS - {"C7"})
    bench.coins(30, COINS)
    assert bench.settle(is_blind=True).listed == []
    for at_s in (40, 50, 60):
        bench.coins(at_s, COINS - {"C7"})
    bench.coins(70, COINS)
    assert [event.symbol for event in bench.settle(is_blind=True).events] == ["C7"]


def test_very_many_new_markets_are_no_listings(bench: Bench) -> None:
    bench.coins(10, COINS | {f"N{n}" for n in range(11)})
    assert bench.settle(is_blind=True).listed == []
    assert bench.alerts == ["markets"]
    bench.coins(20, COINS | {f"N{n}" for n in range(21)})  # ten more: each is one
    assert len(bench.settle(is_blind=True).events) == 10
