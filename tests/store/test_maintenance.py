"""When the daemon's upkeep runs what; the parts are stand-ins that note their turns."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from pumpwatch.config_upkeep import DiskConfig
from pumpwatch.errors import BackupError, MaintenanceBusyError, ServerError
from pumpwatch.store.disk import DiskWatch, Usage
from pumpwatch.store.maintenance import RETRY_S, Upkeep, next_daily_ns, run_upkeep
from pumpwatch.store.maintenance_lock import hold_maintenance
from pumpwatch.store.partitions import DAY_NS, HOUR_NS, NS_PER_S

MIDNIGHT_NS = 20_000 * DAY_NS


class TrioClock:
    """A wall clock that goes with the test's virtual time."""

    def wall_ns(self) -> int:
        return MIDNIGHT_NS + int(trio.current_time() * NS_PER_S)


class Part:
    def __init__(self, turns: list[tuple[str, float]], name: str) -> None:
        self._turns = turns
        self._name = name
        self.fail: Callable[[], None] = lambda: None

    async def _turn(self) -> None:
        self._turns.append((self._name, trio.current_time()))
        await trio.sleep(1)
        self.fail()

    run = create = _turn

    async def recover(self) -> None:
        self._turns.append(("recover", trio.current_time()))


class Rig:
    def __init__(self, tmp_path: Path) -> None:
        self.turns: list[tuple[str, float]] = []
        self.percent = 10
        self.retention, self.cold, self.backups = (
            Part(self.turns, name) for name in ("retention", "cold", "backup")
        )
        self.upkeep = Upkeep(
            retention=cast("Any", self.retention), cold=cast("Any", self.cold),
            backups=cast("Any", self.backups), clock=TrioClock(), check_interval_s=3600,
            backup_daily_at="03:10",
            disk=DiskWatch({"database": tmp_path}, DiskConfig(), measure=self.measure),
        )  # fmt: skip

    def measure(self, path: Path) -> Usage:
        return Usage(device=1, total_bytes=100, used_bytes=self.percent,
                     available_bytes=100 - self.percent)  # fmt: skip

    async def run(self, hours: float) -> None:
        with trio.move_on_after(hours * 3600):
            await run_upkeep(self.upkeep)

    def times(self, name: str) -> list[float]:
        return [at_s for turn, at_s in self.turns if turn == name]


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setattr("pumpwatch.store.disk.LOOK_S", 60.0)  # fewer steps of a virtual day
    monkeypatch.setattr("pumpwatch.store.maintenance.LOOK_S", 60.0)
    return Rig(tmp_path)


async def test_at_the_start_hourly_and_daily_at_its_time(
    rig: Rig, autojump_clock: MockClock
) -> None:
    await rig.run(27.5)
    assert [name for name, _ in rig.turns[:3]] == ["recover", "retention", "cold"]
    assert rig.times("retention")[0] < 1
    assert len(rig.times("retention")) in (27, 28)
    backups = rig.times("backup")
    assert [at_s // 3600 for at_s in backups] == [3, 27]
    assert all(600 <= at_s % 3600 < 670 for at_s in backups)


async def test_two_never_run_at_once(rig: Rig, autojump_clock: MockClock) -> None:
    await rig.run(27.5)
    starts = sorted(at_s for name, at_s in rig.turns if name != "recover")
    assert all(later - earlier >= 1 for earlier, later in itertools.pairwise(starts))


async def test_a_full_disk_does_not_wait_for_the_hour(rig: Rig, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run, 1)
        await trio.sleep(1000)
        before = len(rig.times("retention"))
        rig.percent = 90
        await trio.sleep(65)
        assert len(rig.times("retention")) == before + 1
        rig.percent = 10
        await trio.sleep(1000)
        assert len(rig.times("retention")) == before + 1
        nursery.cancel_scope.cancel()


async def test_a_disk_that_fills_right_after_a_run_does_not_wait(
    rig: Rig, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run, 1)
        await trio.sleep(70)  # the run of the start is a minute ago
        rig.percent = 90
        await trio.sleep(65)
        assert len(rig.times("retention")) == 2
        await trio.sleep(200)
        assert len(rig.times("retention")) == 2  # it stays full: nothing more can be done at once
        await trio.sleep(200)
        assert len(rig.times("retention")) == 3
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("error", [ServerError("gone"), MaintenanceBusyError("busy"), OSError(28)])
async def test_what_fails_is_tried_again_soon_and_ends_nothing(
    rig: Rig, autojump_clock: MockClock, error: Exception
) -> None:
    def fail() -> None:
        raise error

    rig.retention.fail = fail
    await rig.run(1)
    assert len(rig.times("retention")) >= 3600 // (RETRY_S + 70)
    assert rig.times("cold")


async def test_a_backup_that_fails_is_tried_again_the_same_night(
    rig: Rig, autojump_clock: MockClock
) -> None:
    def fail() -> None:
        if len(rig.times("backup")) < 3:
            raise BackupError("no room")

    rig.backups.fail = fail
    await rig.run(24)
    at_s = rig.times("backup")
    assert len(at_s) == 3
    assert at_s[2] - at_s[0] < 2 * (RETRY_S + 70)


@given(st.integers(0, 40_000 * DAY_NS), st.integers(0, 23), st.integers(0, 59))
def test_the_next_time_of_day(now_ns: int, hours: int, minutes: int) -> None:
    found = next_daily_ns(now_ns, f"{hours:02d}:{minutes:02d}")
    assert now_ns < found <= now_ns + DAY_NS
    assert found % DAY_NS == hours * HOUR_NS + minutes * 60 * NS_PER_S


def test_the_lock_names_its_holder_and_goes_with_it(tmp_path: Path) -> None:
    with (
        hold_maintenance(tmp_path, "backup"),
        pytest.raises(MaintenanceBusyError, match=r"retention: backup \(pid \d+\) is at work"),
        hold_maintenance(tmp_path, "retention"),
    ):
        raise AssertionError
    with hold_maintenance(tmp_path, "a shorter one"):
        pass


# --- orders and what is told ----------------------------------------------------------------------


async def test_an_order_is_carried_out_at_once_and_never_beside_other_work(
    rig: Rig, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run, 1)
        await trio.sleep(1000)
        asked_s = trio.current_time()
        order = rig.upkeep.orders.give("backup", rig.backups.create)
        await order.ended.wait()
        assert order.error is None
        assert rig.times("backup") == [asked_s]
        assert rig.upkeep.orders.find(order.number) is order
        nursery.cancel_scope.cancel()


async def test_an_order_that_fails_says_so_and_ends_nothing(
    rig: Rig, autojump_clock: MockClock
) -> None:
    def fail() -> None:
        raise BackupError("no room")

    rig.backups.fail = fail
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run, 3)
        first = rig.upkeep.orders.give("backup", rig.backups.create)
        await first.ended.wait()
        assert str(first.error) == "no room"
        rig.backups.fail = lambda: None
        second = rig.upkeep.orders.give("backup", rig.backups.create)
        await second.ended.wait()
        assert second.error is None
        nursery.cancel_scope.cancel()


async def test_a_complaint_stands_until_the_same_work_goes_well(
    rig: Rig, autojump_clock: MockClock
) -> None:
    told = rig.upkeep.told
    complaints = ["the clock"]

    def fail() -> None:
        if complaints:
            told.tell("retention_refused", complaints.pop())
            raise ServerError("refused")

    rig.retention.fail = fail
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run, 2)
        await trio.sleep(RETRY_S - 10)
        assert told.standing == {"retention_refused": "the clock"}  # cold went well meanwhile
        await trio.sleep(100)
        assert told.standing == {}
        nursery.cancel_scope.cancel()


async def test_the_proof_comes_after_the_nights_backup(rig: Rig, autojump_clock: MockClock) -> None:
    class Proofs(Part):
        def is_due(self) -> bool:
            return bool(rig.times("backup")) and not rig.times("proof")

    rig.upkeep.nightly = cast("Any", Proofs(rig.turns, "proof"))
    await rig.run(5)
    (backup_s,), (proof_s,) = rig.times("backup"), rig.times("proof")
    assert backup_s < proof_s < backup_s + 100
