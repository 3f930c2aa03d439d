"""Ledger and instruments: written as line protocol, read back by the next start."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
import trio

from pumpwatch.model import Gap, Instrument, InstrumentState
from pumpwatch.store.gap_rows import gap_row, read_needed_gaps
from pumpwatch.store.ilp_client import IlpClient, Outcome
from pumpwatch.store.instrument_rows import instrument_row, read_instruments
from pumpwatch.store.schema import apply_schema
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.sql import Sql

pytestmark = pytest.mark.questdb

NOW_NS = 1_790_000_000_123_456_789
GAP = Gap(
    gap_id="18d7.1", opened_ns=NOW_NS, exchange="okx", market_type="spot", symbol="BTCUSDT",
    cause="cut", from_ns=NOW_NS - 7, first_id=101,
)  # fmt: skip


def changed(row: Any, **facts: Any) -> Any:
    return msgspec.structs.replace(row, **facts)


async def store(address: ServerAddress, lines: list[bytes]) -> None:
    client = IlpClient(address)
    try:
        verdict = await client.send(b"".join(lines))
        assert verdict.outcome is Outcome.ACCEPTED, verdict
    finally:
        await client.aclose()


async def until(ask: Callable[[], Awaitable[list[Any]]], wanted: list[Any]) -> None:
    """Rows become visible a little after they are accepted."""
    found: list[Any] = []
    with trio.move_on_after(20):
        while found != wanted:
            await trio.sleep(0.05)
            found = await ask()
    assert found == wanted


async def test_a_start_reads_what_is_open_or_explains_missing_ids(
    questdb_server: ServerAddress, empty_database: Sql
) -> None:
    await apply_schema(empty_database, spool_is_empty=lambda: True)
    confirmed = changed(
        GAP, revision=3, last_id=150, missing=50, exact=True, state="confirmed", to_ns=NOW_NS + 9
    )
    lost = changed(
        confirmed, gap_id="lost", opened_ns=NOW_NS + 1, state="lost", reason="beyond, 'reach' \\",
        closed_ns=NOW_NS + 10,
    )  # fmt: skip
    skipped = changed(lost, gap_id="skipped", opened_ns=NOW_NS + 2, state="empty",
                      reason="not_offered", missing=0)  # fmt: skip
    filled = changed(lost, gap_id="filled", opened_ns=NOW_NS + 3, state="filled", filled_rows=50)
    lost_time = changed(lost, gap_id="time", opened_ns=NOW_NS + 4, first_id=0, last_id=0)
    any_symbol = changed(GAP, gap_id="any", opened_ns=NOW_NS + 5, symbol="*", first_id=0)
    rows = [GAP, confirmed, lost, skipped, filled, lost_time, any_symbol]
    await store(questdb_server, [gap_row(row) for row in rows])

    async def ask() -> list[Any]:
        return sorted(await read_needed_gaps(empty_database), key=lambda gap: gap.opened_ns)

    await until(ask, [confirmed, lost, skipped, any_symbol])


async def test_a_start_reads_the_latest_state_of_every_instrument(
    questdb_server: ServerAddress, empty_database: Sql
) -> None:
    await apply_schema(empty_database, spool_is_empty=lambda: True)
    pepe = Instrument(
        feed="bybit_futures", venue_symbol="1000PEPEUSDT", symbol="1000PEPEUSDT", base="1000PEPE",
        quote="USDT", coin="PEPE", unit=1000, contract_value="1", price_exponent=-3,
        krw_upbit=True, krw_bithumb=False, volume_quote=1.5e6,
    )  # fmt: skip
    old = InstrumentState(instrument=pepe, valid_from_ns=NOW_NS, first_seen_ns=NOW_NS - 5)
    new = InstrumentState(
        instrument=changed(pepe, contract_value="10", status="halted"),
        valid_from_ns=NOW_NS + 1, first_seen_ns=NOW_NS - 5, revision=2,
    )  # fmt: skip
    spot = InstrumentState(
        instrument=changed(pepe, feed="bybit_spot"),
        valid_from_ns=NOW_NS, first_seen_ns=NOW_NS,
    )  # fmt: skip
    await store(questdb_server, [instrument_row(state) for state in (old, new, spot)])

    async def ask() -> list[Any]:
        return sorted(await read_instruments(empty_database), key=lambda one: one.instrument.feed)

    await until(ask, [new, spot])
