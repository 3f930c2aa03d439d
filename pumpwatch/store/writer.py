"""The writers: what the spool holds, into the tables, for as long as it takes.

One task per table keeps one request in flight with everything that piled up meanwhile (group
commit). Retries never end; a line that the server refuses goes to quarantine with the server's
words and the rest is sent again; a fault of the table stops that writer, not the others (R8).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import structlog
import trio

from pumpwatch._fast.ilp import split_lines
from pumpwatch.store.ilp_client import IlpSender, Outcome, Verdict
from pumpwatch.store.progress import TableProgress
from pumpwatch.store.segment import MIB
from pumpwatch.store.spool import Spool
from pumpwatch.store.spool_files import BIG_TABLE, Cursor, TableBatch

log = structlog.get_logger()

REQUEST_BYTES_MAX = 16 * MIB
RETRY_S_MIN = 0.1
RETRY_S_MAX = 5.0
BAD_LINES_MAX = 10  # more refused lines in one request are a fault of the table (R8)
IDLE_RATE_ROWS_PER_S = 20_000.0  # below it requests are made half as often (R23)
SIDE_INTERVAL_S = 5.0
PROMPT_TABLES = frozenset({"feed_gaps", "listing_events"})  # ledger and events at once (R23)


# Takes a refused line to quarantine: (feed number, line, the server's words).
Quarantine = Callable[[int, bytes, str], None]


class TableWriter:
    """Sends one table's rows in spool order."""

    def __init__(
        self,
        progress: TableProgress,
        spool: Spool,
        sender: IlpSender,
        quarantine: Quarantine,
        rng: random.Random,
        *,
        rows_max: int,
        interval_s: float,
    ) -> None:
        self.progress = progress
        self.state = "idle"  # idle, sending, retrying, faulty
        self.last_error = ""
        self.requests = 0
        self.retries = 0
        self._spool = spool
        self._sender = sender
        self._quarantine = quarantine
        self._rng = rng
        self._rows_max = rows_max
        self._interval_s = interval_s

    async def run(self) -> None:
        """Send until cancelled."""
        cursor, epoch = self.progress.accepted, self.progress.epoch
        while True:
            batch = await self._spool.next_rows(
                self.progress.number, cursor, self._rows_max, REQUEST_BYTES_MAX
            )
            started_s = trio.current_time()
            refused = await self._deliver(batch)
            if self.progress.epoch != epoch:  # the table was made anew meanwhile
                cursor, epoch = self.progress.accepted, self.progress.epoch
                continue
            accepted = Counter(batch.rows_by_feed)
            accepted.subtract(refused)
            self.progress.accept(batch.end, accepted, refused)
            cursor = batch.end
            await trio.sleep_until(started_s + self._pause_s(batch))

    def _pause_s(self, batch: TableBatch) -> float:
        if batch.rows >= self._rows_max or self._spool.state == "full":
            return 0.0
        if self.progress.number != BIG_TABLE:
            return self._interval_s if self.progress.name in PROMPT_TABLES else SIDE_INTERVAL_S
        is_idle = batch.rows < IDLE_RATE_ROWS_PER_S * self._interval_s
        return self._interval_s * 2 if is_idle else self._interval_s

    async def _deliver(self, batch: TableBatch) -> Counter[int]:
        """Send a batch until nothing of it is left; returns the refused rows by feed."""
        failures = 0
        while True:
            parts = list(zip(batch.payloads, batch.feeds, strict=True))
            refused: list[_Refused] = []
            verdict = await self._send_without_bad_lines(parts, refused)
            if verdict.outcome is Outcome.ACCEPTED:
                break
            failures += 1
            await self._back_off(verdict, failures)
        self._note("idle", "")
        for line in refused:
            self._quarantine(line.feed, line.text, line.message)
        if refused:
            # The rows' segment may be released once they are passed: their copies must lie in one.
            await self._spool.written()
        return Counter(line.feed for line in refused)

    async def _send_without_bad_lines(
        self, parts: list[tuple[bytes, int]], refused: list[_Refused]
    ) -> Verdict:
        """Send, taking refused lines out, until accepted or until waiting is all that is left."""
        while parts:
            self._note("sending", self.last_error)
            verdict = await self._send(b"".join(payload for payload, _ in parts))
            if verdict.outcome is not Outcome.BAD_LINE:
                return verdict
            if len(refused) >= BAD_LINES_MAX:
                return Verdict(Outcome.TABLE_FAULT, f"many lines refused: {verdict.message}")
            lines = [
                (payload[start:end], feed)
                for payload, feed in parts
                for start, end in _spans(payload)
            ]
            found = await self._find_bad_line(lines, verdict)
            if isinstance(found, Verdict):
                return found
            index, message = found
            text, feed = lines.pop(index)
            refused.append(_Refused(text, feed, message))
            parts = lines
        return Verdict(Outcome.ACCEPTED)

    async def _find_bad_line(
        self, lines: list[tuple[bytes, int]], verdict: Verdict
    ) -> tuple[int, str] | Verdict:
        """The index of one refused line and the server's words; a verdict when it cannot be told.

        The server's line number is tried alone first; where it does not hold, lines are halved.
        """
        if 1 <= verdict.line <= len(lines):
            alone = await self._send(lines[verdict.line - 1][0])
            if alone.outcome is Outcome.BAD_LINE:
                return verdict.line - 1, alone.message
            if alone.outcome is not Outcome.ACCEPTED:
                return alone
        low, high = 0, len(lines)
        message = verdict.message
        while high - low > 1:
            middle = (low + high) // 2
            half = await self._send(b"".join(text for text, _ in lines[low:middle]))
            if half.outcome is Outcome.BAD_LINE:
                high, message = middle, half.message
            elif half.outcome is Outcome.ACCEPTED:
                low = middle
            else:
                return half
        return low, message

    async def _send(self, body: bytes) -> Verdict:
        self.requests += 1
        return await self._sender.send(body)

    async def _back_off(self, verdict: Verdict, failures: int) -> None:
        self.retries += 1
        is_fault = verdict.outcome is not Outcome.RETRY
        self._note("faulty" if is_fault else "retrying", verdict.message)
        delay_s = min(RETRY_S_MAX, RETRY_S_MIN * 2 ** min(failures - 1, 10))
        await trio.sleep(delay_s * self._rng.uniform(0.5, 1.0))

    def _note(self, state: str, message: str) -> None:
        if state != self.state and state in ("retrying", "faulty"):
            report = log.error if state == "faulty" else log.warning
            report(f"writer_{state}", table=self.progress.name, message=message[:500])
        elif state == "idle" and self.last_error:
            log.info("writer_recovered", table=self.progress.name, was=self.last_error[:200])
        if state != "sending" or not self.last_error:
            self.state = state
        self.last_error = message


class _Refused(NamedTuple):
    text: bytes
    feed: int
    message: str


def _spans(payload: bytes) -> list[tuple[int, int]]:
    ends = split_lines(payload)
    return list(zip([0, *ends[:-1]], ends, strict=True))
