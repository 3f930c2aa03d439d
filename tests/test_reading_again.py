"""``quarantine retry`` on the parts of a real daemon: rows, files and ledger, also over a crash."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from pumpwatch._fast.intake import Intake
from pumpwatch.capture.feed_state import FeedState
from pumpwatch.capture.ledger import NOT_KEPT, READ_AGAIN
from pumpwatch.clock import SystemClock
from pumpwatch.config import Config
from pumpwatch.daemon import Daemon
from pumpwatch.errors import UsageError
from pumpwatch.model import Gap
from pumpwatch.quarantine_orders import RETRY, STATE, ReadAgain
from pumpwatch.reading_again import read_renames
from pumpwatch.store.message_files import kept_of
from pumpwatch.store.segment import MIB
from pumpwatch.store.spool import run_spool
from pumpwatch.store.spool_files import START
from tests._fast.driving import binance_trade
from tests._fast.ilp_reading import read_lines
from tests.capture.specs import instrument
from tests.store.records import TRADES
from tests.strategies import TEXT, frame

FEED = "binance_spot"
SECOND_NS = 10**9


class LostRows:
    """The ledger's table, as far as a retry asks for it."""

    def __init__(self) -> None:
        self.gaps: list[Gap] = []

    async def query_dicts(self, sql: str, params: Sequence[object] = ()) -> list[dict[str, Any]]:
        assert "state = 'lost'" in sql
        return [{name: getattr(gap, name) for name in gap.__struct_fields__} for gap in self.gaps]


class Stage:
    """A daemon whose spool and quarantine run, and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemon = Daemon(Config(data_dir=folder), SystemClock(), random.Random(1))
        self.feed: FeedState = next(f for f in self.daemon.feeds if f.spec.name == FEED)
        self.feed.add_instruments([instrument("BTCUSDT")])
        self.intake = Intake(self.feed.road)
        self.lost = LostRows()

    def receive(self, *numbers: int, price: str = "p") -> None:
        for number in numbers:
            trade = binance_trade(number, ns=self.daemon.clock.wall_ns())
            trade["data"][price] = trade["data"].pop("p")
            self.intake.feed(
                frame(TEXT, json.dumps(trade, separators=(",", ":")).encode()),
                self.daemon.clock.wall_ns(),
            )
            self.feed.take_quarantine(self.intake.take_kept()[1])
            self.feed.take_news(self.intake.take_news())
        self.feed.flush()

    async def retry(self, renames: str = "") -> ReadAgain:
        state = ReadAgain()
        await self.daemon.reading_again.read_feed(
            self.feed, self.lost, read_renames(renames), state
        )
        return state

    def kept(self) -> int:
        return len(list(kept_of(self.folder / "quarantine" / FEED)))

    def gaps(self) -> list[tuple[str, str, int]]:
        return [(gap.cause, gap.state, gap.filled_rows) for gap in self.daemon.ledger.open_gaps()]

    async def stored(self) -> list[str]:
        """Trade ids in the spool, in order, repeats and all."""
        await self.daemon.spool.written()
        files = self.daemon.spool.files
        upto = files.table_ends().get(TRADES, START)
        batch = files.read(TRADES, START, upto, 1_000_000, 64 * MIB)
        payloads = b"" if batch is None else b"".join(batch.payloads)
        return [str(line.fields["trade_id"]) for line in read_lines(payloads)]


@asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Stage]:
    stage = Stage(folder)
    async with trio.open_nursery() as nursery:
        await nursery.start(run_spool, stage.daemon.spool, {})
        await nursery.start(stage.daemon.side.messages.run)
        yield stage
        nursery.cancel_scope.cancel()


async def test_what_was_renamed_is_recovered_once_and_its_holes_close(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.receive(1, 2)
        stage.receive(3, 4, 5, price="z")
        stage.receive(6)
        assert stage.gaps() == [("quarantine", "suspected", 0), ("id_jump", "confirmed", 0)]
        assert stage.feed.shape.named(stage.daemon.clock.wall_ns()) != ""

        first = await stage.retry()  # the parser is what it was
        assert (first.messages, first.read, first.stay, first.rows) == (3, 0, 3, 0)
        assert (stage.kept(), len(stage.gaps())) == (3, 2)

        second = await stage.retry("z=p")
        assert (second.messages, second.read, second.stay, second.rows) == (3, 3, 0, 3)
        assert stage.kept() == 0
        assert stage.gaps() == []
        assert sorted(await stage.stored()) == ["1", "2", "3", "4", "5", "6"]
        assert (await stage.retry("z=p")).messages == 0


async def test_what_still_cannot_be_read_stays_and_keeps_its_row_open(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.receive(1, price="z")
        stage.receive(2, price="y")
        found = await stage.retry("z=p")
        assert (found.read, found.stay) == (1, 1)
        assert stage.kept() == 1
        assert stage.gaps() == [("quarantine", "suspected", 1)]
        await stage.retry("y=p")
        assert stage.gaps() == []


async def test_the_closing_row_tells_how_many_rows_came(tmp_path: Path) -> None:
    closed: list[Gap] = []
    async with staged(tmp_path) as stage:
        stage.receive(1, 2, price="z")
        write, stage.daemon.ledger._rows._emit = stage.daemon.ledger._rows._emit, closed.extend
        await stage.retry("z=p")
        stage.daemon.ledger._rows._emit = write
    [gap] = [one for one in closed if one.cause == "quarantine"]
    assert (gap.state, gap.filled_rows, gap.missing, gap.reason) == ("filled", 2, 2, READ_AGAIN)


async def test_messages_leave_the_disk_behind_their_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash in between finds both, and reads the messages again: the same keys."""
    async with staged(tmp_path) as stage:
        stage.receive(1, 2, 3, price="z")
        found: list[list[str]] = []
        real = stage.daemon.side.messages.replace

        async def crash(*arguments: Any) -> None:
            found.append([str(one) for one in await stage.stored()])
            raise OSError("killed")

        monkeypatch.setattr(stage.daemon.side.messages, "replace", crash)
        with pytest.raises(OSError, match="killed"):
            await stage.retry("z=p")
        assert found == [["1", "2", "3"]]
        assert stage.kept() == 3
        monkeypatch.setattr(stage.daemon.side.messages, "replace", real)
        again = await stage.retry("z=p")
        assert (again.rows, again.repeated, stage.kept()) == (0, 3, 0)


async def test_a_kill_loses_no_message(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.receive(1, 2, price="z")
        assert await stage.daemon.side.messages.written()
        on_disk = {
            path.name: path.read_bytes() for path in (tmp_path / "quarantine" / FEED).iterdir()
        }
    other = tmp_path / "other"
    (other / "quarantine" / FEED).mkdir(parents=True)
    for name, data in on_disk.items():
        (other / "quarantine" / FEED / name).write_bytes(data)
    async with staged(other) as stage:
        assert (await stage.retry("z=p")).rows == 2


async def test_a_hole_that_was_lost_is_filled_after_all(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.receive(1)
        stage.receive(2, 3, price="z")
        stage.receive(6)
        [jump] = [gap for gap in stage.daemon.ledger.open_gaps() if gap.cause == "id_jump"]
        rows: list[Gap] = []
        stage.daemon.ledger._rows._emit = rows.extend
        stage.daemon.ledger.lost(jump.gap_id, "the venue shows its latest 1000 trades")
        stage.lost.gaps = [rows[-1]]
        rows.clear()
        await stage.retry("z=p")
        last = {gap.gap_id: gap for gap in rows}.values()
        found = sorted((gap.state, gap.first_id, gap.last_id) for gap in last if gap.first_id)
        assert found == [("filled", 2, 3), ("lost", 4, 5)]


async def test_what_was_not_kept_is_lost_and_said(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.receive(1, price="z")
        stage.daemon.side.messages.files.bytes_by_feed[FEED] = 1 << 40
        stage.receive(2, price="z")
        reasons = {gap.reason for gap in stage.daemon.ledger.open_gaps()}
        assert reasons == {"", NOT_KEPT}
        stage.daemon.side.messages.files.bytes_by_feed[FEED] = 0
        await stage.retry("z=p")
        assert [gap.reason for gap in stage.daemon.ledger.open_gaps()] == [NOT_KEPT]


async def test_the_command_line_gives_the_order_and_asks_for_the_end(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage, trio.open_nursery() as nursery:
        nursery.start_soon(stage.daemon.reading_again.run, stage.lost)
        stage.receive(1, price="z")
        found = json.loads(await stage.daemon.desk.run(RETRY, {"feed": FEED, "rename": "z=p"}))
        assert (found["ended"], found["rows"], found["error"]) == (True, 1, "")
        assert json.loads(await stage.daemon.desk.run(STATE, {}))["rows"] == 1
        with pytest.raises(UsageError, match="no such feed"):
            await stage.daemon.desk.run(RETRY, {"feed": "nobody_spot"})
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("text", ["z", "z=", "=p", 'z"=p'])
def test_a_rename_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="NEW=OLD"):
        read_renames(text)


def test_renames_are_names_of_members() -> None:
    assert read_renames("") == []
    assert read_renames("z=p,y=q") == [(b'"z":', b'"p":'), (b'"y":', b'"q":')]
