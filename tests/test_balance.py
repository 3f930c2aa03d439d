"""Promise 5: the counters balance, and a row that is dropped anywhere names the place."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch.balance import FeedBalance, differences

COUNT = st.integers(0, 10**9)


def balance(**changes: int | None) -> FeedBalance:
    """A feed in the middle of its work, every counter in use."""
    counts: dict[str, int | None] = {
        "parsed": 1000, "passed": 900, "repeated": 60, "history_skipped": 30, "quarantined": 10,
        "buffered": 40, "queued": 60, "spooled": 800, "replayed": 50, "accepted": 700,
        "applied": 600, "refused": 5, "lost": 3, "quarantined_kept": 10, "refused_kept": 5,
        "passed_on": 705,
    }  # fmt: skip
    assert set(changes) <= set(counts)
    return FeedBalance(feed="okx_spot", **(counts | changes))


@settings(deadline=None)
@given(st.lists(COUNT, min_size=11, max_size=11))
def test_rows_that_go_their_way_balance_at_every_moment(counts: list[int]) -> None:
    (repeated, skipped, quarantined, buffered, queued, waiting, unapplied, applied, refused, lost,
     replayed) = counts  # fmt: skip
    accepted = applied + unapplied
    held = accepted + refused + waiting + lost
    replayed = min(replayed, held)
    spooled = held - replayed
    passed = spooled + buffered + queued
    now = FeedBalance(
        feed="x", parsed=passed + repeated + skipped + quarantined, passed=passed,
        repeated=repeated, history_skipped=skipped, quarantined=quarantined, buffered=buffered,
        queued=queued, quarantined_kept=quarantined, refused_kept=refused, spooled=spooled,
        passed_on=held - lost - waiting, replayed=replayed, accepted=accepted, applied=applied,
        refused=refused, lost=lost,
    )  # fmt: skip
    assert differences(now) == []
    assert now.pending == waiting + unapplied
    assert differences(msgspec.structs.replace(now, passed_on=None)) == []
    found = differences(msgspec.structs.replace(now, passed_on=held - lost))
    assert bool(found) == bool(waiting)  # none may wait for a writer that is past them


@pytest.mark.parametrize(
    ("place", "changes"),
    [
        pytest.param("road", {"parsed": 1001}, id="dropped behind the parser"),
        pytest.param("road", {"repeated": 59}, id="dropped by the sequence"),
        pytest.param("road", {"quarantined": 9, "quarantined_kept": 9}, id="dropped as refused"),
        pytest.param("quarantine", {"quarantined_kept": 9}, id="dropped on the way to quarantine"),
        pytest.param("quarantine", {"refused_kept": 4}, id="refused and not kept"),
        pytest.param("road", {"history_skipped": 31}, id="counted twice"),
        pytest.param("spool", {"buffered": 39}, id="dropped by the buffer"),
        pytest.param("spool", {"queued": 59}, id="dropped by the queue"),
        pytest.param("spool", {"spooled": 799}, id="dropped by the spool"),
        pytest.param("spool", {"spooled": 801}, id="spooled twice"),
        pytest.param("writer", {"accepted": 843}, id="sent twice"),
        pytest.param("writer", {"refused": 200, "refused_kept": 200}, id="refused twice"),
        pytest.param("applied", {"applied": 701}, id="applied and never sent"),
    ],
)
def test_a_single_row_too_many_or_too_few_names_the_place(
    place: str, changes: dict[str, int]
) -> None:
    assert differences(balance()) == []
    (found,) = differences(balance(**changes))
    assert found.startswith(f"okx_spot: {place}: ")


def test_accepted_rows_that_never_get_applied_are_named_once_all_should_be() -> None:
    assert differences(balance()) == []  # they may be on their way
    (found,) = differences(balance(), is_settled=True)
    assert found.startswith("okx_spot: applied: ")
    assert differences(balance(applied=700), is_settled=True) == []


@pytest.mark.parametrize("changes", [{"accepted": 699}, {"refused": 4}, {"accepted": 701}])
def test_a_row_that_the_writer_dropped_or_doubled_is_named(changes: dict[str, int]) -> None:
    (found,) = differences(balance(**changes))
    assert found.startswith("okx_spot: writer: ")
    assert differences(balance(**changes, passed_on=None)) == []  # it may be on its way


def test_damaged_rows_are_neither_pending_nor_a_difference() -> None:
    now = balance(accepted=842, applied=842)
    assert now.pending == 0
    assert msgspec.structs.replace(now, lost=0).pending == 3
