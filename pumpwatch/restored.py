"""The first start on a restored database: what came after the backup is a hole of every symbol.

``backup restore --to`` leaves data_dir/restored.json. Every symbol stands where the table shows it,
and until it is carried again its hole grows; cause ``restore`` (R18). The mark goes once that
lies on the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import structlog
import trio

from pumpwatch.capture.ledger import RESTORE, Edge
from pumpwatch.errors import BackupError
from pumpwatch.moments import iso_ns
from pumpwatch.store.backup_restore import RESTORED_FILE, Restored
from pumpwatch.store.instrument_rows import read_instruments
from pumpwatch.store.operations import OperationLog
from pumpwatch.store.partitions import DAY_NS
from pumpwatch.store.sql import Sql
from pumpwatch.venues.spec import TradeIds

if TYPE_CHECKING:
    from pumpwatch.daemon import Daemon

log = structlog.get_logger()

LOOK_BACK_NS = DAY_NS  # a symbol without a row for longer begins its hole where its feed stood
STANDS_SQL = (
    "SELECT exchange, market_type, symbol, max(timestamp)::long, max(sequence_number),"
    " max(received_at)::long FROM trades WHERE timestamp >= '{since}'"
    " GROUP BY exchange, market_type, symbol"
)


class Stand(msgspec.Struct, frozen=True):
    """Where the table shows a symbol: its newest row's time, highest number, latest receipt."""

    last_ns: int
    sequence_number: int
    received_ns: int


def read_mark(data_dir: Any) -> Restored | None:
    """What the restore left; None: this database was not restored, or has been started since.

    Raises BackupError where it cannot be read: holes would go untold.
    """
    path = data_dir / RESTORED_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Restored)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise BackupError(
            f"{path}: cannot be read ({error}): it says since when trades are missing"
        ) from None


async def open_gaps_since_backup(daemon: Daemon, sql: Sql, operations: OperationLog) -> int:
    """Open them, and take the mark away; returns how many symbols have one. Raises ServerError."""
    mark = await trio.to_thread.run_sync(read_mark, daemon.config.data_dir)
    if mark is None:
        return 0
    stands = await read_stands(sql, mark.created_ns)
    symbols: dict[str, set[str]] = {}
    for state in await read_instruments(sql):
        symbols.setdefault(state.instrument.feed, set()).add(state.instrument.symbol)
    opened = 0
    for feed in daemon.feeds:
        name = feed.spec.name
        known = {symbol: stand for (of, symbol), stand in stands.items() if of == name}
        counts_up = feed.spec.ids in (TradeIds.CONTIGUOUS, TradeIds.OBSERVED)
        edges = [
            edge_of(symbol, known.get(symbol), counts_up=counts_up)
            for symbol in sorted(symbols.get(name, set()) | known.keys())
        ]
        # Rows of a feed lie in the spool in the order of receipt: up to here all of them came.
        alive_ns = max((stand.received_ns for stand in known.values()), default=mark.created_ns)
        daemon.ledger.cut(feed.spec, edges, cause=RESTORE, alive_ns=alive_ns)
        opened += len(edges)
    detail = (
        f"holes of {opened} symbols since {iso_ns(mark.created_ns)[:19]}Z; the spool stood at"
        f" {mark.spool_position or 'an unknown place'}"
    )
    await operations.note("restored", mark.backup, "good", detail)
    await daemon.spool.written()
    await trio.to_thread.run_sync((daemon.config.data_dir / RESTORED_FILE).unlink)
    log.warning("database_was_restored", backup=mark.backup, symbols=opened)
    return opened


def edge_of(symbol: str, stand: Stand | None, *, counts_up: bool) -> Edge:
    """Where its hole begins."""
    if stand is None:
        return Edge(symbol)
    next_id = stand.sequence_number + 1 if counts_up and stand.sequence_number else 0
    return Edge(symbol, stand.last_ns, next_id)


async def read_stands(sql: Sql, created_ns: int) -> dict[tuple[str, str], Stand]:
    """By feed and symbol, of the last day before the backup. Raises ServerError."""
    since = iso_ns(created_ns - LOOK_BACK_NS)
    return {
        (f"{exchange}_{market_type}", str(symbol)): Stand(
            int(last_ns), int(number or 0), int(received_ns or 0)
        )
        for exchange, market_type, symbol, last_ns, number, received_ns in await sql.query(
            STANDS_SQL.format(since=since)
        )
    }
