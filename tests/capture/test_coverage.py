from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.capture.coverage import Coverage

SYMBOLS = ["A", "B", "C"]


def coverage_of(*wanted: str) -> Coverage:
    coverage = Coverage()
    coverage.wanted.update(wanted)
    return coverage


def test_a_symbol_is_an_orphan_when_its_last_connection_ends() -> None:
    coverage = coverage_of("A", "B")
    assert coverage.carry(1, ["A", "B"], 10) == ["A", "B"]
    assert coverage.carry(2, ["A"], 20) == []
    assert coverage.end(1) == ["B"]
    assert coverage.missing == ["B"]
    assert coverage.end(2) == ["A"]
    assert (coverage.subscribed, coverage.missing) == (0, ["A", "B"])
    assert coverage.end(2) == []


def test_an_unwanted_symbol_is_no_orphan() -> None:
    coverage = coverage_of("A")
    coverage.carry(1, ["A", "B"], 10)
    assert coverage.end(1) == ["A"]


def test_two_connections_are_one_subscription() -> None:
    coverage = coverage_of("A", "B")
    coverage.carry(1, ["A"], 10)
    coverage.carry(2, ["A"], 10)
    assert (coverage.subscribed, len(coverage.wanted), coverage.carriers("A")) == (1, 2, 2)


def test_what_was_read_is_the_proof_and_stays_when_the_connection_ends() -> None:
    coverage = coverage_of("A")
    assert coverage.proof_ns("A") == 0
    coverage.carry(1, ["A"], 10)
    coverage.carry(2, ["A"], 12)
    coverage.read(1, 50)
    assert coverage.proof_ns("A") == 50
    assert coverage.alive_ns() == 12  # the other one has been silent
    coverage.end(1)
    assert coverage.proof_ns("A") == 12
    coverage.read(2, 60)
    coverage.end(2)
    assert coverage.proof_ns("A") == 60
    assert coverage.alive_ns() == 0


def test_an_unbroken_span_begins_with_the_first_carrier() -> None:
    coverage = coverage_of("A")
    coverage.carry(1, ["A"], 10)
    coverage.carry(2, ["A"], 20)
    coverage.end(1)
    assert coverage.since_ns("A") == 10
    coverage.end(2)
    assert coverage.since_ns("A") == 0
    coverage.carry(3, ["A"], 30)
    assert coverage.since_ns("A") == 30


def test_a_doubted_symbol_is_not_carried_until_it_comes() -> None:
    coverage = coverage_of("A", "B")
    coverage.carry(1, ["A", "B"], 10)
    coverage.carry(2, ["A", "B"], 20)
    assert coverage.doubt(2, ["A"]) == []
    assert coverage.doubted(2) == ["A"]
    assert coverage.end(1) == ["A"]
    assert coverage.carry(2, ["A"], 40) == ["A"]
    assert coverage.doubted(2) == []


def test_what_we_left_is_not_missed() -> None:
    coverage = coverage_of("A")
    coverage.carry(1, ["A", "B"], 10)
    coverage.leave(1, ["B"])
    assert coverage.end(1) == ["A"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["carry", "doubt", "leave", "end"]),
            st.integers(0, 3),
            st.sets(st.sampled_from(SYMBOLS)),
        )
    )
)
def test_agrees_with_a_naive_set_of_pairs(steps: list[tuple[str, int, set[str]]]) -> None:
    coverage = coverage_of(*SYMBOLS)
    pairs: set[tuple[int, str]] = set()
    for now_ns, (what, connection, symbols) in enumerate(steps, start=1):
        before = {symbol for _, symbol in pairs}
        if what == "carry":
            told = coverage.carry(connection, sorted(symbols), now_ns)
            pairs |= {(connection, symbol) for symbol in symbols}
            assert set(told) == symbols - before
            continue
        gone = {(connection, symbol) for symbol in (SYMBOLS if what == "end" else symbols)}
        told = (
            coverage.end(connection) if what == "end"
            else getattr(coverage, what)(connection, sorted(symbols))
        )  # fmt: skip
        pairs -= gone
        if what != "leave":
            assert set(told) == before - {symbol for _, symbol in pairs}
        assert coverage.missing == sorted(set(SYMBOLS) - {symbol for _, symbol in pairs})
