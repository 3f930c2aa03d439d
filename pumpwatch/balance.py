"""Promise 5, sans-IO: the counters must balance, and a difference names the place."""

from __future__ import annotations

import msgspec


class FeedBalance(msgspec.Struct, frozen=True, kw_only=True):
    """One feed's rows at one instant, from the socket to the table."""

    feed: str
    parsed: int
    passed: int  # made into lines
    repeated: int
    history_skipped: int
    quarantined: int
    buffered: int  # lines in the feed's buffer
    queued: int  # records on their way into a segment
    spooled: int
    replayed: int  # rows that an earlier run left in the spool
    accepted: int  # in the table's WAL
    applied: int  # in the table
    refused: int  # by the server: in quarantine
    lost: int = 0  # spooled, then found damaged on the disk: an alert of its own

    @property
    def pending(self) -> int:
        """Rows in the spool that are not known to be in the table."""
        return self.spooled + self.replayed - self.lost - self.applied - self.refused


def differences(balance: FeedBalance, *, is_at_rest: bool) -> list[str]:
    """Where the counters of one feed do not add up; an empty list is the promise kept.

    ``is_at_rest``: the writers have taken everything that is spooled, so that accepted rows can be
    held against spooled ones.
    """
    found = []
    taken = balance.passed + balance.repeated + balance.history_skipped + balance.quarantined
    if balance.parsed != taken:
        found.append(f"{balance.feed}: road: {balance.parsed} parsed, {taken} accounted for")
    kept = balance.buffered + balance.queued + balance.spooled
    if balance.passed != kept:
        found.append(f"{balance.feed}: spool: {balance.passed} rows in, {kept} accounted for")
    held = balance.spooled + balance.replayed - balance.lost
    sent = balance.accepted + balance.refused
    if sent > held or (is_at_rest and sent != held):
        found.append(f"{balance.feed}: writer: {held} rows held, {sent} sent")
    if balance.applied > balance.accepted:
        found.append(
            f"{balance.feed}: applied: {balance.applied} rows, only {balance.accepted} accepted"
        )
    return found
