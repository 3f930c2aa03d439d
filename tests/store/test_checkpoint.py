"""Which files of a checkpoint are copied; the server's part is in test_backup.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from pumpwatch.errors import BackupError, ServerError
from pumpwatch.store import checkpoint as checkpoint_module
from pumpwatch.store.checkpoint import NoHold, list_files, open_checkpoint
from tests.store.upkeep import FixedClock


def make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_tables_partitions_and_what_is_left_out(tmp_path: Path) -> None:
    make(
        tmp_path,
        ".checkpoint/db/trades~6/_txn", ".checkpoint/db/_checkpoint_meta.d",
        ".checkpoint/db/sys.telemetry/_txn", ".checkpoint/db/gone~9/_txn",
        "conf/server.conf", "db/tables.d.0", "db/trades~6.lock", "db/later~12/_txn",
        "db/trades~6/_txn", "db/trades~6/symbol.o", "db/trades~6/txn_seq/_txnlog",
        "db/trades~6/wal1/0/price.d", "db/trades~6/wal12/0/price.d",
        "db/trades~6/2026-03-10T11/price.d", "db/trades~6/2026-03-10T12.4/price.d",
        "db/trades~6/2026-03-10T12/price.d", "db/trades~6/2026-03-10T115959-000001.2/price.d",
        "db/sys.telemetry/default/x.d",
    )  # fmt: skip
    loose, tables = list_files(tmp_path, {"trades": "trades~6", "later": "later~12"})
    assert loose == (
        ".checkpoint/db/_checkpoint_meta.d", ".checkpoint/db/gone~9/_txn",
        ".checkpoint/db/sys.telemetry/_txn", ".checkpoint/db/trades~6/_txn", "db/tables.d.0",
    )  # fmt: skip
    system, trades = tables
    assert (system.name, system.loose) == ("", ("db/sys.telemetry/default/x.d",))
    assert (trades.name, trades.folder) == ("trades", "trades~6")
    assert trades.loose == (
        "db/trades~6/_txn",
        "db/trades~6/symbol.o",
        "db/trades~6/txn_seq/_txnlog",
    )
    assert trades.partitions == {
        "2026-03-10T11": (
            "db/trades~6/2026-03-10T11/price.d",
            "db/trades~6/2026-03-10T115959-000001.2/price.d",
        ),
        "2026-03-10T12": (
            "db/trades~6/2026-03-10T12.4/price.d", "db/trades~6/2026-03-10T12/price.d",
        ),
    }  # fmt: skip


def test_a_database_that_lies_elsewhere_is_said(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="does the database lie elsewhere"):
        list_files(tmp_path, {})


class BusySql:
    """A table that is always a transaction behind; notes statements."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.is_open = False

    async def query(self, sql: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        if "tables()" in sql and "wal" not in sql:
            return [("trades", "trades~6")] if "directoryName" in sql else [("HOUR",)]
        if "wal_tables" in sql:
            return [("trades", 6, 7)]
        return [(self.is_open,)] if "checkpoint_status" in sql else []

    async def execute(self, sql: str, params: Sequence[object] = ()) -> None:
        self.statements.append(sql)
        self.is_open = sql.endswith("CREATE")


class Hold:
    def __init__(self) -> None:
        self.holds = 0

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[str]:
        self.holds += 1
        yield "position"


async def test_a_database_that_is_behind_gets_no_checkpoint(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    sql, hold = BusySql(), Hold()
    with pytest.raises(BackupError, match="did not apply what it had taken within 1 s, in 5 tries"):
        async with open_checkpoint(sql, tmp_path, hold, FixedClock()):
            raise AssertionError
    assert hold.holds == checkpoint_module.HOLD_TRIES
    assert sql.statements == []


async def test_it_is_released_when_listing_fails(tmp_path: Path) -> None:
    sql = BusySql()
    with pytest.raises(ServerError):
        async with open_checkpoint(sql, tmp_path, NoHold(), FixedClock()):
            raise AssertionError
    assert sql.statements == ["CHECKPOINT CREATE", "CHECKPOINT RELEASE"]
