"""Levels of fill: up at the limit, down a little below it, and what the writers see."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from pumpwatch.config import Config
from pumpwatch.config_upkeep import DiskConfig
from pumpwatch.store.disk import LOOK_S, DiskWatch, Level, Usage, measure, next_level, watched_paths

RULES = DiskConfig()


def usage(percent: float) -> Usage:
    used = int(percent * 1000)
    return Usage(device=1, total_bytes=100_000, used_bytes=used, available_bytes=100_000 - used)


@pytest.mark.parametrize(
    ("was", "percent", "now"),
    [
        (Level.OK, 69.9, Level.OK), (Level.OK, 70, Level.WARN), (Level.OK, 85, Level.EMERGENCY),
        (Level.OK, 95, Level.STOP), (Level.STOP, 94.5, Level.STOP),
        (Level.STOP, 93.9, Level.EMERGENCY), (Level.EMERGENCY, 84.5, Level.EMERGENCY),
        (Level.EMERGENCY, 83.9, Level.WARN), (Level.WARN, 69.5, Level.WARN),
        (Level.WARN, 68.9, Level.OK),
    ],
)  # fmt: skip
def test_levels(was: Level, percent: float, now: Level) -> None:
    assert next_level(was, percent, RULES) is now


@given(st.sampled_from(Level), st.floats(0, 100))
def test_a_level_never_flaps_at_one_fill(was: Level, percent: float) -> None:
    now = next_level(was, percent, RULES)
    assert next_level(now, percent, RULES) is now


def test_the_percent_is_that_of_df() -> None:
    found = Usage(device=1, total_bytes=1000, used_bytes=855, available_bytes=95)  # 50 reserved
    assert found.percent == pytest.approx(90.0)
    assert found.bytes_over(85) == 47
    assert found.bytes_over(90) == 0
    assert Usage(device=1, total_bytes=0, used_bytes=0, available_bytes=0).percent == 100


def test_a_folder_that_is_not_there_yet_is_measured_where_it_will_be(tmp_path: Path) -> None:
    found = measure(tmp_path / "not" / "yet")
    assert found.device == tmp_path.stat().st_dev
    assert found.total_bytes >= found.used_bytes + found.available_bytes > 0


async def test_the_writers_are_stopped_for_the_database_only_and_go_on_by_themselves(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    fill = {"questdb": 50.0, "spool": 50.0, "backups": 50.0}
    changes: list[tuple[str, str]] = []
    watch = DiskWatch(
        {"database": tmp_path / "questdb", "spool": tmp_path / "spool",
         "backups": tmp_path / "backups"},
        RULES,
        measure=lambda path: usage(fill[path.name]),
        on_change=lambda volume, level, percent: changes.append((volume, level.name)),
    )  # fmt: skip
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run)
        fill["backups"] = fill["spool"] = 99.0
        await trio.sleep(LOOK_S + 1)
        assert not watch.writers_stopped
        fill["questdb"] = 96.0
        await watch.emergency.wait()
        assert watch.writers_stopped
        assert watch.bytes_over_emergency() == 12_000
        fill["questdb"] = 60.0
        await trio.sleep(LOOK_S + 1)
        assert not watch.writers_stopped
        assert not watch.emergency.is_set()
        nursery.cancel_scope.cancel()
    assert changes == [
        ("spool", "STOP"), ("backups", "STOP"), ("database", "STOP"), ("database", "OK")
    ]  # fmt: skip


async def test_a_disk_that_cannot_be_asked_keeps_its_level(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    answers = [usage(96.0), usage(96.0)]

    def ask(path: Path) -> Usage:
        if not answers:
            raise OSError(5, "Input/output error")
        return answers.pop(0)

    watch = DiskWatch({"database": tmp_path}, RULES, measure=ask)
    with trio.move_on_after(LOOK_S * 3):
        await watch.run()
    assert watch.writers_stopped


def test_three_places_are_watched(tmp_path: Path) -> None:
    paths = watched_paths(Config(data_dir=tmp_path))
    assert paths == {
        "database": tmp_path / "questdb", "spool": tmp_path / "spool",
        "backups": tmp_path / "backups",
    }  # fmt: skip
