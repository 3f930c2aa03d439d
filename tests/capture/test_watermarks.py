"""What proves until when nothing of an instrument is missed, and what does not (R10)."""

from __future__ import annotations

import pytest

from pumpwatch.capture.silence import SilenceWatch
from pumpwatch.capture.watermark_reads import WatermarkReader
from pumpwatch.capture.watermarks import LIST_LAG_NS, best, by_connection, by_next_id
from pumpwatch.errors import VenueError
from pumpwatch.model import Watermark
from pumpwatch.venues.spec import TradeIds
from tests._fast.driving import SECOND_NS
from tests.capture.desk import FORMS_BY_FEED, PING, SYMBOL, Desk
from tests.capture.test_backfill import START_NS, made

OPAQUE = ["bybit_spot", "kucoin_futures", "phemex_spot"]


def reader_of(desk: Desk) -> WatermarkReader:
    watch = SilenceWatch(desk.backfill, 60.0)
    return WatermarkReader({desk.form.feed: desk.backfill}, {desk.form.feed: watch})


def trading(feed: str, *numbers: int) -> Desk:
    desk = Desk(FORMS_BY_FEED[feed])
    desk.connect(at_ns=START_NS - 100 * SECOND_NS)
    desk.hear(made(*numbers))
    return desk


def later(desk: Desk, seconds: int) -> int:
    """Time goes by, and the connection is alive."""
    desk.clock.now_ns += seconds * SECOND_NS
    desk.intake.feed(PING, desk.clock.now_ns)
    desk.feed.look()
    return desk.clock.now_ns


def test_the_next_id_proves_what_is_before_it_unless_one_is_missing() -> None:
    mark = by_next_id("okx_spot", "A", TradeIds.CONTIGUOUS, (5, 9, 77, []))
    assert (mark.to_ns, mark.proof, mark.is_strong) == (77, "next_id", True)
    assert not by_next_id("okx_spot", "A", TradeIds.CONTIGUOUS, (5, 9, 77, [(6, 6)])).proof
    assert not by_next_id("gate_futures", "A", TradeIds.OBSERVED, (5, 9, 77, [])).proof
    assert not by_next_id("okx_spot", "A", TradeIds.CONTIGUOUS, None).proof


def test_a_connection_proves_weakly_and_only_if_it_is_older_than_the_window() -> None:
    ten = 10 * SECOND_NS
    mark = by_connection("okx_spot", "A", 1, 3 * ten, ten)
    assert (mark.to_ns, mark.is_strong) == (3 * ten - 5 * SECOND_NS, False)
    assert not by_connection("okx_spot", "A", ten + 1, 3 * ten, ten).proof
    assert not by_connection("okx_spot", "A", 0, 3 * ten, ten).proof


def test_a_strong_mark_goes_before_a_weak_one_that_reaches_further() -> None:
    weak = Watermark(feed="okx_spot", symbol="A", to_ns=9, proof="alive")
    strong = Watermark(feed="okx_spot", symbol="A", to_ns=8, proof="rest")
    nothing = Watermark(feed="okx_spot", symbol="A")
    assert best([weak, strong, nothing], []) == strong
    assert best([weak, nothing], []) == weak


@pytest.mark.parametrize("feed", OPAQUE)
async def test_a_list_that_ends_with_what_is_held_proves_a_quiet_instrument(feed: str) -> None:
    desk = trading(feed, *range(1, 11))
    end_ns = desk.clock.now_ns + SECOND_NS
    now_ns = later(desk, 10)
    reader = reader_of(desk)
    [known] = reader.known("COIN", made(3)[0].ns)
    assert known.proof == "alive"
    [mark] = await reader.read("COIN", made(3)[0].ns, end_ns)
    assert (mark.proof, mark.to_ns) == ("rest", now_ns - LIST_LAG_NS)
    assert mark.to_ns >= end_ns


@pytest.mark.parametrize("feed", OPAQUE)
async def test_a_withheld_row_is_no_proof_and_becomes_a_hole(feed: str) -> None:
    desk = trading(feed, *range(1, 11))
    desk.venue.trades += made(11)
    desk.hear(made(12, 13))
    end_ns = later(desk, 10)
    [mark] = await reader_of(desk).read("COIN", made(3)[0].ns, end_ns)
    assert mark.proof != "rest"
    assert [gap.cause for gap in desk.holes] == ["silence"]
    assert len(desk.stored()) == 13  # and is taken in
    [again] = await reader_of(desk).read("COIN", made(3)[0].ns, end_ns)
    assert again.proof == "rest"


@pytest.mark.parametrize("feed", OPAQUE)
async def test_a_list_older_than_what_is_held_proves_only_what_it_shows(feed: str) -> None:
    desk = trading(feed, *range(1, 11))
    desk.hear(made(11, 12), tell=False)  # the venue's cache does not know them yet
    end_ns = later(desk, 10)
    [mark] = await reader_of(desk).read("COIN", made(3)[0].ns, end_ns)
    assert (mark.proof, mark.to_ns) == ("rest", made(10)[0].ns)


async def test_ids_that_count_up_prove_without_asking() -> None:
    desk = trading("binance_spot", *range(1, 11))
    [mark] = await reader_of(desk).read("COIN", made(3)[0].ns, made(10)[0].ns)
    assert (mark.proof, mark.to_ns) == ("next_id", made(10)[0].ns)
    assert desk.venue.asked == []


async def test_an_open_hole_ends_every_mark() -> None:
    desk = trading("bybit_spot", *range(1, 11))
    desk.ledger.suspect(desk.spec, SYMBOL, "quarantine", made(8)[0].ns, made(9)[0].ns)
    later(desk, 10)
    [mark] = await reader_of(desk).read("COIN", made(3)[0].ns, made(10)[0].ns)
    assert mark.to_ns == made(8)[0].ns


async def test_a_venue_that_does_not_answer_leaves_the_weak_mark() -> None:
    desk = trading("bybit_spot", *range(1, 11))
    end_ns = later(desk, 10)
    desk.venue.fails = [VenueError("503")]
    [mark] = await reader_of(desk).read("COIN", made(3)[0].ns, end_ns)
    assert mark.proof == "alive"
