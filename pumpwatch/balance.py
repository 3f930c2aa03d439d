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
    quarantined: int  # refused by us
    quarantined_kept: int  # of these, rows that the quarantine took
    buffered: int  # lines in the feed's buffer
    queued: int  # records on their way into a segment
    spooled: int
    replayed: int  # rows that an earlier run left in the spool
    passed_on: int | None  # held rows that the writer is past; None: not known at this instant
    accepted: int  # in the table's WAL
    applied: int  # in the table
    refused: int  # by the server
    refused_kept: int  # of these, and of some sent again, lines that the quarantine took
    lost: int = 0  # spooled, then found damaged on the disk: an alert of its own

    @property
    def pending(self) -> int:
        """Rows in the spool that are not known to be in the table."""
        return self.spooled + self.replayed - self.lost - self.applied - self.refused


def differences(balance: FeedBalance, *, is_settled: bool = False) -> list[str]:
    """Where the counters of one feed do not add up; an empty list is the promise kept.

    ``is_settled``: all that was accepted is applied.
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
    due = held if balance.passed_on is None else balance.passed_on
    if sent > held or (balance.passed_on is not None and sent != due):
        found.append(f"{balance.feed}: writer: {due} rows to send, {sent} sent")
    if balance.quarantined_kept != balance.quarantined:
        found.append(
            f"{balance.feed}: quarantine: {balance.quarantined} rows refused by us,"
            f" {balance.quarantined_kept} kept"
        )
    if balance.refused_kept < balance.refused:
        found.append(
            f"{balance.feed}: quarantine: {balance.refused} rows refused by the server,"
            f" {balance.refused_kept} kept"
        )
    if is_settled and balance.applied < balance.accepted:
        found.append(
            f"{balance.feed}: applied: {balance.applied} rows, all {balance.accepted} should be"
        )
    if balance.applied > balance.accepted:
        found.append(
            f"{balance.feed}: applied: {balance.applied} rows, only {balance.accepted} accepted"
        )
    return found
