"""The burst drill's rule for memory."""

from __future__ import annotations

from pumpwatch.drills.burst import LEVEL_MIB_MAX, last_quarter_growth


def test_memory_that_fills_and_then_stays_is_level() -> None:
    """As measured: level from 190 of 270 s on, while 350,000 more rows waited."""
    measured = [158, 202, 221, 275, 298, 316, 341, 342, 342, 342, 342, 342]
    assert last_quarter_growth([float(value) for value in measured]) <= LEVEL_MIB_MAX


def test_memory_that_grows_with_the_rows_that_wait_is_not() -> None:
    """230 bytes a row, 5,000 rows/s for 300 s."""
    assert last_quarter_growth([200 + second * 1.15 for second in range(300)]) > LEVEL_MIB_MAX
