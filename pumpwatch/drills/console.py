"""D-12: what the operator is shown follows what happens, and is told once with its recovery.

One feed falls silent, the database is stopped, the spool's disk is full, in turn, while a hundred
clients ask every endpoint with good and bad parameters. A real receiver takes the alerts; in the
end the figures shown are held against the table's. Needs root, for the small disk.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import trio

from pumpwatch.clock import SystemClock
from pumpwatch.drills.disk import SPOOL_MIB, ballast, volume
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.reckoning import reckon
from pumpwatch.drills.relay import Relay, run_relay
from pumpwatch.drills.stage import DaemonProcess, external_stage, is_subscribed, settle
from pumpwatch.environment import read_runtime
from pumpwatch.health import FEED_SILENT_S_MAX
from pumpwatch.moments import iso_ns
from pumpwatch.seat import LOOK_S
from pumpwatch.sim.process import Simulator
from pumpwatch.store.embedded import ServerHandle
from pumpwatch.store.server import running_address
from pumpwatch.store.sql import Sql

CLIENTS = 100
PAUSE_S = 15.0  # of each client between its questions, where others have the machine too
FOLLOW_S_MAX = 10.0  # from the fault to 503, and from its end to 200
FILL_S_MAX = 30.0  # making the ballast takes seconds of it
ALERT_S_MAX = 60.0
SILENCE_TOLD_S_MAX = FEED_SILENT_S_MAX + ALERT_S_MAX  # silence is a fault only after a while
RECOVERY_S_MAX = 90.0
POLL_S = 0.2
MINUTE_NS = 60 * 10**9
GOOD = (
    "/livez", "/api/metrics", "/metrics", "/api/feeds", "/api/system/status", "/schema", "/",
    "/api/trades/recent?limit=5", "/api/gaps?limit=5", "/api/listings?limit=5",
    "/api/trades/window?symbol=BTCUSDT&at={now}&before_s=5&after_s=5",
)  # fmt: skip
BAD = (
    "/api/trades/recent?limit=0", "/api/trades/recent?limit=x", "/api/trades/recent?exchange=x'y",
    "/api/trades/recent?symbol=a%20b", "/api/trades/recent?nonsense=1", "/api/gaps?limit=99999999",
    "/api/trades/window?symbol=BTCUSDT&at=yesterday", "/api/trades/window?at={now}",
    "/api/trades/window?symbol=BTCUSDT&at={now}&before_s=-1", "/api/listings?limit=1%3B--",
)  # fmt: skip
TOML = '\n[alerts]\nurls = ["json://127.0.0.1:{port}/told"]\n'


class Receiver:
    """Takes alerts as a messenger's server would; each with the second it came."""

    def __init__(self) -> None:
        self.told: list[tuple[float, str]] = []

    async def serve(self, stream: trio.SocketStream) -> None:
        """One request; its JSON has the title."""
        async with stream:
            data = b""
            while b"\r\n\r\n" not in data:
                data += await stream.receive_some(65536) or b"\r\n\r\n"
            head, _, body = data.partition(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
            while len(body) < size:
                more = await stream.receive_some(65536)
                if not more:
                    return
                body += more
            self.told.append((trio.current_time(), str(msgspec.json.decode(body)["title"])))
            await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    def titles(self, word: str, since_s: float = 0.0) -> list[str]:
        """What was told of it since then."""
        return [title for at_s, title in self.told if word in title and at_s >= since_s]


@asynccontextmanager
async def receiver() -> AsyncIterator[tuple[Receiver, int]]:
    """A receiver on a free port; it is gone when the block ends."""
    taker = Receiver()
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.serve_listeners, taker.serve, [listener]))
        yield taker, listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


class Crowd:
    """A hundred clients that ask, well and badly; without a pause where the machine is theirs."""

    def __init__(self, url: str, rng: random.Random, pause_s: float = 0.0) -> None:
        self.url = url
        self._pause_s = pause_s
        self.statuses: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.database_is_there = True
        self._rng = rng

    async def run(self) -> None:
        """Ask until cancelled."""
        limits = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
        async with (
            httpx.AsyncClient(
                base_url=self.url, trust_env=False, timeout=30, limits=limits
            ) as client,
            trio.open_nursery() as nursery,
        ):
            for _ in range(CLIENTS):
                nursery.start_soon(self._one, client)

    async def _one(self, client: httpx.AsyncClient) -> None:
        while True:
            is_good = self._rng.random() < 0.5
            path = self._rng.choice(GOOD if is_good else BAD)
            was_there = self.database_is_there
            try:
                answer = await client.get(path.format(now=_a_minute_ago()))
            except httpx.HTTPError as error:
                self.wrong.append(f"{path}: {error!r}")
                await trio.sleep(1)
                continue
            self.statuses[f"{'good' if is_good else 'bad'} {answer.status_code}"] += 1
            self._judge(path, answer, is_good, was_there and self.database_is_there)
            await trio.sleep(self._pause_s)

    def _judge(self, path: str, answer: httpx.Response, is_good: bool, is_there: bool) -> None:
        status = answer.status_code
        if status == 429:
            return
        is_json = answer.headers["content-type"].startswith("application/json")
        if not is_good:
            if status != 400 or not is_json or not answer.json().get("parameter"):
                self.wrong.append(f"{path}: {status} {answer.text[:100]}")
        elif status != 200 and (is_there or status != 503 or not is_json):
            self.wrong.append(f"{path}: {status} {answer.text[:100]}")


def _a_minute_ago() -> str:
    return iso_ns(SystemClock().wall_ns() - MINUTE_NS)[:19] + "Z"


class Console:
    """The daemon as its operator sees it."""

    def __init__(self, daemon: DaemonProcess, outcome: Outcome, taker: Receiver) -> None:
        self.daemon = daemon
        self.outcome = outcome
        self.taker = taker
        runtime = read_runtime(daemon.data_dir)
        assert runtime is not None
        self.url = f"http://127.0.0.1:{runtime.dashboard_port}"
        self.client = httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=20)
        self.seconds: dict[str, float] = {}

    async def until_status(
        self, path: str, status: int, what: str, within_s: float = FOLLOW_S_MAX
    ) -> None:
        """Note how long it takes until the path answers so."""
        await self._until(lambda: self._has_status(path, status), what, within_s)

    def expect_once(self, word: str, since_s: float, what: str) -> None:
        """One message when it began, one when it was over."""
        titles = self.taker.titles(word, since_s)
        fired = [title for title in titles if "recovered" not in title]
        told = f"{what} was told {len(fired)} times, and over {len(titles) - len(fired)} times"
        self.outcome.expect(len(fired) == 1 and len(titles) == 2, f"{told}: {titles}")

    async def _has_status(self, path: str, status: int) -> bool:
        try:
            return (await self.client.get(path)).status_code == status
        except httpx.HTTPError:
            self.daemon.expect_running()
            return False

    async def until_told(self, word: str, what: str, since_s: float, within_s: float) -> None:
        """Note how long it takes until a message about ``word`` came."""

        async def is_told() -> bool:
            return bool(self.taker.titles(word, since_s))

        await self._until(is_told, what, within_s)

    async def _until(
        self, holds: Callable[[], Awaitable[bool]], what: str, within_s: float
    ) -> None:
        begun_s = trio.current_time()
        with trio.move_on_after(within_s) as deadline:
            while not await holds():  # noqa: ASYNC110 - another process's word
                await trio.sleep(POLL_S)
        took_s = trio.current_time() - begun_s
        self.seconds[what] = max(self.seconds.get(what, 0.0), round(took_s, 1))
        self.outcome.expect(not deadline.cancelled_caught, f"{what}: not within {within_s:g} s")

    async def feed(self, name: str) -> dict[str, Any]:
        """One feed, as the API shows it."""
        feeds: list[dict[str, Any]] = (await self.client.get("/api/feeds")).json()["feeds"]
        return next(feed for feed in feeds if feed["feed"] == name)


async def run(order: Order) -> Outcome:
    """``count`` rounds of the faults; see the module."""
    outcome = Outcome()
    rng = random.Random(order.seed)
    feed = rng.choice(order.feeds)
    data_dir = order.folder / "run" / "data"
    async with receiver() as (taker, port), run_relay() as relay:
        with volume(data_dir, SPOOL_MIB):
            async with external_stage(
                order, rng.randrange(1 << 31), toml=TOML.format(port=port)
            ) as parts:
                _send_through(parts.daemon, feed, relay)
                parts.daemon.start()
                await parts.daemon.until(is_subscribed, "subscribed")
                console = Console(parts.daemon, outcome, taker)
                crowd = Crowd(console.url, rng, 0.0 if order.is_alone else PAUSE_S)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(crowd.run)
                    await console.until_status("/readyz", 200, "ready")
                    for _ in range(order.count):
                        await _silence(console, relay, feed)
                        await _stop_the_database(console, crowd, parts.server)
                        await _fill_the_disk(console, data_dir)
                    nursery.cancel_scope.cancel()
                outcome.expect(not crowd.wrong, f"{len(crowd.wrong)} wrong: {crowd.wrong[:3]}")
                await _compare_figures(console, parts.simulator)
                await console.client.aclose()
                await reckon(outcome, parts.simulator, parts.daemon, without=feed)
        outcome.figures = {
            "rounds": order.count, "silenced": feed, "seconds_max": console.seconds,
            "answers": dict(sorted(crowd.statuses.items())), "told": len(taker.told),
        }  # fmt: skip
    return outcome


def _send_through(daemon: DaemonProcess, feed: str, relay: Relay) -> None:
    """Give one feed the relay for a proxy."""
    table = f"[feeds.{feed}]"
    text = daemon.config_file.read_text()
    daemon.config_file.write_text(text.replace(table, f'{table}\nproxy_url = "{relay.url}"'))


async def _silence(console: Console, relay: Relay, feed: str) -> None:
    """Nothing comes of one feed any more: its health says so, and it is told once."""
    since_s = trio.current_time()
    relay.silence()
    await console.until_told(feed, "feed silenced: told", since_s, SILENCE_TOLD_S_MAX)
    shown = await console.feed(feed)
    console.outcome.expect(
        not shown["connections_open"] or shown["silent_s"] > FEED_SILENT_S_MAX / 2,
        f"a silenced {feed} is shown with {shown['connections_open']} connections",
    )
    relay.speak()
    healed_s = trio.current_time()
    await console.until_told("recovered: feed", "feed back: told", healed_s, RECOVERY_S_MAX)
    console.expect_once("feed ", since_s, f"a silenced {feed}")


async def _stop_the_database(console: Console, crowd: Crowd, server: ServerHandle) -> None:
    """SIGSTOP until it has been told, SIGCONT until that was."""
    since_s = trio.current_time()
    assert server.pid is not None
    crowd.database_is_there = False
    os.kill(server.pid, signal.SIGSTOP)
    try:
        await console.until_status("/api/health", 503, "database stopped: health")
        await console.until_status("/readyz", 503, "database stopped: readyz")
        await console.until_told("database down", "database stopped: told", since_s, ALERT_S_MAX)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    healed_s = trio.current_time()
    await console.until_status("/api/health", 200, "database back: health")
    what = "recovered: database down"
    await console.until_told(what, "database back: told", healed_s, RECOVERY_S_MAX)
    crowd.database_is_there = True
    console.expect_once("database down", since_s, "a stopped database")


async def _fill_the_disk(console: Console, data_dir: Path) -> None:
    """Not a byte is free where the spool lies."""
    since_s = trio.current_time()
    with ExitStack() as full:
        # Making it takes seconds, and more on a busy machine: the crowd must go on asking, or its
        # idle connections are closed under it.
        await trio.to_thread.run_sync(full.enter_context, ballast(data_dir))
        await console.until_status("/readyz", 503, "disk full: readyz", FILL_S_MAX)
        await console.until_told("spool stopped", "disk full: told", since_s, ALERT_S_MAX)
    healed_s = trio.current_time()
    await console.until_status("/readyz", 200, "disk freed: readyz")
    what = "recovered: spool stopped"
    await console.until_told(what, "disk freed: told", healed_s, RECOVERY_S_MAX)
    console.expect_once("spool stopped", since_s, "a full disk")


async def _compare_figures(console: Console, simulator: Simulator) -> None:
    """What is shown when all is settled is what the table holds, feed by feed."""
    await settle(console.daemon, simulator)
    sql = Sql(running_address(console.daemon.config), readonly=True)
    try:
        rows = await sql.query(
            "SELECT exchange || '_' || market_type, count() FROM trades GROUP BY 1 ORDER BY 1"
        )
    finally:
        await sql.aclose()
    stored = {str(feed): int(count) for feed, count in rows}
    await trio.sleep(2 * LOOK_S)  # the seat has looked since
    feeds = (await console.client.get("/api/feeds")).json()["feeds"]
    shown = {feed["feed"]: feed["balance"]["applied"] for feed in feeds}
    total = (await console.client.get("/api/metrics")).json()["trades_total"]
    outcome = console.outcome
    outcome.expect(total == sum(shown.values()), f"{total} shown, {sum(shown.values())} by feed")
    # Rows that were sent again after an outage are one row in the table: never more than shown.
    outcome.expect(stored == shown, f"the table has {stored}, shown are {shown}")
