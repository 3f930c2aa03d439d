"""The rehearsal's timeline: what of the daemon's log and alerts is told, and nothing twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from pumpwatch.alert_files import FOLDER
from pumpwatch.drills.fire import SAID_EVERY_S, Timeline
from pumpwatch.drills.fire_plan import DAY
from pumpwatch.drills.outcome import Order
from pumpwatch.drills.stage import DaemonProcess
from pumpwatch.sim.process import Simulator


@pytest.fixture
def daemon(tmp_path: Path) -> DaemonProcess:
    """Not started: its log and its alerts are written by the test."""
    feeds: dict[str, dict[str, str]] = {}
    simulator = Simulator(None, {"feeds": feeds, "boards": {}, "port": 1}, tmp_path)  # type: ignore[arg-type]
    return DaemonProcess(tmp_path / "run", simulator)


def log(daemon: DaemonProcess, *lines: dict[str, Any] | str) -> None:
    with daemon.log_file.open("a") as file:
        for line in lines:
            file.write((line if isinstance(line, str) else json.dumps(line)) + "\n")


def alert(daemon: DaemonProcess, kind: str, rule: str) -> None:
    path = daemon.data_dir / "alerts" / "history.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    entry = {"at_ns": 1, "kind": kind, "severity": "page", "rule": rule, "subject": "okx_spot",
             "title": f"{rule} {kind}", "body": ""}  # fmt: skip
    with path.open("a") as file:
        file.write(json.dumps(entry) + "\n")


async def test_what_is_worth_a_line_gets_one(
    daemon: DaemonProcess, tmp_path: Path, autojump_clock: object
) -> None:
    assert FOLDER == "alerts"
    told: list[str] = []
    order = Order(folder=tmp_path, seed=1, count=1, rate_per_s=12, tell=told.append)
    line = Timeline(order, daemon)
    log(daemon, {"level": "info", "event": "status"}, "no JSON")
    log(daemon, {"level": "error", "event": "server_died", "message": "exit code -9"})
    alert(daemon, "fired", "database_down")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.watch)
        await trio.sleep(1)
        log(daemon, {"level": "error", "event": "server_died"})  # within the time: not again
        alert(daemon, "recovered", "database_down")
        await trio.sleep(SAID_EVERY_S)
        log(daemon, {"level": "error", "event": "server_died", "message": "again"})
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert line.events == {"status": 1, "server_died": 3}
    assert line.fired == ["database_down"]
    kinds = [text.split()[1] for text in told]
    assert kinds == ["log", "ALERT", "alert", "log"]
    assert told[0] == "00:00  log        server_died: message exit code -9"
    assert told == line.lines


def test_a_day_is_in_order_and_ends_before_it_is_over() -> None:
    ends = [trouble.at + trouble.lasts for trouble in DAY]
    assert all(end <= later.at for end, later in zip(ends, DAY[1:], strict=False))
    assert ends[-1] < 1
    assert {trouble.kind for trouble in DAY} == {
        "pump", "outage", "database", "disk", "listing", "reload"
    }  # fmt: skip
