"""The watch and the simulated boards on real sockets of this host, faster than in life."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import trio

from pumpwatch.clock import SystemClock
from pumpwatch.config import BithumbConfig, Config, ListingConfig, UpbitConfig
from pumpwatch.listing.events import ListingAlert, ListingEvent
from pumpwatch.listing.pace import PaceRules
from pumpwatch.listing.watch import ListingWatch
from pumpwatch.sim.board_script import Action, read_script
from pumpwatch.sim.board_socket import ACCESS_KEY, SECRET_KEY
from pumpwatch.sim.boards import Boards
from pumpwatch.sim.server import serve_client
from pumpwatch.sim.venue import Answer, Request, Upgrade

FAST = PaceRules(backoff_s=0.6, backoff_s_max=2.0, fault_s_max=0.5, jitter=0.0, gap_s=0.0)
POLL_S = 0.5  # the least that the settings allow
PATIENCE_S = 60.0


@dataclass
class Told:
    """A sink that only notes."""

    events: list[ListingEvent] = field(default_factory=list)
    revisions: list[ListingEvent] = field(default_factory=list)
    alerts: list[ListingAlert] = field(default_factory=list)

    def listed(self, events: Sequence[ListingEvent]) -> None:
        """New events."""
        assert events
        self.events += events

    def revised(self, event: ListingEvent) -> None:
        """A known event with other values."""
        self.revisions.append(event)

    def alert(self, alert: ListingAlert) -> None:
        """A person must look."""
        self.alerts.append(alert)

    def kinds(self, *kinds: str) -> list[tuple[str, str]]:
        """Kind and subject of the alerts of these kinds."""
        return [(alert.kind, alert.about) for alert in self.alerts if alert.kind in kinds]


@dataclass
class World:
    """Boards that listen, and the settings that point at them."""

    boards: Boards
    config: Config

    def play(self, *actions: dict[str, Any]) -> None:
        """A script, from now on."""
        self.boards.play(read_script(msgspec.json.encode(actions)))

    def asked(self, board: str, path: str, status: int = 200) -> int:
        """How often a path was answered so."""
        return self.boards.requests[board][f"{path} {status}"]

    @asynccontextmanager
    async def watch(
        self, stored: Sequence[ListingEvent] | None = None, *, config: Config | None = None
    ) -> AsyncIterator[tuple[ListingWatch, Told]]:
        """A watch that has seen all lists once."""
        told = Told()
        watch = ListingWatch(
            config or self.config, told, SystemClock(), random.Random(7), stored=stored, rules=FAST
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.run)
            await until(lambda: all(w.state != "starting" for w in watch.witnesses.values()))
            yield watch, told
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def living(
    folder: Path, *, limits: bool = False, keys: tuple[str, str] | None = None
) -> AsyncIterator[World]:
    """Boards on a free port; with ``keys`` the socket is watched too."""
    boards = Boards(SystemClock(), random.Random(3), limits=limits)

    async def on_rest(name: str, request: Request) -> Answer:
        return boards.answer(name, request)

    async def on_socket(name: str, stream: trio.abc.Stream, head: bytes, upgrade: Upgrade) -> None:
        await boards.sockets.serve(stream, head, upgrade)

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    urls = boards.listen_at("127.0.0.1", port)
    files = {}
    if keys is not None:
        for name, text in zip(("access_key_file", "secret_key_file"), keys, strict=True):
            (folder / name).write_text(text + "\n")
            files[name] = name
    upbit = UpbitConfig(**urls["upbit"], **files, poll_interval_s=POLL_S)
    bithumb = BithumbConfig(**urls["bithumb"], poll_interval_s=POLL_S)
    config = Config(data_dir=folder, listing=ListingConfig(upbit=upbit, bithumb=bithumb))
    async with trio.open_nursery() as nursery:
        serve = partial(serve_client, on_rest=on_rest, on_socket=on_socket)
        nursery.start_soon(partial(trio.serve_listeners, serve, listeners))
        nursery.start_soon(boards.run)
        yield World(boards, config)
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], object]) -> None:
    """Wait for what another task, or the other side of a socket, does."""
    with trio.fail_after(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - no event tells it
            await trio.sleep(0.01)


async def some_looks(watch: ListingWatch, looks: int = 2) -> None:
    """Until every detector of a web list has looked so often again."""
    webs = [w for w in watch.witnesses.values() if not w.name.endswith("_socket")]
    first = {w.name: w.looks for w in webs if not w.is_blind and not w.name.endswith("_markets")}
    await until(lambda: all(watch.witnesses[name].looks >= n + looks for name, n in first.items()))


KEYS = (ACCESS_KEY, SECRET_KEY)
__all__ = ["KEYS", "Action", "Told", "World", "living", "some_looks", "until"]
