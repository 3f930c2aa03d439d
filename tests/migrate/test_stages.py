"""The stages of the move: no illegal step, no forgotten place, nothing about writes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pumpwatch.config_migration import MigrationConfig
from pumpwatch.migrate.stages import (
    DAY_NS,
    Health,
    Limits,
    Migration,
    Place,
    Refusal,
    make_plan,
    share_of,
)
from pumpwatch.settings import SettingError

PLAN = make_plan(MigrationConfig().plan)
LIMITS = Limits()
GOOD = Health(reads=100, comparisons=100)
BAD = Health(reads=100, errors=6, comparisons=100)


def at(stage: int, since_ns: int = 0) -> Migration:
    return Migration(PLAN, LIMITS, Place(stage=stage, since_ns=since_ns))


def test_forward_needs_days_comparisons_and_equality() -> None:
    migration = at(1)
    health = Health(reads=10, errors=1, read_p99_ms=501, disk_percent=96, comparisons=99,
                    differences=2)  # fmt: skip
    with pytest.raises(Refusal) as refusal:
        migration.advance(2 * DAY_NS, health)
    assert [reason.split(" ")[0] for reason in refusal.value.reasons] == [
        "2.00", "99", "2", "10.0%", "read", "disk",
    ]  # fmt: skip
    assert migration.advance(3 * DAY_NS, GOOD).stage == 2
    assert migration.read_percent == 50


def test_the_last_stage_alone_has_no_fallback() -> None:
    assert [at(stage).has_fallback for stage in range(5)] == [True, True, True, True, False]
    with pytest.raises(Refusal, match="the last stage is reached"):
        at(4).advance(99 * DAY_NS, GOOD)


@pytest.mark.parametrize(
    "bad",
    [
        Health(reads=100, errors=6),
        Health(reads=100, read_p99_ms=500.1),
        Health(disk_percent=95.1),
    ],
)
def test_three_bad_checks_in_a_row_go_one_stage_back(bad: Health) -> None:
    migration = at(3)
    assert [migration.check(n, bad) for n in (1, 2)] == [None, None]
    migration.check(3, GOOD)  # not in a row
    assert [migration.check(n, bad) for n in (4, 5)] == [None, None]
    place = migration.check(6, bad)
    assert place is not None
    assert (place.stage, place.change, place.since_ns, place.is_held) == (2, "rolled_back", 6, True)


def test_limits_themselves_are_allowed() -> None:
    edge = Health(reads=100, errors=5, read_p99_ms=500.0, disk_percent=95.0)
    assert at(2).bad_signs(edge) == []


def test_after_a_step_back_it_takes_good_checks_before_forward() -> None:
    migration = at(2)
    migration.roll_back(0, "by hand")
    for _ in range(LIMITS.good_checks - 1):
        assert migration.check(1, GOOD) is None
    with pytest.raises(Refusal, match="9 of 10 good checks"):
        migration.advance(9 * DAY_NS, GOOD)
    place = migration.check(1, GOOD)
    assert place is not None
    assert not place.is_held
    assert migration.advance(9 * DAY_NS, GOOD).stage == 2


def test_by_hand_one_stage_or_all() -> None:
    assert at(3).roll_back(5, "me").stage == 2
    assert at(3).roll_back(5, "me", whole=True).stage == 0
    with pytest.raises(Refusal, match="no stage was begun"):
        at(0).roll_back(5, "me")


def test_the_share_of_reads_is_by_the_question_and_grows() -> None:
    questions = [f"C{number}USDT|{number}|{number + 40}" for number in range(10_000)]
    sides = {stage: {q for q in questions if at(stage).reads_questdb(q)} for stage in range(5)}
    shares = [len(sides[stage]) / len(questions) for stage in range(5)]
    assert shares[0] == 0
    assert shares[3] == shares[4] == 1
    assert shares[1] == pytest.approx(0.10, abs=0.02)
    assert shares[2] == pytest.approx(0.50, abs=0.03)
    assert sides[1] < sides[2] < sides[3]  # nobody goes back by a step forward
    assert share_of("AVAUSDT|1|2") == 88  # the same in every process and release


@pytest.mark.parametrize("stages", ["", "10", "50:1 10:1 100:1", "0:1 100:1", "10:5 50:5", "x"])
def test_a_plan_that_is_none_is_refused(stages: str) -> None:
    with pytest.raises(SettingError, match="stages"):
        MigrationConfig(stages=stages)


HEALTH = st.builds(
    Health,
    reads=st.just(100), errors=st.sampled_from([0, 5, 6, 100]),
    read_p99_ms=st.sampled_from([1.0, 500.0, 501.0]), disk_percent=st.sampled_from([10.0, 96.0]),
    comparisons=st.sampled_from([0, 99, 100, 5000]), differences=st.sampled_from([0, 0, 0, 1]),
)  # fmt: skip


class Moves(RuleBasedStateMachine):
    """Random health, hands and restarts; every write is taken whatever the stage."""

    @initialize()
    def begin(self) -> None:
        self.now_ns = 0
        self.kept = Place()
        self.migration = Migration(PLAN, LIMITS, self.kept)
        self.bad_run = 0
        self.good_run = 0

    def keep(self, place: Place) -> None:
        """As the daemon does: each change is a row, the newest revision counts."""
        assert place.revision == self.kept.revision + 1
        assert abs(place.stage - self.kept.stage) <= 1 or place.stage == 0
        self.kept = msgspec.json.decode(msgspec.json.encode(place), type=Place)

    @rule(hours=st.integers(0, 200))
    def time_passes(self, hours: int) -> None:
        self.now_ns += hours * DAY_NS // 24

    @rule(health=HEALTH)
    def check(self, health: Health) -> None:
        before = self.kept
        is_bad = bool(self.migration.bad_signs(health))
        self.bad_run = self.bad_run + 1 if is_bad else 0
        self.good_run = 0 if is_bad else self.good_run + 1
        place = self.migration.check(self.now_ns, health)
        steps_back = is_bad and self.bad_run >= LIMITS.bad_checks and before.stage > 0
        assert (place is not None and place.stage < before.stage) == steps_back
        if place is not None:
            self.keep(place)
            if steps_back:
                assert place.stage == before.stage - 1
                self.bad_run = self.good_run = 0

    @rule(health=HEALTH)
    def advance(self, health: Health) -> None:
        before = self.kept
        days = (self.now_ns - before.since_ns) / DAY_NS
        allowed = (
            before.stage < len(PLAN)
            and (before.stage == 0 or days >= PLAN[before.stage - 1].days)
            and health.comparisons >= LIMITS.comparisons_min
            and not health.differences
            and not self.migration.bad_signs(health)
            and not before.is_held
        )
        try:
            self.keep(self.migration.advance(self.now_ns, health))
        except Refusal:
            assert not allowed
        else:
            assert allowed
            assert self.kept.stage == before.stage + 1
            self.good_run = self.bad_run = 0

    @rule(whole=st.booleans())
    def by_hand(self, whole: bool) -> None:
        before = self.kept
        try:
            self.keep(self.migration.roll_back(self.now_ns, "by hand", whole=whole))
        except Refusal:
            assert before.stage == 0
        else:
            assert self.kept.stage == (0 if whole else before.stage - 1)
            self.good_run = self.bad_run = 0

    @rule()
    def restart(self) -> None:
        self.migration = Migration(PLAN, LIMITS, self.kept)
        self.bad_run = self.good_run = 0

    @invariant()
    def what_is_kept_is_what_is_done(self) -> None:
        if hasattr(self, "migration"):
            assert self.migration.place == self.kept
            assert (
                self.migration.read_percent
                == ([0] + [s.read_percent for s in PLAN])[self.kept.stage]
            )


Moves.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestMoves = Moves.TestCase
