"""A venue's daily file held beside what is held: what it adds to a hole, or that it is wrong.

Sans I/O. A file is evidence, not truth: before a row of it is taken, the rows around the hole are
compared. One that we hold and the file lacks, or one id with another time, price or side, and
nothing of the file is believed for this hole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction

import msgspec

from pumpwatch.capture.overlap import Listed
from pumpwatch.model import Instrument
from pumpwatch.venues.spec import RestTrade

MARGIN_NS = 60 * 10**9  # around a hole: rows that both should have
EXAMPLES_MAX = 5

Values = tuple[int, str, float, float]  # time, side, price, quantity


class Stored(msgspec.Struct, frozen=True, gc=False):
    """A row of the table."""

    trade_id: str
    exchange_ns: int
    side: str
    price: float
    quantity: float

    @property
    def values(self) -> Values:
        """All but its name."""
        return self.exchange_ns, self.side, self.price, self.quantity


class Folded(msgspec.Struct, frozen=True):
    """What a file says of one hole."""

    missing: list[Listed]  # rows of the hole that are not held, in the file's order
    disagreements: list[str]  # examples; any: the file is not believed
    alone: int  # rows around the hole that only the file has: another hole, or the file is wrong


def values_of(trade: RestTrade, instrument: Instrument) -> Values:
    """A file's row as the table would have it."""
    quantity = Fraction(trade.quantity) * Fraction(instrument.contract_value)
    price = Fraction(trade.price) * Fraction(10) ** instrument.price_exponent
    return trade.exchange_ns, trade.side, float(price), float(quantity)


def fold(
    rows: Iterable[RestTrade],
    held: Sequence[Stored],
    instrument: Instrument,
    from_ns: int,
    to_ns: int,
    *,
    by_id: bool,
) -> Folded:
    """``rows`` and ``held`` span the hole and MARGIN_NS around it; ``by_id``: ids are the stream's.

    Both edges belong to the hole. Without common ids rows are an ordered multiset: of equal ones,
    as many are missing as the file has more.
    """
    rows = list(rows)
    if by_id:
        return _fold_by_id(rows, held, instrument, from_ns, to_ns)
    left = Counter(one.values for one in held)
    missing, alone = [], 0
    for row in rows:
        if _take(left, values_of(row, instrument)):
            continue
        if from_ns <= row.exchange_ns <= to_ns:
            missing.append(Listed(row, str(row.trade_id)))
        else:
            alone += 1
    apart = [f"{values} is held {count} times more than in the file"
             for values, count in left.items() if count > 0]  # fmt: skip
    return Folded(missing, apart[:EXAMPLES_MAX], alone)


def not_held(
    rows: Iterable[Listed], held: Iterable[Stored], instrument: Instrument
) -> list[Listed]:
    """Rows of a file whose names are its own, without those that are held under any name.

    Of equal ones, as many are left as the file has more.
    """
    left = Counter(one.values for one in held)
    return [row for row in rows if not _take(left, values_of(row.trade, instrument))]


def _take(left: Counter[Values], values: Values) -> bool:
    """Whether one such row is left; it is then taken."""
    if left[values] <= 0:
        return False
    left[values] -= 1
    return True


def _fold_by_id(
    rows: list[RestTrade], held: Sequence[Stored], instrument: Instrument, from_ns: int, to_ns: int
) -> Folded:
    by_id = {str(row.trade_id): values_of(row, instrument) for row in rows}
    apart = []
    for one in held:
        found = by_id.get(one.trade_id)
        if found is None:
            apart.append(f"{one.trade_id} of {one.exchange_ns} is not in the file")
        elif found != one.values:
            apart.append(f"{one.trade_id} is {one.values} here and {found} in the file")
    known = {one.trade_id for one in held}
    missing, alone = [], 0
    for row in rows:
        if str(row.trade_id) in known:
            continue
        if from_ns <= row.exchange_ns <= to_ns:
            missing.append(Listed(row, str(row.trade_id)))
        else:
            alone += 1
    return Folded(missing, apart[:EXAMPLES_MAX], alone)
