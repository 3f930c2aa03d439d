"""Memory, table and both: an answer says what it covers, and has every row that came of that."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests._fast.driving import NOW_NS, SECOND_NS
from tests.capture.desk import SYMBOL
from tests.strategies import examples
from tests.venues.rest_forms import Made
from tests.window_stage import FORM, WindowStage, answered

MS = 10**6


def made(number: int, at_ns: int) -> Made:
    return Made(number, number, at_ns // MS * MS, bool(number % 2), f"{100 + number % 7}.25", "0.5")


class Story:
    """Trades in order, some withheld; what happens to the process in between."""

    def __init__(self, *, max_bytes: int = 16 << 20) -> None:
        self.stage = WindowStage(max_bytes=max_bytes)
        self.number = 1000
        self.connected = False
        self.visible_ns = 0
        self.connect()

    def connect(self) -> None:
        if not self.connected:
            self.stage.desk.connect(at_ns=self.stage.desk.clock.now_ns + 10 * MS)
            self.connected = True

    def cut(self) -> None:
        if self.connected:
            self.stage.desk.cut(at_ns=self.stage.desk.clock.now_ns + 10 * MS)
            self.connected = False

    def trade(self, count: int, step_ms: int, withheld: int = 0) -> None:
        self.number += withheld
        trades = []
        for _ in range(count):
            self.stage.desk.clock.now_ns += step_ms * MS
            self.number += 1
            trades.append(made(self.number, self.stage.desk.clock.now_ns))
        if self.connected:
            self.stage.hear(trades)

    async def act(self, what: tuple[Any, ...]) -> None:
        name, *more = what
        if name == "trade":
            self.trade(*more)
        elif name == "cut":
            self.cut()
        elif name == "connect":
            self.connect()
        elif name == "apply":
            self.stage.apply()
        elif name == "wait":
            self.stage.desk.clock.now_ns += more[0] * SECOND_NS
            self.stage.desk.feed.look()
        else:
            self.connected = False
            await self.stage.restart(load=name == "restart and load")
            self.connect()

    async def check(self, from_ns: int, to_ns: int) -> None:
        """What is covered is whole; when all is applied, memory and table agree on all of it."""
        answer = await self.stage.ask(from_ns, to_ns)
        feed = answer.feed(FORM.feed)
        low, high = feed.covered_from_ns, feed.covered_to_ns
        came = self.stage.came(low, high)
        assert [row for row in answered(answer) if low <= row[3] < high] == came, feed
        assert {row[7] for row in answered(answer)} <= {
            row[7] for row in self.stage.came(from_ns, to_ns)
        }
        if answer.source == "memory":
            now_ns = self.stage.desk.clock.now_ns
            assert from_ns >= now_ns or feed.covers(from_ns, min(to_ns, now_ns))


ACTS = st.one_of(
    st.tuples(
        st.just("trade"), st.integers(1, 60), st.integers(0, 300), st.sampled_from([0, 0, 3])
    ),
    st.tuples(st.sampled_from(["cut", "connect", "apply", "restart", "restart and load"])),
    st.tuples(st.just("wait"), st.sampled_from([1, 30, 200])),
)


@settings(max_examples=examples(150), deadline=None)
@given(
    acts=st.lists(ACTS, min_size=1, max_size=14),
    spans=st.lists(st.tuples(st.integers(0, 900), st.integers(1, 400)), min_size=1, max_size=4),
    is_small=st.booleans(),
)
def test_an_answer_holds_all_that_came_of_what_it_covers(
    acts: list[tuple[Any, ...]], spans: list[tuple[int, int]], is_small: bool
) -> None:
    async def run() -> None:
        story = Story(max_bytes=4 * 4096 if is_small else 16 << 20)
        for act in acts:
            await story.act(act)
            for back_s, width_s in spans:
                from_ns = story.stage.desk.clock.now_ns - back_s * SECOND_NS
                await story.check(from_ns, from_ns + width_s * SECOND_NS)
        story.stage.apply()
        start_ns = NOW_NS - SECOND_NS
        answer = await story.stage.ask(start_ns, story.stage.desk.clock.now_ns + 1)
        came = story.stage.came(start_ns, story.stage.desk.clock.now_ns + 1)
        assert answered(answer) == came

    trio.run(run)


async def test_memory_answers_alone_what_it_held_from_the_subscription_on() -> None:
    story = Story()
    story.trade(50, 100)
    start_ns = story.stage.desk.clock.now_ns - 4 * SECOND_NS
    answer = await story.stage.ask(start_ns, story.stage.desk.clock.now_ns)
    assert (answer.source, story.stage.table.asked) == ("memory", 0)
    assert answered(answer) == story.stage.came(start_ns, story.stage.desk.clock.now_ns)
    assert len(answer) == 40


async def test_a_hole_sends_the_question_to_the_table_until_it_is_closed() -> None:
    story = Story()
    story.trade(30, 100)
    story.trade(30, 100, withheld=2)
    span = (story.stage.desk.clock.now_ns - 5 * SECOND_NS, story.stage.desk.clock.now_ns)
    answer = await story.stage.ask(*span)
    assert answer.source == "both"
    assert not answer.is_complete
    (gap,) = answer.feed(FORM.feed).open_gaps
    assert gap.missing == 2
    story.stage.desk.ledger.lost(gap.gap_id, "nobody has them")
    assert (await story.stage.ask(*span)).source == "both"
    other = Story()
    other.trade(30, 100)
    other.trade(30, 100, withheld=2)
    (gap,) = other.stage.desk.ledger.open_gaps()
    other.stage.desk.ledger.empty(gap.gap_id, "not_offered")
    assert (await other.stage.ask(*span)).source == "memory"


@pytest.mark.parametrize("hole_symbol", [SYMBOL, "*"])
async def test_what_was_brought_and_is_in_neither_memory_nor_table_is_not_covered(
    hole_symbol: str,
) -> None:
    story = Story()
    story.trade(30, 100)
    story.trade(30, 100, withheld=2)
    end_ns = story.stage.desk.clock.now_ns
    span = (end_ns - 5 * SECOND_NS, end_ns)
    (gap,) = story.stage.desk.ledger.open_gaps()
    story.stage.desk.ledger.fill_ids(gap.gap_id, gap.first_id, gap.last_id)
    await story.act(("wait", 200))
    story.stage.hour.recent.expire(end_ns + 10**13)  # type: ignore[union-attr]
    story.stage.apply()
    answer = await story.stage.ask(*span)
    assert answer.source != "memory"
    assert answer.is_complete
    story.stage.windows.cache.drop(FORM.feed, SYMBOL, *span)
    story.stage.under_way = [msgspec.structs.replace(gap, symbol=hole_symbol)]
    answer = await story.stage.ask(*span)
    feed = answer.feed(FORM.feed)
    assert not answer.is_complete
    assert not any(
        feed.covered_from_ns <= at_ns < feed.covered_to_ns for at_ns in (gap.from_ns, gap.to_ns)
    )
    other = msgspec.structs.replace(gap, exchange="okx")
    story.stage.under_way = [other, msgspec.structs.replace(gap, symbol="OTHERUSDT")]
    assert (await story.stage.ask(*span)).is_complete


async def test_an_unread_message_cuts_every_symbol_of_the_feed() -> None:
    story = Story()
    story.trade(30, 100)
    now_ns = story.stage.desk.clock.now_ns
    assert (await story.stage.ask(now_ns - SECOND_NS, now_ns)).source == "memory"
    story.stage.desk.ledger.unread(story.stage.desk.spec, now_ns)
    answer = await story.stage.ask(now_ns - SECOND_NS, now_ns)
    assert answer.source == "both"
    assert [gap.symbol for gap in answer.feed(FORM.feed).open_gaps] == ["*"]


async def test_what_a_restart_reads_back_is_covered_and_the_outage_is_not() -> None:
    story = Story()
    story.trade(50, 100)
    before = (story.stage.desk.clock.now_ns - 3 * SECOND_NS, story.stage.desk.clock.now_ns)
    story.cut()
    await story.act(("restart and load",))
    story.trade(20, 100)
    story.stage.table.asked = 0
    outage = await story.stage.ask(before[1], story.stage.desk.clock.now_ns)
    assert outage.source != "memory"
    story.stage.table.asked = 0
    held = await story.stage.ask(before[0], before[1] - 2 * SECOND_NS)
    assert (held.source, story.stage.table.asked) == ("memory", 0)
    assert answered(held) == story.stage.came(before[0], before[1] - 2 * SECOND_NS)


async def test_only_complete_answers_are_kept_and_a_new_hole_drops_them() -> None:
    story = Story()
    story.trade(50, 100)
    span = (story.stage.desk.clock.now_ns - 4 * SECOND_NS, story.stage.desk.clock.now_ns)
    await story.stage.ask(*span)
    assert len(story.stage.windows.cache) == 0  # a late row may still come
    story.stage.desk.clock.now_ns += 61 * SECOND_NS
    story.stage.apply()
    await story.stage.ask(*span)
    assert len(story.stage.windows.cache) == 1
    await story.stage.ask(*span)
    assert story.stage.windows.cache.hits == 1
    story.stage.desk.ledger.suspect(
        story.stage.desk.spec, SYMBOL, "silence", span[0] + 1, span[0] + 2
    )
    assert len(story.stage.windows.cache) == 0
    assert not (await story.stage.ask(*span)).is_complete
    assert len(story.stage.windows.cache) == 0


@pytest.mark.parametrize("rows", [1, 1700])
async def test_a_stream_is_the_window_in_pieces(rows: int) -> None:
    story = Story()
    story.trade(rows, 20)
    end_ns = story.stage.desk.clock.now_ns + 1
    from pumpwatch.store.window_model import WindowQuestion

    question = WindowQuestion(coin="COIN", from_ns=NOW_NS, to_ns=end_ns)
    pieces = []
    async with story.stage.windows.stream(question) as stream:
        async for trades in stream:
            pieces.append(trades.trade_ids())
    whole = await story.stage.windows.ask_anew(question)
    assert [one for piece in pieces for one in piece] == whole.trades.trade_ids()
    assert len(whole) == rows
    assert (len(pieces) > 1) == (rows > 1)
