"""``verify`` against a real database: each kind of difference, and the reasons for them."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio

from pumpwatch import verify
from pumpwatch.capture.overlap import CLOCKS_APART_NS
from pumpwatch.cli import main
from pumpwatch.errors import EXIT_GOOD, EXIT_NO, VenueError
from pumpwatch.model import Gap, Instrument, InstrumentState
from pumpwatch.moments import iso_ns
from pumpwatch.store.gap_rows import gap_row
from pumpwatch.store.ilp_client import IlpClient, Outcome
from pumpwatch.store.instrument_rows import instrument_row
from pumpwatch.store.schema import apply_schema
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.sql import Sql
from pumpwatch.verify import choose
from tests.venues.rest_forms import MS, Made, bybit_rest, spot_id

pytestmark = pytest.mark.questdb

SECOND_NS = 10**9
START_NS = 1_790_000_040 * SECOND_NS  # a whole minute
END_NS = START_NS + 180 * SECOND_NS


def row(
    feed: str, symbol: str, number: int, ns: int, trade_id: str = "", price: float = 1.5
) -> str:
    exchange, market_type = feed.split("_")
    return (
        f"trades,exchange={exchange},market_type={market_type},symbol={symbol},side=buy,"
        f'origin=stream price={price},quantity=2.0,trade_id="{trade_id or number}",'
        f"sequence_number={number}i,received_at={ns // 1000}t {ns}\n"
    )


def gap(gap_id: str, symbol: str, state: str, ids: tuple[int, int], **facts: Any) -> Gap:
    return Gap(
        gap_id=gap_id, opened_ns=END_NS + len(gap_id) + ord(gap_id[0]), exchange="okx",
        market_type="spot", symbol=symbol, cause="cut", state=state, first_id=ids[0],
        last_id=ids[1], from_ns=START_NS, to_ns=START_NS + 20 * SECOND_NS, **facts,
    )  # fmt: skip


@pytest.fixture
async def stored(
    questdb_server: ServerAddress, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Any]]:
    """Puts rows into the session's database, which ``verify`` finds as a running one."""
    sql, client = Sql(questdb_server), IlpClient(questdb_server)

    async def put(trades: list[str], *gaps: Gap, instruments: list[Instrument] = []) -> None:  # noqa: B006
        lines = "".join(trades).encode() + b"".join(map(gap_row, gaps))
        lines += b"".join(
            instrument_row(InstrumentState(instrument=one, valid_from_ns=START_NS, first_seen_ns=1))
            for one in instruments
        )
        verdict = await client.send(lines)
        assert verdict.outcome is Outcome.ACCEPTED, verdict
        counts = {"trades": len(set(trades)), "feed_gaps": len(gaps),
                  "instruments": len(instruments)}  # fmt: skip
        with trio.fail_after(60):
            for table, count in counts.items():
                while (await sql.query(f"SELECT count() FROM {table}"))[0][0] != count:  # noqa: ASYNC110
                    await trio.sleep(0.05)

    try:
        await apply_schema(sql, spool_is_empty=lambda: True)
        for table in ("trades", "feed_gaps", "instruments"):
            await sql.execute(f"TRUNCATE TABLE {table}")
        monkeypatch.setattr(verify, "running_address", lambda config: questdb_server)
        yield put
    finally:
        await client.aclose()
        await sql.aclose()


def run(capsys: pytest.CaptureFixture[str], feed: str, code: int, *more: str) -> Any:
    capsys.readouterr()
    arguments = ["--from", iso_ns(START_NS), "--to", iso_ns(END_NS), "--feed", feed, "--json"]
    assert main(["verify", *arguments, *more]) == code
    return json.loads(capsys.readouterr().out)


async def ask(capsys: pytest.CaptureFixture[str], feed: str, code: int, *more: str) -> Any:
    return await trio.to_thread.run_sync(lambda: run(capsys, feed, code, *more))


def rows(numbers: list[int], symbol: str = "BTCUSDT") -> list[str]:
    return [row("okx_spot", symbol, one, START_NS + one * SECOND_NS) for one in numbers]


async def test_a_whole_record_shows_no_difference(
    stored: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    await stored(rows(list(range(1, 170))), gap("a", "BTCUSDT", "filled", (5, 9)))
    assert await ask(capsys, "okx_spot", EXIT_GOOD) == []


async def test_missing_ids_are_differences_and_the_ledger_may_know_why(
    stored: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    there = [one for one in range(1, 170) if one not in (10, 11, 12, 30, 31, 50)]
    await stored(
        rows(there),
        gap("a", "BTCUSDT", "lost", (10, 12), reason="beyond reach"),
        gap("b", "BTCUSDT", "empty", (50, 50), reason="not_offered"),
        gap("c", "BTCUSDT", "filled", (5, 9)),
    )
    found = await ask(capsys, "okx_spot", EXIT_NO)
    assert [(one["what"], one["reason"][:5]) for one in found] == [
        ("ids 10 to 12", "lost:"), ("ids 30 to 31 are not there", ""), ("ids 50 to 50", "empty"),
    ]  # fmt: skip


async def test_what_is_all_explained_is_good(
    stored: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    there = [one for one in range(1, 170) if one not in (10, 11)]
    await stored(rows(there), gap("a", "BTCUSDT", "confirmed", (10, 11)))
    [only] = await ask(capsys, "okx_spot", EXIT_GOOD)
    assert only["reason"] == "confirmed: cut, gap a"


async def test_a_false_filled_is_found(
    stored: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    there = [one for one in range(1, 170) if one not in (10, 11)]
    await stored(rows(there), gap("a", "BTCUSDT", "filled", (8, 11), filled_rows=4))
    found = await ask(capsys, "okx_spot", EXIT_NO)
    assert [one["check"] for one in found] == ["ids", "ledger"]
    assert "2 of its ids are not there" in found[1]["what"]


async def test_one_id_with_two_times_is_found(
    stored: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """R4."""
    twice = row("okx_spot", "BTCUSDT", 7, START_NS + 7 * SECOND_NS + 1)
    await stored([*rows(list(range(1, 170))), twice])
    [only] = await ask(capsys, "okx_spot", EXIT_NO)
    assert (only["check"], only["symbol"]) == ("times", "BTCUSDT")
    assert "id 7 is there 2 times" in only["what"]


async def test_a_minute_without_a_row_is_found(
    stored: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    quiet = [one for one in range(1, 175) if not 60 <= one < 120]
    trades = [
        row("bybit_spot", "BTCUSDT", 0, START_NS + one * SECOND_NS, str(one)) for one in quiet
    ]
    await stored(trades)
    [only] = await ask(capsys, "bybit_spot", EXIT_NO)
    minute = iso_ns(START_NS + 60 * SECOND_NS)[:16]
    assert (only["check"], only["what"]) == ("minutes", f"no row in the minute of {minute}Z")


COIN = Instrument(feed="bybit_spot", venue_symbol="BTCUSDT", symbol="BTCUSDT", base="BTC",
                  quote="USDT", coin="BTC")  # fmt: skip


async def test_the_venues_own_list_is_held_against_it(
    stored: Callable[..., Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [Made(one, one, START_NS + one * SECOND_NS, False, "1.5", "2") for one in range(1, 170)]
    trades = [
        row("bybit_spot", "BTCUSDT", 0, one.ns + MS * (one.number == 20), str(one.number),
            2.5 if one.number == 30 else 1.5)
        for one in made if one.number != 10
    ]  # fmt: skip
    await stored(trades, instruments=[COIN])
    last_ns = END_NS - CLOCKS_APART_NS
    shown = [one for one in made if one.ns < last_ns]

    async def get(self: object, *arguments: object, **options: object) -> bytes:
        return bybit_rest(spot_id)("BTCUSDT", shown).encode()

    monkeypatch.setattr("pumpwatch.rest.RestClient.get", get)
    found = await ask(capsys, "bybit_spot", EXIT_NO, "--sample", "1")
    told = [one["what"] for one in found]
    assert len(told) == 3
    assert "trade 10 of" in told[0]
    assert told[0].endswith("is not there")
    assert "is stored with the time" in told[1]
    assert "the venue says ('buy', 1.5, 2.0)" in told[2]

    async def fail(self: object, *arguments: object, **options: object) -> bytes:
        raise VenueError("no answer")

    monkeypatch.setattr("pumpwatch.rest.RestClient.get", fail)
    [only] = await ask(capsys, "bybit_spot", EXIT_GOOD, "--sample", "1")
    assert only["reason"] == "the venue did not answer: no answer"


def test_the_busiest_are_among_the_sample() -> None:
    some = [
        Instrument(feed="bybit_spot", venue_symbol=f"C{n}", symbol=f"C{n}", base=f"C{n}",
                   quote="USDT", coin=f"C{n}", volume_quote=float(n))
        for n in range(20)
    ]  # fmt: skip
    chosen = choose(some, 4, random.Random(1))
    assert {"C19", "C18"} < {one.symbol for one in chosen}
    assert len({one.symbol for one in chosen}) == 4
    assert choose(some, 50, random.Random(1)) == some
