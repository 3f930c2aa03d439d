"""What all tests share: hypothesis' profiles, who runs beside whom, and one real database.

The database is started only if a test asks for it, and once for each of xdist's workers.
"""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import structlog
import trio
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from pumpwatch.config import Config, QuestdbConfig
from pumpwatch.log import ForeignHandler
from pumpwatch.store import embedded_files
from pumpwatch.store.embedded_files import Launch, choose_ports, plan_launch
from pumpwatch.store.server import Ports, ServerAddress, ensure_passwords
from pumpwatch.store.sql import Sql
from tests import java_cache
from tests.store.emptying import drop_tables

# A machine that is busy with other tests must not fail an example for its time.
settings.register_profile("pumpwatch", deadline=None, print_blob=True)
settings.register_profile("brief", deadline=None, print_blob=True, max_examples=10)
settings.load_profile("pumpwatch")

SYSTEM = "tests/system/"
# Of those that load the whole machine two run at once, one of these and one of the others.
SYSTEM_FIRST = tuple(f"{SYSTEM}test_{name}.py" for name in ("backfill", "main_road", "page"))
# What takes longest begins first; then the end of a run leaves no worker alone with it.
LONG = (SYSTEM, "tests/drills/", "tests/store/", "tests/migrate/", "tests/listing/")
HEAP_MIB = 512
START_S_MAX = 60
STOP_S_MAX = 20


class ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """A file's tests share a worker, and a server; tests of the whole system share two workers.

    What xdist offers for this (loadgroup) does nothing under pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(SYSTEM):
            return "system, first" if nodeid.startswith(SYSTEM_FIRST) else "system, second"
        return nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile | None:
    """Asked by xdist when there are workers; drills share nothing, any worker takes the next."""
    return ByFile(config, log) if config.option.dist == "loadscope" else None


def pytest_configure(config: pytest.Config) -> None:
    """For all servers of the run."""
    os.environ.setdefault("JDK_JAVA_OPTIONS", java_cache.options(config.rootpath / java_cache.FILE))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first; a file's tests stay together."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    for turn, folder in enumerate(LONG):
        if item.nodeid.startswith(folder):
            return turn
    return len(LONG)


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """A test that sets the log up, or its level, does so for itself."""
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
        root = logging.getLogger()
        root.handlers = [one for one in root.handlers if not isinstance(one, ForeignHandler)]


@pytest.fixture(scope="module")
def questdb_server(session_server: ServerAddress) -> ServerAddress:
    """A QuestDB without a table; its users are PumpWatch's. Mark its tests ``questdb``.

    A file's tests share it: use table names of your own, or ``empty_database`` of tests/store.
    """

    async def empty() -> None:
        sql = Sql(session_server)
        await drop_tables(sql)
        await sql.aclose()

    trio.run(empty)
    return session_server


@pytest.fixture(scope="session")
def session_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerAddress]:
    """One server for all files of a worker, on free ports, ended with the session."""
    data_dir = tmp_path_factory.mktemp("questdb-session")
    launch = _plan(data_dir)
    launch.write_files()
    with launch.log_file.open("ab") as log:
        process = subprocess.Popen(
            launch.command, cwd=launch.root, env=launch.environment(), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        _wait_until_it_answers(launch, process)
        yield launch.address
    finally:
        process.terminate()
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _plan(data_dir: Path) -> Launch:
    config = Config(data_dir=data_dir, questdb=QuestdbConfig(http_port=0, pg_port=0, health_port=0))
    return plan_launch(
        config,
        heap_mib=HEAP_MIB,
        java=embedded_files.find_java(),
        jar=embedded_files.find_jar(embedded_files.maven_repository()),
        ports=choose_ports(Ports(0, 0, 0)),
        passwords=ensure_passwords(config),
    )


def _wait_until_it_answers(launch: Launch, process: subprocess.Popen[bytes]) -> None:
    address = launch.address
    transport = httpx.HTTPTransport(retries=0)
    with httpx.Client(
        base_url=address.http_url, auth=(address.user, address.password), transport=transport
    ) as client:
        for _ in range(START_S_MAX * 10):
            try:
                if client.get("/exec", params={"query": "select 1"}).status_code == 200:
                    psycopg.connect(
                        host=address.pg_host, port=address.pg_port, dbname="qdb",
                        user=address.user, password=address.password, connect_timeout=5,
                    ).close()  # fmt: skip
                    return
            except (httpx.HTTPError, psycopg.Error):
                pass
            try:
                process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
            break
    raise RuntimeError(f"no database: {launch.log_file.read_text(errors='replace')[-2000:]}")


@pytest.fixture
def inline_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocking calls run in the event loop: the mock clock does not know that a thread is busy."""

    async def run_sync(step: Callable[..., Any], *args: Any, **_: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return step(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
