"""Every hole is known: one open or lost row for each missing id, whatever happens."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from pumpwatch._fast.sequence import Sequence
from pumpwatch.capture.ledger import (
    NOT_KEPT,
    NOT_OFFERED,
    PROOF_LAG_NS,
    READ_AGAIN,
    REORDER_NS,
    UNREAD_STEP_NS,
    Edge,
    Ledger,
    Position,
)
from pumpwatch.model import Gap, Hole
from tests.capture.specs import feed_spec

SECOND_NS = 10**9
START_NS = 1_790_000_000 * SECOND_NS
SPEC = feed_spec()
BTC = "BTCUSDT"


class Book:
    """A ledger, the table that its rows go to, and a clock that tests move."""

    def __init__(self) -> None:
        self.now_ns = START_NS
        self.table: dict[str, Gap] = {}
        self.runs = 0
        self.ledger = self.new_run()

    def new_run(self) -> Ledger:
        self.runs += 1
        self.ledger = Ledger(lambda: self.now_ns, self.write, f".{self.runs}")
        return self.ledger

    def write(self, rows: list[Gap]) -> None:
        for row in rows:
            known = self.table.get(row.gap_id)
            assert row.revision == (known.revision + 1 if known else 1)
            assert known is None or (known.opened_ns == row.opened_ns and known.is_open)
            self.table[row.gap_id] = row

    def load(self) -> None:
        """As a start reads the table; rows in it come in no order."""
        wanted = [
            gap
            for gap in self.table.values()
            if gap.is_open or gap.state == "lost" or gap.reason == NOT_OFFERED
        ]
        self.ledger.load(sorted(wanted, key=lambda gap: gap.gap_id[::-1]))

    def only(self) -> Gap:
        (gap,) = self.table.values()
        return gap

    def jump(self, first_id: int, last_id: int, cause: str = "id_jump", at_s: int = 0) -> None:
        at_ns = START_NS + at_s * SECOND_NS
        self.ledger.jump(
            SPEC,
            [
                Hole(
                    symbol=BTC, cause=cause, first_id=first_id, last_id=last_id,
                    from_ns=at_ns - SECOND_NS, to_ns=at_ns,
                )
            ],
        )  # fmt: skip

    def look(self, seen_from: int, seen_to: int, *missing: tuple[int, int]) -> None:
        self.ledger.look(SPEC.name, lambda symbol: (seen_from, seen_to, self.now_ns, [*missing]))


# --- a hole between ids ---------------------------------------------------------------------------


def test_a_jump_is_a_confirmed_row_at_once_and_due_a_little_later() -> None:
    book = Book()
    book.jump(101, 105)
    gap = book.only()
    assert (gap.state, gap.cause, gap.exact, gap.missing) == ("confirmed", "id_jump", True, 5)
    assert (gap.first_id, gap.last_id) == (101, 105)
    assert (gap.from_ns, gap.to_ns) == (START_NS - SECOND_NS, START_NS)
    assert (gap.exchange, gap.market_type, gap.symbol) == ("binance", "spot", BTC)
    assert book.ledger.due() == []
    book.now_ns += REORDER_NS
    assert book.ledger.due() == [gap]


def test_late_ids_close_their_own_hole() -> None:
    book = Book()
    book.jump(101, 105)
    book.look(1, 110, (103, 104))
    assert book.only().is_open
    assert book.ledger.remaining(book.only().gap_id) == [(103, 104)]
    book.look(1, 110)
    gap = book.only()
    assert (gap.state, gap.reason, gap.filled_rows, gap.missing) == ("filled", "late", 5, 5)
    assert gap.closed_ns == book.now_ns
    assert book.ledger.open_gaps() == []


def test_rows_of_rest_are_the_reason_where_they_are() -> None:
    book = Book()
    book.jump(101, 105)
    book.ledger.note_rest(book.only().gap_id, 2)
    book.look(1, 110)
    assert book.only().reason == "rest"


def test_what_the_road_forgot_is_not_taken_for_seen() -> None:
    book = Book()
    book.jump(101, 105)
    book.look(106, 500)  # 64 younger holes pushed it out
    assert book.only().is_open
    book.ledger.fill_ids(book.only().gap_id, 101, 104)
    assert book.ledger.remaining(book.only().gap_id) == [(105, 105)]
    book.ledger.fill_ids(book.only().gap_id, 105, 105)
    assert book.only().state == "filled"


def test_a_partly_filled_hole_splits_when_the_rest_is_lost() -> None:
    book = Book()
    book.jump(101, 200)
    book.look(1, 300, (111, 120), (131, 200))
    whole = book.only()
    book.ledger.lost(whole.gap_id, "beyond reach")
    rows = sorted((gap.first_id, gap.last_id, gap.state, gap.missing, gap.filled_rows)
                  for gap in book.table.values())  # fmt: skip
    assert rows == [
        (101, 110, "filled", 10, 10), (111, 120, "lost", 10, 0), (121, 130, "filled", 10, 10),
        (131, 200, "lost", 70, 0),
    ]  # fmt: skip
    assert {gap.opened_ns for gap in book.table.values()} == {whole.opened_ns}
    assert book.ledger.open_gaps() == []


def test_ids_that_the_venue_skips_are_empty_and_the_rest_stays_open() -> None:
    book = Book()
    book.jump(101, 110)
    book.ledger.empty(book.only().gap_id, NOT_OFFERED, ids=(104, 105))
    rows = sorted((gap.first_id, gap.last_id, gap.state, gap.reason, gap.missing)
                  for gap in book.table.values())  # fmt: skip
    assert rows == [
        (101, 103, "confirmed", "", 3), (104, 105, "empty", NOT_OFFERED, 0),
        (106, 110, "confirmed", "", 5),
    ]  # fmt: skip


def test_a_merged_message_is_a_hole_of_its_own_behind_a_cut() -> None:
    book = Book()
    book.ledger.cut(SPEC, [Edge(BTC, START_NS, 101)])
    book.ledger.bound(SPEC, [BTC], book.now_ns)
    book.jump(101, 104, "merged_range")
    states = sorted((gap.cause, gap.state, gap.reason) for gap in book.table.values())
    assert states == [("cut", "empty", "next_id"), ("merged_range", "confirmed", "")]


# --- cuts -----------------------------------------------------------------------------------------


def test_a_cut_is_open_until_the_symbol_is_carried_again() -> None:
    book = Book()
    alive_ns = START_NS + 60 * SECOND_NS
    book.ledger.cut(SPEC, [Edge(BTC, START_NS, 101), Edge("ETHUSDT")], alive_ns=alive_ns)
    btc, eth = book.table.values()
    assert (btc.state, btc.cause, btc.missing, btc.exact) == ("suspected", "cut", -1, False)
    assert (btc.from_ns, btc.to_ns) == (alive_ns - PROOF_LAG_NS, 0)
    assert (btc.first_id, btc.last_id, eth.first_id) == (101, 0, 0)
    assert book.ledger.due() == []
    book.ledger.bound(SPEC, [BTC], alive_ns + SECOND_NS)
    assert book.table[btc.gap_id].to_ns == alive_ns + SECOND_NS
    assert [gap.symbol for gap in book.ledger.due()] == [BTC]


def test_without_a_proof_of_life_a_cut_begins_at_the_last_row() -> None:
    book = Book()
    book.ledger.cut(SPEC, [Edge(BTC, START_NS - 7)])
    assert book.only().from_ns == START_NS - 7


def test_the_next_id_proves_a_cut_empty() -> None:
    book = Book()
    book.ledger.cut(SPEC, [Edge(BTC, START_NS, 101)])
    book.ledger.bound(SPEC, [BTC], START_NS + SECOND_NS)
    book.look(1, 100)
    assert book.only().is_open
    book.look(1, 101)
    assert (book.only().state, book.only().reason, book.only().missing) == ("empty", "next_id", 0)


def test_a_jump_makes_a_cut_exact() -> None:
    book = Book()
    book.ledger.cut(SPEC, [Edge(BTC, START_NS, 101)], cause="restart")
    book.ledger.bound(SPEC, [BTC], START_NS + SECOND_NS)
    book.jump(101, 150, at_s=3)
    gap = book.only()
    assert (gap.cause, gap.state, gap.exact, gap.missing) == ("restart", "confirmed", True, 50)
    assert (gap.first_id, gap.last_id) == (101, 150)
    assert (gap.from_ns, gap.to_ns) == (START_NS + 2 * SECOND_NS, START_NS + 3 * SECOND_NS)
    book.look(1, 151, (101, 150))
    assert book.only().is_open


def test_a_jump_further_up_leaves_the_cut_empty() -> None:
    book = Book()
    book.ledger.cut(SPEC, [Edge(BTC, START_NS, 101)])
    book.ledger.bound(SPEC, [BTC], START_NS + SECOND_NS)
    book.jump(103, 104)
    assert sorted((gap.cause, gap.state) for gap in book.table.values()) == [
        ("cut", "empty"), ("id_jump", "confirmed"),
    ]  # fmt: skip


def test_a_hole_whose_beginning_came_from_rest_stays_one_row() -> None:
    book = Book()
    book.ledger.cut(SPEC, [Edge(BTC, START_NS, 101)])
    book.ledger.note_rest(book.only().gap_id, 10)
    book.look(1, 110)
    assert book.only().is_open  # not proven empty: its ids came from REST
    book.jump(111, 120)
    gap = book.only()
    assert (gap.first_id, gap.last_id, gap.missing) == (101, 120, 20)
    assert book.ledger.remaining(gap.gap_id) == [(111, 120)]
    book.look(1, 121)
    assert (book.only().state, book.only().filled_rows) == ("filled", 20)


def test_two_cuts_without_a_row_between_are_one_hole() -> None:
    book = Book()
    for edge in (Edge(BTC, START_NS, 101), Edge("ETHUSDT", START_NS)):
        for number in range(2):
            book.ledger.cut(SPEC, [edge], alive_ns=START_NS + number * 60 * SECOND_NS)
            book.ledger.cut(SPEC, [edge])  # already open
            book.ledger.bound(SPEC, [edge.symbol], START_NS + number * 70 * SECOND_NS)
    assert [gap.to_ns for gap in book.table.values()] == [START_NS + 70 * SECOND_NS] * 2


def test_two_cuts_with_a_row_between_are_two_holes() -> None:
    book = Book()
    for edge in (Edge(BTC, START_NS), Edge(BTC, START_NS + 1)):
        book.ledger.cut(SPEC, [edge])
        book.ledger.bound(SPEC, [BTC], edge.last_ns)
    assert len(book.table) == 2


def test_a_hole_without_ids_can_be_parted_and_closed_in_parts() -> None:
    book = Book()
    book.ledger.cut(SPEC, [Edge(BTC, START_NS)])
    book.ledger.bound(SPEC, [BTC], START_NS + 60 * SECOND_NS)
    old = book.only().gap_id
    young = book.ledger.split(old, START_NS + 20 * SECOND_NS)
    book.ledger.lost(old, "REST reaches back 60 rows", estimate=40)
    book.ledger.fill(young, 60)
    rows = [(gap.from_ns - START_NS, gap.to_ns - START_NS, gap.state, gap.missing, gap.filled_rows)
            for gap in book.table.values()]  # fmt: skip
    assert sorted(rows) == [
        (0, 20 * SECOND_NS, "lost", 40, 0), (20 * SECOND_NS, 60 * SECOND_NS, "filled", 60, 60),
    ]  # fmt: skip
    assert [gap.exact for gap in book.table.values()] == [False, True]


# --- other causes ---------------------------------------------------------------------------------


def test_after_a_reset_old_ids_are_not_compared_with_new_ones() -> None:
    book = Book()
    book.jump(101, 105)
    book.jump(3, 3, "id_reset")
    book.look(3, 500)  # the new count has passed the old ids
    old, reset = book.table.values()
    assert (old.state, old.reason) == ("confirmed", "id_reset")
    assert (reset.cause, reset.state, reset.first_id, reset.missing) == (
        "id_reset", "suspected", 0, -1,
    )  # fmt: skip
    book.new_run()
    book.load()
    book.look(3, 500)
    assert {gap.gap_id for gap in book.ledger.open_gaps()} == {old.gap_id, reset.gap_id}


def test_an_unaligned_snapshot_belongs_to_the_cut_before_it() -> None:
    book = Book()
    book.ledger.cut(SPEC, [Edge(BTC, START_NS - 5 * SECOND_NS)])
    book.ledger.bound(SPEC, [BTC], START_NS - SECOND_NS)
    book.jump(0, 0, "unaligned")
    assert (book.only().cause, book.only().to_ns) == ("cut", START_NS)
    book.ledger.empty(book.only().gap_id, "two equal answers")
    book.jump(0, 0, "unaligned")
    assert [gap.cause for gap in book.ledger.open_gaps()] == ["unaligned"]


def test_unread_messages_are_one_growing_row_of_the_feed() -> None:
    book = Book()
    for second in range(60):
        book.ledger.unread(SPEC, START_NS + second * SECOND_NS)
    gap = book.only()
    assert (gap.symbol, gap.cause, gap.from_ns) == ("*", "quarantine", START_NS - PROOF_LAG_NS)
    assert gap.to_ns >= START_NS + 59 * SECOND_NS
    assert gap.revision <= 7
    book.ledger.unread(SPEC, gap.to_ns + UNREAD_STEP_NS)
    assert len(book.table) == 2
    assert book.ledger.due() == []  # REST has nothing to say about it


def test_messages_that_found_no_room_are_a_row_of_their_own_and_lost() -> None:
    book = Book()
    book.ledger.unread(SPEC, START_NS)
    book.ledger.unread(SPEC, START_NS + SECOND_NS, is_kept=False)
    book.ledger.unread(SPEC, START_NS + 2 * SECOND_NS)
    kept, lost = book.ledger.open_gaps()
    assert (kept.reason, lost.reason) == ("", NOT_KEPT)
    book.now_ns = lost.to_ns
    book.look(0, 0)
    assert len(book.ledger.open_gaps()) == 2  # it may still grow
    book.now_ns = lost.to_ns + 1
    book.look(0, 0)
    assert book.ledger.open_gaps() == [kept]
    assert book.table[lost.gap_id].state == "lost"


@pytest.mark.parametrize(("rows", "state"), [(7, "filled"), (0, "empty")])
def test_messages_that_are_read_again_close_their_row(rows: int, state: str) -> None:
    book = Book()
    book.ledger.unread(SPEC, START_NS)
    gap_id = book.only().gap_id
    book.ledger.read_again(gap_id, rows, is_all=False)
    assert (book.only().state, book.only().filled_rows) == ("suspected", rows)
    book.ledger.read_again(gap_id, 0, is_all=True)
    last = book.table[gap_id]
    assert (last.state, last.filled_rows, last.reason) == (state, rows, READ_AGAIN)


def test_a_contract_value_row_is_not_for_rest() -> None:
    book = Book()
    book.ledger.suspect(SPEC, BTC, "contract_value", START_NS, START_NS + 5, "0.01 -> 0.1")
    assert book.ledger.due() == []
    assert book.only().reason == "0.01 -> 0.1"


# --- restarts -------------------------------------------------------------------------------------


def test_lower_revisions_of_the_table_are_ignored() -> None:
    book = Book()
    book.jump(101, 105)
    first = book.only()
    book.jump(111, 115)
    second = book.ledger.open_gaps()[1]
    book.look(1, 120, (111, 113))
    book.ledger.empty(second.gap_id, NOT_OFFERED, ids=(111, 112))
    known = book.ledger.open_gaps()
    assert book.table[first.gap_id].state == "filled"
    book.ledger.load([first, second])  # as they were when the query ran
    assert book.ledger.open_gaps() == known


def test_a_cut_that_a_crash_left_open_goes_on() -> None:
    book = Book()
    book.ledger.cut(SPEC, [Edge(BTC, START_NS, 101), Edge("ETHUSDT", START_NS)])
    book.new_run()
    book.load()
    book.now_ns += 60 * SECOND_NS
    book.ledger.cut(
        SPEC, [Edge(BTC, START_NS, 101), Edge("ETHUSDT", START_NS)], cause="restart",
        alive_ns=START_NS,
    )  # fmt: skip
    assert [gap.cause for gap in book.table.values()] == ["cut", "cut"]
    assert all(gap.to_ns == 0 for gap in book.ledger.open_gaps())


@pytest.mark.parametrize("is_jump", [False, True])
@pytest.mark.parametrize("next_id", [0, 101])
def test_a_table_that_answers_late_does_not_double_a_hole(next_id: int, is_jump: bool) -> None:
    book = Book()
    book.ledger.cut(SPEC, [Edge(BTC, START_NS, next_id)])
    old = book.only().gap_id
    book.new_run()
    book.now_ns += 60 * SECOND_NS
    book.ledger.cut(SPEC, [Edge(BTC, START_NS, next_id)], cause="restart", alive_ns=START_NS)
    book.ledger.bound(SPEC, [BTC], book.now_ns)
    if is_jump and next_id:
        book.jump(101, 150, at_s=61)
    book.load()
    (gap,) = book.ledger.open_gaps()
    assert gap.gap_id == old
    assert gap.to_ns
    assert (gap.state == "confirmed") == (is_jump and next_id > 0)
    (other,) = [row for row in book.table.values() if row.gap_id != old]
    assert (other.state, other.reason, other.missing) == ("empty", f"same hole as {old}", 0)


def test_missing_ids_without_a_row_get_one() -> None:
    book = Book()
    book.jump(101, 110)
    book.ledger.lost(book.only().gap_id, "beyond reach", ids=(101, 105))
    book.jump(201, 210)
    book.ledger.empty(book.ledger.open_gaps()[1].gap_id, NOT_OFFERED, ids=(205, 206))
    book.new_run()
    book.load()
    known = dict(book.table)
    missing = [(101, 110), (201, 210), (301, 305)]
    assert book.ledger.reconcile(SPEC, BTC, missing) == [(205, 206)]
    (fresh,) = [gap for name, gap in book.table.items() if name not in known]
    assert (fresh.first_id, fresh.last_id, fresh.cause, fresh.missing) == (301, 305, "restart", 5)


def test_new_rows_never_share_a_time_with_old_ones() -> None:
    book = Book()
    book.jump(101, 105)
    book.jump(107, 108)
    book.new_run()
    book.now_ns = START_NS - 60 * SECOND_NS  # the clock was put back
    book.load()
    book.jump(111, 115)
    assert len({gap.opened_ns for gap in book.table.values()}) == 3


# --- the law --------------------------------------------------------------------------------------


class World:
    """One symbol's venue, road and ledger, with everything that can go wrong between them."""

    def __init__(self) -> None:
        self.book = Book()
        self.sequence = Sequence()
        self.made = 0  # ids of the venue, 1 to here
        self.skipped: set[int] = set()  # that the venue never gave to a trade
        self.seen: set[int] = set()
        self.under_way: list[int] = []
        self.is_carried = True
        self.last_ns = 0
        self.deliver(self.make())

    def make(self) -> int:
        self.book.now_ns += SECOND_NS // 10
        self.made += 1
        return self.made

    def deliver(self, one: int) -> None:
        verdict, hole = self.sequence.observe(one, 0)
        last_ns, self.last_ns = self.last_ns, self.book.now_ns
        self.seen.add(one)
        if verdict == "jump":
            assert hole is not None
            self.book.ledger.jump(
                SPEC,
                [
                    Hole(
                        symbol=BTC, cause="id_jump", first_id=hole[0], last_id=hole[1],
                        from_ns=last_ns, to_ns=self.last_ns,
                    )
                ],
            )  # fmt: skip

    def position(self, symbol: str = BTC) -> Position:
        return (*self.sequence.seen, self.last_ns, self.sequence.missing)

    @property
    def edge(self) -> Edge:
        return Edge(BTC, self.last_ns, self.sequence.seen[1] + 1)

    # What happens.

    def trade(self, fates: list[str]) -> None:
        for fate in fates:
            one = self.make()
            if fate == "skipped":
                self.skipped.add(one)
            elif fate == "late":
                self.under_way.append(one)
            elif fate == "comes" and self.is_carried:
                self.deliver(one)

    def arrive(self, at: int) -> None:
        if self.under_way and self.is_carried:
            self.deliver(self.under_way.pop(at % len(self.under_way)))

    def cut(self) -> None:
        if self.is_carried:
            self.is_carried = False
            self.book.ledger.cut(SPEC, [self.edge], alive_ns=self.book.now_ns)

    def connect(self) -> None:
        if not self.is_carried:
            self.is_carried = True
            self.book.ledger.bound(SPEC, [BTC], self.book.now_ns)

    def look(self) -> None:
        self.book.ledger.look(SPEC.name, self.position)

    def ask_rest(self, share: float) -> None:
        """The first part of each confirmed hole, as REST has it; skipped ids are told as such."""
        for gap in self.book.ledger.due():
            if not gap.last_id or not self.is_open(gap):
                continue
            for first, last in self.book.ledger.remaining(gap.gap_id):
                upto = first + int((last - first) * share)
                for one in range(first, upto + 1):
                    if one in self.skipped:
                        self.skip(one)
                    elif one not in self.seen:
                        self.deliver(one)
                        if self.is_open(gap):
                            self.book.ledger.note_rest(gap.gap_id, 1)
                        self.under_way = [two for two in self.under_way if two != one]
                self.look()

    def is_open(self, gap: Gap) -> bool:
        return self.book.table[gap.gap_id].is_open

    def skip(self, one: int) -> None:
        for gap in self.book.ledger.open_gaps():
            if gap.last_id and gap.first_id <= one <= gap.last_id:
                assert self.sequence.forget(one, one)
                self.book.ledger.empty(gap.gap_id, NOT_OFFERED, ids=(one, one))

    def give_up(self) -> None:
        for gap in self.book.ledger.open_gaps()[:1]:
            if gap.last_id:
                self.look()
            if gap.last_id and self.is_open(gap):
                self.book.ledger.lost(gap.gap_id, "beyond reach")

    def restart(self, loads_late: bool) -> None:
        """The position comes back from the spool, the ledger from the table."""
        self.is_carried = False
        self.book.new_run()
        if not loads_late:
            self.book.load()
        self.book.ledger.cut(SPEC, [self.edge], cause="restart", alive_ns=self.book.now_ns)
        self.connect()
        self.trade(["comes", "lost", "comes"] if loads_late else ["comes"])
        if loads_late:
            self.book.load()
        missing = without_skipped(self.sequence.missing, self.skipped_and_told())
        self.book.ledger.reconcile(SPEC, BTC, missing)

    def skipped_and_told(self) -> set[int]:
        return {
            one for gap in self.book.table.values() if gap.reason == NOT_OFFERED
            for one in range(gap.first_id, gap.last_id + 1)
        }  # fmt: skip

    # What must hold.

    def check(self) -> None:
        upto = self.sequence.seen[1]
        told = self.skipped_and_told()
        missing = set(range(1, upto + 1)) - self.seen - told
        rows: dict[int, list[str]] = {}
        for gap in self.book.table.values():
            for one in range(gap.first_id, gap.last_id + 1) if gap.last_id else ():
                rows.setdefault(one, []).append(gap.state)
        for one in missing:
            assert len(rows.get(one, [])) == 1, (one, rows.get(one))
            assert rows[one][0] in ("suspected", "confirmed", "lost")
        for gap in self.book.table.values():
            if gap.state == "filled":
                assert gap.filled_rows == gap.missing == gap.last_id - gap.first_id + 1
        cuts = [gap for gap in self.book.ledger.open_gaps() if not gap.last_id]
        assert len({gap.first_id for gap in cuts}) == len(cuts)
        assert self.is_carried or any(gap.to_ns == 0 for gap in cuts)


def without_skipped(missing: list[tuple[int, int]], told: set[int]) -> list[tuple[int, int]]:
    return [(first, last) for first, last in missing if not set(range(first, last + 1)) <= told]


FATES = st.lists(st.sampled_from(["comes", "comes", "lost", "late", "skipped"]), max_size=8)
STEPS = st.one_of(
    FATES.map(lambda fates: ("trade", fates)),
    st.tuples(st.just("arrive"), st.integers(0, 9)),
    st.tuples(st.just("ask_rest"), st.sampled_from([0.0, 0.5, 1.0])),
    st.tuples(st.just("restart"), st.booleans()),
    st.sampled_from([("cut",), ("connect",), ("look",), ("give_up",)]),
)


@given(st.lists(STEPS, max_size=40))
@settings(max_examples=300, deadline=None)
def test_each_missing_id_is_in_one_open_or_lost_row(steps: list[tuple[object, ...]]) -> None:
    world = World()
    for name, *arguments in steps:
        getattr(world, str(name))(*arguments)
        event(str(name))
        world.check()
    # At the end all comes to light.
    world.connect()
    world.trade(["comes"])
    world.look()
    world.check()
    for gap in world.book.ledger.open_gaps():
        assert gap.last_id, msgspec.to_builtins(gap)
        assert world.book.ledger.remaining(gap.gap_id)
