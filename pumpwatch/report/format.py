"""Figures as people read them, on the page and in the terminal. Sans I/O."""

from __future__ import annotations

from pumpwatch.report.document import Measure

NONE = "\N{EN DASH}"
UNITS = ((1e9, "bn"), (1e6, "M"), (1e3, "k"))


def money(value: float | None) -> str:
    """``1.25 M``, ``340``: in the quote coin."""
    if value is None:
        return NONE
    for size, unit in UNITS:
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}" if abs(value) < 1000 * size else f"{value:.3g}"
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}"


def price(value: float | None) -> str:
    """Six digits."""
    return NONE if value is None else f"{value:.6g}"


def percent(value: float | None, digits: int = 0) -> str:
    """A share."""
    return NONE if value is None else f"{value:.{digits}f} %"


def change(value: float | None) -> str:
    """A change, with its sign."""
    return NONE if value is None else f"{value:+.2f} %"


def millis(value: float | None) -> str:
    """``12.3 ms``, ``1.204 s``."""
    if value is None:
        return NONE
    return f"{value / 1000:.3f} s" if abs(value) >= 1000 else f"{value:.1f} ms"


def error(value: float | None) -> str:
    """``± 12.3 ms``."""
    return "± not known" if value is None else f"± {millis(value)}"


def span(seconds: int) -> str:
    """``1 hour``, ``10 min``, ``10 s``."""
    if seconds % 3600 == 0:
        return f"{seconds // 3600} hour" + ("s" if seconds > 3600 else "")
    return f"{seconds // 60} min" if seconds % 60 == 0 else f"{seconds} s"


def percentile(measure: Measure) -> str:
    """``higher than 98 %``; nothing where the past is too short."""
    if measure.percentile is None:
        return NONE
    if measure.percentile >= 99.95:
        return "higher than ever"
    if measure.percentile <= 0.05:
        return "lower than ever"
    return f"higher than {measure.percentile:.0f} %"
