"""Asks the side tables every few seconds, so that the page's readers cost the database nothing."""

from __future__ import annotations

import structlog
import trio

from pumpwatch.clock import Clock
from pumpwatch.dashboard.questions import Questions, gap_standing
from pumpwatch.dashboard.view import SeatView
from pumpwatch.errors import PumpWatchError
from pumpwatch.model import OPEN_STATES
from pumpwatch.moments import iso_ns
from pumpwatch.standing import TablesStanding

log = structlog.get_logger()

ASK_S = 4.0
SIZE_EVERY = 15  # looks: the size of the tables changes slowly, and the server walks its folders
DAY_NS = 86_400 * 10**9
GAPS_SHOWN = 50
LISTINGS_SHOWN = 20
OPERATIONS_SHOWN = 12


async def watch_tables(seat: SeatView, questions: Questions, clock: Clock) -> None:
    """Keep ``seat.tables`` fresh until cancelled; it is None while nobody answers."""
    is_failing = False
    looks, disk_bytes = 0, 0
    while True:
        try:
            if looks % SIZE_EVERY == 0:
                disk_bytes = await questions.disk_bytes()
            looks += 1
            seat.tables = await ask(questions, clock, disk_bytes)
            is_failing = False
        except PumpWatchError as error:
            seat.tables = None
            if not is_failing:
                log.warning("page_tables_no_answer", message=str(error))
            is_failing = True
        await trio.sleep(ASK_S)


async def ask(questions: Questions, clock: Clock, disk_bytes: int) -> TablesStanding:
    """One look. Raises PumpWatchError when any of it is not answered."""
    now_ns = clock.wall_ns()
    gaps = await questions.gaps(limit=GAPS_SHOWN, states=OPEN_STATES)
    return TablesStanding(
        asked_at=iso_ns(now_ns)[:19] + "Z",
        gaps=[gap_standing(row) for row in gaps],
        gaps_open=await questions.gap_counts(OPEN_STATES),
        gaps_lost=await questions.gap_counts(("lost",), now_ns - DAY_NS),
        listings=await questions.listings(LISTINGS_SHOWN),
        operations=await questions.operations(OPERATIONS_SHOWN),
        disk_bytes=disk_bytes,
    )
