"""All feeds' capture and the simulated venues in one process and in virtual time.

Sockets are memory streams, REST is answered in place, and what would go to the spool is kept: no
database, and an hour of faults takes as long as its rows do. The judgement is the drills' own.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec
import polars as pl
import pytest
import trio
from trio.testing import memory_stream_pair

from pumpwatch._fast.recent import Recent
from pumpwatch._fast.road import VenueClock
from pumpwatch.capture import connection
from pumpwatch.capture.backfill import Backfill, FeedBackfill
from pumpwatch.capture.feed import FeedRun
from pumpwatch.capture.feed_state import FeedState
from pumpwatch.capture.ledger import Ledger
from pumpwatch.capture.pacing import ConnectPacer
from pumpwatch.capture.silence import SilenceWatch, run_comparisons
from pumpwatch.capture.witness_run import WitnessRun
from pumpwatch.config import Config
from pumpwatch.drills.faulted import CALM_S, Names, Planner
from pumpwatch.drills.holes import Holes, judge_holes
from pumpwatch.model import Gap
from pumpwatch.rest import RestClient
from pumpwatch.sim.exchange import Exchange
from pumpwatch.sim.faults import Played
from pumpwatch.sim.settings import SimSettings
from pumpwatch.sim.truth import load_truth
from pumpwatch.sim.venue import Request
from pumpwatch.tally import KEY
from pumpwatch.venues import FEEDS
from tests._fast.ilp_reading import read_lines
from tests.capture.desk import InMemory
from tests.capture.rig import OpenSink, SideNotes, TrioClock

HOST, PORT = "127.0.0.1", 1
FLUSH_S = 0.4
CLOSING_S_MAX = 300.0
PLAYED_S_MAX = 120.0


class InPlace(httpx.AsyncBaseTransport):
    """REST without a network."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.sleep(0.005)
        first, _, rest = request.url.path.lstrip("/").partition("/")
        asked = Request(
            request.method, "/" + rest, dict(request.url.params), dict(request.headers), b""
        )
        try:
            answer = await self._exchange.answer(first, asked)
        except trio.BrokenResourceError as error:
            raise httpx.RemoteProtocolError(str(error), request=request) from error
        return httpx.Response(answer.status, headers=list(answer.headers), content=answer.body)


class VirtualRun(msgspec.Struct, kw_only=True):
    """What is known at the end."""

    truth: pl.DataFrame
    stored: pl.DataFrame
    gaps: list[Gap]
    played: list[Played]
    found: Holes
    replacements: int
    too_many: int


class VirtualDesk:
    """The feeds, their backfill, and the venues."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, folder: Path, settings: SimSettings,
        *, has_backfill: bool = True, compares: bool = True,
    ) -> None:  # fmt: skip
        self.clock = TrioClock()
        self.clock.wall_ns()
        self.folder = folder
        self.rng = random.Random(settings.seed)
        self.exchange = Exchange(settings, self.clock, folder)
        urls = self.exchange.listen_at(HOST, PORT)
        config = Config()
        self.config = msgspec.structs.replace(
            config,
            feeds={
                name: msgspec.structs.replace(feed, **urls[name])
                for name, feed in config.feeds.items()
                if name in urls
            },
        )
        self.sink, self.side = OpenSink(), SideNotes()
        self.ledger = Ledger(self.clock.wall_ns, self.side.gaps)
        self.ledger.load([])
        self.recent = Recent(64 << 20, 3600.0)
        clock = VenueClock()
        self.feeds = [
            FeedState(
                spec, number, self.sink, self.side, self.clock, clock, self.ledger,
                history_ns=3600 * 10**9,
            )
            for number, spec in enumerate(FEEDS, 1)
            if spec.name in urls
        ]  # fmt: skip
        for feed in self.feeds:
            feed.road.recent = self.recent
        self.has_backfill, self.compares = has_backfill, compares
        self.witness_symbols = 0
        self.witnesses: list[WitnessRun] = []
        self._venues: trio.Nursery
        monkeypatch.setattr(connection, "open_stream", self._dial)

    async def _dial(self, url: str, _proxy_url: str | None) -> tuple[trio.abc.Stream, str, str]:
        await trio.sleep(0.005)
        ours, theirs = memory_stream_pair()
        self._venues.start_soon(self.exchange.serve, theirs)
        parts = urlsplit(url)
        return ours, HOST, parts.path + (f"?{parts.query}" if parts.query else "")

    @property
    def is_subscribed(self) -> bool:
        return all(feed.wanted and feed.subscribed == feed.wanted for feed in self.feeds)

    async def run(self, script: Callable[[VirtualDesk], Awaitable[None]]) -> None:
        """Everything at once, until the script ends."""
        stop = trio.Event()
        async with (
            RestClient(self.config, self.rng, transport=InPlace(self.exchange)) as rest,
            trio.open_nursery() as self._venues,
        ):
            self._venues.start_soon(self.exchange.run)
            self._venues.start_soon(self.exchange.faults.run)
            async with trio.open_nursery() as around:
                around.start_soon(self._flush)
                around.start_soon(self._mend, rest)
                async with trio.open_nursery() as capture:
                    pacers = {one.spec.exchange: ConnectPacer(0.01) for one in self.feeds}
                    for feed in self.feeds:
                        run = FeedRun(
                            feed, self.config.feeds[feed.spec.name], rest,
                            pacers[feed.spec.exchange], random.Random(self.rng.random()), stop,
                            lambda: (None, None),
                        )  # fmt: skip
                        capture.start_soon(run.run, lambda _: None)
                    await script(self)
                    stop.set()
                around.cancel_scope.cancel()
            await self.exchange.close()
            self.exchange.truth.flush()
            self._venues.cancel_scope.cancel()

    async def _flush(self) -> None:
        while True:
            await trio.sleep(FLUSH_S)
            for feed in self.feeds:
                feed.flush()

    async def _mend(self, rest: RestClient) -> None:
        if not self.has_backfill:
            return
        backfills = [FeedBackfill(feed, rest, InMemory(), has_api_key=False) for feed in self.feeds]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Backfill(backfills, self.ledger, frozenset).run)
            if self.compares:
                watches = [SilenceWatch(one, self.config.backfill.compare_s) for one in backfills]
                nursery.start_soon(run_comparisons, watches, frozenset)
                self._listen(nursery, watches)

    def _listen(self, nursery: trio.Nursery, watches: Sequence[SilenceWatch]) -> None:
        for watch in watches:
            spec = watch.feed.spec
            if spec.witness is not None and self.witness_symbols:
                run = WitnessRun(
                    watch, spec.witness, self.config.feeds[spec.name], self.witness_symbols,
                    self.rng,
                )  # fmt: skip
                self.witnesses.append(run)
                nursery.start_soon(run.run)

    async def until(self, condition: Callable[[], bool], within_s: float) -> bool:
        """False: it did not come about in that time."""
        with trio.move_on_after(within_s):
            while not condition():  # noqa: ASYNC110 - virtual time
                await trio.sleep(0.1)
            return True
        return False

    # --- afterwards -------------------------------------------------------------------------------

    def stored(self) -> pl.DataFrame:
        """Keys that went to the spool; a key that went twice folds, as in the table."""
        keys = [
            (
                f"{line.symbols['exchange']}_{line.symbols['market_type']}",
                line.symbols["symbol"], str(line.fields["trade_id"]), line.timestamp_ns,
            )
            for record in self.sink.records
            for line in read_lines(record.payload)
        ]  # fmt: skip
        kinds = [pl.String, pl.String, pl.String, pl.Int64]
        schema = dict(zip(KEY, kinds, strict=True))
        return pl.DataFrame(keys, schema=schema, orient="row").unique(KEY)


def play(
    monkeypatch: pytest.MonkeyPatch, folder: Path, settings: SimSettings, planner: Planner,
    count: int, *, looks_on_s: float = 0.0, has_backfill: bool = True, compares: bool = True,
    meanwhile: Callable[[VirtualDesk], Awaitable[None]] | None = None,
) -> VirtualRun:  # fmt: skip
    """One run from the first subscription to the last closed hole."""
    played: list[Played] = []
    kept: list[VirtualDesk] = []

    async def script(desk: VirtualDesk) -> None:
        assert await desk.until(lambda: desk.is_subscribed, 60)
        names: Names = {
            name: [one.venue_symbol for one in venue.market.instruments]
            for name, venue in desk.exchange.venues.items()
        }
        plan = planner(random.Random(settings.seed), count, names)
        faults = desk.exchange.faults
        faults.give(plan, trio.current_time())
        if meanwhile is not None:
            await meanwhile(desk)
        ends_s = max(fault.at_s + fault.seconds for fault in plan)
        await desk.until(
            lambda: len(faults.played) == len(plan) and all(one.until_ns for one in faults.played),
            ends_s + PLAYED_S_MAX,
        )
        played.extend(faults.played)
        await trio.sleep(CALM_S + looks_on_s)
        desk.exchange.engine.stop()
        await desk.until(lambda: desk.is_subscribed, 60)
        await trio.sleep(3)
        await desk.until(lambda: not desk.ledger.open_gaps(), CLOSING_S_MAX)
        await trio.sleep(1)

    async def main() -> None:
        desk = VirtualDesk(
            monkeypatch, folder, settings, has_backfill=has_backfill, compares=compares
        )
        kept.append(desk)
        await desk.run(script)

    run_in_virtual_time(monkeypatch, main)
    return _judged(kept[0], folder, played)


def run_in_virtual_time(
    monkeypatch: pytest.MonkeyPatch, main: Callable[[], Awaitable[None]]
) -> None:
    """Threads would take real time: what goes to one is done in place."""

    async def inline(step: Callable[..., object], *args: object, **_: object) -> object:
        await trio.lowlevel.checkpoint()
        return step(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", inline)
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def _judged(desk: VirtualDesk, folder: Path, played: Sequence[Played]) -> VirtualRun:
    truth, stored, gaps = load_truth(folder, everything=True), desk.stored(), desk.side.ledger
    too_many = sum(
        times
        for venue in desk.exchange.venues.values()
        for answer, times in venue.counts.rest.items()
        if answer.endswith(("403", "418", "429"))
    )
    return VirtualRun(
        truth=truth, stored=stored, gaps=gaps, played=list(played),
        found=judge_holes(truth, stored, gaps, played),
        replacements=sum(feed.replacements for feed in desk.feeds), too_many=too_many,
    )  # fmt: skip
