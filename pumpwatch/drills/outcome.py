"""What a drill is asked for and what it answers: one JSON line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from pumpwatch.config import FEED_NAMES


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One drill, as it is asked for."""

    folder: Path  # empty, and the drill's own
    seed: int
    count: int  # of whatever the drill counts: kills, outages, full disks
    rate_per_s: int
    with_backfill: bool = True  # False is a control: drills of holes must fail then
    with_comparisons: bool = True  # likewise, for rows that an unbroken stream keeps back
    feeds: tuple[str, ...] = FEED_NAMES
    is_alone: bool = True  # False: other work runs beside it; speed is told, not judged
    tell: Callable[[str], None] = lambda text: None  # progress, for people


class Control(msgspec.Struct, frozen=True):
    """What a drill is played without to show that it can fail, and how it must."""

    without: Literal["backfill", "comparisons"]
    fault: str  # in each rule that then does not hold

    def judge(self, outcome: Outcome) -> Outcome:
        """The control's own outcome: good where the drill failed, and for this reason only."""
        others = [fault for fault in outcome.faults if self.fault not in fault]
        verdict = f"without {self.without} it failed as it must: {'; '.join(outcome.faults)}"
        faults = [f"the control failed for another reason: {fault}" for fault in others]
        if not outcome.faults:
            faults = [f"without {self.without} it did not fail: it proves nothing"]
        figures = outcome.figures | {"control": verdict if not faults else "failed"}
        return msgspec.structs.replace(outcome, faults=faults, figures=figures)


class Outcome(msgspec.Struct, kw_only=True):
    """Rows in all, and what must not be: missing and duplicate ones, and broken rules."""

    rows: int = 0
    missing: int = 0
    duplicate: int = 0
    faults: list[str] = msgspec.field(default_factory=list)  # rules that did not hold
    figures: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Whether everything held."""
        return not (self.missing or self.duplicate or self.faults) and self.rows > 0

    def expect(self, holds: bool, rule: str) -> None:
        """Note a rule that does not hold."""
        if not holds:
            self.faults.append(rule)

    def expect_speed(self, order: Order, holds: bool, rule: str) -> None:
        """Note a rule of speed that does not hold; beside other work it is a figure, no fault."""
        if order.is_alone:
            self.expect(holds, rule)
        elif not holds:
            self.figures.setdefault("not_judged", []).append(rule)

    def line(
        self, drill: str, seed: int, seconds: float, *, number: str = "", target: str = ""
    ) -> str:
        """The JSON line; ``target``: what had to hold beside missing 0 and duplicate 0."""
        document = {
            "drill": drill, "number": number, "seed": seed, "target": target,
            "pass": self.is_good, "rows": self.rows,
            "missing": self.missing, "duplicate": self.duplicate, "seconds": round(seconds, 1),
            **self.figures, "faults": self.faults,
        }  # fmt: skip
        return msgspec.json.encode(document).decode()
