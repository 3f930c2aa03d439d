"""Does ``verify`` tell the truth (D-06)? Nothing on a whole record, and each thing that we break.

Feeds are cut while rows come in, so that the ledger has something to explain. Then one id is taken
out of the table, of a feed whose ids count up, and put back after it was told of.
"""

from __future__ import annotations

import random
from typing import Any

import trio

from pumpwatch.clock import SystemClock
from pumpwatch.config import FEED_NAMES
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.stage import GOES_ON, DaemonProcess, is_subscribed, stage_of
from pumpwatch.drills.told import judge_feeds, read_ledger, settle_holes
from pumpwatch.drills.verbs import say
from pumpwatch.moments import iso_ns
from pumpwatch.sim.faults import Fault
from pumpwatch.sim.process import Simulator
from pumpwatch.store.partitions import wait_applied
from pumpwatch.store.server import running_address
from pumpwatch.store.sql import Sql

WITHHELD_EVERY_S = 3.0
BY_ID = ("binance", "spot")  # ids count up without a hole
SAMPLE = 3
# A row leaves its symbol's ids: to the checks it is gone.
MOVE_SQL = (
    "UPDATE trades SET sequence_number = -sequence_number WHERE exchange = '{0}'"
    " AND market_type = '{1}' AND symbol = '{2}' AND trade_id = '{3}'"
)
VICTIM_SQL = (
    "SELECT symbol, trade_id FROM trades WHERE exchange = '{0}' AND market_type = '{1}'"
    " AND symbol = 'BTCUSDT' AND timestamp >= {2}::timestamp_ns ORDER BY timestamp LIMIT 100"
)


async def run(order: Order) -> Outcome:
    """Record ``count`` seconds, verify, break, verify again; see the module."""
    outcome = Outcome()
    rng = random.Random(order.seed)
    async with stage_of(order, has_backfill=True, arguments=GOES_ON) as (simulator, daemon):
        daemon.start()
        await daemon.until(is_subscribed, "subscribed")
        from_ns = SystemClock().wall_ns()
        await _disturb(order, rng, simulator)
        await settle_holes(outcome, simulator, daemon)
        whole = await _verify(daemon, from_ns)
        broken = await _break_one(daemon, from_ns)
        found = await _verify(daemon, from_ns)
        await _mend(daemon, broken)
        gaps = await read_ledger(outcome, daemon)
        played = await simulator.played_faults()
        await judge_feeds(order, outcome, simulator, daemon, gaps, played)
    silent = [row for row in whole[1] if not row["reason"]]
    outcome.expect(whole[0] == 0, f"verify of a whole record: exit code {whole[0]}: {silent[:3]}")
    told = [row for row in found[1] if not row["reason"]]
    outcome.expect(found[0] == 1, f"verify with an id gone: exit code {found[0]}")
    outcome.expect(
        any((row["symbol"], row["check"]) == ("BTCUSDT", "ids") for row in told),
        f"the id that is gone is not told of: {told[:3]}",
    )
    outcome.figures |= {
        "explained": len(whole[1]) - len(silent), "silent": len(silent), "found": len(told),
    }  # fmt: skip
    return outcome


async def _disturb(order: Order, rng: random.Random, simulator: Simulator) -> None:
    with trio.move_on_after(order.count):
        while True:
            await trio.sleep(WITHHELD_EVERY_S)
            feed = rng.choice(FEED_NAMES)
            await simulator.give_faults([Fault(feed=feed, kind="cut")])


async def _verify(daemon: DaemonProcess, from_ns: int) -> tuple[int, list[dict[str, Any]]]:
    code, rows, _ = await say(daemon, "verify", "--from", iso_ns(from_ns))
    return code, rows or []


async def _break_one(daemon: DaemonProcess, from_ns: int) -> tuple[str, ...]:
    """An id in the middle of its symbol's within the span that is verified; returns which."""
    sql = Sql(running_address(daemon.config))
    try:
        rows = await sql.query(VICTIM_SQL.format(*BY_ID, from_ns))
        victim = (*BY_ID, *map(str, rows[len(rows) // 2]))
        await sql.execute(MOVE_SQL.format(*victim))
        await wait_applied(sql, "trades")
    finally:
        await sql.aclose()
    return victim


async def _mend(daemon: DaemonProcess, victim: tuple[str, ...]) -> None:
    sql = Sql(running_address(daemon.config))
    try:
        await sql.execute(MOVE_SQL.format(*victim))
        await wait_applied(sql, "trades")
    finally:
        await sql.aclose()
