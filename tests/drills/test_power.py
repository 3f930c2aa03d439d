"""The power drill: good as things are, and failing as soon as a guarantee is switched off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from pumpwatch.drills import power
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.store import segment, spool_files
from pumpwatch.store.spool_files import SpoolFiles
from pumpwatch.store.spool_recovery import Recovered

SEED = 5
SPOOLS = 60


async def play(folder: Path) -> Outcome:
    print(f"seed {SEED}")
    return await power.run(Order(folder=folder, seed=SEED, count=SPOOLS, rate_per_s=0))


async def test_nothing_that_was_synced_is_lost(tmp_path: Path) -> None:
    outcome = await play(tmp_path)
    assert outcome.faults == []
    assert outcome.is_good
    assert set(power.KINDS) <= set(outcome.figures)  # each kind of damage came up
    assert outcome.figures["rows_that_damage_took"] > 0


def without_fsync(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SpoolFiles, "fsync", lambda files: None)


def without_syncing_the_folder(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SpoolFiles, "_sync_directory", lambda files: None)


def without_crc(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(segment, "zlib", SimpleNamespace(crc32=lambda *_: 0))


def without_replay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(spool_files, "recover", lambda folder: Recovered())


@pytest.mark.parametrize(
    "switch_off", [without_fsync, without_syncing_the_folder, without_crc, without_replay]
)
async def test_without_the_guarantee_the_drill_fails(
    switch_off: Callable[[pytest.MonkeyPatch], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    switch_off(monkeypatch)
    outcome = await play(tmp_path)
    assert not outcome.is_good
    assert outcome.faults
