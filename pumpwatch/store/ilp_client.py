"""ILP over HTTP: one request, one verdict (QUESTDB.md "Writing")."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Protocol

import httpx
import msgspec
import trio

from pumpwatch.store.server import ServerAddress
from pumpwatch.trust import trust_for

CLOSE_S_MAX = 1.0
REQUEST_TIMEOUT_S = 60.0  # 100,000 rows take 0.2 s; a hanging server is noticed all the same
# What the same bytes may be sent again for: with DEDUP that is safe.
RETRY_STATUSES = frozenset({500, 502, 503, 504, 507, 509, 523, 524, 529, 599})
# A 400 with these words is about the table, not about a value (DESIGN R8). They are matched as a
# whole, and not where a line's own text may be quoted: a coin may be called WAL, a text anything.
TABLE_FAULT = re.compile(
    r"table: \S+; table does not exist|table: \S+ column: \S+ does not exist"
    r"|access denied|permission denied|not permitted|not authori[sz]ed|is suspended",
    re.IGNORECASE,
)
QUOTING = re.compile(r"could not parse", re.IGNORECASE)


class Outcome(Enum):
    """What the server said of a request."""

    ACCEPTED = "accepted"  # in the table's WAL
    RETRY = "retry"  # nothing known to be stored: send the same bytes again
    BAD_LINE = "bad_line"  # nothing stored: one line's value is refused
    TABLE_FAULT = "table_fault"  # nothing stored: the table, its columns or our rights are wrong


class Verdict(msgspec.Struct, frozen=True):
    """An outcome with the server's words; ``line`` counts from 1, 0 where the server named none."""

    outcome: Outcome
    message: str = ""
    line: int = 0


class _Refusal(msgspec.Struct):
    message: str
    line: int = 0


class IlpSender(Protocol):
    """What the writers need of a database."""

    async def send(self, body: bytes) -> Verdict:
        """Send lines of one table as one transaction."""
        ...

    def renew(self) -> None:
        """Use new connections from now on."""
        ...


class _Line:
    """A pool of connections and how many requests are on it."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.requests = 0


class IlpClient:
    """POSTs to one server; never raises for what a network or a server can do."""

    def __init__(
        self,
        address: ServerAddress,
        transport: Callable[[], httpx.AsyncBaseTransport] | None = None,
    ) -> None:
        self._address = address
        self._transport = transport
        self._line = self._connect()
        self._retired: list[_Line] = []

    def _connect(self) -> _Line:
        address = self._address
        return _Line(
            httpx.AsyncClient(
                base_url=address.http_url,
                auth=self._sign,
                timeout=REQUEST_TIMEOUT_S,
                trust_env=False,
                verify=trust_for(address.http_url),
                transport=None if self._transport is None else self._transport(),
            )
        )

    def _sign(self, request: httpx.Request) -> httpx.Request:
        """With the password of this moment: it may be changed while we run."""
        flow = httpx.BasicAuth(self._address.user, self._address.password).auth_flow(request)
        return next(flow)

    def renew(self) -> None:
        """Use new connections from now on; those under way finish on their own.

        The server keeps a table open for a connection: after the table is dropped and made anew,
        an old connection still answers 204, and its rows go nowhere.
        """
        self._retired.append(self._line)
        self._line = self._connect()

    async def send(self, body: bytes) -> Verdict:
        """Send lines; httpx sends their exact Content-Length, so a cut body is never stored."""
        line = self._line
        line.requests += 1
        try:
            response = await line.client.post("/write?precision=n", content=body)
        except httpx.HTTPError as error:
            return Verdict(Outcome.RETRY, f"{type(error).__name__}: {error}")
        finally:
            line.requests -= 1
            await self._close_retired()
        return read_answer(response.status_code, response.content)

    async def _close_retired(self) -> None:
        idle = [line for line in self._retired if not line.requests]
        self._retired = [line for line in self._retired if line.requests]
        for line in idle:
            with trio.move_on_after(CLOSE_S_MAX, shield=True):
                await line.client.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        for line in (*self._retired, self._line):
            await line.client.aclose()


def read_answer(status: int, body: bytes) -> Verdict:
    """What an answer means for the rows that were sent."""
    if status == 204:
        return Verdict(Outcome.ACCEPTED)
    text = body.decode("utf-8", "replace")[:2000]
    if status == 400:
        try:
            refusal = msgspec.json.decode(body, type=_Refusal)
        except msgspec.DecodeError:  # not the database's words, or not all: no row is to blame
            return Verdict(Outcome.TABLE_FAULT, f"HTTP 400: {text}")
        if TABLE_FAULT.search(QUOTING.split(refusal.message)[0]):
            return Verdict(Outcome.TABLE_FAULT, refusal.message)
        return Verdict(Outcome.BAD_LINE, refusal.message, refusal.line)
    if status in RETRY_STATUSES:
        return Verdict(Outcome.RETRY, f"HTTP {status}: {text}")
    # 401, 403, 404, 413 and whatever else: rows are not to blame, and waiting loses nothing.
    return Verdict(Outcome.TABLE_FAULT, f"HTTP {status}: {text}")
