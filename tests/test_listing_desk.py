from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import trio
from trio.testing import MockClock

from pumpwatch.config import Config
from pumpwatch.errors import VenueError
from pumpwatch.listing.events import ListingEvent
from pumpwatch.listing.window import WindowLife
from pumpwatch.listing_desk import VENUE_S_MAX, ListingDesk
from pumpwatch.listing_view import FeedView
from pumpwatch.store.window_model import UsedInstrument
from pumpwatch.venues import FEEDS_BY_NAME
from tests.listing.bundles import NS, WINDOW, instrument

SLOW_S = 4 * VENUE_S_MAX


class SlowVenue:
    """Answers long after a look has given up waiting, and then refuses."""

    def __init__(self) -> None:
        self.asked = 0

    async def get(self, *_: Any, **__: Any) -> bytes:
        self.asked += 1
        await trio.sleep(SLOW_S)
        raise VenueError("okx_spot: no")


def desk_of(tmp_path: Path, venue: SlowVenue) -> ListingDesk:
    config = msgspec.structs.replace(Config(), data_dir=tmp_path)
    clock = SimpleNamespace(wall_ns=lambda: WINDOW.to_ns + 10 * NS)
    daemon: Any = SimpleNamespace(config=config, side=None, rest=venue, clock=clock)
    return ListingDesk(daemon, None)  # type: ignore[arg-type]


async def test_a_walk_goes_on_while_looks_come_and_go(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Begun anew with each look, the list of a busy coin would never be read to its end."""
    venue = SlowVenue()
    desk = desk_of(tmp_path, venue)
    state: Any = SimpleNamespace(spec=FEEDS_BY_NAME["okx_spot"])
    used = UsedInstrument(instrument=instrument("okx_spot"))
    view = FeedView(feed="okx_spot", state=state, instruments=(used,), absence="")
    life = WindowLife(("upbit", "77", "POD"), WINDOW, known_ns=WINDOW.at_ns)
    key = (life.key, WINDOW.kind, WINDOW.at_ns)
    async with trio.open_nursery() as nursery:
        desk._walks = nursery
        for _ in range(3):
            await desk._ask_venues(life, [view])
        assert trio.current_time() == 3 * VENUE_S_MAX
        assert venue.asked == 1
        await desk._ask_venues(life, [view])  # the walk ends within this look
        await trio.testing.wait_all_tasks_blocked()
        assert desk._shown[key]["okx_spot"][0].error == "okx_spot: no"
        await desk._ask_venues(life, [view])  # what failed is asked again
        assert venue.asked == 2
        nursery.cancel_scope.cancel()


def test_an_event_that_nobody_recorded_opens_no_window(tmp_path: Path) -> None:
    event = ListingEvent(
        source="upbit", notice_id="77", symbol="POD", title="", url="", channel="backfill",
        announced_ns=WINDOW.at_ns, detected_ns=WINDOW.at_ns, state="historic",
    )  # fmt: skip
    desk = desk_of(tmp_path, SlowVenue())
    desk._revised(event)
    assert not desk.book.coins(WINDOW.at_ns)
    desk._revised(event.revised(state="pending"))
    assert desk.book.coins(WINDOW.at_ns) == {"POD"}
