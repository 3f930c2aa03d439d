"""Parameters of questions, checked before anything is asked; sans-IO.

Whatever is wrong is refused with the parameter's name: a question that was misspelled must not be
answered as if it had not been asked.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import msgspec

from pumpwatch.config import EXCHANGES, MARKET_TYPES
from pumpwatch.errors import PumpWatchError
from pumpwatch.model import OPEN_STATES
from pumpwatch.moments import EXAMPLE, parse_iso_ns

SYMBOL = re.compile(r"[^\s'\"=;\x00]{1,40}")  # NUL is no text to a database
LIMIT_MAX = 10_000
SIDE_S_MAX = 3600
SPAN_S_MAX = 2 * SIDE_S_MAX
SECOND_NS = 10**9
GAP_STATES = (*OPEN_STATES, "filled", "empty", "lost")


class ParameterError(PumpWatchError):
    """A parameter that cannot be meant: its name, and what is allowed."""

    def __init__(self, parameter: str, allowed: str) -> None:
        self.parameter = parameter
        self.allowed = allowed
        super().__init__(f"{parameter}: allowed: {allowed}")


class Span(msgspec.Struct, frozen=True):
    """From (included) to (excluded), ns since 1970."""

    from_ns: int
    to_ns: int


def refuse_unknown(given: Mapping[str, str], known: Collection[str]) -> None:
    """Refuse what the question does not know, and what it is told twice."""
    for name in given:
        if name not in known:
            raise ParameterError(name[:80], f"one of {', '.join(sorted(known)) or '(none)'}")


def check_symbol(parameter: str, text: str | None) -> str | None:
    """BASE+QUOTE, or a coin."""
    if text is not None and SYMBOL.fullmatch(text) is None:
        raise ParameterError(parameter, "1 to 40 characters without space ' \" = ; NUL")
    return text


def check_one_of(parameter: str, text: str | None, allowed: Collection[str]) -> str | None:
    """One of a few words."""
    if text is not None and text not in allowed:
        raise ParameterError(parameter, ", ".join(allowed))
    return text


def check_exchange(text: str | None) -> str | None:
    """One of the six."""
    return check_one_of("exchange", text, EXCHANGES)


def check_market_type(text: str | None) -> str | None:
    """Spot or futures."""
    return check_one_of("market_type", text, MARKET_TYPES)


def check_number(parameter: str, text: str | None, default: int, low: int, high: int) -> int:
    """A whole number within bounds."""
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and low <= int(text) <= high):
        raise ParameterError(parameter, f"a whole number, {low} to {high}")
    return int(text)


def check_time_ns(parameter: str, text: str | None) -> int | None:
    """A moment."""
    if text is None:
        return None
    moment_ns = parse_iso_ns(text)
    if moment_ns is None or moment_ns < 0:
        raise ParameterError(parameter, f"ISO 8601 in UTC since 1970, as {EXAMPLE}")
    return moment_ns


def check_span(
    *,
    at: str | None,
    before_s: str | None,
    after_s: str | None,
    start: str | None,
    end: str | None,
    before_default_s: int,
    after_default_s: int,
) -> Span:
    """Either ``at`` with before_s and after_s, or ``from`` and ``to``; never both."""
    at_ns, from_ns, to_ns = (
        check_time_ns("at", at),
        check_time_ns("from", start),
        check_time_ns("to", end),
    )
    before = check_number("before_s", before_s, before_default_s, 0, SIDE_S_MAX)
    after = check_number("after_s", after_s, after_default_s, 0, SIDE_S_MAX)
    if at_ns is not None:
        for name, value in (("from", start), ("to", end)):
            if value is not None:
                raise ParameterError(name, "nothing beside at")
        if not before + after:
            raise ParameterError("after_s", "more than 0 when before_s is 0")
        return Span(at_ns - before * SECOND_NS, at_ns + after * SECOND_NS)
    for name, value in (("before_s", before_s), ("after_s", after_s)):
        if value is not None:
            raise ParameterError(name, "only together with at")
    if from_ns is None:
        raise ParameterError("from", "needed, with to (or at, with before_s and after_s)")
    if to_ns is None:
        raise ParameterError("to", "needed, with from")
    if not from_ns < to_ns <= from_ns + SPAN_S_MAX * SECOND_NS:
        raise ParameterError("to", f"later than from, by at most {SPAN_S_MAX} s")
    return Span(from_ns, to_ns)
