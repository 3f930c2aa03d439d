"""The drill book: every acceptance test of the plan has its drill, found by number and by name."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pumpwatch.cli import main
from pumpwatch.drills.acceptance import ACCEPTANCE, number_of
from pumpwatch.drills.catalog import DRILLS, find, in_order
from pumpwatch.drills.outcome import Order, Outcome
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


@pytest.mark.parametrize("words", [
    ["run"], ["run", "nothing"], ["nothing"], ["gaps", "--feeds", "okx_spot"],
    ["crash", "--feeds", "okx_spot,kraken_spot"], ["crash", "--feeds", ","],
])  # fmt: skip
def test_what_is_no_drill_is_said(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drill", *words]) == 64
    assert "pumpwatch: " in capsys.readouterr().err


def test_the_list_names_counts_and_targets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drill", "list"]) == 0
    out = capsys.readouterr().out
    for name in DRILLS:
        assert name in out


@pytest.mark.parametrize("is_alone", [True, False])
def test_speed_is_judged_only_alone(is_alone: bool) -> None:
    order = Order(folder=Path(), seed=1, count=1, rate_per_s=1, is_alone=is_alone)
    outcome = Outcome(rows=1)
    outcome.expect_speed(order, True, "fast")
    outcome.expect_speed(order, False, "too slow")
    assert outcome.is_good != is_alone
    assert outcome.faults == (["too slow"] if is_alone else [])
    assert outcome.figures.get("not_judged", []) == ([] if is_alone else ["too slow"])


@pytest.mark.parametrize("option", ["--alone", "--beside-others"])
def test_the_option_reaches_the_drill(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    orders: list[Order] = []

    async def note(order: Order) -> Outcome:
        orders.append(order)
        return Outcome(rows=1)

    monkeypatch.setattr("pumpwatch.log.configure", lambda **_: None)  # of all tests behind this one
    monkeypatch.setitem(DRILLS, "times", msgspec.structs.replace(DRILLS["times"], play=note))
    assert main(["drill", "times", option]) == 0
    assert [order.is_alone for order in orders] == [option == "--alone"]
