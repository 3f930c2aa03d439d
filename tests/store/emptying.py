"""A server that tests share is given on without a table."""

from __future__ import annotations

import trio

from pumpwatch.store.sql import Sql

GONE_S_MAX = 30


async def drop_tables(sql: Sql) -> None:
    """All of them; returns when they are gone."""
    rows = await sql.query("SELECT table_name, table_type FROM tables()")
    for name, kind in sorted(rows, key=lambda row: row[1] != "M"):  # views before their tables
        await sql.execute(f"DROP {'MATERIALIZED VIEW' if kind == 'M' else 'TABLE'} {name}")
    with trio.fail_after(GONE_S_MAX):
        while await sql.query("SELECT table_name FROM tables()"):  # noqa: ASYNC110
            await trio.sleep(0.02)
