"""Reads step back by themselves (D-15): failing reads, slow reads, a full disk; then they heal.

Each lasts once for less than the three checks in a row, and once until it led to a step back: to
one, not before the third check, and to one alert; writes lose nothing. Forward again only after
good checks.
``count`` is the rounds. The small disk wants root, for mount.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio

from pumpwatch.clock import SystemClock
from pumpwatch.config_migration import MigrationConfig
from pumpwatch.daemon_client import ask_window
from pumpwatch.drills.by_feed import reckon_by_feed
from pumpwatch.drills.disk import filled
from pumpwatch.drills.old_store import (
    SIDE_NS,
    Standing,
    settings,
    slow_read_ms,
    standing,
    write_event,
)
from pumpwatch.drills.outage import is_well
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.retention import image_volume
from pumpwatch.drills.stage import DaemonProcess, end_server, is_subscribed, stage_of
from pumpwatch.drills.verbs import say
from pumpwatch.errors import PumpWatchError
from pumpwatch.store.server_process import PidFile
from pumpwatch.store.window_model import WindowQuestion

COIN = "BTC"
WARM_S = 25.0
CHECK_S = 8.0
SHORT_S = 1.2 * CHECK_S  # of three checks in a row it meets one or two
BAD_CHECKS = MigrationConfig().bad_checks  # in a row: a step back
STALL_SHARE = 1.6  # of what is too slow, the database is stopped for, again and again
BETWEEN_S = 0.3
AWAY_NS = 3 * 3600 * 10**9  # no memory reaches so far back: the table must be asked
ASK_S = 0.4
STAGE = 3  # 100 % of reads, the old store behind
VOLUME_MIB = 6144
FULL_SHARE = 0.965
RULE = "migration_rolled_back"
RECOVERY_S_MAX = 120.0

Fault = Callable[[], Awaitable[None]]


class _Readers:
    """Somebody asks all the time: how QuestDB does shows only where reads go there."""

    def __init__(self) -> None:
        self.answers = 0
        self.failures = 0

    async def run(self, daemon: DaemonProcess, at_ns: int) -> None:
        """Another window each time, so that no answer is kept."""
        number = 0
        while True:
            number += 1
            from_ns = at_ns - AWAY_NS - number
            question = WindowQuestion(
                symbols=(f"{COIN}USDT",), from_ns=from_ns, to_ns=from_ns + SIDE_NS
            )
            try:
                await trio.to_thread.run_sync(ask_window, daemon.config, question, 1)
                self.answers += 1
            except PumpWatchError:
                self.failures += 1
            await trio.sleep(ASK_S)


async def run(order: Order) -> Outcome:
    """Every fault, short and long; see the module."""
    outcome, readers = Outcome(), _Readers()
    old = order.folder / "old"
    old.mkdir(parents=True)
    toml = settings(old, check_s=CHECK_S, is_alone=order.is_alone)
    async with stage_of(order, toml) as (simulator, daemon):
        disk = daemon.data_dir / "questdb"
        with image_volume(disk, VOLUME_MIB):
            daemon.start()
            await daemon.until(is_subscribed, "subscribed")
            await trio.sleep(WARM_S)
            at_ns = SystemClock().wall_ns() - SIDE_NS - 5 * 10**9
            await simulator.flush()
            await write_event(old, COIN, simulator, at_ns)
            causes: dict[str, str] = {}
            async with trio.open_nursery() as nursery:
                nursery.start_soon(readers.run, daemon, at_ns)
                act = _Act(order, outcome, daemon, disk)
                for _ in range(order.count):
                    for name in act.faults:
                        causes[name] = await act.play(name)
                nursery.cancel_scope.cancel()
            alerts = await act.alerts()
            await reckon_by_feed(order, outcome, simulator, daemon)
    steps = order.count * len(causes)
    outcome.expect(alerts == steps, f"{alerts} alerts for {steps} steps back")
    outcome.figures |= {
        "causes": causes, "steps_back": steps, "alerts": alerts, "check_s": CHECK_S,
        "answers": readers.answers, "failed_answers": readers.failures,
        "writers_stopped": act.is_stopped_seen,
    }  # fmt: skip
    return outcome


class _Act:
    """Faults, and what must follow."""

    def __init__(self, order: Order, outcome: Outcome, daemon: DaemonProcess, disk: Path) -> None:
        # The short one and the long one; each lasts until it is cancelled.
        self.faults: dict[str, tuple[Fault, Fault]] = {
            "errors": (self._kill_once, self._kill_again),
            "slow": (self._stall, self._stall),
            "disk": (self._fill, self._fill),
        }
        self.is_stopped_seen = False
        self._order = order
        self._outcome = outcome
        self._daemon = daemon
        self._disk = disk

    async def play(self, name: str) -> str:
        """Forward to the stage, the fault short, the fault long; returns the cause that is told."""
        short, long = self.faults[name]
        await self._forward()
        self._order.tell(f"{name}, {SHORT_S:.0f} s")
        with trio.move_on_after(SHORT_S):
            await short()
        await self._well()
        # Until a check saw nothing but good: what is bad must be so in a row.
        good_ns = SystemClock().wall_ns() + int(CHECK_S * 1e9)
        told = await self._standing(lambda told: told["at_ns"] > good_ns)
        stays = told["place"]["stage"] == STAGE
        self._outcome.expect(stays, f"{name}: a step back after {SHORT_S:g} s: {told['place']}")
        self._order.tell(f"{name}, until a step back")
        cause = await self._until_back(name, long)
        await self._well()
        code, _, complaint = await say(self._daemon, "migrate", "advance", as_json=False)
        told = await self._standing(bool)
        is_held = code != 0 or not told["place"]["is_held"]
        self._outcome.expect(is_held, f"{name}: forward at once after a step back: {complaint}")
        told = await self._standing(lambda told: not told["place"]["is_held"])
        one = told["place"]["stage"] == STAGE - 1
        self._outcome.expect(one, f"{name}: not one step back: {told['place']}")
        return cause

    async def _until_back(self, name: str, fault: Fault) -> str:
        begun_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fault)
            told = await self._standing(lambda told: told["place"]["stage"] < STAGE)
            nursery.cancel_scope.cancel()
        lasted_s = trio.current_time() - begun_s
        fewest_s = (BAD_CHECKS - 1) * CHECK_S
        self._outcome.expect(lasted_s > fewest_s, f"{name}: a step back after {lasted_s:.0f} s")
        return str(told["place"]["cause"])

    async def alerts(self) -> int:
        """How often the step back was told."""
        _, rows, _ = await say(self._daemon, "alerts", "history", "--limit", "1000")
        return sum(row["rule"] == RULE and row["kind"] == "fired" for row in rows or [])

    async def _forward(self) -> None:
        while True:
            told = await self._standing(lambda told: not told["missing_for_advance"]
                                        or told["place"]["stage"] >= STAGE)  # fmt: skip
            if told["place"]["stage"] >= STAGE:
                await self._standing(lambda told: not told["place"]["is_held"])
                return
            stage_now = told["place"]["stage"]
            code, _, _ = await say(self._daemon, "migrate", "advance", as_json=False)
            if code:  # the check after the one that was told of had another result
                await trio.sleep(CHECK_S)
                continue
            await self._standing(
                lambda told, stage_now=stage_now: told["place"]["stage"] > stage_now  # type: ignore[misc]
            )

    async def _standing(self, condition: Callable[[Standing], bool]) -> Standing:
        return await standing(self._daemon, condition, "as wanted")

    async def _well(self) -> None:
        await self._daemon.until(is_well, "well again", RECOVERY_S_MAX)

    # --- faults -----------------------------------------------------------------------------------

    async def _kill_once(self) -> None:
        """The database is killed; it takes its time to come back."""
        while not end_server(self._daemon):  # noqa: ASYNC110 - another process
            await trio.sleep(0.2)
        await trio.sleep_forever()

    async def _kill_again(self) -> None:
        """The database is killed once in each check.

        Each death doubles the daemon's pause before the next start: killed as often as it comes
        back, it would still be away for a second step after the fault.
        """
        while True:  # noqa: ASYNC110 - another process
            await trio.sleep(CHECK_S if end_server(self._daemon) else BETWEEN_S)

    async def _stall(self) -> None:
        """The database is stopped again and again: it answers, too late."""
        known = PidFile.read(self._daemon.data_dir)
        assert known is not None
        stall_s = STALL_SHARE * slow_read_ms(is_alone=self._order.is_alone) / 1e3
        while True:
            os.kill(known.pid, signal.SIGSTOP)
            try:
                await trio.sleep(stall_s)
            finally:
                os.kill(known.pid, signal.SIGCONT)
            await trio.sleep(BETWEEN_S)

    async def _fill(self) -> None:
        """So full that the database gets no more rows."""
        with filled(self._disk, FULL_SHARE):
            while True:
                status: dict[str, Any] = self._daemon.status()
                stopped = bool(status) and status["upkeep"].get("writers_stopped", False)
                self.is_stopped_seen |= stopped
                await trio.sleep(0.2)
