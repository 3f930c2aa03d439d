"""Watches the boards: asks, hands the answers to the detectors, tells the sink, keeps the memory.

A new event goes to the sink first and to the memory's file right after: a crash in between finds
it in the table (which must be loaded before the first look) or sees the notice as new once more.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import structlog
import trio

from pumpwatch.clock import Clock
from pumpwatch.config import Config
from pumpwatch.errors import PumpWatchError, VenueError
from pumpwatch.listing.board_client import BoardClient, BoardRefusedError, make_http
from pumpwatch.listing.detector import Detector, Findings, Look, missing_rows
from pumpwatch.listing.events import EventBook, ListingAlert, ListingEvent, ListingSink
from pumpwatch.listing.looks import BithumbLook, MarketsLook, UpbitLook
from pumpwatch.listing.markets import MarketWitness
from pumpwatch.listing.notices import SocketNews
from pumpwatch.listing.pace import Pace, PaceRules
from pumpwatch.listing.requests import read_request, waiting_requests
from pumpwatch.listing.seen import Memory, MemoryFile, encode
from pumpwatch.listing.upbit_socket import read_keys, watch_socket
from pumpwatch.listing.witness import Witness

log = structlog.get_logger()

MEMORY_FILE = "listing_seen.json"
SAVE_INTERVAL_S = 60.0  # the times of the last looks, where nothing else changed
SAVE_RETRY_S = 5.0
LAST_SAVE_S = 2.0
REQUESTS_INTERVAL_S = 0.5
SOCKET_PAUSE_S = 1.0  # before the first reconnect; Upbit allows 5 a second
# The market list is the second witness; where the first is blind it is asked as often as that.
MARKETS_EVERY = 5


class ListingWatch:
    """All detectors of one run; ``witnesses`` and ``detector`` are there to be shown."""

    def __init__(
        self,
        config: Config,
        sink: ListingSink,
        clock: Clock,
        rng: random.Random,
        *,
        stored: Sequence[ListingEvent] | None = None,
        rules: PaceRules | None = None,
    ) -> None:
        """``stored``: the table's events, None where it cannot be asked. Raises ConfigError."""
        self._config = config
        self._sink = sink
        self._clock = clock
        self._rng = rng
        self._rules = rules or PaceRules()
        self._keys = read_keys(config)
        self._file = MemoryFile(config.data_dir / MEMORY_FILE)
        self._saving = trio.Lock()
        self._must_save = trio.Event()
        memory = self._load()
        self.book = EventBook([*memory.events, *(stored or ())])
        self.detector = Detector(memory, self.book, late_s_max=config.listing.late_s_max)
        self.markets = MarketWitness(memory, self.book)
        self._unstored = [] if stored is None else missing_rows(memory.events, stored)
        self.witnesses: dict[str, Witness] = {}
        listing = config.listing
        for name, source, interval_s in (
            ("upbit_web", "upbit", listing.upbit.poll_interval_s),
            ("upbit_markets", "upbit", listing.upbit.poll_interval_s),
            ("upbit_socket", "upbit", SOCKET_PAUSE_S),
            ("bithumb_web", "bithumb", listing.bithumb.poll_interval_s),
            ("bithumb_markets", "bithumb", listing.bithumb.poll_interval_s),
        ):
            is_on = listing.upbit.enabled if source == "upbit" else listing.bithumb.enabled
            if is_on and (name != "upbit_socket" or self._keys is not None):
                pace = Pace(interval_s, self._rules, random.Random(rng.getrandbits(64)))
                self.witnesses[name] = Witness(name, source, pace)

    def _load(self) -> Memory:
        try:
            return self._file.load() or Memory()
        except PumpWatchError as error:
            if self._file.path.exists():  # a newer version's: not ours to replace
                raise
            self._alert("memory", "", MEMORY_FILE, str(error))
            return Memory()

    def looks_every_s(self, witness: Witness) -> float:
        """While all is well: market lists are only a fallback of the notices."""
        return witness.pace.interval_s * (MARKETS_EVERY if witness.name.endswith("_markets") else 1)

    def is_blind(self, source: str) -> bool:
        """Whether a new notice of this exchange would not be seen by any detector of notices."""
        own = [w for w in self.witnesses.values() if w.source == source]
        return all(w.is_blind for w in own if not w.name.endswith("_markets"))

    def keep(self, event: ListingEvent) -> None:
        """A revision that another part made, as of its window: remember it, write its row."""
        if self.book.put(event):
            self._sink.revised(event)
            self._must_save.set()

    def status(self) -> list[dict[str, Any]]:
        """A line for each detector, for the status page."""
        lines = []
        for witness in self.witnesses.values():
            delays = sorted(self.detector.delays_ms.get(witness.name, ()))
            lines.append(
                {
                    "detector": witness.name,
                    "state": witness.state,
                    "reason": witness.reason,
                    "looks": witness.looks,
                    "last_look_ns": witness.good_ns,
                    "blind_since_ns": witness.blind_since_ns,
                    "delays": len(delays),
                    "delay_p50_ms": delays[len(delays) // 2] if delays else None,
                    "delay_max_ms": delays[-1] if delays else None,
                }
            )
        return lines

    # --- running ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Watch until cancelled; what fails is tried again for ever."""
        for event in self._unstored:
            self._sink.revised(event)
        try:
            listing = self._config.listing
            async with (
                make_http(listing.upbit.proxy_url) as upbit_http,
                make_http(listing.bithumb.proxy_url) as bithumb_http,
                trio.open_nursery() as nursery,
            ):
                self._start_looks(nursery, upbit_http, bithumb_http)
                if "upbit_socket" in self.witnesses:
                    nursery.start_soon(self._repeat, self.witnesses["upbit_socket"], self._socket)
                nursery.start_soon(self._take_requests)
                await self._save_often()
        finally:
            with trio.move_on_after(LAST_SAVE_S, shield=True):
                await self._save()

    def _start_looks(
        self, nursery: trio.Nursery, upbit_http: httpx.AsyncClient, bithumb_http: httpx.AsyncClient
    ) -> None:
        upbit, bithumb = self._config.listing.upbit, self._config.listing.bithumb

        def client(name: str, url: str) -> BoardClient:
            http = bithumb_http if name == "bithumb" else upbit_http
            return BoardClient(name, url, http, self._clock, self._rules.gap_s)

        upbit_markets = client("upbit_markets", upbit.markets_url)
        board = client("bithumb", bithumb.api_url)  # one host, so one budget for both lists
        looks: dict[str, Callable[[], Awaitable[Findings]]] = {
            "upbit_web": UpbitLook(client("upbit_web", upbit.api_url), self.detector),
            "upbit_markets": MarketsLook("upbit", upbit_markets, self.markets),
            "bithumb_web": BithumbLook(board, self.detector),
            "bithumb_markets": MarketsLook("bithumb", board, self.markets),
        }
        for name, look in looks.items():
            if name in self.witnesses:
                once = self._looking(self.witnesses[name], look)
                nursery.start_soon(self._repeat, self.witnesses[name], once)

    def _looking(
        self, witness: Witness, look: Callable[[], Awaitable[Findings]]
    ) -> Callable[[], Awaitable[None]]:
        async def once() -> None:
            findings = await look()
            self._tell(witness.saw(self._clock.wall_ns()))
            self._apply(witness.source, findings)
            if isinstance(look, UpbitLook) and look.has_texts_to_read:
                self._apply(witness.source, await look.read_text())

        return once

    async def _repeat(self, witness: Witness, look: Callable[[], Awaitable[None]]) -> None:
        """Look, wait as the board wants it, look again."""
        while True:
            try:
                await look()
                pause_s = witness.pace.good()
            except BoardRefusedError as error:
                pause_s = witness.pace.refused(error.retry_after_s)
                self._failed(witness, error)
            except VenueError as error:
                pause_s = witness.pace.failed()
                self._failed(witness, error)
            except Exception as error:  # an unheard-of notice must not end the recording
                pause_s = witness.pace.failed()
                log.exception("look_broken", detector=witness.name)
                self._alert("bug", witness.source, witness.name, f"{witness.name}: {error!r}")
            if witness.name.endswith("_markets") and not witness.pace.faults:
                web = self.witnesses[f"{witness.source}_web"]
                pause_s *= 1 if web.is_blind or witness.is_blind else MARKETS_EVERY
            await witness.pause(pause_s)

    def _failed(self, witness: Witness, error: VenueError) -> None:
        log.info("look_failed", detector=witness.name, error=str(error))
        others = [
            w.name
            for w in self.witnesses.values()
            if w.source == witness.source and w is not witness and not w.is_blind
        ]
        instead = f"watched through {' and '.join(others)}" if others else "nothing else watches"
        self._tell(witness.failed(error, self._clock.wall_ns(), instead))
        markets = self.witnesses.get(f"{witness.source}_markets")
        if markets is not None and witness.is_blind and markets.state == "seeing":
            markets.hurry.set()

    async def _socket(self) -> None:
        witness = self.witnesses["upbit_socket"]
        assert self._keys is not None

        def alive() -> None:
            witness.pace.good()
            self._tell(witness.saw(self._clock.wall_ns()))

        def news(one: SocketNews, look: Look) -> None:
            assert one.notice is not None
            found = self.detector.socket(one.notice, look, is_created=one.is_created)
            self._apply("upbit", found)

        upbit = self._config.listing.upbit
        await watch_socket(
            upbit.websocket_url, self._keys, self._clock, alive, news, proxy_url=upbit.proxy_url
        )

    async def _take_requests(self) -> None:
        while True:
            for path in waiting_requests(self._config.data_dir):
                await self._take_request(path)
            await trio.sleep(REQUESTS_INTERVAL_S)

    async def _take_request(self, path: Path) -> None:
        try:
            request = read_request(path)
        except PumpWatchError as error:
            self._alert("request", "manual", path.name, str(error))
            return
        now_ns = self._clock.wall_ns()
        found = self.detector.add(request.symbol, request.announced_ns, now_ns, request.note)
        self._apply("manual", found)
        if await self._save():
            await trio.to_thread.run_sync(path.unlink)

    # --- telling and keeping ----------------------------------------------------------------------

    def _apply(self, source: str, findings: Findings) -> None:
        """Tell the sink, then let the market list's new coins be decided."""
        found = [findings]
        web = self.witnesses.get(f"{source}_web")
        if web is not None:
            looked_ns = self.detector.looked_ns(source)
            found.append(self.markets.settle(source, looked_ns, is_blind=web.is_blind))
        for one in found:
            for events in one.listed:
                self._sink.listed(events)
            for event in one.revised:
                self._sink.revised(event)
            for alert in one.alerts:
                self._sink.alert(alert)
            if one.seeded:
                log.info("listing_seeded", source=source, entries=one.seeded)
            if one.must_save:
                self._must_save.set()

    def _tell(self, alert: ListingAlert | None) -> None:
        if alert is not None:
            self._sink.alert(alert)

    def _alert(self, kind: str, source: str, about: str, text: str) -> None:
        now_ns = self._clock.wall_ns()
        alert = ListingAlert(kind=kind, source=source, about=about, text=text, at_ns=now_ns)
        self._sink.alert(alert)

    async def _save_often(self) -> None:
        while True:
            with trio.move_on_after(SAVE_INTERVAL_S):
                await self._must_save.wait()
            self._must_save = trio.Event()
            if not await self._save():
                await trio.sleep(SAVE_RETRY_S)
                self._must_save.set()

    async def _save(self) -> bool:
        """Put the memory on disk; False where the disk does not take it."""
        async with self._saving:
            encoded = encode(self.detector.snapshot())
            try:
                await trio.to_thread.run_sync(self._file.save, encoded)
            except OSError as error:
                self._alert(
                    "memory", "", MEMORY_FILE, f"{self._file.path}: cannot be saved: {error}"
                )
                return False
        return True
