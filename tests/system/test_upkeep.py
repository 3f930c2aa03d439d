"""The caretaker in a running daemon: verbs that it carries out under load, and every row kept."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from pumpwatch.daemon_orders import VERIFY, through_daemon
from pumpwatch.drills.outcome import Outcome
from pumpwatch.drills.reckoning import reckon
from pumpwatch.drills.stage import DaemonProcess, applied_rows, is_subscribed, stage
from pumpwatch.store.server import read_password, running_address
from pumpwatch.store.sql import Sql

pytestmark = [pytest.mark.questdb, pytest.mark.slow, pytest.mark.drill]

RATE_PER_S = 2000
VERB_S_MAX = 240
ENCRYPTED = '\n[backup]\nkey_file = "secrets/backup"\n'


async def verb(daemon: DaemonProcess, *words: str, code: int = 0) -> Any:
    """Its JSON, from a process of its own."""
    command = [sys.executable, "-m", "pumpwatch", *words, "--config", str(daemon.config_file)]
    done = await trio.to_thread.run_sync(
        lambda: subprocess.run(
            [*command, "--json"], capture_output=True, text=True, timeout=VERB_S_MAX, check=False
        )
    )
    assert done.returncode == code, done.stderr[-3000:] + daemon.log_tail()
    return msgspec.json.decode(done.stdout)


async def ask(daemon: DaemonProcess, question: str) -> list[tuple[Any, ...]]:
    sql = Sql(running_address(daemon.config))
    try:
        return await sql.query(question)
    finally:
        await sql.aclose()


async def until_rows(daemon: DaemonProcess, question: str, count: int) -> list[tuple[Any, ...]]:
    with trio.fail_after(60):
        while len(rows := await ask(daemon, question)) < count:  # noqa: ASYNC110
            await trio.sleep(0.2)
    return rows


async def test_backup_rotation_and_restore_lose_no_row(tmp_path: Path) -> None:
    outcome = Outcome()
    async with stage(tmp_path, 11, RATE_PER_S, ENCRYPTED) as (simulator, daemon):
        key = ["backup", "key", "--config", str(daemon.config_file)]
        await trio.run_process([sys.executable, "-m", "pumpwatch", *key], stdout=subprocess.DEVNULL)
        daemon.start()
        await daemon.until(is_subscribed, "subscribed")
        await daemon.until(lambda now: applied_rows(now) > 3 * RATE_PER_S, "rows applied")

        # Retention ran by itself at the start; a backup by order, with the writers held.
        (made,) = await verb(daemon, "backup", "create")
        assert made["state"] == "good"
        log = daemon.log_file.read_text()
        assert '"checkpoint_taken"' in log
        assert (await verb(daemon, "retention", "run"))["problems"] == []
        verified = await trio.to_thread.run_sync(
            partial(through_daemon, daemon.config, VERIFY, name=made["name"], quick="true")
        )
        assert verified is not None
        assert verified.result == []
        operations = await until_rows(
            daemon, "SELECT operation, result FROM operations WHERE result <> 'running'", 4
        )
        ended = {row[:2] for row in operations}
        assert {("backup", "good"), ("retention", "good"), ("backup_verify", "good")} <= ended
        shown = await daemon.until(
            lambda now: now["upkeep"]["backup"].startswith(made["name"]), "backup shown", 90
        )
        tiers = {tier["name"]: tier for tier in shown["upkeep"]["tiers"]}
        assert list(tiers) == ["hot", "warm", "cold", "gone"]
        assert tiers["hot"]["rows"] > 0
        assert tiers["warm"]["rows"] > 0

        # Rows of the backup, sent into the running database, fold into those that are there.
        ((hour,),) = await ask(daemon, "SELECT min(name) FROM table_partitions('trades')")
        (sent,) = await verb(daemon, "backup", "restore", made["name"], "--partition", hour[:13])
        assert 0 < sent["rows"] <= sent["now"]

        # New passwords: the server starts anew, the old ones are worth nothing.
        before = read_password(daemon.config, "password_file")
        await verb(daemon, "secrets", "rotate")
        assert read_password(daemon.config, "password_file") != before
        rows = applied_rows(daemon.status())
        await daemon.until(lambda now: applied_rows(now) > rows + RATE_PER_S, "rows again")
        assert "writer_faulty" not in daemon.log_file.read_text()

        await reckon(outcome, simulator, daemon)
        assert (outcome.missing, outcome.duplicate, outcome.faults) == (0, 0, [])
        assert outcome.rows > 6 * RATE_PER_S

    # The backup as a database of its own: what came after it is a hole of every symbol.
    restored = tmp_path / "restored"
    await verb(daemon, "backup", "restore", made["name"], "--to", str(restored))
    assert (restored / "restored.json").exists()
    async with stage(tmp_path / "again", 12, RATE_PER_S) as (simulator, second):
        second.data_dir.mkdir(parents=True)
        second.data_dir.rmdir()
        restored.rename(second.data_dir)
        second.start()
        await second.until(is_subscribed, "subscribed")
        gaps = await until_rows(second, "SELECT symbol FROM feed_gaps WHERE cause = 'restore'", 12)
        symbols = await ask(second, "SELECT DISTINCT exchange, market_type, symbol FROM trades")
        assert len(gaps) >= len(symbols) // 2
        assert not (second.data_dir / "restored.json").exists()
