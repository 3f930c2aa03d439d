"""Cuts and withheld rows of every feed: all that the venue shows comes back, all else is told."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
import trio
from hypothesis import given, note, settings
from hypothesis import strategies as st

from pumpwatch.model import Gap
from tests._fast.driving import SECOND_NS
from tests.capture.desk import Desk
from tests.venues.rest_forms import FORMS, Form, Made

EVERY_FORM = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.feed)
BY_TIME = [one for one in FORMS if one.feed.partition("_")[0] in ("bybit", "kucoin", "phemex")]
EVERY_WITHOUT_COUNT = pytest.mark.parametrize("form", BY_TIME, ids=lambda form: form.feed)
SOME = settings(max_examples=25, deadline=None)


@st.composite
def cuts(draw: st.DrawFn, form: Form) -> tuple[list[Made], list[Made], list[Made]]:
    """Trades before, in and after a cut. Where ordinals are ids it lies between instants."""
    trades = draw(form.trades(size_max=24))
    places = [0, len(trades)] + [
        at
        for at, (one, other) in enumerate(pairwise(trades), 1)
        if form.has_ids or one.ns != other.ns
    ]
    begin, end = sorted(draw(st.tuples(st.sampled_from(places), st.sampled_from(places))))
    return trades[:begin], trades[begin:end], trades[end:]


def play(desk: Desk, before: Sequence[Made], lost: Sequence[Made], after: Sequence[Made]) -> None:
    desk.clock.now_ns = (before or lost or after)[0].ns - 20 * SECOND_NS
    desk.connect()
    desk.hear(before)
    desk.cut()
    desk.venue.trades += lost
    end_ns = after[0].ns if after else (lost[-1].ns + 1 if lost else desk.clock.now_ns)
    desk.connect(at_ns=max(end_ns, desk.clock.now_ns + 1))
    desk.hear(after)


def keys(desk: Desk, trades: Sequence[Made]) -> set[tuple[int, str]]:
    """Where the table has them: what a road of their own makes of them."""
    other = Desk(desk.form)
    other.connect()
    other.hear(trades)
    return other.stored()


def covers(gap: Gap, one: Made) -> bool:
    if gap.last_id:
        return gap.first_id <= one.number <= gap.last_id
    return gap.from_ns <= one.ns <= gap.to_ns


def check(desk: Desk, trades: Sequence[Made], *, is_deep: bool) -> None:
    """Each trade is stored under its key or lies in a lost hole, and nothing else is stored."""
    for gap in desk.holes:
        note(str(gap))
    wanted, stored = keys(desk, trades), desk.stored()
    assert stored <= wanted
    assert desk.ledger.open_gaps() == []
    lost = [gap for gap in desk.holes if gap.state == "lost"]
    if is_deep:
        assert stored == wanted
        assert lost == []
    for one in trades:
        if not keys(desk, [one]) & stored and not keys_of_instant(desk, trades, one) <= stored:
            assert any(covers(gap, one) for gap in lost), one
    filled = sum(gap.filled_rows for gap in desk.holes)
    backfilled = sum(line.symbols["origin"] == "backfill" for line in desk.lines())
    if not lost and not desk.feed.counts_up:
        assert filled == backfilled


def keys_of_instant(desk: Desk, trades: Sequence[Made], one: Made) -> set[tuple[int, str]]:
    """Ordinals need the whole instant."""
    return keys(desk, [other for other in trades if other.ns == one.ns])


@EVERY_FORM
@SOME
@given(data=st.data())
def test_all_that_was_cut_comes_back(form: Form, data: st.DataObject) -> None:
    before, lost, after = data.draw(cuts(form))
    desk = Desk(form)
    play(desk, before, lost, after)
    trio.run(desk.mend)
    check(desk, [*before, *lost, *after], is_deep=bool(before))


@EVERY_FORM
@SOME
@given(data=st.data())
def test_what_the_venue_does_not_show_is_lost_with_its_bounds(
    form: Form, data: st.DataObject
) -> None:
    before, lost, after = data.draw(cuts(form))
    desk = Desk(form, rows_max=data.draw(st.integers(1, 12)))
    play(desk, before, lost, after)
    trio.run(desk.mend)
    check(
        desk,
        [*before, *lost, *after],
        is_deep=bool(before) and not desk.backfill.asker.is_latest_only,
    )
