"""Simulator and daemon as processes of their own, for drills and for tests of the whole system."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import psutil
import trio

from pumpwatch.clock import SystemClock
from pumpwatch.config import FEED_NAMES, Config, QuestdbConfig, load_config
from pumpwatch.drills.outcome import Order
from pumpwatch.drills.proxy import FaultProxy, run_proxy
from pumpwatch.errors import DrillError
from pumpwatch.sim.process import Simulator, run_simulator
from pumpwatch.status import STATUS_FILE
from pumpwatch.store.embedded import ServerHandle, run_server
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.server_process import PidFile, find_leftovers

START_S_MAX = 120.0
END_S_MAX = 60.0
SETTLE_S_MAX = 300.0
POLL_S = 0.05
SERVER_HEAP_MIB = 512
QUIET_S = 1.5  # nothing was parsed for so long: the sockets' buffers are empty
GOES_ON = ("--goes-on",)  # symbols trade on while nobody listens
EMBEDDED_TOML = "[questdb]\nhttp_port = 0\npg_port = 0\nhealth_port = 0"

Condition = Callable[[dict[str, Any]], bool]


class DaemonProcess:
    """``python -m pumpwatch run`` on a data_dir whose feeds are the simulator's."""

    def __init__(
        self,
        folder: Path,
        simulator: Simulator,
        extra_toml: str = "",
        *,
        questdb_toml: str = EMBEDDED_TOML,
        has_backfill: bool = False,
    ) -> None:
        """Without backfill what was not delivered stays a hole: the truth is what was delivered."""
        self.has_backfill = has_backfill
        self.data_dir = folder / "data"
        self.config_file = folder / "pumpwatch.toml"
        self.log_file = folder / "daemon.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.source: Path | None = None  # another release's checkout; None: this one
        folder.mkdir(parents=True, exist_ok=True)
        text = self._toml(simulator, questdb_toml) + extra_toml
        self.config_file.write_text(text, encoding="utf-8")

    def _toml(self, simulator: Simulator, questdb_toml: str) -> str:
        lines = [
            f'data_dir = "{self.data_dir}"', questdb_toml,
            "[dashboard]", 'bind = "127.0.0.1:0"',
            "[memory]", "budget_mib = 2048", "max_mib = 64",
        ]  # fmt: skip
        if not self.has_backfill:
            lines += ["[backfill]", "enabled = false"]
        for name, urls in simulator.boards.items():
            lines += [f"[listing.{name}]", *(f'{key} = "{url}"' for key, url in urls.items())]
        for name in FEED_NAMES:
            lines.append(f"[feeds.{name}]")
            if name in simulator.feeds:
                lines += [f'{key} = "{url}"' for key, url in simulator.feeds[name].items()]
            else:
                lines.append("enabled = false")
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
                env={**os.environ, "PYTHONUNBUFFERED": "1"}, cwd=self.source,
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

    async def until(
        self, condition: Condition, what: str, within_s: float = START_S_MAX
    ) -> dict[str, Any]:
        """Wait until ``condition(status)`` holds; returns that status. Raises DrillError."""
        with trio.move_on_after(within_s):
            while True:
                document = self.status()
                if document and condition(document):
                    return document
                assert self.process is not None
                if self.process.poll() is not None:
                    break
                await trio.sleep(POLL_S)
        raise DrillError(f"not {what} within {within_s:g} s: {self.status()}; {self.log_tail()}")

    def expect_running(self) -> None:
        """Raises DrillError with the end of its log where it has ended by itself."""
        assert self.process is not None
        if self.process.poll() is not None:
            raise DrillError(f"the daemon ended with {self.exit_code}: {self.log_tail()}")

    def log_tail(self) -> str:
        """The end of its output."""
        return self.log_file.read_text(errors="replace")[-4000:] if self.log_file.exists() else ""

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return None if self.process is None else self.process.returncode

    async def wait(self, within_s: float = END_S_MAX) -> int:
        """Its exit code, once it has ended."""
        assert self.process is not None
        return await trio.to_thread.run_sync(self.process.wait, within_s)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end_hard(self) -> None:
        """Whatever happened: nothing of ours stays (the database is ended by its own pid)."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        end_database(self.data_dir)


def parsed_rows(document: dict[str, Any]) -> int:
    """Rows that came out of sockets since this daemon's start."""
    return sum(int(feed["parsed"]) for feed in document["feeds"])


async def settle(
    daemon: DaemonProcess, simulator: Simulator, within_s: float = SETTLE_S_MAX
) -> dict[str, Any]:
    """End the trading, wait until all that was delivered is read and applied; the last status."""
    await simulator.stop_generating()
    await daemon.until(is_subscribed, "subscribed")
    with trio.move_on_after(within_s):
        while True:
            before = await daemon.until(bool, "looking")
            await trio.sleep(QUIET_S)
            after = await daemon.until(bool, "looking")
            if before["uptime_s"] == after["uptime_s"]:
                continue  # it has not looked since
            if parsed_rows(before) == parsed_rows(after) and not after["store"]["pending_rows"]:
                return after
    raise DrillError(f"not settled within {within_s:g} s: {daemon.status()}")


def is_subscribed(document: dict[str, Any]) -> bool:
    """Every feed has all its symbols."""
    feeds = document["feeds"]
    return bool(feeds) and all(f["wanted"] and f["subscribed"] == f["wanted"] for f in feeds)


def applied_rows(document: dict[str, Any]) -> int:
    """Rows of trades in the table, by the daemon's count."""
    return int(document["store"]["applied_rows"])


def end_server(daemon: DaemonProcess, number: signal.Signals = signal.SIGKILL) -> bool:
    """Signal the embedded server, if one runs; the daemon starts it again. False: none ran."""
    known = PidFile.read(daemon.data_dir)
    if known is None:
        return False
    try:
        psutil.Process(known.pid).send_signal(number)
    except psutil.NoSuchProcess:
        return False
    return True


def end_database(data_dir: Path) -> None:
    """Kill the embedded server of this data_dir, if one is left."""
    for server in find_leftovers(data_dir, data_dir / "questdb"):
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(server.pid)
            process.kill()
            process.wait(10)


@asynccontextmanager
async def daemon_process(
    folder: Path,
    simulator: Simulator,
    extra_toml: str = "",
    *,
    questdb_toml: str = EMBEDDED_TOML,
    has_backfill: bool = False,
) -> AsyncIterator[DaemonProcess]:
    """A daemon that is not started yet; it and its database are gone when the block ends."""
    daemon = DaemonProcess(
        folder, simulator, extra_toml, questdb_toml=questdb_toml, has_backfill=has_backfill
    )
    try:
        yield daemon
    finally:
        daemon.end_hard()


@asynccontextmanager
async def stage(
    folder: Path,
    seed: int,
    rate_per_s: int,
    extra_toml: str = "",
    *,
    has_backfill: bool = False,
    arguments: Sequence[str] = (),
    feeds: Sequence[str] = FEED_NAMES,
) -> AsyncIterator[tuple[Simulator, DaemonProcess]]:
    """Simulator, and a daemon with an embedded database that is not started yet.

    ``arguments`` are more of the simulator's; the daemon records ``feeds`` and no other.
    """
    options = [*simulator_arguments(seed, rate_per_s, feeds), *arguments]
    async with (
        run_simulator(folder / "truth", options) as simulator,
        daemon_process(folder / "run", simulator, extra_toml, has_backfill=has_backfill) as daemon,
    ):
        yield simulator, daemon


def stage_of(
    order: Order,
    extra_toml: str = "",
    *,
    seed: int | None = None,
    folder: Path | None = None,
    has_backfill: bool = False,
    arguments: Sequence[str] = (),
) -> AbstractAsyncContextManager[tuple[Simulator, DaemonProcess]]:
    """``stage`` as a drill was ordered; ``seed`` and ``folder`` where it chooses others itself."""
    return stage(
        folder or order.folder, order.seed if seed is None else seed, order.rate_per_s, extra_toml,
        has_backfill=has_backfill, arguments=arguments, feeds=order.feeds,
    )  # fmt: skip


def simulator_arguments(seed: int, rate_per_s: int, feeds: Sequence[str] = FEED_NAMES) -> list[str]:
    """Synthetic trades only: their times tell when they were sent."""
    options = ["--seed", str(seed), "--rate", str(rate_per_s), "--no-recorded"]
    return [*options, "--feeds", ",".join(feeds)]


class ExternalStage(msgspec.Struct, frozen=True):
    """Simulator, a database of the drill's own, a proxy in front of it, a daemon behind that."""

    simulator: Simulator
    daemon: DaemonProcess  # not started yet
    proxy: FaultProxy
    server: ServerHandle
    server_dir: Path


@asynccontextmanager
async def external_stage(
    order: Order, seed: int, *, server_dir: Path | None = None, toml: str = ""
) -> AsyncIterator[ExternalStage]:
    """As ``stage_of``, with a proxy; the database's files lie in ``server_dir``."""
    folder = order.folder
    place = server_dir or folder / "server"
    options = simulator_arguments(seed, order.rate_per_s, order.feeds)
    ports = QuestdbConfig(http_port=0, pg_port=0, health_port=0)
    config = Config(data_dir=place, questdb=ports)
    async with (
        run_simulator(folder / "truth", options) as simulator,
        trio.open_nursery() as nursery,
    ):
        try:
            server: ServerHandle = await nursery.start(
                partial(run_server, config, SystemClock(), heap_mib=SERVER_HEAP_MIB)
            )
            async with run_proxy(server.address.http_url) as proxy:
                text = _external_toml(server.address, proxy.url, config)
                async with daemon_process(
                    folder / "run", simulator, toml, questdb_toml=text
                ) as daemon:
                    yield ExternalStage(simulator, daemon, proxy, server, place)
            nursery.cancel_scope.cancel()
        finally:
            end_database(place)


def _external_toml(address: ServerAddress, http_url: str, config: Config) -> str:
    questdb = config.questdb
    return "\n".join(
        [
            "[questdb]", 'mode = "external"', f'http_url = "{http_url}"',
            f'pg_host = "{address.pg_host}"', f"pg_port = {address.pg_port}",
            f'password_file = "{config.path(questdb.password_file).absolute()}"',
            f'readonly_password_file = "{config.path(questdb.readonly_password_file).absolute()}"',
        ]
    )  # fmt: skip
