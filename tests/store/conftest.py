"""Fixtures of the store's tests: connections to the session's database, and a bare one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from pumpwatch.store import spool_files
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.sql import Sql
from tests.store.emptying import drop_tables

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
    await drop_tables(sql)
    return sql


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments roll after some twenty of the tests' rows."""
    monkeypatch.setattr(spool_files, "SEGMENT_BYTES_MAX", SMALL_SEGMENT_BYTES)
