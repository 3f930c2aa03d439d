"""``gaps settle`` on the parts of a real daemon: rows, counters, ledger, memory hour."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from pumpwatch.balance import differences
from pumpwatch.capture.feed_state import FeedState
from pumpwatch.clock import SystemClock
from pumpwatch.config import Config
from pumpwatch.daemon import Daemon
from pumpwatch.errors import UsageError
from pumpwatch.model import Gap
from pumpwatch.revaluing import SETTLE
from pumpwatch.store.applied import AppliedWatch
from pumpwatch.store.segment import MIB
from pumpwatch.store.spool import run_spool
from pumpwatch.store.spool_files import START
from tests._fast.ilp_reading import Line, read_lines
from tests.capture.specs import instrument
from tests.store.records import TRADES

FEED = "okx_futures"
SECOND_NS = 10**9


class Trades:
    """The table, as far as it is asked."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    async def query_dicts(self, sql: str, params: Sequence[object] = ()) -> list[dict[str, Any]]:
        assert "FROM trades" in sql
        return self.rows


class Stage:
    def __init__(self, folder: Path) -> None:
        self.daemon = Daemon(Config(data_dir=folder), SystemClock(), random.Random(1))
        self.feed: FeedState = next(f for f in self.daemon.feeds if f.spec.name == FEED)
        old = msgspec.structs.replace(instrument("BTCUSDT"), contract_value="0.01")
        self.feed.add_instruments([old])
        now_ns = self.daemon.clock.wall_ns()
        self.from_ns, self.to_ns = now_ns - 20 * SECOND_NS, now_ns - 10 * SECOND_NS
        self.feed.revalue(
            old, msgspec.structs.replace(old, contract_value="0.1"), since_ns=self.from_ns
        )
        self.table = Trades()
        self.daemon.revaluing.sql = self.table

    def row(self, second: int, contracts: int) -> dict[str, Any]:
        """A row of the span, counted by the old value."""
        at_ns = self.from_ns + second * SECOND_NS
        return {
            "exchange_ns": at_ns, "exchange": "okx", "market_type": "futures", "symbol": "BTCUSDT",
            "side": "buy", "price": 2.5, "quantity": contracts / 100, "trade_id": str(second),
            "sequence_number": second, "received_ns": at_ns + 1, "origin": "stream", "kind": None,
        }  # fmt: skip

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """The spool runs, its rows count as applied; gives the id of the hole."""
        async with trio.open_nursery() as nursery:
            await nursery.start(run_spool, self.daemon.spool, {})
            self.daemon.watch = AppliedWatch(
                self.daemon.spool,
                [],
                self.table,  # type: ignore[arg-type]
                self.daemon.clock,
            )
            yield self.daemon.ledger.suspect(
                self.feed.spec, "BTCUSDT", "contract_value", self.from_ns, self.to_ns,
                "0.01 -> 0.1, price exponent 0 -> 0",
            )  # fmt: skip
            await self.daemon.spool.written()
            nursery.cancel_scope.cancel()

    async def settle(self, gap_id: str, second: int) -> str:
        """As the command line asks."""
        moment_ns = self.from_ns + second * SECOND_NS
        return await self.daemon.desk.run(SETTLE, {"gap_id": gap_id, "moment_ns": str(moment_ns)})

    def spooled(self) -> list[Line]:
        files = self.daemon.spool.files
        upto = files.table_ends().get(TRADES, START)
        batch = files.read(TRADES, START, upto, 1000, 64 * MIB)
        return [] if batch is None else read_lines(b"".join(batch.payloads))


async def test_rows_behind_the_moment_are_stored_anew_and_the_hole_closes(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.table.rows = [stage.row(second, 7) for second in (2, 4, 6, 8)]
    async with stage.running() as gap_id:
        assert await stage.settle(gap_id, 5) == "2 of 4 rows are counted anew"
        await stage.daemon.spool.written()
        lines = stage.spooled()
    assert [(line.fields["trade_id"], float(str(line.fields["quantity"]))) for line in lines] == [
        ("6", 0.7), ("8", 0.7),
    ]  # fmt: skip
    assert [line.timestamp_ns for line in lines] == [
        stage.from_ns + 6 * SECOND_NS, stage.from_ns + 8 * SECOND_NS
    ]  # fmt: skip
    assert stage.daemon.ledger.open_gaps() == []
    balance = stage.daemon.monitor.balance(stage.feed)
    assert (balance.parsed, balance.passed, balance.spooled) == (2, 2, 2)
    assert not [one for one in differences(balance) if "writer" not in one]
    assert Counter(stage.daemon.spool.spooled_by_feed) == {stage.feed.number: 2}


async def test_what_is_no_moment_of_the_hole_is_refused(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    async with stage.running() as gap_id:
        with pytest.raises(UsageError, match="not within the hole"):
            await stage.settle(gap_id, 11)
        assert len(stage.daemon.ledger.open_gaps()) == 1
        with pytest.raises(UsageError, match="no open hole"):
            await stage.settle("nobody", 5)


def test_rows_of_rest_count_by_what_the_contract_was(tmp_path: Path) -> None:
    """A hole from before the change that is filled after it."""
    stage = Stage(tmp_path)
    quantities = []
    for number, at_ns in enumerate((stage.from_ns - 1, stage.from_ns + 1), start=1):
        with stage.feed.counted_as_of(at_ns):
            verdict = stage.feed.road.take_backfill(
                "BTCUSDT", "buy", "1", "3", at_ns, str(number), number, number, "",
                stage.daemon.clock.wall_ns(),
            )  # fmt: skip
        assert verdict == "new"
        payload, _, _ = stage.feed.rows.take()
        quantities += [float(str(line.fields["quantity"])) for line in read_lines(payload)]
    assert quantities == [0.03, 0.3]


def test_memory_does_not_answer_for_the_span_any_more(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    hour = stage.daemon.answers.hour
    gap = Gap(
        gap_id="a", opened_ns=stage.to_ns, exchange="okx", market_type="futures",
        symbol="BTCUSDT", cause="contract_value", from_ns=stage.from_ns, to_ns=stage.to_ns,
    )  # fmt: skip
    for state in ("suspected", "filled"):
        hour.note_gaps([msgspec.structs.replace(gap, state=state)])
        assert hour._holes[(FEED, "BTCUSDT")] == {gap.gap_id: (gap.from_ns, gap.to_ns + 1)}
