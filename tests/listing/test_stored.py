"""Events in a real table: written as the spool writes them, read back as the daemon does."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from pumpwatch.listing.events import EVENT_COLUMNS, ListingEvent, listing_line
from pumpwatch.listing.stored import load_events
from pumpwatch.store.ilp_client import IlpClient, Outcome
from pumpwatch.store.schema import MIGRATIONS, apply_schema
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.sql import Sql
from tests.store.emptying import drop_tables

pytestmark = pytest.mark.questdb

EVENT = ListingEvent(
    source="upbit", notice_id="200", symbol="POD", title='돌핀(POD) "KRW", BTC', url="https://x?id=1",
    channel="upbit_web", announced_ns=1_790_000_000_000_000_001,
    detected_ns=1_790_000_013_123_456_789, last_absent_ns=1_789_999_999_999_999_999,
)  # fmt: skip
ALONE = [one for one in MIGRATIONS if "listing_events" in one.statement or one.number == 1]


@pytest.fixture
async def sql(questdb_server: ServerAddress) -> AsyncIterator[Sql]:
    """A database whose table of events is new."""
    sql = Sql(questdb_server)
    await drop_tables(sql)
    await apply_schema(sql, spool_is_empty=lambda: True, migrations=ALONE)
    yield sql
    await sql.aclose()


async def test_events_come_back_as_they_were(sql: Sql, questdb_server: ServerAddress) -> None:
    other = EVENT.revised(opening_ns=1_790_003_600_000_000_000)
    coin = ListingEvent(
        source="bithumb", notice_id="9", symbol="A", title="에이(A) 원화 마켓 추가", url="",
        channel="bithumb_web", announced_ns=5_000_000_000, detected_ns=4_000_000_000,
    )  # fmt: skip
    sender = IlpClient(questdb_server)
    for events in ([EVENT, coin], [other], [coin]):  # a revision, and a row sent twice
        verdict = await sender.send(b"".join(map(listing_line, events)))
        assert verdict.outcome is Outcome.ACCEPTED, verdict
    await sender.aclose()
    with trio.fail_after(60):
        while [e.revision for e in await load_events(sql)] != [1, 2]:  # noqa: ASYNC110
            await trio.sleep(0.05)
    assert await load_events(sql) == [coin, other]
    rows = await sql.query("SELECT \"column\" FROM table_columns('listing_events')")
    assert [name for (name,) in rows] == list(EVENT_COLUMNS)
