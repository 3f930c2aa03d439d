"""The demo's fake listing: a notice on the simulated board, a busy coin, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import trio
from rich.table import Table

from pumpwatch.config import Config
from pumpwatch.listing.bundle import FRAMES
from pumpwatch.listing.certificate import Certificate
from pumpwatch.listing.verify import read_certificate
from pumpwatch.listing_verbs import find_bundle

if TYPE_CHECKING:
    from pumpwatch.daemon import Daemon

COIN = "INJ"  # every simulated venue has it, and no won market yet
NOTICE = {
    "board": "upbit", "do": "publish", "title": f"인젝티브({COIN}) KRW 마켓 디지털 자산 추가",
    "symbols": [COIN],
}  # fmt: skip
ARGUMENTS = ("--pump", COIN, "--pump-share", "0.05")
SIDE_S, SIDE_SHORT_S = 20, 5  # of the window; short where the demo is
SHORT_S = 70
PROVEN_S = 12  # detection, the venues' lists, applying, publishing
POLL_S = 0.2
# After the demo's time: a window is published 60 s after its end at the latest.
PUBLISHED_S_MAX = 90.0
FRAMES_S_MAX = 15.0
UNPROVEN = (
    f"{COIN} was listed on the simulated Upbit; its window was not judged before the demo ended"
)


def configure(config: Config, seconds: int) -> Config:
    """A window that fits into the demo."""
    side_s = _side_s(seconds)
    listing = msgspec.structs.replace(
        config.listing, before_s=side_s, after_s=side_s,
        upbit=msgspec.structs.replace(config.listing.upbit, poll_interval_s=1.0),
    )  # fmt: skip
    return msgspec.structs.replace(config, listing=listing)


def _side_s(seconds: int) -> int:
    return SIDE_S if seconds >= SHORT_S else SIDE_SHORT_S


def notice_after_s(seconds: int) -> float:
    """When the notice is published: as late as lets its window be proven before the end."""
    return max(1.0, seconds - _side_s(seconds) - PROVEN_S)


def bundle_of(config: Config) -> Path | None:
    """The bundle, if it is in place."""
    folder = config.data_dir / "listings"
    return find_bundle(config, COIN) if list(folder.glob(f"{COIN}_*/event.json")) else None


async def until_published(daemon: Daemon, tell: Callable[[str], object]) -> None:
    """Wait for the bundle, at most ``PUBLISHED_S_MAX``; say what for, whenever that changes."""
    told, place = "", None
    with trio.move_on_after(PUBLISHED_S_MAX):
        while bundle_of(daemon.config) is None:
            text = _waits_for(daemon)
            if text != told:
                tell(text)
                told = text
            await trio.sleep(POLL_S)
        place = bundle_of(daemon.config)
    with trio.move_on_after(FRAMES_S_MAX):  # the raw messages come a moment behind it
        while place is not None and not (place / FRAMES).is_dir():  # noqa: ASYNC110
            await trio.sleep(POLL_S)


def _waits_for(daemon: Daemon) -> str:
    desk, listing = daemon.listing_desk, daemon.listing
    lives = []
    if desk is not None and listing is not None:
        lives = desk.book.lives([event.key for event in listing.book.all()])
    if not lives:
        return f"waiting until the notice of {COIN} is seen"
    end_s = (lives[0].window.to_ns - daemon.clock.wall_ns()) / 1e9
    if end_s > 0:
        return f"waiting for the end of {COIN}'s window"
    missing = "; ".join(lives[0].missing) or "its rows are being proven"
    return f"waiting for the proof of {COIN}'s window: {missing}"


def certificate_table(certificate: Certificate) -> Table:
    """What is proven of each feed."""
    table = Table(title=f"{certificate.symbol} is listed: {certificate.verdict}")
    for heading in ("feed", "grade", "trades", "why no better"):
        table.add_column(heading, justify="right" if heading == "trades" else "left")
    for feed in certificate.feeds:
        table.add_row(feed.feed, feed.grade, f"{feed.rows:,}", "; ".join(feed.reasons))
    return table


def closing_lines(place: Path) -> tuple[Table, list[str]]:
    """The table, and where everything is. Raises BundleError."""
    certificate, _ = read_certificate(place)
    report = place / "report.html"
    lines = [f"the report is {report}"] if report.exists() else []
    lines += [
        f"the signed bundle is {place}",
        f"play it back: python -m pumpwatch replay {place} --serve 127.0.0.1:7000",
    ]
    return certificate_table(certificate), lines
