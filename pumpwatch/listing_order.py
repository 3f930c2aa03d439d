"""``add_listing`` of the HTTP interface: does what ``listings add`` does."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import trio

from pumpwatch.dashboard.actions import Action, ActionDesk
from pumpwatch.errors import UsageError
from pumpwatch.listing.requests import ListingRequest, put_request
from pumpwatch.model import COIN
from pumpwatch.moments import EXAMPLE, parse_iso_ns

NOTE_LETTERS_MAX = 500


def offer_listing(desk: ActionDesk, data_dir: Path) -> None:
    """Make it an action; the detectors take the request as they take the command line's."""

    async def add(arguments: Mapping[str, str]) -> str:
        request = _request(arguments)
        await trio.to_thread.run_sync(partial(put_request, data_dir, request))
        return f"{request.symbol}, announced at {arguments['at']}, is taken within a second"

    desk.add(
        "add_listing",
        Action(
            help="Name an announcement by hand.",
            arguments={
                "symbol": "the coin, as AVA",
                "at": f"when it was announced, as {EXAMPLE}",
                "note?": "stands as the title",
            },
            run=add,
        ),
    )


def _request(arguments: Mapping[str, str]) -> ListingRequest:
    """Raises UsageError."""
    coin, at, note = arguments["symbol"], arguments["at"], arguments.get("note", "")
    announced_ns = parse_iso_ns(at)
    if COIN.fullmatch(coin) is None:
        raise UsageError(f"symbol {coin[:40]!r}: allowed: a coin, 1 to 15 of A-Z 0-9")
    if announced_ns is None or announced_ns <= 0:
        raise UsageError(f"at {at[:40]!r}: allowed: ISO 8601 in UTC after 1970, as {EXAMPLE}")
    if len(note) > NOTE_LETTERS_MAX:
        raise UsageError(f"note: allowed: at most {NOTE_LETTERS_MAX} letters")
    return ListingRequest(symbol=coin, announced_ns=announced_ns, note=note)
