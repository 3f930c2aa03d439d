"""What is told: once, with its recovery, and not what something above explains."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch.alert_book import (
    CLEAR_S,
    DAY_S,
    SECOND_NS,
    AlertBook,
    Memory,
    Message,
    QuietHours,
)
from pumpwatch.alert_rules import RULES, Key, Rule, find_signals
from tests.standings import connection, feed, standing

START_NS = 20_000 * DAY_S * SECOND_NS + 12 * 3600 * SECOND_NS  # noon


def rule(name: str, severity: Any = "page", hold_s: float = 10, **more: Any) -> Rule:
    return Rule(name=name, severity=severity, hold_s=hold_s, help="", find=lambda _: (), **more)


PARENT = rule("parent")
CHILD = rule("child", hold_s=20, above=lambda _: (("parent", ""),))
SOFT = rule("soft", "notify", hold_s=0)
DAILY = rule("daily", "digest", hold_s=0, tells_recovery=False)
URGENT = rule("urgent", "notify", hold_s=0, is_urgent=True)
ALL = (PARENT, CHILD, SOFT, DAILY, URGENT)


class Teller:
    """Drives a book second by second."""

    def __init__(self, **options: Any) -> None:
        self.book = AlertBook(ALL, **options)
        self.now_ns = START_NS
        self.told: list[Message] = []
        self.silences: dict[str, int] = {}

    def pass_(self, seconds: int, *keys: Key) -> list[tuple[str, str]]:
        """So many seconds while these hold; returns what was told."""
        before = len(self.told)
        for _ in range(seconds):
            self.now_ns += SECOND_NS
            self.told += self.book.update(self.now_ns, dict.fromkeys(keys, "text"), self.silences)
        return [(message.kind, message.rule) for message in self.told[before:]]


P, C, S, D, U = ("parent", ""), ("child", "a"), ("soft", ""), ("daily", "a"), ("urgent", "")


def test_it_is_told_once_it_has_held_and_then_never_again() -> None:
    teller = Teller()
    assert teller.pass_(10, P) == []
    assert teller.pass_(500, P) == [("fired", "parent")]
    assert teller.pass_(int(CLEAR_S)) == []
    assert teller.pass_(2) == [("recovered", "parent")]
    assert teller.pass_(500) == []


def test_what_does_not_hold_is_never_told() -> None:
    teller = Teller()
    for _ in range(20):
        assert teller.pass_(9, P) + teller.pass_(1) == []


def test_repeats_are_folded_and_counted() -> None:
    teller = Teller()
    teller.pass_(20, P)
    for _ in range(10):
        assert teller.pass_(5) + teller.pass_(5, P) == []
    assert teller.pass_(60) == [("recovered", "parent")]
    assert "came back 10 times" in teller.told[-1].body


def test_something_that_flaps_is_told_ever_less() -> None:
    teller = Teller()
    for _ in range(60):
        teller.pass_(20, P)
        teller.pass_(40)
    assert Counter(m.kind for m in teller.told)["fired"] <= 4


def test_what_a_parent_explains_is_not_told() -> None:
    teller = Teller()
    assert teller.pass_(300, P, C) == [("fired", "parent")]
    assert teller.pass_(60) == [("recovered", "parent")]


def test_a_parent_that_is_only_waiting_holds_its_children_back() -> None:
    teller = Teller()
    assert teller.pass_(15, C) == []
    assert teller.pass_(100, P, C) == [("fired", "parent")]


def test_a_child_that_stays_when_its_parent_is_gone_is_told_then() -> None:
    teller = Teller()
    teller.pass_(100, P, C)
    assert teller.pass_(int(CLEAR_S) + 2, C) == [("recovered", "parent")]
    assert teller.pass_(15, C) == []
    assert teller.pass_(10, C) == [("fired", "child")]


def test_a_silence_holds_and_ends() -> None:
    teller = Teller()
    teller.silences["parent"] = START_NS + 100 * SECOND_NS
    assert teller.pass_(99, P) == []
    assert teller.book.alerts[P].state == "silenced"
    assert teller.pass_(5, P) == [("fired", "parent")]
    quiet = Teller()
    quiet.silences["child/a"] = START_NS + 10_000 * SECOND_NS
    assert quiet.pass_(100, C, ("child", "b")) == [("fired", "child")]
    assert quiet.told[0].subject == "b"


def test_quiet_hours_hold_back_what_can_wait_and_never_what_is_urgent() -> None:
    noon_s = 12 * 3600
    teller = Teller(quiet=QuietHours(noon_s - 60, noon_s + 100))
    told = teller.pass_(90, P, S, U)
    assert sorted(told) == [("fired", "parent"), ("fired", "urgent")]
    assert teller.pass_(20, P, S, U) == [("fired", "soft")]


@given(st.integers(0, DAY_S - 1), st.integers(0, DAY_S - 1), st.integers(0, DAY_S - 1))
def test_quiet_hours_may_span_midnight(from_s: int, to_s: int, now_s: int) -> None:
    holds = QuietHours(from_s, to_s).holds(now_s * SECOND_NS)
    length = (to_s - from_s) % DAY_S
    assert holds == ((now_s - from_s) % DAY_S < length)


def test_the_digest_comes_once_a_day_with_all_that_happened() -> None:
    teller = Teller(digest_at_s=12 * 3600 + 60)
    assert teller.pass_(30, D) == []
    assert teller.pass_(20, ("daily", "b")) == []
    assert teller.pass_(60, ("daily", "b")) == [("digest", "")]
    assert teller.told[-1].body == "daily: a: text\ndaily: b: text"
    assert teller.pass_(1000, ("daily", "b")) == []


def test_a_restart_tells_nothing_twice() -> None:
    teller = Teller()
    teller.pass_(50, P)
    kept = msgspec.json.decode(msgspec.json.encode(teller.book.memory()), type=Memory)
    teller.book = AlertBook(ALL, memory=kept)
    assert teller.pass_(100, P) == []
    assert teller.pass_(60) == [("recovered", "parent")]


steps = st.lists(
    st.tuples(st.sets(st.sampled_from([P, C, S, ("child", "b")])), st.integers(1, 60)),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps)
def test_every_firing_is_followed_by_one_recovery(course: list[tuple[set[Key], int]]) -> None:
    """Whatever happens: told and recovered alternate, and at the end nothing is left standing."""
    teller = Teller()
    for keys, seconds in course:
        teller.pass_(seconds, *sorted(keys))
    teller.pass_(2000)
    assert teller.book.alerts == {}
    by_key: dict[Key, list[str]] = {}
    for message in teller.told:
        by_key.setdefault((message.rule, message.subject), []).append(message.kind)
    for kinds in by_key.values():
        assert kinds == ["fired", "recovered"] * (len(kinds) // 2)


def test_all_feeds_cut_for_five_minutes_is_one_page_and_one_recovery() -> None:
    good = standing()
    cut_feeds = [
        feed(shown.feed, connections_open=0, subscribed=0, silent_s=70.0,
             connections=[connection(n, state="waiting", error="refused") for n in range(5)])
        for shown in good.feeds
    ]  # fmt: skip
    cut = msgspec.structs.replace(good, feeds=cut_feeds)
    book, now_ns, told = AlertBook(RULES), START_NS, []
    for second in range(1500):
        now_ns += SECOND_NS
        shown = good if second < 60 or second >= 360 else cut
        if 360 <= second < 372:  # feeds come back one after the other
            back = second - 360
            feeds = [*good.feeds[:back], *cut_feeds[back:]]
            shown = msgspec.structs.replace(good, feeds=feeds)
        told += book.update(now_ns, find_signals(shown), {})
    assert [(m.kind, m.rule, m.severity) for m in told] == [
        ("fired", "network_down", "page"),
        ("recovered", "network_down", "page"),
    ]
