"""Is this the same set of rows? A count, both ends, and a checksum that no order changes.

The checksum is the sum, modulo 2^256, of the md5 of every row with all its columns: the server
computes it (250,000 rows a second and core), so that nothing but three numbers crosses the wire.
It is meant against faults, not against somebody who forges rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import trio

from pumpwatch.moments import iso_ns
from pumpwatch.store.pace import AT_ONCE, Pace
from pumpwatch.store.partitions import SqlAccess

MODULUS = 1 << 256
CHUNK_ROWS = 250_000  # about a second of one core: a question no longer holds up the others
TIME_TYPES = frozenset({"TIMESTAMP", "TIMESTAMP_NS", "DATE"})


class Digest(msgspec.Struct, frozen=True, kw_only=True):
    """A set of rows; times are ns since 1970 UTC, 0 where there is no row."""

    rows: int
    min_ns: int
    max_ns: int
    checksum: str  # 64 hexadecimal digits

    def plus(self, other: Digest) -> Digest:
        """Of both sets together; they have no row in common."""
        if not (self.rows and other.rows):
            return self if self.rows else other
        total = (int(self.checksum, 16) + int(other.checksum, 16)) % MODULUS
        return Digest(
            rows=self.rows + other.rows,
            min_ns=min(self.min_ns, other.min_ns),
            max_ns=max(self.max_ns, other.max_ns),
            checksum=f"{total:064x}",
        )


EMPTY = Digest(rows=0, min_ns=0, max_ns=0, checksum="0" * 64)


class TableColumns(msgspec.Struct, frozen=True, kw_only=True):
    """The columns of a table in their order, and the designated timestamp's name."""

    table: str
    timestamp: str
    columns: tuple[tuple[str, str], ...]  # name, type


async def read_columns(sql: SqlAccess, table: str) -> TableColumns:
    """What a table has now."""
    rows = await sql.query(f"SELECT \"column\", type, designated FROM table_columns('{table}')")
    return TableColumns(
        table=table,
        timestamp=next(str(name) for name, _, designated in rows if designated),
        columns=tuple((str(name), str(kind)) for name, kind, _ in rows),
    )


def digest_sql(table: TableColumns) -> str:
    """The question, without its WHERE."""
    parts = [
        f'"{name}"::long' if kind in TIME_TYPES else f'"{name}"' for name, kind in table.columns
    ]
    row = ", '|', ".join(parts)
    return (
        f"SELECT count(), min({table.timestamp})::long, max({table.timestamp})::long,"
        f" sum(cast(concat('0x', md5(concat({row}))) AS long256)) FROM {table.table}"
    )


def where_span(timestamp: str, from_ns: int, to_ns: int) -> str:
    """Literals, not parameters: the server then opens only the partitions of that span."""
    return f" WHERE {timestamp} >= '{iso_ns(from_ns)}' AND {timestamp} < '{iso_ns(to_ns)}'"


async def digest(
    sql: SqlAccess,
    table: TableColumns,
    from_ns: int,
    to_ns: int,
    *,
    rows: int = 0,
    symbols: Sequence[str] = (),
    pace: Pace = AT_ONCE,
) -> Digest:
    """Of the rows with from <= timestamp < to, and of these symbols only if any are named.

    ``rows``: about how many there are, so that the span is asked for in pieces. ``pace``: of those
    who must not disturb.
    """
    question = digest_sql(table)
    places = ", ".join(["%s"] * len(symbols))
    narrowed = f" AND symbol IN ({places})" if symbols else ""
    pieces = min(max(1, -(-rows // CHUNK_ROWS)), to_ns - from_ns)
    total = EMPTY
    for piece in range(pieces):
        start_ns = from_ns + (to_ns - from_ns) * piece // pieces
        end_ns = from_ns + (to_ns - from_ns) * (piece + 1) // pieces
        asked_s = trio.current_time()
        where = where_span(table.timestamp, start_ns, end_ns)
        (answer,) = await sql.query(question + where + narrowed, tuple(symbols))
        total = total.plus(_read(answer))
        await pace.worked(trio.current_time() - asked_s)
    return total


def _read(answer: Sequence[object]) -> Digest:
    rows, min_ns, max_ns, checksum = answer
    if not rows:
        return EMPTY
    return Digest(
        rows=int(str(rows)),
        min_ns=int(str(min_ns)),
        max_ns=int(str(max_ns)),
        checksum=f"{int(str(checksum), 16):064x}",
    )
