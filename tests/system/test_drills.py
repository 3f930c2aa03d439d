"""The drills' short forms: processes, a real database, a fault, and every row accounted for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pumpwatch.drills.catalog import ANY_FEEDS, DRILLS
from pumpwatch.errors import EXIT_GOOD

pytestmark = [pytest.mark.questdb, pytest.mark.slow, pytest.mark.drill]

SEED = 20_261_125
TIMEOUT_S = 900  # a minute on a quiet machine
# A third of the feeds take half of the processor time; each of these exchanges counts otherwise.
FEW = "binance_spot,bybit_futures,kucoin_spot,gate_spot"
LONE = "binance_spot"  # for those that are about the database alone
WITH_LONE = {"backup", "burst", "poison", "query", "retention", "rollback"}
# Four commits a second of so few rows are a sixth of what such a run costs.
WRITER = {"PUMPWATCH_WRITER__INTERVAL_MS": "1000"}
ROOT_NEEDED = {"console", "disk", "retention", "backup", "rollback", "fire"}
# Rates that leave a busy machine of two cores some air: the long forms (make drills) take more.
# What takes longest begins first.
SHORT = {
    "rollback": ["--count", "1", "--rate", "500"],
    "soak": ["--count", "3", "--rate", "300"],
    "console": ["--count", "1", "--rate", "500"],
    "retention": ["--count", "1", "--rate", "1000"],
    "backup": ["--count", "1", "--rate", "500"],
    "fire": ["--count", "2", "--rate", "500"],
    "listing": ["--count", "14", "--rate", "600"],
    "query": ["--count", "1", "--rate", "2000"],
    "stages": ["--count", "30", "--rate", "500"],
    "gaps": ["--count", "20", "--rate", "2000"],
    "newborn": ["--count", "12", "--rate", "600"],
    "blackout": ["--count", "8", "--rate", "1500"],
    "integrity": ["--count", "15", "--rate", "1000"],
    "shadow": ["--count", "20", "--rate", "500"],
    "hybrid": ["--count", "20", "--rate", "1000"],
    "replace": ["--count", "8", "--rate", "2000"],
    "thinned": [],
    "outage": ["--count", "7", "--rate", "5000"],
    "crash": ["--count", "2", "--rate", "10000"],
    "shutdown": ["--count", "2", "--rate", "10000"],
    # The server takes room ahead: at 2,000 rows/s a full disk hurts nobody for longer than 5 s.
    "disk": ["--count", "2", "--rate", "10000"],
    "pump": ["--count", "5", "--rate", "1000"],
    "insert": ["--count", "10", "--rate", "50000"],
    "environment": ["--count", "1"],
    "replay": ["--count", "25", "--rate", "2500"],
    "times": ["--count", "8", "--rate", "1000"],
    "poison": ["--count", "3", "--rate", "2000"],
    "burst": ["--count", "15", "--rate", "5000"],
    "quarantine": ["--count", "5", "--rate", "2000"],
    "power": ["--count", "100"],
}


def drill(name: str, folder: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON line of ``pumpwatch drill``."""
    command = [sys.executable, "-m", "pumpwatch", "drill", name, "--seed", str(SEED)]
    command += ["--beside-others"]  # another worker's drill
    if name in ANY_FEEDS:
        command += ["--feeds", LONE if name in WITH_LONE else FEW]
    done = subprocess.run(
        [*command, "--data", str(folder), *options],
        capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=os.environ | WRITER,
    )  # fmt: skip
    print(done.stdout, done.stderr[-4000:])
    (line,) = done.stdout.splitlines()
    return done.returncode, msgspec.json.decode(line)


def test_every_drill_has_a_short_form() -> None:
    assert set(SHORT) == set(DRILLS)
    assert ANY_FEEDS >= WITH_LONE


@pytest.mark.parametrize("name", SHORT)
def test_nothing_is_lost_and_nothing_twice(name: str, tmp_path: Path) -> None:
    if name in ROOT_NEEDED and os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    code, found = drill(name, tmp_path / name, *SHORT[name])
    assert found["faults"] == []
    assert (found["missing"], found["duplicate"], found["pass"]) == (0, 0, True)
    assert found["rows"] > 0
    assert code == EXIT_GOOD
