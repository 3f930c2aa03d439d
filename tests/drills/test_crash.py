"""The crash drill's own book: when a killed daemon was gone."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace

from pumpwatch.clock import SystemClock
from pumpwatch.drills import crash


async def test_a_kill_is_dated_when_the_daemon_is_gone(tmp_path: Path) -> None:
    """Until then its sockets take rows, and these are its tail as well."""
    clock = SystemClock()
    gone_ns: list[int] = []

    def kill() -> None:
        gone_ns.append(clock.wall_ns())

    daemon = SimpleNamespace(status=dict, kill=kill, data_dir=tmp_path)
    round_ = crash._Round(daemon, random.Random(1))  # type: ignore[arg-type]
    await round_.kill()
    assert round_.kills[0].at_ns >= gone_ns[0]
    assert round_.broken == []
