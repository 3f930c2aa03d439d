"""Plans of faults: seeded, as many as asked for, and only what a venue knows."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import msgspec
import pytest

from pumpwatch.config import FEED_NAMES
from pumpwatch.drills import blackout, gaps, newborn, replace, thinned
from pumpwatch.drills.faulted import Names, Planner
from pumpwatch.drills.holes import BY_ID
from pumpwatch.sim.faults import Fault, read_plan

NAMES: Names = {feed: [f"{feed}-{number}" for number in range(16)] for feed in FEED_NAMES}
PLANNERS = (
    gaps.plan_faults, replace.plan_ends, newborn.plan_births, blackout.plan_blackout,
    thinned.plan_thinning,
)  # fmt: skip


@pytest.mark.parametrize("planner", PLANNERS)
@pytest.mark.parametrize("seed", range(5))
def test_a_plan_is_one_that_the_venues_take_and_repeats_itself(planner: Planner, seed: int) -> None:
    plan = planner(random.Random(seed), 60, NAMES)
    assert plan
    assert planner(random.Random(seed), 60, NAMES) == plan
    taken = read_plan(msgspec.json.encode(plan))
    assert sorted(taken, key=repr) == sorted(plan, key=repr)


def play(planner: Planner, count: int) -> list[Fault]:
    return planner(random.Random(7), count, NAMES)


def test_500_faults_are_of_every_kind_and_on_every_feed() -> None:
    plan = play(gaps.plan_faults, 500)
    assert len(plan) == 500
    assert set(Counter(fault.feed for fault in plan)) == set(FEED_NAMES)
    assert {fault.kind for fault in plan} == {kind for kind, _ in gaps.KINDS}


def test_no_feed_ends_a_connection_while_the_last_end_is_not_over() -> None:
    by_feed: dict[str, list[Fault]] = {}
    for fault in play(replace.plan_ends, 200):
        by_feed.setdefault(fault.feed, []).append(fault)
    assert set(by_feed) == set(replace.ANNOUNCING)
    for faults in by_feed.values():
        for one, next_one in pairwise(faults):
            assert next_one.at_s >= one.at_s + one.seconds


def test_births_are_announced_from_a_minute_before_to_after_the_first_trade() -> None:
    leads = [newborn.lead_s(fault) for fault in play(newborn.plan_births, 200)]
    assert len(leads) == 200
    assert min(leads) < 0
    assert 40 < max(leads) <= newborn.LEAD_S_MAX


def test_rows_are_kept_back_only_where_no_id_tells() -> None:
    assert not {fault.feed for fault in play(thinned.plan_thinning, 10)} & BY_ID
    assert len(play(thinned.plan_thinning, 10)) == len(FEED_NAMES) - len(BY_ID)
