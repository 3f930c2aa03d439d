"""Does the record hold what it says? The verb ``verify``: differences, and the reason for each.

The table is held against itself (ids that count up), against the ledger (what it calls filled is
there), against its own rates (a minute without a row), and against the venues' lists as far as
they still reach. What the ledger tells of is explained; everything else is a difference.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import trio

from pumpwatch.config import Config
from pumpwatch.model import Instrument
from pumpwatch.rest import RestClient
from pumpwatch.store.gap_rows import Questions
from pumpwatch.store.instrument_rows import read_instruments
from pumpwatch.store.server import running_address
from pumpwatch.store.sql import Sql
from pumpwatch.venues import FEEDS_BY_NAME
from pumpwatch.venues.spec import FeedSpec, TradeIds
from pumpwatch.verify_book import Book, Difference, Span, read_book
from pumpwatch.verify_rest import compare_with_venue
from pumpwatch.verify_stored import check_ids, check_ledger, check_minutes, check_times

QUERY_S_MAX = 600.0


async def verify(
    config: Config, span: Span, feeds: Sequence[str], sample: int, seed: int
) -> list[Difference]:
    """Check these feeds; ``sample`` symbols of each are also compared with their venue's list.

    Raises ServerError when no database answers.
    """
    sql = Sql(running_address(config), readonly=True, timeout_s=QUERY_S_MAX)
    rng = random.Random(seed)
    found: list[Difference] = []
    try:
        states = await read_instruments(sql)
        async with RestClient(config, rng) as rest:
            for name in feeds:
                spec = FEEDS_BY_NAME[name]
                book = await read_book(sql, spec)
                instruments = [s.instrument for s in states if s.instrument.feed == name]
                found += await _verify_feed(sql, spec, book, span)
                for one in choose(instruments, sample, rng):
                    found += await compare_with_venue(sql, rest, spec, one, book, span)
    finally:
        with trio.move_on_after(2, shield=True):
            await sql.aclose()
    return found


async def _verify_feed(sql: Questions, spec: FeedSpec, book: Book, span: Span) -> list[Difference]:
    found: list[Difference] = []
    if spec.ids in (TradeIds.CONTIGUOUS, TradeIds.OBSERVED):
        found += await check_ids(sql, spec, book, span)
        found += await check_ledger(sql, spec, book, span)
    if spec.ids is not TradeIds.NONE:
        found += await check_times(sql, spec, span)
    return found + await check_minutes(sql, spec, book, span)


def choose(instruments: Sequence[Instrument], sample: int, rng: random.Random) -> list[Instrument]:
    """Some that trade, the busiest first among a random choice of the others."""
    trading = [one for one in instruments if one.status == "trading"]
    if sample >= len(trading):
        return trading
    busiest = sorted(trading, key=lambda one: -one.volume_quote)[: (sample + 1) // 2]
    others = [one for one in trading if one not in busiest]
    return busiest + rng.sample(others, sample - len(busiest))
