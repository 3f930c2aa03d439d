"""``gaps settle``: when a contract's value changed is known, rows are counted anew (R13)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog
import trio

from pumpwatch.capture.ledger import CONTRACT_VALUE
from pumpwatch.dashboard.actions import Action
from pumpwatch.errors import ServerError, UsageError
from pumpwatch.model import Record
from pumpwatch.moments import iso_ns
from pumpwatch.store.gap_rows import Questions
from pumpwatch.store.recount import ROWS_SQL, change_of, recounted
from pumpwatch.store.schema import TABLES
from pumpwatch.store.spool_files import START

if TYPE_CHECKING:
    from pumpwatch.daemon import Daemon

log = structlog.get_logger()

APPLIED_S_MAX, POLL_S = 10.0, 0.1
SETTLE = "settle_contract_value"


class Revaluing:
    """Counts a span's rows anew; ``sql`` is set once there is a database."""

    def __init__(self, daemon: Daemon) -> None:
        self.sql: Questions | None = None
        self._daemon = daemon
        daemon.desk.add(
            SETTLE,
            Action(
                help="Count rows anew around the moment at which a contract's value changed.",
                arguments={
                    "gap_id": "an open hole of cause contract_value",
                    "moment_ns": "from then on trades are in new contracts, ns since 1970",
                },
                run=self._settle,
            ),
        )

    async def _settle(self, arguments: Mapping[str, str]) -> str:
        gap_id, moment = arguments["gap_id"], arguments["moment_ns"]
        if not moment.isdigit():
            raise UsageError("moment_ns: nanoseconds since 1970")
        return await self.settle(gap_id, int(moment))

    async def _applied(self) -> None:
        """All rows of until now are in the table. Raises ServerError."""
        daemon, trades = self._daemon, TABLES["trades"]
        await daemon.spool.written()
        end = daemon.spool.files.table_ends().get(trades, START)
        with trio.move_on_after(APPLIED_S_MAX):
            while daemon.watch is None or daemon.watch.applied.get(trades, START) < end:  # noqa: ASYNC110
                await trio.sleep(POLL_S)
            return
        raise ServerError("rows of the span may still be in the spool: try again")

    async def settle(self, gap_id: str, moment_ns: int) -> str:
        """Returns what was done. Raises UsageError, ServerError."""
        ledger, gap = self._daemon.ledger, self._daemon.ledger.find(gap_id)
        change = None if gap is None else change_of(gap)
        if gap is None or gap.cause != CONTRACT_VALUE or change is None:
            raise UsageError(f"gap {gap_id[:40]!r}: is no open hole of cause {CONTRACT_VALUE}")
        feed = next((one for one in self._daemon.feeds if one.spec.name == gap.feed), None)
        if feed is None or self.sql is None:
            raise UsageError(f"feed {gap.feed}: is not recorded now")
        if not gap.from_ns <= moment_ns <= gap.to_ns:
            raise UsageError(
                f"--at {iso_ns(moment_ns)}: is not within the hole,"
                f" {iso_ns(gap.from_ns)} to {iso_ns(gap.to_ns)}"
            )
        await self._applied()
        params = [gap.from_ns, gap.to_ns, gap.exchange, gap.market_type, gap.symbol]
        rows = await self.sql.query_dicts(ROWS_SQL, params)
        lines = recounted(rows, gap, change, moment_ns, feed.clock.wall_ns())
        if ledger.find(gap_id) is None:
            raise UsageError(f"gap {gap_id[:40]!r}: was closed meanwhile")
        feed.flush()
        if lines:
            feed.road.note_recounted(len(lines))
            feed.sink.append(
                Record(
                    table=TABLES["trades"], feed=feed.number, rows=len(lines),
                    payload=b"".join(lines),
                )
            )  # fmt: skip
        ledger.settle_value(gap_id, f"{gap.reason}, at {iso_ns(moment_ns)}", len(lines))
        text = f"{len(lines)} of {len(rows)} rows are counted anew"
        log.info("contract_value_settled", gap=gap_id, symbol=gap.symbol, text=text)
        return text
