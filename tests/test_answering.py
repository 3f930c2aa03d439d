"""What the daemon says of the table it asks: how far it has all that came."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from pumpwatch.answering import LATE_NS, Answering
from pumpwatch.config import Config
from pumpwatch.model import Gap
from pumpwatch.store.applied import AppliedWatch
from pumpwatch.store.schema import TABLES
from pumpwatch.store.spool_files import Cursor
from tests._fast.driving import SECOND_NS
from tests.store.records import SetClock

TRADES = TABLES["trades"]
LEFT = Cursor(3, 500)  # what an earlier run left of trades ends here


def make_daemon(clock: SetClock, data_dir: Path) -> Any:
    """What answers ask of a daemon: ten rows are pending, the oldest of now."""
    spool: Any = SimpleNamespace(visible_marks=deque([(Cursor(4, 0), clock.now_ns, 10)]))
    return SimpleNamespace(
        clock=clock, config=Config(data_dir=data_dir), memory=SimpleNamespace(hour_mib=16),
        side=SimpleNamespace(gaps=lambda gaps: None), spool=spool,
        watch=AppliedWatch(spool, [], SimpleNamespace(), clock),  # type: ignore[arg-type]
        monitor=SimpleNamespace(pending_rows=lambda: 10),
    )  # fmt: skip


def test_what_an_earlier_run_left_is_not_called_stored_before_it_is(tmp_path: Path) -> None:
    """Its rows have no marks: the oldest of them may be of any time."""
    clock = SetClock()
    daemon = make_daemon(clock, tmp_path)
    answers = Answering(daemon)
    daemon.watch.is_answering = True
    assert answers.applied_ns() == 0  # what was left is not known yet
    answers.left = LEFT
    daemon.watch.applied[TRADES] = Cursor(3, 499)
    assert answers.applied_ns() == 0
    daemon.watch.applied[TRADES] = LEFT
    assert answers.applied_ns() == clock.now_ns - LATE_NS


def caught_up(clock: SetClock, folder: Path) -> Answering:
    """What an earlier run left is in the table."""
    daemon = make_daemon(clock, folder)
    answers = Answering(daemon)
    daemon.watch.is_answering, answers.left = True, LEFT
    daemon.watch.applied[TRADES] = LEFT
    return answers


def test_what_was_brought_is_under_way_until_the_table_has_what_came_then(tmp_path: Path) -> None:
    clock = SetClock()
    answers = caught_up(clock, tmp_path)
    daemon = answers._daemon
    clock.now_ns += 20 * SECOND_NS
    hole = Gap(gap_id="1", opened_ns=1, exchange="okx", market_type="spot", symbol="A", cause="cut")
    brought = msgspec.structs.replace(hole, state="filled", filled_rows=3)
    nothing = msgspec.structs.replace(hole, state="empty")
    answers.write_gaps([hole, brought, nothing])
    assert answers.under_way() == [brought]
    daemon.spool.visible_marks[0] = (Cursor(4, 9), clock.now_ns, 10)  # these may be among them
    clock.now_ns += 20 * SECOND_NS
    assert answers.under_way() == [brought]
    daemon.spool.visible_marks[0] = (Cursor(4, 9), clock.now_ns, 10)
    assert answers.under_way() == []
    # Where nothing is pending, what is younger than a buffer's age may be in none yet.
    answers.write_gaps([brought])
    daemon.spool.visible_marks.clear()
    assert answers.under_way() == [brought]
    clock.now_ns += LATE_NS + 1
    assert answers.under_way() == []


def test_what_is_in_the_table_is_forgotten_though_nobody_asks(tmp_path: Path) -> None:
    clock = SetClock()
    answers = caught_up(clock, tmp_path)
    hole = Gap(gap_id="1", opened_ns=1, exchange="okx", market_type="spot", symbol="A",
               cause="cut", state="filled")  # fmt: skip
    answers._daemon.spool.visible_marks.clear()
    for _ in range(100):
        answers.write_gaps([hole])
        clock.now_ns += SECOND_NS
    assert len(answers._brought.gaps()) == LATE_NS // SECOND_NS + 1
