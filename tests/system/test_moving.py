"""The move from the original's store in a running daemon: compared, advanced, kept over a kill."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from pumpwatch.drills.stage import DaemonProcess, is_subscribed, stage
from tests.migrate.folders import metadata, trade, write_folder

pytestmark = [pytest.mark.questdb, pytest.mark.slow]

VERB_S_MAX = 120
SETTINGS = """
[migration]
shadow = "{old}"
stages = "10:0 100:0 100:0"
compare_interval_s = 1.0
check_interval_s = 1.0
comparisons_min = 3
"""


async def verb(daemon: DaemonProcess, *words: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "pumpwatch", "migrate", *words]
    done = await trio.to_thread.run_sync(
        lambda: subprocess.run(
            [*command, "--config", str(daemon.config_file)],
            capture_output=True, text=True, timeout=VERB_S_MAX, check=False,
        )
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


async def until_stage(daemon: DaemonProcess, stage_number: int, windows: int) -> dict[str, Any]:
    """Once the daemon's own file says so."""
    path = daemon.config.data_dir / "migrate/status.json"
    with trio.fail_after(60):
        while True:
            if await trio.Path(path).exists():
                told = msgspec.json.decode(await trio.Path(path).read_bytes())
                if told["place"]["stage"] == stage_number and told["windows"] >= windows:
                    return dict(told)
            await trio.sleep(0.3)


async def test_compared_moved_and_gone_on_after_a_restart(tmp_path: Path) -> None:
    old = tmp_path / "old"
    trades = {("bybit", "spot"): [trade("bybit", "spot", number) for number in range(200)]}
    write_folder(old, "0G_20250922_045000", trades, told=metadata())
    async with stage(tmp_path / "run", 5, 500) as (_, daemon):
        settings = await trio.Path(daemon.config_file).read_text()
        await trio.Path(daemon.config_file).write_text(settings + SETTINGS.format(old=old))
        daemon.start()
        await daemon.until(is_subscribed, "subscribed")
        # Nothing of the old store is in the database yet: that is a difference, and no stage on.
        told = await until_stage(daemon, 0, windows=1)
        assert told["feeds"]["bybit_spot"]["only_old"] > 0
        code, _, error = await verb(daemon, "advance")
        assert code == 64, error
        assert "rows differ: equality must be 100 %" in error

        code, out, error = await verb(daemon, "import", str(old))
        assert code == 0, error
        assert "200" in out
        code, out, error = await verb(daemon, "shadow", "--windows", "5")
        assert code == 0, out + error
        daemon.signal(signal.SIGTERM)
        assert await daemon.wait() == 0
        daemon.start()
        await daemon.until(is_subscribed, "subscribed again")
        await until_stage(daemon, 0, windows=3)
        code, out, error = await verb(daemon, "advance")
        assert (code, out.strip()) == (0, "stage 1: 10 % of reads"), error

        daemon.kill()
        await daemon.wait()
        daemon.start()
        await daemon.until(is_subscribed, "subscribed after a kill")
        told = await until_stage(daemon, 1, windows=0)
        assert told["read_percent"] == 10
        code, out, error = await verb(daemon, "rollback")
        assert (code, out.strip()) == (0, "stage 0: 0 % of reads"), error
        code, out, _ = await verb(daemon, "status")
        assert code == 0
        assert "last change: rolled_back, by hand" in out
