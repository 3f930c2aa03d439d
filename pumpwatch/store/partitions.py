"""The partitions of a table: what spans they have, how large they are, whether they are applied."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import msgspec
import trio

from pumpwatch.errors import ServerError

NS_PER_S = 1_000_000_000
HOUR_NS = 3600 * NS_PER_S
DAY_NS = 24 * HOUR_NS
UNIT_CHARACTERS = {"YEAR": 4, "MONTH": 7, "DAY": 10, "HOUR": 13}
NAME = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d)?)?)?")
APPLIED_POLL_S = 0.05
APPLIED_S_MAX = 120.0
FOUND_S_MAX = 15.0  # the server notices its own change of a table a moment later


class SqlAccess(Protocol):
    """What the upkeep of tables needs of a connection (store.sql.Sql)."""

    async def query(self, sql: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Rows of a question."""
        ...

    async def execute(self, sql: str, params: Sequence[object] = ()) -> None:
        """Run a statement once."""
        ...


class Partition(msgspec.Struct, frozen=True, kw_only=True):
    """One partition; the parts that the server splits off for late rows are counted with it."""

    name: str  # "2026-01-31T13", "2026-01-31", "2026-01", "2026"
    start_ns: int
    end_ns: int  # not included
    rows: int
    disk_bytes: int
    is_parquet: bool
    max_ns: int  # newest row


def span_of(name: str) -> tuple[int, int]:
    """[start, end) of a partition by its name, ns since 1970 UTC. Raises ValueError."""
    if NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no name of a partition")
    year, month, day = int(name[:4]), int(name[5:7] or 1), int(name[8:10] or 1)
    start = datetime(year, month, day, int(name[11:13] or 0), tzinfo=UTC)
    if len(name) == UNIT_CHARACTERS["HOUR"]:
        end = start + timedelta(hours=1)
    elif len(name) == UNIT_CHARACTERS["DAY"]:
        end = start + timedelta(days=1)
    elif len(name) == UNIT_CHARACTERS["MONTH"]:
        end = start.replace(year=year + month // 12, month=month % 12 + 1)
    else:
        end = start.replace(year=year + 1)
    return _ns(start), _ns(end)


def _ns(moment: datetime) -> int:
    return calendar.timegm(moment.utctimetuple()) * NS_PER_S


def merge(rows: Iterable[tuple[Any, ...]], unit: str) -> list[Partition]:
    """Rows of ``PARTITIONS_SQL``, oldest first; splits are added to the partition they are of."""
    found: dict[str, Partition] = {}
    for full_name, row_count, disk_bytes, is_parquet, max_ns in rows:
        name = str(full_name)[: UNIT_CHARACTERS[unit]]
        known = found.get(name)
        start_ns, end_ns = span_of(name)
        found[name] = Partition(
            name=name,
            start_ns=start_ns,
            end_ns=end_ns,
            rows=int(row_count) + (known.rows if known else 0),
            disk_bytes=max(0, int(disk_bytes)) + (known.disk_bytes if known else 0),
            is_parquet=bool(is_parquet) and (known is None or known.is_parquet),
            max_ns=max(int(max_ns or 0), known.max_ns if known else 0),
        )
    return [found[name] for name in sorted(found)]


async def partition_unit(sql: SqlAccess, table: str) -> str:
    """HOUR, DAY, MONTH or YEAR. Raises ServerError where there is no such table."""
    rows = await sql.query("SELECT partitionBy FROM tables() WHERE table_name = %s", (table,))
    if not rows:
        raise ServerError(f"the database has no table {table}: `pumpwatch schema apply` makes it")
    return str(rows[0][0])


async def read_partitions(sql: SqlAccess, table: str) -> list[Partition]:
    """What a table has, oldest first. Raises ServerError."""
    unit = await partition_unit(sql, table)
    rows = await sql.query(
        "SELECT name, numRows, diskSize, isParquet, maxTimestamp::long"
        f" FROM table_partitions('{table}') WHERE attached"
    )
    return merge(rows, unit)


async def applied_txns(sql: SqlAccess) -> dict[str, tuple[int, int]]:
    """Of each table what is applied and what was taken: (writerTxn, sequencerTxn)."""
    rows = await sql.query("SELECT name, writerTxn, sequencerTxn FROM wal_tables()")
    return {str(name): (int(writer), int(sequencer)) for name, writer, sequencer in rows}


async def wait_applied(sql: SqlAccess, table: str, *, wait_s: float = APPLIED_S_MAX) -> None:
    """Return when everything that the table has taken by now is applied.

    Raises ServerError after ``wait_s``: a suspended table, or a disk that is full.
    """
    wanted = (await applied_txns(sql)).get(table, (0, 0))[1]
    with trio.move_on_after(wait_s):
        while (await applied_txns(sql)).get(table, (0, 0))[0] < wanted:  # noqa: ASYNC110
            await trio.sleep(APPLIED_POLL_S)
        return
    raise ServerError(
        f"table {table} did not apply what it had taken within {wait_s:g} s: is it suspended"
        " (wal_tables()), or the disk full?"
    )
