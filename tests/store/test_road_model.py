"""Spool, writer, applied watch and a server against sets of rows, under random faults and kills.

Each rule is a life of the daemon on one folder and one server; the clock is trio's MockClock. A
failing run prints its lives and a line (``reproduce_failure``) that repeats it.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from trio.testing import MockClock

from pumpwatch.store import spool_files
from pumpwatch.store.writer import BAD_LINES_MAX
from tests.store.fake_server import POISON, FakeServer, failure, lost_answer, status
from tests.store.records import TRADES, held, kill, lines_of
from tests.store.road import Road, running

SEEDS = 1_000
LIVES_MAX = 5
SMALL_SEGMENT_BYTES = 400  # some six rows: segments come and go within a life
DRAIN_S_MAX = 1_000.0
POLL_S = 0.25
FAULTS = {
    "503": status(503),
    "forbidden": status(403),
    "cut before": failure(httpx.ConnectError),
    "cut after": lost_answer,
}
STEPS = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 4)),
    st.tuples(st.just("append"), st.integers(1, 4)),
    st.tuples(st.just("poison"), st.integers(1, 2)),
    st.tuples(st.just("written"), st.just(0)),
    st.tuples(st.just("sleep"), st.sampled_from([0.01, 0.3, 2.0, 6.0])),
    st.tuples(st.sampled_from(sorted(FAULTS)), st.integers(1, 4)),
    st.tuples(st.sampled_from(["suspend", "make anew", "apply late", "away"]), st.booleans()),
)


async def inline(step: Callable[..., Any], *args: Any, **_: Any) -> Any:
    """A blocking call in the event loop: the clock does not know that a thread is busy."""
    await trio.lowlevel.checkpoint()
    return step(*args)


class RoadMachine(RuleBasedStateMachine):
    """One folder and one server over many lives of the daemon."""

    def __init__(self) -> None:
        super().__init__()
        self._exit = contextlib.ExitStack()
        self.folder = Path(self._exit.enter_context(tempfile.TemporaryDirectory()))
        patch = mock.patch.object(spool_files, "SEGMENT_BYTES_MAX", SMALL_SEGMENT_BYTES)
        self._exit.enter_context(patch)
        self._exit.enter_context(mock.patch.object(trio.to_thread, "run_sync", inline))
        self._exit.enter_context(mock.patch.object(os, "fsync"))  # no power is cut here
        self.server = FakeServer()
        self.serial = 0
        self.poisoned = 0  # lines since all was at rest
        self.promised: set[bytes] = set()  # the spool said that they are written
        self.appended: set[bytes] = set()  # all that there ever were
        self.refused: set[bytes] = set()  # that the server refused
        self.appended_now: set[bytes] = set()  # in this life

    def teardown(self) -> None:
        self._exit.close()

    @rule(
        steps=st.lists(STEPS, max_size=12), end=st.sampled_from(["kill", "end", "drain", "drain"])
    )
    def live(self, steps: list[tuple[str, Any]], end: str) -> None:
        trio.run(self._live, steps, end, clock=MockClock(autojump_threshold=0))

    async def _live(self, steps: list[tuple[str, Any]], end: str) -> None:
        server = self.server
        async with running(self.folder, server.client(), server) as road:
            for name, argument in steps:
                await self._step(road, name, argument)
            if end == "drain":
                await self._drain(road)
            elif end == "kill":
                kill(road.spool)
                road.spool.state = "closed"
            self.refused.update(line for _, line, _ in road.refused)
        if end == "end":
            self.promised |= self.appended_now
        self.appended_now = set()

    async def _step(self, road: Road, name: str, argument: Any) -> None:
        table = self.server.tables["trades"]
        if name == "poison":
            # More of them in one request are a fault of the table: then all wait for a person (R8).
            argument = min(argument, BAD_LINES_MAX - self.poisoned)
            self.poisoned += argument
        if name in ("append", "poison"):
            text = POISON if name == "poison" else ""
            for _ in range(argument):
                self.serial += 1
                road.append(self.serial, text=text)
                line = lines_of(TRADES, [self.serial], text=text)[0]
                self.appended.add(line)
                self.appended_now.add(line)
        elif name == "written":
            await road.spool.written()
            self.promised |= self.appended_now
        elif name == "sleep":
            await trio.sleep(argument)
        elif name in FAULTS:
            self.server.faults.extend([FAULTS[name]] * argument)
        elif name == "suspend":
            table.suspended = True
        elif name == "make anew":
            # What was let go went with the old table; what the spool holds must come again.
            await road.spool.written()
            self.promised |= self.appended_now
            self.promised &= set(held(road.spool)) | self.refused
            self.server.create("trades")
        elif name == "apply late":
            self.server.applies_at_once = argument
            if argument:
                table.apply()
        else:
            self.server.is_away = argument

    async def _drain(self, road: Road) -> None:
        """All faults end: everything must come to rest, each row in its place once."""
        self.server.faults.clear()
        self.server.is_away, self.server.applies_at_once = False, True
        self.server.tables["trades"].apply()
        await road.spool.written()
        self.promised |= self.appended_now
        with trio.fail_after(DRAIN_S_MAX):
            while not road.spool.is_drained(road.watch.applied):  # noqa: ASYNC110 - as the daemon
                await trio.sleep(POLL_S)
        self.poisoned = 0
        self.refused.update(line for _, line, _ in road.refused)
        stored = Counter(self.server.stored("trades"))
        assert set(stored.values()) <= {1}, "a row twice"
        assert set(stored) <= self.appended, "a row that nobody appended"
        poison = {line for line in self.appended if POISON.encode() in line}
        assert not poison & set(stored), "a poisoned row in the table"
        assert self.refused <= poison, "a good row was refused"
        assert self.promised - poison <= set(stored), "a row is lost"
        assert self.promised & poison <= self.refused, "a refused row is lost"
        assert road.differences() == []


RoadMachine.TestCase.settings = settings(
    max_examples=SEEDS, stateful_step_count=LIVES_MAX, deadline=None, print_blob=True
)
TestRoadModel = RoadMachine.TestCase
