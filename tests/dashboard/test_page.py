"""The page in a real browser, around a seat that the test fills in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import trio
from playwright.sync_api import Page, expect

from pumpwatch.standing import (
    AlertStanding,
    DetectorStanding,
    DiskStanding,
    GapStanding,
    ListingStanding,
    OperationStanding,
    Standing,
    TablesStanding,
    TierStanding,
    UpkeepStanding,
)
from tests.dashboard.browser import keep, open_browser, open_page
from tests.dashboard.stage import Stage, page_stage
from tests.standings import connection, database, feed, standing, with_feed

pytestmark = pytest.mark.slow

WAIT_MS = 8_000
NASTY = "<img src=x onerror=alert(1)>"


def tables() -> TablesStanding:
    return TablesStanding(
        asked_at="2026-11-25T09:00:00Z",
        gaps=[
            GapStanding(
                gap_id=f"g{number}", feed="okx_spot", symbol="BTCUSDT", cause="id_jump",
                state="confirmed", opened_at="2026-11-25T08:59:00.000000000Z", from_ts=None,
                to_ts=None, missing=7,
            )
            for number in range(3)
        ],
        gaps_open={"okx_spot": 3},
        gaps_lost={"gate_spot": 2},
        listings=[
            ListingStanding(
                source="upbit", notice_id="4711", symbol="PEPE", title=NASTY,
                url="https://upbit.com/x", announced_at="2026-11-25T08:30:00.000000000Z",
                detected_at="2026-11-25T08:30:04.000000000Z", trigger_delay_ms=4000,
                state="complete", collected_trades=8123, exchanges_with_data=11,
                certificate={
                    "bundle": "PEPE_20261125_083000", "verdict": "complete: 2 proven, 1 covered",
                    "feeds": {"okx_spot": {"grade": "proven"}},
                },
            )
        ],
        operations=[
            OperationStanding(
                started_at="2026-11-25T03:10:00.000000000Z", finished_at=None, operation="backup",
                subject="20261125", result="verified", detail="restored and compared",
            )
        ],
        disk_bytes=3 * 2**30,
    )  # fmt: skip


def full() -> Standing:
    shown = with_feed(
        "okx_spot", gaps_open=3, connections_open=1,
        connections=[connection(0), connection(1, state="waiting", error=NASTY)],
    )  # fmt: skip
    alert = AlertStanding(
        rule="gap_lost", subject="gate_spot", severity="digest", text="2 rows of BTCUSDT",
        since="2026-11-25T08:00:00Z", repeats=1, silenced=False, suppressed_by="",
    )  # fmt: skip
    upkeep = UpkeepStanding(
        tiers=[TierStanding(name="cold", partitions=720, rows=9_000_000, bytes=300 * 2**20,
                            oldest="2026-10-26T00:00:00Z")],
        days_left=41.3, disks=[
            DiskStanding(name=name, path="/data", level="warn", used_share=share, free_bytes=free)
            for name, share, free in (("database", 0.72, 2**30), ("spool", 0.7201, 2**30 - 4096),
                                      ("backups", 0.1, 2**40))
        ],
        backup="20261125T031000Z good", proof=f"2026-11-24: 5 trades {NASTY}; certificates 0a",
    )  # fmt: skip
    boards = [
        DetectorStanding(name="bithumb_web", interval_s=3, silent_s=1.5, error=""),
        DetectorStanding(name="upbit_web", interval_s=6, silent_s=200.0, error=f"HTTP 403 {NASTY}"),
        DetectorStanding(name="upbit_markets", interval_s=30, silent_s=None, error=""),
    ]
    return msgspec.structs.replace(
        shown, tables=tables(), alerts=[alert], upkeep=upkeep, detectors=boards
    )


async def in_browser(stage: Stage, look: Callable[[Page, list[str]], None], **options: Any) -> None:
    """Run ``look`` in a thread, with the page open."""

    def run() -> None:
        with open_browser() as browser, open_page(browser, f"{stage.url}/", **options) as opened:
            look(*opened)

    with trio.fail_after(100):
        await trio.to_thread.run_sync(run)


def show(stage: Stage, shown: Standing) -> None:
    """From the browser's thread: what the seat shows now."""
    trio.from_thread.run_sync(stage.seat.show, shown)


async def test_it_shows_the_figures_and_every_list() -> None:
    async with page_stage() as stage:
        stage.seat.show(full())

        def look(page: Page, errors: list[str]) -> None:
            assert page.inner_text("#rate") == "1,200"
            assert page.inner_text("#stored") == "12,000"
            assert page.inner_text("#subscribed") == "120"
            assert page.inner_text("#gaps-open") == "3"
            assert page.locator("tr.feed").count() == 12
            assert page.inner_text('tr[data-feed="okx_spot"] .c-gaps') == "3"
            assert page.locator('tr[data-feed="okx_spot"] .links i.waiting').count() == 1
            assert page.locator("#gaps li").count() == 3
            assert "2 proven, 1 covered" in page.inner_text("#listings")
            report = page.locator("#listings a.report").get_attribute("href")
            assert report == "/listings/PEPE_20261125_083000/report.html"
            assert "restored and compared" in page.inner_text("#operations")
            health = [
                item.get_attribute("data-health") for item in page.locator("#boards li").all()
            ]
            assert health == ["ok", "down", "down"]
            assert "HTTP 403" in page.inner_text("#boards")
            assert "99 % within 25 ms" in page.inner_text("#questions")
            assert "gap lost" in page.inner_text("#alerts")
            assert "9,000,000 rows" in page.inner_text("#tiers")
            assert page.inner_text("#tiers-more") == "41 days left at this rate"
            assert page.inner_text("#backup") == "20261125T031000Z good"
            assert page.inner_text("#proof") == f"2026-11-24: 5 trades {NASTY}"
            meters = [name.inner_text() for name in page.locator("#meters dt").all()]
            assert [name for name in meters if name.startswith("disk")] == [
                "disk of the database, spool", "disk of the backups",
            ]  # fmt: skip
            assert page.inner_text("#balance") == "every row is accounted for"
            page.click('tr[data-feed="okx_spot"] button')
            assert page.locator("tr.detail:visible").count() == 1
            keep(page, "light")
            assert errors == []

        await in_browser(stage, look)


async def test_it_follows_what_happens() -> None:
    async with page_stage() as stage:

        def look(page: Page, errors: list[str]) -> None:
            assert page.get_attribute("body", "data-state") == "ok"
            show(stage, standing(database=database(state="up", applied_rows=12_345)))
            expect(page.locator("#stored")).to_have_text("12,345", timeout=WAIT_MS)
            show(stage, standing(database=database(state="down", silent_s=9.0)))
            page.wait_for_selector('body[data-state="down"]', timeout=WAIT_MS)
            assert "database: no answer for 9 s" in page.inner_text("#banner")
            assert "bad" in (page.get_attribute("#database-state", "class") or "")
            keep(page, "down")
            show(stage, standing(differences=["okx_spot: road: 5 parsed, 4 accounted for"]))
            expect(page.locator("#balance")).to_contain_text("5 parsed", timeout=WAIT_MS)
            down = [feed(f.feed, connections_open=0) for f in standing().feeds]
            show(stage, standing(feeds=down))
            expect(page.locator("#banner")).to_have_text("feeds: 12 of 12 down", timeout=WAIT_MS)
            show(stage, standing(feeds=[*down[:2], *standing().feeds[2:]]))
            told = "binance spot: no connection is open · binance futures: no connection is open"
            expect(page.locator("#banner")).to_have_text(told, timeout=WAIT_MS)
            show(stage, standing(feeds=down, state="closing"))
            expect(page.locator("#banner")).to_have_text("daemon: closing", timeout=WAIT_MS)
            show(stage, standing())
            page.wait_for_selector('body[data-state="ok"]', timeout=WAIT_MS)
            assert not page.is_visible("#banner")
            assert errors == []

        await in_browser(stage, look)


async def test_without_a_daemon_it_says_so() -> None:
    """Nothing is sent any more: figures that stand still must not look alive."""
    async with page_stage() as stage:

        def look(page: Page, _errors: list[str]) -> None:
            page.wait_for_selector('body[data-state="lost"]', timeout=15_000)
            assert "does not answer" in page.inner_text("#banner")

        await in_browser(stage, look)


@pytest.mark.parametrize(
    ("name", "width", "height", "scheme"),
    [("dark", 1440, 1000, "dark"), ("phone", 390, 844, "dark"), ("phone-light", 390, 844, "light")],
)
async def test_it_fits_the_screen(name: str, width: int, height: int, scheme: str) -> None:
    async with page_stage() as stage:
        stage.seat.show(full())

        def look(page: Page, errors: list[str]) -> None:
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate("document.documentElement.dataset.theme") == scheme
            keep(page, name)
            assert errors == []

        await in_browser(stage, look, width=width, height=height, scheme=scheme)


async def test_what_others_wrote_stays_text() -> None:
    """A title of a notice, an error of a venue: never markup, never script."""
    async with page_stage() as stage:
        evil = feed("okx_spot", error=NASTY, refused={"X": NASTY})
        stage.seat.show(msgspec.structs.replace(full(), feeds=[evil], state=NASTY))

        def look(page: Page, errors: list[str]) -> None:
            page.click('tr[data-feed="okx_spot"] button')
            assert NASTY in page.inner_text("tr.detail")
            assert page.locator("img").count() == 0
            assert errors == []

        await in_browser(stage, look)


async def test_it_can_be_driven_by_keys() -> None:
    async with page_stage() as stage:

        def look(page: Page, errors: list[str]) -> None:
            page.keyboard.press("j")
            page.keyboard.press("j")
            focused = "document.activeElement.closest('tr').dataset.feed"
            assert page.evaluate(focused) == "binance_futures"
            page.keyboard.press("Enter")
            assert page.locator("tr.detail:visible").count() == 1
            theme = page.evaluate("document.documentElement.dataset.theme")
            page.keyboard.press("t")
            assert page.evaluate("document.documentElement.dataset.theme") != theme
            page.keyboard.press("?")
            assert page.is_visible("#help-dialog")
            page.keyboard.press("Escape")
            page.keyboard.press("w")
            assert page.is_visible("#window-dialog")
            page.fill("#window-form [name=name]", "BTC")
            page.click("#window-form button")
            expect(page.locator("#window-note")).to_contain_text("database", timeout=WAIT_MS)
            assert all("503" in error for error in errors)  # there is no database here

        await in_browser(stage, look)
