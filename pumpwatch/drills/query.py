"""How fast windows are answered by a table of 30 days (D-04): cold, warm, and while rows come in.

The table is filled by the server itself: 10 symbols over the 12 feeds, ``count`` rows a second in
all, so that every window's number of rows is known. Cold: the table's files are dropped from the
page cache and the server is a new one.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import trio

from pumpwatch.clock import SystemClock
from pumpwatch.drills.months import database_before, day_of
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.stage import applied_rows, is_subscribed, stage_of
from pumpwatch.drills.timing import quantiles_ms
from pumpwatch.rates import TimesBySource
from pumpwatch.store.partitions import DAY_NS, NS_PER_S, wait_applied
from pumpwatch.store.server import running_address
from pumpwatch.store.sql import Sql
from pumpwatch.store.window_model import WindowQuestion
from pumpwatch.store.window_reader import ROW_SQL, Windows

DAYS = 30
SYMBOLS = tuple(f"QUERY{number}USDT" for number in range(10))  # no venue of the simulator lists one
FEEDS = 12
WINDOW_NS = 40 * NS_PER_S
ASKED, COLD_ASKED = 1000, 50
WARM_P99_MS_MAX = 100.0
PIECE_DAYS = 5  # of one statement
# Row x: its symbol is x % 10, its feed x % 12, so that every feed gets some of every second symbol.
FILL_SQL = (
    "INSERT INTO trades SELECT ({start} + x * {step})::timestamp_ns,"
    " CASE WHEN x % 6 = 0 THEN 'binance' WHEN x % 6 = 1 THEN 'bybit' WHEN x % 6 = 2 THEN 'okx'"
    " WHEN x % 6 = 3 THEN 'kucoin' WHEN x % 6 = 4 THEN 'gate' ELSE 'phemex' END,"
    " CASE WHEN x % 12 < 6 THEN 'spot' ELSE 'futures' END,"
    " concat('QUERY', x % 10, 'USDT'), CASE WHEN x % 2 = 0 THEN 'buy' ELSE 'sell' END,"
    " 100 + x % 97 * 0.25, 1 + x % 13 * 0.5, concat('q', {first} + x), {first} + x,"
    " ({start} + x * {step} + 5000000)::timestamp_ns, 'stream', null"
    " FROM (SELECT x - 1 x FROM long_sequence({rows}))"
)


# Nothing of the table is to be dropped, or made a cold file, while it is asked.
SETTINGS = "\n[retention]\ndays = 40\ncold_hours = 960\n"


async def run(order: Order) -> Outcome:
    """Fill, ask cold, ask warm, ask while rows come in; see the module."""
    outcome = Outcome()
    rng = random.Random(order.seed)
    step_ns = NS_PER_S // order.count
    from_ns = day_of(SystemClock().wall_ns(), DAYS)
    async with stage_of(order, SETTINGS) as (simulator, daemon):
        begun_s = trio.current_time()
        order.tell(f"filling {DAYS} days with {order.count} rows/s")
        async with database_before(daemon.config) as sql:
            rows = await fill(sql, from_ns, order.count)
            [(used,)] = await sql.query("SELECT sum(diskSize) FROM table_partitions('trades')")
        fill_s = trio.current_time() - begun_s
        dropped = await trio.to_thread.run_sync(_drop_from_page_cache, daemon.data_dir / "questdb")
        await simulator.set_rate(0)
        daemon.start()
        await daemon.until(is_subscribed, "subscribed")
        sql = Sql(running_address(daemon.config), readonly=True, connections_max=1)
        windows = Windows(sql, SystemClock(), TimesBySource())
        try:
            asked: dict[str, dict[str, float]] = {}
            for name, count, rate in (
                ("cold", COLD_ASKED, 0),
                ("warm", ASKED, 0),
                ("warm_ingest", ASKED, order.rate_per_s),
            ):
                order.tell(f"asking {count} windows, {name}")
                await simulator.set_rate(rate)
                questions = list(questions_of(rng, count, from_ns, from_ns + DAYS * DAY_NS))
                times_s, wrong = await ask_all(windows, questions, from_ns, step_ns)
                asked[name] = quantiles_ms(times_s)
                outcome.faults += [f"{name}: {text}" for text in wrong[:3]]
            plan = await plan_of(sql, from_ns)
        finally:
            await sql.aclose()
        came = applied_rows(daemon.status())
    outcome.rows = rows
    p99_ms = asked["warm_ingest"]["p99_ms"]
    outcome.expect_speed(
        order,
        p99_ms < WARM_P99_MS_MAX,
        f"p99 {p99_ms} ms with rows coming in, {WARM_P99_MS_MAX:g} allowed",
    )
    outcome.expect("Interval forward scan" in plan, f"no interval scan: {plan}")
    outcome.expect(came > 0, "no row came in meanwhile")
    outcome.figures |= {
        "days": DAYS, "table_rows_per_s": order.count, "table_mib": round(int(used) / 2**20),
        "fill_s": round(fill_s, 1), "dropped_mib": round(dropped / 2**20), "came_in": came,
        **asked, "plan": plan,
    }  # fmt: skip
    return outcome


async def fill(sql: Sql, from_ns: int, rows_per_s: int, days: int = DAYS) -> int:
    """So many rows a second from ``from_ns`` on; returns how many that are. Raises ServerError."""
    step_ns = NS_PER_S // rows_per_s
    per_piece = PIECE_DAYS * DAY_NS // step_ns
    for number in range(days // PIECE_DAYS):
        first = number * per_piece
        # A piece begins where symbol and feed begin anew, so that row x is x's wherever it lies.
        assert first % (len(SYMBOLS) * FEEDS) == 0
        await sql.execute(
            FILL_SQL.format(
                start=from_ns + first * step_ns, step=step_ns, first=first, rows=per_piece
            )
        )
        await wait_applied(sql, "trades")
    return days // PIECE_DAYS * per_piece


def _drop_from_page_cache(folder: Path) -> int:
    """Of these files alone; returns their bytes."""
    os.sync()
    size = 0
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            size += os.fstat(handle).st_size
            os.close(handle)
    return size


def questions_of(
    rng: random.Random, count: int, from_ns: int, to_ns: int
) -> Iterator[WindowQuestion]:
    """Windows of one symbol each, anywhere in the span."""
    for _ in range(count):
        start_ns = rng.randrange(from_ns, to_ns - WINDOW_NS)
        symbol = rng.choice(SYMBOLS)
        yield WindowQuestion(symbols=(symbol,), from_ns=start_ns, to_ns=start_ns + WINDOW_NS)


async def ask_all(
    windows: Windows, questions: Sequence[WindowQuestion], from_ns: int, step_ns: int
) -> tuple[list[float], list[str]]:
    """Seconds of each, and the answers that are not as they were filled in."""
    times_s, wrong = [], []
    for question in questions:
        begun_s = trio.current_time()
        answer = await windows.ask_anew(question)
        times_s.append(trio.current_time() - begun_s)
        ids = [row["trade_id"] for row in answer.trades.rows()]
        wanted = [f"q{x}" for x in rows_of(question, from_ns, step_ns)]
        if ids != wanted:
            wrong.append(f"{question}: {len(ids)} rows, {len(wanted)} were filled in")
    return times_s, wrong


def rows_of(question: WindowQuestion, from_ns: int, step_ns: int) -> Iterator[int]:
    """The rows of a window by arithmetic: every tenth is the symbol's."""
    number = SYMBOLS.index(question.symbols[0])
    first = -((from_ns - question.from_ns) // step_ns)
    last = -((from_ns - question.to_ns) // step_ns)
    return (x for x in range(first, last) if x % len(SYMBOLS) == number)


async def plan_of(sql: Sql, from_ns: int) -> str:
    """What the server says of a window's statement."""
    text = ROW_SQL.format(symbols="symbol = %s", feeds="")
    params: list[Any] = [from_ns, from_ns + WINDOW_NS, SYMBOLS[0], 1]
    return "; ".join(str(row[0]).strip() for row in await sql.query(f"EXPLAIN {text}", params))
