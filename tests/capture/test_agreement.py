from __future__ import annotations

import random

from pumpwatch._fast import parse_binance
from pumpwatch._fast.intake import SPAN_SHIFT, Intake
from pumpwatch.capture.agreement import Agreement
from tests._fast.driving import NOW_NS, Drive, as_bytes, binance_trade
from tests.strategies import TEXT, frame

SPAN_NS = 1 << SPAN_SHIFT
SYMBOLS = [f"S{number}USDT" for number in range(4)]


class Pair:
    """Two connections that carry the same symbols."""

    def __init__(self) -> None:
        self.drive = Drive(parse_binance.SPOT, *SYMBOLS)
        self.intakes = {1: self.drive.intake, 2: Intake(self.drive.road)}
        self.agreement = Agreement()
        for number, intake in self.intakes.items():
            intake.begin_tally()
            self.agreement.carry(number, dict.fromkeys(range(len(SYMBOLS)), NOW_NS))

    def bring(self, number: int, trade: int, symbol: int, at_ns: int, lag_ns: int = 0) -> None:
        text = binance_trade(trade, symbol=SYMBOLS[symbol], ns=at_ns)
        self.intakes[number].feed(frame(TEXT, as_bytes(text)), at_ns + lag_ns)

    def compare(self, at_ns: int) -> int:
        self.agreement.compare(self.intakes, at_ns)
        return self.agreement.differences


def run(seed: int, drop_share: float, ends_at: int | None = None) -> tuple[int, int]:
    """(counted, dropped) of ten minutes in which one side drops rows, and each lags as it likes."""
    pair, rng, dropped = Pair(), random.Random(seed), 0
    at_ns = NOW_NS
    for trade in range(1, 6000):
        at_ns += 100_000_000
        pair.compare(at_ns)
        symbol = rng.randrange(len(SYMBOLS))
        for number in (1, 2):
            is_first = at_ns >> SPAN_SHIFT == NOW_NS >> SPAN_SHIFT  # not compared: not whole
            if number == 2 and not is_first and rng.random() < drop_share:
                dropped += 1
            else:
                pair.bring(number, trade, symbol, at_ns, rng.randrange(3_000_000_000))
        if ends_at == trade:
            pair.agreement.end(2)
    return pair.compare(at_ns + 4 * SPAN_NS), dropped


def test_what_one_side_drops_is_counted_exactly() -> None:
    for seed in range(3):
        counted, dropped = run(seed, 0.01)
        assert dropped > 20
        assert counted == dropped, seed


def test_two_that_agree_differ_in_nothing_however_late_each_is() -> None:
    assert run(7, 0.0) == (0, 0)


def test_a_connection_that_ended_or_began_is_not_held_against_the_other() -> None:
    counted, dropped = run(3, 0.5, ends_at=100)
    assert counted < dropped / 10
    pair = Pair()
    pair.agreement.carry(2, dict.fromkeys(range(len(SYMBOLS)), NOW_NS + 10 * SPAN_NS))
    for trade in range(1, 8):
        pair.bring(1, trade, 0, NOW_NS + trade * SPAN_NS)
        assert pair.compare(NOW_NS + trade * SPAN_NS) == 0


def test_symbols_of_one_connection_alone_are_not_compared() -> None:
    pair = Pair()
    pair.agreement = Agreement()
    pair.agreement.carry(1, {0: NOW_NS})
    pair.agreement.carry(2, {1: NOW_NS})
    for trade in range(1, 9):
        pair.bring(1, trade, 0, NOW_NS + trade * SPAN_NS)
        assert pair.compare(NOW_NS + trade * SPAN_NS) == 0
