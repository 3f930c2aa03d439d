"""The ledger's table: rows as line protocol, and what a start reads back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from pumpwatch.config import Config
from pumpwatch.model import OPEN_STATES, Gap
from pumpwatch.moments import iso_ns
from pumpwatch.store.readonly import query
from pumpwatch.store.server import running_address
from pumpwatch.store.side_rows import side_row

COLUMNS = (
    "gap_id, opened_at::long AS opened_ns, exchange, market_type, symbol, cause,"
    " from_ts::long AS from_ns, to_ts::long AS to_ns, first_id, last_id, missing, exact, state,"
    " filled_rows, closed_at::long AS closed_ns, reason, revision"
)
TIMES = {
    "opened_ns": "opened_at", "from_ns": "from_ts", "to_ns": "to_ts", "closed_ns": "closed_at",
}  # fmt: skip
SELECT_SQL = f"SELECT {COLUMNS} FROM feed_gaps"
# Closed rows with ids: a start must not take for news what they say of missing ids.
NEEDED_SQL = (
    f"SELECT {COLUMNS} FROM feed_gaps WHERE state IN {OPEN_STATES}"
    " OR (last_id IS NOT NULL AND (state = 'lost' OR reason = 'not_offered'))"
)


class Questions(Protocol):
    """What reading needs of a database connection."""

    async def query_dicts(self, sql: str, params: Sequence[object] = ()) -> list[dict[str, Any]]:
        """Rows of a SELECT, by column."""
        ...


def gap_row(gap: Gap) -> bytes:
    """One line: the row as it is at this revision; DEDUP lets it replace the one before."""
    return side_row(
        "feed_gaps",
        {
            "exchange": gap.exchange,
            "market_type": gap.market_type,
            "symbol": gap.symbol,
            "cause": gap.cause,
            "state": gap.state,
        },
        {
            "gap_id": gap.gap_id,
            "first_id": gap.first_id or None,
            "last_id": gap.last_id or None,
            "missing": gap.missing,
            "exact": gap.exact,
            "filled_rows": gap.filled_rows,
            "reason": gap.reason or None,
            "revision": gap.revision,
        },
        gap.opened_ns,
        time_fields={"from_ts": gap.from_ns, "to_ts": gap.to_ns, "closed_at": gap.closed_ns},
    )


def read_gap(row: dict[str, Any]) -> Gap:
    """A row of ``COLUMNS``."""
    return Gap(**{name: value for name, value in row.items() if value is not None})


async def read_needed_gaps(sql: Questions) -> list[Gap]:
    """What a ledger must know at the start. Raises ServerError."""
    return [read_gap(row) for row in await sql.query_dicts(NEEDED_SQL)]


async def read_lost_gaps(
    sql: Questions, *, feed: str | None = None, gap_id: str | None = None
) -> list[Gap]:
    """Lost rows of one feed, or one row whatever became of it, oldest first. Raises ServerError."""
    if gap_id is not None:
        rows = await sql.query_dicts(f"{SELECT_SQL} WHERE gap_id = %s", [gap_id])
    else:
        exchange, _, market_type = (feed or "").partition("_")
        rows = await sql.query_dicts(
            f"{SELECT_SQL} WHERE state = 'lost' AND exchange = %s AND market_type = %s"
            " ORDER BY opened_at",
            [exchange, market_type],
        )
    return [read_gap(row) for row in rows]


def read_gaps(
    config: Config,
    *,
    gap_id: str | None = None,
    is_open: bool = False,
    feed: str | None = None,
    symbol: str | None = None,
    limit: int = 1000,
    with_late: bool = True,
) -> list[dict[str, Any]]:
    """Rows of the ledger, newest first; keys are the table's columns, times ISO 8601 text.

    ``with_late``: also those whose rows the stream brought itself, only in another order.

    Blocking, for the command line. Raises ServerError when no database answers.
    """
    wanted: dict[str, Any] = {"gap_id = %s": gap_id, "symbol = %s": symbol}
    if feed is not None:
        exchange, _, market_type = feed.partition("_")
        wanted |= {"exchange = %s": exchange, "market_type = %s": market_type}
    wanted = {condition: value for condition, value in wanted.items() if value is not None}
    conditions = [*wanted, *([f"state IN {OPEN_STATES}"] if is_open else [])]
    if not with_late:
        conditions.append("(reason IS NULL OR reason != 'late')")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    sql = f"SELECT {COLUMNS} FROM feed_gaps{where} ORDER BY opened_at DESC LIMIT %s"
    rows = query(running_address(config), sql, [*wanted.values(), limit])
    return [_readable(row) for row in rows]


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    shown = {}
    for name, value in row.items():
        column = TIMES.get(name, name)
        shown[column] = iso_ns(value) if column != name and value is not None else value
    return shown
