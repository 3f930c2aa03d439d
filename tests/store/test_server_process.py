"""Recognising and ending a server by its process, with stand-ins that need no Java (R20)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pumpwatch.config import Config
from pumpwatch.store import server_process
from pumpwatch.store.embedded_files import MAIN_CLASS, Java, Launch, plan_launch
from pumpwatch.store.server import Ports
from pumpwatch.store.server_process import (
    PidFile,
    ServerProcess,
    find_leftovers,
    rotate_log,
    spawn,
    start_mark,
)

READY = "import sys, time; print('ready', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + READY
PORTS = Ports(1, 2, 3)
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts stand-ins: a Python that sleeps, with a QuestDB's last words on its command line."""
    running: list[subprocess.Popen[bytes]] = []

    def run(root: Path, cwd: Path, program: str = READY) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", program, "-m", MAIN_CLASS, "-d", str(root)]
        process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE)
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()


def remember(data_dir: Path, process: subprocess.Popen[bytes], started: str | None = None) -> None:
    mark = started or start_mark(psutil.Process(process.pid))
    PidFile(pid=process.pid, started=mark, ports=PORTS).write(data_dir)


def found(data_dir: Path, root: Path) -> list[int]:
    return [process.pid for process in find_leftovers(data_dir, root)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "questdb"
    folder.mkdir(parents=True)
    return folder


def test_a_server_of_the_pid_file_is_found(root: Path, start: Start, tmp_path: Path) -> None:
    assert found(root.parent, root) == []
    process = start(root, cwd=tmp_path)
    assert found(root.parent, root) == []  # it might be one in a container, of the same path there
    remember(root.parent, process)
    assert found(root.parent, root) == [process.pid]


def test_a_number_that_is_another_process_by_now_is_left_alone(
    root: Path, start: Start, tmp_path: Path
) -> None:
    process = start(root, cwd=tmp_path)
    remember(root.parent, process, started="another-boot:1")
    assert found(root.parent, root) == []
    other = start(root.parent / "other", cwd=root.parent)
    remember(root.parent, other)
    assert found(root.parent, root) == []


def test_a_server_without_a_pid_file_is_found_by_where_it_works(root: Path, start: Start) -> None:
    process = start(root, cwd=root)
    (root.parent / "questdb.pid").write_text("{")
    assert found(root.parent, root) == [process.pid]


def test_a_server_of_a_similar_root_is_not_ours(root: Path, start: Start, tmp_path: Path) -> None:
    for other in (root.with_name("questdb2"), root / "questdb", tmp_path / "questdb"):
        other.mkdir()
        start(other, cwd=other)
    assert found(root.parent, root) == []


def test_a_dead_child_that_nobody_asked_for_is_no_server(root: Path, start: Start) -> None:
    process = start(root, cwd=root)
    remember(root.parent, process)
    server = find_leftovers(root.parent, root)[0]
    assert server.is_running
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the list
    assert psutil.pid_exists(process.pid)
    assert not server.is_running
    assert found(root.parent, root) == []


async def test_a_leftover_is_ended_in_order(root: Path, start: Start) -> None:
    process = start(root, cwd=root)
    (server,) = find_leftovers(root.parent, root)
    await server.stop()
    assert process.wait() == -signal.SIGTERM
    await server.stop()  # there is nothing left to do


async def test_one_that_does_not_end_is_killed(
    root: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_process, "STOP_S_MAX", 0.1)
    monkeypatch.setattr(server_process, "LEFTOVER_POLL_S", 0.01)
    process = start(root, cwd=root, program=STUBBORN)
    (server,) = find_leftovers(root.parent, root)
    await server.stop()
    assert process.wait() == -signal.SIGKILL


async def test_only_the_very_same_launch_counts_as_the_same(root: Path, start: Start) -> None:
    def launch(heap_mib: int) -> Launch:
        return plan_launch(
            Config(data_dir=root.parent), heap_mib=heap_mib, java=Java(Path(sys.executable), 25),
            jar=Path("/q.jar"), ports=PORTS, passwords=("one", "two"),
        )  # fmt: skip

    class Process(psutil.Process):
        def cmdline(self) -> list[str]:
            return list(launch(512).command)

    server = ServerProcess(Process(start(root, cwd=root).pid))
    launch(512).write_files()
    assert server.runs(launch(512))
    assert not server.runs(launch(513))
    launch(512).conf_file.write_text("http.bind.to=0.0.0.0:9000\n")
    assert not server.runs(launch(512))


async def test_a_server_whose_pid_cannot_be_noted_does_not_stay(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: PidFile, data_dir: Path) -> None:
        pids.append(self.pid)
        raise OSError(28, "No space left on device")

    pids: list[int] = []
    monkeypatch.setattr(PidFile, "write", refuse)
    program = plan_launch(
        Config(data_dir=root.parent), heap_mib=512, java=Java(Path("/j"), 25), jar=Path("/q.jar"),
        ports=PORTS, passwords=("one", "two"),
    )  # fmt: skip
    with pytest.raises(OSError, match="No space left"):
        await spawn(_sleeping(program), root.parent)
    assert not psutil.pid_exists(pids[0])


def _sleeping(launch: Launch) -> Launch:
    import msgspec

    return msgspec.structs.replace(launch, command=(sys.executable, "-c", READY))


# --- log ------------------------------------------------------------------------------------------


def test_a_log_is_put_aside_and_five_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "questdb.log"
    rotate_log(log, in_use=False)
    for number in range(8):
        log.write_text(f"run {number}")
        rotate_log(log, in_use=False)
        assert not log.exists()
    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert kept == {f"questdb.log.{age}": f"run {8 - age}" for age in range(1, 6)}


def test_a_log_in_use_goes_on_at_the_beginning(tmp_path: Path) -> None:
    log = tmp_path / "questdb.log"
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, b"before\n")
    rotate_log(log, in_use=True, bytes_max=7)
    assert log.read_bytes() == b"before\n"  # not too long yet
    rotate_log(log, in_use=True, bytes_max=6)
    os.write(descriptor, b"after\n")
    os.close(descriptor)
    assert log.read_bytes() == b"after\n"
    assert (tmp_path / "questdb.log.1").read_bytes() == b"before\n"
    assert (tmp_path / "questdb.log.1").stat().st_mode & 0o777 == 0o600
