"""A real Chromium for the page's tests: Debian's, installed when it is missing.

Wait with ``expect``: waiting for an expression is eval, which the page's policy forbids, and which
is noticed only where the first look does not find it true yet.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "build/screenshots"  # looked at by people; CI keeps them
INSTALL_S_MAX = 300
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def chromium() -> str:
    """Its path; skips the test, saying why, only where it cannot be had."""
    if found := shutil.which("chromium") or shutil.which("chromium-browser"):
        return found
    if os.getuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-qq"], check=False, timeout=INSTALL_S_MAX)
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"]
        subprocess.run(command, check=False, timeout=INSTALL_S_MAX)
        if found := shutil.which("chromium"):
            return found
    pytest.skip("no chromium, and apt-get could not install it: the page is not tested here")


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A browser with a fresh profile; it is gone when the block ends."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(
    browser: Browser, url: str, *, width: int = 1440, height: int = 1000, scheme: str = "light"
) -> Iterator[tuple[Page, list[str]]]:
    """The page, and the list that its errors land in."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console",
        lambda line: errors.append(line.text) if line.type in ("error", "warning") else None,
    )
    page.on(
        "request", lambda asked: None if asked.url.startswith(url) else errors.append(asked.url)
    )
    page.goto(url)
    page.wait_for_selector('body:not([data-state="waiting"])')
    try:
        yield page, errors
    finally:
        context.close()


def keep(page: Page, name: str) -> None:
    """Keep a picture of the whole page."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
