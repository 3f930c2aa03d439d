"""The embedded server's whole life, with a real one; unit tests of its small parts first."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import msgspec
import psutil
import pytest
import trio

from pumpwatch.clock import SystemClock
from pumpwatch.config import Config, QuestdbConfig
from pumpwatch.errors import (
    EXIT_UNAVAILABLE,
    ConfigError,
    DataDirError,
    PumpWatchError,
)
from pumpwatch.store import embedded, server_process
from pumpwatch.store.embedded import (
    BACKOFF_S_MAX,
    ServerHandle,
    backoff_s,
    describe_fault,
    hold_data_dir,
    run_server,
)
from pumpwatch.store.embedded_files import MAIN_CLASS, choose_ports
from pumpwatch.store.server import LOOPBACK, Ports, ServerAddress, read_runtime, running_address
from pumpwatch.store.sql import Sql

HEAP_MIB = 300
HOLD = """
import sys, time
from pathlib import Path
from pumpwatch.store.embedded import hold_data_dir
with hold_data_dir(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""
# What the daemon does with its server, and nothing else; it is killed.
DAEMON = """
import json, sys, trio
from functools import partial
from pathlib import Path
from pumpwatch import log
from pumpwatch.clock import SystemClock
from pumpwatch.config import Config, QuestdbConfig
from pumpwatch.store.embedded import hold_data_dir, run_server

async def main(data_dir, heap_mib):
    questdb = QuestdbConfig(http_port=0, pg_port=0, health_port=0)
    config = Config(data_dir=data_dir, questdb=questdb)
    with hold_data_dir(data_dir):
        async with trio.open_nursery() as nursery:
            run = partial(run_server, config, SystemClock(), heap_mib=heap_mib)
            handle = await nursery.start(run)
            print(json.dumps({"pid": handle.pid}), flush=True)
            await trio.sleep_forever()

log.configure()
trio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
"""


def config_of(data_dir: Path, **questdb: object) -> Config:
    ports = {"http_port": 0, "pg_port": 0, "health_port": 0}
    return Config(data_dir=data_dir, questdb=QuestdbConfig(**{**ports, **questdb}))  # type: ignore[arg-type]


# --- one daemon a data_dir ------------------------------------------------------------------------


def test_a_second_holder_is_refused_with_the_firsts_pid(tmp_path: Path) -> None:
    data_dir = tmp_path / "made" / "here"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(data_dir)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DataDirError, match=rf"in use by .*\(pid {holder.pid}\)") as caught:
            hold_data_dir(data_dir).__enter__()
        assert caught.value.exit_code == EXIT_UNAVAILABLE
        assert "\n" not in str(caught.value)
        with hold_data_dir(tmp_path / "another"):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with hold_data_dir(data_dir):  # a dead holder holds nothing
        assert (data_dir / "daemon.lock").read_text() == f"{os.getpid()}\n"
        with pytest.raises(DataDirError):
            hold_data_dir(data_dir).__enter__()


def test_a_data_dir_that_cannot_be_made_is_a_fault_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"data_dir = .*file/data"):
        hold_data_dir(tmp_path / "file" / "data").__enter__()


# --- small parts ----------------------------------------------------------------------------------


def test_restarts_come_later_and_later_and_never_at_the_same_moment() -> None:
    rng = random.Random(1)
    delays_s = [backoff_s(failures, rng) for failures in range(40)]
    for failures, delay_s in enumerate(delays_s):
        ceiling_s = min(BACKOFF_S_MAX, 0.5 * 2**failures)
        assert ceiling_s / 2 <= delay_s <= ceiling_s
    assert len(set(delays_s)) == len(delays_s)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "2026-01-01T00:00:00.000001Z A server-main fs.file-max limit is too low (UNSTABLE)\n"
            "io.questdb.network.NetworkError: [98] could not bind socket [bindTo=127.0.0.1:9000]\n"
            "\tat io.questdb@9.3.4/io.questdb.std.ThreadLocal.get(ThreadLocal.java:46)\n",
            "io.questdb.network.NetworkError: [98] could not bind socket [bindTo=127.0.0.1:9000]",
        ),
        (
            "Error occurred during initialization of VM\nToo small maximum heap\n",
            "Error occurred during initialization of VM Too small maximum heap",
        ),
        (
            "2026-01-01T00:00:00.000001Z E i.q.c.TableUtils cannot lock '/r' [errno=11]\n",
            "i.q.c.TableUtils cannot lock '/r' [errno=11]",
        ),
        ("2026-01-01T00:00:00.000001Z A server-main all is well\n", "it said nothing"),
        ("", "it said nothing"),
    ],
)
def test_a_servers_last_words_become_one_line(tmp_path: Path, text: str, words: str) -> None:
    log = tmp_path / "questdb.log"
    log.write_text(text)
    assert describe_fault(log) == words


def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    assert "cannot be read" in describe_fault(tmp_path / "questdb.log")


# --- starts that fail -----------------------------------------------------------------------------


async def start_error(config: Config, heap_mib: int = HEAP_MIB) -> PumpWatchError:
    """What a start that must fail says; nothing of it stays."""
    with pytest.raises(PumpWatchError) as caught, trio.fail_after(60):
        await run_server(config, SystemClock(), heap_mib=heap_mib)
    assert "\n" not in str(caught.value)
    assert servers_of(config.data_dir) == []
    return caught.value


async def test_a_fixed_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
        error = await start_error(config_of(tmp_path, pg_port=port))
    assert f"questdb.pg_port = {port}" in str(error)
    assert error.exit_code == EXIT_UNAVAILABLE


async def test_a_file_where_a_folder_must_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "questdb").touch()
    error = await start_error(config_of(tmp_path))
    assert f"cannot be started: {tmp_path / 'questdb'}" in str(error)


async def test_a_java_that_refuses_says_so_at_once(tmp_path: Path) -> None:
    error = await start_error(config_of(tmp_path), heap_mib=1)
    assert "Too small maximum heap" in str(error)
    assert str(tmp_path / "logs" / "questdb.log") in str(error)


async def test_an_external_server_that_is_not_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "EXTERNAL_S_MAX", 0.3)
    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
    url = f"http://{LOOPBACK}:{port}"
    config = config_of(tmp_path, mode="external", http_url=url, pg_host=LOOPBACK, pg_port=port)
    assert "password_file" in str(await start_error(config))
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "questdb").write_text("pw")
    assert f"no database answers on {url}" in str(await start_error(config))


# --- with a server --------------------------------------------------------------------------------


def servers_of(data_dir: Path) -> list[int]:
    """Numbers of the processes that run a QuestDB below data_dir."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if MAIN_CLASS in words and words[-1].startswith(str(data_dir)):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A folder whose server is gone after the test, whatever happened."""
    yield tmp_path
    for pid in servers_of(tmp_path):
        os.kill(pid, signal.SIGKILL)


@asynccontextmanager
async def running(config: Config, heap_mib: int = HEAP_MIB) -> AsyncIterator[ServerHandle]:
    async with trio.open_nursery() as nursery:
        run = partial(run_server, config, SystemClock(), heap_mib=heap_mib, rng=random.Random(1))
        with trio.fail_after(60):
            handle = await nursery.start(run)
        yield handle
        nursery.cancel_scope.cancel()


async def add_row(address: ServerAddress, number: int) -> None:
    async with aclosing(Sql(address)) as sql:
        await sql.execute(
            "CREATE TABLE IF NOT EXISTS kept (at TIMESTAMP_NS, number LONG) TIMESTAMP(at)"
            " PARTITION BY DAY WAL"
        )
        await sql.execute("INSERT INTO kept VALUES (now(), %s)", (number,))


async def until_rows(address: ServerAddress, numbers: list[int]) -> None:
    async with aclosing(Sql(address, readonly=True)) as sql:
        with trio.fail_after(60):
            while await sql.query("SELECT number FROM kept ORDER BY number") != [  # noqa: ASYNC110
                (number,) for number in numbers
            ]:
                await trio.sleep(0.02)


async def http_status(address: ServerAddress, path: str, user: str, password: str) -> int:
    async with httpx.AsyncClient(base_url=address.http_url, auth=(user, password)) as client:
        return (await client.get(path)).status_code


@pytest.mark.questdb
async def test_the_life_of_a_server(data_dir: Path) -> None:
    """Bound to loopback, closed to strangers, restarted when killed; rows outlive all of it."""
    config = config_of(data_dir)
    async with running(config) as server:
        assert server.pid is not None
        address, first_pid = server.address, server.pid
        assert running_address(config) == address
        runtime = read_runtime(data_dir)
        assert runtime["pid"] == os.getpid()

        listening = {
            connection.laddr
            for connection in psutil.Process(first_pid).net_connections()
            if connection.status == psutil.CONN_LISTEN
        }
        ports = {runtime["http_port"], runtime["pg_port"], runtime["health_port"]}
        assert listening == {(LOOPBACK, port) for port in ports}

        ask = "/exec?query=select%201"
        assert await http_status(address, ask, address.user, address.password) == 200
        for user, password in (("admin", "quest"), (address.user, "quest"), ("", "")):
            for path in (ask, "/exp?query=select%201", "/write", "/imp"):
                assert await http_status(address, path, user, password) == 401, path

        await add_row(address, 1)
        await until_rows(address, [1])
        up = server.ready
        os.kill(first_pid, signal.SIGKILL)
        with trio.fail_after(60):
            while server.ready is up:  # noqa: ASYNC110 - that is what is tested
                await trio.sleep(0.01)
            await server.ready.wait()
        assert server.pid not in (None, first_pid)
        assert (server.address, server.restarts) == (address, 1)
        await until_rows(address, [1])
        await add_row(address, 2)
        assert servers_of(data_dir) == [server.pid]
        words = (data_dir / "logs" / "questdb.log").read_text()
        assert "QuestDB 9.3.4" in words
        assert address.password not in words
        assert address.readonly_password not in words
    assert servers_of(data_dir) == []
    async with running(config) as server:
        await until_rows(server.address, [1, 2])
    assert servers_of(data_dir) == []


class KilledDaemon:
    """Runs DAEMON and kills it with SIGKILL; its server stays."""

    def __init__(self, data_dir: Path, heap_mib: int = HEAP_MIB) -> None:
        command = [sys.executable, "-c", DAEMON, str(data_dir), str(heap_mib)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)

    def __enter__(self) -> int:
        """The number of its server, once it answers."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        try:
            return int(json.loads(line)["pid"])
        except ValueError:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.mark.questdb
async def test_the_server_of_a_killed_daemon_is_taken_over_and_never_doubled(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R20, all ways: adopted; ended for other settings; ended because it is deaf."""
    config = config_of(data_dir)
    with KilledDaemon(data_dir) as left:
        await add_row(running_address(config), 1)
    assert servers_of(data_dir) == [left]

    async with running(config) as server:  # the same one
        assert server.pid == left
        assert servers_of(data_dir) == [left]
        await until_rows(server.address, [1])
        await add_row(server.address, 2)
        up = server.ready
        os.kill(left, signal.SIGKILL)  # an adopted one is watched like a child
        with trio.fail_after(60):
            while server.ready is up:  # noqa: ASYNC110
                await trio.sleep(0.01)
            await server.ready.wait()
        await until_rows(server.address, [1, 2])
    assert servers_of(data_dir) == []

    with KilledDaemon(data_dir) as left:
        pass
    async with running(config, heap_mib=HEAP_MIB + 1) as server:  # another one, for its heap
        assert server.pid != left
        assert servers_of(data_dir) == [server.pid]
        await until_rows(server.address, [1, 2])

    with KilledDaemon(data_dir) as left:
        os.kill(left, signal.SIGSTOP)  # lives, and answers nobody
    monkeypatch.setattr(embedded, "ADOPT_S_MAX", 0.3)
    monkeypatch.setattr(server_process, "STOP_S_MAX", 0.3)
    async with running(config) as server:
        assert server.pid != left
        assert servers_of(data_dir) == [server.pid]
        await until_rows(server.address, [1, 2])


@pytest.mark.questdb
async def test_a_free_port_that_was_lost_is_replaced(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server((LOOPBACK, 0)) as thief:
        stolen = thief.getsockname()[1]
        chosen: list[Ports] = []

        def choose(wanted: Ports) -> Ports:
            ports = choose_ports(wanted)
            if not chosen:
                ports = msgspec.structs.replace(ports, pg_port=stolen)
            chosen.append(ports)
            return ports

        monkeypatch.setattr(embedded, "choose_ports", choose)
        async with running(config_of(data_dir)) as server:
            assert server.address.pg_port == chosen[1].pg_port != stolen
            assert servers_of(data_dir) == [server.pid]


@pytest.mark.questdb
async def test_an_external_server_is_used_and_left_alone(
    questdb_server: ServerAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "EXTERNAL_S_MAX", 1.0)
    config = config_of(
        tmp_path, mode="external", http_url=questdb_server.http_url,
        pg_host=questdb_server.pg_host, pg_port=questdb_server.pg_port,
    )  # fmt: skip
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "questdb").write_text("wrong\n")
    assert "refuses user pumpwatch" in str(await start_error(config))
    (secrets / "questdb").write_text(questdb_server.password)
    async with running(config) as server:
        assert server.pid is None
        assert server.ready.is_set()
        async with aclosing(Sql(server.address)) as sql:
            assert await sql.query("SELECT 1") == [(1,)]
    async with aclosing(Sql(questdb_server)) as sql:
        assert await sql.query("SELECT 1") == [(1,)]
