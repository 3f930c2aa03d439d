"""The table ``operations``: every backup, retention run, conversion and restore, and its result.

A row is written at the start (result: running) and upserted at the end, so that a run that was
killed shows as one that never ended.
"""

from __future__ import annotations

from typing import Protocol

import msgspec
import structlog
import trio

from pumpwatch.clock import Clock
from pumpwatch.store.ilp_client import IlpSender, Outcome
from pumpwatch.store.side_rows import side_row
from pumpwatch.store.side_tables import SideTables

log = structlog.get_logger()

RUNNING = "running"
DETAIL_CHARACTERS_MAX = 4_000


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One run; ``result``: running, good, failed, refused, or what the operation says."""

    started_ns: int
    operation: str
    subject: str
    result: str = RUNNING
    detail: str = ""
    finished_ns: int = 0
    revision: int = 1

    def line(self) -> bytes:
        """As a row of ILP."""
        return side_row(
            "operations",
            {"operation": self.operation, "result": self.result},
            {
                "subject": self.subject,
                "detail": self.detail[:DETAIL_CHARACTERS_MAX],
                "revision": self.revision,
            },
            self.started_ns,
            time_fields={"finished_at": self.finished_ns},
        )


class OperationSink(Protocol):
    """Where the rows go: the spool in the daemon, the database from the command line."""

    async def put(self, line: bytes) -> None:
        """Take one row; a failure is not the operation's."""
        ...


class DirectSink:
    """Straight into the database, for verbs: the spool belongs to the daemon."""

    def __init__(self, sender: IlpSender) -> None:
        self._sender = sender

    async def put(self, line: bytes) -> None:
        """Send once; a row that cannot be sent is said so in the log."""
        verdict = await self._sender.send(line)
        if verdict.outcome is not Outcome.ACCEPTED:
            log.warning("operation_not_noted", message=verdict.message)


class SpoolSink:
    """Through the spool, in the daemon: a row is kept although the database is away."""

    def __init__(self, side: SideTables) -> None:
        self._side = side

    async def put(self, line: bytes) -> None:
        """Append it."""
        self._side.operation(line)
        await trio.lowlevel.checkpoint()


class NoSink:
    """Where no database runs: the log has it all the same."""

    async def put(self, line: bytes) -> None:
        """Forget the row."""


class OperationLog:
    """Begins and ends rows."""

    def __init__(self, sink: OperationSink, clock: Clock) -> None:
        self._sink = sink
        self._clock = clock

    async def begin(self, operation: str, subject: str) -> Operation:
        """Note that it runs."""
        row = Operation(
            started_ns=self._clock.wall_ns(), operation=operation, subject=subject or "-"
        )
        await self._sink.put(row.line())
        log.info("operation_started", operation=operation, subject=subject)
        return row

    async def note(self, operation: str, subject: str, result: str, detail: str) -> None:
        """Something that is done as it is noted."""
        now_ns = self._clock.wall_ns()
        row = Operation(
            started_ns=now_ns, operation=operation, subject=subject, result=result, detail=detail,
            finished_ns=now_ns,
        )  # fmt: skip
        await self._sink.put(row.line())
        log.info("operation_noted", operation=operation, subject=subject, result=result,
                 detail=detail)  # fmt: skip

    async def end(self, row: Operation, result: str, detail: str) -> Operation:
        """Note how it ended."""
        ended = msgspec.structs.replace(
            row, result=result, detail=detail, finished_ns=self._clock.wall_ns(), revision=2
        )
        await self._sink.put(ended.line())
        level = log.info if result == "good" else log.error
        level("operation_ended", operation=row.operation, subject=row.subject, result=result,
              detail=detail)  # fmt: skip
        return ended
