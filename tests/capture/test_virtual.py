"""Faults of all feeds in virtual time: what is not stored is told of, and nothing else is.

The drills play the same plans against processes and a database. Here a seed takes seconds.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from pumpwatch.drills import blackout, gaps, newborn, replace, thinned
from pumpwatch.drills.faulted import ALL_HISTORY, told
from pumpwatch.drills.holes import BY_ID
from pumpwatch.sim.settings import SimSettings
from pumpwatch.tally import KEY
from tests.capture.virtual import VirtualDesk, VirtualRun, play

SEEDS = (20_261_125,)
COMPARED_S = 75.0  # each list is read once a minute


def settings(seed: int, *, rate: float = 240.0, symbols: int = 6, newborns: int = 0) -> SimSettings:
    print(f"seed {seed}")
    return SimSettings(
        seed=seed, symbols=symbols, rate_per_s=rate, recorded=False, goes_on=True,
        newborns=newborns, tick_s=0.4,
    )  # fmt: skip


def check_told(run: VirtualRun) -> None:
    found = run.found
    assert (found.silent, found.false_filled, found.unknown) == (0, 0, {}), found.examples
    assert found.noticed == found.lossy, found.overlooked


def check_closed(run: VirtualRun) -> None:
    assert told([gap for gap in run.gaps if gap.is_open]) == ""
    by_id = [gap for gap in run.gaps if gap.state == "lost" and gap.feed in ALL_HISTORY]
    assert told(by_id) == ""


@pytest.mark.parametrize("seed", SEEDS)
def test_every_hole_is_known_and_closed(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = play(monkeypatch, tmp_path, settings(seed), gaps.plan_faults, 24)
    assert run.found.lossy > 3
    assert run.found.recovered > 0
    check_told(run)
    check_closed(run)


def test_control_without_backfill_holes_stay_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = play(monkeypatch, tmp_path, settings(SEEDS[0]), gaps.plan_faults, 24, has_backfill=False)
    check_told(run)  # known, all the same
    assert any(gap.is_open for gap in run.gaps)
    assert run.found.absent > 0


def thin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, compares: bool) -> VirtualRun:
    return play(
        monkeypatch, tmp_path, settings(SEEDS[0], rate=400), thinned.plan_thinning, 60,
        looks_on_s=COMPARED_S, compares=compares,
    )  # fmt: skip


@pytest.mark.drill
def test_what_an_unbroken_stream_keeps_back_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = thin(tmp_path, monkeypatch, compares=True)
    check_told(run)
    check_closed(run)
    assert run.found.unsent > 20
    assert run.found.recovered >= thinned.SHARE_MIN * run.found.unsent


@pytest.mark.drill
def test_control_without_comparisons_it_goes_unseen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/guarantees.md says so for the feeds whose ids do not count up."""
    run = thin(tmp_path, monkeypatch, compares=False)
    assert run.found.unsent > 20
    assert run.found.absent == run.found.unsent
    assert run.found.told == 0


def test_planned_ends_cost_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def renew(desk: VirtualDesk) -> None:
        for _ in range(2):
            await trio.sleep(8)
            for feed in desk.feeds:
                if feed.spec.name in replace.OTHERS:
                    assert feed.renew() == 1

    run = play(
        monkeypatch, tmp_path, settings(SEEDS[0]), replace.plan_ends, 2 * replace.ROUND,
        meanwhile=renew,
    )  # fmt: skip
    assert told([gap for gap in run.gaps if gap.reason != "late"]) == ""
    assert run.found.absent == 0
    assert run.replacements == 2 * replace.ROUND


@pytest.mark.drill
def test_what_lists_still_show_after_an_outage_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = play(
        monkeypatch, tmp_path, settings(SEEDS[0], symbols=12, rate=400), blackout.plan_blackout, 30
    )
    check_told(run)
    check_closed(run)
    most = sum(blackout.reachable(run.truth, run.played).values())
    got = sum(blackout.recovered(run.truth, run.stored).values())
    print(f"{got} of {most}")
    assert got >= blackout.SHARE_MIN * most
    assert run.too_many == 0


def test_the_first_trade_of_a_new_instrument_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the list names it after its first trade: its hole reaches back before the list."""
    run = play(
        monkeypatch, tmp_path, settings(SEEDS[0], rate=150, newborns=2),
        newborn.plan_births, 24,
    )  # fmt: skip
    check_told(run)
    check_closed(run)
    births = [one for one in run.played if one.symbols]
    assert len(births) == 24
    stored = run.stored.select(KEY).unique()
    missed = [
        (one.fault.feed, newborn.lead_s(one.fault))
        for one in births
        if not newborn.first_stored(run.truth, stored, one)
    ]
    in_time = newborn.POLL_S_MAX + newborn.MARGIN_S
    assert [one for one in missed if one[1] >= in_time or one[0] in BY_ID] == []
