"""The daemon as a service: what systemd is told, what a SIGHUP changes, feeds that are paused."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pumpwatch.alerts import AlertDesk
from pumpwatch.budget import fit_memory, host_memory_mib
from pumpwatch.capture.ledger import Ledger
from pumpwatch.clock import SystemClock
from pumpwatch.config import Config, in_folder, load_config
from pumpwatch.daemon import Daemon
from pumpwatch.dashboard.parameters import ParameterError
from pumpwatch.errors import UsageError
from pumpwatch.health_line import health_line
from pumpwatch.reload import changed_keys, reload
from pumpwatch.systemd import STATUS_S, Notifier, run_notify
from tests.capture.rig import SideNotes
from tests.capture.specs import instrument
from tests.standings import feed, standing, with_feed


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[socket.socket]:
    """What systemd listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener


def heard(bus: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found += bus.recv(4096).decode().split("\n")
        except BlockingIOError:
            return found


def make_daemon(folder: Path) -> Daemon:
    config = fit_memory(in_folder(load_config(None, {}), folder / "data"), host_memory_mib())
    return Daemon(config, SystemClock(), random.Random(1))


# --- systemd --------------------------------------------------------------------------------------


async def test_systemd_is_told_each_step(
    tmp_path: Path, bus: socket.socket, autojump_clock: MockClock
) -> None:
    daemon = make_daemon(tmp_path)
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "4000000"}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_notify, daemon, Notifier(environ))
        await wait_all_tasks_blocked()
        assert sorted(heard(bus)) == ["STATUS=starting", "WATCHDOG=1"]  # two tasks, any order
        await trio.sleep(5)
        assert heard(bus) == ["WATCHDOG=1", "WATCHDOG=1"]  # each 2 s, half of what is allowed
        daemon.capturing.set()
        await wait_all_tasks_blocked()
        ready = heard(bus)
        assert ready[0] == "READY=1"
        assert ready[1].startswith("STATUS=BN(0+0")
        await trio.sleep(STATUS_S + 0.1)
        assert any(line.startswith("STATUS=BN") for line in heard(bus))
        daemon.stop.set()
        await wait_all_tasks_blocked()
        assert "STOPPING=1" in heard(bus)
        nursery.cancel_scope.cancel()


async def test_the_watchdog_is_not_fed_by_a_daemon_that_does_not_look(
    tmp_path: Path, bus: socket.socket, autojump_clock: MockClock
) -> None:
    daemon = make_daemon(tmp_path)
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "4000000"})
    with trio.move_on_after(20):
        await run_notify(daemon, notifier, is_alive=lambda: False)
    assert "WATCHDOG=1" not in heard(bus)


@pytest.mark.parametrize(
    "environ", [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"},
                {"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1"}]
)  # fmt: skip
def test_without_a_watchdog_none_is_fed(environ: dict[str, str]) -> None:
    assert Notifier(environ).watchdog_s is None


def test_a_socket_that_is_gone_costs_nothing(tmp_path: Path) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).send(READY="1")
    Notifier({}).send(READY="1")


def test_an_abstract_address() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        name = f"pumpwatch-test-{os.getpid()}"
        listener.bind(f"\0{name}")
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).send(READY="1")
        assert listener.recv(100) == b"READY=1"


def test_the_line_that_users_know() -> None:
    line = health_line(standing())
    assert line.startswith("BN(1+1✅), BY(1+1✅), OKX(1+1✅), KC(1+1✅), GT(1+1✅), PH(1+1✅)")
    assert "OKX(0+1❌)" in health_line(with_feed("okx_spot", connections_open=0))
    # Sockets that are open prove nothing.
    assert "OKX(1+1❌)" in health_line(with_feed("okx_spot", silent_s=61.0))
    assert "GT(1⚠️)" in health_line(standing(feeds=[feed("gate_spot", subscribed=5)]))


# --- SIGHUP ---------------------------------------------------------------------------------------


async def test_a_good_file_is_applied_and_the_rest_named(tmp_path: Path) -> None:
    daemon = make_daemon(tmp_path)
    daemon.alerts = AlertDesk(daemon.config, daemon.clock, daemon.seat)
    path = tmp_path / "new.toml"
    path.write_text(
        f'data_dir = "{daemon.config.data_dir}"\n[alerts]\nurls = ["json://127.0.0.1:9"]\n'
        'quiet_hours = "22:00-06:00"\n[system]\nlog_level = "warning"\n[spool]\nfsync_ms = 5\n'
        '[feeds.okx_spot]\nquotes = ["USDT", "USDC"]\n'
    )
    with structlog.testing.capture_logs() as lines:
        assert reload(daemon, path, {})
    assert daemon.alerts.config.urls == ("json://127.0.0.1:9",)
    told = next(line for line in lines if line["event"] == "reloaded")
    assert set(told["changed"]) == {
        "alerts.urls", "alerts.quiet_hours", "system.log_level", "feeds.okx_spot.quotes",
    }  # fmt: skip
    assert "spool.fsync_ms" in told["need_a_restart"]
    # A paused feed that is resumed now starts with it, and the next reload does not name it again.
    assert daemon.config.feeds["okx_spot"].quotes == ("USDT", "USDC")
    assert daemon.config.spool.fsync_ms == 1000
    with structlog.testing.capture_logs() as lines:
        assert reload(daemon, path, {})
    assert next(line for line in lines if line["event"] == "reloaded")["changed"] == []


async def test_a_bad_file_changes_nothing_and_says_why(tmp_path: Path) -> None:
    daemon = make_daemon(tmp_path)
    daemon.alerts = AlertDesk(daemon.config, daemon.clock, daemon.seat)
    before = daemon.alerts.config
    path = tmp_path / "bad.toml"
    path.write_text('[alerts]\nurls = ["json://x"]\n[writer]\nworkers = 99\n')
    with structlog.testing.capture_logs() as lines:
        assert not reload(daemon, path, {})
    assert daemon.alerts.config is before
    assert [line["event"] for line in lines] == ["reload_refused"]
    assert "writer.workers = 99" in lines[0]["message"]


def test_every_key_that_differs_is_named() -> None:
    old = Config()
    new = load_config(None, {"PUMPWATCH_FEEDS__OKX_SPOT__QUOTES": "USDC"})
    changed = changed_keys(old, new)
    assert set(changed) == {"data_dir", "feeds.okx_spot.quotes"}


# --- pausing --------------------------------------------------------------------------------------


async def test_a_feed_is_paused_and_resumed(tmp_path: Path, autojump_clock: MockClock) -> None:
    daemon = make_daemon(tmp_path)
    daemon.spool.state = "open"  # it takes the row of the hole; nothing here needs it on disk
    switch, state = daemon.switches["okx_spot"], daemon.feeds[4]
    assert state.spec.name == "okx_spot"
    notes = SideNotes()  # the daemon's spool is not open here
    state.ledger = Ledger(daemon.clock.wall_ns, notes.gaps)
    state.add_instruments([instrument("BTC-USDT", feed="okx_spot", symbol="BTCUSDT")])
    state.want(["BTC-USDT"])
    runs: list[str] = []

    async def record(end: trio.Event) -> None:
        runs.append("began")
        state.state = "running"
        await end.wait()
        runs.append("ended")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(switch.run, record)
        await wait_all_tasks_blocked()
        assert await daemon.desk.run("pause_feed", {"feed": "okx_spot"}) == "okx_spot is paused"
        await wait_all_tasks_blocked()
        assert (runs, state.state) == (["began", "ended"], "paused")
        [gap] = notes.ledger
        assert (gap.symbol, gap.cause, gap.to_ns) == ("BTCUSDT", "paused", 0)
        told = await daemon.desk.run("pause_feed", {"feed": "okx_spot"})
        assert told == "okx_spot was paused already"
        await daemon.desk.run("resume_feed", {"feed": "okx_spot"})
        await wait_all_tasks_blocked()
        assert runs == ["began", "ended", "began"]
        daemon.stop.set()
    assert runs[-1] == "ended"


async def test_a_paused_feed_does_not_hold_up_the_end(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    daemon = make_daemon(tmp_path)
    switch = daemon.switches["okx_spot"]
    switch.turn(on=False)

    async def record(_end: trio.Event) -> None:
        raise AssertionError("it is paused")

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(switch.run, record)
            await wait_all_tasks_blocked()
            daemon.stop.set()


async def test_a_feed_that_does_not_exist(tmp_path: Path) -> None:
    daemon = make_daemon(tmp_path)
    with pytest.raises(UsageError, match="no such feed"):
        await daemon.desk.run("pause_feed", {"feed": "mtgox_spot"})
    with pytest.raises(ParameterError, match="feed"):
        await daemon.desk.run("pause_feed", {})
