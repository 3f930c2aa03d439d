"""The page on a free port, around a seat that tests fill in; its database is real."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import trio

from pumpwatch.clock import SystemClock
from pumpwatch.config import Config, DashboardConfig
from pumpwatch.dashboard.access import Policy
from pumpwatch.dashboard.actions import ActionDesk
from pumpwatch.dashboard.answers import SharedAnswers
from pumpwatch.dashboard.app import make_app
from pumpwatch.dashboard.gate import Gate
from pumpwatch.dashboard.questions import Questions
from pumpwatch.dashboard.routes_standing import BUILDERS
from pumpwatch.dashboard.server import PageServer
from pumpwatch.rates import TimesBySource
from pumpwatch.standing import Standing, TablesStanding
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.sql import Sql
from pumpwatch.store.window_reader import Windows
from tests.standings import standing

TOKEN = "a-token-of-the-tests-only"
NOBODY = ServerAddress(
    http_url="http://127.0.0.1:1", pg_host="127.0.0.1", pg_port=1, user="u", password="p",
    readonly_user="r", readonly_password="p",
)  # fmt: skip


class SeatDouble:
    """A seat whose standing is what the test says."""

    def __init__(self) -> None:
        self.standing: Standing = standing()
        self.looked = trio.Event()
        self.announced: deque[bytes] = deque(maxlen=8)
        self.announcements = 0
        self.history: deque[tuple[int, ...]] = deque([(1,) * 12, (2,) * 12])
        self.query_times = TimesBySource()
        self.tables: TablesStanding | None = None
        self.page_clients = 0
        self.page_requests: dict[str, int] = {}

    def show(self, shown: Standing) -> None:
        """As the seat does each second."""
        self.standing = shown
        looked, self.looked = self.looked, trio.Event()
        looked.set()

    def announce(self, document: bytes) -> None:
        """As the seat does with a listing."""
        self.announced.append(document)
        self.announcements += 1
        looked, self.looked = self.looked, trio.Event()
        looked.set()


class Stage:
    """A served page and a client of it."""

    def __init__(self, seat: SeatDouble, shared: SharedAnswers, desk: ActionDesk, url: str) -> None:
        self.seat = seat
        self.shared = shared
        self.desk = desk
        self.url = url
        self.client = httpx.AsyncClient(base_url=url, trust_env=False, timeout=20)

    async def get(self, path: str, **params: Any) -> httpx.Response:
        """GET with parameters."""
        return await self.client.get(path, params=params)

    async def connect(self) -> trio.SocketStream:
        """A bare connection."""
        return await trio.open_tcp_stream("127.0.0.1", int(self.url.rpartition(":")[2]))

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[Callable[[], Awaitable[tuple[str, Any]]]]:
        """An open event stream; each call waits for the next event: its name and document."""
        async with await self.connect() as stream:
            await stream.send_all(b"GET /api/stream HTTP/1.0\r\nhost: localhost\r\n\r\n")
            held = b""

            async def event() -> tuple[str, Any]:
                nonlocal held
                while b"\n\n" not in held.partition(b"\ndata: ")[2]:
                    received = await stream.receive_some(65536)
                    assert received, held
                    held += received
                head, _, rest = held.partition(b"\ndata: ")
                data, _, held = rest.partition(b"\n\n")
                name = head.rpartition(b"event: ")[2].strip().decode()
                return name, msgspec.json.decode(data)

            yield event


@asynccontextmanager
async def page_stage(
    address: ServerAddress = NOBODY,
    *,
    dashboard: DashboardConfig | None = None,
    policy: Policy | None = None,
    seat: SeatDouble | None = None,
) -> AsyncIterator[Stage]:
    """A page; it is gone when the block ends."""
    seat = seat or SeatDouble()
    desk = ActionDesk()
    dashboard = dashboard or DashboardConfig(bind="127.0.0.1:0")
    policy = policy or Policy(token=TOKEN, is_loopback_bind=True, behind_proxy=False)
    config = msgspec.structs.replace(Config(), dashboard=dashboard)
    sql = Sql(address, readonly=True, timeout_s=5, connections_max=2)
    shared = SharedAnswers(seat, BUILDERS)
    windows = Windows(sql, SystemClock(), seat.query_times)
    app = make_app(
        config, SystemClock(), seat, shared, Questions(sql, seat.query_times), windows, desk
    )
    gate = Gate(app, policy, seat, shared, per_s=dashboard.requests_per_s_max)  # type: ignore[arg-type]
    server = PageServer(gate, dashboard)
    async with trio.open_nursery() as nursery:
        port = await nursery.start(server.serve)
        stage = Stage(seat, shared, desk, f"http://127.0.0.1:{port}")
        try:
            yield stage
        finally:
            await stage.client.aclose()
            nursery.cancel_scope.cancel()
    await sql.aclose()
