"""What one connection knows of its instruments: when each came, and how many rows of each span."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pumpwatch._fast import parse_binance
from pumpwatch._fast.intake import SPAN_SHIFT
from tests._fast.driving import NOW_NS, SECOND_NS, Drive, binance_trade

SPAN_NS = 1 << SPAN_SHIFT
SYMBOLS = [f"S{number}USDT" for number in range(3)]


def test_the_last_row_of_each_instrument_is_noted_repeats_too() -> None:
    drive = Drive(parse_binance.SPOT, *SYMBOLS)
    assert drive.intake.heard_ns(0) == 0
    drive.message(binance_trade(1, symbol=SYMBOLS[1]), receive_ns=NOW_NS)
    drive.message(binance_trade(5, symbol=SYMBOLS[2]), receive_ns=NOW_NS + 5)
    drive.message(binance_trade(1, symbol=SYMBOLS[1]), receive_ns=NOW_NS + 9)  # a repeat
    assert [drive.intake.heard_ns(number) for number in range(4)] == [0, NOW_NS + 9, NOW_NS + 5, 0]
    assert drive.intake.heard_since(0) == [1, 2]
    assert drive.intake.heard_since(NOW_NS + 6) == [1]
    assert drive.intake.receive_ns == NOW_NS + 9
    drive.connect()
    assert drive.intake.heard_since(0) == []


def test_a_connection_is_read_as_far_as_its_newest_trade() -> None:
    """A read of a process that is behind says nothing of what lies behind it in the socket."""
    drive = Drive(parse_binance.SPOT, *SYMBOLS)
    assert drive.intake.read_to_ns == 0
    behind_ns = NOW_NS - 7 * SECOND_NS
    drive.message(binance_trade(1, symbol=SYMBOLS[0], ns=behind_ns), receive_ns=NOW_NS)
    drive.intake.emptied(NOW_NS)  # the venue may have held back what the socket had no room for
    assert drive.intake.read_to_ns == behind_ns
    drive.message(binance_trade(2, symbol=SYMBOLS[1], ns=behind_ns - SECOND_NS), receive_ns=NOW_NS)
    assert drive.intake.read_to_ns == behind_ns
    drive.message(binance_trade(3, symbol=SYMBOLS[0], ns=NOW_NS + SECOND_NS), receive_ns=NOW_NS + 2)
    assert drive.intake.read_to_ns == NOW_NS + 2  # a clock ahead of ours proves no more than that


def test_a_quiet_connection_is_read_as_far_as_its_socket_was_empty() -> None:
    drive = Drive(parse_binance.SPOT, *SYMBOLS)
    drive.intake.emptied(NOW_NS)
    assert drive.intake.read_to_ns == NOW_NS
    drive.message(binance_trade(1, symbol=SYMBOLS[0], ns=NOW_NS), receive_ns=NOW_NS + SECOND_NS)
    drive.intake.emptied(NOW_NS + 5 * SECOND_NS)
    assert drive.intake.read_to_ns == NOW_NS
    drive.intake.emptied(NOW_NS + 6 * SECOND_NS)
    assert drive.intake.read_to_ns == NOW_NS + 6 * SECOND_NS


def test_instruments_that_are_added_later_have_not_come() -> None:
    drive = Drive(parse_binance.SPOT, *SYMBOLS)
    drive.intake.begin_tally()
    drive.message(binance_trade(1, symbol=SYMBOLS[0]))
    for number in range(1000):  # more than the lane has room for
        drive.table.add(f"N{number}USDT", f"N{number}USDT")
    drive.message(binance_trade(1, symbol="N999USDT"))
    assert drive.intake.heard_since(0) == [0, 1002]
    assert drive.intake.take_tally(NOW_NS >> SPAN_SHIFT) == {0: 1, 1002: 1}


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40)), max_size=60))
def test_rows_are_counted_by_span_of_their_own_time(rows: list[tuple[int, int]]) -> None:
    drive = Drive(parse_binance.SPOT, *SYMBOLS)
    drive.intake.begin_tally()
    wanted: Counter[tuple[int, int]] = Counter()
    for at, (symbol, second) in enumerate(rows):
        ns = NOW_NS + second * SECOND_NS
        drive.message(binance_trade(at + 1, symbol=SYMBOLS[symbol], ns=ns), receive_ns=ns)
        wanted[ns >> SPAN_SHIFT, symbol] += 1
    spans = {span for span, _ in wanted}
    for span in spans:
        assert drive.intake.take_tally(span) == {
            symbol: count for (one, symbol), count in wanted.items() if one == span
        }  # fmt: skip
        assert drive.intake.take_tally(span) == {}


def test_a_row_that_is_too_old_is_not_counted_in_another_span() -> None:
    drive = Drive(parse_binance.SPOT, *SYMBOLS)
    drive.intake.begin_tally()
    drive.message(binance_trade(1, symbol=SYMBOLS[0], ns=NOW_NS - 3 * SPAN_NS), receive_ns=NOW_NS)
    now = NOW_NS >> SPAN_SHIFT
    assert all(drive.intake.take_tally(span) == {} for span in range(now - 3, now + 5))


def test_nothing_is_counted_unless_it_is_asked_for() -> None:
    drive = Drive(parse_binance.SPOT, *SYMBOLS)
    drive.message(binance_trade(1, symbol=SYMBOLS[0]))
    assert drive.intake.take_tally(NOW_NS >> SPAN_SHIFT) == {}
