"""Plays faults: sets the rules of a market's stream, cuts and silences connections, shuts doors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import numpy as np
import trio

from pumpwatch.clock import Clock
from pumpwatch.errors import UsageError
from pumpwatch.sim.connection import Connection
from pumpwatch.sim.faults import FARAWAY_S, LINKS, STREAM, Fault, Played
from pumpwatch.sim.filters import FOREVER_ROWS, Rule
from pumpwatch.sim.venue import Answer, Venue, json_answer

LOG_FILE = "faults.jsonl"  # beside the truth
LOOK_S = 0.05
SECOND_NS = 10**9
COUNTED = frozenset({"withhold", "repeat", "late"})  # over when so many rows were met


class FaultPlayer:
    """The faults of one run, and whom they hit."""

    def __init__(
        self,
        venues: Mapping[str, Venue],
        connections: Mapping[int, Connection],
        clock: Clock,
        folder: Path | None = None,
    ) -> None:
        self.played: list[Played] = []
        self._venues = venues
        self._connections = connections
        self._clock = clock
        self._log_file = None if folder is None else folder / LOG_FILE
        self._refused_until_s: dict[str, float] = {}
        self._rest: list[tuple[float, Fault]] = []
        self._send, self._receive = trio.open_memory_channel[tuple[float, Fault]](math.inf)

    def give(self, faults: Iterable[Fault], now_s: float) -> None:
        """Play these; their times count from now on. Raises UsageError."""
        faults = list(faults)
        for fault in faults:
            if fault.feed not in self._venues:
                raise UsageError(f"plan of faults: no such feed is served: {fault.feed[:40]}")
            if fault.symbol and not self._symbols_of(fault):
                raise UsageError(f"plan of faults: {fault.feed} has no {fault.symbol[:40]}")
        for fault in faults:
            self._send.send_nowait((now_s + fault.at_s, fault))

    async def run(self) -> None:
        """Play what is given, until cancelled."""
        async with trio.open_nursery() as nursery:
            async for at_s, fault in self._receive:
                nursery.start_soon(self._play_at, at_s, fault)

    # --- what others ask --------------------------------------------------------------------------

    def is_refused(self, feed: str, now_s: float) -> bool:
        """Nobody answers at this feed's door."""
        return now_s < self._refused_until_s.get(feed, -math.inf)

    async def rest_answer(self, feed: str, now_s: float) -> Answer | None:
        """What a request gets instead of its answer; None: nothing, maybe later than it could."""
        self._rest = [(until_s, fault) for until_s, fault in self._rest if until_s > now_s]
        for _, fault in self._rest:
            if fault.feed != feed:
                continue
            await trio.sleep(fault.delay_s)
            if fault.status:
                headers = {}
                if fault.retry_after_s is not None:
                    headers["Retry_After"] = f"{fault.retry_after_s:g}"
                return json_answer({"message": "on purpose"}, fault.status, **headers)
        return None

    # --- playing ----------------------------------------------------------------------------------

    async def _play_at(self, at_s: float, fault: Fault) -> None:
        await trio.sleep_until(at_s)
        played = Played(fault=fault, at_ns=self._clock.wall_ns())
        self.played.append(played)
        try:
            await self._play(fault, played)
            played.until_ns = self._clock.wall_ns()
        finally:
            if self._log_file is not None:
                with self._log_file.open("ab") as file:
                    file.write(msgspec.json.encode(played) + b"\n")

    async def _play(self, fault: Fault, played: Played) -> None:
        venue = self._venues[fault.feed]
        if fault.kind in STREAM:
            await self._filter(fault, played)
        elif fault.kind in LINKS:
            await self._hit_links(fault, played)
        elif fault.kind == "outage":
            self._refused_until_s[fault.feed] = trio.current_time() + fault.seconds
            await self._hit_links(fault, played)
            await trio.sleep_until(self._refused_until_s[fault.feed])
        elif fault.kind == "refuse":
            venue.refuses_until_s = trio.current_time() + fault.seconds
            await trio.sleep(fault.seconds)
        elif fault.kind == "rest":
            self._rest.append((trio.current_time() + fault.seconds, fault))
            await trio.sleep(fault.seconds)
        elif fault.kind == "rename":
            await self._rename(fault, played)
        elif fault.kind == "launch":
            await self._launch(fault, played)
        else:
            await self._delist(fault, played)

    def _symbols_of(self, fault: Fault) -> list[int]:
        """Indices of what the fault names; all, where it names nothing."""
        market = self._venues[fault.feed].market
        if not fault.symbol:
            return list(range(len(market.instruments)))
        return [one.index for one in market.instruments if one.venue_symbol == fault.symbol]

    # --- the stream -------------------------------------------------------------------------------

    async def _filter(self, fault: Fault, played: Played) -> None:
        market = self._venues[fault.feed].market
        chosen = self._symbols_of(fault)
        symbols = np.zeros(len(market.instruments), dtype=np.bool_)
        symbols[chosen] = True
        played.symbols = [market.instruments[at].venue_symbol for at in chosen]
        is_counted = fault.kind in COUNTED
        seconds = FARAWAY_S if is_counted else fault.seconds
        rule = Rule(
            fate=fault.kind if fault.kind in ("repeat", "late") else "withhold",
            symbols=symbols,
            until_ns=played.at_ns + int(seconds * SECOND_NS),
            rows_left=fault.rows if is_counted else FOREVER_ROWS,
            share=fault.share if fault.kind == "thin" else 1.0,
            late_ns=int(fault.seconds * SECOND_NS),
        )
        market.filter.rules.append(rule)
        try:
            while not rule.is_over(self._clock.wall_ns()):  # noqa: ASYNC110 - met by chance
                await trio.sleep(LOOK_S)
            if fault.kind == "late":
                await trio.sleep(fault.seconds)
        finally:
            played.rows = rule.rows

    async def _rename(self, fault: Fault, played: Played) -> None:
        venue = self._venues[fault.feed]
        venue.renamed = (f'"{fault.field}":'.encode(), f'"{fault.into}":'.encode())
        played.connections = len(self._links_of(fault))
        try:
            await trio.sleep(fault.seconds)
        finally:
            venue.renamed = None

    # --- connections ------------------------------------------------------------------------------

    def _links_of(self, fault: Fault) -> list[Connection]:
        venue = self._venues[fault.feed]
        return [
            one
            for one in self._connections.values()
            if one.venue is venue and one.session is not None
            if not fault.symbol or fault.symbol in one.session.subscribed
        ]

    async def _hit_links(self, fault: Fault, played: Played) -> None:
        links = self._links_of(fault)
        played.connections = len(links)
        played.symbols = sorted({name for one in links for name in one.subscribed})
        texts = self._venues[fault.feed].expire() if fault.kind == "expire" else None
        async with trio.open_nursery() as nursery:
            for one in links:
                if fault.kind in ("close", "expire"):
                    nursery.start_soon(one.announce_end, fault.seconds, texts)
                elif fault.kind in ("stall", "half_open"):
                    one.silence(is_deaf=fault.kind == "half_open")
                else:
                    nursery.start_soon(one.cut, fault.how)
        if fault.kind in ("stall", "half_open"):
            try:
                await trio.sleep(fault.seconds)
            finally:
                for one in links:
                    one.resume()

    # --- instruments ------------------------------------------------------------------------------

    async def _launch(self, fault: Fault, played: Played) -> None:
        market = self._venues[fault.feed].market
        wanted = [market.instruments[at] for at in self._symbols_of(fault)]
        unborn = (one for one in wanted if one.index in market.unborn)
        new = next(unborn, None)
        if new is None:
            played.note = "no instrument is left that is not listed"
            return
        market.unborn.discard(new.index)
        played.symbols = [new.venue_symbol]
        begun_s = trio.current_time()
        is_known_first = fault.listed_s <= fault.seconds
        await trio.sleep_until(begun_s + min(fault.listed_s, fault.seconds))
        if is_known_first:
            market.set_status(new.index, "prelaunch")
            await trio.sleep_until(begun_s + fault.seconds)
        market.begin(new.index, self._clock.wall_ns(), is_listed=is_known_first)
        if not is_known_first:
            await trio.sleep_until(begun_s + fault.listed_s)
            market.set_status(new.index, "trading")

    async def _delist(self, fault: Fault, played: Played) -> None:
        market = self._venues[fault.feed].market
        chosen = self._symbols_of(fault)
        played.symbols = [market.instruments[at].venue_symbol for at in chosen]
        for at in chosen:
            market.set_status(at, "ended")
        await trio.sleep(fault.seconds)
        for at in chosen:
            market.set_status(at, "unlisted")
