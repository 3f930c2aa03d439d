"""The page of a daemon that records: its figures are the database's, and it turns red in time."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from playwright.sync_api import Page, expect

from pumpwatch.drills.stage import DaemonProcess, daemon_process, is_subscribed
from pumpwatch.errors import EXIT_GOOD
from pumpwatch.sim.process import Simulator, run_simulator
from pumpwatch.store.server import read_runtime, running_address
from pumpwatch.store.server_process import find_leftovers
from pumpwatch.store.sql import Sql
from tests.dashboard.browser import keep, open_browser, open_page

pytestmark = [pytest.mark.questdb, pytest.mark.slow]

SEED = 20_261_126
RATE = 1_000
RED_S_MAX = 10.0  # D-12


async def in_browser(url: str, look: Callable[[Page, list[str]], Any]) -> Any:
    def run() -> Any:
        with open_browser() as browser, open_page(browser, url, scheme="dark") as opened:
            return look(*opened)

    with trio.fail_after(120):
        return await trio.to_thread.run_sync(run)


async def stored_rows(daemon: DaemonProcess) -> int:
    sql = Sql(running_address(daemon.config), readonly=True)
    try:
        return int((await sql.query("SELECT count() FROM trades"))[0][0])
    finally:
        await sql.aclose()


async def settle(daemon: DaemonProcess, simulator: Simulator) -> None:
    await simulator.stop_generating()
    await daemon.until(lambda document: not document["store"]["pending_rows"], "settled")


def until(page: Page, state: str, within_s: float) -> float:
    began_s = time.monotonic()
    page.wait_for_selector(f'body[data-state="{state}"]', timeout=within_s * 1000)
    return time.monotonic() - began_s


async def test_the_page_tells_the_truth(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    arguments = ["--rate", str(RATE), "--seed", str(SEED)]
    async with (
        run_simulator(tmp_path / "truth", arguments) as simulator,
        daemon_process(tmp_path / "run", simulator) as daemon,
    ):
        daemon.start()
        await daemon.until(is_subscribed, "subscribed")
        await trio.sleep(5)
        url = f"http://127.0.0.1:{read_runtime(daemon.data_dir)['dashboard_port']}/"
        (database,) = find_leftovers(daemon.data_dir, daemon.data_dir / "questdb")

        def follow(page: Page, errors: list[str]) -> None:
            until(page, "ok", 60)
            keep(page, "live")
            before = page.inner_text("#stored")
            expect(page.locator("#stored")).not_to_have_text(before, timeout=20_000)
            os.kill(database.pid, signal.SIGSTOP)
            try:
                took_s = until(page, "down", RED_S_MAX)
                print(f"red after {took_s:.1f} s")
                assert httpx.get(f"{url}api/health", trust_env=False).status_code == 503
                assert httpx.get(f"{url}readyz", trust_env=False).status_code == 503
                keep(page, "live-database-stopped")
            finally:
                os.kill(database.pid, signal.SIGCONT)
            until(page, "ok", 60)
            assert errors == []

        await in_browser(url, follow)
        await settle(daemon, simulator)
        rows = await stored_rows(daemon)

        def compare(page: Page, errors: list[str]) -> None:
            expect(page.locator("#stored")).to_have_text(f"{rows:,}", timeout=20_000)
            assert errors == []

        await in_browser(url, compare)
        async with httpx.AsyncClient(trust_env=False) as client:
            figures = (await client.get(f"{url}api/metrics")).json()
        assert figures["trades_total"] == rows
        daemon.signal(signal.SIGTERM)
        assert await daemon.wait() == EXIT_GOOD, daemon.log_tail()
