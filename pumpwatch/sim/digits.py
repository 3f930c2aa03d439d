"""Numbers as text: exact decimals one by one, ASCII digits of whole columns at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

GROUP = 4  # digits that one look-up gives
GROUP_VALUES = 10**GROUP
_FOUR = np.frombuffer(
    b"".join(b"%04d" % value for value in range(GROUP_VALUES)), dtype=np.uint32
).copy()
_HEX = np.frombuffer(b"".join(b"%02x" % value for value in range(256)), dtype=np.uint16).copy()
UUID_CHARS = 36
UUID_HEX_AT = np.array([at for at in range(UUID_CHARS) if at not in (8, 13, 18, 23)])
_UUID_VERSION = (np.uint64(0xFFFFFFFFFFFF0FFF), np.uint64(0x5000))  # as the venue's: name based
_UUID_VARIANT = (np.uint64(0x3FFFFFFFFFFFFFFF), np.uint64(0x8000000000000000))


def low_digits(values: Ints, groups: int) -> Bytes:
    """The lowest ``4 * groups`` decimal digits of each value, with leading zeros: [n, 4*groups]."""
    found = np.empty((len(values), groups), dtype=np.uint32)
    rest = values
    for group in range(groups - 1, -1, -1):
        higher = rest // GROUP_VALUES
        found[:, group] = _FOUR[rest - higher * GROUP_VALUES]
        rest = higher
    return found.view(np.uint8)


def uuid_words(keys: Words, rows: Ints) -> npt.NDArray[np.uint64]:
    """Two words for each (symbol key, row): the same for ever, unlike for all else. [n, 2]."""
    words = np.empty((len(rows), 2), dtype=np.uint64)
    mixed = keys + rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for column in range(2):
        mixed = mixed + np.uint64(0x632BE59BD9B4E019)
        word = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        words[:, column] = word ^ (word >> np.uint64(31))
    words[:, 0] = (words[:, 0] & _UUID_VERSION[0]) | _UUID_VERSION[1]
    words[:, 1] = (words[:, 1] & _UUID_VARIANT[0]) | _UUID_VARIANT[1]
    return words


def uuid_hex(words: npt.NDArray[np.uint64]) -> Bytes:
    """The 32 hexadecimal digits of each UUID: [n, 32]."""
    octets = np.ascontiguousarray(words).astype(">u8").view(np.uint8).reshape(len(words), 16)
    return _HEX[octets].view(np.uint8)


def uuid_texts(words: npt.NDArray[np.uint64]) -> list[str]:
    """UUIDs as text."""
    text = np.full((len(words), UUID_CHARS), ord("-"), dtype=np.uint8)
    text[:, UUID_HEX_AT] = uuid_hex(words)
    return [item.decode() for item in text.view(f"S{UUID_CHARS}").ravel().tolist()]


def fixed(mantissa: int, decimals: int) -> str:
    """``mantissa / 10**decimals`` with all its decimals: ``fixed(1200, 3) == "1.200"``."""
    if decimals <= 0:
        return str(mantissa * 10**-decimals)
    text = str(abs(mantissa)).rjust(decimals + 1, "0")
    sign = "-" if mantissa < 0 else ""
    return f"{sign}{text[:-decimals]}.{text[-decimals:]}"


def plain(mantissa: int, decimals: int) -> str:
    """The same value without trailing zeros and exponent: ``plain(1200, 3) == "1.2"``."""
    text = fixed(mantissa, decimals)
    return text.rstrip("0").rstrip(".") if "." in text else text


def taken_apart(text: str) -> tuple[int, int]:
    """``"-1.20"`` -> (-120, 2); exponents as JSON writes them are understood."""
    number, _, power = text.lower().partition("e")
    whole, _, fraction = number.partition(".")
    mantissa, decimals = int(whole + fraction), len(fraction) - int(power or 0)
    return (mantissa, decimals) if decimals >= 0 else (mantissa * 10**-decimals, 0)
