"""Promise 5 on the parts of a real daemon: a row dropped at any place is named at the next look."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from pumpwatch._fast.ilp import split_lines
from pumpwatch._fast.intake import Intake
from pumpwatch.capture.feed_state import FeedState
from pumpwatch.clock import SystemClock
from pumpwatch.config import Config
from pumpwatch.daemon import Daemon
from pumpwatch.model import Record
from pumpwatch.monitor import BEHIND_S, LOOK_S
from pumpwatch.store.progress import WalState
from pumpwatch.store.segment import MIB
from pumpwatch.store.spool_files import START, SpoolFiles
from tests._fast.driving import binance_trade
from tests.capture.specs import instrument
from tests.store.records import TRADES
from tests.strategies import TEXT, frame

FEED = "binance_spot"
ALERT_S_MAX = 5.0
TABLE_ID = 7


def trade(number: int, symbol: str = "BTCUSDT", **changes: Any) -> bytes:
    return frame(TEXT, json.dumps(binance_trade(number, symbol=symbol) | changes).encode())


class Stage:
    """A daemon whose tasks do not run: rows are moved from place to place by hand."""

    def __init__(self, folder: Path) -> None:
        self.daemon = Daemon(Config(data_dir=folder), SystemClock(), random.Random(1))
        self.feed: FeedState = next(f for f in self.daemon.feeds if f.spec.name == FEED)
        self.feed.add_instruments([instrument("BTCUSDT")])
        self.intake = Intake(self.feed.road)
        self.trades = self.daemon.tables["trades"]
        self.trades.observe(WalState(TABLE_ID, False, 0, 0), self.trades.accepted_now())
        self.refused: list[bytes] = []

    def receive(self, *frames: bytes) -> None:
        """As a connection does with what a socket brings."""
        self.intake.feed(b"".join(frames), self.daemon.clock.wall_ns())
        _, quarantine = self.intake.take_kept()
        self.feed.take_quarantine(quarantine)
        self.feed.take_news(self.intake.take_news())

    def spool(self) -> None:
        self.feed.flush()
        assert self.daemon.spool.write_now() == 0

    def send(self, refused_rows: int = 0) -> None:
        """As a writer does: all that is spooled goes out, and the server takes it."""
        upto = self.daemon.spool.files.table_ends().get(self.trades.number, START)
        batch = self.daemon.spool.files.read(
            self.trades.number, self.trades.accepted, upto, 1000, MIB
        )
        assert batch is not None
        accepted = Counter(batch.rows_by_feed)
        refused: Counter[tuple[int, int]] = Counter()
        for _ in range(refused_rows):
            accepted[self.feed.number] -= 1
            refused[batch.segments[0], self.feed.number] += 1
            self.daemon.side.refused_line(self.feed.number, b"trades,line=1 x=1i 1\n", "no")
        self.trades.accept(batch.end, accepted, refused)

    def apply(self) -> None:
        """As the applied watch does."""
        self.trades.observe(WalState(TABLE_ID, False, 1, 1), self.trades.accepted_now())

    def look(self) -> list[str]:
        self.daemon.monitor.look()
        return self.daemon.monitor.differences


@pytest.fixture
async def stage(tmp_path: Path) -> Any:
    found = Stage(tmp_path)
    await found.daemon.spool.open()
    yield found
    found.daemon.spool.close()


def play(stage: Stage, frames: list[bytes], refused_rows: int = 0) -> None:
    """Rows from the socket to the table."""
    stage.receive(*frames)
    stage.spool()
    stage.send(refused_rows)
    stage.apply()


FRAMES = [trade(number) for number in range(1, 6)]


def test_the_next_look_is_within_the_time_an_alert_may_take() -> None:
    assert LOOK_S < ALERT_S_MAX


async def test_nothing_dropped_is_no_difference_at_any_step(stage: Stage) -> None:
    assert stage.look() == []
    stage.receive(*FRAMES, FRAMES[0], trade(9, symbol="NOBODYUSDT"))
    assert stage.look() == []
    stage.feed.flush()
    assert stage.look() == []
    stage.spool()
    assert stage.look() == []
    stage.send(refused_rows=1)
    assert stage.look() == []
    stage.apply()
    assert stage.look() == []
    counts = stage.feed.road.counts_now()
    assert (counts["parsed"], counts["passed"], counts["quarantined"]) == (7, 5, 1)


class LeakyRoad:
    """The road, one row of a counter short: as if a step had lost it without a word."""

    def __init__(self, road: Any, **changes: int) -> None:
        self._road = road
        self._changes = changes

    def counts_now(self) -> dict[str, int]:
        counts = dict(self._road.counts_now())
        for name, change in self._changes.items():
            counts[name] += change
        return counts


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"parsed": 1}, id="parse"),  # counted as parsed, and gone
        pytest.param({"repeated": -1}, id="sequence"),
        pytest.param({"passed": -1}, id="ILP"),
    ],
)
async def test_a_row_lost_in_the_road_is_named(stage: Stage, changes: dict[str, int]) -> None:
    play(stage, [*FRAMES, FRAMES[0]])
    assert stage.look() == []
    stage.feed.road = LeakyRoad(stage.feed.road, **changes)
    assert any(found.startswith(f"{FEED}: road: ") for found in stage.look())


async def test_a_frame_lost_before_the_parser_is_a_hole_in_the_ledger(stage: Stage) -> None:
    """No counter can know of it; ids that count on can."""
    play(stage, [*FRAMES[:2], *FRAMES[3:]])
    (hole,) = stage.daemon.ledger.open_gaps()
    assert (hole.symbol, hole.cause, hole.first_id, hole.last_id) == ("BTCUSDT", "id_jump", 3, 3)


# --- places behind the road: a row is really dropped there ----------------------------------------


def without_first_line(record: Record) -> Record:
    """Trades a row short; records of other tables as they are."""
    if record.table != TRADES:
        return record
    payload = record.payload[split_lines(record.payload)[0] :]
    return Record(table=TRADES, feed=record.feed, rows=record.rows - 1, payload=payload)


def buffer(stage: Stage, patch: pytest.MonkeyPatch) -> None:
    """What is flushed goes nowhere."""
    patch.setattr(stage.daemon.spool, "append", lambda record: None)


def queue(stage: Stage, patch: pytest.MonkeyPatch) -> None:
    """A record comes out of the spool's queue with a row less."""
    real = stage.daemon.spool.append

    def append(record: Record) -> None:
        real(without_first_line(record))

    patch.setattr(stage.daemon.spool, "append", append)


def spool(stage: Stage, patch: pytest.MonkeyPatch) -> None:
    """A record is written with a row less than the spool was given."""
    real = SpoolFiles.write

    def write(files: SpoolFiles, records: Any) -> Any:
        return real(files, [without_first_line(record) for record in records])

    patch.setattr(SpoolFiles, "write", write)


def writer(stage: Stage, patch: pytest.MonkeyPatch) -> None:
    """A batch is sent with a row less."""
    real = stage.trades.accept

    def accept(cursor: Any, rows_by_feed: Counter[int], refused: Any) -> None:
        real(cursor, {feed: rows - 1 for feed, rows in rows_by_feed.items()}, refused)

    patch.setattr(stage.trades, "accept", accept)


def quarantine(stage: Stage, patch: pytest.MonkeyPatch) -> None:
    """A line that the server refused is thrown away."""
    patch.setattr(stage.daemon.side, "refused_line", lambda *line: None)


def quarantine_of_ours(stage: Stage, patch: pytest.MonkeyPatch) -> None:
    """A message that we refused is thrown away."""
    patch.setattr(stage.daemon.side, "keep", lambda *message: None)


def applied(stage: Stage, patch: pytest.MonkeyPatch) -> None:
    """A row that was accepted is not counted as applied when all is."""
    real = stage.trades.accepted_now

    def accepted_now() -> Any:
        now = real()
        return now._replace(
            rows_by_feed=Counter({feed: rows - 1 for feed, rows in now.rows_by_feed.items()})
        )

    patch.setattr(stage.trades, "accepted_now", accepted_now)


@pytest.mark.parametrize(
    ("drop", "place"),
    [
        (buffer, "spool"),
        (queue, "spool"),
        (spool, "writer"),
        (writer, "writer"),
        (quarantine, "quarantine"),
        (quarantine_of_ours, "quarantine"),
        (applied, "applied"),
    ],
)
async def test_a_row_dropped_behind_the_road_is_named(
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    drop: Callable[[Stage, pytest.MonkeyPatch], None],
    place: str,
) -> None:
    drop(stage, monkeypatch)
    stage.receive(*FRAMES, trade(9, symbol="NOBODYUSDT"))
    stage.spool()
    if drop is not buffer:  # nothing came through to be sent
        stage.send(refused_rows=1)
        stage.apply()
    found = stage.look()
    assert any(text.startswith(f"{FEED}: {place}: ") for text in found), found


async def test_a_row_that_the_writer_dropped_is_named_while_others_come_in(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer(stage, monkeypatch)
    play(stage, FRAMES)
    stage.receive(*[trade(number) for number in range(6, 9)])
    stage.spool()
    stage.receive(trade(9))
    assert [text.split(": ")[1] for text in stage.look()] == ["writer"]


async def test_a_difference_is_an_error_in_the_log_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    buffer(stage, monkeypatch)
    play_until_spooled(stage)
    stage.look()
    assert said(capsys).count("balance_broken") == 1
    stage.look()
    assert "balance_broken" not in said(capsys)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """What was logged: on which stream depends on whether a test before this one set logging up."""
    return "".join(capsys.readouterr())


def play_until_spooled(stage: Stage) -> None:
    stage.receive(*FRAMES)
    stage.spool()


async def test_it_is_behind_while_rows_take_long_or_none_are_seen(
    stage: Stage, autojump_clock: MockClock
) -> None:
    """What can wait gives way then."""
    monitor = stage.daemon.monitor
    assert not monitor.is_behind()  # nothing is on its way
    monitor.note_lag(BEHIND_S / 2, 10)
    assert not monitor.is_behind()
    monitor.note_lag(BEHIND_S * 2, 10)
    assert monitor.is_behind()
    await trio.sleep(BEHIND_S * 2)
    assert not monitor.is_behind()  # that was long ago, and nothing waits
    stage.receive(trade(1), trade(2))
    stage.spool()
    assert monitor.pending_rows() > 0
    assert monitor.is_behind()
