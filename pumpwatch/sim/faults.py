"""What can go wrong at a venue, and when: a plan of faults as data.

A plan is a JSON list of objects, or one object a line:
``{"at_s": 3, "feed": "okx_spot", "kind": "cut", "how": "reset"}``. ``at_s`` counts from the first
subscription where the plan came with the start, else from the moment it was given.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from pumpwatch.errors import UsageError

Kind = Literal[
    "withhold",  # the next ``rows`` trades of the symbol do not come on the stream; REST has them
    "thin",  # each trade of the symbol(s) is kept back with the chance ``share``, for ``seconds``
    "mute",  # nothing of the symbol(s) comes on the stream for ``seconds``; no connection ends
    "repeat",  # the next ``rows`` trades of the symbol come twice
    "late",  # the next ``rows`` trades of the symbol come ``seconds`` later, behind others
    "cut",  # connections end, as ``how`` says: fin, reset, or mid_frame
    "stall",  # connections send nothing for ``seconds``, and stay open; what was to go out is lost
    "half_open",  # as stall, and nobody reads what the client sends: its pings find no answer
    "rename",  # for ``seconds`` the member ``field`` of what is pushed is called ``into``
    "refuse",  # for ``seconds`` subscriptions are refused
    "expire",  # KuCoin: tokens so far are worth nothing, connections made with them end
    "close",  # the venue says that it will close connections, and does so after ``seconds``
    "rest",  # for ``seconds`` requests get ``status`` (0: their answer), after ``delay_s``
    "outage",  # connections are cut, and refused for ``seconds``; so is REST
    "launch",  # a new instrument is announced; it trades from ``seconds`` later on
    "delist",  # an instrument stops trading; ``seconds`` later the list does not show it
]
STREAM = frozenset({"withhold", "thin", "mute", "repeat", "late"})
LINKS = frozenset({"cut", "stall", "half_open", "close", "expire"})  # connections
FARAWAY_S = 86_400.0
LATE_S_MAX = 2.0  # a venue's own disorder; what comes later is not late, but lost


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault of one feed."""

    at_s: float = 0.0
    feed: str
    kind: Kind
    symbol: str = ""  # the venue's name; empty: all, or all connections, or the next unborn one
    seconds: float = 0.0
    rows: int = 1
    share: float = 1.0
    how: Literal["fin", "reset", "mid_frame"] = "reset"
    status: int = 0
    retry_after_s: float | None = None
    delay_s: float = 0.0
    field: str = ""
    into: str = ""  # as long as ``field``: frames keep their size
    listed_s: float = 0.0  # launch: the list shows it so much later than ``at_s``


def read_plan(document: bytes) -> list[Fault]:
    """The faults in order of time. Raises UsageError where it is no plan."""
    text = document.strip()
    try:
        if text.startswith(b"["):
            faults = msgspec.json.decode(text, type=list[Fault])
        else:
            faults = msgspec.json.Decoder(Fault).decode_lines(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"plan of faults: {error}") from None
    for fault in faults:
        _check(fault)
    return sorted(faults, key=lambda fault: fault.at_s)


def _check(fault: Fault) -> None:
    where = f"plan of faults: {fault.feed} {fault.kind}"
    if fault.at_s < 0 or not 0 <= fault.seconds <= FARAWAY_S:
        raise UsageError(f"{where}: at_s and seconds must be from 0 to {FARAWAY_S:g}")
    if not 0 <= fault.share <= 1 or fault.rows < 1:
        raise UsageError(f"{where}: share must be from 0 to 1, rows at least 1")
    if fault.kind == "late" and not fault.seconds < LATE_S_MAX:
        raise UsageError(f"{where}: seconds must be below {LATE_S_MAX:g}")
    if fault.kind == "rename" and not 0 < len(fault.field) == len(fault.into):
        raise UsageError(f"{where}: needs field and into, of the same length")
    if fault.kind in ("withhold", "repeat", "late", "delist") and not fault.symbol:
        raise UsageError(f"{where}: needs a symbol")


class Played(msgspec.Struct, kw_only=True):
    """A line of the log: a fault and whom it hit."""

    fault: Fault
    at_ns: int  # wall time
    until_ns: int = 0  # 0: not over
    symbols: list[str] = msgspec.field(default_factory=list)  # venue's names
    connections: int = 0
    rows: int = 0  # kept back, sent twice, or sent late
    note: str = ""
