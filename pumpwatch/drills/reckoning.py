"""The end of a drill: trading stops, everything settles, the table is held against the truth."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any

import polars as pl
import trio

from pumpwatch.drills.covered import uncovered
from pumpwatch.drills.outcome import Outcome
from pumpwatch.drills.stage import DaemonProcess, settle
from pumpwatch.drills.verdict import Kill, Verdict, judge
from pumpwatch.model import Gap
from pumpwatch.sim.process import Simulator
from pumpwatch.store.gap_rows import COLUMNS, read_gap
from pumpwatch.store.server import running_address
from pumpwatch.store.sql import Sql
from pumpwatch.tally import KEY, fetch_stored

EXAMPLES = 3


async def reckon(
    outcome: Outcome,
    simulator: Simulator,
    daemon: DaemonProcess,
    *,
    kills: Sequence[Kill] = (),
    spooled: pl.DataFrame | None = None,
    quarantined: pl.DataFrame | None = None,
    not_traded: str = "",
    without: str = "",
) -> Verdict:
    """Settle, compare, end the daemon; adds to the outcome and returns the verdict.

    ``spooled`` are keys that must be stored, ``quarantined`` keys that must not be; ``not_traded``
    is a symbol that the drill made itself, ``without`` a feed whose bytes it held back. After
    kills, each row that is not there must lie within a hole that the ledger knows (R3).
    """
    last = await settle(daemon, simulator)
    outcome.expect(last["differences"] == [], f"balance: {last['differences']}")
    gaps = await _ledger(daemon) if kills else []
    stored = await fetch_stored(running_address(daemon.config))
    stored = stored.filter(pl.col("symbol") != not_traded, pl.col("feed") != without)
    daemon.signal(signal.SIGTERM)
    outcome.expect(await daemon.wait() == 0, f"the daemon's exit code is {daemon.exit_code}")
    await simulator.end()
    truth = (await simulator.truth()).filter(pl.col("feed") != without)
    if quarantined is not None:
        both = stored.join(quarantined, on=KEY, how="inner")
        outcome.expect(both.is_empty(), f"{len(both)} rows in the table and in quarantine")
        truth = truth.join(quarantined, on=KEY, how="anti", maintain_order="left")
    verdict = await trio.to_thread.run_sync(judge, truth, stored, kills)
    _add(outcome, verdict)
    if kills:
        absent = truth.unique(KEY).join(stored, on=KEY, how="anti").select(KEY)
        untold = uncovered(absent, gaps)
        examples = untold.head(EXAMPLES).rows()
        outcome.expect(untold.is_empty(), f"{len(untold)} rows absent from the ledger: {examples}")
    if spooled is not None:
        lost = spooled.unique(KEY).join(stored, on=KEY, how="anti")
        outcome.missing += len(lost)
        outcome.expect(lost.is_empty(), f"{len(lost)} rows were spooled and are not stored")
    return verdict


async def _ledger(daemon: DaemonProcess) -> list[Gap]:
    """Every hole that the table knows."""
    sql = Sql(running_address(daemon.config), readonly=True)
    try:
        return [read_gap(row) for row in await sql.query_dicts(f"SELECT {COLUMNS} FROM feed_gaps")]
    finally:
        await sql.aclose()


def _add(outcome: Outcome, verdict: Verdict) -> None:
    outcome.rows += verdict.rows
    outcome.missing += verdict.missing
    outcome.duplicate += verdict.duplicate
    outcome.expect(verdict.wrong == 0, f"{verdict.wrong} rows with other values")
    outcome.expect(verdict.unknown == 0, f"{verdict.unknown} rows that nobody traded")
    outcome.faults += [f"missing: {example}" for example in verdict.examples]


def pending(document: dict[str, Any]) -> int:
    """Rows in the spool that are not known to be in the table."""
    return int(document["store"]["pending_rows"])
