"""The queue of holes: who goes first, what becomes of failures, what a venue skips or refuses."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest
import trio
import trio.testing

from pumpwatch._fast.intake import Intake
from pumpwatch.capture.backfill import REFUSALS_MAX, Backfill
from pumpwatch.capture.ledger import Edge
from pumpwatch.capture.mend_by_time import HELD_MARGIN_NS
from pumpwatch.errors import VenueError
from pumpwatch.model import Gap, Record
from tests._fast.driving import NOW_NS, SECOND_NS, as_bytes
from tests._fast.ilp_reading import read_lines
from tests.capture.desk import FORMS_BY_FEED, SYMBOL, Desk
from tests.strategies import TEXT, frame
from tests.venues.rest_forms import MS, Made

START_NS = NOW_NS - 600 * SECOND_NS


def made(*numbers: int, step_ns: int = SECOND_NS) -> list[Made]:
    return [
        Made(number, 1000 + 3 * number, START_NS + number * step_ns, number % 2 == 0, "15", "2")
        for number in numbers
    ]


def cut_desk(feed: str, *, lost: int = 3, rows_max: int = 1000, has_api_key: bool = False) -> Desk:
    """Ten trades, then some that a cut took, then ten more."""
    desk = Desk(FORMS_BY_FEED[feed], rows_max=rows_max, has_api_key=has_api_key)
    desk.connect(at_ns=START_NS)
    desk.hear(made(*range(1, 11)))
    desk.cut()
    desk.venue.trades += made(*range(11, 11 + lost))
    desk.connect(at_ns=START_NS + (11 + lost) * SECOND_NS - MS)
    desk.hear(made(*range(11 + lost, 21 + lost)))
    return desk


def lasting(text: str) -> VenueError:
    error = VenueError(text)
    error.retry = False
    return error


def states(desk: Desk) -> list[tuple[str, str, int]]:
    return [(gap.state, gap.reason, gap.filled_rows) for gap in desk.holes]


async def test_the_hole_of_a_wanted_coin_goes_first_then_what_is_forgotten_first() -> None:
    bybit, okx = cut_desk("bybit_spot"), cut_desk("okx_spot")
    queue = Backfill([bybit.backfill, okx.backfill], bybit.ledger, frozenset)
    slow = bybit.ledger.open_gaps()[0]
    quick = msgspec.structs.replace(slow, from_ns=slow.from_ns - 100 * SECOND_NS)
    order = [queue.priority(bybit.backfill, gap, frozenset()) for gap in (slow, quick)]
    assert order[1] < order[0]
    wanted = queue.priority(bybit.backfill, slow, frozenset({"COIN"}))
    assert wanted < order[1]
    assert wanted > (0.0,)  # lists of instruments before all
    # A venue with a history forgets nothing so soon.
    okx_gap = okx.ledger.open_gaps()[0]
    for rate_rows in (1000, 2000):
        bybit.backfill.rates.sample(rate_rows)
    assert queue.priority(okx.backfill, okx_gap, frozenset()) > (2, okx_gap.from_ns / SECOND_NS)


@pytest.mark.parametrize("feed", ["binance_spot", "okx_spot", "gate_spot", "bybit_spot"])
async def test_a_failed_request_stays_due(feed: str) -> None:
    desk = cut_desk(feed)
    desk.venue.fails = [VenueError("no answer")] * 5
    await desk.mend()
    assert states(desk) == [("filled", "rest", 3)]
    assert desk.backfill.asker.tally.failed == 5
    assert len(desk.stored()) == 23


async def test_what_is_refused_for_good_is_lost_with_the_venues_words() -> None:
    desk = cut_desk("okx_spot")
    desk.venue.fails = [lasting("HTTP 400: instId is gone")] * REFUSALS_MAX
    await desk.mend(looks_max=400)
    [(state, reason, _)] = states(desk)
    assert state == "lost"
    assert "instId is gone" in reason


async def test_a_restart_forgets_no_hole() -> None:
    """The ledger is the queue: what a run left open the next one asks for."""
    desk = cut_desk("okx_spot")
    desk.venue.fails = [VenueError("no answer")] * 3
    await desk.mend(looks_max=3)
    [gap] = desk.ledger.open_gaps()
    other = Desk(desk.form, known=[gap])
    other.venue.trades = desk.venue.trades
    name = desk.form.venue_symbol
    _, seen_to, last_ns, missing = desk.feed.table.position(0)
    other.feed.table.restore(name, 1, seen_to, last_ns, missing)
    other.connect(at_ns=desk.clock.now_ns + SECOND_NS)
    await other.mend()
    assert [row.state for row in other.holes] == ["filled"]
    assert len(other.stored()) == 3


async def test_ids_that_the_venue_skips_are_not_offered_and_never_filled() -> None:
    """R2."""
    desk = cut_desk("binance_spot", lost=5)
    desk.venue.trades = [one for one in desk.venue.trades if one.number not in (12, 13)]
    await desk.mend()
    found = {(gap.first_id, gap.last_id): (gap.state, gap.reason) for gap in desk.holes}
    assert found[(12, 13)] == ("empty", "not_offered")
    assert found[(11, 11)] == found[(14, 15)] == ("filled", "rest")
    assert desk.feed.table.position(0)[3] == []


async def test_futures_of_binance_reach_as_far_as_the_key_does() -> None:
    desk = cut_desk("binance_futures", lost=30, rows_max=25)
    await desk.mend()
    lost = [(gap.first_id, gap.last_id) for gap in desk.holes if gap.state == "lost"]
    assert lost == [(11, 25)]
    assert len(desk.stored()) == 50 - 15
    desk = cut_desk("binance_futures", lost=30, rows_max=25, has_api_key=True)
    await desk.mend()
    assert [gap.state for gap in desk.holes] == ["filled"]
    assert [("fromId" in asked) for asked in desk.venue.asked][:2] == [False, True]
    assert len(desk.stored()) == 50


async def test_a_list_of_latest_trades_is_read_while_nothing_is_connected() -> None:
    """R2's latest-only venues: rows would run out of the list before the socket is back."""
    desk = Desk(FORMS_BY_FEED["bybit_spot"], rows_max=5)
    desk.connect(at_ns=START_NS)
    desk.backfill.rates.sample(1000.0)
    desk.hear(made(*range(1, 5)))
    desk.backfill.rates.sample(1005.0)
    desk.cut()
    for first in range(5, 25, 4):
        desk.venue.trades += made(*range(first, first + 4))
        desk.clock.now_ns = START_NS + (first + 4) * SECOND_NS
        for gap in desk.backfill.due():
            await desk.backfill.look(gap, 1.0)
    desk.connect(at_ns=START_NS + 25 * SECOND_NS - MS)
    desk.hear(made(25, 26))
    await desk.mend()
    assert states(desk) == [("filled", "rest", 20)]
    assert len(desk.stored()) == 26


@pytest.mark.parametrize("feed", ["bybit_spot", "kucoin_futures", "phemex_spot"])
async def test_a_full_list_is_held_against_what_is_held_around_it(feed: str) -> None:
    """A cut in a pump: an hour of that symbol's rows would stop the event loop for seconds."""
    desk = cut_desk(feed, lost=30, rows_max=25)
    await desk.mend()
    # It shows 15 of the lost rows, 26 to 40, and the ten after them.
    assert min(desk.held.looked_back_to_ns) >= made(26)[0].ns - HELD_MARGIN_NS
    assert [gap.state for gap in desk.holes] == ["lost", "filled"]
    assert len(desk.stored()) >= 34  # of Phemex' oldest instant not all may be shown


async def test_a_few_rows_are_not_all_there_ever_were_if_an_earlier_one_is_held() -> None:
    """The venue forgot the first trade, and so it may have forgotten some of the hole."""
    desk = Desk(FORMS_BY_FEED["bybit_spot"])
    desk.connect(at_ns=START_NS)
    desk.hear(made(1))
    desk.idle(until_ns=START_NS + 60 * SECOND_NS)
    desk.cut()
    desk.venue.trades[:] = made(70, 71)
    desk.connect(at_ns=START_NS + 72 * SECOND_NS - MS)
    desk.hear(made(73))
    await desk.mend()
    unknown, shown = desk.holes
    assert (unknown.state, unknown.to_ns) == ("lost", made(70)[0].ns)
    assert (shown.state, shown.filled_rows) == ("filled", 2)


async def test_a_quiet_symbol_needs_two_equal_answers_after_the_end() -> None:
    """R2: one answer may be older than what it should show."""
    desk = Desk(FORMS_BY_FEED["kucoin_spot"])
    desk.connect(at_ns=START_NS)
    desk.hear(made(1, 2))
    desk.cut()
    desk.connect(at_ns=START_NS + 9 * SECOND_NS)
    [gap] = desk.backfill.due()
    await desk.backfill.look(gap, 1.0)  # too early: what it shows may still grow
    desk.clock.now_ns += 6 * SECOND_NS
    await desk.backfill.look(gap, 1.0)
    assert desk.ledger.open_gaps()
    desk.venue.trades += made(3)  # listed late: it lies in the hole
    desk.clock.now_ns += 3 * SECOND_NS
    await desk.backfill.look(gap, 1.0)
    assert desk.ledger.open_gaps()
    desk.clock.now_ns += 3 * SECOND_NS
    await desk.backfill.look(gap, 1.0)
    assert states(desk) == [("filled", "rest", 1)]


async def test_an_empty_list_of_a_symbol_that_traded_proves_nothing() -> None:
    desk = Desk(FORMS_BY_FEED["kucoin_spot"])
    desk.connect(at_ns=START_NS)
    desk.hear(made(1, 2))
    desk.cut()
    desk.venue.trades.clear()
    desk.connect(at_ns=START_NS + 9 * SECOND_NS)
    await desk.mend()
    assert states(desk) == [("lost", "the venue shows no trades", 0)]


async def test_times_that_differ_are_told_and_rows_then_go_by_id() -> None:
    """R4: the same trades with other times are not stored a second time."""
    desk = cut_desk("bybit_spot")
    shifted = [
        Made(one.number, one.sequence, one.ns + 7 * MS, one.is_sell, one.price, one.quantity)
        for one in desk.venue.trades
    ]
    desk.venue.trades = shifted
    await desk.mend()
    assert desk.backfill.asker.tally.times_apart > 0
    ids = [str(line.fields["trade_id"]) for line in desk.lines()]
    assert len(ids) == len(set(ids))


async def test_a_late_first_list_of_a_new_coin_reaches_its_beginning() -> None:
    desk = Desk(FORMS_BY_FEED["kucoin_spot"])
    desk.clock.now_ns = START_NS
    desk.ledger.cut(desk.spec, [Edge(SYMBOL, START_NS)], cause="late_subscription")
    desk.venue.trades += made(1, 2)
    desk.connect(at_ns=START_NS + 3 * SECOND_NS - MS)
    desk.hear(made(3, 4))
    await desk.mend()
    assert states(desk) == [("filled", "rest", 2)]


@pytest.mark.parametrize("feed", ["kucoin_spot", "bybit_futures", "binance_futures", "gate_spot"])
async def test_an_instrument_that_never_traded_misses_nothing(feed: str) -> None:
    """Listed before its first trade: its hole closes although the venue has nothing to show."""
    desk = Desk(FORMS_BY_FEED[feed])
    desk.clock.now_ns = START_NS
    desk.ledger.cut(desk.spec, [Edge(SYMBOL, START_NS)], cause="late_subscription")
    desk.connect(at_ns=START_NS + 3 * SECOND_NS)
    await desk.mend()
    assert states(desk) == [("empty", "quiet", 0)]


async def test_the_task_closes_holes_by_itself(autojump_clock: trio.testing.MockClock) -> None:
    desk = cut_desk("okx_futures")
    queue = Backfill([desk.backfill], desk.ledger, frozenset)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.run)
        for _ in range(40):
            await trio.sleep(0.5)
            desk.clock.now_ns += SECOND_NS // 2
            desk.feed.look()
        nursery.cancel_scope.cancel()
    assert states(desk) == [("filled", "rest", 3)]


async def test_after_an_outage_one_answer_makes_all_holes_due(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """However long nothing was answered: a list of latest trades does not wait for a pause."""
    desk = cut_desk("bybit_spot")
    others = [f"OTHER{number}USDT" for number in range(5)]
    desk.feed.add_instruments([desk.instrument(venue_symbol=name, symbol=name) for name in others])
    for name in others:
        desk.ledger.suspect(desk.spec, name, "cut", START_NS, START_NS + SECOND_NS)
    desk.venue.fails = [VenueError("no answer")] * 120
    dialled: list[int] = []
    desk.feed.dial_now = lambda: dialled.append(len(desk.venue.asked))
    asked_s: list[float] = []
    desk.venue.on_ask = lambda: asked_s.append(trio.current_time())
    queue = Backfill([desk.backfill], desk.ledger, frozenset)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.run)
        while desk.venue.fails:
            await trio.sleep(0.5)
            desk.clock.now_ns += SECOND_NS // 2
        left_s = trio.current_time()
        for _ in range(8):
            await trio.sleep(0.5)
            desk.clock.now_ns += SECOND_NS // 2
        nursery.cancel_scope.cancel()
    assert 100 < left_s < 240  # a request at a time, one a second
    assert sum(at_s < left_s + 4 for at_s in asked_s) >= 1 + len(others)
    assert dialled


async def test_a_hole_that_closed_while_it_waited_is_left_alone() -> None:
    desk = cut_desk("okx_spot")
    [gap] = desk.ledger.open_gaps()
    await desk.mend()
    asked = len(desk.venue.asked)
    await desk.backfill.look(gap, 1.0)
    assert len(desk.venue.asked) == asked


async def test_lost_rows_can_be_tried_again() -> None:
    desk = cut_desk("okx_spot")
    desk.venue.fails = [lasting("HTTP 400")] * REFUSALS_MAX
    await desk.mend(looks_max=400)
    [gap] = desk.holes
    assert gap.state == "lost"
    desk.ledger.reopen(gap)
    desk.backfill.look_soon(gap.gap_id)
    await desk.mend()
    assert states(desk) == [("filled", "rest", 3)]
    assert len(desk.stored()) == 23


async def test_a_range_of_gate_is_filled_by_its_ids() -> None:
    """R7: the message stands for several trades and is no row."""
    desk = Desk(FORMS_BY_FEED["gate_spot"])
    desk.connect(at_ns=START_NS)
    desk.hear(made(1, 2))
    [message] = desk.form.messages(desk.form.venue_symbol, made(5))
    message["result"]["range"] = "3-5"
    assert desk.intake.feed(frame(TEXT, as_bytes(message)), desk.clock.now_ns) == b""
    desk.feed.take_news(desk.intake.take_news())
    desk.venue.trades += made(3, 4, 5)
    desk.hear(made(6))
    assert len(desk.stored()) == 3
    await desk.mend()
    assert [(gap.cause, gap.state) for gap in desk.holes] == [("merged_range", "filled")]
    assert len(desk.stored()) == 6


class Order:
    """What went to the spool, in order: ledger rows and records of trades."""

    def __init__(self, desk: Desk) -> None:
        self.went: list[str] = []
        gaps, append = desk.side.gaps, desk.sink.append

        def note_gaps(rows: Iterable[Gap]) -> None:
            rows = list(rows)
            self.went += [f"gap {row.state}" for row in rows]
            gaps(rows)

        def note_record(record: Record) -> None:
            self.went += [f"row {line.fields['trade_id']}" for line in read_lines(record.payload)]
            append(record)

        desk.ledger._rows._emit = note_gaps
        desk.sink.append = note_record  # type: ignore[method-assign]


@pytest.mark.parametrize("feed", ["okx_spot", "binance_spot", "gate_spot", "kucoin_futures"])
async def test_a_closing_row_goes_behind_the_rows_that_it_speaks_of(feed: str) -> None:
    """R3: else a crash leaves a filled hole without its rows."""
    desk = cut_desk(feed)
    desk.feed.flush()
    order = Order(desk)
    await desk.mend()
    assert [one for one in order.went if one.startswith("gap")][-1] == "gap filled"
    assert order.went[-1] == "gap filled"
    assert sum(one.startswith("row") for one in order.went) == 3


async def test_a_hole_that_rest_shows_goes_in_front_of_the_row_that_shows_it() -> None:
    """R3: the stream's next row adjoins REST's, so that nothing else would tell of it."""
    desk = Desk(FORMS_BY_FEED["binance_futures"], rows_max=3)
    desk.connect(at_ns=START_NS)
    desk.hear(made(1, 2))
    desk.cut()
    desk.venue.trades += made(3, 4, 5, 6, 7)
    desk.clock.now_ns = START_NS + 8 * SECOND_NS
    desk.feed.flush()
    order = Order(desk)
    [gap] = desk.backfill.due()
    await desk.backfill.look(gap, 1.0)
    assert order.went[0] == "gap confirmed"  # 3 and 4: the list begins with 5
    assert order.went[1:4] == ["row 5", "row 6", "row 7"]
    desk.connect(at_ns=START_NS + 8 * SECOND_NS)
    desk.hear(made(8))
    await desk.mend()
    assert [(gap.first_id, gap.last_id, gap.state) for gap in desk.holes] == [(3, 4, "lost")]


@pytest.mark.parametrize("feed", ["bybit_spot", "bybit_futures", "okx_spot"])
async def test_rows_before_the_word_that_a_refused_symbol_is_taken_hide_no_hole(feed: str) -> None:
    """It traded before it was asked for again, and its first row overtakes the venue's answer."""
    desk = Desk(FORMS_BY_FEED[feed])
    name = desk.form.venue_symbol
    desk.feed.unwant([name])  # it does not trade yet
    desk.clock.now_ns = START_NS
    desk.feed.refuse(name, "handler not found")
    desk.feed.want([name])
    desk.venue.trades += made(11, 12, 13)  # nobody listens
    desk.intake = Intake(desk.feed.road)
    desk.connection = desk.feed.opened(desk.intake)
    desk.hear(made(14))
    desk.feed.carried(desk.connection, [name])
    [gap] = desk.ledger.open_gaps()
    assert gap.cause == "late_subscription"
    assert gap.from_ns <= made(11)[0].ns
    desk.hear(made(15))
    await desk.mend()
    assert len(desk.stored()) == 5
