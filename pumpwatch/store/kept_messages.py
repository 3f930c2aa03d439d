"""Messages that could not be read on their way to their files: as safe as rows in the spool.

``keep`` never blocks. A write is under way 10 ms later and what was written is synced every
``spool.fsync_ms``, so a kill or a power cut takes no more of them than of rows (promise 1). A feed
that is at its limit, or a disk that lags by BUFFER_BYTES_MAX, keeps no more: the caller is told,
and says so in the ledger.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial

import structlog
import trio

from pumpwatch.clock import Clock
from pumpwatch.store.message_files import KeptMessage, MessageFiles, Sealed, segments_of

log = structlog.get_logger()

WRITE_S = 0.01  # messages wait at most this long for their block
RETRY_S = 1.0  # a disk that refuses is tried again
EXPIRE_S = 3600.0
BUFFER_BYTES_MAX = 32 * 1024 * 1024  # of raw messages
DAY_NS = 86_400 * 10**9


class KeptMessages:
    """All feeds' messages; ``run`` writes them until cancelled."""

    def __init__(
        self,
        files: MessageFiles,
        clock: Clock,
        *,
        feed_bytes_max: int,
        keep_days: int,
        fsync_s: float,
    ) -> None:
        self.kept: Counter[str] = Counter()  # messages since the start, by feed
        self.not_kept: Counter[str] = Counter()
        self.files = files
        self._clock = clock
        self._feed_bytes_max = feed_bytes_max
        self._keep_ns = keep_days * DAY_NS
        self._fsync_s = fsync_s
        self._waiting: defaultdict[str, list[KeptMessage]] = defaultdict(list)
        self._in_hand: dict[str, list[KeptMessage]] = {}  # on their way into a segment
        self._buffered_bytes = 0
        self._lock = threading.Lock()  # guards files and what is in hand
        self._one_write = trio.Lock()
        self._written: set[str] = set()  # feeds whose messages in hand lie in a segment
        self._arrived = trio.Event()
        self._is_failing = False

    def keep(self, feed: str, message: KeptMessage) -> bool:
        """Keep one whole; False: there is no room for it."""
        is_full = self.files.bytes_by_feed[feed] >= self._feed_bytes_max
        if is_full or self._buffered_bytes >= BUFFER_BYTES_MAX:
            if not self.not_kept[feed]:
                log.error("quarantine_full", feed=feed, bytes_max=self._feed_bytes_max)
            self.not_kept[feed] += 1
            return False
        self.kept[feed] += 1
        self._waiting[feed].append(message)
        self._buffered_bytes += len(message.raw)
        self._arrived.set()
        return True

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take over what an earlier run left; then write, sync, expire."""
        await self._locked(self.files.open)
        task_status.started()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write_loop)
                nursery.start_soon(self._sync_loop)
                nursery.start_soon(self._expire_loop)
        finally:
            self.write_now()
            self.files.close()

    async def _write_loop(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived = trio.Event()
            await trio.sleep(WRITE_S)
            if not await self.written():
                await trio.sleep(RETRY_S)
                self._arrived.set()

    async def written(self) -> bool:
        """Write what waits; False: the disk refuses, and it waits on."""
        async with self._one_write:
            self._take_in_hand()
            is_good = await trio.to_thread.run_sync(self._write_blocking)
            self._settle()
            return is_good

    def write_now(self) -> None:
        """Write what waits from the event loop, for a process that is about to end."""
        with self._lock:  # a write that is under way ends first
            self._settle()
        self._take_in_hand()
        self._write_blocking()
        self._settle()

    def _take_in_hand(self) -> None:
        """What waits goes behind what the disk refused; no write may be under way."""
        waiting, self._waiting = self._waiting, defaultdict(list)
        for feed, messages in waiting.items():
            self._in_hand[feed] = [*self._in_hand.get(feed, []), *messages]

    def _write_blocking(self) -> bool:
        with self._lock:
            try:
                for feed in [one for one in self._in_hand if one not in self._written]:
                    self.files.append(feed, self._in_hand[feed])
                    self._written.add(feed)
                if self._fsync_s == 0:
                    self.files.fsync()
            except OSError as error:
                if not self._is_failing:
                    log.error("quarantine_file_failed", error=str(error))  # noqa: TRY400
                self._is_failing = True
                return False
            self._is_failing = False
            return True

    def _settle(self) -> None:
        """Forget what lies in a segment; no write may be under way."""
        for feed in self._written:
            self._buffered_bytes -= sum(len(one.raw) for one in self._in_hand.pop(feed))
        self._written.clear()

    async def seal(self, feed: str) -> list[Sealed]:
        """All that came until now as segments that grow no more, oldest first. Raises OSError."""
        await self.written()
        await self._locked(partial(self.files.seal, feed))
        return segments_of(self.files.folder(feed))

    async def replace(self, feed: str, segment: Sealed, stays: list[KeptMessage]) -> None:
        """Only these stay of a segment. Raises OSError."""
        await self._locked(partial(self.files.replace, feed, segment.path, stays))

    async def _locked(self, work: Callable[[], object]) -> None:
        def run() -> None:
            with self._lock:
                work()

        await trio.to_thread.run_sync(run)

    async def _sync_loop(self) -> None:
        while self._fsync_s:
            await trio.sleep(self._fsync_s)
            try:
                await self._locked(self.files.fsync)
            except OSError as error:
                log.error("quarantine_fsync_failed", error=str(error))  # noqa: TRY400

    async def _expire_loop(self) -> None:
        while True:
            before_ns = self._clock.wall_ns() - self._keep_ns
            try:
                await self._locked(partial(self.files.expire, before_ns))
            except OSError as error:
                log.error("quarantine_expire_failed", error=str(error))  # noqa: TRY400
            await trio.sleep(EXPIRE_S)
