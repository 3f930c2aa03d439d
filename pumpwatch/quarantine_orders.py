"""The command line's ``quarantine retry``: the running daemon does it, and is asked for the end."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pumpwatch.config import Config
from pumpwatch.daemon_client import act
from pumpwatch.errors import ServerError

RETRY, STATE = "retry_quarantine", "quarantine_retry_state"


class ReadAgain(msgspec.Struct, kw_only=True):
    """What a retry came to, so far."""

    ended: bool = False
    error: str = ""
    messages: int = 0  # that were tried
    read: int = 0  # of them
    rows: int = 0  # new ones
    repeated: int = 0  # rows that were held already
    stay: int = 0  # messages that still cannot be read
    closed: int = 0  # rows of the ledger

    def as_row(self) -> dict[str, object]:
        """As JSON."""
        return msgspec.structs.asdict(self)

    def text(self) -> str:
        """In words."""
        return (
            f"{self.messages} messages: {self.read} read, {self.stay} stay; {self.rows} rows"
            f" recovered, {self.repeated} were held already; {self.closed} holes closed"
        )


def read_again(config: Config, feed: str | None, renames: Sequence[str]) -> ReadAgain:
    """Have it done; returns when it is. Raises ServerError, UsageError."""
    arguments = {"feed": feed, "rename": ",".join(renames) or None}
    wanted = {name: value for name, value in arguments.items() if value is not None}
    found = _read(act(config, RETRY, **wanted))
    while not found.ended:  # each question waits a while for the end
        found = _read(act(config, STATE))
    if found.error:
        raise ServerError(f"{found.error} ({found.text()})")
    return found


def _read(text: str) -> ReadAgain:
    return msgspec.json.decode(text, type=ReadAgain)
