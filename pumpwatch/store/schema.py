"""The tables: made and brought forward from schema/*.sql, and compared with what they must be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
import trio

from pumpwatch.errors import SchemaError, ServerError, StatementError
from pumpwatch.store.schema_file import (
    Migration,
    TableShape,
    one_line,
    read_migrations,
    schema_folder,
    shapes_of,
)
from pumpwatch.store.sql import Sql

log = structlog.get_logger()

# Numbers stand in spool records: a table keeps its number for ever, also after it is gone (R19).
TABLES = {
    "trades": 1,
    "instruments": 2,
    "feed_gaps": 3,
    "exchange_health": 4,
    "listing_events": 5,
    "quarantine": 6,
    "operations": 7,
    "event_trades": 8,
    "archive_trades": 9,
}
MIGRATIONS = read_migrations(schema_folder())
SCHEMA_VERSION = MIGRATIONS[-1].number
VERSION_TABLE = "schema_version"

UNKNOWN = "no such column is known"
VISIBLE_S_MAX = 30.0  # until a change of one table is applied; it waits behind that table's WAL
VISIBLE_POLL_S = 0.02

TABLES_SQL = (
    "SELECT table_name, designatedTimestamp, partitionBy, walEnabled, dedup, ttlValue, ttlUnit"
    " FROM tables()"
)


async def apply_schema(
    sql: Sql,
    *,
    spool_is_empty: Callable[[], bool],
    migrations: Sequence[Migration] = MIGRATIONS,
) -> None:
    """Bring the database to the last of ``migrations``; does nothing where it is there already.

    A change that does more than add tables or columns wants an empty spool: its records were made
    for the old tables (R19). Raises SchemaError, before anything is changed, where it is not empty
    or where the database is newer than we are and lacks what we need: a newer release that only
    added tables and columns can be gone back from.
    """
    version = await read_version(sql)
    last = migrations[-1].number
    if version > last:
        missing = await check_schema(sql, migrations=migrations)
        if missing:
            raise SchemaError(
                f"the database has schema version {version}, this PumpWatch knows {last} and misses"
                f" {'; '.join(missing[:5])}: run the newer PumpWatch again, or restore a backup"
                " from before the upgrade (nothing was changed)"
            )
        log.warning("schema_newer", database=version, known=last,
                    message="a newer PumpWatch ran here; it only added to the tables")  # fmt: skip
    pending = [migration for migration in migrations if migration.number > version]
    deep = [migration for migration in pending if not migration.is_additive]
    if deep and not spool_is_empty():
        raise SchemaError(
            f"schema change {deep[0].number:03d}_{deep[0].name} needs an empty spool: let the"
            " PumpWatch that wrote it drain it first (nothing was changed)"
        )
    for migration in pending:
        await _apply(sql, migration)
    if pending:
        log.info("schema_applied", was=version, now=last)


async def read_version(sql: Sql) -> int:
    """Number of the last applied file; 0 in a database that has seen none."""
    if not await sql.query(
        "SELECT table_name FROM tables() WHERE table_name = %s", (VERSION_TABLE,)
    ):
        return 0
    rows = await sql.query(f"SELECT max(version) FROM {VERSION_TABLE}")
    return int(rows[0][0] or 0)


async def _apply(sql: Sql, migration: Migration) -> None:
    """Run one file and note it; a crash in between leaves a statement that may run again."""
    added = migration.added_column
    # The server takes IF NOT EXISTS, and then refuses to do nothing to a WAL table.
    if added is None or not await _has_column(sql, *added):
        try:
            await sql.execute(migration.statement)
        except StatementError as error:
            raise SchemaError(
                f"schema change {migration.number:03d}_{migration.name}: {error}"
                " (are there tables of these names that PumpWatch did not make?)"
            ) from error
    if added is not None:
        table, column = added
        await _until(lambda: _has_column(sql, table, column), migration.name)
    await sql.execute(
        f"INSERT INTO {VERSION_TABLE} (applied_at, version, name) VALUES (now(), %s, %s)",
        (migration.number, migration.name),
    )

    async def is_noted() -> bool:
        return await read_version(sql) >= migration.number

    await _until(is_noted, VERSION_TABLE)


async def _has_column(sql: Sql, table: str, column: str) -> bool:
    return column in await _columns(sql, table)


async def _columns(sql: Sql, table: str) -> dict[str, dict[str, Any]]:
    rows = await sql.query_dicts(
        f"SELECT \"column\", type, designated, upsertKey FROM table_columns('{table}')"
    )
    return {row["column"]: row for row in rows}


async def _until(condition: Callable[[], Awaitable[bool]], name: str) -> None:
    with trio.move_on_after(VISIBLE_S_MAX):
        while not await condition():  # noqa: ASYNC110 - only the server knows, and it must be asked
            await trio.sleep(VISIBLE_POLL_S)
        return
    raise ServerError(
        f"the database did not apply the schema change {name} within {VISIBLE_S_MAX:g} s:"
        " is a table suspended (wal_tables())?"
    )


# --- drift ----------------------------------------------------------------------------------------


async def check_schema(sql: Sql, *, migrations: Sequence[Migration] = MIGRATIONS) -> list[str]:
    """What differs from the tables that ``migrations`` make, a line each; empty: nothing.

    Columns that a newer release added are no difference: its version says that it ran here.
    """
    tables = {row["table_name"]: row for row in await sql.query_dicts(TABLES_SQL)}
    views = {
        row["view_name"]: row
        for row in await sql.query_dicts(
            "SELECT view_name, base_table_name, view_sql FROM materialized_views()"
        )
    }
    found: list[str] = []
    for shape in shapes_of(migrations).values():
        name = shape.name
        if name not in tables:
            found.append(f"{name}: the {'view' if shape.base else 'table'} is missing")
            continue
        found += _table_differences(shape, tables[name])
        if shape.base:
            found += _view_differences(shape, views.get(name))
        else:
            found += _column_differences(shape, await _columns(sql, name))
    is_newer = await read_version(sql) > migrations[-1].number
    return [text for text in found if not (is_newer and UNKNOWN in text)]


def _table_differences(shape: TableShape, row: dict[str, Any]) -> list[str]:
    ttl = f"{row['ttlValue']} {row['ttlUnit']}" if row["ttlValue"] else ""
    ttl = shape.ttl if same_ttl(ttl, shape.ttl) else ttl
    pairs = {
        "designated timestamp": (row["designatedTimestamp"] or "", shape.timestamp),
        "partition unit": (row["partitionBy"], shape.partition),
        "TTL": (ttl, shape.ttl),
        "WAL": (row["walEnabled"], True),
        "DEDUP": (row["dedup"], bool(shape.keys)),
    }
    return [
        f"{shape.name}: {what} is {_said(found)}, not {_said(wanted)}"
        for what, (found, wanted) in pairs.items()
        if found != wanted
    ]


def _column_differences(shape: TableShape, columns: dict[str, dict[str, Any]]) -> list[str]:
    found = [f"{shape.name}.{name}: is missing" for name in shape.columns if name not in columns]
    for name, row in columns.items():
        place = f"{shape.name}.{name}"
        wanted = shape.columns.get(name)
        if wanted is None:
            found.append(f"{place}: {UNKNOWN} ({row['type']})")
            continue
        if row["type"] != wanted:
            found.append(f"{place}: type is {row['type']}, not {wanted}")
        if row["upsertKey"] != (name in shape.keys):
            found.append(f"{place}: is {'a' if row['upsertKey'] else 'no'} DEDUP key")
    return found


def _view_differences(shape: TableShape, row: dict[str, Any] | None) -> list[str]:
    if row is None:
        return [f"{shape.name}: is a table, not a materialised view"]
    found = []
    if row["base_table_name"] != shape.base:
        found.append(f"{shape.name}: is made from {row['base_table_name']}, not {shape.base}")
    if one_line(row["view_sql"]) != shape.query:
        found.append(f"{shape.name}: its query is another one: {one_line(row['view_sql'])}")
    return found


def same_ttl(one: str, other: str) -> bool:
    """The server turns 14 DAY into 2 WEEK and 12 MONTH into 1 YEAR."""
    return _ttl_size(one) == _ttl_size(other)


def _ttl_size(ttl: str) -> tuple[str, int]:
    value, _, unit = (ttl or "0 HOUR").partition(" ")
    hours = {"HOUR": 1, "DAY": 24, "WEEK": 168}
    if unit in hours:
        return "hours", int(value) * hours[unit]
    return "months", int(value) * {"MONTH": 1, "YEAR": 12}[unit]


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value) or "none"
