"""What the daemon says of the table it asks: how far it has all that came."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pumpwatch.answering import LATE_NS, Answering
from pumpwatch.config import Config
from pumpwatch.store.applied import AppliedWatch
from pumpwatch.store.schema import TABLES
from pumpwatch.store.spool_files import Cursor
from tests.store.records import SetClock

TRADES = TABLES["trades"]
LEFT = Cursor(3, 500)  # what an earlier run left of trades ends here


def test_what_an_earlier_run_left_is_not_called_stored_before_it_is(tmp_path: Path) -> None:
    """Its rows have no marks: the oldest of them may be of any time."""
    clock = SetClock()
    spool: Any = SimpleNamespace(visible_marks=deque([(Cursor(4, 0), clock.now_ns, 10)]))
    watch = AppliedWatch(spool, [], SimpleNamespace(), clock)  # type: ignore[arg-type]
    daemon: Any = SimpleNamespace(
        clock=clock, config=Config(data_dir=tmp_path), memory=SimpleNamespace(hour_mib=16),
        side=SimpleNamespace(), spool=spool, watch=watch,
        monitor=SimpleNamespace(pending_rows=lambda: 10),
    )  # fmt: skip
    answers = Answering(daemon)
    watch.is_answering = True
    assert answers.applied_ns() == 0  # what was left is not known yet
    answers.left = LEFT
    watch.applied[TRADES] = Cursor(3, 499)
    assert answers.applied_ns() == 0
    watch.applied[TRADES] = LEFT
    assert answers.applied_ns() == clock.now_ns - LATE_NS
