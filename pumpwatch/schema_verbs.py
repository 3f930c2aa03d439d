"""``schema apply`` and ``schema check``: on the running database, else on one of the moment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import trio

from pumpwatch.budget import host_memory_mib, plan_memory
from pumpwatch.clock import SystemClock
from pumpwatch.config import Config
from pumpwatch.environment import read_runtime
from pumpwatch.store.embedded import hold_data_dir, run_server
from pumpwatch.store.schema import SCHEMA_VERSION, apply_schema, check_schema
from pumpwatch.store.server import ServerAddress, running_address
from pumpwatch.store.spool_recovery import holds_rows
from pumpwatch.store.sql import Sql

Answer = TypeVar("Answer")
CLOSE_S_MAX = 5.0


def apply(config: Config) -> int:
    """Bring the tables to this version and return its number.

    Raises SchemaError where the tables are newer, or where a change wants an empty spool.
    """
    spool = config.data_dir / "spool"

    async def task(sql: Sql) -> int:
        await apply_schema(sql, spool_is_empty=lambda: not holds_rows(spool))
        return SCHEMA_VERSION

    return trio.run(_ask, config, task)


def differences(config: Config) -> list[str]:
    """What is not as this version writes it, one line each; empty: nothing."""
    return trio.run(_ask, config, check_schema)


async def _ask(config: Config, task: Callable[[Sql], Awaitable[Answer]]) -> Answer:
    async with database(config) as address, connection(Sql(address)) as sql:
        return await task(sql)


@asynccontextmanager
async def database(config: Config) -> AsyncIterator[ServerAddress]:
    """The running database, else the embedded one for as long as the block takes."""
    runtime = read_runtime(config.data_dir)
    if config.questdb.mode == "external" or (runtime is not None and runtime.alive):
        yield running_address(config)
        return
    heap_mib = plan_memory(config, host_memory_mib()).heap_mib
    with hold_data_dir(config.data_dir):
        async with trio.open_nursery() as nursery:
            server = await nursery.start(
                partial(run_server, config, SystemClock(), heap_mib=heap_mib)
            )
            yield server.address
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def connection(sql: Sql) -> AsyncIterator[Sql]:
    """It is closed with the block."""
    try:
        yield sql
    finally:
        with trio.move_on_after(CLOSE_S_MAX, shield=True):
            await sql.aclose()
