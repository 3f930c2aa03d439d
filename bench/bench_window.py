"""Windows out of memory and out of a table of 50 M rows, while rows come in through the whole road.

The table is filled by the server itself (``long_sequence``), 12,000 rows a second of 500 symbols on
12 feeds, so that 40 s of one symbol are about 1,000 rows. Cold: the table's files are dropped from
the page cache and the server is a new one. Then simulator and daemon run at ``--rate``; times are
wall time in the daemon's own event loop, as whoever asks there has them, and over HTTP those of
another process.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import trio

from bench.machine import emit_machine
from pumpwatch import log
from pumpwatch.clock import SystemClock
from pumpwatch.config import Config, in_folder, load_config
from pumpwatch.daemon import Daemon
from pumpwatch.rates import TimesBySource
from pumpwatch.sim.process import run_simulator
from pumpwatch.store.embedded import hold_data_dir, run_server
from pumpwatch.store.partitions import wait_applied
from pumpwatch.store.schema import apply_schema
from pumpwatch.store.sql import Sql
from pumpwatch.store.window_model import WindowQuestion
from pumpwatch.store.window_reader import ROW_SQL, Windows

SECOND_NS = 10**9
SYMBOLS, ROWS_A_SECOND = 500, 12_000
CHUNK_ROWS = 2_000_000
PUMP_ROWS, PUMP = 2_000_000, "PUMPUSDT"
WINDOW_NS = 40 * SECOND_NS
FEED_SQL = (
    "CASE WHEN {n} % 6 = 0 THEN 'binance' WHEN {n} % 6 = 1 THEN 'bybit' WHEN {n} % 6 = 2 THEN 'okx'"
    " WHEN {n} % 6 = 3 THEN 'kucoin' WHEN {n} % 6 = 4 THEN 'gate' ELSE 'phemex' END"
)
FILL_SQL = (
    "INSERT INTO trades (timestamp, exchange, market_type, symbol, side, price, quantity, trade_id,"
    " sequence_number, received_at, origin)"
    " SELECT cast({start} + x * {step} AS TIMESTAMP_NS), {exchange},"
    " CASE WHEN x / 6 % 2 = 0 THEN 'spot' ELSE 'futures' END, {symbol},"
    " CASE WHEN x % 2 = 0 THEN 'buy' ELSE 'sell' END, 100 + x % 97 * 0.25, 1 + x % 13 * 0.5,"
    " cast({first} + x AS VARCHAR), {first} + x, cast({start} + x * {step} + 30000000 AS"
    " TIMESTAMP_NS), 'stream' FROM long_sequence({rows})"
)


def quantiles_ms(times_s: Iterable[float]) -> dict[str, float]:
    """p50, p99 and the worst, in ms."""
    ordered = sorted(times_s)
    return {
        "p50_ms": round(statistics.median(ordered) * 1e3, 3),
        "p99_ms": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1e3, 3),
        "worst_ms": round(ordered[-1] * 1e3, 3),
    }


def show(case: str, **figures: Any) -> None:
    """One line."""
    print(json.dumps({"bench": "window", "case": case, **figures}), flush=True)


async def fill(sql: Sql, rows: int, start_ns: int) -> None:
    """The rows that the windows are taken of, and a pump of 2 M rows in 40 s behind them."""
    began_s = time.perf_counter()
    step_ns = SECOND_NS // ROWS_A_SECOND
    symbol = f"concat('SYM', cast((x / 12) % {SYMBOLS} AS VARCHAR), 'USDT')"
    for first in range(0, rows, CHUNK_ROWS):
        await sql.execute(
            FILL_SQL.format(
                start=start_ns + first * step_ns, step=step_ns, first=first, symbol=symbol,
                exchange=FEED_SQL.format(n="x"), rows=min(CHUNK_ROWS, rows - first),
            )
        )  # fmt: skip
    await sql.execute(
        FILL_SQL.format(
            start=start_ns + rows * step_ns, step=WINDOW_NS // PUMP_ROWS, first=rows,
            symbol=f"'{PUMP}'", exchange=FEED_SQL.format(n="x"), rows=PUMP_ROWS,
        )
    )  # fmt: skip
    await wait_applied(sql, "trades")
    [(count,)] = await sql.query("SELECT count() FROM trades")
    show("fill", rows=count, seconds=round(time.perf_counter() - began_s, 1))


def drop_from_page_cache(folder: Path) -> None:
    """Of these files alone: nobody else's are touched."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def random_windows(
    rng: random.Random, count: int, start_ns: int, end_ns: int
) -> list[WindowQuestion]:
    """One symbol's 40 s each."""
    found = []
    for _ in range(count):
        from_ns = rng.randrange(start_ns, end_ns - WINDOW_NS)
        symbol = f"SYM{rng.randrange(SYMBOLS)}USDT"
        found.append(WindowQuestion(symbols=(symbol,), from_ns=from_ns, to_ns=from_ns + WINDOW_NS))
    return found


async def ask_all(
    windows: Windows, questions: list[WindowQuestion], *, pause_s: float = 0.0
) -> dict[str, Any]:
    """Ask one after the other, nothing kept."""
    times, rows, sources = [], 0, set()
    for question in questions:
        began_s = time.perf_counter()
        answer = await windows.ask_anew(question)
        times.append(time.perf_counter() - began_s)
        rows += len(answer)
        sources.add(answer.source)
        await trio.sleep(pause_s)
    return {
        "asked": len(questions), "rows": rows // max(len(questions), 1),
        "source": "/".join(sorted(sources)), **quantiles_ms(times),
    }  # fmt: skip


async def first_piece(windows: Windows, question: WindowQuestion) -> dict[str, Any]:
    """A stream's first rows, and all of it."""
    began_s = time.perf_counter()
    first_s, rows = 0.0, 0
    async with windows.stream(question) as stream:
        async for trades in stream:
            first_s = first_s or time.perf_counter() - began_s
            rows += len(trades)
    return {
        "rows": rows,
        "first_ms": round(first_s * 1e3, 1),
        "whole_s": round(time.perf_counter() - began_s, 2),
    }


async def with_server(config: Config, act: Callable[[Sql], Awaitable[None]]) -> None:
    """A server alone for a while."""
    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            lambda task_status: run_server(
                config, SystemClock(), heap_mib=1024, task_status=task_status
            )
        )
        sql = Sql(server.address, timeout_s=300)
        await act(sql)
        await sql.aclose()
        nursery.cancel_scope.cancel()


async def look_cold(sql: Sql, options: argparse.Namespace, span: tuple[int, int]) -> None:
    """The plan, and windows that nobody asked for before."""
    question = ROW_SQL.format(symbols="symbol = %s", feeds="")
    plan = await sql.query(f"EXPLAIN {question}", [span[0], span[0] + WINDOW_NS, "SYM1USDT", 10])
    lines = [str(row[0]).strip() for row in plan]
    show("explain", interval=any("nterval" in line for line in lines), plan=lines)
    windows = Windows(sql, SystemClock(), TimesBySource())
    questions = random_windows(random.Random(options.seed), 100, *span)
    show("sql cold", **await ask_all(windows, questions))
    show("sql warm, nothing else runs", **await ask_all(windows, questions * 3))


async def look_under_load(
    daemon: Daemon, options: argparse.Namespace, span: tuple[int, int]
) -> None:
    """Everything again while rows come in."""
    await daemon.capturing.wait()
    await trio.sleep(options.warm_up)
    windows, began = (
        daemon.answers.windows,
        sum(f.road.counts_now()["passed"] for f in daemon.feeds),
    )
    began_s = time.perf_counter()
    rng = random.Random(options.seed + 1)
    feed = daemon.feeds[0]
    coins = sorted({one.coin for one in feed.instruments.values()})
    to_ns = daemon.clock.wall_ns() - SECOND_NS
    rows_a_coin = options.rate / max(len(coins), 1)
    for rows, name in ((1_000, "1,000 rows"), (10_000, "10,000 rows")):
        width_ns = int(rows / rows_a_coin * SECOND_NS)
        questions = [
            WindowQuestion(coin=rng.choice(coins), from_ns=to_ns - width_ns, to_ns=to_ns)
            for _ in range(options.asked)
        ]
        show(f"memory under load, {name}", **await ask_all(windows, questions, pause_s=0.005))
    questions = random_windows(rng, options.asked, *span)
    show("sql under load", **await ask_all(windows, questions, pause_s=0.005))
    pump = WindowQuestion(symbols=(PUMP,), from_ns=span[1], to_ns=span[1] + WINDOW_NS)
    show("stream of 2 M rows under load", **await first_piece(windows, pump))
    width_ns = int(11_000 / rows_a_coin * SECOND_NS)
    now_ns = daemon.clock.wall_ns() - SECOND_NS
    for name, coin, low, high in (
        ("memory", f"coin={coins[0]}", now_ns - width_ns, now_ns),
        ("sql", f"symbol={PUMP}", span[1], span[1] + WINDOW_NS // 180),
    ):
        url = f"{daemon.page_url}api/trades/window?{coin}&from={iso(low)}&to={iso(high)}"
        command = [sys.executable, "-m", "bench.bench_window", "--http", url]
        done = await trio.run_process(command, capture_stdout=True)
        show(f"http, 10,000 rows from {name}, under load", **json.loads(done.stdout))
    seconds = time.perf_counter() - began_s
    passed = sum(f.road.counts_now()["passed"] for f in daemon.feeds) - began
    lags = daemon.monitor.lags
    show("load meanwhile", rows_per_s=round(passed / seconds), seconds=round(seconds, 1),
         memory_rows=daemon.answers.hour.standing().rows,
         applied_lag_p99_s=lags.quantile(0.99), pending_rows=daemon.monitor.pending_rows(),
         comparisons=daemon.answers.standing().comparisons,
         differences=daemon.answers.standing().differences)  # fmt: skip
    daemon.stop.set()


def iso(moment_ns: int) -> str:
    """For a URL."""
    from pumpwatch.moments import iso_ns

    return iso_ns(moment_ns)


def ask_http(url: str, count: int = 200) -> None:
    """The other process: one connection, one request after the other."""
    times, body = [], {"count": 0, "source": ""}
    with httpx.Client(trust_env=False, timeout=30) as client:
        for _ in range(count):
            began_s = time.perf_counter()
            answer = client.get(url)
            times.append(time.perf_counter() - began_s)
            answer.raise_for_status()
            body = answer.json()
            time.sleep(0.02)
    print(
        json.dumps(
            {"asked": count, "rows": body["count"], "source": body["source"], **quantiles_ms(times)}
        )
    )


async def measure(options: argparse.Namespace, folder: Path) -> None:
    """Fill, look cold, look under load."""
    rows = options.million * 1_000_000
    seconds = rows // ROWS_A_SECOND + 60
    start_ns = SystemClock().wall_ns() - (seconds + 300) * SECOND_NS
    span = (start_ns, start_ns + rows * (SECOND_NS // ROWS_A_SECOND))
    arguments = ["--rate", str(options.rate), "--seed", str(options.seed),
                 "--symbols", str(options.symbols), "--no-recorded"]  # fmt: skip
    with hold_data_dir(folder):
        async with run_simulator(folder / "truth", arguments) as simulator:
            config = simulator.configure(in_folder(load_config(None, {}), folder))
            dashboard = msgspec.structs.replace(
                config.dashboard, bind="127.0.0.1:0", requests_per_s_max=1000
            )
            config = msgspec.structs.replace(config, dashboard=dashboard)

            async def make(sql: Sql) -> None:
                await apply_schema(sql, spool_is_empty=lambda: True)
                await fill(sql, rows, start_ns)

            await with_server(config, make)
            drop_from_page_cache(folder)
            await with_server(config, partial(look_cold, options=options, span=span))
            daemon = Daemon(config, SystemClock(), random.Random(options.seed))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(look_under_load, daemon, options, span)
                await daemon.run()


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--million", type=int, default=50, help="rows in the table")
    parser.add_argument("--rate", type=int, default=150_000, help="trades a second meanwhile")
    parser.add_argument("--symbols", type=int, default=40, help="of the simulator, per feed")
    parser.add_argument("--asked", type=int, default=1000, help="windows of each kind")
    parser.add_argument("--warm-up", type=float, default=15.0, help="s before the first question")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, default=None, help="keep the data here")
    parser.add_argument("--http", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.http:
        ask_http(options.http)
        return
    log.configure(level=logging.WARNING)
    emit_machine("window")
    if options.data is not None:
        trio.run(measure, options, options.data)
        return
    with tempfile.TemporaryDirectory(prefix="pumpwatch-bench-") as folder:
        trio.run(measure, options, Path(folder))


if __name__ == "__main__":
    main()
