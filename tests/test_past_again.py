"""An event of the past is fetched again: for files that came later, and after a try that failed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from pumpwatch.archiving import Archiving
from pumpwatch.capture.archive_fold import Stored, not_held, values_of
from pumpwatch.capture.overlap import Listed, name_rows
from pumpwatch.capture.past_span import SpanRead
from pumpwatch.config import FEED_NAMES
from pumpwatch.config_upkeep import ArchivesConfig
from pumpwatch.model import Instrument
from pumpwatch.past_journal import FeedHad, Journal, PastEvent, again_ns
from pumpwatch.past_listings import PastListings
from pumpwatch.store.ilp_client import Outcome
from tests._fast.ilp_reading import read_lines
from tests.capture.specs import instrument
from tests.sim.driving import traded
from tests.test_archiving import Network, Stage
from tests.test_cli_past import EVENT, FEEDS

NS = 10**9
HOUR_NS = 3_600 * NS
DAY_NS = 24 * HOUR_NS
MIDNIGHT_NS = 1_790_035_200 * NS  # 2026-09-22
ARCHIVES = ArchivesConfig(enabled=True, daily_at="06:30", wait_days=5)
LACKING = [FeedHad(feed="okx_spot", symbol="AVAUSDT", lacks_file=True)]


def listed(count: int, one: Instrument) -> list[Listed]:
    from pumpwatch.venues.spec import RestTrade

    return name_rows(
        [
            RestTrade(trade_id=f"file{number}", order_id=0, sequence_number=0, side="buy",
                      price="1.5", quantity="2", exchange_ns=number // 3 * NS)
            for number in range(count)
        ],
        one,
    )  # fmt: skip


def test_of_equal_rows_as_many_are_left_as_the_file_has_more() -> None:
    one = instrument("PODUSDT")
    rows = listed(9, one)  # three equal ones at each of three instants
    held = [Stored("list7", *values_of(rows[number].trade, one)) for number in (0, 1, 3)]
    left = not_held(rows, held, one)
    assert [row.exchange_ns // NS for row in left] == [0, 1, 1, 2, 2, 2]
    assert not_held(rows, [], one) == rows
    assert not_held(rows, [Stored(row.trade_id, *values_of(row.trade, one)) for row in rows],
                    one) == []  # fmt: skip


@pytest.mark.parametrize(
    ("now_ns", "expected_ns"),
    [(MIDNIGHT_NS, MIDNIGHT_NS + 6 * HOUR_NS + HOUR_NS // 2),
     (MIDNIGHT_NS + 7 * HOUR_NS, MIDNIGHT_NS + DAY_NS + 6 * HOUR_NS + HOUR_NS // 2),
     (MIDNIGHT_NS + 6 * DAY_NS, 0)],
)  # fmt: skip
def test_files_are_asked_for_until_they_are_late(now_ns: int, expected_ns: int) -> None:
    to_ns = MIDNIGHT_NS - HOUR_NS
    assert again_ns(LACKING, to_ns, now_ns, ARCHIVES) == expected_ns
    assert again_ns(FEEDS, to_ns, now_ns, ARCHIVES) == 0


def test_only_feeds_whose_file_was_not_out_are_fetched_again() -> None:
    assert PastEvent(event=EVENT).feeds_to_fetch() == set(FEED_NAMES)
    assert PastEvent(event=EVENT, state="failed", feeds=FEEDS).feeds_to_fetch() == set(FEED_NAMES)
    stored = PastEvent(event=EVENT, state="stored", feeds=[*FEEDS, *LACKING])
    assert stored.feeds_to_fetch() == {"okx_spot"}


class Desk:
    """What PastListings asks of the database and of who sends to it."""

    def __init__(self, held: Sequence[dict[str, Any]]) -> None:
        self.held, self.bodies = list(held), []

    async def query_dicts(self, sql: str, params: Sequence[Any]) -> list[dict[str, Any]]:
        assert "FROM archive_trades" in sql
        low_ns, high_ns, *names = params
        assert names == ["bybit", "spot", names[2]]
        return [row for row in self.held if low_ns <= row["exchange_ns"] < high_ns]

    async def send(self, body: bytes) -> Any:
        self.bodies.append(body)
        return SimpleNamespace(outcome=Outcome.ACCEPTED, message="")


async def test_a_retry_whose_list_reaches_less_stores_no_row_a_second_time(
    tmp_path: Path, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bybit spot: the file has names of its own, the first try took more from the list."""
    from pumpwatch.rest import RestClient
    from pumpwatch.sim.venue import Request

    async def applied(*_: object) -> None:
        """It is, here."""

    monkeypatch.setattr("pumpwatch.past_listings.wait_applied", applied)
    feed = "bybit_spot"
    async with traded(feed, 6) as (sim, symbol):
        stage = Stage(tmp_path, feed, symbol, "")
        page = stage.feed.spec.recent
        query = {page.symbol_param: symbol, **page.params}
        answer = await sim.exchange.answer(feed, Request("GET", page.path, query, {}))
        rows = name_rows(page.read(answer.body, symbol).trades, stage.one)
        async with RestClient(
            stage.daemon.config, random.Random(2), transport=Network(sim)
        ) as rest:
            stage.daemon.rest = rest
            stage.daemon.archiving = Archiving(stage.daemon, rest, stage)
            first = rows[20:]  # what the list showed at the first try
            held = [
                msgspec.structs.asdict(Stored(row.trade_id, *values_of(row.trade, stage.one)))
                for row in first
            ]
            desk = Desk(held)
            past = PastListings(stage.daemon, desk, desk, random.Random(1))  # type: ignore[arg-type]
            shown = rows[40:]  # what it shows now
            read = SpanRead(rows=shown, reached_ns=shown[0].exchange_ns + 1, requests=1, text="old")
            row = FeedHad(feed=feed, symbol=stage.one.symbol, reached_ns=read.reached_ns)
            await past._add_files(feed, stage.one, rows[0].exchange_ns, read, row)
            sent = read_lines(b"".join(desk.bodies))
            assert sorted(line.timestamp_ns for line in sent) == sorted(
                one.exchange_ns for one in rows[:20]
            )
            assert row.reached_ns == rows[0].exchange_ns
            assert not row.lacks_file


async def test_what_waits_for_files_outlives_the_next_order(
    tmp_path: Path, autojump_clock: object
) -> None:
    one = PastEvent(event=EVENT, state="stored", feeds=LACKING, again_ns=MIDNIGHT_NS)
    whole = PastEvent(event=EVENT, state="stored", feeds=FEEDS)
    daemon: Any = SimpleNamespace(
        config=SimpleNamespace(data_dir=tmp_path), rest=object(),
        clock=SimpleNamespace(wall_ns=lambda: MIDNIGHT_NS),
    )  # fmt: skip
    past = PastListings(daemon, None, None, random.Random(1))  # type: ignore[arg-type]
    past._loaded.set()
    past._journal = Journal(since_ns=1, source="upbit", state="done", events=[whole, one])
    journal = await past.begin(2, "bithumb")
    assert (journal.events, journal.later) == ([], [one])
    assert past._has_work(msgspec.structs.replace(journal, state="done"))
    daemon.clock.wall_ns = lambda: MIDNIGHT_NS - 1
    assert not past._has_work(msgspec.structs.replace(journal, state="done"))
    held = past._load()
    assert held is not None
    assert held.later[0].again_ns == MIDNIGHT_NS
