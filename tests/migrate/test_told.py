"""The alert of a step back: once for each step, however soon one follows another."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec

from pumpwatch.alert_book import SECOND_NS, AlertBook
from pumpwatch.alert_rules import RULES, find_signals
from pumpwatch.migrate.stages import Health, Limits, Migration, Place, make_plan
from pumpwatch.moving import Moving
from tests.standings import standing

BAD, GOOD = Health(reads=10, errors=10), Health(reads=10)
CHECK_S = 8
RULE = "migration_rolled_back"


def test_each_step_back_is_told_once() -> None:
    plan, limits = make_plan([(10, 0), (100, 0)]), Limits(good_checks=3, comparisons_min=0)
    migration = Migration(plan, limits, Place(stage=2))
    moving: Any = SimpleNamespace(desk=SimpleNamespace(migration=migration))
    book, now_ns, told = AlertBook(RULES), 10**18, []

    def checks(count: int, health: Health) -> None:
        nonlocal now_ns
        for _ in range(count):
            migration.check(now_ns, health)
            standing_now = standing()
            upkeep = msgspec.structs.replace(
                standing_now.upkeep,
                told=Moving.told.fget(moving),  # type: ignore[attr-defined]
            )
            signals = find_signals(msgspec.structs.replace(standing_now, upkeep=upkeep))
            for _ in range(CHECK_S):
                now_ns += SECOND_NS
                told.extend(book.update(now_ns, signals, {}))

    def kinds() -> list[str]:
        return [message.kind for message in told if message.rule == RULE]

    checks(2, BAD)
    assert kinds() == []
    checks(1, BAD)
    checks(3, GOOD)  # forward is allowed again
    assert (kinds(), migration.place.stage) == (["fired"], 1)
    migration.advance(now_ns, GOOD)
    checks(3, BAD)
    checks(8, GOOD)
    assert migration.place.stage == 1
    assert sorted(kinds()) == ["fired", "fired", "recovered", "recovered"]
