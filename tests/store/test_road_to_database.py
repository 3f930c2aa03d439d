"""Spool → writer → applied on real tables: what the fake server promises, a QuestDB keeps."""

from __future__ import annotations

import random
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trio

from pumpwatch.model import Gap, Instrument, InstrumentState, Record
from pumpwatch.store.ilp_client import IlpClient, Outcome, Verdict
from pumpwatch.store.schema import MIGRATIONS, TABLES, apply_schema
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.side_tables import SideTables
from pumpwatch.store.sql import Sql
from pumpwatch.venues import FEEDS
from tests.store.records import GAPS, SetClock, segment_names
from tests.store.road import Road, balance_of, running

pytestmark = pytest.mark.questdb

AT_NS = 1_790_000_000_000_000_000
# Its eight bytes hold a line break: lines are told apart all the same.
PRICE = struct.unpack("<d", b"\n\n\n\n\n\n\x59\x40")[0]
TRADES_SQL = next(one.statement for one in MIGRATIONS if one.name == "trades")
WITHIN_S = 90.0


def trade(number: int, price: str | None = None, feed: int = 1) -> bytes:
    """A line as the hot path makes it: binary doubles, but for a price given as text."""
    spec = FEEDS[feed - 1]
    binary = b"==\x10" + struct.pack("<d", PRICE)
    return (
        f"trades,exchange={spec.exchange},market_type={spec.market_type},symbol=BTCUSDT,side=buy"
        " price"
    ).encode() + (binary if price is None else f"={price}".encode()) + (
        f',quantity=2.0,trade_id="{number}",sequence_number={number}i,received_at={AT_NS}n,'
        f'origin="stream" {AT_NS + number}\n'
    ).encode()  # fmt: skip


def trades(numbers: range, **changes: Any) -> Record:
    lines = [trade(number, **changes) for number in numbers]
    return Record(table=1, feed=changes.get("feed", 1), rows=len(lines), payload=b"".join(lines))


class LostAnswers:
    """The rows are stored, the answers to the first requests are not heard."""

    def __init__(self, client: IlpClient, times: int) -> None:
        self.bodies: list[bytes] = []
        self._client = client
        self._times = times

    async def send(self, body: bytes) -> Verdict:
        self.bodies.append(body)
        verdict = await self._client.send(body)
        if len(self.bodies) <= self._times:
            assert verdict.outcome is Outcome.ACCEPTED
            return Verdict(Outcome.RETRY, "on purpose")
        return verdict

    def renew(self) -> None:
        self._client.renew()


@pytest.fixture
async def tables(empty_database: Sql) -> Sql:
    await apply_schema(empty_database, spool_is_empty=lambda: True)
    return empty_database


@pytest.fixture
async def client(questdb_server: ServerAddress) -> AsyncIterator[IlpClient]:
    one = IlpClient(questdb_server)
    yield one
    await one.aclose()


@asynccontextmanager
async def with_side_tables(
    folder: Path, client: IlpClient, sql: Sql
) -> AsyncIterator[tuple[Road, SideTables]]:
    """All tables' writers; refused lines go to the quarantine table."""
    made: list[SideTables] = []

    def quarantine(road: Road) -> Any:
        made.append(SideTables(road.spool, SetClock(AT_NS), FEEDS, folder / "quarantine"))
        return made[0].refused_line

    async with running(
        folder / "spool", client, sql, names=list(TABLES), quarantine=quarantine
    ) as road:
        yield road, made[0]
        made[0].close()


async def stored(sql: Sql, table: str = "trades") -> list[int]:
    rows = await sql.query(f"SELECT trade_id FROM {table}")
    return sorted(int(row[0]) for row in rows)


async def test_rows_are_stored_once_after_retries_of_the_same_bytes(
    tmp_path: Path, tables: Sql, client: IlpClient
) -> None:
    sender = LostAnswers(client, times=3)
    async with running(tmp_path, sender, tables) as road:
        road.spool.append(trades(range(1000)))
        await road.until_applied(WITHIN_S)
        assert road.differences() == []
        assert balance_of(road) == (1000, 1000, 0)
    assert sender.bodies == [sender.bodies[0]] * 4
    assert await stored(tables) == list(range(1000))
    ((low, high),) = await tables.query("SELECT min(price), max(price) FROM trades")
    assert (low, high) == (PRICE, PRICE)


async def test_without_dedup_the_same_retries_store_rows_again(
    tmp_path: Path, tables: Sql, client: IlpClient
) -> None:
    """The control of the test above."""
    await tables.execute("ALTER TABLE trades DEDUP DISABLE")
    async with running(tmp_path, LostAnswers(client, times=3), tables) as road:
        road.spool.append(trades(range(10)))
        await road.until_applied(WITHIN_S)
    assert len(await stored(tables)) == 40


async def test_poisoned_lines_end_in_quarantine_and_the_others_are_stored(
    tmp_path: Path, tables: Sql, client: IlpClient
) -> None:
    async with with_side_tables(tmp_path, client, tables) as (road, _):
        road.spool.append(trades(range(500)))
        road.spool.append(trades(range(500, 501), price='"a text"', feed=4))
        road.spool.append(trades(range(501, 900)))
        road.spool.append(trades(range(900, 901), price="1.2.3"))
        road.spool.append(trades(range(901, 1000)))
        await road.until(lambda: len(road.spool.files.table_ends()) == 2, WITHIN_S)
        road.spool.begin_drain()
        await road.until_applied(WITHIN_S)
        assert road.differences() == []
        assert balance_of(road) == (998, 998, 1)
        assert balance_of(road, feed=4) == (0, 0, 1)
    assert await stored(tables) == [n for n in range(1000) if n not in {500, 900}]
    rows = await tables.query(
        "SELECT exchange, market_type, reason, rows, raw, detail FROM quarantine ORDER BY raw"
    )
    spec = FEEDS[3]
    assert sorted(row[:4] for row in rows) == sorted(
        [
            (spec.exchange, spec.market_type, "refused", 1),
            (FEEDS[0].exchange, FEEDS[0].market_type, "refused", 1),
        ]
    )
    text = {row[4].split('trade_id="')[1][:3]: row[5] for row in rows}
    assert (
        "column: price; cast error from protocol type: STRING to column type: DOUBLE"
        in (text["500"])
    )
    assert "Field: price; value: 1.2.3" in text["900"]
    assert trade(500, '"a text"', feed=4).decode().strip() in {row[4].strip() for row in rows}


async def test_a_table_dropped_and_made_anew_under_load_gets_all_unreleased_rows_again(
    tmp_path: Path, tables: Sql, client: IlpClient
) -> None:
    numbers = count()
    rng = random.Random(5)
    async with running(tmp_path, client, tables) as road:

        async def load(seconds: float) -> None:
            with trio.move_on_after(seconds):
                while True:
                    first = next(numbers)
                    size = rng.randrange(1, 200)
                    road.spool.append(trades(range(first * 1000, first * 1000 + size)))
                    sent.extend(range(first * 1000, first * 1000 + size))
                    await trio.sleep(0.01)

        sent: list[int] = []
        await load(1.0)
        await road.until(lambda: balance_of(road)[1] > 0, WITHIN_S)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(load, 2.0)
            await trio.sleep(0.7)
            await tables.execute("DROP TABLE trades")
            await trio.sleep(0.5)
            await tables.execute(TRADES_SQL)
        await road.until(lambda: road.trades.epoch > 0, WITHIN_S)
        await road.until_applied(WITHIN_S)
        assert road.differences() == []
        assert road.refused == []
        assert await stored(tables) == sent
        assert len(segment_names(tmp_path)) == 1  # nothing had been released


async def test_a_table_that_is_missing_stops_only_its_writer(
    tmp_path: Path, tables: Sql, client: IlpClient
) -> None:
    """R8, in the database's own words."""
    async with running(
        tmp_path, client, tables, names=["trades", "feed_gaps"], is_watched=False
    ) as road:
        await road.watch.look()
        await tables.execute("DROP TABLE feed_gaps")
        road.spool.append(
            Record(table=GAPS, feed=0, rows=1, payload=f'feed_gaps gap_id="1" {AT_NS}\n'.encode())
        )
        road.spool.append(trades(range(10)))
        with trio.fail_after(WITHIN_S):
            while road.writers["feed_gaps"].state != "faulty" or len(await stored(tables)) < 10:  # noqa: ASYNC110
                await trio.sleep(0.05)
        assert "table does not exist" in road.writers["feed_gaps"].last_error
        assert road.refused == []


async def test_a_restart_replays_what_the_database_never_saw(
    tmp_path: Path, tables: Sql, client: IlpClient
) -> None:
    nobody = ServerAddress(
        http_url="http://127.0.0.1:1", pg_host="127.0.0.1", pg_port=1, user="u", password="p",
        readonly_user="r", readonly_password="p",
    )  # fmt: skip
    away = IlpClient(nobody)
    async with running(tmp_path, away, tables) as road:
        road.spool.append(trades(range(500)))
        await road.until(lambda: road.writers["trades"].state == "retrying", WITHIN_S)
        assert "ConnectError" in road.writers["trades"].last_error
        await road.kill()
    await away.aclose()
    async with running(tmp_path, client, tables) as road:
        assert road.spool.recovery is not None
        assert road.spool.recovery.rows == 500
        road.spool.append(trades(range(500, 600)))
        await road.until_applied(WITHIN_S)
        assert road.differences() == []
        await road.kill()  # after everything is applied, before anything is released
    async with running(tmp_path, client, tables) as road:
        assert road.spool.recovery is not None
        left = road.spool.recovery.rows
        await road.until_applied(WITHIN_S)
        assert balance_of(road) == (left, left, 0)
    assert await stored(tables) == list(range(600))
    assert segment_names(tmp_path) == []


async def test_every_small_tables_rows_are_taken_by_the_database(
    tmp_path: Path, tables: Sql, client: IlpClient
) -> None:
    async with with_side_tables(tmp_path, client, tables) as (road, side):
        hole = Gap(
            gap_id="a", opened_ns=AT_NS, exchange="binance", market_type="spot", symbol="BTCUSDT",
            cause="id_jump", from_ns=AT_NS, to_ns=AT_NS, first_id=5, last_id=9, missing=5,
            exact=True, state="confirmed",
        )  # fmt: skip
        cut = Gap(
            gap_id="b", opened_ns=AT_NS + 1, exchange="binance", market_type="spot",
            symbol="BTCUSDT", cause="cut", from_ns=AT_NS,
        )  # fmt: skip
        side.gaps([hole, cut])
        side.instruments(
            InstrumentState(
                instrument=Instrument(
                    feed="kucoin_futures", venue_symbol=f"{base}USDTM", symbol=f"{base}USDT",
                    base=base, quote="USDT", coin=base, contract_value="0.001",
                    price_exponent=-8, krw_bithumb=False,
                ),
                valid_from_ns=AT_NS, first_seen_ns=AT_NS,
            )
            for base in ("BTC", "哈基米")
        )  # fmt: skip
        side.keep(FEEDS[0], "malformed", b'{"a":"\xff\\"\n', 0, "no price")
        side.look()
        await road.spool.written()
        await road.until_applied(WITHIN_S)
    gaps = await tables.query(
        "SELECT cause, state, first_id, missing, exact, from_ts::long, to_ts::long, revision"
        " FROM feed_gaps ORDER BY opened_at"
    )
    assert gaps == [
        ("id_jump", "confirmed", 5, 5, True, AT_NS, AT_NS, 1),
        ("cut", "suspected", None, -1, False, AT_NS, None, 1),
    ]
    instruments = await tables.query(
        "SELECT symbol, base, quote, coin, unit, contract_value, price_exponent, krw_bithumb"
        " FROM instruments ORDER BY symbol"
    )
    assert instruments == [
        ("BTCUSDT", "BTC", "USDT", "BTC", 1, "0.001", -8, False),
        ("哈基米USDT", "哈基米", "USDT", "哈基米", 1, "0.001", -8, False),
    ]
    assert await tables.query("SELECT raw, detail, rows, messages FROM quarantine") == [
        ('{"a":"\\xff\\" ', "no price", 0, 1)
    ]
