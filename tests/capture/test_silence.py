"""What a stream withholds is found by comparison, within its share of the budget (R11)."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from pumpwatch.capture.mend_by_time import HELD_MARGIN_NS
from pumpwatch.capture.overlap import CLOCKS_APART_NS
from pumpwatch.capture.silence import (
    BUDGET_SHARE,
    FRESH_S,
    QUIET_S,
    SilenceWatch,
    run_comparisons,
)
from pumpwatch.errors import VenueError
from tests._fast.driving import SECOND_NS
from tests.capture.desk import FORMS_BY_FEED, SYMBOL, Desk
from tests.capture.test_backfill import START_NS, made

WITHOUT_COUNT = ["bybit_spot", "bybit_futures", "kucoin_spot", "kucoin_futures", "phemex_spot",
                 "phemex_futures"]  # fmt: skip
CHECK_S = 60.0
COUNTING = ["binance_spot", "okx_futures", "gate_spot", "gate_futures"]


def watched(feed: str) -> tuple[Desk, SilenceWatch]:
    """A symbol that has been carried for a while, and trades each second."""
    desk = Desk(FORMS_BY_FEED[feed])
    desk.connect(at_ns=START_NS - 100 * SECOND_NS)
    desk.hear(made(*range(1, 11)))
    return desk, SilenceWatch(desk.backfill, CHECK_S)


@pytest.mark.parametrize("feed", WITHOUT_COUNT)
async def test_one_withheld_row_opens_a_hole_and_is_filled(feed: str) -> None:
    desk, watch = watched(feed)
    desk.venue.trades += made(11)
    desk.hear(made(12, 13))
    await watch.check(desk.form.venue_symbol, 0.0)
    [gap] = desk.holes
    assert (gap.cause, gap.state, gap.filled_rows) == ("silence", "filled", 1)
    assert gap.from_ns <= made(11)[0].ns <= gap.to_ns
    assert len(desk.stored()) == 13
    assert (watch.found, watch.mute) == (1, 0)
    await watch.check(desk.form.venue_symbol, 60.0)
    assert len(desk.holes) == 1


@pytest.mark.parametrize("feed", WITHOUT_COUNT + COUNTING)
async def test_what_is_not_carried_any_more_when_its_turn_comes_is_not_asked_for(feed: str) -> None:
    """As in an end that was ordered: no hole is opened for it, as the next start does that."""
    desk, watch = watched(feed)
    desk.feed.coverage.leave(desk.connection, [desk.form.venue_symbol])
    asked = desk.backfill.asker.tally.asked
    await watch.check(desk.form.venue_symbol, 0.0)
    assert desk.backfill.asker.tally.asked == asked
    assert desk.holes == []


@pytest.mark.parametrize("feed", WITHOUT_COUNT + COUNTING)
async def test_a_whole_stream_shows_nothing(feed: str) -> None:
    desk, watch = watched(feed)
    desk.venue.trades += made(11)  # under way: made a moment ago
    desk.clock.now_ns = made(11)[0].ns + SECOND_NS
    await watch.check(desk.form.venue_symbol, 0.0)
    assert desk.holes == []
    assert len(desk.stored()) == 10


@pytest.mark.parametrize("feed", WITHOUT_COUNT + COUNTING)
async def test_a_mute_symbol_is_a_hole_and_is_subscribed_anew(feed: str) -> None:
    desk, watch = watched(feed)
    anew: list[str] = []
    desk.feed.subscribe_anew = anew.append
    desk.venue.trades += made(17, 18)
    desk.idle(until_ns=desk.clock.now_ns + CLOCKS_APART_NS + 15 * SECOND_NS)
    await watch.check(desk.form.venue_symbol, 0.0)
    assert anew == [desk.form.venue_symbol]
    assert watch.mute == 1
    [gap] = desk.ledger.open_gaps()
    assert (gap.cause, gap.to_ns) == ("silence", 0)
    # Another connection carries it now.
    desk.feed.coverage.leave(desk.connection, [desk.form.venue_symbol])
    desk.connect(at_ns=desk.clock.now_ns + SECOND_NS)
    desk.hear(made(19))
    await desk.mend()
    assert {one.state for one in desk.holes} <= {"filled", "empty"}  # ids 11 to 16 are skipped
    assert len(desk.stored()) == 13


@pytest.mark.parametrize("feed", ["okx_spot", "bybit_futures"])
async def test_what_we_have_not_read_yet_makes_no_stream_mute(feed: str) -> None:
    """Behind with reading: the list shows rows that lie unread in our socket."""
    desk, watch = watched(feed)
    desk.feed.look()
    desk.venue.trades += made(*range(11, 60))
    desk.clock.now_ns = made(60)[0].ns
    await watch.check(desk.form.venue_symbol, 0.0)
    assert (desk.holes, watch.mute) == ([], 0)
    desk.idle(until_ns=made(60)[0].ns)  # control: it was read, and nothing of them lay there
    await watch.check(desk.form.venue_symbol, 1.0)
    assert watch.mute == 1


@pytest.mark.parametrize("feed", WITHOUT_COUNT)
async def test_a_short_list_is_not_held_against_all_that_is_held(feed: str) -> None:
    """In a pump that took the daemon ten times as long as everything else."""
    desk = Desk(FORMS_BY_FEED[feed], rows_max=5)
    desk.connect(at_ns=START_NS - 100 * SECOND_NS)
    desk.hear(made(*range(1, 101)))
    await SilenceWatch(desk.backfill, CHECK_S).check(desk.form.venue_symbol, 0.0)
    assert desk.holes == []
    if not feed.startswith("phemex"):  # its composed ids come again at other instants
        assert desk.held.handed_out_rows[-1] <= 5
    # The list shows rows 96 to 100.
    assert desk.held.looked_back_to_ns[-1] >= made(95)[0].ns - HELD_MARGIN_NS


@pytest.mark.parametrize("feed", WITHOUT_COUNT)
async def test_what_memory_gave_up_makes_no_stream_mute(feed: str) -> None:
    """A backfill of ten minutes of 5,700 symbols pushed the last minute out of 64 MiB."""
    desk, watch = watched(feed)
    desk.recent.expire(desk.clock.now_ns + 2 * 86_400 * SECOND_NS)
    assert desk.recent.rows_held == 0
    desk.idle(until_ns=desk.clock.now_ns + CLOCKS_APART_NS + 15 * SECOND_NS)
    await watch.check(desk.form.venue_symbol, 0.0)
    assert (desk.holes, watch.found, watch.mute) == ([], 0, 0)
    desk.venue.trades += made(11)
    desk.hear(made(12, 13))
    await watch.check(desk.form.venue_symbol, 60.0)
    assert (watch.found, watch.mute) == (1, 0)  # what came later is held, and row 11 is not


@pytest.mark.parametrize("feed", WITHOUT_COUNT)
async def test_a_row_withheld_in_the_first_seconds_of_a_subscription_is_found(feed: str) -> None:
    """The first row that came tells from when on the stream owes us each one, whatever clocks."""
    desk = Desk(FORMS_BY_FEED[feed])
    desk.connect(at_ns=START_NS)
    desk.hear(made(1))
    desk.venue.trades += made(2)  # within CLOCKS_APART_NS
    desk.hear(made(3, 9))
    await SilenceWatch(desk.backfill, CHECK_S).check(desk.form.venue_symbol, 0.0)
    [gap] = desk.holes
    assert (gap.cause, gap.state, gap.filled_rows) == ("silence", "filled", 1)
    assert gap.from_ns <= made(2)[0].ns <= gap.to_ns
    assert len(desk.stored()) == 4


@pytest.mark.parametrize("feed", ["okx_spot", "bybit_futures"])
async def test_a_stream_that_is_mute_from_its_beginning_is_found_behind_an_open_hole(
    feed: str,
) -> None:
    """The hole of the cut before stays open, for nothing ends it: that must not hide the rest."""
    desk, watch = watched(feed)
    desk.cut()
    desk.connect(at_ns=desk.clock.now_ns + SECOND_NS)
    anew: list[str] = []
    desk.feed.subscribe_anew = anew.append
    for second in range(11, 71):
        desk.venue.trades += made(second)
        desk.idle(until_ns=made(second + 1)[0].ns)
        for gap in desk.backfill.due():
            await desk.backfill.look(gap, 1.0)
        if second % 10 == 0:
            await watch.check(desk.form.venue_symbol, float(second))
    assert anew


async def test_what_was_traded_before_it_was_subscribed_is_nobodys_hole() -> None:
    desk = Desk(FORMS_BY_FEED["bybit_spot"])
    desk.venue.trades += made(1, 2, 3)
    desk.connect(at_ns=START_NS + 4 * SECOND_NS)
    watch = SilenceWatch(desk.backfill, CHECK_S)
    desk.hear(made(20, 21))
    await watch.check(desk.form.venue_symbol, 0.0)
    assert desk.holes == []
    assert len(desk.stored()) == 2


async def test_a_hole_that_is_found_says_nothing_of_before_the_comparison() -> None:
    """What the list shows of then was not looked for: to call it filled would be false."""
    desk = Desk(FORMS_BY_FEED["bybit_spot"])
    desk.connect(at_ns=made(3)[0].ns - CLOCKS_APART_NS)  # compared from here on, and the clocks'
    desk.venue.trades += made(2)  # kept back, and older than what is compared
    desk.venue.trades += made(9)
    desk.hear(made(10, 11))
    desk.venue.trades.sort(key=lambda one: one.ns)
    await SilenceWatch(desk.backfill, CHECK_S).check(desk.form.venue_symbol, 0.0)
    [gap] = desk.holes
    assert (gap.state, gap.filled_rows) == ("filled", 1)
    assert gap.from_ns > made(2)[0].ns


@pytest.mark.parametrize("feed", WITHOUT_COUNT)
async def test_what_is_older_than_the_list_is_lost_and_never_called_filled(feed: str) -> None:
    """The stream brought nothing for longer than the list reaches back (drill gaps, seed 21)."""
    desk = Desk(FORMS_BY_FEED[feed], rows_max=5)
    desk.connect(at_ns=START_NS - 100 * SECOND_NS)
    desk.hear(made(*range(1, 11)))
    watch = SilenceWatch(desk.backfill, CHECK_S)
    desk.venue.trades += made(*range(11, 21))
    desk.hear(made(21, 22))
    await watch.check(desk.form.venue_symbol, 0.0)
    lost, filled = sorted(desk.holes, key=lambda gap: gap.from_ns)
    assert (lost.state, filled.state) == ("lost", "filled")
    stored = {at_ns for at_ns, _ in desk.stored()}
    absent = [one for one in made(*range(11, 21)) if one.ns not in stored]
    assert len(absent) >= 7
    for one in absent:
        assert lost.from_ns <= one.ns <= lost.to_ns
        assert not filled.from_ns < one.ns < filled.to_ns


async def test_where_ids_count_up_only_the_silent_are_asked_about() -> None:
    desk, watch = watched("okx_spot")
    assert watch.due(1000.0, frozenset()) == []
    later_s = int(QUIET_S + CHECK_S + FRESH_S)
    desk.clock.now_ns += later_s * SECOND_NS
    assert [name for _, name in watch.due(1000.0 + later_s, frozenset())] == [
        desk.form.venue_symbol
    ]
    desk.hear(made(11))
    assert watch.due(1000.0 + later_s, frozenset()) == []


async def test_a_busy_symbols_lists_meet(autojump_clock: trio.testing.MockClock) -> None:
    desk, watch = watched("bybit_spot")
    name = desk.form.venue_symbol
    assert watch.interval_s(name) == CHECK_S
    desk.backfill.rates.sample(1000.0)
    desk.hear(made(*range(11, 1011), step_ns=SECOND_NS // 100))
    desk.backfill.rates.sample(1010.0)
    rate = desk.backfill.rates(name)
    assert rate == 100.0
    rows = desk.spec.recent.rows_max
    assert watch.interval_s(name) == pytest.approx(rows / rate / 2)


async def test_what_the_budget_does_not_reach_is_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    desk, watch = watched("phemex_futures")
    asked: list[float] = []

    async def note(name: str, now_s: float) -> None:
        asked.append(now_s)

    watch.check = note  # type: ignore[method-assign]
    with trio.move_on_after(600):
        await run_comparisons([watch], frozenset)
    allowance = desk.spec.rest_allowance
    most = BUDGET_SHARE * allowance.units / allowance.per_s * 600 + 1
    assert 0 < len(asked) <= most
    # None of them was noted as compared.
    shown = watch.unchecked_s(trio.current_time())
    assert list(shown) == [SYMBOL]
    assert shown[SYMBOL] > CHECK_S


async def test_a_comparison_that_failed_is_none() -> None:
    desk, watch = watched("bybit_spot")
    watch.due(0.0, frozenset())
    desk.venue.fails = [VenueError("no answer")]
    await watch.check(desk.form.venue_symbol, 50.0)
    shown = watch.unchecked_s(60.0 + CHECK_S)
    assert list(shown) == [SYMBOL]
    assert watch.due(51.0, frozenset()) == []  # a moment's rest
    await watch.check(desk.form.venue_symbol, 200.0)
    assert watch.unchecked_s(201.0) == {}


async def test_wanted_coins_go_first() -> None:
    _, watch = watched("bybit_spot")
    late_s = 10 * CHECK_S
    watch.due(0.0, frozenset())
    [((wanted, _), _)] = watch.due(late_s, frozenset({"COIN"}))
    [((other, _), _)] = watch.due(late_s, frozenset())
    assert (wanted, other) == (True, False)
