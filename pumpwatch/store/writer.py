"""The writers: what the spool holds, into the tables, for as long as it takes.

One task per table keeps one request in flight with everything that piled up meanwhile (group
commit). Retries never end; a line that the server refuses goes to quarantine with the server's
words and the rest is sent again; a fault of the table stops that writer, not the others (R8).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from math import inf
from typing import NamedTuple

import structlog
import trio

from pumpwatch._fast.ilp import split_lines
from pumpwatch.errors import PumpWatchError
from pumpwatch.store.ilp_client import IlpSender, Outcome, Verdict
from pumpwatch.store.progress import TableProgress
from pumpwatch.store.segment import MIB
from pumpwatch.store.spool import Spool
from pumpwatch.store.spool_files import BIG_TABLE, TableBatch
from pumpwatch.store.writer_gate import WriterGate

log = structlog.get_logger()

REQUEST_BYTES_MAX = 16 * MIB
RETRY_S_MIN = 0.1
RETRY_S_MAX = 5.0
SILENT_S = 3.0  # a request without an answer for so long is told of; it is not given up
CHECK_AGAIN_S = 60.0  # while a fault lasts, the schema is compared so often
CHECK_S_MAX = 10.0  # the server may be what is at fault
BAD_LINES_MAX = 10  # more refused lines in one request are a fault of the table (R8)
IDLE_RATE_ROWS_PER_S = 20_000.0  # below it requests are made less often (R23)
IDLE_INTERVAL_S = 0.5
SIDE_INTERVAL_S = 5.0
PROMPT_TABLES = frozenset({"feed_gaps", "listing_events"})  # ledger and events at once (R23)

# Takes a refused line to quarantine: (feed number, line, the server's words).
Quarantine = Callable[[int, bytes, str], None]
# How the tables differ from the schema, a line each. Raises PumpWatchError.
SchemaCheck = Callable[[], Awaitable[list[str]]]


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
        gate: WriterGate | None = None,
        check_schema: SchemaCheck | None = None,
    ) -> None:
        self.progress = progress
        self.state = "idle"  # idle, sending, waiting, retrying, faulty
        self.last_error = ""
        self.requests = 0
        self.retries = 0
        self._spool = spool
        self._sender = sender
        self._quarantine = quarantine
        self._rng = rng
        self._rows_max = rows_max
        self._interval_s = interval_s
        self._gate = gate or WriterGate()
        self._check_schema = check_schema
        self._checked_s = -inf
        self._drift = ""

    async def run(self) -> None:
        """Send until cancelled."""
        cursor, epoch = self.progress.accepted, self.progress.epoch
        previous_s = trio.current_time() - self._interval_s
        while True:
            if self.progress.epoch != epoch:  # the table was made anew meanwhile
                cursor, epoch = self.progress.accepted, self.progress.epoch
                self._sender.renew()
            if self.progress.table_id is None:  # nobody could say which table takes the rows
                await trio.sleep(RETRY_S_MIN)
                continue
            batch = await self._spool.next_rows(
                self.progress.number, cursor, self._rows_max, REQUEST_BYTES_MAX
            )
            if batch is None or self.progress.epoch != epoch:
                continue
            started_s = trio.current_time()
            refused = await self._deliver(batch)
            if refused is None or self.progress.epoch != epoch:
                continue
            accepted = Counter(batch.rows_by_feed)
            for line in refused:
                accepted[line.feed] -= 1
            self.progress.accept(
                batch.end, accepted, Counter((line.segment, line.feed) for line in refused)
            )
            cursor = batch.end
            with trio.move_on_at(started_s + self._pause_s(batch, started_s - previous_s)):
                await self._spool.draining.wait()
            previous_s = started_s

    def _pause_s(self, batch: TableBatch, elapsed_s: float) -> float:
        """From one request's start to the next one's; ``elapsed_s`` is what it was before."""
        if batch.is_cut or batch.rows >= self._rows_max or self._spool.state == "full":
            return 0.0
        if self.progress.number != BIG_TABLE:
            return self._interval_s if self.progress.name in PROMPT_TABLES else SIDE_INTERVAL_S
        is_idle = batch.rows < IDLE_RATE_ROWS_PER_S * max(elapsed_s, self._interval_s)
        return max(self._interval_s, IDLE_INTERVAL_S) if is_idle else self._interval_s

    async def _deliver(self, batch: TableBatch) -> list[_Refused] | None:
        """Send a batch until nothing of it is left; returns the refused lines.

        None: the table was made anew meanwhile, the batch comes again.
        """
        failures = 0
        epoch = self.progress.epoch
        lines = [
            _Line(payload, feed, segment)
            for payload, feed, segment in zip(
                batch.payloads, batch.feeds, batch.segments, strict=True
            )
        ]
        while True:
            refused: list[_Refused] = []
            verdict = await self._send_without_bad_lines(lines, refused)
            if verdict.outcome is Outcome.ACCEPTED:
                break
            failures += 1
            await self._back_off(verdict, failures)
            if self.progress.epoch != epoch:
                return None
        self._note("idle", "")
        for line in refused:
            self._quarantine(line.feed, line.text, line.message)
        if refused:
            # The rows' segment may be released once they are passed: their copies must lie in one.
            await self._spool.quarantine_written()
        return refused

    async def _send_without_bad_lines(self, lines: list[_Line], refused: list[_Refused]) -> Verdict:
        """Send, taking refused lines out, until accepted or until waiting is all that is left."""
        while lines:
            self._note("sending", self.last_error)
            verdict = await self._send(b"".join(line.text for line in lines))
            if verdict.outcome is not Outcome.BAD_LINE:
                return verdict
            if len(refused) >= BAD_LINES_MAX:
                return Verdict(Outcome.TABLE_FAULT, f"many lines refused: {verdict.message}")
            lines = [single for line in lines for single in _split(line)]
            found = await self._find_bad_line(lines, verdict)
            if isinstance(found, Verdict):
                return found
            index, message = found
            line = lines.pop(index)
            refused.append(_Refused(bytes(line.text), line.feed, line.segment, message))
        return Verdict(Outcome.ACCEPTED)

    async def _find_bad_line(
        self, lines: list[_Line], verdict: Verdict
    ) -> tuple[int, str] | Verdict:
        """The index of one refused line and the server's words; a verdict when it cannot be told.

        The server's line number is tried first; where it does not hold, lines are halved. No line
        is given up that was not refused alone.
        """
        if 1 <= verdict.line <= len(lines):
            alone = await self._send(bytes(lines[verdict.line - 1].text))
            if alone.outcome is Outcome.BAD_LINE:
                return verdict.line - 1, alone.message
            if alone.outcome is not Outcome.ACCEPTED:
                return alone
        low, high = 0, len(lines)
        while high - low > 1:
            middle = (low + high) // 2
            half = await self._send(b"".join(line.text for line in lines[low:middle]))
            if half.outcome is Outcome.BAD_LINE:
                high = middle
            elif half.outcome is Outcome.ACCEPTED:
                low = middle
            else:
                return half
        alone = await self._send(bytes(lines[low].text))
        if alone.outcome is Outcome.BAD_LINE:
            return low, alone.message
        if alone.outcome is Outcome.ACCEPTED:
            return Verdict(Outcome.RETRY, f"no line is refused alone: {verdict.message}")
        return alone

    async def _send(self, body: bytes) -> Verdict:
        self.requests += 1
        async with self._gate.turn(), trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_of_silence)
            verdict = await self._sender.send(body)
            nursery.cancel_scope.cancel()
        return verdict

    async def _tell_of_silence(self) -> None:
        await trio.sleep(SILENT_S)
        self._note("waiting", f"no answer for {SILENT_S:g} s")

    async def _back_off(self, verdict: Verdict, failures: int) -> None:
        self.retries += 1
        is_fault = verdict.outcome is not Outcome.RETRY
        self._note("faulty" if is_fault else "retrying", verdict.message)
        if is_fault:
            await self._look_at_schema()
            self._note("faulty", verdict.message + self._drift)
        delay_s = min(RETRY_S_MAX, RETRY_S_MIN * 2 ** min(failures - 1, 10))
        await trio.sleep(delay_s * self._rng.uniform(0.5, 1.0))

    async def _look_at_schema(self) -> None:
        """R8: where somebody changed the table, whoever looks is told how."""
        now_s = trio.current_time()
        if self._check_schema is None or now_s < self._checked_s + CHECK_AGAIN_S:
            return
        self._checked_s = now_s
        found = None
        with trio.move_on_after(CHECK_S_MAX):
            try:
                found = await self._check_schema()
            except PumpWatchError as error:
                log.warning("schema_not_checked", message=str(error))
        if found:
            log.error("schema_differs", table=self.progress.name, differences=found)
        self._drift = f"; the tables differ from the schema: {'; '.join(found)}" if found else ""

    def _note(self, state: str, message: str) -> None:
        if state != self.state and state in ("waiting", "retrying", "faulty"):
            report = log.error if state == "faulty" else log.warning
            report(f"writer_{state}", table=self.progress.name, message=message[:500])
        elif state == "idle" and self.last_error:
            log.info("writer_recovered", table=self.progress.name, was=self.last_error[:200])
            self._checked_s = -inf
        if state != "sending" or not self.last_error:
            self.state = state
        self.last_error = message


class _Line(NamedTuple):
    """A line, or as long as nothing is refused a whole payload."""

    text: bytes | memoryview
    feed: int
    segment: int


class _Refused(NamedTuple):
    text: bytes
    feed: int
    segment: int
    message: str


def _split(line: _Line) -> Iterator[_Line]:
    text = bytes(line.text)
    begin = 0
    for end in split_lines(text):
        yield _Line(text[begin:end], line.feed, line.segment)
        begin = end
