from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.listing.certificate import Certificate, FeedEvidence, certify, suspicions
from pumpwatch.listing.evidence import RestCheck, SymbolRows, without
from pumpwatch.model import Watermark
from pumpwatch.store.window_model import FeedAnswer, UsedInstrument
from tests.listing.bundles import NS, SYMBOL, WINDOW, event, evidence, gap, instrument, row

GOOD_REST = RestCheck(asked_ns=WINDOW.to_ns + 5 * NS, shown=3, reaches=True)


def taken(feed: str, numbers: dict[float, int]) -> dict[str, SymbolRows]:
    """Rows by seconds after the announcement."""
    rows = SymbolRows()
    for at_s, number in numbers.items():
        rows.take(row(feed, at_s, number), WINDOW)
    return {SYMBOL: rows}


WHOLE = {-22.0: 9, -19.0: 10, 0.0: 11, 19.0: 12, 21.0: 13}


def certificate(feed: FeedEvidence) -> Certificate:
    return certify(
        event(), WINDOW, [feed], software="3", revision=1, state="complete", missing=[],
        made_at_ns=WINDOW.to_ns, kept_to_ns=WINDOW.to_ns,
    )  # fmt: skip


def graded(feed: str, numbers: dict[float, int] | None = None, **changes: Any) -> tuple[str, str]:
    rows = taken(feed, WHOLE if numbers is None else numbers)
    (proof,) = certificate(evidence(feed, rows, "0" * 64, **changes)).feeds
    return proof.grade, "; ".join(proof.reasons)


def test_contiguous_ids_with_both_neighbours_are_proven() -> None:
    assert graded("okx_spot") == ("proven", "")


@pytest.mark.parametrize("at", [-22.0, -19.0, 0.0, 19.0, 21.0])
def test_any_id_that_is_missing_is_found(at: float) -> None:
    shifted = {second: number + (second >= at) for second, number in WHOLE.items()}
    grade, reasons = graded("okx_spot", shifted)
    if at == -22.0:
        assert grade == "proven"
    else:
        assert grade == "incomplete"
        assert f"ids {WHOLE[at]} to {WHOLE[at]} are not held" in reasons


def test_a_predecessor_that_is_missing_is_found_though_times_are_out_of_order() -> None:
    """Row 9 has a time in the window, 11 one before it: 10 and 8 must be held."""
    grade, reasons = graded("okx_spot", {-20.5: 11, -19.0: 9, 1.0: 12, 21.0: 13})
    assert grade == "incomplete"
    assert "ids 8 to 8" in reasons
    assert "ids 10 to 10" in reasons
    whole = {-24.0: 8, -20.5: 11, -20.4: 10, -19.0: 9, 1.0: 12, 21.0: 13}
    assert graded("okx_spot", whole)[0] == "proven"


def test_ids_that_the_venue_skips_are_no_hole() -> None:
    skipping = {-22.0: 9, 0.0: 11, 21.0: 12}
    skipped = gap("okx_spot", state="empty", first_id=10, last_id=10, reason="not_offered")
    assert graded("okx_spot", skipping)[0] == "incomplete"
    assert graded("okx_spot", skipping, gaps=[skipped])[0] == "proven"


def test_what_keeps_it_from_proven() -> None:
    no_before = {k: v for k, v in WHOLE.items() if k > -20}
    assert graded("okx_spot", no_before) == (
        "covered", f"{SYMBOL}: no row before the window is held",
    )  # fmt: skip
    no_after = {k: v for k, v in WHOLE.items() if k < 20}
    early = RestCheck(asked_ns=WINDOW.to_ns + 5 * NS - 1, reaches=True)
    assert graded("okx_spot", no_after, rest=early)[0] == "covered"
    assert graded("okx_spot", no_after, rest=GOOD_REST)[0] == "proven"
    strong = Watermark(feed="okx_spot", symbol=SYMBOL, to_ns=WINDOW.to_ns, proof="next_id")
    assert graded("okx_spot", no_after, rest=early, watermarks=[strong])[0] == "proven"
    assert graded("gate_futures")[0] == "covered"
    assert "R7" in graded("gate_futures")[1]
    assert graded("phemex_spot") == (
        "covered", "its ids prove nothing: the connection held, and the venue's list agrees",
    )  # fmt: skip


@pytest.mark.parametrize("feed", ["okx_spot", "gate_futures", "bybit_spot", "phemex_futures"])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gaps": "suspected"}, "is not closed yet"),
        ({"gaps": "confirmed"}, "is not closed yet"),
        ({"gaps": "lost"}, "lost, cause cut"),
        ({"watermarks": [Watermark(feed="x", symbol=SYMBOL, to_ns=WINDOW.to_ns - 1)]}, "followed"),
        ({"watermarks": []}, "until never"),
        ({"rest": None}, "was not asked"),
        ({"rest": RestCheck(asked_ns=1, error="no answer")}, "no answer"),
        ({"rest": RestCheck(asked_ns=1, shown=9, missing=1, reaches=True)}, "shows 1 rows"),
        ({"rest": RestCheck(asked_ns=1, shown=9, different=2, reaches=True)}, "2 rows"),
    ],
)
def test_one_fault_and_it_is_incomplete(feed: str, changes: dict[str, Any], words: str) -> None:
    if isinstance(changes.get("gaps"), str):
        changes = {"gaps": [gap(feed, state=changes["gaps"], reason="beyond depth")]}
    grade, reasons = graded(feed, **changes)
    assert grade == "incomplete"
    assert words in reasons


def test_rows_that_are_not_covered_are_incomplete() -> None:
    answer = FeedAnswer(
        feed="okx_spot", instruments=(UsedInstrument(instrument=instrument("okx_spot")),),
        covered_from_ns=WINDOW.from_ns + 1, covered_to_ns=WINDOW.to_ns,
    )  # fmt: skip
    assert graded("okx_spot", answer=answer)[0] == "incomplete"


def test_a_closed_hole_does_not_matter_a_contract_value_does() -> None:
    assert graded("okx_spot", gaps=[gap("okx_spot", state="filled")])[0] == "proven"
    changed = gap("okx_futures", state="empty", cause="contract_value")
    assert "quantities" in graded("okx_futures", gaps=[changed])[1]


@pytest.mark.parametrize("used", [(), (UsedInstrument(instrument=instrument("okx_spot"),
                                                      is_used=False),)])  # fmt: skip
def test_a_feed_without_an_instrument_says_why(used: tuple[UsedInstrument, ...]) -> None:
    answer = FeedAnswer(feed="okx_spot", instruments=used)
    found = graded("okx_spot", answer=answer, absence="prelaunch: it did not trade yet")
    assert found == ("not_listed", "prelaunch: it did not trade yet")


def test_a_name_may_be_another_coins() -> None:
    def feed(name: str, price: float, mapped: str = "") -> FeedEvidence:
        return evidence(name, {}, "", price=price, mapped=mapped)

    feeds = [feed("okx_spot", 1.0), feed("gate_spot", 1.05), feed("bybit_spot", 1.2),
             feed("phemex_spot", 0.0)]  # fmt: skip
    found = suspicions(feeds)
    assert set(found) == {"bybit_spot"}
    assert "14 % off" in found["bybit_spot"]
    assert suspicions([*feeds[:2], feed("bybit_spot", 1.2, "same")]) == {}
    other = [feed("okx_spot", 1.0, "other"), *feeds[1:3]]
    assert "another coin" in suspicions(other)["okx_spot"]


def test_the_verdict_in_words() -> None:
    feeds = [evidence("okx_spot", taken("okx_spot", WHOLE), ""),
             evidence("phemex_spot", {}, "", rest=None)]  # fmt: skip
    whole = certify(
        event(), WINDOW, feeds, software="3", revision=2, state="partial", missing=["x"],
        made_at_ns=1, kept_to_ns=1,
    )  # fmt: skip
    assert whole.verdict == "partial: 1 proven, 1 incomplete"
    assert (whole.rows, whole.exchanges_with_data) == (3, 1)
    assert msgspec.convert(msgspec.to_builtins(whole), Certificate) == whole


NUMBERS = st.sets(st.integers(1, 40), max_size=15)


@given(NUMBERS, st.integers(0, 40), st.integers(0, 40))
def test_jumps_are_the_numbers_that_no_row_has(inside: set[int], before: int, after: int) -> None:
    rows = SymbolRows()
    for number in inside:
        rows.take(row("okx_spot", 0, number), WINDOW)
    rows.note_around(before, after)
    found = {n for first, last in rows.jumps() for n in range(first, last + 1)}
    held = inside | {n for n in (before, after) if n}
    assert found.isdisjoint(held)
    if inside:
        expected = set(range(min(inside), max(inside) + 1))
        if before:
            expected |= set(range(min(before, min(inside) - 1), min(inside)))
            expected -= {0}
        if after:
            expected |= set(range(max(inside), max(after, max(inside) + 1) + 1))
        assert found - {0} == expected - held


@given(NUMBERS, st.lists(st.tuples(st.integers(1, 20), st.integers(0, 5)), max_size=5))
def test_without_takes_away(numbers: set[int], spans: list[tuple[int, int]]) -> None:
    ranges = [(n, n) for n in sorted(numbers)]
    taken_away = [(first, first + length) for first, length in spans]
    left = {n for a, b in without(ranges, taken_away) for n in range(a, b + 1)}
    assert left == {n for n in numbers if not any(a <= n <= b for a, b in taken_away)}


def test_what_nobody_recorded_is_never_proven() -> None:
    """Every id and both neighbours are there, and still nobody was."""
    had = "PODUSDT: 12 rows of the venue's list"
    assert graded("okx_spot") == ("proven", "")
    assert graded("okx_spot", archive=[had]) == ("archive", had)
