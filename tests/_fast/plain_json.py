"""JSON read plainly, for the readings that the C parsers are compared with.

A bare number keeps its text (``Number``), so that 1, 1.0 and "1" can be told apart. A message of
which a part cannot be understood raises MalformedError; the rules are those of DESIGN R15.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from pumpwatch._fast.parser import ParsedTrade, Status

DIGITS_MAX = 38
EXPONENT_MAX = 9999
LONG_MAX = 2**63 - 1
YEAR_2010_NS = 1_262_304_000 * 10**9
YEAR_2100_NS = 4_102_444_800 * 10**9
NUMBER = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([-+]?[0-9]+))?")
SPACE = " \t\n\r"

Row: TypeAlias = "ParsedTrade"
Reading: TypeAlias = "tuple[Status, bool, list[ParsedTrade]]"


class MalformedError(Exception):
    """The message cannot be understood: quarantine."""


class Number(str):
    """The text of a number without quotes."""

    __slots__ = ()


def refuse(constant: str) -> Any:
    raise MalformedError(f"{constant} is no JSON")


DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=refuse)


def documents(message: bytes, bare_words: tuple[str, ...] = ()) -> Iterator[Any]:
    """Every document of a message; a bare word (OKX's ``pong``) is given as None."""
    try:
        text = message.decode()
    except UnicodeDecodeError as error:
        raise MalformedError("not UTF-8") from error
    at = 0
    while True:
        while text[at : at + 1] and text[at] in SPACE:
            at += 1
        word = next((word for word in bare_words if text.startswith(word, at)), None)
        if word:
            at += len(word)
            yield None
        else:
            try:
                document, at = DECODER.raw_decode(text, at)
            except ValueError as error:
                raise MalformedError(str(error)) from error
            if not isinstance(document, dict):
                raise MalformedError("no object")
            yield document
        if not text[at:].strip(SPACE):
            return


def read_message(
    message: bytes, rows_of: Callable[[dict[str, Any]], list[Row]], bare_words: tuple[str, ...] = ()
) -> Reading:
    """What Parser.parse must return, given the rows of one document."""
    rows: list[Row] = []
    try:
        for document in documents(message, bare_words):
            if document is not None:
                rows += rows_of(document)
    except MalformedError:
        return "malformed", False, []
    return ("trades" if rows else "other"), False, rows


def text_of(value: Any) -> str:
    """A string that is text: a lone surrogate is none."""
    if not isinstance(value, str) or isinstance(value, Number):
        raise MalformedError(f"{value!r} is no string")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise MalformedError("a lone surrogate") from error
    return value


def symbol_of(value: Any) -> str:
    if not text_of(value):
        raise MalformedError("no symbol")
    return str(value)


def side_of(value: Any) -> Literal["buy", "sell"]:
    sides: dict[str, Literal["buy", "sell"]] = {
        "buy": "buy", "Buy": "buy", "sell": "sell", "Sell": "sell",
    }  # fmt: skip
    if text_of(value) not in sides:
        raise MalformedError(f"{value!r} is no side")
    return sides[value]


class Exact:
    """A number as sign, digits without zeros at either end, and exponent."""

    def __init__(self, value: Any) -> None:
        match = NUMBER.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise MalformedError(f"{value!r} is no number")
        sign, whole, fraction, exponent = match.groups()
        digits = (whole + (fraction or "")).lstrip("0")
        self.is_negative = bool(sign)
        self.digits = digits.rstrip("0")
        self.exponent = 0
        if self.digits:
            self.exponent = len(digits) - len(self.digits) - len(fraction or "")
            self.exponent += int(exponent or "0")
        if len(self.digits) > DIGITS_MAX or abs(self.exponent) > EXPONENT_MAX:
            raise MalformedError(f"{value!r} is beyond R15")

    @property
    def text(self) -> str:
        """Plain digits without sign."""
        if not self.digits:
            return "0"
        if self.exponent >= 0:
            return self.digits + "0" * self.exponent
        padded = self.digits.rjust(1 - self.exponent, "0")
        return f"{padded[: self.exponent]}.{padded[self.exponent :]}"


def amount_text(value: Any) -> str:
    """A number >= 0 as plain digits."""
    number = Exact(value)
    if number.is_negative:
        raise MalformedError("negative")
    return number.text


def integer_of(value: Any, largest: int = 10**19 - 1) -> int:
    if not isinstance(value, str) or not re.fullmatch("0|[1-9][0-9]*", value):
        raise MalformedError(f"{value!r} is no integer")
    if len(value) > 19 or int(value) > largest:
        raise MalformedError(f"{value!r} is too long")
    return int(value)


def in_years(ns: int) -> int:
    if not YEAR_2010_NS <= ns < YEAR_2100_NS:
        raise MalformedError(f"{ns} ns is not in 2010 to 2100")
    return ns


def ns_of(value: Any, unit_ns: int) -> int:
    """A time with a fraction, cut below the nanosecond."""
    number = Exact(value)
    if number.is_negative or number.exponent > 30:
        raise MalformedError("no time")
    digits = int(number.digits or "0") * unit_ns
    if number.exponent >= 0:
        return in_years(digits * 10**number.exponent)
    return in_years(digits // 10**-number.exponent)
