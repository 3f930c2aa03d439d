"""The cold tier: closed hours older than a day become Parquet partitions, compared row by row.

The server folds rows that come in late into a Parquet partition as into any other. The codec is a
setting of the server (embedded_files.server_conf).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import structlog
import trio

from pumpwatch.clock import Clock
from pumpwatch.errors import PumpWatchError
from pumpwatch.moments import iso_ns
from pumpwatch.store.digest import Digest, digest, read_columns, where_span
from pumpwatch.store.maintenance_lock import hold_maintenance
from pumpwatch.store.operations import OperationLog
from pumpwatch.store.pace import Pace
from pumpwatch.store.partitions import (
    HOUR_NS,
    Partition,
    SqlAccess,
    read_partitions,
    wait_applied,
)
from pumpwatch.store.retention import Alert

log = structlog.get_logger()

TABLE = "trades"
REST = 1.0  # pauses as long as it works: half of one core at most
CONVERSIONS_PER_RUN = 48  # two days of hours: other maintenance gets its turn


class Conversion(msgspec.Struct, frozen=True, kw_only=True):
    """One partition made Parquet; ``problem`` is empty where both hold the same rows."""

    partition: str
    rows: int
    native_bytes: int
    parquet_bytes: int
    problem: str = ""


def choose(partitions: Sequence[Partition], now_ns: int, cold_hours: int) -> list[Partition]:
    """Native ones that ended so long ago, oldest first; never the newest."""
    in_order = sorted(partitions, key=lambda partition: partition.start_ns)
    limit_ns = now_ns - cold_hours * HOUR_NS
    return [part for part in in_order[:-1] if part.end_ns <= limit_ns and not part.is_parquet]


class ColdStore:
    """Converts what is due."""

    def __init__(
        self,
        sql: SqlAccess,
        operations: OperationLog,
        clock: Clock,
        *,
        cold_hours: int,
        data_dir: Path,
        pace: Pace,
        alert: Alert = lambda rule, text: None,
    ) -> None:
        self._sql = sql
        self._operations = operations
        self._clock = clock
        self._cold_hours = cold_hours
        self._data_dir = data_dir
        self._pace = pace
        self._alert = alert

    async def run(self) -> list[Conversion]:
        """Convert what is due, at most two days of hours; a row in ``operations`` if any was.

        Stops at the first difference. Raises MaintenanceBusyError or ServerError (noted).
        """
        with hold_maintenance(self._data_dir, "conversion to Parquet"):
            partitions = await read_partitions(self._sql, TABLE)
            due = choose(partitions, self._clock.wall_ns(), self._cold_hours)[:CONVERSIONS_PER_RUN]
            if not due:
                return []
            row = await self._operations.begin("cold", f"{due[0].name} to {due[-1].name}")
            done: list[Conversion] = []
            try:
                for partition in due:
                    done.append(await self._convert(partition))
                    if done[-1].problem:
                        break
            except PumpWatchError as error:
                await self._operations.end(row, "failed", str(error))
                raise
            problem = done[-1].problem
            native = sum(conversion.native_bytes for conversion in done)
            parquet = sum(conversion.parquet_bytes for conversion in done)
            rows = sum(conversion.rows for conversion in done)
            detail = f"{len(done)} partitions, {rows} rows, {native} bytes became {parquet}"
            if problem:
                self._alert("cold_failed", problem)
            await self._operations.end(
                row, "failed" if problem else "good", f"{detail}; {problem}" if problem else detail
            )
            return done

    async def _convert(self, partition: Partition) -> Conversion:
        started_s = trio.current_time()
        columns = await read_columns(self._sql, TABLE)

        async def read() -> Digest:
            return await digest(
                self._sql, columns, partition.start_ns, partition.end_ns,
                rows=partition.rows, pace=self._pace,
            )  # fmt: skip

        started_ns = self._clock.wall_ns()
        before = await read()
        await self._sql.execute(
            f"ALTER TABLE {TABLE} CONVERT PARTITION TO PARQUET LIST '{partition.name}'"
        )
        await wait_applied(self._sql, TABLE)
        after = await read()
        problem = ""
        if before != after and (
            after.rows < before.rows or not await self._late_rows(partition, started_ns)
        ):
            problem = (
                f"partition {partition.name} holds other rows as Parquet than before ({before} ->"
                f" {after}): restore it with `pumpwatch backup restore --partition`"
            )
        now = {part.name: part for part in await read_partitions(self._sql, TABLE)}
        fresh = now.get(partition.name, partition)
        await self._pace.worked(trio.current_time() - started_s)
        return Conversion(
            partition=partition.name,
            rows=fresh.rows,
            native_bytes=partition.disk_bytes,
            parquet_bytes=fresh.disk_bytes,
            problem=problem or ("" if fresh.is_parquet else f"{partition.name} stayed native"),
        )

    async def _late_rows(self, partition: Partition, since_ns: int) -> int:
        """Rows of the partition that were received since then: they are in one count only."""
        where = where_span("timestamp", partition.start_ns, partition.end_ns)
        rows = await self._sql.query(
            f"SELECT count() FROM {TABLE}{where} AND received_at >= '{iso_ns(since_ns)}'"
        )
        return int(rows[0][0])
