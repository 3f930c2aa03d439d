"""Applying schema/*.sql to a real server, and naming every drift from it."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
import trio

from pumpwatch.errors import EXIT_CONFIG, SchemaError
from pumpwatch.store.schema import (
    MIGRATIONS,
    SCHEMA_VERSION,
    TABLES,
    apply_schema,
    check_schema,
    read_version,
)
from pumpwatch.store.schema_file import Migration
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.side_rows import side_row
from pumpwatch.store.sql import Sql

pytestmark = pytest.mark.questdb

AT_NS = 1_900_000_000_123_456_789  # far beyond every TTL's reach
ADD_NOTE = Migration(
    number=SCHEMA_VERSION + 1, name="note", statement="ALTER TABLE trades ADD COLUMN note VARCHAR"
)
LONGER_TTL = Migration(
    number=SCHEMA_VERSION + 1, name="ttl", statement="ALTER TABLE trades SET TTL 60 DAYS"
)
TABLE_IDS_SQL = "SELECT table_name, id FROM tables() ORDER BY id"


def never() -> bool:
    raise AssertionError("nobody should ask for the spool")


def is_empty() -> bool:
    return True


def is_full() -> bool:
    return False


@pytest.fixture
async def tables(empty_database: Sql) -> Sql:
    """The schema, freshly applied."""
    await apply_schema(empty_database, spool_is_empty=never)
    return empty_database


async def until_applied(sql: Sql) -> None:
    """Wait until all that was sent is visible."""
    with trio.fail_after(60):
        while await sql.query("SELECT name FROM wal_tables() WHERE writerTxn < sequencerTxn"):  # noqa: ASYNC110
            await trio.sleep(0.01)


async def change(sql: Sql, statement: str) -> None:
    await sql.execute(statement)
    await until_applied(sql)


async def post(address: ServerAddress, body: bytes) -> httpx.Response:
    auth = httpx.BasicAuth(address.user, address.password)
    async with httpx.AsyncClient(base_url=address.http_url, auth=auth) as client:
        return await client.post("/write?precision=n", content=body)


# --- applying -------------------------------------------------------------------------------------


async def test_an_empty_database_gets_every_table_and_no_difference(empty_database: Sql) -> None:
    sql = empty_database
    assert await read_version(sql) == 0
    differences = await check_schema(sql)
    assert "trades: the table is missing" in differences  # the check does look
    assert "trades_1s: the view is missing" in differences
    await apply_schema(sql, spool_is_empty=never)
    assert await check_schema(sql) == []
    assert await read_version(sql) == SCHEMA_VERSION
    names = {name for name, _ in await sql.query(TABLE_IDS_SQL)}
    assert names == {*TABLES, "schema_version", "trades_1s"}


async def test_a_second_apply_changes_nothing(tables: Sql) -> None:
    before = await tables.query(TABLE_IDS_SQL), await tables.query("SELECT * FROM schema_version")
    await apply_schema(tables, spool_is_empty=never)
    after = await tables.query(TABLE_IDS_SQL), await tables.query("SELECT * FROM schema_version")
    assert before == after


async def test_an_apply_that_was_cut_short_goes_on(empty_database: Sql) -> None:
    sql = empty_database
    await apply_schema(sql, spool_is_empty=never, migrations=MIGRATIONS[:4])
    await sql.execute(MIGRATIONS[4].statement)  # made, and the daemon died before it was noted
    await apply_schema(sql, spool_is_empty=never)
    assert await check_schema(sql) == []
    assert await sql.query("SELECT version FROM schema_version") == [
        (migration.number,) for migration in MIGRATIONS
    ]


async def test_a_newer_database_that_lacks_something_is_refused_and_left_alone(
    tables: Sql,
) -> None:
    await change(
        tables, f"INSERT INTO schema_version VALUES (now(), {SCHEMA_VERSION + 1}, 'to_come')"
    )
    await change(tables, "ALTER TABLE quarantine DROP COLUMN raw")
    with pytest.raises(SchemaError, match=f"version {SCHEMA_VERSION + 1}.*knows") as caught:
        await apply_schema(tables, spool_is_empty=is_empty)
    assert caught.value.exit_code == EXIT_CONFIG
    assert await check_schema(tables) == ["quarantine.raw: is missing"]


async def test_a_newer_database_that_has_only_more_can_be_gone_back_to(tables: Sql) -> None:
    await apply_schema(tables, spool_is_empty=never, migrations=[*MIGRATIONS, ADD_NOTE])
    before = await tables.query(TABLE_IDS_SQL), await tables.query("SELECT * FROM schema_version")
    await apply_schema(tables, spool_is_empty=never)
    assert await check_schema(tables) == []
    after = await tables.query(TABLE_IDS_SQL), await tables.query("SELECT * FROM schema_version")
    assert before == after


async def test_somebody_elses_table_of_our_name_is_refused_and_left_alone(
    empty_database: Sql,
) -> None:
    sql = empty_database
    await sql.execute("CREATE TABLE trades (at TIMESTAMP, amount LONG) TIMESTAMP(at)")
    with pytest.raises(SchemaError, match="did not make") as caught:
        await apply_schema(sql, spool_is_empty=never)
    assert "\n" not in str(caught.value)
    assert await sql.query("SELECT count(amount) FROM trades") == [(0,)]


# --- R19: the schema and what lies in the spool ---------------------------------------------------


async def test_a_new_column_is_added_under_a_full_spool(tables: Sql) -> None:
    await apply_schema(tables, spool_is_empty=never, migrations=[*MIGRATIONS, ADD_NOTE])
    assert await check_schema(tables, migrations=[*MIGRATIONS, ADD_NOTE]) == []
    await change(tables, "ALTER TABLE trades ADD COLUMN other VARCHAR")
    assert await check_schema(tables, migrations=[*MIGRATIONS, ADD_NOTE]) == [
        "trades.other: no such column is known (VARCHAR)"
    ]


async def test_a_new_column_that_a_crash_left_unnoted_is_no_obstacle(tables: Sql) -> None:
    await change(tables, ADD_NOTE.statement)
    await apply_schema(tables, spool_is_empty=never, migrations=[*MIGRATIONS, ADD_NOTE])
    assert await read_version(tables) == ADD_NOTE.number


async def test_any_other_change_wants_an_empty_spool(tables: Sql) -> None:
    later = [*MIGRATIONS, LONGER_TTL]
    with pytest.raises(
        SchemaError, match=f"{LONGER_TTL.number:03d}_ttl needs an empty spool"
    ) as caught:
        await apply_schema(tables, spool_is_empty=is_full, migrations=later)
    assert caught.value.exit_code == EXIT_CONFIG
    assert await check_schema(tables) == []
    assert await read_version(tables) == SCHEMA_VERSION
    await apply_schema(tables, spool_is_empty=is_empty, migrations=later)
    await until_applied(tables)
    assert await check_schema(tables, migrations=later) == []


async def test_nothing_is_changed_when_a_later_change_must_wait(tables: Sql) -> None:
    last = Migration(number=ADD_NOTE.number + 1, name="ttl", statement=LONGER_TTL.statement)
    with pytest.raises(SchemaError, match="needs an empty spool"):
        await apply_schema(tables, spool_is_empty=is_full, migrations=[*MIGRATIONS, ADD_NOTE, last])
    assert await check_schema(tables) == []


# --- drift ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statements", "differences"),
    [
        (["ALTER TABLE trades DROP COLUMN kind"], ["trades.kind: is missing"]),
        (
            ["ALTER TABLE feed_gaps ADD COLUMN note LONG"],
            ["feed_gaps.note: no such column is known (LONG)"],
        ),
        (
            ["ALTER TABLE instruments ALTER COLUMN unit TYPE DOUBLE"],
            ["instruments.unit: type is DOUBLE, not LONG"],
        ),
        (["ALTER TABLE trades SET TTL 30 DAYS"], ["trades: TTL is 30 DAY, not 45 DAY"]),
        (["ALTER TABLE quarantine SET TTL 1 WEEK"], ["quarantine: TTL is 1 WEEK, not none"]),
        (
            ["ALTER TABLE quarantine DEDUP DISABLE"],
            [
                "quarantine: DEDUP is off, not on",
                "quarantine.received_at: is no DEDUP key",
                "quarantine.exchange: is no DEDUP key",
                "quarantine.market_type: is no DEDUP key",
                "quarantine.reason: is no DEDUP key",
                "quarantine.raw: is no DEDUP key",
            ],
        ),
        (
            ["ALTER TABLE feed_gaps DEDUP ENABLE UPSERT KEYS(opened_at, gap_id, state)"],
            ["feed_gaps.state: is a DEDUP key"],
        ),
        (["DROP TABLE operations"], ["operations: the table is missing"]),
        (["DROP MATERIALIZED VIEW trades_1s"], ["trades_1s: the view is missing"]),
        (
            [
                "DROP TABLE operations",
                "CREATE TABLE operations (finished_at TIMESTAMP, started_at TIMESTAMP_NS,"
                " operation SYMBOL, subject VARCHAR, result SYMBOL, detail VARCHAR, revision LONG)"
                " TIMESTAMP(finished_at) PARTITION BY DAY BYPASS WAL",
            ],
            [
                "operations: designated timestamp is finished_at, not started_at",
                "operations: partition unit is DAY, not MONTH",
                "operations: WAL is off, not on",
                "operations: DEDUP is off, not on",
                "operations.finished_at: type is TIMESTAMP, not TIMESTAMP_NS",
                "operations.started_at: is no DEDUP key",
                "operations.operation: is no DEDUP key",
                "operations.subject: is no DEDUP key",
            ],
        ),
        (
            [
                "DROP MATERIALIZED VIEW trades_1s",
                "CREATE MATERIALIZED VIEW trades_1s AS (SELECT timestamp, last(price) AS close"
                " FROM trades SAMPLE BY 1s) PARTITION BY DAY TTL 45 DAYS",
            ],
            [
                "trades_1s: its query is another one: SELECT timestamp, last(price) AS close"
                " FROM trades SAMPLE BY 1s"
            ],
        ),
    ],
)
async def test_every_drift_is_named(
    tables: Sql, statements: list[str], differences: list[str]
) -> None:
    for statement in statements:
        await change(tables, statement)
    assert await check_schema(tables) == differences


async def test_the_readonly_user_can_check(tables: Sql, questdb_server: ServerAddress) -> None:
    reader = Sql(questdb_server, readonly=True)
    assert await check_schema(reader) == []
    await reader.aclose()


# --- the tables do what they are for --------------------------------------------------------------


async def write(sql: Sql, address: ServerAddress, body: bytes) -> None:
    answer = await post(address, body)
    assert (answer.status_code, answer.text) == (204, "")
    await until_applied(sql)


@pytest.mark.parametrize("table", ["trades", "event_trades", "archive_trades"])
async def test_a_trade_sent_twice_is_stored_once(
    tables: Sql, questdb_server: ServerAddress, table: str
) -> None:
    def line(trade_id: str, price: float) -> bytes:
        return (
            f"{table},exchange=okx,market_type=spot,symbol=BTCUSDT,side=buy price={price},"
            f'quantity=2.0,trade_id="{trade_id}",sequence_number=7i,received_at={AT_NS + 1}n,'
            f'origin="stream" {AT_NS}\n'
        ).encode()

    await write(tables, questdb_server, line("a", 1.0) + line("b", 2.0) + line("a", 1.0))
    await write(tables, questdb_server, line("a", 3.0))
    rows = await tables.query(
        f"SELECT timestamp::long, trade_id, price, quantity, sequence_number, received_at::long,"
        f" side, origin, kind FROM {table} ORDER BY trade_id"
    )
    assert rows == [
        (AT_NS, "a", 3.0, 2.0, 7, AT_NS + 1, "buy", "stream", None),
        (AT_NS, "b", 2.0, 2.0, 7, AT_NS + 1, "buy", "stream", None),
    ]


async def test_bars_of_one_second_follow_the_trades(
    tables: Sql, questdb_server: ServerAddress
) -> None:
    second_ns = 1_900_000_000_000_000_000
    trades = [(0, 10.0, 1.0, "buy"), (1, 12.0, 2.0, "sell"), (2, 9.0, 3.0, "buy"),
              (999_999_999, 11.0, 4.0, "sell"), (1_000_000_000, 5.0, 5.0, "sell")]  # fmt: skip
    lines = "".join(
        f"trades,exchange=okx,market_type=spot,symbol=BTCUSDT,side={side} price={price},"
        f'quantity={quantity},trade_id="{offset_ns}" {second_ns + offset_ns}\n'
        for offset_ns, price, quantity, side in trades
    )
    expected = [
        (second_ns, 10.0, 12.0, 9.0, 11.0, 10.0, 4, 4.0),
        (second_ns + 1_000_000_000, 5.0, 5.0, 5.0, 5.0, 5.0, 1, 0.0),
    ]
    for _ in range(2):  # the second time nothing is counted again
        await write(tables, questdb_server, lines.encode())
        with trio.fail_after(60):
            while True:
                bars = await tables.query(
                    "SELECT timestamp::long, open, high, low, close, volume, trade_count,"
                    " buy_volume FROM trades_1s ORDER BY timestamp"
                )
                state = await tables.query(
                    "SELECT view_status, refresh_base_table_txn = base_table_txn"
                    " FROM materialized_views()"
                )
                if state == [("valid", True)] and bars:
                    break
                await trio.sleep(0.02)
        assert bars == expected


async def test_different_texts_of_the_same_nanosecond_stay_apart_in_quarantine(
    tables: Sql, questdb_server: ServerAddress
) -> None:
    def line(raw: str) -> bytes:
        tags = {"exchange": "gate", "market_type": "spot", "reason": "malformed"}
        return side_row("quarantine", tags, {"raw": raw, "detail": "", "rows": 0}, AT_NS)

    await write(tables, questdb_server, line("one") + line("two") + line("one"))
    assert await tables.query("SELECT raw, rows FROM quarantine ORDER BY raw") == [
        ("one", 0),
        ("two", 0),
    ]


UPSERTED: list[tuple[str, Callable[[int], bytes]]] = [
    (
        "instruments",
        lambda revision: side_row(
            "instruments",
            {"exchange": "kucoin", "market_type": "futures", "symbol": "BTCUSDT",
             "status": "trading"},
            {"venue_symbol": "XBTUSDTM", "base": "BTC", "quote": "USDT", "coin": "BTC", "unit": 1,
             "contract_value": "0.001", "price_exponent": -8, "krw_upbit": True,
             "krw_bithumb": False, "volume_quote": 1.5, "revision": revision},
            AT_NS, time_fields={"first_seen": AT_NS},
        ),
    ),
    (
        "feed_gaps",
        lambda revision: side_row(
            "feed_gaps",
            {"exchange": "okx", "market_type": "spot", "symbol": "BTCUSDT", "cause": "id_jump",
             "state": "confirmed"},
            {"gap_id": "1", "first_id": 5, "last_id": 9, "missing": 5, "exact": True,
             "filled_rows": 0, "reason": "", "revision": revision},
            AT_NS, time_fields={"from_ts": AT_NS, "to_ts": None, "closed_at": None},
        ),
    ),
    (
        "listing_events",
        lambda revision: side_row(
            "listing_events",
            {"source": "upbit", "symbol": "PEPE", "state": "pending"},
            {"notice_id": "4711", "title": "거래지원", "url": "https://x", "trigger_delay_ms": 3,
             "collected_trades": 0, "exchanges_with_data": 12, "certificate": "{}",
             "revision": revision},
            AT_NS, time_fields={"announced_at": AT_NS},
        ),
    ),
    (
        "operations",
        lambda revision: side_row(
            "operations", {"operation": "backup", "result": "running"},
            {"subject": "daily", "detail": "", "revision": revision}, AT_NS,
            time_fields={"finished_at": None},
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("table", "line"), UPSERTED)
async def test_a_later_revision_takes_the_row_of_the_earlier(
    tables: Sql, questdb_server: ServerAddress, table: str, line: Callable[[int], bytes]
) -> None:
    for revision in (1, 2):
        await write(tables, questdb_server, line(revision))
    assert await tables.query(f"SELECT revision FROM {table}") == [(2,)]


async def test_health_of_two_connections_at_the_same_moment_are_two_rows(
    tables: Sql, questdb_server: ServerAddress
) -> None:
    lines = b"".join(
        side_row(
            "exchange_health",
            {"exchange": "okx", "market_type": "spot", "state": "open"},
            {"connection": number, "subscribed": 9, "silent_symbols": 0, "messages": 5, "trades": 4,
             "reconnects": 0, "lag_ms": 1.5, "error": ""},
            AT_NS, time_fields={"last_trade_at": AT_NS},
        )
        for number in (0, 1)
    )  # fmt: skip
    await write(tables, questdb_server, lines + lines)
    assert await tables.query("SELECT connection, lag_ms FROM exchange_health") == [
        (0, 1.5),
        (1, 1.5),
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f'nowhere a="b" {AT_NS}\n', "table does not exist"),
        (f"trades,exchange=okx nothing=1.0 {AT_NS}\n", "nothing does not exist"),
    ],
)
async def test_a_line_never_makes_a_table_or_a_column(
    tables: Sql, questdb_server: ServerAddress, line: str, words: str
) -> None:
    answer = await post(questdb_server, line.encode())
    assert answer.status_code == 400
    assert words in answer.text
    assert await check_schema(tables) == []
