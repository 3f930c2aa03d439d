"""Simulator and daemon as processes of their own, for tests of the whole system."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import trio

from pumpwatch.config import Config, load_config
from pumpwatch.demo import Simulator
from pumpwatch.status import STATUS_FILE
from pumpwatch.store.server_process import find_leftovers

START_S_MAX = 60.0
END_S_MAX = 60.0
POLL_S = 0.1


class DaemonProcess:
    """``python -m pumpwatch run`` on a data_dir whose feeds are the simulator's."""

    def __init__(self, folder: Path, simulator: Simulator, extra_toml: str = "") -> None:
        self.data_dir = folder / "data"
        self.config_file = folder / "pumpwatch.toml"
        self.log_file = folder / "daemon.log"
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.config_file.write_text(self._toml(simulator) + extra_toml, encoding="utf-8")

    def _toml(self, simulator: Simulator) -> str:
        lines = [
            f'data_dir = "{self.data_dir}"',
            "[questdb]", "http_port = 0", "pg_port = 0", "health_port = 0",
            "[dashboard]", 'bind = "127.0.0.1:0"',
            "[memory]", "budget_mib = 2048", "max_mib = 64",
        ]  # fmt: skip
        for name, urls in simulator.boards.items():
            lines += [f"[listing.{name}]", *(f'{key} = "{url}"' for key, url in urls.items())]
        for name, urls in simulator.feeds.items():
            lines += [f"[feeds.{name}]", *(f'{key} = "{url}"' for key, url in urls.items())]
        return "\n".join(lines) + "\n"

    @property
    def config(self) -> Config:
        """Its settings."""
        return load_config(self.config_file, {})

    def start(self) -> None:
        """Start it; its output goes to ``daemon.log``."""
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pumpwatch", "run", "--config", str(self.config_file)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip

    def status(self) -> dict[str, Any]:
        """The daemon's last word; {} before the first, or when it is another process's."""
        try:
            document: dict[str, Any] = msgspec.json.decode(
                (self.data_dir / STATUS_FILE).read_bytes()
            )
        except (OSError, msgspec.DecodeError):
            return {}
        assert self.process is not None
        return document if document["pid"] == self.process.pid else {}

    async def until(self, condition: Any, what: str, within_s: float = START_S_MAX) -> None:
        """Wait until ``condition(status)`` holds."""
        with trio.move_on_after(within_s):
            while True:
                document = self.status()
                if document and condition(document):
                    return
                assert self.process is not None
                if self.process.poll() is not None:
                    break
                await trio.sleep(POLL_S)
        raise AssertionError(f"not {what} within {within_s} s: {self.status()}; {self.log_tail()}")

    def log_tail(self) -> str:
        """The end of its output."""
        return self.log_file.read_text(errors="replace")[-4000:] if self.log_file.exists() else ""

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    async def wait(self, within_s: float = END_S_MAX) -> int:
        """Its exit code, once it has ended."""
        assert self.process is not None
        return await trio.to_thread.run_sync(self.process.wait, within_s)

    def end_hard(self) -> None:
        """Whatever happened: nothing of ours stays (the database is ended by its own pid)."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        end_database(self.data_dir)


def is_subscribed(document: dict[str, Any]) -> bool:
    """Every feed has all its symbols."""
    feeds = document["feeds"]
    return bool(feeds) and all(f["wanted"] and f["subscribed"] == f["wanted"] for f in feeds)


def applied_rows(document: dict[str, Any]) -> int:
    """Rows of trades in the table, by the daemon's count."""
    return int(document["store"]["applied_rows"])


def end_database(data_dir: Path) -> None:
    """Kill the embedded server of this data_dir, if one is left."""
    for server in find_leftovers(data_dir, data_dir / "questdb"):
        process = psutil.Process(server.pid)
        process.kill()
        process.wait(10)


@asynccontextmanager
async def daemon_process(
    folder: Path, simulator: Simulator, extra_toml: str = ""
) -> AsyncIterator[DaemonProcess]:
    """A daemon that is not started yet; it and its database are gone when the block ends."""
    daemon = DaemonProcess(folder, simulator, extra_toml)
    try:
        yield daemon
    finally:
        daemon.end_hard()
