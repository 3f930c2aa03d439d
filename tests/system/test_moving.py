"""The move from the original's store in a running daemon: compared, advanced, kept over a kill."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import trio

from pumpwatch.daemon_client import ask_window
from pumpwatch.drills.outage import is_well
from pumpwatch.drills.stage import DaemonProcess, is_subscribed, stage
from pumpwatch.migrate.compare import MS_NS
from pumpwatch.migrate.reads import name_of
from pumpwatch.migrate.stages import share_of
from pumpwatch.moments import iso_ns
from pumpwatch.store.server_process import PidFile
from pumpwatch.store.window_model import WindowQuestion
from tests.migrate.folders import TRIGGER_MS, metadata, trade, write_folder

pytestmark = [pytest.mark.questdb, pytest.mark.slow]

VERB_S_MAX = 120
EVENT_NS = TRIGGER_MS * MS_NS
SETTINGS = """
[migration]
shadow = "{old}"
stages = "10:0 100:0 100:0"
compare_interval_s = 1.0
check_interval_s = 1.0
comparisons_min = 3
"""


async def verb(daemon: DaemonProcess, *words: str, name: str = "migrate") -> tuple[int, str, str]:
    command = [sys.executable, "-m", "pumpwatch", name, *words]
    done = await trio.to_thread.run_sync(
        lambda: subprocess.run(
            [*command, "--config", str(daemon.config_file)],
            capture_output=True, text=True, timeout=VERB_S_MAX, check=False,
        )
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


async def until_stage(daemon: DaemonProcess, stage_number: int, windows: int) -> dict[str, Any]:
    """Once the daemon's own file says so."""
    return await until(
        daemon, lambda told: told["place"]["stage"] == stage_number and told["windows"] >= windows
    )


async def until(
    daemon: DaemonProcess, condition: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    path = daemon.config.data_dir / "migrate/status.json"
    with trio.fail_after(60):
        while True:
            if await trio.Path(path).exists():
                told = msgspec.json.decode(await trio.Path(path).read_bytes())
                if condition(told):
                    return dict(told)
            await trio.sleep(0.3)


def questions() -> list[WindowQuestion]:
    """Windows of the event, each with other bounds."""
    return [
        WindowQuestion(symbols=("0GUSDT",), from_ns=EVENT_NS - ms * MS_NS, to_ns=EVENT_NS + ms)
        for ms in range(18_700, 18_760)
    ]


async def reads_go_as_the_stage_says(daemon: DaemonProcess) -> None:
    """A tenth of the questions to QuestDB, always the same ones; the old store behind them."""
    asked = {question: await window(daemon, question) for question in questions()}
    moved = [question for question in asked if share_of(name_of(question)) < 10]
    assert 0 < len(moved) < 20
    for question, answer in asked.items():
        assert answer["source"] == ("database" if question in moved else "old_store")
        assert answer["count"] > 0
        assert (await window(daemon, question)) == answer
    # Whoever answers, the rows are the same; the table holds what was imported.
    first, other = moved[0], next(one for one in asked if one not in moved)
    assert asked[first]["trades"][-1] == asked[other]["trades"][-1]
    code, out, error = await verb(daemon, *spoken(other), name="trades")
    assert (code, len(out.splitlines()) > 1) == (0, True), error
    assert "from the original's store" in error
    told = await checked_with_reads(daemon, moved[0])
    assert told["health"]["errors"] == 0
    assert told["health"]["read_p99_ms"] > 0
    known = PidFile.read(daemon.data_dir)
    assert known is not None
    psutil.Process(known.pid).kill()  # the daemon starts it again
    answer = await window(daemon, moved[0])
    assert answer["source"] == "old_store"
    assert [t["trade_id"] for t in answer["trades"]] == [
        t["trade_id"] for t in asked[first]["trades"]
    ]
    await daemon.until(is_well, "well after the database was killed")


async def checked_with_reads(daemon: DaemonProcess, question: WindowQuestion) -> dict[str, Any]:
    """What a check says of reads since the one before, so that somebody must be reading."""
    with trio.fail_after(60):
        while True:
            await window(daemon, question)
            told = await until_stage(daemon, 1, windows=0)
            if told["health"]["reads"]:
                return told
            await trio.sleep(0.1)


def spoken(question: WindowQuestion) -> list[str]:
    return ["0GUSDT", "--from", iso_ns(question.from_ns), "--to", iso_ns(question.to_ns)]


async def window(daemon: DaemonProcess, question: WindowQuestion) -> dict[str, Any]:
    return await trio.to_thread.run_sync(ask_window, daemon.config, question, 10_000)


async def test_compared_moved_and_gone_on_after_a_restart(tmp_path: Path) -> None:
    old = tmp_path / "old"
    trades = {("bybit", "spot"): [trade("bybit", "spot", number) for number in range(200)]}
    write_folder(old, "0G_20250922_045000", trades, told=metadata())
    async with stage(tmp_path / "run", 5, 500, feeds=("bybit_spot", "gate_spot")) as (_, daemon):
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
        await reads_go_as_the_stage_says(daemon)
        code, out, error = await verb(daemon, "rollback")
        assert (code, out.strip()) == (0, "stage 0: 0 % of reads"), error
        code, out, _ = await verb(daemon, "status")
        assert code == 0
        assert "last change: rolled_back, by hand" in out
