"""One table row per kind and minute: the first message as its sample, and a count that follows."""

from __future__ import annotations

from typing import Any

import pytest

from pumpwatch.store import quarantine_kinds
from pumpwatch.store.quarantine_kinds import AGAIN_NS, MINUTE_NS, OTHERS, KindRow, Kinds

START_NS = 1_790_000_000_000_000_000 // MINUTE_NS * MINUTE_NS
SECOND_NS = 10**9


class Table:
    """What DEDUP leaves of the rows: the last of each key."""

    def __init__(self) -> None:
        self.rows: dict[tuple[object, ...], tuple[int, int]] = {}
        self.writes = 0
        self.kinds = Kinds(self._put)

    def _put(self, row: KindRow) -> None:
        self.writes += 1
        key = (row.at_ns, row.feed, row.reason, row.sample)
        self.rows[key] = (row.messages, row.rows)

    def add(self, second: float, sample: bytes = b"x", **changes: Any) -> None:
        facts: dict[str, Any] = {
            "at_ns": START_NS + int(second * SECOND_NS), "exchange": "okx", "market_type": "spot",
            "reason": "malformed", "detail": "p is gone", "sample": sample, "rows": 2,
        }  # fmt: skip
        self.kinds.add(KindRow(**(facts | changes)))

    @property
    def counts(self) -> list[tuple[int, int]]:
        return list(self.rows.values())


def test_a_minute_of_one_kind_is_one_row_with_its_first_message() -> None:
    table = Table()
    for number in range(6000):
        table.add(number / 100, b"%d" % number)
    table.kinds.look(START_NS + MINUTE_NS)
    assert table.rows == {(START_NS, "okx_spot", "malformed", b"0"): (6000, 12_000)}
    assert table.writes <= 8


def test_the_first_message_is_told_at_once_and_the_count_soon() -> None:
    table = Table()
    table.add(0)
    assert table.counts == [(1, 2)]
    table.add(1)
    table.kinds.look(START_NS + 2 * SECOND_NS)
    assert table.counts == [(1, 2)]
    table.kinds.look(START_NS + AGAIN_NS)
    assert table.counts == [(2, 4)]


def test_feeds_reasons_changes_and_minutes_are_kinds() -> None:
    table = Table()
    for minute in (0, 60):
        for changes in ({}, {"exchange": "gate"}, {"reason": "time"}, {"detail": "q is gone"}):
            table.add(minute, b"%r" % changes, **changes)
            table.add(minute + 1, b"other", **changes)
    table.kinds.end_minute()
    assert table.counts == [(2, 4)] * 8


def test_kinds_without_end_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine_kinds, "KINDS_MAX", 3)
    table = Table()
    for number in range(50):
        table.add(number / 50, b"%d" % number, detail=f"change {number}")
    table.kinds.end_minute()
    assert table.counts == [(1, 2)] * 3 + [(47, 94)]
    assert OTHERS
