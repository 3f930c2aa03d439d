"""What is called a repeat, a jump, a late id, a new count (R1), a merged range (R7)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pumpwatch._fast.instruments import InstrumentTable
from pumpwatch._fast.sequence import Sequence

MISSING_MAX = 64  # holes kept per instrument, sequence.pxd
SECOND_NS = 10**9
ID_MAX = 10**19 - 1  # the largest a venue's message can hold: 19 digits

# Steps forward, back and on the spot: orders with jumps, late ids and repeats.
id_orders = st.lists(st.integers(1, 60), min_size=1, max_size=80)
long_orders = st.lists(st.integers(1, 2_000), min_size=1, max_size=600)


def ids_of(holes: list[tuple[int, int]]) -> set[int]:
    return {number for first, last in holes for number in range(first, last + 1)}


@given(id_orders)
def test_agrees_with_a_naive_set_in_any_order(order: list[int]) -> None:
    # Few enough ids that no hole is ever forgotten: then the position is exactly a set.
    sequence = Sequence()
    seen: set[int] = set()
    start = order[0]
    for number in order:
        verdict, hole = sequence.observe(number)
        if not seen:
            assert (verdict, hole) == ("new", None)
        elif number < start:
            assert (verdict, hole) == ("new", None)  # before the start nothing is proven seen
            continue
        elif number in seen:
            assert (verdict, hole) == ("repeat", None)
        elif number < max(seen):
            assert (verdict, hole) == ("late", None)
        elif number == max(seen) + 1:
            assert (verdict, hole) == ("new", None)
        else:
            assert (verdict, hole) == ("jump", (max(seen) + 1, number - 1))
        seen.add(number)
        missing = ids_of(sequence.missing)
        assert missing | seen == set(range(start, max(seen) + 1))
        assert not missing & seen
        assert sequence.seen == (start, max(seen))


@given(long_orders)
def test_an_unseen_id_is_never_a_repeat_however_many_holes_there_are(order: list[int]) -> None:
    sequence = Sequence()
    went_on: set[int] = set()
    for number in order:
        verdict, _ = sequence.observe(number)
        assert verdict != "repeat" or number in went_on
        went_on.add(number)
        holes = sequence.missing
        assert len(holes) <= MISSING_MAX
        assert holes == sorted(holes)
        assert not ids_of(holes) & went_on
        assert all(first <= last for first, last in holes)
        assert all(sequence.seen[0] <= first <= last < sequence.seen[1] for first, last in holes)


def test_the_oldest_hole_is_forgotten_and_its_ids_go_on() -> None:
    sequence = Sequence()
    evens = range(2, 2 * (MISSING_MAX + 3), 2)
    assert [sequence.observe(number)[0] for number in evens] == ["new"] + ["jump"] * (
        len(evens) - 1
    )
    assert len(sequence.missing) == MISSING_MAX
    assert sequence.missing[0] == (5, 5)
    assert sequence.seen[0] == 4
    # 3 stood in the forgotten hole, 2 below it: neither is proven seen any more.
    assert [sequence.observe(number)[0] for number in (3, 2, 5, 5)] == [
        "new",
        "new",
        "late",
        "repeat",
    ]


def test_a_late_id_in_a_wide_hole_splits_it_also_when_there_is_no_place() -> None:
    sequence = Sequence()
    for number in range(10, 10 * (MISSING_MAX + 2), 10):
        sequence.observe(number)
    assert len(sequence.missing) == MISSING_MAX
    assert sequence.observe(15)[0] == "late"  # in the oldest: its lower part is forgotten
    assert sequence.missing[0] == (16, 19)
    assert sequence.observe(35)[0] == "late"  # in another: the oldest makes place
    assert sequence.missing[:3] == [(21, 29), (31, 34), (36, 39)]
    assert [sequence.observe(number)[0] for number in (15, 17, 35, 30)] == [
        "new",
        "new",
        "repeat",
        "repeat",
    ]


def test_ids_that_fall_while_times_rise_are_a_new_count() -> None:
    sequence = Sequence()
    for number in (1_000, 1_001, 1_005):
        sequence.observe(number, 100 * SECOND_NS)
    assert sequence.observe(1_001, 100 * SECOND_NS)[0] == "repeat"
    assert sequence.observe(7, 101 * SECOND_NS)[0] == "new"  # not more than 1 s: a straggler
    assert sequence.observe(7, 103 * SECOND_NS)[0] == "reset"
    assert sequence.seen == (7, 7)
    assert sequence.missing == []
    assert sequence.observe(8, 103 * SECOND_NS) == ("new", None)
    assert sequence.observe(7, 103 * SECOND_NS)[0] == "repeat"


def test_a_missing_id_that_comes_late_with_a_late_time_is_no_new_count() -> None:
    sequence = Sequence()
    sequence.observe(10, SECOND_NS)
    sequence.observe(20, SECOND_NS)
    assert sequence.observe(15, 60 * SECOND_NS)[0] == "late"
    assert sequence.seen == (10, 20)


def test_the_largest_ids() -> None:
    sequence = Sequence()
    assert sequence.observe(ID_MAX - 5)[0] == "new"
    assert sequence.observe(ID_MAX) == ("jump", (ID_MAX - 4, ID_MAX - 1))
    assert sequence.observe(ID_MAX)[0] == "repeat"


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 5)), min_size=1, max_size=60))
def test_ranges_and_single_ids_together_account_for_every_id(steps: list[tuple[int, int]]) -> None:
    # A step of width 0 is a single trade, a wider one a message that stands for width + 1 trades.
    sequence = Sequence()
    rows: set[int] = set()
    told: set[int] = set()
    start = 0
    for first, width in steps:
        merged = set(range(first, first + width + 1)) if width else set()
        if merged:
            skipped, news = sequence.observe_range(first, first + width)
            if news is not None:
                told |= ids_of([news])
                assert ids_of([news]) <= merged
            if skipped is not None:
                told |= ids_of([skipped])
            assert merged <= rows | told  # every id of it is held, or is known to be missing
        else:
            verdict, hole = sequence.observe(first)
            assert verdict != "repeat" or first in rows
            rows.add(first)
            told |= ids_of([hole]) if hole else set()
        start = start or min(rows | told)
        assert set(range(start, sequence.seen[1] + 1)) <= rows | told
        assert not ids_of(sequence.missing) & rows


def test_a_range_tells_its_own_ids_and_the_ones_skipped_before_it() -> None:
    sequence = Sequence()
    assert sequence.observe_range(5, 8) == (None, (5, 8))
    assert sequence.observe_range(5, 8) == (None, None)  # told before
    assert sequence.observe_range(11, 12) == ((9, 10), (11, 12))
    assert sequence.observe_range(12, 14) == (None, (13, 14))
    assert sequence.observe_range(3, 6) == (None, (3, 4))  # before the start: never seen, so told
    assert sequence.missing == [(5, 8), (9, 12), (13, 14)]
    assert sequence.observe(15)[0] == "new"
    assert sequence.observe(6)[0] == "late"  # it comes singly after all


def test_a_range_can_begin_a_new_count() -> None:
    sequence = Sequence()
    for number in (1_000, 1_001):
        sequence.observe(number, 100 * SECOND_NS)
    assert sequence.observe_range(990, 999, 100 * SECOND_NS) == (None, (990, 999))
    assert sequence.observe_range(1, 3, 200 * SECOND_NS) == (None, (1, 3))
    assert sequence.observe_range(1, 3, 200 * SECOND_NS) == (None, None)
    assert sequence.observe(4, 200 * SECOND_NS) == ("new", None)
    assert sequence.missing == [(1, 3)]


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), max_size=2 * MISSING_MAX))
def test_a_restored_position_calls_nothing_a_repeat_that_was_missing(
    steps: list[tuple[int, int]],
) -> None:
    # Also a list longer than a position holds, as a replay of records may build one.
    holes, at = [], 100
    for gap, width in steps:
        holes.append((at + gap, at + gap + width - 1))
        at += gap + width
    seen_to = at + 1
    table = InstrumentTable("binance", "spot")
    table.add("BTCUSDT", "BTCUSDT")
    assert table.restore("BTCUSDT", 100, seen_to, SECOND_NS, holes)
    seen_from, restored_to, last_ns, missing = table.position(0)
    assert (restored_to, last_ns) == (seen_to, SECOND_NS)
    assert missing == holes[-MISSING_MAX:]
    for number in ids_of(holes):
        assert number < seen_from or any(first <= number <= last for first, last in missing)
    assert seen_from == 100 or len(holes) > MISSING_MAX


@given(
    st.sets(st.integers(1, 120), min_size=2, max_size=60),
    st.lists(st.tuples(st.integers(1, 130), st.integers(-1, 20)), max_size=8),
)
def test_forgotten_ids_are_missing_no_more_and_nothing_else_changes(
    seen: set[int], forgotten: list[tuple[int, int]]
) -> None:
    sequence = Sequence()
    for number in sorted(seen):
        sequence.observe(number)
    missing = set(range(min(seen), max(seen) + 1)) - seen
    for first, width in forgotten:
        assert sequence.forget(first, first + width)
        missing -= set(range(first, first + width + 1))
        assert ids_of(sequence.missing) == missing
        assert sequence.missing == sorted(sequence.missing)
    assert sequence.seen == (min(seen), max(seen))
    for number in range(min(seen), max(seen) + 1):
        assert sequence.observe(number)[0] == ("late" if number in missing else "repeat")


def test_a_hole_is_not_split_where_there_is_no_place_for_its_parts() -> None:
    sequence = Sequence()
    for number in range(10, 10 * (MISSING_MAX + 2), 10):
        sequence.observe(number)
    before = sequence.missing
    assert len(before) == MISSING_MAX
    assert not sequence.forget(25, 25)
    assert sequence.missing == before
    assert sequence.forget(25, 35)  # of two holes an end each: no more of them
    assert sequence.missing[:3] == [(11, 19), (21, 24), (36, 39)]
