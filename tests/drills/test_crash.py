"""The crash drill's own book: when a killed daemon was gone."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pumpwatch.clock import SystemClock
from pumpwatch.drills import crash
from pumpwatch.store.server import ServerAddress


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


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Stands where the database listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = ServerAddress(
            http_url="http://127.0.0.1:1", pg_host="127.0.0.1", pg_port=listening.getsockname()[1],
            user="u", password="p", readonly_user="r", readonly_password="p",
        )  # fmt: skip
        monkeypatch.setattr(crash, "running_address", lambda config: address)
        yield listening


@pytest.mark.parametrize("database", ["up", "down"])
@pytest.mark.parametrize("is_back", [True, False])
async def test_rows_that_a_status_told_of_are_missed_only_where_nobody_applied_them(
    database: str, is_back: bool, server: socket.socket, tmp_path: Path
) -> None:
    """Seed 61: 116,018 rows were pending, and applied before the kill that came next."""
    status: dict[str, Any] = {"store": {"database": database, "pending_rows": 7}}
    daemon: Any = SimpleNamespace(
        status=lambda: status, kill=lambda: None, data_dir=tmp_path, config=None
    )
    round_ = crash._Round(daemon, random.Random(1))
    if not is_back:
        server.close()
    await round_.kill()
    is_checked = database == "down" and not is_back
    assert round_.counts_checked == is_checked
    assert bool(round_.broken) == is_checked
