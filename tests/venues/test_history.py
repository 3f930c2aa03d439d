"""Walking a venue's lists for a hole: nothing is left out, every walk ends, for each way of paging.

A naive venue keeps its trades in a list and answers by the documented meaning of the parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.errors import VenueError
from pumpwatch.venues import FEEDS, FEEDS_BY_NAME
from pumpwatch.venues.history import (
    SECOND_NS,
    Request,
    Span,
    first_request,
    next_request,
    pages_to_ask,
    reaches_start,
)
from pumpwatch.venues.spec import RestPage, RestTrade, TradePage

START_NS = 1_790_000_000 * SECOND_NS
MS = 10**6
ROWS_MAX = 5  # so that a few trades need many answers


def trade(number: int, ns: int) -> RestTrade:
    return RestTrade(trade_id=str(number), order_id=number, sequence_number=number, side="buy",
                     price="1", quantity="1", exchange_ns=ns)  # fmt: skip


def small(feed: str, rows_max: int = ROWS_MAX, skip_max: int = 100_000) -> RestPage:
    """The feed's own history, with short answers."""
    page = FEEDS_BY_NAME[feed].history
    assert page is not None
    params = {"limit": str(rows_max)}
    skip_max = skip_max if page.page_param or page.offset_param else 0
    return msgspec.structs.replace(page, rows_max=rows_max, params=params, skip_max=skip_max)


@dataclass
class Venue:
    """Trades of one symbol, oldest first, and the answers to questions about them."""

    trades: list[RestTrade]
    rows_max: int = ROWS_MAX
    broken: frozenset[int] = frozenset()  # ids of rows that cannot be read
    comes_later: list[RestTrade] = field(default_factory=list)  # two more before each answer
    last_second_whole: bool = True
    asked: list[dict[str, str]] = field(default_factory=list)

    def answer(self, params: dict[str, str]) -> TradePage:
        self.trades += self.comes_later[:2]
        del self.comes_later[:2]
        self.asked.append(params)
        known = dict(params)
        for name in ("symbol", "instId", "currency_pair", "contract", "limit", "type"):
            known.pop(name, None)
        shown = self.shown(known)
        assert len(shown) <= self.rows_max
        return TradePage(
            trades=[one for one in shown if one.order_id not in self.broken],
            refused=["broken"] * sum(one.order_id in self.broken for one in shown),
        )

    def shown(self, known: dict[str, str]) -> list[RestTrade]:
        raise NotImplementedError


class FromId(Venue):
    """Binance: from this id on, oldest first; the newest without one."""

    def shown(self, known: dict[str, str]) -> list[RestTrade]:
        if not known:
            return self.trades[-self.rows_max :]
        first = int(known.pop("fromId"))
        assert not known
        return [one for one in self.trades if one.order_id >= first][: self.rows_max]


class After(Venue):
    """OKX: the newest below this id."""

    def shown(self, known: dict[str, str]) -> list[RestTrade]:
        after = int(known.pop("after", 2**63))
        assert not known
        return [one for one in self.trades if one.order_id < after][-self.rows_max :]


class Window(Venue):
    """Gate: between two seconds, the newest first; by page or by offset."""

    ignores_offset = False

    def shown(self, known: dict[str, str]) -> list[RestTrade]:
        first_ns = int(known.pop("from", 0)) * SECOND_NS
        last_ns = (int(known.pop("to")) + self.last_second_whole) * SECOND_NS - 1
        skip = (int(known.pop("page", 1)) - 1) * self.rows_max + int(known.pop("offset", 0))
        assert not known
        if self.ignores_offset:
            skip = 0
        inside = [one for one in self.trades if first_ns <= one.exchange_ns <= last_ns]
        return inside[: max(0, len(inside) - skip)][-self.rows_max :]


KINDS: list[tuple[str, type[Venue]]] = [
    ("binance_spot", FromId), ("binance_futures", FromId), ("okx_spot", After),
    ("gate_spot", Window), ("gate_futures", Window),
]  # fmt: skip
EVERY_KIND = pytest.mark.parametrize(("feed", "kind"), KINDS, ids=[feed for feed, _ in KINDS])


def walk(page: RestPage, venue: Venue, span: Span) -> list[RestTrade]:
    """All rows of a walk. Ends, and asks nothing twice."""
    request: Request | None = first_request(page, "BTC", span)
    rows: list[RestTrade] = []
    asked: list[Request] = []
    while request is not None:
        assert request not in asked
        asked.append(request)
        answer = venue.answer(request.params)
        rows += answer.trades
        request = next_request(request, answer)
        assert len(asked) <= 3 * (len(venue.trades) + len(venue.comes_later)) + 5
    return rows


@st.composite
def histories(draw: st.DrawFn, *, size_max: int = 60) -> list[RestTrade]:
    """Trades with bursts of one instant that are longer than an answer, and quiet stretches."""
    gaps_ns = draw(st.lists(
        st.sampled_from([0, 0, 0, 0, MS, 300 * MS, SECOND_NS]) | st.integers(0, 20 * SECOND_NS),
        min_size=3, max_size=size_max,
    ))  # fmt: skip
    ns = START_NS + draw(st.integers(0, 999)) * MS
    number = draw(st.integers(1, 50))
    trades = []
    for gap_ns in gaps_ns:
        ns += gap_ns
        trades.append(trade(number, ns))
        number += 1
    return trades


@st.composite
def holes(draw: st.DrawFn, trades: list[RestTrade]) -> tuple[Span, list[RestTrade]]:
    """A hole between two rows that the stream brought, by ids, by times or by both."""
    before = draw(st.integers(0, len(trades) - 3))
    behind = draw(st.integers(before + 2, len(trades) - 1))
    missing = trades[before + 1 : behind]
    from_ns, to_ns = trades[before].exchange_ns, trades[behind].exchange_ns
    first_id, last_id = missing[0].order_id, missing[-1].order_id
    knows = draw(st.sampled_from(["both", "first", "last", "times"]))
    if knows in ("last", "times"):
        first_id = 0
    elif draw(st.booleans()):
        from_ns = 0
    if knows in ("first", "times"):
        last_id = 0
    return Span(first_id=first_id, last_id=last_id, from_ns=from_ns, to_ns=to_ns), missing


def ids(trades: list[RestTrade]) -> set[int]:
    return {one.order_id for one in trades}


# --- nothing is left out --------------------------------------------------------------------------


@EVERY_KIND
@given(data=st.data())
def test_every_row_of_the_hole_is_shown(
    feed: str, kind: Callable[..., Venue], data: st.DataObject
) -> None:
    trades = data.draw(histories())
    span, missing = data.draw(holes(trades))
    venue = kind(trades, last_second_whole=data.draw(st.booleans()))
    rows = walk(small(feed), venue, span)
    assert ids(rows) >= ids(missing)
    assert all(params["limit"] == str(ROWS_MAX) for params in venue.asked)


@EVERY_KIND
@given(data=st.data())
def test_trades_that_come_meanwhile_push_nothing_out(
    feed: str, kind: Callable[..., Venue], data: st.DataObject
) -> None:
    """A hole that has just ended, or is still open: the newest rows are of now."""
    trades = data.draw(histories())
    span, missing = data.draw(holes(trades))
    last = trades[-1]
    later = [trade(last.order_id + at, last.exchange_ns + at * 50 * MS) for at in range(1, 40)]
    venue = kind(list(trades), comes_later=later)
    assert ids(walk(small(feed), venue, span)) >= ids(missing)


@EVERY_KIND
@given(data=st.data())
def test_rows_that_cannot_be_read_cost_only_themselves(
    feed: str, kind: Callable[..., Venue], data: st.DataObject
) -> None:
    """As long as an answer has any that can."""
    trades = data.draw(histories())
    span, missing = data.draw(holes(trades))
    every = data.draw(st.integers(2, 4))
    broken = frozenset(one.order_id for one in trades if one.order_id % every == 0)
    rows = walk(small(feed, 2 * ROWS_MAX), kind(trades, 2 * ROWS_MAX, broken=broken), span)
    assert ids(rows) >= ids(missing) - broken


@pytest.mark.parametrize("feed", ["gate_spot", "gate_futures"])
@given(data=st.data())
def test_a_long_hole_is_asked_in_windows(feed: str, data: st.DataObject) -> None:
    """Where no more rows may be left out than ``skip_max``; a second may hold no more."""
    gaps_ns = data.draw(st.lists(st.integers(200, 900), min_size=30, max_size=80))
    trades, ns = [], START_NS
    for number, gap_ms in enumerate(gaps_ns, 1):
        ns += gap_ms * MS
        trades.append(trade(number, ns))
    span, missing = data.draw(holes(trades))
    page = small(feed, skip_max=2 * ROWS_MAX)
    venue = Window(trades, last_second_whole=data.draw(st.booleans()))
    assert ids(walk(page, venue, span)) >= ids(missing)
    assert all(int(params.get("page", "1")) <= 3 for params in venue.asked)
    assert all(int(params.get("offset", "0")) <= 2 * ROWS_MAX for params in venue.asked)


# Lists by id are in the order of ids.
ORDERS = [(feed, kind, by_time) for feed, kind in KINDS for by_time in (False, kind is Window)]


@pytest.mark.parametrize(("feed", "kind", "by_time"), sorted(set(ORDERS), key=str))
@given(data=st.data())
def test_ids_and_times_may_differ_a_little_in_their_order(
    feed: str, kind: Callable[..., Venue], by_time: bool, data: st.DataObject
) -> None:
    """In the order of times the first id may come before others of the hole, and the reverse."""
    trades = data.draw(histories())
    shifts_ns = st.lists(st.integers(0, 900 * MS), min_size=len(trades), max_size=len(trades))
    trades = [trade(one.order_id, one.exchange_ns + shift_ns)
              for one, shift_ns in zip(trades, data.draw(shifts_ns), strict=True)]  # fmt: skip
    span, missing = data.draw(holes(trades))
    venue = kind(sorted(trades, key=lambda one: one.exchange_ns) if by_time else trades)
    assert ids(walk(small(feed), venue, span)) >= ids(missing)


@pytest.mark.parametrize("feed", ["gate_spot", "gate_futures"])
def test_a_new_window_may_begin_with_a_page_that_was_shown(feed: str) -> None:
    """Its first answer holds nothing new, which is no sign that pages are ignored."""
    times_s = [0, 0, *[10] * ROWS_MAX, *[11] * ROWS_MAX, *[30] * ROWS_MAX]
    trades = [trade(number, START_NS + at_s * SECOND_NS) for number, at_s in enumerate(times_s, 1)]
    span = Span(first_id=2, last_id=len(trades), from_ns=START_NS, to_ns=START_NS + 30 * SECOND_NS)
    page = small(feed, skip_max=2 * ROWS_MAX)
    assert ids(walk(page, Window(trades), span)) >= set(range(2, len(trades) + 1))


@given(data=st.data())
def test_an_offset_that_is_ignored_is_done_without(data: st.DataObject) -> None:
    trades = [trade(number, START_NS + number * 400 * MS) for number in range(1, 60)]
    span, missing = data.draw(holes(trades))
    venue = Window(trades)
    venue.ignores_offset = True
    assert ids(walk(small("gate_futures", 10), Window(trades, 10), span)) >= ids(missing)
    venue.rows_max = 10
    assert ids(walk(small("gate_futures", 10), venue, span)) >= ids(missing)


@pytest.mark.parametrize("feed", ["okx_spot", "gate_spot", "gate_futures"])
@given(data=st.data())
def test_answers_shorter_than_asked_for_are_no_end(feed: str, data: st.DataObject) -> None:
    """A venue that lowers its limit: only an empty answer ends a walk, or the hole's start."""
    trades = data.draw(histories())
    span, missing = data.draw(holes(trades))
    kind = dict(KINDS)[feed]
    assert ids(walk(small(feed, 50), kind(trades, 4), span)) >= ids(missing)


@given(data=st.data())
def test_upwards_too(data: st.DataObject) -> None:
    trades = data.draw(histories())
    span, missing = data.draw(holes(trades).filter(lambda hole: hole[0].first_id > 0))
    assert ids(walk(small("binance_spot", 50), FromId(trades, 4), span)) >= ids(missing)


def test_a_list_that_shows_less_than_it_says_is_an_error_downwards() -> None:
    """The rows between would never be asked for."""
    trades = [trade(number, START_NS + number * MS) for number in range(1, 200)]
    span = Span(last_id=150, from_ns=START_NS + 20 * MS, to_ns=START_NS + 151 * MS)
    with pytest.raises(VenueError, match="historicalTrades"):
        walk(small("binance_spot", 50), FromId(trades, 40), span)


# --- what is asked --------------------------------------------------------------------------------


def asked(feed: str, span: Span, trades: list[RestTrade], rows_max: int) -> list[dict[str, str]]:
    venue = dict(KINDS)[feed](trades, rows_max)
    walk(small(feed, rows_max), venue, span)
    names = ("fromId", "after", "from", "to", "page", "offset")
    return [{name: params[name] for name in names if name in params} for params in venue.asked]


SECONDS = [trade(number, START_NS + number * SECOND_NS) for number in range(1, 101)]
HOLE = Span(first_id=41, last_id=60, from_ns=SECONDS[39].exchange_ns,
            to_ns=SECONDS[60].exchange_ns)  # fmt: skip


def test_ids_upwards_ask_for_what_is_missing() -> None:
    assert asked("binance_spot", HOLE, SECONDS, 10) == [{"fromId": "41"}, {"fromId": "51"}]


def test_ids_downwards_ask_for_what_is_missing() -> None:
    assert asked("okx_spot", HOLE, SECONDS, 10) == [{"after": "61"}, {"after": "51"}]


def test_a_window_is_asked_once_where_one_answer_holds_it() -> None:
    at_s = START_NS // SECOND_NS
    window = {"from": str(at_s + 38), "to": str(at_s + 62)}
    assert asked("gate_spot", HOLE, SECONDS, 100) == [{**window, "page": "1"}]
    assert asked("gate_futures", HOLE, SECONDS, 100) == [{**window, "offset": "0"}]
    assert asked("gate_spot", HOLE, SECONDS, 13) == [
        {**window, "page": "1"}, {**window, "page": "2"},
    ]  # fmt: skip
    assert asked("gate_futures", HOLE, SECONDS, 13) == [
        {**window, "offset": "0"}, {**window, "offset": "13"},
    ]  # fmt: skip


def test_times_may_stand_in_either_order() -> None:
    turned = msgspec.structs.replace(HOLE, from_ns=HOLE.to_ns, to_ns=HOLE.from_ns)
    assert asked("gate_spot", turned, SECONDS, 100) == asked("gate_spot", HOLE, SECONDS, 100)


def test_a_hole_without_ids_ends_behind_a_row_that_is_older() -> None:
    """Its own edge may be one of several rows of that instant."""
    burst = [trade(number, START_NS + SECOND_NS) for number in range(1, 8)]
    span = Span(from_ns=START_NS + SECOND_NS, to_ns=START_NS + 2 * SECOND_NS)
    assert len(asked("gate_spot", span, burst, 3)) == 4  # three with rows, one without
    older = [trade(1, START_NS - 1), *(trade(one.order_id + 1, one.exchange_ns) for one in burst)]
    assert len(asked("gate_spot", span, older, 4)) == 2


@pytest.mark.parametrize("spec", FEEDS, ids=lambda spec: spec.name)
def test_the_latest_trades_are_one_question(spec: object) -> None:
    for one in FEEDS:
        if one is not spec:
            continue
        request = first_request(one.recent, "X", HOLE)
        assert request.params == {one.recent.symbol_param: "X", **one.recent.params}
        assert next_request(request, TradePage(trades=SECONDS[-10:], refused=[])) is None


@EVERY_KIND
def test_an_empty_answer_is_the_end(feed: str, kind: Callable[..., Venue]) -> None:
    venue = kind([])
    assert walk(small(feed), venue, HOLE) == []
    assert len(venue.asked) == 1


@pytest.mark.parametrize("feed", [feed for feed, _ in KINDS])
@given(data=st.data())
def test_a_venue_that_answers_nonsense_ends_the_walk(feed: str, data: st.DataObject) -> None:
    """Any rows to any question: still an end."""
    numbers = st.integers(1, 30)
    answers = st.builds(
        TradePage,
        trades=st.lists(st.builds(trade, numbers, numbers.map(lambda n: START_NS + n * SECOND_NS)),
                        max_size=ROWS_MAX),
        refused=st.lists(st.just("broken"), max_size=2),
    )  # fmt: skip
    span = Span(first_id=data.draw(st.integers(0, 20)), last_id=data.draw(st.integers(0, 40)),
                from_ns=START_NS, to_ns=START_NS + 20 * SECOND_NS)  # fmt: skip
    page = small(feed, skip_max=4 * ROWS_MAX)
    request: Request | None = first_request(page, "X", span)
    same = data.draw(answers)  # or the same again and again
    repeats = data.draw(st.booleans())
    for _ in range(400):
        if request is None:
            return
        try:
            request = next_request(request, same if repeats else data.draw(answers))
        except VenueError:
            return
    pytest.fail("no end")


def test_a_hole_must_begin_and_end_somewhere() -> None:
    for span in ({"to_ns": 0, "first_id": 5}, {"to_ns": 5}, {"to_ns": 5, "last_id": 7}):
        with pytest.raises(ValueError, match="begin and end"):
            Span(**span)


# --- which lists ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("feed", "has_api_key", "paths"), [
    ("binance_spot", False, ["/api/v3/historicalTrades"]),
    ("binance_futures", False, ["/fapi/v1/trades"]),
    ("binance_futures", True, ["/fapi/v1/trades", "/fapi/v1/historicalTrades"]),
    ("okx_futures", False, ["/api/v5/market/trades", "/api/v5/market/history-trades"]),
    ("gate_spot", False, ["/api/v4/spot/trades"]),
    ("bybit_spot", False, ["/v5/market/recent-trade"]),
    ("phemex_futures", True, ["/md/v2/trade"]),
])  # fmt: skip
def test_lists_to_ask(feed: str, has_api_key: bool, paths: list[str]) -> None:
    lists = pages_to_ask(FEEDS_BY_NAME[feed], has_api_key=has_api_key)
    assert [page.path for page in lists] == paths


def test_whether_rows_reach_the_start() -> None:
    assert reaches_start(HOLE, SECONDS[40:50])
    assert not reaches_start(HOLE, SECONDS[41:50])
    assert not reaches_start(HOLE, [])
    by_time = Span(from_ns=SECONDS[39].exchange_ns, to_ns=SECONDS[60].exchange_ns)
    assert reaches_start(by_time, SECONDS[38:50])
    assert not reaches_start(by_time, SECONDS[39:50])  # others of that instant may be missing
