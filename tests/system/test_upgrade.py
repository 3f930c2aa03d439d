"""N, N + 1 and N again on one data_dir under load: a schema that grew, and no row lost."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from pumpwatch.drills.outcome import Outcome
from pumpwatch.drills.reckoning import reckon
from pumpwatch.drills.stage import DaemonProcess, applied_rows, is_subscribed, stage
from pumpwatch.store.schema import SCHEMA_VERSION

pytestmark = [pytest.mark.questdb, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
RATE_PER_S = 2000
FEEDS = ("binance_futures", "okx_spot", "gate_spot", "phemex_futures")
VERB_S_MAX = 240


def next_release(folder: Path) -> Path:
    """This checkout with one schema file more."""
    shutil.copytree(ROOT / "pumpwatch", folder / "pumpwatch")
    shutil.copytree(ROOT / "schema", folder / "schema")
    change = folder / "schema" / f"{SCHEMA_VERSION + 1:03d}_trades_note.sql"
    change.write_text("ALTER TABLE trades ADD COLUMN note VARCHAR;\n")
    return folder


async def verb(source: Path, daemon: DaemonProcess, *words: str) -> tuple[int, Any]:
    """Exit code and JSON of a verb of that release."""
    command = [sys.executable, "-m", "pumpwatch", *words, "--config", str(daemon.config_file)]
    done = await trio.to_thread.run_sync(
        lambda: subprocess.run(
            [*command, "--json"], capture_output=True, text=True, timeout=VERB_S_MAX, check=False,
            cwd=source,
        )
    )  # fmt: skip
    print(done.stderr[-2000:])
    return done.returncode, msgspec.json.decode(done.stdout)


async def record(daemon: DaemonProcess, rows: int) -> None:
    """Start, and record so many rows."""
    daemon.start()
    await daemon.until(is_subscribed, "subscribed")
    await daemon.until(lambda now: applied_rows(now) > rows, "rows applied")


async def end(daemon: DaemonProcess) -> None:
    daemon.signal(signal.SIGTERM)
    assert await daemon.wait() == 0, daemon.log_tail()


async def test_forth_and_back_under_load(tmp_path: Path) -> None:
    newer = next_release(tmp_path / "newer")
    outcome = Outcome()
    async with stage(tmp_path, 21, RATE_PER_S, feeds=FEEDS) as (simulator, daemon):
        await record(daemon, 2 * RATE_PER_S)
        code, found = await verb(newer, daemon, "upgrade", "check")
        assert code == 1
        (missing,) = [row["text"] for row in found if row["state"] == "fail"]
        assert f"schema {SCHEMA_VERSION} becomes {SCHEMA_VERSION + 1}" in missing
        assert "there is no good backup" in missing
        code, (made,) = await verb(ROOT, daemon, "backup", "create")
        assert (code, made["state"]) == (0, "good")
        code, found = await verb(newer, daemon, "upgrade", "check")
        assert code == 0, found
        await end(daemon)

        daemon.source = newer
        await record(daemon, 2 * RATE_PER_S)
        assert '"schema_applied"' in daemon.log_file.read_text()
        await end(daemon)

        daemon.source = None
        await record(daemon, 2 * RATE_PER_S)
        assert '"schema_newer"' in daemon.log_file.read_text()
        code, found = await verb(ROOT, daemon, "upgrade", "check")
        assert code == 0, found
        await reckon(outcome, simulator, daemon)
    # What was traded while no release ran was never delivered to one: it is the ledger's.
    assert (outcome.missing, outcome.duplicate, outcome.faults) == (0, 0, [])
    assert outcome.rows > 6 * RATE_PER_S
