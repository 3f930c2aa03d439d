"""A span of long ago: found by id or time, whole or told how far the venue reaches."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pumpwatch.capture.past_span import TOO_OLD, PastReader, SpanRead
from pumpwatch.errors import VenueError
from tests._fast.driving import SECOND_NS
from tests.capture.desk import FORMS_BY_FEED, Desk
from tests.capture.test_backfill import START_NS, made

BY_ID = ["binance_spot", "okx_spot", "okx_futures"]
BY_TIME = ["gate_spot", "gate_futures"]
LATEST = ["bybit_spot", "bybit_futures", "kucoin_spot", "kucoin_futures"]


async def read(desk: Desk, low: int, high: int, *, has_api_key: bool = True) -> SpanRead:
    reader = PastReader(
        desk.venue, desk.spec, desk.instrument(), has_api_key=has_api_key, priority=1.0
    )
    return await reader.read(START_NS + low * SECOND_NS, START_NS + high * SECOND_NS)


def numbers(found: SpanRead) -> list[int]:
    return [(row.exchange_ns - START_NS) // SECOND_NS for row in found.rows]


@pytest.mark.parametrize("feed", BY_ID + BY_TIME + ["binance_futures"])
async def test_an_old_span_is_found_and_whole(feed: str) -> None:
    desk = Desk(FORMS_BY_FEED[feed], rows_max=20)
    desk.venue.trades += made(*range(1, 3000))
    found = await read(desk, 400, 460)
    assert numbers(found) == list(range(400, 460))
    assert (found.is_whole, found.reached_ns) == (True, START_NS + 400 * SECOND_NS)
    assert found.requests < 40


@pytest.mark.parametrize("feed", BY_ID)
async def test_ids_that_do_not_run_with_time_are_found_all_the_same(feed: str) -> None:
    desk = Desk(FORMS_BY_FEED[feed], rows_max=20)
    calm = made(*range(1, 200))
    pump = [replace(one, ns=calm[-1].ns + number * 1_000_000)
            for number, one in enumerate(made(*range(200, 9000)))]  # fmt: skip
    after = [replace(one, ns=pump[-1].ns + (number + 1) * SECOND_NS)
             for number, one in enumerate(made(*range(9000, 9400)))]  # fmt: skip
    desk.venue.trades += calm + pump + after
    found = await read(desk, 100, 190)
    assert numbers(found) == list(range(100, 190))
    assert found.is_whole


@pytest.mark.parametrize("feed", LATEST)
async def test_only_the_latest_rows_are_shown_and_it_says_so(feed: str) -> None:
    desk = Desk(FORMS_BY_FEED[feed], rows_max=20)
    desk.venue.trades += made(*range(1, 101))
    reached = await read(desk, 90, 100)
    assert (numbers(reached), reached.is_whole) == (list(range(90, 100)), True)
    partly = await read(desk, 70, 100)
    assert (numbers(partly), partly.text) == (list(range(81, 100)), TOO_OLD)
    assert partly.reached_ns == START_NS + 81 * SECOND_NS + 1
    beyond = await read(desk, 10, 20)
    assert (beyond.rows, beyond.text) == ([], TOO_OLD)
    assert beyond.reached_ns == START_NS + 20 * SECOND_NS


@pytest.mark.parametrize("feed", BY_ID + BY_TIME + LATEST)
async def test_a_venue_that_fails_or_has_nothing_is_told_not_raised(feed: str) -> None:
    desk = Desk(FORMS_BY_FEED[feed])
    desk.venue.fails.append(VenueError("451 not for this location"))
    failed = await read(desk, 10, 20)
    assert (failed.rows, failed.is_whole) == ([], False)
    assert "451" in failed.text
    nothing = await read(desk, 10, 20)
    assert (nothing.rows, nothing.is_whole) == ([], False)
