"""The drill book: every acceptance test of the plan has its drill, found by number and by name."""

from __future__ import annotations

import pytest

from pumpwatch.cli import main
from pumpwatch.drills.acceptance import ACCEPTANCE, number_of
from pumpwatch.drills.catalog import DRILLS, find, in_order
from pumpwatch.errors import UsageError

NUMBERS = [f"D-{n:02d}" for n in range(19) if n != 3] + ["D-03a", "D-03b", "D-03c"]


def test_every_number_of_the_plan_is_played() -> None:
    assert set(ACCEPTANCE) <= set(DRILLS)
    for number in NUMBERS:
        assert find([number]), number
    assert find(["D-08"]) == ["crash", "power"]
    assert find(["D-18"]) == find(["soak", "insert", "pump", "hybrid"])
    assert find(["power", "D-08"]) == ["power", "crash"]
    with pytest.raises(UsageError, match="no such drill: D-99"):
        find(["crash", "D-99"])


def test_the_book_is_in_the_order_of_the_numbers() -> None:
    names = in_order()
    assert set(names) == set(DRILLS)
    numbers = [number_of(name) for name in names if number_of(name)]
    assert numbers == sorted(numbers)
    assert names[: len(numbers)] == [name for name in names if number_of(name)]


@pytest.mark.parametrize("words", [["run"], ["run", "nothing"], ["nothing"]])
def test_what_is_no_drill_is_said(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drill", *words]) == 64
    assert "pumpwatch: " in capsys.readouterr().err


def test_the_list_names_counts_and_targets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drill", "list"]) == 0
    out = capsys.readouterr().out
    for name in DRILLS:
        assert name in out
