"""The embedded server as a process: started, recognised again (R20), ended by its number."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import msgspec
import psutil
import structlog
import trio

from pumpwatch.errors import ServerError
from pumpwatch.store.embedded_files import MAIN_CLASS, Launch
from pumpwatch.store.server import Ports, write_private

log = structlog.get_logger()

PID_FILE = "questdb.pid"
STOP_S_MAX = 20.0  # an orderly end takes well under a second; a busy one has pages to write
KILL_S_MAX = 5.0
LEFTOVER_POLL_S = 0.5  # somebody else's child cannot be waited for
START_TIME_SLACK_S = 2.0
LOGS_KEPT = 5


class PidFile(msgspec.Struct, frozen=True, kw_only=True):
    """data_dir/questdb.pid: the server that was started last."""

    pid: int
    started: str  # see start_mark
    ports: Ports

    @classmethod
    def read(cls, data_dir: Path) -> PidFile | None:
        """None where there is none, or it is no such thing."""
        try:
            return msgspec.json.decode((data_dir / PID_FILE).read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError):
            return None

    def write(self, data_dir: Path) -> None:
        """Atomically. Raises OSError."""
        write_private(data_dir / PID_FILE, msgspec.json.encode(self).decode() + "\n")


def start_mark(process: psutil.Process) -> str:
    """Tells a process from every other that ever has its number.

    On Linux in ticks since this boot: a start time in wall time moves when the clock is set.
    """
    with contextlib.suppress(OSError, IndexError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        stat = Path(f"/proc/{process.pid}/stat").read_text()
        return f"{boot}:{stat.rpartition(')')[2].split()[19]}"
    return f"{process.create_time():.2f}"


class ServerProcess:
    """A running server: our own child, or one that a killed daemon left behind."""

    def __init__(self, process: psutil.Process, child: trio.Process | None = None) -> None:
        self.pid = process.pid
        self._process = process
        self._child = child

    @property
    def is_running(self) -> bool:
        """False also for a dead one that nobody has asked for its exit code."""
        if self._child is not None:
            return self._child.poll() is None
        try:
            return bool(self._process.is_running()) and (
                self._process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.NoSuchProcess:
            return False

    @property
    def exit_code(self) -> int | None:
        """None while it runs, and for a server that is not our child."""
        return None if self._child is None else self._child.returncode

    def runs(self, launch: Launch) -> bool:
        """Whether it was started just as ``launch`` would start it."""
        try:
            conf = launch.conf_file.read_text(encoding="utf-8")
            return conf == launch.conf and tuple(self._process.cmdline()) == launch.command
        except (OSError, ValueError, psutil.Error):
            return False

    async def wait(self) -> None:
        """Return when it has ended."""
        if self._child is not None:
            await self._child.wait()
            return
        while self.is_running:  # noqa: ASYNC110 - another process ends, no event of ours tells
            await trio.sleep(LEFTOVER_POLL_S)

    async def stop(self) -> None:
        """End it in order, else at once; returns when it is gone."""
        if not self.is_running:
            return
        self._send("terminate")
        with trio.move_on_after(STOP_S_MAX):
            await self.wait()
            return
        log.error("server_killed", pid=self.pid, reason="it did not end", waited_s=STOP_S_MAX)
        self._send("kill")
        with trio.move_on_after(KILL_S_MAX):
            await self.wait()
            return
        raise ServerError(f"the database server (pid {self.pid}) cannot be ended")

    def _send(self, signal: str) -> None:
        """By psutil, which checks first that the number is still the same process."""
        try:
            getattr(self._process, signal)()
        except psutil.NoSuchProcess:
            return
        except psutil.AccessDenied:
            raise ServerError(
                f"the database server (pid {self.pid}) belongs to another user: end it there"
            ) from None


async def spawn(launch: Launch, data_dir: Path, *, nice: int = 0) -> ServerProcess:
    """Start a server in a session of its own, its output in a file: it can outlive us (R20).

    Raises OSError where a file or a process cannot be made.
    """
    launch.write_files()
    rotate_log(launch.log_file, in_use=False)
    descriptor = os.open(launch.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        child = await trio.lowlevel.open_process(
            [*(("nice", "-n", str(nice)) if nice else ()), *launch.command],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            cwd=launch.root,
            env=launch.environment(),
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    server = ServerProcess(psutil.Process(child.pid), child)
    try:
        mark = start_mark(psutil.Process(child.pid))
        PidFile(pid=child.pid, started=mark, ports=launch.ports).write(data_dir)
    except OSError:
        with trio.CancelScope(shield=True):
            await server.stop()
        raise
    return server


def rotate_log(file: Path, *, in_use: bool, bytes_max: int = 0) -> None:
    """Put a log that is larger than that aside and begin anew; blocking, raises OSError.

    A server holds its log open: then the text is copied and the file emptied, and what the server
    writes in between (well under a millisecond) goes. It appends, so it goes on at the beginning.
    """
    if not file.exists() or file.stat().st_size <= bytes_max:
        return
    for number in range(LOGS_KEPT - 1, 0, -1):
        older = file.with_name(f"{file.name}.{number}")
        if older.exists():
            older.replace(file.with_name(f"{file.name}.{number + 1}"))
    first = file.with_name(f"{file.name}.1")
    if in_use:
        shutil.copyfile(file, first)
        os.truncate(file, 0)
    else:
        file.replace(first)
    first.chmod(0o600)


# --- recognising ----------------------------------------------------------------------------------


def find_leftovers(data_dir: Path, root: Path) -> list[ServerProcess]:
    """Servers of this very folder that still run, whoever started them. Blocking.

    The pid file says where to look, and every process is looked at besides: a daemon that was
    killed between starting a server and writing the file leaves none.
    """
    known = PidFile.read(data_dir)
    found: list[ServerProcess] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.status() == psutil.STATUS_ZOMBIE or not works_on(process, root):
                continue
            is_known = (
                known is not None
                and process.pid == known.pid
                and _same_start(start_mark(process), known.started)
            )
            if is_known or runs_inside(process, root):
                found.append(ServerProcess(process))
    return found


def works_on(process: psutil.Process, root: Path) -> bool:
    """Whether it is a QuestDB with exactly this root on its command line."""
    words = process.cmdline()
    return MAIN_CLASS in words and words[-2:] == ["-d", str(root)]


def runs_inside(process: psutil.Process, root: Path) -> bool:
    """Whether its working folder is this root, not one of the same name in another container."""
    try:
        return os.path.samefile(f"/proc/{process.pid}/cwd", root)
    except OSError:
        return False


def _same_start(one: str, other: str) -> bool:
    if ":" in one or ":" in other:
        return one == other
    return abs(float(one) - float(other)) <= START_TIME_SLACK_S
