"""What one answer means for holes that failed together."""

from __future__ import annotations

from pumpwatch.capture.reach import FAILURES_MIN, PROBE_LATER_S, PROBE_S, PROBES_MAX, Reach


def test_an_answer_after_several_failures_wakes_all_that_failed() -> None:
    reach = Reach()
    for number in range(FAILURES_MIN):
        assert not reach.is_down
        reach.failed(f"gap {number}")
    assert reach.is_down
    assert reach.answered() == {f"gap {number}" for number in range(FAILURES_MIN)}
    assert not reach.is_down
    assert reach.answered() == set()


def test_a_symbol_that_fails_alone_sits_out_its_pause() -> None:
    reach = Reach()
    for _ in range(10):
        reach.failed("the same")
        assert reach.answered() == set()
        assert not reach.is_down


def test_an_outage_without_end_is_asked_about_less_often() -> None:
    reach = Reach()
    for _ in range(PROBES_MAX - 1):
        reach.failed("gap")
    assert reach.pause_s == PROBE_S
    reach.failed("gap")
    assert reach.pause_s == PROBE_LATER_S
