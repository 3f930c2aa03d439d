"""The simulator as a process of its own, from outside: started, told what to do, asked, ended."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import polars as pl
import trio

from pumpwatch.config import Config, FeedConfig
from pumpwatch.errors import PumpWatchError
from pumpwatch.sim.faults import Fault, Played
from pumpwatch.sim.truth import META_FILE, load_truth
from pumpwatch.trust import trust_for

START_S_MAX = 30.0
END_S_MAX = 30.0
ANSWER_S_MAX = 30.0  # to what it is told


class Simulator:
    """The simulator's process, from outside."""

    def __init__(self, process: trio.Process, ready: dict[str, Any], truth_dir: Path) -> None:
        self.process = process
        self.feeds: dict[str, dict[str, str]] = ready["feeds"]
        self.boards: dict[str, dict[str, str]] = ready["boards"]
        self.truth_dir = truth_dir
        self._url = f"http://127.0.0.1:{ready['port']}"

    def configure(self, config: Config) -> Config:
        """The settings with every feed (and notice board) pointing at the simulator."""
        feeds: dict[str, FeedConfig] = {
            name: msgspec.structs.replace(
                feed,
                websocket_url=self.feeds[name]["websocket_url"],
                rest_url=self.feeds[name]["rest_url"],
            )
            for name, feed in config.feeds.items()
        }
        listing = msgspec.structs.replace(
            config.listing,
            upbit=msgspec.structs.replace(config.listing.upbit, **self.boards["upbit"]),
            bithumb=msgspec.structs.replace(config.listing.bithumb, **self.boards["bithumb"]),
        )
        return msgspec.structs.replace(config, feeds=feeds, listing=listing)

    def facts(self) -> dict[str, Any]:
        """What the truth says of each feed: ``symbols``, ``venue_symbols``, the busiest first."""
        facts: dict[str, Any] = json.loads((self.truth_dir / META_FILE).read_text(encoding="utf-8"))
        return facts

    async def delivered_rows(self) -> int:
        """What sockets took until now, of all feeds."""
        stats = await self.stats()
        return sum(int(feed["delivered"]) for feed in stats["feeds"].values())

    def control_url(self, path: str) -> str:
        """Where the simulator itself is asked: ``/control/boards``."""
        return self._url + path

    async def ask(self, path: str, order: str | bytes | None = None) -> bytes:
        """Its answer; with an order it is told to do something. Raises httpx.HTTPError."""
        url = self.control_url(path)
        async with httpx.AsyncClient(
            trust_env=False, timeout=ANSWER_S_MAX, verify=trust_for(url)
        ) as client:
            method = "GET" if order is None else "POST"
            answer = await client.request(method, url, content=order)
            return answer.raise_for_status().content

    async def stats(self) -> dict[str, Any]:
        """What it sent so far: ``{"feeds": {name: {"delivered": rows, …}}, …}``."""
        answer: dict[str, Any] = msgspec.json.decode(await self.ask("/control/stats"))
        return answer

    async def stop_generating(self) -> None:
        """No new trades from now on; the sockets stay open."""
        await self.ask("/control/stop", "")

    async def flush(self) -> None:
        """Write what of the truth is known so far; trading goes on."""
        await self.ask("/control/flush", "")

    async def set_rate(self, rows_per_s: float) -> None:
        """Trade so fast from now on, over all feeds."""
        await self.ask("/control/rate", str(rows_per_s))

    async def script_boards(self, actions: Sequence[dict[str, Any]]) -> None:
        """What the notice boards do from now on (sim/board_script.py)."""
        await self.ask("/control/boards", msgspec.json.encode(actions))

    async def lift(self, coin: str) -> None:
        """People buy it from now on."""
        await self.ask("/control/lift", coin)

    async def give_faults(self, plan: Sequence[Fault]) -> None:
        """Play these faults; their times count from now on."""
        await self.ask("/control/faults", msgspec.json.encode(plan))

    async def played_faults(self) -> list[Played]:
        """Faults that have begun, and whom they hit."""
        return msgspec.json.decode(await self.ask("/control/faults"), type=list[Played])

    async def end(self) -> None:
        """End the process: from now on its truth is whole."""
        self.process.terminate()
        with trio.move_on_after(END_S_MAX):
            await self.process.wait()

    async def truth(self, feed: str | None = None) -> pl.DataFrame:
        """What was delivered, without old history; of one feed where a run was long."""
        truth = await trio.to_thread.run_sync(partial(load_truth, self.truth_dir, only=feed))
        return truth.filter(~pl.col("history"))


@asynccontextmanager
async def run_simulator(truth_dir: Path, arguments: list[str]) -> AsyncIterator[Simulator]:
    """Start ``python -m pumpwatch.sim`` on a free port; it is gone when the block ends."""
    command = [sys.executable, "-m", "pumpwatch.sim", "--port", "0", "--truth", str(truth_dir)]
    process = await trio.lowlevel.open_process(command + arguments, stdout=subprocess.PIPE)
    try:
        with trio.move_on_after(START_S_MAX):
            line = await _first_line(process)
        if process.returncode is not None or not line:
            raise PumpWatchError("the simulator did not start: see the lines above")
        yield Simulator(process, json.loads(line), truth_dir)
    finally:
        if process.returncode is None:
            process.kill()
        with trio.move_on_after(5, shield=True):
            await process.wait()


async def _first_line(process: trio.Process) -> bytes:
    assert process.stdout is not None
    line = b""
    while not line.endswith(b"\n"):
        data = await process.stdout.receive_some(65536)
        if not data:
            return b""
        line += data
    return line
