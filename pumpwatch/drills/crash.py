"""SIGKILL at random moments under load: the daemon ``count`` times, its database now and then.

Half of the kills meet a daemon at any moment of its start, the others one that records. A kill may
also fall into the database's own restart, or into a replay.
"""

from __future__ import annotations

import random
import socket
from math import inf
from pathlib import Path
from typing import Any

import polars as pl
import trio

from pumpwatch.clock import SystemClock
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.reckoning import reckon
from pumpwatch.drills.spooled import Spooled, read_spooled
from pumpwatch.drills.stage import DaemonProcess, end_server, is_subscribed, stage_of
from pumpwatch.drills.verdict import Kill
from pumpwatch.store.server import running_address

KILLS_A_ROUND = 20  # then everything is compared and begun anew: the table must fit into memory
LIFE_S = (0.2, 4.0)  # from the last subscription to the next kill
EARLY_SHARE = 0.5  # of the kills come without a look at how far the daemon is
EARLY_S = (0.3, 8.0)
SERVER_KILL_EVERY = 5  # kills of the daemon
CONNECT_S_MAX = 1.0
SUBSCRIBED_S_MAX = 10.0  # what is promised of a start, on a machine that has time for it


class _Round:
    """One simulator, one database, some kills."""

    def __init__(self, daemon: DaemonProcess, rng: random.Random) -> None:
        self.daemon = daemon
        self.kills: list[Kill] = []
        self.server_kills = 0
        self.spooled: list[pl.DataFrame] = []
        self.starts_s: list[float] = []  # from a start to all subscribed
        self.broken: list[str] = []
        self.counts_checked = 0
        self._rng = rng
        self._clock = SystemClock()
        self._started_ns = 0

    async def start(self, *, is_early: bool) -> None:
        """Start the daemon; unless it is to be killed early, wait until all is subscribed."""
        begun_s = trio.current_time()
        self._started_ns = self._clock.wall_ns()
        self.daemon.start()
        if is_early:
            await trio.sleep(self._rng.uniform(*EARLY_S))
            return
        await self.daemon.until(is_subscribed, "subscribed")
        self.starts_s.append(trio.current_time() - begun_s)
        await trio.sleep(self._rng.uniform(*LIFE_S))

    async def kill(self) -> None:
        """Kill the daemon, and look at what it left."""
        last = self.daemon.status()
        self.daemon.kill()
        # Its sockets take rows until it is gone: 2.4 s on a machine without idle time (seed 101).
        self.kills.append(Kill(started_ns=self._started_ns, at_ns=self._clock.wall_ns()))
        left = await trio.to_thread.run_sync(read_spooled, self.daemon.data_dir / "spool")
        self.spooled.append(left.keys)
        self._check_counts(last, left)

    def _check_counts(self, last: dict[str, Any], left: Spooled) -> None:
        """What the last status called spooled and not applied lies on the disk.

        Only where the database was away from that status until the kill: else a backlog of 100,000
        rows may be applied, and leave the disk, between the two.
        """
        if not last or last["store"]["database"] != "down" or not is_away(self.daemon):
            return
        self.counts_checked += 1
        pending = last["store"]["pending_rows"]
        if left.rows < pending:
            self.broken.append(f"status said {pending} rows pending, the disk holds {left.rows}")

    def kill_server(self) -> None:
        """Kill the database; the daemon (or the next one) starts it again."""
        self.server_kills += end_server(self.daemon)


def is_away(daemon: DaemonProcess) -> bool:
    """Whether nobody listens where the daemon's database does when it is up."""
    address = running_address(daemon.config)
    try:
        socket.create_connection((address.pg_host, address.pg_port), CONNECT_S_MAX).close()
    except OSError:
        return True
    return False


async def run(order: Order) -> Outcome:
    """Kill, start again, compare; see the module."""
    outcome = Outcome()
    rng = random.Random(order.seed)
    figures: dict[str, Any] = {
        "daemon_kills": 0, "server_kills": 0, "spooled_checked": 0, "counts_checked": 0,
        "tail_rows": 0, "connections_given_up": 0,
        "unspooled_ms_max": 0.0, "unread_ms_max": 0.0, "starts": 0, "subscribed_in_time": 0,
        "subscribed_s_min": inf, "subscribed_s_max": 0.0,
    }  # fmt: skip
    outcome.figures = figures
    left, number = order.count, 0
    while left > 0:
        kills = min(left, KILLS_A_ROUND)
        left -= kills
        folder = order.folder / f"round-{number:03d}"
        await _play_round(folder, order, rng, kills, outcome)
        number += 1
    return outcome


async def _play_round(
    folder: Path, order: Order, rng: random.Random, kills: int, outcome: Outcome
) -> None:
    async with stage_of(order, seed=rng.randrange(1 << 31), folder=folder) as (simulator, daemon):
        round_ = _Round(daemon, rng)
        for number in range(kills):
            await round_.start(is_early=number > 0 and rng.random() < EARLY_SHARE)
            if number % SERVER_KILL_EVERY == 1:
                round_.kill_server()
                await trio.sleep(rng.uniform(0.0, 3.0))
            await round_.kill()
        await round_.start(is_early=False)
        spooled = pl.concat(round_.spooled)
        verdict = await reckon(outcome, simulator, daemon, kills=round_.kills, spooled=spooled)
        # A connection that the daemon gave up itself has a tail, too, and no kill excuses it.
        cut = daemon.log_file.read_text(errors="replace").count('"connection_ended"')
    outcome.faults += round_.broken
    figures = outcome.figures
    figures["daemon_kills"] += len(round_.kills)
    figures["connections_given_up"] += cut
    figures["server_kills"] += round_.server_kills
    figures["spooled_checked"] += len(spooled)
    figures["counts_checked"] += round_.counts_checked
    figures["tail_rows"] += verdict.tail_rows
    for name in ("unspooled_ms_max", "unread_ms_max"):
        figures[name] = max(figures[name], getattr(verdict, name))
    starts_s = round_.starts_s
    figures["starts"] += len(starts_s)
    figures["subscribed_in_time"] += sum(one_s <= SUBSCRIBED_S_MAX for one_s in starts_s)
    figures["subscribed_s_min"] = min(figures["subscribed_s_min"], round(min(starts_s), 1))
    figures["subscribed_s_max"] = max(figures["subscribed_s_max"], round(max(starts_s), 1))
