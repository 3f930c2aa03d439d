"""A database for tests without one: what a writer and the applied watch see of a QuestDB.

Its answers are those of a real 9.3.4 (test_road_to_database.py holds the same tests against it):
one transaction per request and table, DEDUP by line identity, a WAL that is applied when told.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import trio

from pumpwatch.errors import ServerError
from pumpwatch.store.applied import IDS_SQL, WAL_SQL
from pumpwatch.store.ilp_client import IlpClient
from pumpwatch.store.schema import TABLES
from pumpwatch.store.server import ServerAddress
from tests.store.records import split

ADDRESS = ServerAddress(
    http_url="http://database", pg_host="database", pg_port=1, user="u", password="p",
    readonly_user="r", readonly_password="p",
)  # fmt: skip
CAST_ERROR = (
    "table: {table}, column: text; cast error from protocol type: STRING to column type: LONG"
)
POISON = "poison"  # a line with this text is refused

Fault = Callable[["FakeServer", httpx.Request], httpx.Response]


class FakeTable:
    """Rows by their text; equal ones are folded unless ``dedup`` is off."""

    def __init__(self, table_id: int, *, dedup: bool = True) -> None:
        self.id = table_id
        self.dedup = dedup
        self.suspended = False
        self.rows: Counter[bytes] = Counter()
        self.wal: deque[list[bytes]] = deque()
        self.writer_txn = 0

    @property
    def sequencer_txn(self) -> int:
        return self.writer_txn + len(self.wal)

    def apply(self, transactions: int = 1_000_000) -> None:
        while self.wal and transactions and not self.suspended:
            self.rows.update(self.wal.popleft())
            self.writer_txn += 1
            transactions -= 1
        if self.dedup:
            self.rows = Counter(set(self.rows))


class FakeServer:
    """Answers as ``IlpSender`` (through a real IlpClient) and as ``SqlSource``."""

    def __init__(self) -> None:
        self.tables: dict[str, FakeTable] = {}
        self.requests: list[tuple[float, bytes]] = []  # when, body
        self.faults: deque[Fault] = deque()  # the next requests meet these instead
        self.applies_at_once = True
        self.names_lines = True
        self.is_away = False  # for SQL
        self.statements: list[str] = []
        self._last_id = 0
        for name in TABLES:
            self.create(name)

    def create(self, name: str) -> None:
        """Make a table (anew): its id is one that no table had before."""
        self._last_id += 1
        self.tables[name] = FakeTable(self._last_id)

    def client(self) -> IlpClient:
        """A client whose requests come here."""
        return IlpClient(ADDRESS, transport=self._connect)

    def _connect(self) -> httpx.MockTransport:
        """A connection; as a real one it keeps every table open that it has once written to."""
        is_open: dict[str, FakeTable] = {}

        async def handle(request: httpx.Request) -> httpx.Response:
            return await self._handle(request, is_open)

        return httpx.MockTransport(handle)

    def stored(self, name: str) -> list[bytes]:
        """The table's rows, each as often as it is stored."""
        return sorted(self.tables[name].rows.elements())

    async def _handle(
        self, request: httpx.Request, is_open: dict[str, FakeTable]
    ) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        assert request.url.path == "/write"
        assert request.headers["content-length"] == str(len(request.content))
        self.requests.append((trio.current_time(), request.content))
        if self.faults:
            return self.faults.popleft()(self, request)
        return self.store(request.content, is_open)

    def store(self, body: bytes, is_open: dict[str, FakeTable]) -> httpx.Response:
        lines = split(body)
        name = lines[0].split(b",")[0].decode()
        if name not in self.tables and name not in is_open:
            return self._refusal(
                1, f"table: {name}; table does not exist, creating new tables is disabled"
            )
        for number, line in enumerate(lines, start=1):
            if POISON.encode() in line:
                return self._refusal(number, CAST_ERROR.format(table=name))
        table = is_open.setdefault(name, self.tables.get(name, FakeTable(0)))
        table.wal.append(lines)
        if self.applies_at_once:
            table.apply()
        return httpx.Response(204)

    def _refusal(self, number: int, words: str) -> httpx.Response:
        message = (
            "failed to parse line protocol:errors encountered on line(s):"
            f"\nerror in line {number}: {words}"
        )
        line = {"line": number} if self.names_lines else {}
        return httpx.Response(
            400, text=json.dumps({"code": "invalid", "message": message, "errorId": "1-1", **line})
        )

    async def query(self, sql: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        await trio.lowlevel.checkpoint()
        if self.is_away:
            raise ServerError("the database does not answer")
        if sql == IDS_SQL:
            return [(name, table.id) for name, table in self.tables.items()]
        assert sql == WAL_SQL
        return [
            (name, table.suspended, table.writer_txn, table.sequencer_txn)
            for name, table in self.tables.items()
        ]

    async def execute(self, sql: str) -> None:
        await trio.lowlevel.checkpoint()
        self.statements.append(sql)
        words = sql.split()
        assert [*words[:2], *words[3:]] == ["ALTER", "TABLE", "RESUME", "WAL"]
        self.tables[words[2]].suspended = False
        self.tables[words[2]].apply()


# --- faults ---------------------------------------------------------------------------------------


def status(code: int, text: str = "") -> Fault:
    """Nothing is stored."""
    return lambda server, request: httpx.Response(code, text=text)


def failure(kind: type[httpx.TransportError]) -> Fault:
    """The connection fails before the server has read the request."""

    def fault(server: FakeServer, request: httpx.Request) -> httpx.Response:
        raise kind("on purpose")

    return fault


def lost_answer(server: FakeServer, request: httpx.Request) -> httpx.Response:
    """The rows are stored, and the connection is cut before the answer."""
    server.store(request.content, {})
    raise httpx.ReadError("on purpose")
