"""Fixtures of the store's tests: connections to the session's database, and a bare one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from pumpwatch.store import spool_files
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.sql import Sql

GONE_S_MAX = 30
SMALL_SEGMENT_BYTES = 1000


@pytest.fixture
async def sql(questdb_server: ServerAddress) -> AsyncIterator[Sql]:
    """A connection as the user who may do everything."""
    connection = Sql(questdb_server)
    yield connection
    await connection.aclose()


@pytest.fixture
async def empty_database(sql: Sql) -> Sql:
    """As ``sql``, without a single table."""
    rows = await sql.query("SELECT table_name, table_type FROM tables()")
    for name, kind in sorted(rows, key=lambda row: row[1] != "M"):  # views before their tables
        await sql.execute(f"DROP {'MATERIALIZED VIEW' if kind == 'M' else 'TABLE'} {name}")
    with trio.fail_after(GONE_S_MAX):
        while await sql.query("SELECT table_name FROM tables()"):  # noqa: ASYNC110
            await trio.sleep(0.02)
    return sql


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments roll after some twenty of the tests' rows."""
    monkeypatch.setattr(spool_files, "SEGMENT_BYTES_MAX", SMALL_SEGMENT_BYTES)
