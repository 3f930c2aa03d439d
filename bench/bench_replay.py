"""How exactly a replay at speed 1 keeps the recorded spacing, seen by stock clients over TCP.

A client on each of eight feeds; a trade's error is (arrival - first arrival) - (recorded receipt -
first recorded receipt) of its feed. ``load`` is the machine's load average beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio
from trio_websocket import ConnectionClosed, open_websocket_url

from bench.machine import emit, emit_machine
from pumpwatch import research
from tests.research.making import VENUE_NAMES, Shape, make_bundle
from tests.sim.driving import subscriptions

FEEDS = tuple(f"{name}_{kind}" for name in ("binance", "bybit", "okx", "gate")
              for kind in ("spot", "futures"))  # fmt: skip
NS = 10**9
ROW = {"binance_spot": '"e":"trade"', "binance_futures": '"e":"trade"', "bybit_spot": '"i":"',
       "bybit_futures": '"i":"', "okx_spot": '"tradeId"', "okx_futures": '"tradeId"',
       "gate_spot": '"id_market"', "gate_futures": '"size"'}  # fmt: skip  # once in each trade


async def listen(feed: str, url: str, came: list[int]) -> None:
    """Arrival times of one feed's trades, until the venue closes."""
    async with open_websocket_url(url, message_queue_size=1000) as socket:
        for request in subscriptions(feed, [VENUE_NAMES[feed].format("POD")], time.time_ns() // NS):
            await socket.send_message(json.dumps(request))
        try:
            while True:
                text = await socket.get_message()
                came += [time.perf_counter_ns()] * text.count(ROW[feed])
        except ConnectionClosed:
            pass


async def measure(place: Path) -> None:
    """Serve, listen, compare."""
    command = [sys.executable, "-m", "pumpwatch", "replay", str(place), "--serve", "127.0.0.1:0",
               "--exit"]  # fmt: skip
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    urls = json.loads(bytes(await process.stdout.receive_some(65_536)))["feeds"]
    came: dict[str, list[int]] = {feed: [] for feed in FEEDS}
    async with trio.open_nursery() as nursery:
        for feed in FEEDS:
            nursery.start_soon(listen, feed, urls[feed]["websocket_url"], came[feed])
    errors = []
    for feed in FEEDS:
        recorded = [row.at_ns for row in research.replay(place.name, place) if row.feed == feed]
        assert len(recorded) == len(came[feed]), feed
        errors += [
            abs((got - came[feed][0]) - (at - recorded[0])) / 1e6
            for got, at in zip(came[feed], recorded, strict=True)
        ]
    cuts = statistics.quantiles(errors, n=100)
    emit(
        "replay", "spacing error, ms", len(errors), 0, p50=round(cuts[49], 3),
        p99=round(cuts[98], 3), most=round(max(errors), 3), load=round(os.getloadavg()[0], 1),
    )  # fmt: skip


def main() -> None:
    """Make a bundle and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=5.0, help="trades a second of each feed")
    options = parser.parse_args()
    emit_machine("replay")
    with tempfile.TemporaryDirectory() as folder:
        trio.run(measure, make_bundle(Path(folder), Shape(rate_per_s=options.rate, feeds=FEEDS)))


if __name__ == "__main__":
    main()
