"""The database of a daemon: a server of our own that is started and watched, or somebody else's.

One data_dir belongs to one daemon (``hold_data_dir``) and has one server, which outlives a daemon
that is killed: the next daemon takes it over, or ends it (R20).
"""

from __future__ import annotations

import fcntl
import itertools
import os
import random
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import structlog
import trio

from pumpwatch.clock import Clock
from pumpwatch.config import Config
from pumpwatch.errors import ConfigError, DataDirError, ServerError
from pumpwatch.store import embedded_files
from pumpwatch.store.embedded_files import Launch, choose_ports, plan_launch, wanted_ports
from pumpwatch.store.probe import wait_for_answer
from pumpwatch.store.server import (
    Ports,
    ServerAddress,
    ensure_passwords,
    external_address,
    write_runtime,
)
from pumpwatch.store.server_process import (
    PidFile,
    ServerProcess,
    find_leftovers,
    rotate_log,
    spawn,
)

log = structlog.get_logger()

LOCK_FILE = "daemon.lock"
START_S_MAX = 180.0  # tables with much WAL to apply come up late
ADOPT_S_MAX = 10.0
EXTERNAL_S_MAX = 30.0
START_TRIES = 3  # with free ports: another program may take one between choosing and binding
BACKOFF_S_MIN = 0.5
BACKOFF_S_MAX = 30.0
STEADY_S = 60.0  # a server that ran this long starts the backoff anew
LOG_LOOK_S = 30.0
LOG_BYTES_MAX = 16 * 1024 * 1024
Plan = Callable[[Ports], Launch]
FAULT = re.compile(r"\b(error|cannot|could not|invalid|no space)\b|exception|error:", re.IGNORECASE)
LOG_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\S+ [A-Z] ")
FAULT_CHARACTERS_MAX = 300
PORT_FAULT = "could not bind"


@contextmanager
def hold_data_dir(data_dir: Path) -> Iterator[None]:
    """Have a data_dir to ourselves; the kernel lets it go when the process ends, however it ends.

    Raises DataDirError, naming the holder, where another daemon has it, and ConfigError where the
    folder cannot be made or written to.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(f"data_dir = {data_dir}: cannot be used: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise DataDirError(
                f"data_dir {data_dir} is in use by another PumpWatch (pid {holder}): stop that one,"
                " or set data_dir to another folder"
            ) from None
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            raise ConfigError(
                f"data_dir = {data_dir}: cannot be written to: {error.strerror}"
            ) from None
        yield
    finally:
        os.close(descriptor)


class ServerHandle:
    """The database as the daemon sees it; the address stays the same over restarts."""

    def __init__(self, address: ServerAddress) -> None:
        self.address = address
        self.pid: int | None = None  # None: the server is not ours, or it is down right now
        self.restarts = 0
        self.ready = trio.Event()  # another one, unset, stands here while the server is down
        # Starts it anew with these passwords; None: the server is not ours.
        self.change_passwords: Callable[[tuple[str, str]], Awaitable[None]] | None = None


async def run_server(
    config: Config,
    clock: Clock,
    *,
    heap_mib: int,
    rng: random.Random | None = None,
    task_status: trio.TaskStatus[ServerHandle] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Have a database until cancelled; ``task_status`` gives the handle once it answers.

    Embedded: starts the server (or takes over the one that a killed daemon left), restarts it
    whenever it dies, ends it in order. The caller holds the data_dir. ``heap_mib`` is its -Xmx.
    Raises ServerError or ConfigError, one line, where the first start fails.
    """
    if config.questdb.mode == "external":
        task_status.started(await _find_external(config, clock))
        await trio.sleep_forever()
    server = _Embedded(config, clock, heap_mib, rng or random.Random())
    try:
        task_status.started(await server.start())
        await server.watch()
    finally:
        with trio.CancelScope(shield=True):  # stop() has deadlines of its own
            await server.stop()


async def _find_external(config: Config, clock: Clock) -> ServerHandle:
    address = external_address(config)
    await wait_for_answer(address, EXTERNAL_S_MAX)
    _write_runtime(config, clock, Ports(0, 0, 0))
    handle = ServerHandle(address)
    handle.ready.set()
    return handle


def _write_runtime(config: Config, clock: Clock, ports: Ports) -> None:
    started = datetime.fromtimestamp(clock.wall_ns() // 1_000_000_000, UTC)
    try:
        write_runtime(
            config.data_dir,
            http_port=ports.http_port,
            pg_port=ports.pg_port,
            health_port=ports.health_port,
            started_at=started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
    except OSError as error:
        raise _start_error(error) from error


def _start_error(error: OSError) -> ServerError:
    place = f"{error.filename}: " if error.filename else ""
    return ServerError(f"the database cannot be started: {place}{error.strerror}")


class _Embedded:
    """One data_dir's server through all its restarts."""

    def __init__(self, config: Config, clock: Clock, heap_mib: int, rng: random.Random) -> None:
        self._config = config
        self._clock = clock
        self._heap_mib = heap_mib
        self._rng = rng
        self._launch: Launch
        self._handle: ServerHandle
        self._process: ServerProcess | None = None
        self._is_planned_end = False
        self._relaunch: Callable[[Ports, tuple[str, str]], Launch]

    async def start(self) -> ServerHandle:
        """Take over or start; the server answers then. Raises ServerError or ConfigError."""
        try:
            self._launch = await self._begin()
        except OSError as error:
            raise _start_error(error) from error
        _write_runtime(self._config, self._clock, self._launch.ports)
        self._handle = ServerHandle(self._launch.address)
        self._handle.change_passwords = self._change_passwords
        self._show_up()
        return self._handle

    async def watch(self) -> None:
        """Restart it whenever it dies and keep its log short, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_keep_log_short, self._launch.log_file)
            await self._keep_up(self._handle)

    async def stop(self) -> None:
        """End it in order, else at once."""
        if self._process is not None:
            await self._process.stop()
            self._process = None

    # --- the first start --------------------------------------------------------------------------

    async def _begin(self) -> Launch:
        """Take over or start; afterwards ``self._process`` answers."""
        in_thread = trio.to_thread.run_sync
        passwords = await in_thread(ensure_passwords, self._config)
        java = await in_thread(embedded_files.find_java, abandon_on_cancel=True)
        repository = embedded_files.maven_repository()
        jar = await in_thread(embedded_files.find_jar, repository, abandon_on_cancel=True)

        self._relaunch = lambda ports, passwords: plan_launch(
            self._config, heap_mib=self._heap_mib, java=java, jar=jar, ports=ports,
            passwords=passwords,
        )  # fmt: skip

        def plan(ports: Ports) -> Launch:
            return self._relaunch(ports, passwords)

        launch = await self._take_over(plan)
        if launch is None:
            launch = await self._start_somewhere(plan)
            log.info("server_started", pid=self._pid, java=str(java), heap_mib=self._heap_mib,
                     http=launch.address.http_url, pg_port=launch.ports.pg_port)  # fmt: skip
        return launch

    async def _take_over(self, plan: Plan) -> Launch | None:
        """Adopt the server that a killed daemon left (R20); end what cannot be adopted."""
        data_dir = self._config.data_dir
        root = data_dir.absolute() / "questdb"
        leftovers = await trio.to_thread.run_sync(find_leftovers, data_dir, root)
        known = PidFile.read(data_dir)
        adopted = None
        for process in leftovers:
            if known is not None and process.pid == known.pid:
                launch = plan(known.ports)
                reason = await self._why_not(process, launch)
                if not reason:
                    adopted, self._process = launch, process
                    log.info("server_adopted", pid=process.pid, http=launch.address.http_url)
                    continue
            else:
                reason = "it is not the one that was started last"
            log.warning("server_leftover_ended", pid=process.pid, reason=reason)
            await process.stop()
        return adopted

    async def _why_not(self, process: ServerProcess, launch: Launch) -> str:
        """Why a leftover cannot serve us as it is; empty: it can."""
        if not wanted_ports(self._config).fit(launch.ports):
            return "the settings name other ports now"
        if not process.runs(launch):
            return "it runs with other settings"
        try:
            await wait_for_answer(launch.address, ADOPT_S_MAX)
        except ServerError as error:
            return str(error)
        return ""

    async def _start_somewhere(self, plan: Plan) -> Launch:
        wanted = wanted_ports(self._config)
        tries = 1
        while True:
            launch = plan(choose_ports(wanted))
            try:
                await self._start(launch)
            except ServerError as error:
                # Between choosing a free port and binding it another program may take it.
                if PORT_FAULT not in str(error) or launch.ports == wanted or tries == START_TRIES:
                    raise
                log.warning("server_port_lost", message=str(error))
                tries += 1
            else:
                return launch

    async def _start(self, launch: Launch) -> None:
        """Spawn and wait for answers; a server that gives none is ended. Raises ServerError."""
        self._process = process = await spawn(launch, self._config.data_dir)
        problem: ServerError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_at_end, process, nursery.cancel_scope)
            try:
                await wait_for_answer(launch.address, START_S_MAX)
            except ServerError as error:
                problem = error
            nursery.cancel_scope.cancel()
        if not process.is_running:
            reason = describe_fault(launch.log_file)
            problem = ServerError(f"the database did not start: {reason} (see {launch.log_file})")
        if problem is not None:
            await self.stop()
            raise problem

    # --- the life after it ------------------------------------------------------------------------

    async def _change_passwords(self, passwords: tuple[str, str]) -> None:
        """End it in order; it comes up again with these, and whoever holds the address has them.

        The server reads the one of HTTP at its start only (seen on 9.3.4).
        """
        assert self._process is not None
        self._launch = self._relaunch(self._launch.ports, passwords)
        address = self._handle.address
        address.password, address.readonly_password = passwords
        self._is_planned_end = True
        self._handle.ready = trio.Event()
        await self._process.stop()
        await self._handle.ready.wait()

    async def _keep_up(self, handle: ServerHandle) -> None:
        """Restart the server whenever it dies, for ever."""
        failures = 0
        while True:
            assert self._process is not None
            up_since_s = trio.current_time()
            await self._process.wait()
            is_planned, self._is_planned_end = self._is_planned_end, False
            if not is_planned:
                handle.ready = trio.Event()
                log.error("server_died", pid=self._pid, exit_code=self._process.exit_code,
                          reason=describe_fault(self._launch.log_file))  # fmt: skip
            handle.pid = None
            handle.restarts += not is_planned
            if is_planned or trio.current_time() - up_since_s >= STEADY_S:
                failures = 0
            while not handle.ready.is_set():
                if not (is_planned and failures == 0):
                    await trio.sleep(backoff_s(failures, self._rng))
                failures += 1
                try:
                    await self._start(self._launch)
                except (ServerError, OSError) as error:
                    log.error("server_restart_failed", message=str(error))  # noqa: TRY400
                else:
                    self._show_up()
                    log.info("server_restarted", pid=self._pid)

    def _show_up(self) -> None:
        self._handle.pid = self._pid
        self._handle.ready.set()

    @property
    def _pid(self) -> int | None:
        return None if self._process is None else self._process.pid


async def _cancel_at_end(process: ServerProcess, scope: trio.CancelScope) -> None:
    await process.wait()
    scope.cancel()


async def _keep_log_short(file: Path) -> None:
    while True:
        await trio.sleep(LOG_LOOK_S)
        try:
            await trio.to_thread.run_sync(
                partial(rotate_log, file, in_use=True, bytes_max=LOG_BYTES_MAX)
            )
        except OSError as error:
            log.warning("server_log_not_rotated", error=str(error))


def backoff_s(failures: int, rng: random.Random) -> float:
    """How long to wait before the next start: doubled each time, jittered by half."""
    ceiling_s = min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2.0 ** min(failures, 16))
    return ceiling_s * rng.uniform(0.5, 1.0)


def describe_fault(log_file: Path) -> str:
    """What the server said before it ended: one line of its log."""
    try:
        lines = log_file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        return f"its log cannot be read: {error.strerror}"
    for line, following in itertools.pairwise([*lines, ""]):
        if FAULT.search(line):
            more = "" if following.lstrip().startswith("at ") else f" {following.strip()}"
            return (LOG_STAMP.sub("", line).strip() + more).strip()[:FAULT_CHARACTERS_MAX]
    return "it said nothing"
