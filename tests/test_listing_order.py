"""An announcement that a person names over HTTP reaches the folder that the detectors look into."""

from __future__ import annotations

from pathlib import Path

import pytest

from pumpwatch.dashboard.actions import ActionDesk
from pumpwatch.errors import UsageError
from pumpwatch.listing.requests import ListingRequest, read_request, waiting_requests
from pumpwatch.listing_order import offer_listing
from pumpwatch.moments import parse_iso_ns

AT = "2026-01-31T13:00:00.5Z"


async def test_it_waits_for_the_detectors(tmp_path: Path) -> None:
    desk = ActionDesk()
    offer_listing(desk, tmp_path)
    told = await desk.run("add_listing", {"symbol": "AVA", "at": AT, "note": "by hand"})
    assert told.startswith("AVA, announced at")
    (path,) = waiting_requests(tmp_path)
    announced_ns = parse_iso_ns(AT)
    assert announced_ns is not None
    assert read_request(path) == ListingRequest(
        symbol="AVA", announced_ns=announced_ns, note="by hand"
    )


@pytest.mark.parametrize(
    ("symbol", "at", "note", "part"),
    [
        ("ava", AT, "", "symbol"),
        ("../../AVA", AT, "", "symbol"),
        ("AVA", "noon", "", "at 'noon'"),
        ("AVA", "1970-01-01", "", "after 1970"),
        ("AVA", AT, "x" * 501, "note"),
    ],
)
async def test_what_cannot_be_meant_leaves_nothing(
    symbol: str, at: str, note: str, part: str, tmp_path: Path
) -> None:
    desk = ActionDesk()
    offer_listing(desk, tmp_path)
    with pytest.raises(UsageError, match=part):
        await desk.run("add_listing", {"symbol": symbol, "at": at, "note": note})
    assert waiting_requests(tmp_path) == []
