"""Spool, writers, applied watch and server together, under random faults, against plain lists.

Time is a mock clock that moves only when a step says so. A row is promised once the counters call
it spooled; from then on it must lie in the spool or in the table, at any moment, and at the end
once in the table, or in quarantine where the server refuses it.

A failing run prints its steps, and a blob that repeats them (``@reproduce_failure``).
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from unittest import mock

import httpx
import structlog
import structlog.testing
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from trio.testing import MockClock, wait_all_tasks_blocked

from pumpwatch.errors import ServerError
from pumpwatch.model import Record
from pumpwatch.store import spool_files
from pumpwatch.store.writer import BAD_LINES_MAX
from tests.store.conftest import SMALL_SEGMENT_BYTES
from tests.store.fake_server import POISON, FakeServer, failure, lost_answer, status
from tests.store.records import (
    GAPS,
    QUARANTINE,
    TRADES,
    lines_of,
    record,
    records_in,
    split,
)
from tests.store.road import Road, running

SEEDS = int(os.environ.get("SEEDS", "1000"))
STEPS = 16
FEEDS = (1, 2)
DISK_BYTES_MAX = 6 * SMALL_SEGMENT_BYTES  # so that it is reached now and then
SETTLE_S_MAX = 120.0  # backing off takes 5 s, resuming a table 5 s, moving side rows as long
STEP_S = 0.5
FAULTS = {
    "503": status(503),
    "500": status(500, "no space left on device, errno=28"),
    "cut before": failure(httpx.ConnectError),
    "cut after": lost_answer,
    "no rights": status(403, "permission denied"),
    "table fault": status(
        400, '{"code":"invalid","message":"table: trades; table does not exist"}'
    ),
}
Answer = TypeVar("Answer")


class Loop:
    """Trio on a thread of its own, at rest between two calls: rules are plain functions."""

    def __init__(self) -> None:
        self.clock = MockClock()
        self._end = trio.Event()
        self.token: trio.lowlevel.TrioToken | None = None
        self._begun = threading.Event()
        self._thread = threading.Thread(target=lambda: trio.run(self._main, clock=self.clock))
        self._thread.start()
        self._begun.wait()

    async def _main(self) -> None:
        async with trio.open_nursery() as nursery:
            self.nursery = nursery
            self.token = trio.lowlevel.current_trio_token()
            self._begun.set()
            await self._end.wait()
            nursery.cancel_scope.cancel()

    def run(self, step: Callable[..., Awaitable[Answer]], *args: Any) -> Answer:
        """Call ``step`` there, and come back when all tasks wait."""

        async def call() -> Answer:
            answer = await step(*args)
            await wait_all_tasks_blocked()
            return answer

        return trio.from_thread.run(call, trio_token=self.token)

    async def pass_time(self, seconds: float) -> None:
        """Let tasks run until ``seconds`` have passed on the clock."""
        end_s = trio.current_time() + seconds
        while True:
            await wait_all_tasks_blocked()
            next_s = trio.lowlevel.current_statistics().seconds_to_next_deadline
            left_s = end_s - trio.current_time()
            if next_s >= left_s:
                self.clock.jump(max(0.0, left_s))
                return
            self.clock.jump(max(0.0, next_s))

    def close(self) -> None:
        trio.from_thread.run_sync(self._end.set, trio_token=self.token)
        self._thread.join()


class Disk:
    """``os.pwritev`` as told: it refuses, or the process is killed amid a write."""

    def __init__(self) -> None:
        self.refuses = 0  # so many writes fail after half of their bytes
        self._kill: tuple[int, Callable[[], None]] | None = None
        self._real = os.pwritev

    def kill_amid_write(self, after_bytes: int, tell: Callable[[], None]) -> None:
        """``tell`` is called when so many bytes of the next write (modulo its size) are there."""
        self._kill = after_bytes, tell

    def live_on(self) -> None:
        """Nobody is killed."""
        self._kill = None

    def pwritev(self, fd: int, buffers: Sequence[Any], offset: int) -> int:
        text = b"".join(bytes(buffer) for buffer in buffers)
        if self.refuses:
            self.refuses -= 1
            self._real(fd, [text[: len(text) // 2]], offset)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._kill is not None:
            (after_bytes, tell), self._kill = self._kill, None
            self._real(fd, [text[: after_bytes % (len(text) + 1)]], offset)
            tell()
        return self._real(fd, [text], offset)


class Server(FakeServer):
    """A FakeServer that knows in which order trades came, and may have no room to resume."""

    def __init__(self) -> None:
        super().__init__()
        self.arrivals: list[bytes] = []
        self.is_full = False
        self.is_deaf = False  # who speaks is dead already

    async def _handle(self, request: httpx.Request, is_open: dict[str, Any]) -> httpx.Response:
        if self.is_deaf:
            raise httpx.ConnectError("nobody is there to ask")
        return await super()._handle(request, is_open)

    async def query(self, sql: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        if self.is_deaf:
            raise ServerError("nobody is there to ask")
        return await super().query(sql, params)

    def store(self, body: bytes, is_open: dict[str, Any]) -> httpx.Response:
        answer = super().store(body, is_open)
        if answer.status_code == 204 and body.startswith(b"trades,"):
            self.arrivals += split(body)
        return answer

    async def execute(self, sql: str) -> None:
        if not self.is_full:
            await super().execute(sql)


def serial_of(line: bytes) -> int:
    return int(line.rsplit(b" id=", 1)[1].split(b"i,", 1)[0])


async def inline(step: Callable[..., Any], *args: Any, **_: Any) -> Any:
    await trio.lowlevel.checkpoint()
    return step(*args)


def held_in(folder: Path, table: int = TRADES) -> list[bytes]:
    """The table's rows in sound records of the folder's segments, by nobody's leave."""
    lines: list[bytes] = []
    for path in sorted(folder.glob("*.seg")):
        data = path.read_bytes()
        for ref in records_in(path):
            if ref.table == table:
                lines += split(data[ref.payload_offset : ref.end])
    return lines


class RoadMachine(RuleBasedStateMachine):
    """One database over many lives of a daemon, each on what the one before left on the disk."""

    def __init__(self) -> None:
        super().__init__()
        self._exit = contextlib.ExitStack()
        self.place = Path(self._exit.enter_context(tempfile.TemporaryDirectory()))
        self._exit.enter_context(structlog.testing.capture_logs())
        for target, name, value in (
            (spool_files, "SEGMENT_BYTES_MAX", SMALL_SEGMENT_BYTES),
            (os, "fsync", lambda fd: None),  # power cuts are test_spool_model's
            (trio.to_thread, "run_sync", inline),
        ):
            self._exit.enter_context(mock.patch.object(target, name, value))
        self.disk = Disk()
        self._exit.enter_context(mock.patch.object(os, "pwritev", self.disk.pwritev))
        self.loop = Loop()
        self._exit.callback(self.loop.close)
        self.server = Server()
        self.lives = 0
        self.serial = 0
        self.poisoned = 0
        self.promised: list[bytes] = []  # trades that an earlier life spooled
        self.holes: set[bytes] = set()  # rows of feed_gaps that were seen in a spool
        self.forgotten: set[bytes] = set()  # they went with a table that somebody dropped
        self.appended: dict[int, list[bytes]] = {}  # by feed, in this life
        self.is_in_order = True

    # -- a life of the daemon -----------------------------------------------------------------

    @property
    def folder(self) -> Path:
        return self.place / f"{self.lives:03d}"

    @initialize()
    def start(self) -> None:
        self.appended = {feed: [] for feed in FEEDS}
        self.loop.run(self.loop.nursery.start, self._live)

    async def _live(self, *, task_status: trio.TaskStatus[None]) -> None:
        self.end, self.ended = trio.Event(), trio.Event()
        async with running(
            self.folder, self.server.client(), self.server,
            names=["trades", "feed_gaps", "quarantine"], quarantine=self._quarantine,
            disk_bytes_max=DISK_BYTES_MAX,
        ) as self.road:  # fmt: skip
            task_status.started()
            await self.end.wait()
        self.ended.set()

    @staticmethod
    def _quarantine(road: Road) -> Callable[[int, bytes, str], None]:
        def keep(feed: int, line: bytes, message: str) -> None:
            assert POISON.encode() in line
            road.spool.append(record([serial_of(line)], QUARANTINE))

        return keep

    async def _end_life(self) -> None:
        self.end.set()
        await self.ended.wait()

    def _restart(self, image: _Image) -> None:
        """The next life begins with this disk."""
        self.disk.refuses = 0  # else the old one's end would wait for it
        self.server.is_deaf = True  # and nobody hears it any more
        self.loop.run(self._end_life)
        self.server.is_deaf = False
        self.lives += 1
        shutil.copytree(image.folder, self.folder, dirs_exist_ok=True)
        known = dict.fromkeys([*self.promised, *image.spooled, *held_in(self.folder)])
        self.promised = sorted(known, key=serial_of)
        self.start()

    # -- what may happen ----------------------------------------------------------------------

    @rule(
        feed=st.sampled_from(FEEDS), rows=st.integers(1, 12), records=st.integers(1, 5),
        is_poisoned=st.sampled_from([False] * 9 + [True]),
    )  # fmt: skip
    def append(self, feed: int, rows: int, records: int, is_poisoned: bool) -> None:
        given = []
        for number in range(records):
            is_bad = is_poisoned and number == 0 and self.poisoned < BAD_LINES_MAX
            self.poisoned += is_bad
            text = POISON if is_bad else ""
            serials = range(self.serial, self.serial + (1 if is_bad else rows))
            self.serial = serials.stop
            given.append(record(serials, feed=feed, text=text))
            self.appended[feed] += lines_of(TRADES, serials, feed, text)
        self.loop.run(self.give, given)

    @rule()
    def append_a_hole(self) -> None:
        self.loop.run(self.give, [record([self.serial], GAPS)])
        self.serial += 1

    async def give(self, records: list[Record]) -> None:
        for one in records:
            self.road.spool.append(one)

    @rule(seconds=st.sampled_from([0.02, 0.3, 0.3, 1.5, 6.0]))
    def pass_time(self, seconds: float) -> None:
        self.loop.run(self.loop.pass_time, seconds)

    @rule(kinds=st.lists(st.sampled_from(sorted(FAULTS)), min_size=1, max_size=6))
    def requests_fail(self, kinds: list[str]) -> None:
        self.server.faults.extend(FAULTS[kind] for kind in kinds)

    @rule(table=st.sampled_from(["trades", "feed_gaps"]), is_full=st.booleans())
    def suspend(self, table: str, is_full: bool) -> None:
        """204 as ever, and nothing becomes visible."""
        self.server.tables[table].suspended = True
        self.server.is_full = is_full

    @rule()
    def stop_applying(self) -> None:
        self.server.applies_at_once = False

    @rule(transactions=st.integers(1, 4))
    def apply_some(self, transactions: int) -> None:
        for table in self.server.tables.values():
            table.apply(transactions)

    @rule(is_away=st.booleans(), names_lines=st.booleans())
    def change_the_server(self, is_away: bool, names_lines: bool) -> None:
        self.server.is_away = is_away
        self.server.names_lines = names_lines

    @rule()
    def recreate(self) -> None:
        """The table is dropped and made anew: what was released is gone, all else comes again."""
        held = set(held_in(self.folder))
        self.forgotten.update(line for line in self.spooled() if line not in held)
        self.is_in_order = False
        self.server.create("trades")

    @rule()
    def roll(self) -> None:
        with contextlib.suppress(OSError):
            self.road.spool.files.roll()

    @rule(writes=st.integers(1, 3))
    def the_disk_refuses(self, writes: int) -> None:
        self.disk.refuses = writes

    @rule()
    def all_is_well(self) -> None:
        """Faults end; all that was promised is stored, within a time, and nothing is kept."""
        self.disk.refuses = 0
        self.server.faults.clear()
        self.server.is_away = self.server.is_full = False
        self.server.applies_at_once = True
        self.apply_some(1000)
        passed_s = 0.0
        while not self.road.spool.is_drained(self.road.watch.applied):
            assert passed_s < SETTLE_S_MAX, {
                name: (one.state, one.last_error) for name, one in self.road.writers.items()
            }
            self.pass_time(STEP_S)
            passed_s += STEP_S
        wanted, refused = self.wanted()
        assert self.server.stored("trades") == sorted(wanted)
        found = {serial_of(line) for line in self.server.stored("quarantine")}
        assert found == refused
        assert self.road.differences() == []
        assert all(hole.is_tail for _, hole in self.road.spool.damage)

    # -- how a life may end -------------------------------------------------------------------

    @rule()
    def kill(self) -> None:
        self._restart(self.image())

    @rule(kill_after=st.integers(0, 3 * SMALL_SEGMENT_BYTES), rows=st.integers(1, 12))
    def kill_amid_a_write(self, kill_after: int, rows: int) -> None:
        """Of the write that nobody was told of, a beginning is there."""
        self.disk.refuses = 0
        images: list[_Image] = []
        self.disk.kill_amid_write(kill_after, lambda: images.append(self.image()))
        self.append(FEEDS[0], rows, 2, False)
        self.disk.live_on()
        self._restart(images[0] if images else self.image())

    @rule()
    def end_in_order(self) -> None:
        """SIGTERM: what is in memory is spooled."""
        self.disk.refuses = 0
        self.server.is_deaf = True
        self.loop.run(self._end_life)
        spooled = [line for lines in self.appended.values() for line in lines]
        self._restart(_Image(self.folder, spooled))

    def image(self) -> _Image:
        """The disk as it is now, and what the counters say lies on it or is stored."""
        copy = Path(tempfile.mkdtemp(dir=self.place))
        shutil.copytree(self.folder, copy, dirs_exist_ok=True)
        self.server.is_deaf = True
        return _Image(copy, self.spooled())

    # -- what holds at any time ---------------------------------------------------------------

    def spooled(self) -> list[bytes]:
        """Trades that the counters of this life or an earlier one call spooled, in their order."""
        by_feed = self.road.spool.spooled_by_feed
        own = [line for feed in FEEDS for line in self.appended[feed][: by_feed[feed]]]
        return [*self.promised, *own]

    def wanted(self) -> tuple[list[bytes], set[int]]:
        """What of them must be in the table, and the numbers of those that it refuses."""
        spooled = [line for line in self.spooled() if line not in self.forgotten]
        refused = {serial_of(line) for line in spooled if POISON.encode() in line}
        return [line for line in spooled if serial_of(line) not in refused], refused

    @invariant()
    def nothing_promised_is_lost(self) -> None:
        wanted, refused = self.wanted()
        there = {*held_in(self.folder), *self.server.tables["trades"].rows}
        assert there.issuperset(wanted)
        kept = {*held_in(self.folder, QUARANTINE), *self.server.tables["quarantine"].rows}
        numbers = {serial_of(line) for line in (*kept, *there)}
        assert numbers.issuperset(refused)
        self.holes.update(held_in(self.folder, GAPS))
        assert self.holes <= {*held_in(self.folder, GAPS), *self.server.tables["feed_gaps"].rows}

    @invariant()
    def a_feeds_trades_come_in_order(self) -> None:
        by_feed: dict[bytes, list[int]] = {}
        for line in dict.fromkeys(self.server.arrivals):
            by_feed.setdefault(line.split(b" ")[0], []).append(serial_of(line))
        for serials in by_feed.values():
            assert serials == sorted(serials) or not self.is_in_order

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self.all_is_well()
        finally:
            self.disk.refuses = 0
            self._exit.close()


class _Image(NamedTuple):
    """What a life leaves on the disk, and the rows that it promised by then."""

    folder: Path
    spooled: list[bytes]


RoadMachine.TestCase.settings = settings(
    max_examples=SEEDS, stateful_step_count=STEPS, deadline=None, print_blob=True
)
TestRoadModel = RoadMachine.TestCase
