from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.dashboard.parameters import (
    SECOND_NS,
    ParameterError,
    Span,
    check_number,
    check_span,
    check_symbol,
    check_time_ns,
)
from pumpwatch.moments import iso_ns, parse_iso_ns

NONE: dict[str, Any] = {
    "at": None, "before_s": None, "after_s": None, "start": None, "end": None,
    "before_default_s": 20, "after_default_s": 20,
}  # fmt: skip
NOON_NS = 1_767_268_800 * SECOND_NS
NOON = "2026-01-01T12:00:00Z"


@given(st.integers(0, 4_000_000_000 * SECOND_NS))
def test_a_moment_reads_back(moment_ns: int) -> None:
    assert parse_iso_ns(iso_ns(moment_ns)) == moment_ns


@given(st.text(max_size=30))
def test_no_text_breaks_the_parsers(text: str) -> None:
    assert parse_iso_ns(text) is None or isinstance(parse_iso_ns(text), int)
    for check in (
        lambda: check_time_ns("at", text),
        lambda: check_symbol("symbol", text),
        lambda: check_number("limit", text, 1, 1, 10),
    ):
        with suppress(ParameterError):
            check()


@pytest.mark.parametrize("text", ["", "2026-13-01", "yesterday", "2026-01-01T25:00:00Z", "1",
                                  "2026-01-01T12:00:00+01:00", "1901-01-01"])  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ParameterError) as caught:
        check_time_ns("at", text)
    assert caught.value.parameter == "at"


@pytest.mark.parametrize("text", ["0", "10001", "-1", "1.5", "ten", "", "\u0661", "9999999999"])
def test_a_limit_is_a_whole_number_within_bounds(text: str) -> None:
    with pytest.raises(ParameterError, match="limit"):
        check_number("limit", text, 100, 1, 10_000)


@pytest.mark.parametrize("text", ["", "A B", "A'B", 'A"B', "A=B", "A;B", "A" * 41, "A\nB"])
def test_a_symbol_has_no_space_and_no_quotes(text: str) -> None:
    with pytest.raises(ParameterError, match="symbol"):
        check_symbol("symbol", text)


def test_a_span_around_a_moment() -> None:
    assert check_span(**{**NONE, "at": NOON}) == Span(
        NOON_NS - 20 * SECOND_NS, NOON_NS + 20 * SECOND_NS
    )
    assert check_span(**{**NONE, "at": NOON, "before_s": "0", "after_s": "3600"}) == Span(
        NOON_NS, NOON_NS + 3600 * SECOND_NS
    )


@pytest.mark.parametrize(
    ("given_", "parameter"),
    [
        ({}, "from"),
        ({"start": NOON}, "to"),
        ({"end": NOON}, "from"),
        ({"at": NOON, "start": NOON}, "from"),
        ({"at": NOON, "end": NOON}, "to"),
        ({"at": NOON, "before_s": "3601"}, "before_s"),
        ({"at": NOON, "after_s": "-1"}, "after_s"),
        ({"at": NOON, "before_s": "0", "after_s": "0"}, "after_s"),
        ({"start": NOON, "end": NOON}, "to"),
        ({"start": NOON, "end": "2026-01-01T14:00:01Z"}, "to"),
        ({"start": NOON, "end": "2026-01-01T12:00:01Z", "before_s": "5"}, "before_s"),
    ],
)
def test_a_span_that_cannot_be_meant_names_the_parameter(
    given_: dict[str, str], parameter: str
) -> None:
    with pytest.raises(ParameterError) as caught:
        check_span(**{**NONE, **given_})
    assert caught.value.parameter == parameter
