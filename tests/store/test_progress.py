"""A 204 is not applied: cursors follow the table's WAL, and go back when the table changes."""

from __future__ import annotations

from collections import Counter

import pytest

from pumpwatch.store.progress import TableProgress, WalState
from pumpwatch.store.spool_files import START, Cursor

FIRST, SECOND, THIRD = Cursor(1, 100), Cursor(1, 200), Cursor(2, 100)


def seen(
    writer_txn: int, sequencer_txn: int, *, table_id: int = 7, suspended: bool = False
) -> WalState:
    return WalState(table_id, suspended, writer_txn, sequencer_txn)


@pytest.fixture
def progress() -> TableProgress:
    table = TableProgress(1, "trades")
    assert table.observe(seen(0, 0), table.accepted_now())
    return table


def look(progress: TableProgress, state: WalState) -> bool:
    return progress.observe(state, progress.accepted_now())


def test_what_was_accepted_is_applied_when_the_writer_has_come_as_far(
    progress: TableProgress,
) -> None:
    progress.accept(FIRST, {1: 10, 2: 5}, {})
    assert (progress.accepted, progress.applied) == (FIRST, START)
    assert look(progress, seen(2, 3))
    assert progress.applied == START
    assert look(progress, seen(3, 5))
    assert progress.applied == FIRST
    assert progress.applied_by_feed == {1: 10, 2: 5}


def test_what_was_accepted_during_the_look_waits_for_the_next(progress: TableProgress) -> None:
    """The sequencerTxn may have been read before its 204."""
    before = progress.accepted_now()
    progress.accept(FIRST, {1: 10}, {})
    assert progress.observe(seen(3, 3), before)
    assert progress.applied == START
    assert look(progress, seen(4, 4))
    assert progress.applied == FIRST


def test_every_look_keeps_its_own_mark(progress: TableProgress) -> None:
    """The writer need not catch up with the newest transaction: it never does under load."""
    for txn, cursor in ((1, FIRST), (2, SECOND), (3, THIRD)):
        progress.accept(cursor, {1: 1}, {})
        look(progress, seen(0, txn))
    look(progress, seen(2, 90))
    assert (progress.applied, progress.applied_by_feed) == (SECOND, {1: 2})
    look(progress, seen(3, 99))
    assert (progress.applied, progress.applied_by_feed) == (THIRD, {1: 3})


def test_a_suspended_table_applies_nothing(progress: TableProgress) -> None:
    progress.accept(FIRST, {1: 1}, {})
    look(progress, seen(5, 5, suspended=True))
    assert progress.suspended
    assert progress.applied == START
    look(progress, seen(5, 5))
    assert not progress.suspended
    assert progress.applied == FIRST


def test_refused_rows_are_counted_apart(progress: TableProgress) -> None:
    progress.accept(FIRST, {1: 8}, {(1, 1): 2})
    look(progress, seen(1, 1))
    assert progress.applied_by_feed == {1: 8}
    assert progress.refused_by_feed == {1: 2}


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(seen(9, 9, table_id=8), id="another table"),
        pytest.param(seen(4, 4), id="an older state of it"),  # a backup, a power cut
    ],
)
def test_another_table_is_noticed_whatever_its_transactions(
    progress: TableProgress, state: WalState
) -> None:
    progress.accept(FIRST, {1: 1}, {})
    assert look(progress, seen(4, 5))
    progress.accept(SECOND, {1: 1}, {})
    assert not look(progress, state)
    assert progress.applied == START


def test_a_204_without_a_transaction_went_to_a_table_that_is_gone(
    progress: TableProgress,
) -> None:
    """A connection that had the old table open answers 204 for rows that go nowhere."""
    progress.start_again(seen(5, 5, table_id=8), Counter())
    progress.accept(FIRST, {1: 1}, {})
    progress.accept(SECOND, {}, {(1, 1): 1})  # refused whole: no transaction
    before = progress.accepted_now()
    assert not progress.observe(seen(5, 5, table_id=8), before)
    assert progress.applied == START
    assert progress.observe(seen(6, 6, table_id=8), before)
    assert progress.applied == SECOND
    progress.accept(THIRD, {1: 1}, {})
    assert not look(progress, seen(6, 6, table_id=8))


def test_after_a_change_everything_unreleased_goes_again(progress: TableProgress) -> None:
    progress.accept(THIRD, {1: 30}, {(1, 1): 2, (2, 1): 3})
    look(progress, seen(1, 1))
    progress.forget_released(2)  # segment 1 held 12 rows, 2 of them refused; they are gone
    progress.start_again(seen(0, 0, table_id=8), Counter({1: 12}))
    assert (progress.epoch, progress.table_id) == (1, 8)
    assert (progress.accepted, progress.applied) == (START, START)
    assert progress.accepted_by_feed == {1: 10}
    assert progress.applied_by_feed == {1: 10}
    assert progress.refused_by_feed == {1: 2}
    # The held ones come again, and each is counted once.
    progress.accept(THIRD, {1: 20}, {(2, 1): 3})
    assert look(progress, seen(1, 1, table_id=8))
    assert progress.applied == THIRD
    assert progress.applied_by_feed == {1: 30}
    assert progress.refused_by_feed == {1: 5}


def test_rows_that_were_under_way_are_not_forgotten_in_the_counters(
    progress: TableProgress,
) -> None:
    """1,000 rows are released, 300 held, and only 1,100 of the 1,300 were known to be applied."""
    progress.accept(SECOND, {1: 1100}, {})
    look(progress, seen(1, 1))
    progress.accept(THIRD, {1: 200}, {})
    progress.start_again(seen(0, 0, table_id=8), Counter({1: 1000}))
    progress.accept(THIRD, {1: 300}, {})
    look(progress, seen(1, 1, table_id=8))
    assert progress.accepted_by_feed == progress.applied_by_feed == {1: 1300}


def test_a_table_that_is_gone_waits_for_the_next_one(progress: TableProgress) -> None:
    progress.start_again(None, Counter())
    assert progress.table_id is None
    assert look(progress, seen(3, 3, table_id=9))
    assert progress.table_id == 9


def test_only_a_bug_moves_a_cursor_back(progress: TableProgress) -> None:
    progress.accept(SECOND, {}, {})
    with pytest.raises(AssertionError):
        progress.accept(FIRST, {}, {})
