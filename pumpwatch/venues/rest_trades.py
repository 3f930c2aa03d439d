"""What the readers of past trades share: exact numbers, ids and times, rows that may be broken.

Every value becomes what the C parsers make of the stream's spelling of it, so that a row from REST
has the same key (R4). What they would refuse is refused here too; one refused row is named and the
others are kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import ROUND_DOWN, Context, Decimal
from typing import Any, Literal

from pumpwatch.errors import VenueError
from pumpwatch.venues.listing import decode_exact, entries_at, sample
from pumpwatch.venues.spec import RestTrade, TradePage

Row = Any  # a decoded row: an object of most venues, a list of Phemex

SECONDS, MILLISECONDS, MICROSECONDS, NANOSECONDS = 0, -3, -6, -9  # exponents of time units

# JSON's grammar (RFC 8259), as the C cursor reads it inside strings too.
_UNSIGNED = r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
UNSIGNED = re.compile(_UNSIGNED)
NUMBER = re.compile(rf"(-?)({_UNSIGNED})")
WHOLE = re.compile(r"0|[1-9][0-9]{0,18}")
TIME = re.compile(r"(0|[1-9][0-9]{0,18})(?:\.([0-9]{1,20}))?")
PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")  # goes into a line unescaped
LONG_MAX = 2**63 - 1
SIDES: dict[str, Literal["buy", "sell"]] = {
    "buy": "buy", "Buy": "buy", "sell": "sell", "Sell": "sell",
}  # fmt: skip

# Times outside 2010 to 2100 are no venue's, as in times.pxd: a wrong unit never lies in it.
EARLIEST_NS = 1_262_304_000 * 10**9
LATEST_NS = 4_102_444_800 * 10**9
DIGITS_MAX = 100  # of a time, whole or not: far more than any, few enough to count with
CUT = Context(prec=2 * DIGITS_MAX, rounding=ROUND_DOWN)


def rows_of(body: bytes, what: str, *keys: str) -> list[Row]:
    """The rows below these keys, numbers exact. Raises VenueError where the answer holds none."""
    return entries_at(decode_exact(body, what), what, *keys)


def object_of(body: bytes, what: str) -> dict[str, Any]:
    """An answer that must be an object, numbers exact. Raises VenueError."""
    document = decode_exact(body, what)
    if not isinstance(document, dict):
        raise VenueError(f"{what}: no object: {sample(body)}")
    return document


def read_rows(
    rows: list[Row], read_one: Callable[[Row], RestTrade], *, newest_first: bool
) -> TradePage:
    """Read what can be read, oldest first; ``newest_first`` is the order of the answer.

    Where a number counts the trades it decides the order: the road takes a row out of turn for a
    jump.
    """
    trades: list[RestTrade] = []
    refused: list[str] = []
    for row in rows:
        try:
            trades.append(read_one(row))
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            reason = f"no {error}" if isinstance(error, LookupError) else str(error)
            refused.append(f"{sample(repr(row).encode('utf-8', 'replace'))}: {reason}")
    if newest_first:
        trades.reverse()
    if all(trade.order_id for trade in trades):
        trades.sort(key=lambda trade: trade.order_id)
    return TradePage(trades=trades, refused=refused)


# --- values: each raises ValueError, or KeyError where the row has none ---------------------------


def amount(row: Row, key: Any) -> str:
    """A price or quantity >= 0, as the venue wrote it."""
    value = row[key]
    if type(value) is str and UNSIGNED.fullmatch(value):  # nearly all: lists have a thousand rows
        return value
    sign, digits = signed_amount(row, key)
    if sign:
        raise ValueError(f"{key} is {row[key]!r}")
    return digits


def signed_amount(row: Row, key: Any) -> tuple[bool, str]:
    """Whether a minus stands before it, and the number without it."""
    found = NUMBER.fullmatch(_number_text(row, key))
    if found is None:
        raise ValueError(f"{key} is {row[key]!r}")
    return bool(found[1]), found[2]


def whole(row: Row, key: Any) -> int:
    """An id or another count: digits, at most what a LONG holds."""
    value = row[key]
    if type(value) is int and 0 <= value <= LONG_MAX:
        return value
    written = _number_text(row, key)
    if not WHOLE.fullmatch(written) or int(written) > LONG_MAX:
        raise ValueError(f"{key} is {row[key]!r}")
    return int(written)


def plain_id(row: Row, key: Any) -> str:
    """An id that is text; one that came as a number must be digits."""
    value = row[key]
    if type(value) is int:
        return str(whole(row, key))
    if not isinstance(value, str) or not PLAIN_ID.fullmatch(value):
        raise ValueError(f"{key} is {value!r}")
    return value


def side(row: Row, key: Any) -> Literal["buy", "sell"]:
    """The taker's side."""
    value = row[key]
    if not isinstance(value, str) or value not in SIDES:
        raise ValueError(f"{key} is {value!r}")
    return SIDES[value]


def flag(row: Row, key: str) -> bool:
    """True or false; a row without it says false."""
    value = row.get(key)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{key} is {value!r}")
    return bool(value)


def time_ns(row: Row, key: Any, *unit_exponents: int) -> int:
    """A time in the first unit in which it is one, to ns since 1970 UTC, cut below the ns."""
    value = row[key]
    found = TIME.fullmatch(value if type(value) is str else str(value))
    if found is not None:  # nearly all: what follows takes several times as long
        for unit_exponent in unit_exponents:
            places = unit_exponent + 9
            ns = int(found[1] + (found[2] or "")[:places].ljust(places, "0"))
            if EARLIEST_NS <= ns < LATEST_NS:
                return ns
    number = Decimal(amount(row, key))
    if len(number.as_tuple().digits) <= DIGITS_MAX and abs(number.adjusted()) <= DIGITS_MAX:
        for unit_exponent in unit_exponents:
            ns = int(CUT.scaleb(number, unit_exponent + 9))
            if EARLIEST_NS <= ns < LATEST_NS:
                return ns
    raise ValueError(f"{key} is no time: {row[key]!r}")


def check_symbol(row: Row, key: Any, venue_symbol: str) -> None:
    """Refuse a row that names another symbol: it would be stored as a trade of this one."""
    if row[key] != venue_symbol:
        raise ValueError(f"{key} is {row[key]!r}, not {venue_symbol!r}")


def _number_text(row: Row, key: Any) -> str:
    value = row[key]
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError(f"{key} is {value!r}")  # noqa: TRY004 - one reason, one kind of error
    return str(value)
