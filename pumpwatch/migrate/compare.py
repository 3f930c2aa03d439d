"""Two readings of one window, row by row and field by field. Sans-IO.

The old store has milliseconds only, and whatever its connectors lost: a row that only QuestDB has
is counted, and is no fault of QuestDB's. A row that only the old store has, or a field that
differs, is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

MS_NS = 1_000_000
FIELDS = ("timestamp_ms", "side", "price", "quantity")
DIFFERENCES_KEPT_MAX = 20  # of one feed and window


class SeenTrade(msgspec.Struct, frozen=True, kw_only=True):
    """A trade as both stores can tell it; numbers as the doubles that the table holds."""

    trade_id: str
    timestamp_ms: int
    side: str
    price: float
    quantity: float


class FeedComparison(msgspec.Struct, kw_only=True):
    """One feed of one window; rows."""

    feed: str
    equal: int = 0
    only_old: int = 0
    only_new: int = 0
    differing: int = 0
    fields: dict[str, int] = {}  # field -> rows in which it differs
    kept: list[dict[str, Any]] = []  # both sides of the first ones

    @property
    def differences(self) -> int:
        """Rows that speak against QuestDB."""
        return self.only_old + self.differing


def compare_feed(feed: str, old: Iterable[SeenTrade], new: Iterable[SeenTrade]) -> FeedComparison:
    """Match by trade_id; where an id occurs twice (old twins without ids), by order of time."""
    sides: dict[str, tuple[list[SeenTrade], list[SeenTrade]]] = defaultdict(lambda: ([], []))
    for trade in old:
        sides[trade.trade_id][0].append(trade)
    for trade in new:
        sides[trade.trade_id][1].append(trade)
    found = FeedComparison(feed=feed)
    fields: Counter[str] = Counter()
    kept: list[dict[str, Any]] = []

    def keep(before: SeenTrade | None, after: SeenTrade | None) -> None:
        if len(kept) < DIFFERENCES_KEPT_MAX:
            kept.append({"feed": feed, "old": before, "new": after})

    for olds, news in sides.values():
        olds.sort(key=lambda trade: trade.timestamp_ms)
        news.sort(key=lambda trade: trade.timestamp_ms)
        for before, after in zip(olds, news, strict=False):
            different = [name for name in FIELDS if getattr(before, name) != getattr(after, name)]
            found.equal += not different
            found.differing += bool(different)
            fields.update(different)
            if different:
                keep(before, after)
        for before in olds[len(news) :]:
            found.only_old += 1
            keep(before, None)
        found.only_new += max(0, len(news) - len(olds))
    found.fields = dict(sorted(fields.items()))
    found.kept = kept
    return found


class Tally:
    """Sums over windows, by feed; what ``migrate status`` and the metrics show."""

    def __init__(self) -> None:
        self.windows = 0
        self.feeds: dict[str, FeedComparison] = {}

    def add(self, window: Iterable[FeedComparison]) -> None:
        """One more window."""
        self.windows += 1
        for one in window:
            held = self.feeds.setdefault(one.feed, FeedComparison(feed=one.feed))
            held.equal += one.equal
            held.only_old += one.only_old
            held.only_new += one.only_new
            held.differing += one.differing
            for name, rows in one.fields.items():
                held.fields = {**held.fields, name: held.fields.get(name, 0) + rows}

    @property
    def differences(self) -> int:
        """Rows that speak against QuestDB, all feeds."""
        return sum(one.differences for one in self.feeds.values())

    def shares(self) -> Mapping[str, Mapping[str, float]]:
        """By feed: the share of rows of the old store that QuestDB has, and of each field equal."""
        told: dict[str, dict[str, float]] = {}
        for feed, one in self.feeds.items():
            matched = one.equal + one.differing
            whole = matched + one.only_old
            told[feed] = {"rows": matched / whole if whole else 1.0}
            for name in FIELDS:
                told[feed][name] = 1 - one.fields.get(name, 0) / matched if matched else 1.0
        return told
