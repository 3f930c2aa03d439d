from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.capture.roster import SHRINKAGE_MAX, Changes, Roster
from pumpwatch.model import Instrument, InstrumentState
from tests.capture.specs import instrument, names

NOW_NS = 1_790_000_000 * 10**9


def take(roster: Roster, *listed: Instrument, at: int = 0, **statuses: str) -> Changes:
    known = {one.venue_symbol: one.status for one in listed} | statuses
    return roster.take(listed, known, NOW_NS + at)


def some(count: int, **changes: Any) -> list[Instrument]:
    return [instrument(name, **changes) for name in names(count)]


def shown(instruments: list[Instrument]) -> list[str]:
    return [one.venue_symbol for one in instruments]


def statuses(changes: Changes) -> dict[str, tuple[str, int]]:
    return {
        one.instrument.venue_symbol: (one.instrument.status, one.revision)
        for one in changes.states
    }  # fmt: skip


def test_the_first_list_adds_all_and_the_same_one_again_changes_nothing() -> None:
    roster = Roster()
    first = take(roster, *some(3))
    assert shown(first.added) == names(3)
    assert first.since_ns == 0
    assert {one.first_seen_ns for one in first.states} == {NOW_NS}
    again = take(roster, *some(3), at=5)
    assert again == Changes(since_ns=NOW_NS, added=[], begun=[], gone=[], revalued=[], states=[])


def test_a_new_one_is_added_when_it_is_first_named_also_before_it_trades() -> None:
    roster = Roster()
    take(roster, *some(2))
    new = instrument("NEWUSDT", status="prelaunch")
    early = take(roster, *some(2), new, at=1)
    assert shown(early.added) == ["NEWUSDT"]
    begun = take(roster, *some(2), instrument("NEWUSDT"), at=2)
    assert (shown(begun.added), shown(begun.begun)) == ([], ["NEWUSDT"])
    assert statuses(begun) == {"NEWUSDT": ("trading", 2)}
    (state,) = begun.states
    assert (state.first_seen_ns, state.valid_from_ns) == (NOW_NS + 1, NOW_NS + 2)


def test_a_halted_one_stays_and_one_that_ended_is_gone() -> None:
    roster = Roster()
    take(roster, *some(3))
    halted = take(roster, *some(2), C2USDT="halted")
    assert halted.gone == []
    assert statuses(halted) == {"C2USDT": ("halted", 2)}
    ended = take(roster, *some(1), C2USDT="halted", C1USDT="ended")
    assert shown(ended.gone) == ["C1USDT"]
    dropped = take(roster, *some(1))
    assert shown(dropped.gone) == ["C2USDT"]
    assert statuses(dropped) == {"C2USDT": ("ended", 3)}
    back = take(roster, *some(2))
    assert shown(back.added) == ["C1USDT"]


def test_an_entry_that_can_no_longer_be_read_is_not_gone() -> None:
    roster = Roster()
    take(roster, *some(2))
    assert take(roster, *some(1), C1USDT="trading").gone == []


def test_r21_a_list_that_shrinks_much_needs_a_second_one() -> None:
    roster = Roster()
    take(roster, *some(100))
    short = take(roster, *some(70), instrument("NEWUSDT"))
    assert (short.gone, short.held_back) == ([], 30)
    assert shown(short.added) == ["NEWUSDT"]  # additions are always believed
    assert set(statuses(short)) == {"NEWUSDT"}
    whole = take(roster, *some(100), instrument("NEWUSDT"))
    assert (whole.gone, whole.added, whole.held_back) == ([], [], 0)
    take(roster, *some(70))
    agreed = take(roster, *some(70))
    assert len(agreed.gone) == 31
    assert agreed.held_back == 0


def test_r21_only_what_both_lists_lack_is_gone() -> None:
    roster = Roster()
    take(roster, *some(100))
    take(roster, *some(100)[30:])
    second = take(roster, *some(100)[:70])
    assert (second.gone, second.held_back) == ([], 30)


def test_little_shrinkage_is_believed_at_once() -> None:
    roster = Roster()
    take(roster, *some(100))
    assert len(take(roster, *some(100 - SHRINKAGE_MAX)).gone) == SHRINKAGE_MAX
    few = Roster()
    take(few, *some(10))
    assert len(take(few, *some(1)).gone) == 9


def test_r13_a_contract_value_that_changes_is_told_with_both_lists_times() -> None:
    roster = Roster()
    take(roster, instrument("AUSDT", contract_value="0.01"))
    changes = take(roster, instrument("AUSDT", contract_value="0.1"), at=7)
    ((old, new),) = changes.revalued
    assert (old.contract_value, new.contract_value, changes.since_ns) == ("0.01", "0.1", NOW_NS)
    assert changes.states[0].valid_from_ns == NOW_NS + 7


def test_what_earlier_runs_wrote_is_not_written_again() -> None:
    known = [
        InstrumentState(instrument=one, valid_from_ns=NOW_NS - 9, first_seen_ns=NOW_NS - 99)
        for one in some(3, krw_upbit=True)
    ]  # fmt: skip
    roster = Roster(known)
    first = take(roster, *some(2, krw_upbit=None), instrument("NEWUSDT"), C2USDT="trading")
    assert shown(first.added) == ["C0USDT", "C1USDT", "NEWUSDT"]
    assert statuses(first) == {"NEWUSDT": ("trading", 1)}
    assert statuses(take(roster, *some(2))) == {"C2USDT": ("ended", 2), "NEWUSDT": ("ended", 2)}
    changed = take(roster, *some(2, krw_upbit=False))
    assert {one.revision for one in changed.states} == {2}
    assert {one.first_seen_ns for one in changed.states} == {NOW_NS - 99}


def test_r13_a_contract_value_that_changed_while_nobody_looked_is_told() -> None:
    old = instrument("AUSDT", contract_value="0.01")
    roster = Roster([InstrumentState(instrument=old, valid_from_ns=1, first_seen_ns=1)])
    changes = take(roster, instrument("AUSDT", contract_value="0.1"))
    assert (changes.since_ns, len(changes.revalued)) == (0, 1)


@given(st.lists(st.sets(st.sampled_from(names(60))), min_size=1, max_size=6))
def test_present_is_what_was_added_and_is_not_gone(lists: list[set[str]]) -> None:
    roster = Roster()
    present: set[str] = set()
    states: dict[str, tuple[int, int]] = {}
    for at, listed in enumerate(lists):
        changes = take(roster, *(instrument(name) for name in sorted(listed)), at=at)
        present |= set(shown(changes.added))
        present -= set(shown(changes.gone))
        assert present == set(roster.present) >= listed
        for one in changes.states:
            revision, valid_from_ns = states.get(one.instrument.venue_symbol, (0, 0))
            assert one.revision == revision + 1
            assert one.valid_from_ns > valid_from_ns
            states[one.instrument.venue_symbol] = (one.revision, one.valid_from_ns)
