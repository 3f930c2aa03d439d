"""How far reads have moved from the old store to QuestDB: one state machine. Sans-IO.

Stage 0: every read goes to the old store. Stages 1 to n: the plan's share of reads goes to
QuestDB, with the old store behind it where the stage has a fallback. Writes never depend on a
stage: all rows go through the spool at all times, so that a step back loses nothing (G-19, G-20).

Forward only by ``advance``, one stage at a time, when the stage's criteria hold. Back by three bad
checks in a row, or by hand; after a step back it takes good checks in a row before forward again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

DAY_NS = 86_400_000_000_000
SHARES = 100  # percent


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of the plan."""

    read_percent: int
    days: float  # in it before the next one
    fallback: bool


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What is bad, and how long it must last."""

    error_share_max: float = 0.05
    read_p99_ms_max: float = 500.0
    disk_percent_max: float = 95.0
    bad_checks: int = 3  # in a row: a step back
    good_checks: int = 10  # in a row after a step back: forward again
    comparisons_min: int = 100  # since the stage began, all equal


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How reads from QuestDB did since the last check, and how the comparison stands."""

    reads: int = 0
    errors: int = 0
    read_p99_ms: float = 0.0
    disk_percent: float = 0.0
    comparisons: int = 0  # windows since the stage began
    differences: int = 0  # rows in them that QuestDB lacks or has otherwise


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where the migration stands: all that must survive a restart."""

    stage: int = 0
    since_ns: int = 0
    change: str = "new"  # new, advanced, rolled_back
    cause: str = ""
    is_held: bool = False  # after a step back, until enough good checks
    revision: int = 0


class Refusal(Exception):
    """``advance`` is not allowed now; ``reasons`` say why."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = list(reasons)


def make_plan(shares: Sequence[tuple[int, float]]) -> list[Stage]:
    """(percent, days) pairs as stages; the last one is the one without fallback."""
    last = len(shares) - 1
    return [
        Stage(read_percent=percent, days=days, fallback=number < last)
        for number, (percent, days) in enumerate(shares)
    ]


class Migration:
    """The state machine; each change is a new ``place``, which the owner keeps."""

    def __init__(self, plan: Sequence[Stage], limits: Limits, place: Place) -> None:
        self.plan = list(plan)
        self.limits = limits
        # A plan that was made shorter: the last stage is the furthest there is.
        self.place = msgspec.structs.replace(place, stage=min(place.stage, len(self.plan)))
        self.bad_checks = 0
        self.good_checks = 0

    @property
    def read_percent(self) -> int:
        """Of reads that go to QuestDB."""
        return self.plan[self.place.stage - 1].read_percent if self.place.stage else 0

    @property
    def has_fallback(self) -> bool:
        """Whether the old store answers where QuestDB cannot."""
        return self.place.stage == 0 or self.plan[self.place.stage - 1].fallback

    def reads_questdb(self, question: str) -> bool:
        """Where a question goes; the same one always goes the same way within a stage."""
        return share_of(question) < self.read_percent

    # --- forward ----------------------------------------------------------------------------------

    def missing_for_advance(self, now_ns: int, health: Health) -> list[str]:
        """What keeps the next stage away; empty: ``advance`` is allowed."""
        place, limits = self.place, self.limits
        if place.stage == len(self.plan):
            return ["the last stage is reached"]
        reasons = []
        if place.stage:
            days = (now_ns - place.since_ns) / DAY_NS
            wanted = self.plan[place.stage - 1].days
            if days < wanted:
                reasons.append(f"{days:.2f} of {wanted:g} days in stage {place.stage} have passed")
        if health.comparisons < limits.comparisons_min:
            reasons.append(
                f"{health.comparisons} of {limits.comparisons_min} windows were compared"
            )
        if health.differences:
            reasons.append(f"{health.differences} rows differ: equality must be 100 %")
        reasons += self.bad_signs(health)
        if place.is_held:
            reasons.append(
                f"{self.good_checks} of {limits.good_checks} good checks since the step back"
            )
        return reasons

    def advance(self, now_ns: int, health: Health) -> Place:
        """One stage on. Raises Refusal."""
        reasons = self.missing_for_advance(now_ns, health)
        if reasons:
            raise Refusal(reasons)
        return self._go(self.place.stage + 1, now_ns, "advanced", "criteria met", is_held=False)

    # --- back -------------------------------------------------------------------------------------

    def bad_signs(self, health: Health) -> list[str]:
        """What of the last check is over its limit."""
        limits, signs = self.limits, []
        share = health.errors / health.reads if health.reads else 0.0
        if share > limits.error_share_max:
            signs.append(f"{share:.1%} of reads failed, limit {limits.error_share_max:.1%}")
        if health.read_p99_ms > limits.read_p99_ms_max:
            signs.append(f"read p99 {health.read_p99_ms:.0f} ms, limit {limits.read_p99_ms_max:g}")
        if health.disk_percent > limits.disk_percent_max:
            signs.append(f"disk {health.disk_percent:.1f} %, limit {limits.disk_percent_max:g} %")
        return signs

    def check(self, now_ns: int, health: Health) -> Place | None:
        """The regular look; returns the new place where it led to a step back, or ended a hold."""
        signs = self.bad_signs(health)
        if signs:
            self.bad_checks += 1
            self.good_checks = 0
            if self.bad_checks >= self.limits.bad_checks and self.place.stage:
                return self._back(self.place.stage - 1, now_ns, "; ".join(signs))
            return None
        self.bad_checks = 0
        self.good_checks += 1
        if self.place.is_held and self.good_checks >= self.limits.good_checks:
            place = self.place
            return self._go(place.stage, place.since_ns, place.change, place.cause, is_held=False)
        return None

    def roll_back(self, now_ns: int, cause: str, *, whole: bool = False) -> Place:
        """By hand: one stage, or all the way. Raises Refusal at stage 0."""
        if not self.place.stage:
            raise Refusal(["no stage was begun: all reads go to the old store"])
        return self._back(0 if whole else self.place.stage - 1, now_ns, cause)

    def _back(self, stage: int, now_ns: int, cause: str) -> Place:
        return self._go(stage, now_ns, "rolled_back", cause, is_held=True)

    def _go(self, stage: int, since_ns: int, change: str, cause: str, *, is_held: bool) -> Place:
        self.bad_checks = 0
        if stage != self.place.stage:
            self.good_checks = 0
        self.place = Place(
            stage=stage, since_ns=since_ns, change=change, cause=cause, is_held=is_held,
            revision=self.place.revision + 1,
        )  # fmt: skip
        return self.place


def share_of(question: str) -> int:
    """0 to 99, from the question's text alone: no clock, no process."""
    digest = hashlib.blake2b(question.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % SHARES
