"""The script of the notice boards: what happens when, as JSON.

A document is a list of actions: ``[{"at_s": 2, "board": "upbit", "do": "publish", "title": "…"}]``.
``at_s`` counts from the moment the script was given. Docs of each field stand at ``Action``.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from pumpwatch.errors import UsageError


class Action(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that happens."""

    board: Literal["upbit", "bithumb"]
    do: Literal[
        "publish",  # a notice: title, category, key, symbols, late_s, opening_s, channels
        "edit",  # of the notice with this key: title, opening_s; lifts it on Upbit
        "withdraw",  # of the notice with this key
        "market",  # coin gets a KRW market; with quote another one
        "unmarket",  # and loses it
        "refuse",  # answer with status, and retry_after_s; for count requests or for_s seconds
        "clock",  # the board's clock is ahead of ours by skew_s
        "drop_sockets",  # cut Upbit's announcement sockets
    ]
    at_s: float = 0.0
    key: str = ""  # names a notice for later actions; "old" is an old notice of the third page
    title: str = ""
    category: str = ""  # default: the board's one of listings
    symbols: tuple[str, ...] = ()  # what a detector must find, for who compares
    late_s: float = 0.0  # appears so long after its time of publication
    opening_s: float = 0.0  # trading opens so long after publication; 0: the text does not say
    channels: tuple[Literal["web", "socket"], ...] = ("web", "socket")
    web_lag_s: float = 0.0  # the web page shows it so long after the socket
    coin: str = ""
    quote: str = "KRW"
    status: int = 429
    retry_after_s: float | None = None
    count: int = 0
    for_s: float = 0.0
    path: str = ""  # only requests that begin with it; empty: all of this board
    skew_s: float = 0.0


def read_script(document: bytes) -> list[Action]:
    """The actions in order of time. Raises UsageError where it is no script."""
    try:
        actions = msgspec.json.decode(document, type=list[Action])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"boards' script: {error}") from None
    return sorted(actions, key=lambda action: action.at_s)
