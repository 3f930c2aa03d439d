from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pumpwatch.listing.window import (
    MOST_NS,
    PARTIAL_NS,
    UNREAD,
    Decision,
    FeedLook,
    WindowBook,
    WindowLife,
    windows_of,
)
from tests.listing.bundles import AT_NS, NS, WINDOW, event

KEY = event().key
GOOD = FeedLook(feed="okx_spot", followed_ns=WINDOW.to_ns)


def life(known_s: float = 3, **changes: object) -> WindowLife:
    return WindowLife(KEY, WINDOW, known_ns=AT_NS + int(known_s * NS), **changes)  # type: ignore[arg-type]


def test_nothing_is_decided_before_the_window_is_over() -> None:
    one = life()
    assert one.look(WINDOW.to_ns - 1, [GOOD]) is Decision.WAIT
    assert one.look(WINDOW.to_ns, [GOOD]) is Decision.COMPLETE


@pytest.mark.parametrize(
    "lack",
    [
        {"followed_ns": WINDOW.to_ns - 1},
        {"open_gaps": 1},
        {"is_asked": False},
        {"is_applied": False},
    ],
)
def test_one_feed_that_lacks_something_keeps_it_open_then_partial(lack: dict[str, int]) -> None:
    poor = msgspec.structs.replace(GOOD, feed="gate_spot", **lack)
    one = life()
    assert one.look(WINDOW.to_ns + 10 * NS, [GOOD, poor]) is Decision.WAIT
    assert one.missing == [poor.lacks(WINDOW)]
    assert poor.lacks(WINDOW).startswith("gate_spot: ")
    assert one.look(WINDOW.to_ns + PARTIAL_NS, [GOOD, poor]) is Decision.PARTIAL
    one.published(Decision.PARTIAL, WINDOW.to_ns)
    assert one.look(WINDOW.to_ns + 2 * PARTIAL_NS, [GOOD, poor]) is Decision.WAIT
    assert one.look(WINDOW.to_ns + 3 * PARTIAL_NS, [GOOD, GOOD]) is Decision.COMPLETE
    one.published(Decision.COMPLETE, WINDOW.to_ns)
    assert (one.state, one.revision, one.is_open) == ("complete", 2, False)


def test_a_feed_without_the_coin_is_not_waited_for() -> None:
    absent = FeedLook(feed="phemex_spot", is_listed=False, is_asked=False, is_applied=False)
    assert life().look(WINDOW.to_ns, [GOOD, absent]) is Decision.COMPLETE


def test_what_cannot_be_read_is_no_proof() -> None:
    one = life()
    assert one.look(WINDOW.to_ns, None) is Decision.WAIT
    assert one.missing == [UNREAD]
    assert one.look(WINDOW.to_ns, []) is Decision.WAIT


@pytest.mark.parametrize("late_s", [13, 16 * 60, 2 * 3600])
def test_detected_late_it_is_the_same_window_and_has_its_minute(late_s: float) -> None:
    one = life(late_s)
    known_ns = AT_NS + int(late_s * NS)
    poor = msgspec.structs.replace(GOOD, open_gaps=1)
    assert one.look(max(known_ns, WINDOW.to_ns) + PARTIAL_NS - 1, [poor]) is Decision.WAIT
    assert one.look(max(known_ns, WINDOW.to_ns) + PARTIAL_NS, [poor]) is Decision.PARTIAL
    assert life(late_s).look(max(known_ns, WINDOW.to_ns), [GOOD]) is Decision.COMPLETE


def test_looks_get_rarer_and_end() -> None:
    one = life()
    poor = msgspec.structs.replace(GOOD, open_gaps=1)
    waits = []
    for late_s in (0, 61, 700, 4000):
        at_ns = WINDOW.to_ns + late_s * NS
        one.look(at_ns, [poor])
        waits.append((one.next_ns - at_ns) // NS)
    assert waits == [1, 5, 60, 600]
    one.published(Decision.PARTIAL, one.kept_ns)
    assert not one.is_over(WINDOW.to_ns + MOST_NS)
    assert one.is_over(WINDOW.to_ns + MOST_NS + 1)


def test_windows_of_an_event() -> None:
    at = event(opening_ns=AT_NS + 7200 * NS)
    first, second = windows_of(at, before_s=20, after_s=30)
    assert (first.kind, first.from_ns, first.to_ns) == (
        "announcement", AT_NS - 20 * NS, AT_NS + 30 * NS + 1,
    )  # fmt: skip
    assert (second.kind, second.at_ns) == ("opening", AT_NS + 7200 * NS)
    assert len(windows_of(event(opening_ns=AT_NS), before_s=1, after_s=1)) == 1


def test_a_moved_time_cuts_the_window_anew_and_nothing_else_does() -> None:
    book = WindowBook(before_s=20, after_s=20)
    (first,) = book.put(event())
    assert book.put(event(revision=2, collected_trades=7)) == []
    (moved,) = book.put(event(announced_ns=AT_NS + 60 * NS, revision=3))
    assert moved.window.at_ns == AT_NS + 60 * NS
    assert (moved.state, moved.revision) == ("pending", 0)
    assert first.window.at_ns == AT_NS
    assert book.due(AT_NS + 120 * NS) == [moved]
    (opening,) = book.put(event(announced_ns=AT_NS + 60 * NS, opening_ns=AT_NS + 999 * NS))
    assert opening.window.kind == "opening"
    assert book.coins(AT_NS) == {"POD"}


def test_a_window_of_an_earlier_run_goes_on() -> None:
    book = WindowBook(before_s=20, after_s=20)
    (window,) = book.windows(event())
    book.resume(WindowLife(KEY, window, known_ns=AT_NS, state="complete", revision=3, is_kept=True))
    assert book.put(event()) == []
    assert book.due(AT_NS + 3600 * NS) == []
    assert book.next_ns(AT_NS) is None
    assert book.coins(AT_NS) == frozenset()


def test_an_hour_later_what_is_around_it_is_kept_too() -> None:
    one = life()
    assert one.look(WINDOW.to_ns, [GOOD]) is Decision.COMPLETE
    one.published(Decision.COMPLETE, WINDOW.to_ns)
    assert (one.next_ns, one.is_over(one.kept_ns)) == (one.kept_ns, False)
    assert one.look(one.kept_ns - 1, [GOOD]) is Decision.WAIT
    assert one.look(one.kept_ns, None) is Decision.KEEP
    one.published(Decision.KEEP, one.kept_ns)
    assert (one.state, one.revision) == ("complete", 2)
    assert one.is_over(one.kept_ns)
    late = life(7200)
    late.published(Decision.COMPLETE, AT_NS + 7200 * NS)
    assert late.is_over(AT_NS + 7200 * NS)


class AnyOrder(RuleBasedStateMachine):
    """Watermarks, holes, lists, edits and restarts in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.event = event()
        self.now_ns = AT_NS
        self.feeds = {
            name: FeedLook(feed=name) for name in ("okx_spot", "gate_spot", "phemex_spot")
        }
        self.start()
        self.disk: tuple[str, int, int] | None = None  # state, revision, window's centre

    def start(self) -> None:
        self.book = WindowBook(before_s=20, after_s=20)
        (self.life,) = self.book.put(self.event)

    @rule(name=st.sampled_from(["okx_spot", "gate_spot", "phemex_spot"]), data=st.data())
    def feed_changes(self, name: str, data: st.DataObject) -> None:
        changes = {
            "followed_ns": self.now_ns - data.draw(st.integers(0, 3)) * 10 * NS,
            "open_gaps": data.draw(st.integers(0, 1)),
            "is_applied": data.draw(st.booleans()),
            "is_asked": data.draw(st.booleans()),
            "is_listed": data.draw(st.sampled_from([True, True, True, False])),
        }
        self.feeds[name] = msgspec.structs.replace(self.feeds[name], **changes)

    @rule(seconds=st.integers(1, 50))
    def time_passes(self, seconds: int) -> None:
        self.now_ns += seconds * NS

    @rule(shift_s=st.integers(-30, 30).filter(bool))
    def notice_moves(self, shift_s: int) -> None:
        self.event = msgspec.structs.replace(
            self.event, announced_ns=self.event.announced_ns + shift_s * NS
        )
        (self.life,) = self.book.put(self.event)
        self.disk = None

    @rule()
    def restart(self) -> None:
        self.start()
        if self.disk is not None and self.disk[2] == self.life.window.at_ns:
            self.life = WindowLife(
                self.event.key, self.life.window, known_ns=self.event.detected_ns,
                state=self.disk[0], revision=self.disk[1],
            )  # fmt: skip
            self.book.resume(self.life)

    @precondition(lambda self: self.life.is_open)
    @rule(is_read=st.booleans())
    def look(self, is_read: bool) -> None:
        decision = self.life.look(self.now_ns, list(self.feeds.values()) if is_read else None)
        to_ns = self.event.announced_ns + 20 * NS
        if decision is Decision.COMPLETE:
            assert is_read
            for feed in self.feeds.values():
                proven = (
                    feed.followed_ns > to_ns and not feed.open_gaps
                    and feed.is_applied and feed.is_asked
                )  # fmt: skip
                assert proven or not feed.is_listed
        if decision is Decision.PARTIAL:
            assert self.now_ns >= to_ns + PARTIAL_NS
            assert self.life.missing
        if decision is not Decision.WAIT:
            self.life.published(decision, self.now_ns)
            self.disk = (self.life.state, self.life.revision, self.life.window.at_ns)

    @invariant()
    def an_open_window_is_a_candidate(self) -> None:
        is_begun = self.life.window.from_ns <= self.now_ns
        assert (self.book.coins(self.now_ns) == {"POD"}) == (self.life.is_open and is_begun)


TestAnyOrder = AnyOrder.TestCase


@given(st.integers(0, 10**6))
def test_due_is_never_later_than_next(late_s: int) -> None:
    book = WindowBook(before_s=20, after_s=20)
    book.put(event())
    now_ns = AT_NS + late_s * NS
    next_ns = book.next_ns(now_ns)
    assert next_ns is not None
    assert bool(book.due(now_ns)) == (next_ns <= now_ns)
