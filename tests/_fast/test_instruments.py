"""The instrument table: numbers, prefixes, contract values, what may not stand in a name."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch._fast.instruments import InstrumentTable, escape_tag
from tests._fast.ilp_reading import read_lines

names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)


@given(st.lists(names, unique=True, max_size=200))
def test_numbers_count_up_and_stay(venue_symbols: list[str]) -> None:
    table = InstrumentTable("gate", "spot")
    numbers = {name: table.add(name, f"S{at}") for at, name in enumerate(venue_symbols)}
    assert list(numbers.values()) == list(range(len(venue_symbols)))
    assert table.count == len(venue_symbols)
    for name, number in numbers.items():
        assert table.add(name, "ANOTHER") == number
        assert table.number(name) == number
        assert table.name(number) == name
    assert table.symbols == [f"S{at}" for at in range(len(venue_symbols))]


def test_several_thousand_instruments() -> None:
    table = InstrumentTable("binance", "spot")
    for number in range(5_000):
        assert table.add(f"COIN{number}USDT", f"COIN{number}USDT") == number
    assert [table.number(f"COIN{number}USDT") for number in range(5_000)] == list(range(5_000))
    assert table.number("COIN5000USDT") is None
    assert table.number("") is None


@given(names)
def test_an_escaped_symbol_reads_back(symbol: str) -> None:
    line = b"trades,symbol=" + escape_tag(symbol) + b",side=buy quantity=1 5\n"
    assert read_lines(line)[0].symbols == {"symbol": symbol, "side": "buy"}


@pytest.mark.parametrize("symbol", ["", "A\nB", "A\rB", "A\0B"])
def test_a_symbol_that_no_line_can_hold_is_refused(symbol: str) -> None:
    table = InstrumentTable("binance", "spot")
    with pytest.raises(ValueError, match="symbol"):
        table.add("X", symbol)
    assert table.count == 0


def test_a_symbol_too_long_for_a_line_is_refused() -> None:
    table = InstrumentTable("binance", "spot")
    with pytest.raises(ValueError, match="too long"):
        table.add("X", "X" * 500)
    assert (table.count, table.number("X")) == (0, None)
    assert table.add("X", "X" * 400) == 0


@pytest.mark.parametrize(
    "contract_value",
    [
        "0",
        "-1",
        "NaN",
        "Infinity",
        "",
        "abc",
        "1E+99",
        "1E-99",
        "1.00000000000000000001",
        "0." + "1" * 21,
        "0.1000000000000000000000000000000001",
    ],
)
def test_a_contract_value_that_cannot_be_exact_is_refused(contract_value: str) -> None:
    table = InstrumentTable("okx", "futures")
    with pytest.raises(ValueError, match="contract value"):
        table.add("X", "X", contract_value)
    assert table.count == 0


@pytest.mark.parametrize(
    "contract_value", ["1", "0.0001", "1E-5", "10000000", "1E+7", "0.0010000000000000000000000"]
)
def test_contract_values_in_every_spelling(contract_value: str) -> None:
    assert Decimal(contract_value) > 0
    assert InstrumentTable("okx", "futures").add("X", "X", contract_value) == 0


def test_a_price_exponent_beyond_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="price exponent"):
        InstrumentTable("phemex", "spot").add("X", "X", "1", 65)


def test_positions_are_kept_by_the_venues_name() -> None:
    table = InstrumentTable("binance", "spot")
    table.add("AUSDT", "AUSDT")
    table.add("BUSDT", "BUSDT")
    assert table.positions() == []
    assert table.position(0) == (0, 0, 0, [])
    assert table.restore("BUSDT", 5, 9, 1_700_000_000_000_000_000, [(7, 8)])
    assert not table.restore("GONEUSDT", 1, 2, 3, [])
    assert table.positions() == [("BUSDT", 5, 9, 1_700_000_000_000_000_000, [(7, 8)])]
    assert table.rows(1) == 0
    for question in (table.position, table.rows, table.name):
        with pytest.raises(IndexError, match="no instrument 2"):
            question(2)
