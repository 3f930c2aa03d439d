"""The JSON cursor through a real parser, against json and decimal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pumpwatch._fast.parse_binance import SPOT
from tests._fast.plain_binance import read
from tests._fast.plain_json import Exact, MalformedError, text_of
from tests.strategies import decimal_texts, examples

MIB = 1024 * 1024
DEPTH_MAX = 32
HEAD = '{"e":"trade","E":1,"s":"BTCUSDT","t":7,"p":'
TAIL = ',"q":"2","T":1790000000000,"m":true}'
GENERAL_TAIL = ',"q":"2","T":1790000000000, "m":true}'

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def with_price(price: str) -> tuple[str, str]:
    return HEAD + price + TAIL, HEAD + price + GENERAL_TAIL


def with_symbol(symbol: str) -> tuple[str, str]:
    return tuple(text.replace('"BTCUSDT"', symbol) for text in with_price("1"))  # type: ignore[return-value]


def with_unknown(value: str) -> str:
    return '{"x":' + value + "," + HEAD[1:] + "1" + TAIL


def parsed(text: str) -> tuple[str, dict[str, Any]]:
    """Status and the row, {} where there is none."""
    status, _, rows = SPOT.parse(text.encode("utf-8", "surrogatepass"))
    return status, dict(rows[0]) if rows else {}


def check_number(text: str) -> None:
    try:
        number = Exact(text)
        price = None if number.is_negative else number.text
    except MalformedError:
        price = None
    for spelled in (text, f'"{text}"'):
        for message in with_price(spelled):
            status, row = parsed(message)
            assert (status, row.get("price")) == ("malformed" if price is None else "trades", price)


@given(text=decimal_texts(digits_max=38, exponent_max=60))
def test_numbers_are_exact_to_the_digit(text: str) -> None:
    check_number(text)


@settings(max_examples=examples(500))
@given(text=st.text("0123456789.eE+-", max_size=24).filter(bool))
@example("0")
@example("-0")
@example("00")
@example("1e9999")
@example("1e10000")
@example("9" * 38)
@example("9" * 39)
@example("9" * 38 + "0" * 500)
@example("0." + "0" * 500 + "9" * 38 + "0" * 500)
@example("0." + "0" * 10_000 + "1e100050")  # an exponent of six digits that was once cut to five
def test_what_is_no_number_is_malformed(text: str) -> None:
    check_number(text)


@given(text=st.text("0123456789", min_size=1, max_size=21))
def test_ids_are_integers_of_19_digits(text: str) -> None:
    for spelled in (text, f'"{text}"', f" {text} "):
        for message in with_price("1"):
            message = message.replace('"t":7', f'"t":{spelled}')
            fits = str(int(text)) == text and int(text) < 2**63
            status, row = parsed(message)
            assert status == ("trades" if fits else "malformed")
            assert row.get("order_id") == (int(text) if fits else None)
            assert row.get("trade_id") == (text if fits else None)


@given(text=st.text(min_size=1), is_ascii=st.booleans())
@example("\U0001f600\ud800", True)
@example("\x00\x1f\x7f", True)
def test_strings_come_out_as_json_reads_them(text: str, is_ascii: bool) -> None:
    for message in with_symbol(json.dumps(text, ensure_ascii=is_ascii)):
        status, row = parsed(message)
        assert status == ("trades" if is_text(text) else "malformed")
        assert row.get("symbol", text) == text


def is_text(text: str) -> bool:
    try:
        return bool(text_of(text))
    except MalformedError:
        return False


@settings(max_examples=examples(1000))
@given(inside=st.text('\\"/bfnrtux0dD8c9Ff\x1f\n a', max_size=16))
@example("\\ud83d\\ude00")
@example("\\ude00\\ud83d")
@example("\\ud83dx")
@example("\\u00e9\\/")
@example("\\u 123")
@example("\\u+123")
@example("\\")
def test_escapes_are_those_of_json(inside: str) -> None:
    for message in with_symbol(f'"{inside}"'):
        assert SPOT.parse(message.encode()) == read(message.encode())
    nested = with_unknown(f'{{"{inside}":"{inside}"}}').encode()
    assert SPOT.parse(nested) == read(nested)


@given(value=JSON_VALUES, indent=st.sampled_from([None, 1, "\t"]), is_ascii=st.booleans())
def test_any_unknown_value_is_skipped(value: Any, indent: int | str | None, is_ascii: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=is_ascii)
    status, row = parsed(with_unknown(text))
    assert (status, row.get("trade_id")) == ("trades", "7")


@settings(max_examples=examples(1000))
@given(
    value=JSON_VALUES,
    place=st.integers(0, 200),
    insert=st.sampled_from('{}[]",:\\0-.e tn'),
    drop=st.booleans(),
)
def test_a_value_that_is_no_json_is_malformed(
    value: Any, place: int, insert: str, drop: bool
) -> None:
    text = json.dumps(value)
    place %= len(text) + 1
    message = with_unknown(text[:place] + insert + text[place + drop :]).encode()
    assert SPOT.parse(message) == read(message)


@pytest.mark.parametrize("kind", ["[]", "{}"])
def test_nesting_ends_somewhere(kind: str) -> None:
    opening = "[" if kind == "[]" else '{"a":'
    for depth in (DEPTH_MAX, DEPTH_MAX + 1, 100_000):
        status = "trades" if depth <= DEPTH_MAX else "malformed"
        assert parsed(with_unknown(opening * depth + "1" + kind[1] * depth))[0] == status


def test_a_whole_mebibyte_of_escapes_fits() -> None:
    name = "\\u0061" * (MIB // 8)
    message = with_unknown(f'"{name}"').replace('"x"', f'"{name}"', 1)
    assert parsed(message)[0] == "trades"
    for message in with_symbol(f'"{name}"'):
        assert parsed(message)[1]["symbol"] == "a" * (MIB // 8)


def test_text_that_is_unescaped_twice_has_room() -> None:
    name = "a" * 1000
    # The second message is given up behind the symbol and read again.
    for message in with_symbol(f'"{name}\\n"'):
        assert parsed(message)[1]["symbol"] == name + "\n"


@pytest.mark.parametrize(
    "text", ["", " ", "[]", "1", '"e"', "null", "{", "}", "{}x", "\ufeff{}", "{,}", '{"a":1,}']
)
def test_what_is_no_object_is_malformed(text: str) -> None:
    assert parsed(text)[0] == "malformed"
    assert read(text.encode())[0] == "malformed"
