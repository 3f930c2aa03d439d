"""The demo's fake listing: a notice on the simulated board, a busy coin, and what comes of it."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import msgspec
import trio
from rich.table import Table

from pumpwatch.config import Config
from pumpwatch.listing.certificate import Certificate
from pumpwatch.listing.verify import read_certificate
from pumpwatch.listing_verbs import find_bundle

COIN = "INJ"  # every simulated venue has it, and no won market yet
TITLE = f"인젝티브({COIN}) KRW 마켓 디지털 자산 추가"
ARGUMENTS = ("--pump", COIN, "--pump-share", "0.05")
SIDE_S, SIDE_SHORT_S = 20, 5  # of the window; short where the demo is
SHORT_S = 70
PROVEN_S = 12  # detection, the venues' lists, applying, publishing
POLL_S = 0.2
UNPROVEN = (
    f"{COIN} was listed on the simulated Upbit; its window was not judged before the demo ended"
    " (a daemon that goes on publishes it a minute after the notice at the latest)"
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


async def publish_notice(control_url: str) -> None:
    """Put the notice on the simulated board. Raises httpx.HTTPError."""
    script = [{"board": "upbit", "do": "publish", "title": TITLE, "symbols": [COIN]}]
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        answer = await client.post(control_url, content=json.dumps(script))
        answer.raise_for_status()


async def bundle_of(config: Config, within_s: float) -> Path | None:
    """The bundle once it is in place; None: not within that time."""
    folder = config.data_dir / "listings"
    with trio.move_on_after(within_s):
        while not list(folder.glob(f"{COIN}_*/event.json")):  # noqa: ASYNC110
            await trio.sleep(POLL_S)
        return find_bundle(config, COIN)
    return None


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
    return certificate_table(certificate), [*lines, f"the signed bundle is {place}"]
