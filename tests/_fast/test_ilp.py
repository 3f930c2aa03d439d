"""Lines: numbers exact to the digit, contract values in integers, lines found in a payload."""

from __future__ import annotations

import struct
from decimal import Context, Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pumpwatch._fast import parse_bybit, parse_okx
from pumpwatch._fast.ilp import RowBuffer, split_lines
from tests._fast.driving import NOW_NS, Drive, bybit_trades, okx_trade
from tests._fast.ilp_reading import FieldValue, Nanoseconds, digits_of, read_lines
from tests.strategies import decimal_texts

EXACT = Context(prec=200, Emax=99_999, Emin=-99_999)
MANTISSA_MAX = 2**53
EXPONENT_MAX = 22
SWAP = "BTC-USDT-SWAP"


def plain(number: Decimal) -> str:
    return digits_of(number)


def stripped(number: Decimal) -> tuple[int, int]:
    """Mantissa without trailing zeros, and exponent."""
    _, digits, exponent = EXACT.normalize(number).as_tuple()
    assert isinstance(exponent, int)
    return int("".join(map(str, digits))), exponent


def may_be_binary(number: Decimal) -> bool:
    """Is there a way to write it with mantissa <= 2**53 and |exponent| <= 22?"""
    mantissa, exponent = stripped(number)
    return any(
        mantissa * 10**zeros <= MANTISSA_MAX and abs(exponent - zeros) <= EXPONENT_MAX
        for zeros in range(17)
    )


def check_number(field: FieldValue, number: Decimal) -> None:
    mantissa, exponent = stripped(number)
    if isinstance(field, float):
        assert may_be_binary(number)
        assert field == float(str(number))  # Python rounds correctly: so did the C code
    else:
        assert isinstance(field, Decimal)
        assert field == number
        assert mantissa > MANTISSA_MAX or abs(exponent) > EXPONENT_MAX


def prices(texts: list[str]) -> tuple[Drive, list[FieldValue]]:
    drive = Drive(parse_bybit.SPOT, "BTCUSDT")
    rows = [(str(number), text, "1") for number, text in enumerate(texts)]
    return drive, [line.fields["price"] for line in drive.message(bybit_trades(rows))]


@given(st.lists(decimal_texts(digits_max=15), min_size=1, max_size=30))
def test_up_to_15_digits_read_back_digit_for_digit(texts: list[str]) -> None:
    drive, fields = prices(texts)
    for text, field in zip(texts, fields, strict=True):
        number = Decimal(text)
        check_number(field, number)
        # What the server keeps is the nearest double; its shortest text has the same digits.
        assert plain(Decimal(repr(float(str(field))))) == plain(number)
    assert drive.rows.inexact_values == 0


@given(st.lists(decimal_texts(digits_max=38, exponent_max=300), min_size=1, max_size=30))
@example(["9007199254740992", "9007199254740993", "9007199254740992E22", "9007199254740992E-23"])
@example(["1E22", "1E23", "1E-22", "1E-23", "1000E21", "10E-23", "0", "0.000", "0E99"])
@example(["99999999999999999999999999999999999999", "0.99999999999999999999999999999999999999"])
@example(["100000000000000000000000000000000000000000000000000000000000", "1E9999", "1.0E-9000"])
def test_more_digits_are_exact_text_and_counted(texts: list[str]) -> None:
    drive, fields = prices(texts)
    for text, field in zip(texts, fields, strict=True):
        check_number(field, Decimal(text))
    assert drive.rows.inexact_values == sum(stripped(Decimal(text))[0] >= 10**15 for text in texts)


@pytest.mark.parametrize("text", ["1" * 39, "0." + "1" * 39, "1" + "0" * 38 + "1", "1E10000"])
def test_beyond_38_digits_is_quarantine(text: str) -> None:
    drive, fields = prices([text])
    assert fields == []
    assert [reason for reason, _, _ in drive.quarantine] == ["malformed"]


contract_values = decimal_texts(digits_max=19, exponent_max=10).filter(
    lambda text: Decimal(text) > 0
)


@given(contract_values, st.one_of(decimal_texts(digits_max=38), decimal_texts(digits_max=6)))
@example("0.0001", "31.27")
@example("10000000", "1")
@example("9999999999999999999", "99999999999999999999999999999999999999")
@example("3.4028236692", "100000000000000000000000000000")
def test_contract_values_multiply_exactly_or_the_row_is_quarantined(value: str, size: str) -> None:
    # R15: the product of the digits fits 128 bits, or the row is not stored at all.
    drive = Drive(parse_okx.FUTURES)
    drive.table.add(SWAP, "BTCUSDT", value)
    lines = drive.message(okx_trade(7, symbol=SWAP, price="2", quantity=size))
    product = EXACT.multiply(Decimal(value), Decimal(size))
    factor = stripped(Decimal(value))[0]
    if stripped(Decimal(size))[0] * factor >= 2**128 and factor != 1:
        assert lines == []
        assert [(reason, rows) for reason, _, rows in drive.quarantine] == [("overflow", 1)]
        assert drive.counts["quarantined"] == 1
    else:
        check_number(lines[0].fields["quantity"], product)
        assert lines[0].fields["price"] == 2
        assert drive.quarantine == []


@given(st.integers(-12, 12), decimal_texts(digits_max=17, exponent_max=5))
def test_price_exponents_move_the_point(exponent: int, price: str) -> None:
    drive = Drive(parse_okx.FUTURES)
    drive.table.add(SWAP, "BTCUSDT", "1", exponent)
    (line,) = drive.message(okx_trade(7, symbol=SWAP, price=price))
    check_number(line.fields["price"], EXACT.scaleb(Decimal(price), exponent))


symbols = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)


@given(symbols)
@example('A"B')
@example("币安人生USDT")
@example("a,b=c d\\e")
def test_a_whole_line(symbol: str) -> None:
    drive = Drive(parse_okx.SPOT)
    drive.table.add("X-Y", symbol)
    (line,) = drive.message(okx_trade(41, symbol="X-Y", price="0.1", quantity="12"))
    assert line.table == "trades"
    assert line.symbols == {
        "exchange": "okx",
        "market_type": "spot",
        "symbol": symbol,
        "side": "buy",
        "origin": "stream",
    }
    assert line.fields == {
        "price": 0.1,
        "quantity": 12.0,
        "trade_id": "41",
        "sequence_number": 41,
        "received_at": Nanoseconds(NOW_NS),
    }
    assert line.timestamp_ns == NOW_NS


def test_the_longest_line_has_room() -> None:
    # The longest symbol, id and numbers, many times: a line never outgrows its reserve.
    drive = Drive(parse_bybit.SPOT)
    drive.table.add("X", "\u5e01" * 140)
    tiny = "0." + "0" * 55 + "9" * 38
    rows = [(f"{number:064d}", tiny, tiny) for number in range(2_000)]
    lines = drive.message(bybit_trades(rows, symbol="X"))
    assert len(lines) == 2_000
    assert {line.fields["price"] for line in lines} == {Decimal(tiny)}


def test_an_empty_buffer() -> None:
    rows = RowBuffer()
    assert rows.take() == (b"", 0, 0)
    assert (rows.rows, rows.size_bytes, rows.inexact_values) == (0, 0, 0)


def test_the_oldest_receive_time_of_a_record() -> None:
    drive = Drive(parse_bybit.SPOT, "BTCUSDT")
    for turn in (1, 2):
        for late in (5, 9):
            rows = [(f"{turn}{late}", "1", "1")]
            drive.intake.feed(
                b"\x81\x7e" + len(text := text_of(rows)).to_bytes(2, "big") + text,
                NOW_NS + turn * late,
            )
        assert drive.rows.take()[1:] == (2, NOW_NS + turn * 5)


def text_of(rows: list[tuple[str, str, str]]) -> bytes:
    return str(bybit_trades(rows)).replace("'", '"').replace("False", "false").encode()


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
# Doubles whose bytes are line breaks, quotes, backslashes, blanks and equals signs.
doubles = st.lists(st.sampled_from(b'\n"\\ =,\x10\x00a'), min_size=8, max_size=8).map(bytes)


def escaped(text: str, specials: str) -> bytes:
    return "".join("\\" + char if char in specials else char for char in text).encode()


@st.composite
def any_lines(draw: st.DrawFn) -> bytes:
    """A line with a symbol, a double and a quoted text in any order."""
    symbol = draw(symbols)
    fields = [
        b"d==\x10" + draw(doubles),
        b's="' + escaped(draw(texts), '"\\') + b'"',
        b"e==\x10" + struct.pack("<d", draw(st.floats())),
        b"n=12i",
    ]
    chosen = draw(st.permutations(fields))[: draw(st.integers(1, 4))]
    return b"t,symbol=" + escaped(symbol, "\\ ,=") + b",x=1 " + b",".join(chosen) + b" 123\n"


@given(st.lists(any_lines(), max_size=6))
def test_lines_are_found_in_a_payload(lines: list[bytes]) -> None:
    payload = b"".join(lines)
    assert len(read_lines(payload)) == len(lines)
    ends = split_lines(payload)
    assert [payload[first:last] for first, last in zip([0, *ends], ends, strict=False)] == lines


def test_what_is_cut_has_no_end() -> None:
    line = b't,a=b s="x",d==\x10\n\n\n\n\n\n\n\n 5\n'
    assert split_lines(line) == [len(line)]
    for size in range(len(line)):
        assert split_lines(line[:size]) == []
    assert split_lines(line + line[:-1]) == [len(line)]
