"""A server of the moment on free ports, to look at what a backup holds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from pumpwatch.config import Config, QuestdbConfig
from pumpwatch.errors import ServerError
from pumpwatch.store import embedded_files
from pumpwatch.store.embedded import PORT_FAULT, START_TRIES, describe_fault
from pumpwatch.store.embedded_files import Launch, choose_ports, plan_launch
from pumpwatch.store.probe import wait_for_answer
from pumpwatch.store.server import Ports, ensure_passwords
from pumpwatch.store.server_process import ServerProcess, find_leftovers, spawn
from pumpwatch.store.sql import Sql

SERVER_FOLDER = "questdb"
START_S_MAX = 180.0
CLOSE_S_MAX = 5.0
NICE = 10  # what it looks at can wait; rows that come in cannot
QUERY_S_MAX = 600.0  # a checksum of a busy hour on a busy machine


@asynccontextmanager
async def scratch_server(data_dir: Path, heap_mib: int) -> AsyncIterator[Sql]:
    """Start one on ``data_dir``/questdb as it lies there; it is ended with the block.

    Its process is ours and bound to 127.0.0.1; one that a killed process of ours left is found by
    ``end_leftovers``. Raises ServerError where it does not start.
    """
    config = Config(data_dir=data_dir, questdb=QuestdbConfig(http_port=0, pg_port=0, health_port=0))
    in_thread = trio.to_thread.run_sync
    passwords = await in_thread(ensure_passwords, config)
    java = await in_thread(embedded_files.find_java)
    jar = await in_thread(embedded_files.find_jar, embedded_files.maven_repository())

    def plan() -> Launch:
        return plan_launch(
            config, heap_mib=heap_mib, java=java, jar=jar, ports=choose_ports(Ports(0, 0, 0)),
            passwords=passwords,
        )  # fmt: skip

    process, launch = await _start(plan(), data_dir)
    for _ in range(START_TRIES - 1):
        if process.is_running or PORT_FAULT not in describe_fault(launch.log_file):
            break
        process, launch = await _start(plan(), data_dir)
    sql = Sql(launch.address, timeout_s=QUERY_S_MAX)
    try:
        if not process.is_running:
            raise ServerError(
                f"the scratch server did not start: {describe_fault(launch.log_file)}"
            )
        yield sql
    finally:
        with trio.CancelScope(shield=True):  # both have deadlines of their own
            with trio.move_on_after(CLOSE_S_MAX):
                await sql.aclose()
            await process.stop()


async def _start(launch: Launch, data_dir: Path) -> tuple[ServerProcess, Launch]:
    """Spawn and wait until it answers or ends; the caller looks which. Raises ServerError."""
    process = await spawn(launch, data_dir, nice=NICE)
    problem: ServerError | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when_gone, process, nursery.cancel_scope)
            try:
                await wait_for_answer(launch.address, START_S_MAX)
            except ServerError as error:
                problem = error
            nursery.cancel_scope.cancel()
    except BaseException:
        with trio.CancelScope(shield=True):
            await process.stop()
        raise
    if problem is not None and process.is_running:
        with trio.CancelScope(shield=True):
            await process.stop()
        raise problem
    return process, launch


async def _cancel_when_gone(process: ServerProcess, scope: trio.CancelScope) -> None:
    await process.wait()
    scope.cancel()


async def end_leftovers(data_dir: Path) -> int:
    """End servers that still run on this scratch folder; how many there were."""

    def find() -> list[ServerProcess]:
        return find_leftovers(data_dir, data_dir.absolute() / SERVER_FOLDER)

    found = await trio.to_thread.run_sync(find)
    for process in found:
        await process.stop()
    return len(found)
