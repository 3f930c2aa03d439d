"""One board over HTTP: a question and what came of it, with the times of both.

Redirects are not followed: Bithumb sends them instead of a 429.
"""

from __future__ import annotations

from collections.abc import Mapping

import httpx
import msgspec
import trio

from pumpwatch.clock import Clock
from pumpwatch.errors import VenueError
from pumpwatch.listing.detector import Look
from pumpwatch.listing.notices import NS
from pumpwatch.listing.pace import read_http_date, read_retry_after
from pumpwatch.trust import system_roots
from pumpwatch.version import VERSION

TIMEOUT_S = 10.0
BODY_BYTES_MAX = 8 * 1024 * 1024  # the largest seen, a market list, has 100 KiB
SHOWN_CHARACTERS = 120
REFUSED_GAPS = 5  # the other lists of a host that refused wait for so many gaps
REFUSALS = frozenset({401, 403, 418, 429})


class BoardRefusedError(VenueError):
    """The board does not want to be asked now."""

    def __init__(self, text: str, status: int, retry_after_s: float | None) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after_s = retry_after_s


class BoardAnswer(msgspec.Struct, frozen=True):
    """A 200 or a 304; ``body`` is empty for the latter."""

    body: bytes
    etag: str
    look: Look
    is_unchanged: bool


def make_http(proxy_url: str | None = None) -> httpx.AsyncClient:
    """The client of a board; ``proxy_url`` stands between."""
    return httpx.AsyncClient(
        headers={"user-agent": f"pumpwatch/{VERSION}", "accept": "application/json"},
        timeout=TIMEOUT_S,
        follow_redirects=False,
        trust_env=False,
        verify=system_roots("http"),
        proxy=proxy_url,
    )


class BoardClient:
    """Asks one host, not more often than every ``gap_s``."""

    def __init__(
        self, name: str, base_url: str, http: httpx.AsyncClient, clock: Clock, gap_s: float
    ) -> None:
        self.name = name
        self._base_url = base_url.rstrip("/")
        self._http = http
        self._clock = clock
        self._gap_s = gap_s
        self._turn = trio.Lock()
        self._next_s = 0.0

    async def get(self, path: str, params: Mapping[str, str], etag: str = "") -> BoardAnswer:
        """Ask once.

        Raises BoardRefusedError for a refusal, VenueError for a fault, within a few TIMEOUT_S.
        """
        async with self._turn:
            await trio.sleep_until(self._next_s)
            gap_s = self._gap_s
            try:
                return await self._get(path, params, etag)
            except BoardRefusedError:
                gap_s *= REFUSED_GAPS  # its limits are by address, not by path
                raise
            finally:
                self._next_s = trio.current_time() + gap_s

    async def _get(self, path: str, params: Mapping[str, str], etag: str) -> BoardAnswer:
        headers = {"if-none-match": etag} if etag else {}
        sent_ns = self._clock.wall_ns()
        try:
            with trio.fail_after(2 * TIMEOUT_S):  # httpx limits each read, not their sum
                async with self._http.stream(
                    "GET", self._base_url + path, params=dict(params), headers=headers
                ) as response:
                    body = await self._read(response)
        except (httpx.HTTPError, httpx.InvalidURL, trio.TooSlowError) as error:
            raise VenueError(f"{self.name}: {type(error).__name__}: {error}") from error
        received_ns = self._clock.wall_ns()
        date = read_http_date(response.headers.get("date"))
        venue_ns = int(date.timestamp()) * NS if date else 0
        look = Look(sent_ns, received_ns, venue_ns)
        if response.status_code in (200, 304):
            is_unchanged = response.status_code == 304
            return BoardAnswer(body, response.headers.get("etag", ""), look, is_unchanged)
        raise self._error(response, body, (venue_ns or received_ns) / NS)

    async def _read(self, response: httpx.Response) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in response.aiter_bytes():
            parts.append(part)
            size += len(part)
            if size > BODY_BYTES_MAX:
                raise VenueError(f"{self.name}: an answer larger than {BODY_BYTES_MAX} bytes")
        return b"".join(parts)

    def _error(self, response: httpx.Response, body: bytes, now_s: float) -> VenueError:
        status = response.status_code
        retry_after_s = read_retry_after(response.headers.get("retry-after"), now_s)
        if 300 <= status < 400:
            text = f"{self.name}: HTTP {status}, a redirect: taken as a rate limit"
            return BoardRefusedError(text, status, retry_after_s)
        said = " ".join(body.decode("utf-8", "replace").split())[:SHOWN_CHARACTERS]
        text = f"{self.name}: HTTP {status}: {said}"
        if status in REFUSALS or retry_after_s is not None:
            return BoardRefusedError(text, status, retry_after_s)
        return VenueError(text)
