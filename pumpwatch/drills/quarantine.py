"""Members of messages are renamed for a while: kept whole, read again, stored once each.

On feeds of all kinds of ids the venue calls a member by another name; backfill is off, so that
nothing else can bring the rows. The daemon is killed in between. A first retry, by a parser that
knows the old name only, changes nothing; a second one, told of the new name, recovers every row and
closes the holes.
"""

from __future__ import annotations

import random
from typing import Any

import trio

from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.reckoning import pending, reckon
from pumpwatch.drills.stage import DaemonProcess, is_subscribed, stage_of
from pumpwatch.drills.verbs import say
from pumpwatch.sim.faults import Fault
from pumpwatch.store.server import running_address
from pumpwatch.store.sql import Sql

# A feed, a member of its trades, and what it is called meanwhile: ids that count up, ids that do
# not, none at all.
RENAMED = (
    ("binance_futures", "p", "z"),
    ("okx_spot", "px", "pz"),
    ("bybit_spot", "i", "j"),
    ("kucoin_futures", "price", "prize"),
    ("gate_spot", "price", "prize"),
    ("phemex_futures", "symbol", "zymbol"),
)
BEFORE_S = 2.0  # of trading as ever
OPEN_SQL = "SELECT count() FROM feed_gaps WHERE cause = 'quarantine' AND state = 'suspected'"
KINDS_SQL = "SELECT exchange, market_type, detail, messages FROM quarantine ORDER BY received_at"
APPLIED_S_MAX = 60.0
WATCH_S = 0.25


async def run(order: Order) -> Outcome:
    """Rename for ``count`` seconds; see the module."""
    outcome = Outcome()
    seed = random.Random(order.seed).randrange(1 << 31)
    async with stage_of(order, seed=seed) as (simulator, daemon):
        daemon.start()
        await daemon.until(is_subscribed, "subscribed")
        await trio.sleep(BEFORE_S)
        await simulator.give_faults(
            [
                Fault(feed=feed, kind="rename", field=field, into=into, seconds=float(order.count))
                for feed, field, into in RENAMED
            ]
        )
        await trio.sleep(order.count + BEFORE_S)
        await simulator.stop_generating()
        before = await daemon.until(lambda status: not pending(status), "drained")
        kept = {feed["feed"]: int(feed["quarantined_messages"]) for feed in before["feeds"]}
        kinds = await _until_counted(outcome, daemon, sum(kept.values()))
        daemon.kill()  # what is kept survives it
        daemon.start()
        await daemon.until(is_subscribed, "subscribed again")
        await _try_without_names(outcome, daemon, kept)
        recovered = await _try_with_names(outcome, daemon)
        await _until_none_is_open(outcome, daemon)
        await reckon(outcome, simulator, daemon)
    for feed, field, into in RENAMED:
        told = [
            (detail, messages)
            for exchange, market_type, detail, messages in kinds
            if f"{exchange}_{market_type}" == feed
        ]
        outcome.expect(
            all(into in detail and field in detail for detail, _ in told) and bool(told),
            f"{feed}: {field} became {into}, and the table says {told[:3]}",
        )
        outcome.expect(kept[feed] > 0, f"{feed}: no message was unreadable")
    outcome.figures = {"messages": sum(kept.values()), "recovered": recovered}
    return outcome


async def _try_without_names(outcome: Outcome, daemon: DaemonProcess, kept: dict[str, int]) -> None:
    code, found, told = await say(daemon, "quarantine", "retry")
    outcome.expect(code == 1, f"a retry that can read nothing ends with {code}: {told}")
    wanted = sum(kept.values())
    figures = (found or {}).get("messages"), (found or {}).get("stay"), (found or {}).get("rows")
    outcome.expect(figures == (wanted, wanted, 0), f"a retry that can read nothing: {found}")


async def _try_with_names(outcome: Outcome, daemon: DaemonProcess) -> int:
    recovered = 0
    for feed, field, into in RENAMED:
        words = ["quarantine", "retry", "--feed", feed, "--rename", f"{into}={field}"]
        code, found, told = await say(daemon, *words)
        # Phemex's snapshot after the restart may have brought its rows before.
        is_read = code == 0 and found["read"] > 0 and found["rows"] + found["repeated"] > 0
        outcome.expect(is_read, f"{feed}: {code}, {found} {told}")
        recovered += int((found or {}).get("rows", 0))
        code, found, told = await say(daemon, *words)
        is_nothing = code == 0 and found["messages"] == 0
        outcome.expect(is_nothing, f"{feed}: a second retry: {code}, {found} {told}")
    return recovered


async def _until_counted(
    outcome: Outcome, daemon: DaemonProcess, messages: int
) -> list[tuple[Any, ...]]:
    """The table's rows, once they count every message."""
    rows: list[tuple[Any, ...]] = []
    counted = 0
    with trio.move_on_after(APPLIED_S_MAX):
        while counted < messages:
            await trio.sleep(WATCH_S)
            rows = await _rows(daemon, KINDS_SQL)
            counted = sum(row[3] for row in rows)
    outcome.expect(counted == messages, f"{messages} messages, the table counts {counted}")
    return rows


async def _until_none_is_open(outcome: Outcome, daemon: DaemonProcess) -> None:
    rows: list[tuple[Any, ...]] = [(-1,)]
    with trio.move_on_after(APPLIED_S_MAX):
        while (rows := await _rows(daemon, OPEN_SQL))[0][0]:  # noqa: ASYNC110 - a table has no event
            await trio.sleep(WATCH_S)
    outcome.expect(rows[0][0] == 0, f"{rows[0][0]} holes of the quarantine are open")


async def _rows(daemon: DaemonProcess, statement: str) -> list[tuple[Any, ...]]:
    sql = Sql(running_address(daemon.config), readonly=True)
    try:
        return [tuple(row) for row in await sql.query(statement)]
    finally:
        await sql.aclose()
