"""Two sides of one stream (D-03c): the memory hour and the table hold the same rows.

Five readers ask both sides for the same windows while twelve feeds bring rows in: the daemon's
page, which answers from memory, and the table, asked past the daemon. The first and the last
seconds do not count in the times. At the end every row is held against the truth.
"""

from __future__ import annotations

import random
from typing import Any

import trio

from pumpwatch.clock import SystemClock
from pumpwatch.daemon_client import ask_window
from pumpwatch.drills.by_feed import reckon_by_feed
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.stage import DaemonProcess, is_subscribed, stage_of
from pumpwatch.drills.timing import quantiles_ms
from pumpwatch.drills.trace import MemoryTrace
from pumpwatch.moments import iso_ns
from pumpwatch.rates import TimesBySource
from pumpwatch.sim.process import Simulator
from pumpwatch.store.server import running_address
from pumpwatch.store.sql import Sql
from pumpwatch.store.window_model import WindowQuestion
from pumpwatch.store.window_reader import Windows

READERS = 5
WARM_UP_SHARE, COOL_DOWN_SHARE = 0.1, 0.033  # 30 s and 10 s of 5 minutes
WINDOW_NS = 5 * 10**9
AGE_NS = (12 * 10**9, 40 * 10**9)  # of a window's end: applied, and still in memory
ROWS_MAX = 10_000
APPLIED_S_MAX = 120.0
PAUSE_S = 0.2


class _Sides:
    """What both sides said."""

    def __init__(self) -> None:
        self.memory_s: list[float] = []
        self.table_s: list[float] = []
        self.windows = 0
        self.rows = 0
        self.from_memory = 0
        self.different: list[str] = []


async def run(order: Order) -> Outcome:
    """``count`` seconds; see the module."""
    outcome, sides = Outcome(), _Sides()
    rng = random.Random(order.seed)
    async with stage_of(order, seed=rng.randrange(1 << 31)) as (simulator, daemon):
        daemon.start()
        await daemon.until(is_subscribed, "subscribed")
        await trio.sleep(AGE_NS[1] / 1e9)  # windows have a past
        trace = MemoryTrace(daemon)
        begun_s = trio.current_time()
        counted = (
            begun_s + WARM_UP_SHARE * order.count,
            begun_s + (1 - COOL_DOWN_SHARE) * order.count,
        )
        sql = Sql(running_address(daemon.config), readonly=True, connections_max=READERS)
        table = Windows(sql, SystemClock(), TimesBySource())
        symbols = _symbols(simulator)
        with trio.move_on_after(order.count):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trace.run, max(1.0, order.count / 30))
                for _ in range(READERS):
                    own = random.Random(rng.getrandbits(64))
                    nursery.start_soon(_read, daemon, table, symbols, own, sides, counted)
        await sql.aclose()
        store = daemon.status()["store"]
        await reckon_by_feed(order, outcome, simulator, daemon)
    outcome.faults += [f"the sides differ: {text}" for text in sides.different[:3]]
    outcome.faults += trace.too_large()
    outcome.expect(sides.from_memory > 0, "no window came from memory")
    outcome.expect(sides.rows > 0, "no window held a row")
    outcome.figures |= {
        "seconds_run": order.count, "rate_per_s": order.rate_per_s, "windows": sides.windows,
        "window_rows": sides.rows, "different": len(sides.different),
        "read_memory": quantiles_ms(sides.memory_s), "read_table": quantiles_ms(sides.table_s),
        "visible_p50_s": store["lag_p50_s"], "visible_p99_s": store["lag_p99_s"],
        **trace.figures(),
    }  # fmt: skip
    return outcome


def _symbols(simulator: Simulator) -> list[str]:
    facts = simulator.facts().values()
    return sorted({symbol for one in facts for symbol in one["symbols"]})


async def _read(
    daemon: DaemonProcess, table: Windows, symbols: list[str], rng: random.Random, sides: _Sides,
    counted: tuple[float, float],
) -> None:  # fmt: skip
    clock = SystemClock()
    while True:
        to_ns = clock.wall_ns() - rng.randint(*AGE_NS)
        symbol = rng.choice(symbols)
        question = WindowQuestion(symbols=(symbol,), from_ns=to_ns - WINDOW_NS, to_ns=to_ns)
        begun_s = trio.current_time()
        told = await trio.to_thread.run_sync(ask_window, daemon.config, question, ROWS_MAX)
        between_s = trio.current_time()
        held, _ = await table.head(question, ROWS_MAX)
        ended_s = trio.current_time()
        if counted[0] <= begun_s <= counted[1]:
            sides.memory_s.append(between_s - begun_s)
            sides.table_s.append(ended_s - between_s)
        sides.windows += 1
        sides.from_memory += told["source"] == "memory"
        rows, other = _keys(told["trades"]), _keys(held.trades.rows())
        with trio.move_on_after(APPLIED_S_MAX):
            while rows - other:  # the table may not have applied them yet
                await trio.sleep(1)
                held, _ = await table.head(question, ROWS_MAX)
                other = _keys(held.trades.rows())
        sides.rows += len(rows)
        if rows != other:
            only = len(rows - other), len(other - rows)
            sides.different.append(
                f"{symbol} until {iso_ns(to_ns)}: {only[0]} only in {told['source']}, {only[1]}"
                " only in the table"
            )
        await trio.sleep(PAUSE_S)


def _keys(rows: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    return {
        (row["exchange"], row["market_type"], row["symbol"], row["trade_id"],
         _moment(row["timestamp"]), row["side"], row["price"], row["quantity"])
        for row in rows
    }  # fmt: skip


def _moment(told: object) -> str:
    return iso_ns(told) if isinstance(told, int) else str(told)
