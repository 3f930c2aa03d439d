"""``python -m pumpwatch.sim``: the 12 venues on one loopback port, until SIGTERM."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import trio

from pumpwatch.clock import SystemClock
from pumpwatch.errors import EXIT_GOOD, EXIT_UNAVAILABLE, EXIT_USAGE, UsageError
from pumpwatch.sim.board_script import Action, read_script
from pumpwatch.sim.exchange import Exchange
from pumpwatch.sim.faults import Fault, read_plan
from pumpwatch.sim.settings import FEED_NAMES, SimSettings

HOST = "127.0.0.1"


class VenueClock:
    """The venues' clock, so many seconds ahead of this machine's."""

    def __init__(self, ahead_s: float) -> None:
        self._clock = SystemClock()
        self._ahead_ns = round(ahead_s * 1e9)

    def wall_ns(self) -> int:
        """Ns since 1970 UTC, as the venues have it."""
        return self._clock.wall_ns() + self._ahead_ns


def main(argv: Sequence[str] | None = None) -> int:
    """Run the simulator; returns the exit code."""
    options = _parser().parse_args(argv)
    feeds = tuple(options.feeds.split(",")) if options.feeds else FEED_NAMES
    unknown = [name for name in feeds if name not in FEED_NAMES]
    if unknown:
        sys.stderr.write(f"sim: no such feed: {unknown[0]}; there are {', '.join(FEED_NAMES)}\n")
        return EXIT_USAGE
    settings = SimSettings(
        seed=options.seed, feeds=feeds, symbols=options.symbols, rate_per_s=options.rate,
        pump=options.pump, pump_share=options.pump_share, burst_rows=options.burst,
        recorded=not options.no_recorded, time_scale=options.time_scale,
        rest_limits=not options.no_rest_limits, gate_ranges=options.gate_ranges,
        phemex_connections_max=options.phemex_connections, depth_rows=options.depth,
        phemex_first_only=options.phemex_first_only, goes_on=options.goes_on,
        newborns=options.newborns, phemex_snapshot_rows=options.phemex_snapshot,
    )  # fmt: skip
    try:
        script = read_script(options.boards.read_bytes()) if options.boards else []
        plan = read_plan(options.faults.read_bytes()) if options.faults else []
    except (OSError, UsageError) as error:
        sys.stderr.write(f"sim: --boards {options.boards}, --faults {options.faults}: {error}\n")
        return EXIT_USAGE
    return trio.run(_run, settings, options, script, plan)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pumpwatch.sim", description="The 12 venues on loopback, with a truth log."
    )
    add = parser.add_argument
    add("--port", type=int, default=0, help="0: a free one")
    add("--seed", type=int, default=1)
    add("--rate", type=float, default=1000.0, metavar="ROWS", help="trades a second, all feeds")
    add("--symbols", type=int, default=40, metavar="N", help="against USDT, per feed")
    add("--feeds", default="", metavar="A,B", help="only these")
    add("--seconds", type=float, default=None, help="of trading, from the first subscription on")
    add("--exit", action="store_true", help="end after --seconds instead of waiting for SIGTERM")
    add("--pump", default="", metavar="COIN", help="a coin that gets most trades")
    add("--pump-share", type=float, default=0.8)
    add("--burst", type=int, default=0, metavar="ROWS", help="one symbol at once, every 5 s")
    add("--truth", type=Path, default=None, metavar="DIR", help="log every delivered trade here")
    add("--boards", type=Path, default=None, metavar="FILE", help="script of the notice boards")
    add("--faults", type=Path, default=None, metavar="FILE", help="plan of faults (faults.py)")
    add("--goes-on", action="store_true", help="symbols go on trading when nobody listens")
    add("--newborns", type=int, default=0, metavar="N", help="per feed, to be launched by faults")
    add("--write-config", type=Path, default=None, metavar="FILE", help="TOML: feeds and boards")
    add("--no-recorded", action="store_true", help="synthetic trades only")
    add("--no-rest-limits", action="store_true", help="REST without request budgets")
    add("--gate-ranges", action="store_true", help="Gate spot messages for several trades (R7)")
    add("--phemex-connections", type=int, default=0, metavar="N", help="most per client; 0: any")
    add("--phemex-first-only", action="store_true", help="of several symbols in one request")
    add("--phemex-snapshot", type=int, default=1000, metavar="ROWS", help="documented are 200")
    add("--time-scale", type=float, default=1.0, help="keepalive times are multiplied by it")
    add("--clock-offset", type=float, default=0.0, metavar="S", help="venues' clocks are ahead")
    add("--depth", type=int, default=32_768, metavar="ROWS", help="history by id, per symbol")
    return parser


async def _run(
    settings: SimSettings, options: argparse.Namespace, script: list[Action], plan: list[Fault]
) -> int:
    try:
        listeners = await trio.open_tcp_listeners(options.port, host=HOST)
    except OSError as error:
        sys.stderr.write(f"sim: cannot listen on {HOST}:{options.port}: {error}\n")
        return EXIT_UNAVAILABLE
    exchange = Exchange(settings, VenueClock(options.clock_offset), options.truth)
    exchange.plan = plan
    async with trio.open_nursery() as nursery:
        port = listeners[0].socket.getsockname()[1]
        urls = exchange.listen_at(HOST, port)
        boards = exchange.boards.listen_at(HOST, port)
        if options.write_config is not None:
            text = _toml("feeds", urls) + "\n" + _toml("listing", boards)
            options.write_config.write_text(text, encoding="utf-8")
        exchange.boards.play(script)
        nursery.start_soon(exchange.boards.run)
        nursery.start_soon(exchange.faults.run)
        await nursery.start(_watch_signals, nursery.cancel_scope, exchange)
        await nursery.start(partial(trio.serve_listeners, exchange.serve, listeners))
        ready = {"port": port, "seed": settings.seed, "feeds": urls, "boards": boards}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        await exchange.run(options.seconds)
        await exchange.drain()
        if options.exit:
            await exchange.close()
            nursery.cancel_scope.cancel()
        await trio.sleep_forever()
    exchange.truth.flush()  # no connection is left: what was on its way has arrived or never will
    return EXIT_GOOD


async def _watch_signals(
    scope: trio.CancelScope,
    exchange: Exchange,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """SIGTERM or SIGINT: stop trading, close all connections, write the truth, end."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        await _first(signals)
        await exchange.close()
        scope.cancel()


async def _first(signals: AsyncIterator[int]) -> None:
    async for _ in signals:
        return


def _toml(section: str, urls: dict[str, dict[str, str]]) -> str:
    return "\n".join(
        f"[{section}.{name}]\n" + "".join(f'{key} = "{url}"\n' for key, url in both.items())
        for name, both in urls.items()
    )
