"""UTF-8: the C check and Python's decoder say the same of any bytes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pumpwatch._fast.utf8 import is_text
from tests.strategies import examples

# Both sides of every edge of RFC 3629's table.
EDGES = bytes.fromhex("007f808f909fa0bfc0c1c2dfe0e1ecedeeeff0f1f3f4f5ff")


def decodes(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_every_edge_of_the_table(size: int) -> None:
    good = 0
    for data in map(bytes, itertools.product(EDGES, repeat=size)):
        assert is_text(data) == decodes(data), data
        good += decodes(data)
    assert good


@settings(max_examples=examples(500))
@given(text=st.text(), broken=st.binary(max_size=5), place=st.integers(0, 100))
@example("x" * 7 + "币", b"", 0)
@example("x" * 8, b"\xe5", 99)
def test_text_with_bytes_in_it(text: str, broken: bytes, place: int) -> None:
    data = text.encode()
    assert is_text(data)
    data = data[:place] + broken + data[place:]
    assert is_text(data) == decodes(data)


def test_a_bad_byte_at_every_place_of_a_long_text() -> None:
    # The check goes by eight bytes and by one: neither may skip a place.
    for size in range(1, 40):
        for place in range(size):
            data = bytearray(b"x" * size)
            data[place] = 0xFF
            assert not is_text(bytes(data))
