"""Somebody else who is subscribed to everything: trading goes on while the daemon is cut off."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

from pumpwatch.clock import SystemClock
from pumpwatch.config import Config
from pumpwatch.rest import RestClient
from pumpwatch.venues import FEEDS_BY_NAME
from pumpwatch.venues.spec import FeedSpec, connection_target

SETTLE_S = 2.0  # for the venues to take all subscriptions


@asynccontextmanager
async def subscribe_all(
    config: Config, names: Mapping[str, Sequence[str]], seed: int
) -> AsyncIterator[None]:
    """Connections of somebody else to each feed, for these symbols, until the block ends."""
    rng = random.Random(seed)
    async with RestClient(config, rng) as rest, trio.open_nursery() as nursery:
        for feed, symbols in names.items():
            spec = FEEDS_BY_NAME[feed]
            size = spec.symbols_per_connection
            for first in range(0, len(symbols), size):
                target = await connection_target(spec, rest, config.feeds[feed], rng)
                some = symbols[first : first + size]
                await nursery.start(_listen, target.url, spec, some)
        await trio.sleep(SETTLE_S)
        yield
        nursery.cancel_scope.cancel()


async def _listen(
    url: str,
    spec: FeedSpec,
    symbols: Sequence[str],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    async with open_websocket_url(url) as socket, trio.open_nursery() as nursery:
        if spec.subscribe.awaits_welcome:
            await socket.get_message()
        size = spec.subscribe.symbols_per_request_max
        for number, first in enumerate(range(0, len(symbols), size), 1):
            now_s = SystemClock().wall_ns() // 10**9
            request = spec.subscribe.render(tuple(symbols[first : first + size]), number, now_s)
            await socket.send_message(request)
            await trio.sleep(spec.pace.interval_s)
        nursery.start_soon(_ping, socket, spec)
        task_status.started()
        try:
            while True:
                await socket.get_message()
        except ConnectionClosed:
            nursery.cancel_scope.cancel()


async def _ping(socket: WebSocketConnection, spec: FeedSpec) -> None:
    number = 1000
    while spec.keepalive.ping is not None:
        await trio.sleep(spec.keepalive.interval_s / 2)
        number += 1
        text = spec.keepalive.ping.replace("{id}", str(number)).replace("{time}", "1")
        try:
            await socket.send_message(text)
        except ConnectionClosed:
            return
