"""Somebody else's word for a newer id: what ours should have brought, and what it need not have."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from pumpwatch.capture.id_witness import GRACE_NS, Behind, IdWitness
from pumpwatch.sim.faults import Fault
from pumpwatch.sim.settings import SimSettings
from tests.capture.virtual import VirtualDesk, run_in_virtual_time

NS = 10**9
NOW_NS = 1_790_000_000 * NS
FEED = "binance_futures"


def told(*last_ids: int) -> IdWitness:
    witness = IdWitness(["A"])
    for number, last_id in enumerate(last_ids):
        witness.tell("A", last_id, NOW_NS + number * NS)
    return witness


def behind(witness: IdWitness, seen_to: int, after_ns: int) -> list[Behind]:
    return witness.behind(lambda _: seen_to, lambda _: NOW_NS + after_ns)


def test_what_does_not_come_is_told_once_with_the_newest_id() -> None:
    witness = told(7, 9)
    assert behind(witness, 6, GRACE_NS - 1) == []
    assert behind(witness, 6, GRACE_NS) == [Behind("A", 6, 9)]
    assert behind(witness, 6, 2 * GRACE_NS) == []
    witness.tell("A", 10, NOW_NS + 2 * GRACE_NS)
    assert behind(witness, 6, 3 * GRACE_NS) == [Behind("A", 6, 10)]


def test_what_came_meanwhile_owes_nothing_and_what_is_newer_has_its_own_time() -> None:
    witness = told(7, 9)
    assert behind(witness, 7, GRACE_NS) == []  # 9 is owed since now
    assert behind(witness, 7, 2 * GRACE_NS - 1) == []
    assert behind(witness, 7, 2 * GRACE_NS) == [Behind("A", 7, 9)]
    witness = told(7)
    assert behind(witness, 8, 9 * GRACE_NS) == []
    assert behind(witness, 8, 10 * GRACE_NS) == []


def test_a_daemon_that_is_behind_with_reading_accuses_nobody() -> None:
    witness = told(7)
    for _ in range(20):  # a minute long, and read up to a second behind the word
        assert behind(witness, 6, NS) == []
    assert behind(witness, 6, GRACE_NS) == [Behind("A", 6, 7)]


def test_older_words_and_other_symbols_count_for_nothing() -> None:
    witness = told(9, 7, 9)
    witness.tell("B", 5, NOW_NS)
    assert witness.told == 1
    assert behind(witness, 0, GRACE_NS) == [Behind("A", 0, 9)]


# --- with the simulated venue ---------------------------------------------------------------------


def listen(
    monkeypatch: pytest.MonkeyPatch, folder: Path,
    script: Callable[[VirtualDesk], Awaitable[None]], *, symbols: int = 5,
) -> VirtualDesk:  # fmt: skip
    settings = SimSettings(
        seed=11, symbols=6, rate_per_s=20.0, recorded=False, goes_on=True, tick_s=0.4,
        feeds=(FEED,),
    )  # fmt: skip
    desks: list[VirtualDesk] = []

    async def main() -> None:
        desk = VirtualDesk(monkeypatch, folder, settings)
        desk.witness_symbols = symbols
        desks.append(desk)
        await desk.run(script)

    run_in_virtual_time(monkeypatch, main)
    return desks[0]


def test_a_stream_that_brings_all_is_never_accused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(desk: VirtualDesk) -> None:
        await trio.sleep(300)

    (run,) = listen(monkeypatch, tmp_path, script).witnesses
    assert run.told > 1_000
    assert run.found == 0


@pytest.mark.parametrize("symbols", [5, 0])
def test_a_stream_that_falls_silent_is_found_within_seconds(
    symbols: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the witness its symbols are first compared when they were quiet for 30 s."""
    took_s: list[float] = []

    async def script(desk: VirtualDesk) -> None:
        await trio.sleep(60)
        mute = Fault(feed=FEED, kind="mute", symbol="BTCUSDT", at_s=0.0, seconds=120.0)
        began_s = trio.current_time()
        desk.exchange.faults.give([mute], began_s)
        assert await desk.until(
            lambda: any(gap.cause == "silence" for gap in desk.ledger.open_gaps()), 100
        )
        took_s.append(trio.current_time() - began_s)

    desk = listen(monkeypatch, tmp_path, script, symbols=symbols and 6)
    if symbols:
        assert took_s[0] < 10
        assert desk.witnesses[0].found == 1
    else:
        assert took_s[0] > 30
    assert {gap.symbol for gap in desk.side.ledger if gap.cause == "silence"} == {"BTCUSDT"}


def test_a_witness_that_is_cut_comes_again_and_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cut takes every connection of the feed, its own too."""
    told: list[int] = []

    async def script(desk: VirtualDesk) -> None:
        await trio.sleep(60)
        (run,) = desk.witnesses
        told.append(run.told)
        desk.exchange.faults.give([Fault(feed=FEED, kind="cut", at_s=0.0)], trio.current_time())
        await trio.sleep(120)
        told.append(run.told)
        assert desk.is_subscribed

    desk = listen(monkeypatch, tmp_path, script)
    assert told[1] > told[0] + 500, told
    assert desk.witnesses[0].found == 0
