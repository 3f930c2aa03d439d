"""Which of a market's trades the stream keeps back, sends twice, or sends late. No clock here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from pumpwatch.sim.digits import Ints
from pumpwatch.sim.tape import WITHHELD, Batch

FOREVER_ROWS = 2**62


@dataclass(eq=False)
class Rule:
    """What happens to some trades of some symbols."""

    fate: Literal["withhold", "repeat", "late"]
    symbols: npt.NDArray[np.bool_]
    until_ns: int  # wall time
    rows_left: int = FOREVER_ROWS
    share: float = 1.0
    late_ns: int = 0
    rows: int = 0  # that it has met

    def is_over(self, now_ns: int) -> bool:
        """It will meet no more trades."""
        return now_ns >= self.until_ns or not self.rows_left


class Split(NamedTuple):
    """Rows of a batch by what becomes of them, each ascending."""

    kept: Ints  # sent now
    again: Ints  # of these: sent a second time
    late: list[tuple[int, Ints]]  # sent from this time on


class StreamFilter:
    """The rules that are in force for one market."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rules: list[Rule] = []
        self._rng = rng

    def split(self, batch: Batch, now_ns: int) -> Split | None:
        """Judge a tick's trades; None: all are sent as ever."""
        self.rules = [rule for rule in self.rules if not rule.is_over(now_ns)]
        if not self.rules:
            return None
        is_free = np.ones(len(batch), dtype=np.bool_)
        again: list[Ints] = []
        late: list[tuple[int, Ints]] = []
        for rule in self.rules:
            found = self._meet(rule, batch, is_free)
            if not len(found):
                continue
            if rule.fate == "repeat":
                again.append(found)
                continue
            is_free[found] = False
            if rule.fate == "late":
                late.append((now_ns + rule.late_ns, found))
            else:
                batch.delivered[found] = WITHHELD
        kept = np.flatnonzero(is_free)
        twice = np.concatenate(again) if again else np.empty(0, dtype=np.int64)
        return Split(kept, np.intersect1d(twice, kept), late)

    def _meet(self, rule: Rule, batch: Batch, is_free: npt.NDArray[np.bool_]) -> Ints:
        chosen = rule.symbols[batch.symbol] & is_free
        if rule.share < 1:
            chosen &= self._rng.random(len(batch)) < rule.share
        found = np.flatnonzero(chosen)
        if len(found) > rule.rows_left:
            # The oldest: some venues put the newest first into a message.
            order = np.argsort(batch.row[found], kind="stable")[: rule.rows_left]
            found = np.sort(found[order])
        rule.rows_left -= len(found)
        rule.rows += len(found)
        return found
