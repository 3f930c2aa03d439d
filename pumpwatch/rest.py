"""HTTP to venues and boards: every request waits for its turn in the budget of its key.

What is worth repeating is repeated, the rest becomes a VenueError. Nothing here knows a venue:
limits, headers and ban times come with the FeedSpec.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING

import httpx
import msgspec
import trio

from pumpwatch.config import Config
from pumpwatch.errors import VenueError
from pumpwatch.log import HIDDEN, redact_text
from pumpwatch.trust import system_roots
from pumpwatch.turnstile import Priority, Turnstile

if TYPE_CHECKING:
    from pumpwatch.venues.spec import Allowance, FeedSpec, Headers, Params

TRIES_MAX = 4  # of one call
TRY_S_MAX = 60.0  # the largest instrument lists are some 20 MB
IDLE_S_MAX = 15.0  # between two steps of one try: connect, send, next bytes
KEPT_OPEN_MAX = 8  # idle connections to each source
KEEPALIVE_S = 45.0  # lists are polled every 10 to 30 s: they should find their connection open
BODY_BYTES_MAX = 64 << 20
BACKOFF_S_MIN = 0.25
PATIENCE_S = 10.0  # a closure that a call sits out; the caller is told of longer ones
RETRY_AFTER_S_MAX = 3 * 86_400.0  # the longest ban that a venue documents; beyond it is nonsense
RETRY_AFTER_MARGIN_S = 1.0  # whole seconds may have been rounded down
BAN_S = 60.0  # for addresses that come without a FeedSpec
SAMPLE_BYTES = 200
USER_AGENT = "pumpwatch"


# --- reading answers ------------------------------------------------------------------------------


class Verdict(Enum):
    """What a status means for the request."""

    GOOD = "good"
    TOO_MANY = "too_many"  # the key closes for a while
    BANNED = "banned"  # and for the venue's ban time, where it names none
    AGAIN = "again"  # the venue's or the network's trouble
    WRONG = "wrong"  # the same request would get the same answer


def judge(status: int) -> Verdict:
    """Read a status; 0 stands for no whole answer.

    A temporary redirect is how boards answer bursts (seen at Bithumb), so none is followed.
    """
    if 200 <= status < 300:
        return Verdict.GOOD
    if status in (429, 302, 303, 307):
        return Verdict.TOO_MANY
    if status in (403, 418):
        return Verdict.BANNED
    if status in (0, 408) or status >= 500:
        return Verdict.AGAIN
    return Verdict.WRONG


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that a Retry-After (RFC 9110, 10.2.3) asks for; None: absent or unreadable.

    A date is measured against the answer's own Date, so our clock does not matter.
    """
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]+)?", text):
        said_s = float(text)
    else:
        try:
            until = parsedate_to_datetime(text)
            said_s = (until - parsedate_to_datetime(headers.get("date", ""))).total_seconds()
        except (TypeError, ValueError, OverflowError):  # no date, or only one of them has a zone
            return None
    return min(max(said_s, 0.0) + RETRY_AFTER_MARGIN_S, RETRY_AFTER_S_MAX)


# --- asking ---------------------------------------------------------------------------------------


class _Request(msgspec.Struct, frozen=True, kw_only=True):
    who: str
    method: str
    url: httpx.URL
    headers: dict[str, str]
    allowance: Allowance
    ban_s: float
    weight: float
    priority: Priority
    proxy_url: str | None = None
    secret: str = ""  # must not be shown


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    status: int = 0  # 0: no whole answer, ``text`` says why
    body: bytes = b""
    text: str = ""
    retry_after_s: float | None = None


class RestClient:
    """Asks venues and boards; as a context manager it closes its connections at the end."""

    def __init__(
        self,
        config: Config,
        rng: random.Random,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Nothing is opened yet; ``transport`` stands in for the network (a proxy, a test)."""
        self.turnstiles: dict[str, Turnstile] = {}  # by key of the Allowance
        self._config = config
        self._rng = rng
        self._transport = transport
        # By key of the Allowance and proxy (None: straight). Before and after each request httpcore
        # looks at all connections of a client: few of them where much is asked.
        self._clients: dict[tuple[str, str | None], httpx.AsyncClient] = {}

    def _client(self, key: str, proxy_url: str | None) -> httpx.AsyncClient:
        if (key, proxy_url) not in self._clients:
            self._clients[key, proxy_url] = self._make_client(proxy_url)
        return self._clients[key, proxy_url]

    def _make_client(self, proxy_url: str | None) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=self._transport,
            proxy=proxy_url,
            verify=system_roots("http"),
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(IDLE_S_MAX, pool=None),
            # Each key bounds its own requests: one that hangs must not hold up the others.
            limits=httpx.Limits(
                max_connections=None,
                max_keepalive_connections=KEPT_OPEN_MAX,
                keepalive_expiry=KEEPALIVE_S,
            ),
            headers={"user-agent": USER_AGENT},
        )

    async def __aenter__(self) -> RestClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with trio.move_on_after(2.0, shield=True):
            for client in self._clients.values():
                await client.aclose()

    async def get(
        self,
        source: FeedSpec,
        path: str,
        params: Params | None = None,
        weight: float = 1,
        *,
        priority: Priority = 0.0,
        needs_api_key: bool = False,
    ) -> bytes:
        """The body of a good answer.

        ``priority`` orders those who wait for the same budget, lower first: lists and tokens are
        0, backfill gives the time at which its venue forgets. Raises VenueError; its ``retry`` is
        False where the same request would be refused again.
        """
        return await self._ask(source, "GET", path, params, weight, priority, needs_api_key)

    async def post(
        self,
        source: FeedSpec,
        path: str,
        params: Params | None = None,
        weight: float = 1,
        *,
        priority: Priority = 0.0,
        needs_api_key: bool = False,
    ) -> bytes:
        """As ``get``; the parameters stand in the query here too."""
        return await self._ask(source, "POST", path, params, weight, priority, needs_api_key)

    async def get_url(
        self,
        url: str,
        *,
        allowance: Allowance,
        params: Params | None = None,
        headers: Headers = (),
        weight: float = 1,
        priority: Priority = 0.0,
        ban_s: float = BAN_S,
        proxy_url: str | None = None,
    ) -> bytes:
        """As ``get``, for addresses that belong to no feed."""
        return await self._fetch(
            _Request(
                who=allowance.key, method="GET", url=_full_url(url, params), headers=dict(headers),
                allowance=allowance, ban_s=ban_s, weight=weight, priority=priority,
                proxy_url=proxy_url,
            )
        )  # fmt: skip

    async def _ask(
        self,
        source: FeedSpec,
        method: str,
        path: str,
        params: Params | None,
        weight: float,
        priority: Priority,
        needs_api_key: bool,
    ) -> bytes:
        base = self._config.feeds[source.name].rest_url or source.rest_url
        headers, secret = dict(source.rest_headers), ""
        if needs_api_key:
            secret = await self._read_api_key(source)
            headers[source.api_key_header] = secret
        return await self._fetch(
            _Request(
                who=source.name, method=method, url=_full_url(base.rstrip("/") + path, params),
                headers=headers, allowance=source.rest_allowance, ban_s=source.ban_s,
                weight=weight, priority=priority, secret=secret,
                proxy_url=self._config.feeds[source.name].proxy_url,
            )
        )  # fmt: skip

    async def _read_api_key(self, source: FeedSpec) -> str:
        """Read each time, so that a new key needs no restart."""
        setting = f"feeds.{source.name}.api_key_file"
        file = self._config.feeds[source.name].api_key_file
        if file is None:
            raise _lasting(f"{source.name}: this history wants an API key: set {setting}")
        path = self._config.path(file)
        try:
            key = (await trio.Path(path).read_bytes()).strip().decode("latin-1")
        except OSError as error:
            raise _lasting(f"{setting} = {path}: cannot be read: {error.strerror}") from None
        if not re.fullmatch(r"[!-~]+", key):
            raise _lasting(f"{setting} = {path}: allowed: one word of printable ASCII")
        return key

    async def _fetch(self, request: _Request) -> bytes:
        turnstile = self._turnstile(request.allowance)
        tries = 0
        while True:
            tries += 1
            closed_s: float | None = None
            async with turnstile.turn(request.weight, request.priority) as sent_s:
                answer = await self._try(request)
                verdict = judge(answer.status)
                if verdict in (Verdict.TOO_MANY, Verdict.BANNED):
                    for_s = answer.retry_after_s
                    if for_s is None and verdict is Verdict.BANNED:
                        for_s = request.ban_s
                    closed_s = turnstile.refuse(sent_s, answer.status, for_s)
                elif verdict is not Verdict.AGAIN:
                    turnstile.accept(sent_s)
            if verdict is Verdict.GOOD:
                return answer.body
            if verdict is Verdict.WRONG:
                raise _lasting(_tell(request, answer, "not asked again: it is refused as it is"))
            if closed_s is not None and closed_s > PATIENCE_S:
                then = f"nothing is asked of {turnstile.key} for {closed_s:.0f} s"
                raise VenueError(_tell(request, answer, then))
            if tries == TRIES_MAX:
                then = f"given up after {TRIES_MAX} tries, the caller asks again later"
                raise VenueError(_tell(request, answer, then))
            if closed_s is None:  # else the turnstile holds the next try back
                await trio.sleep(BACKOFF_S_MIN * 2 ** (tries - 1) * self._rng.uniform(0.5, 1.0))

    def _turnstile(self, allowance: Allowance) -> Turnstile:
        if allowance.key not in self.turnstiles:
            self.turnstiles[allowance.key] = Turnstile(allowance)
        return self.turnstiles[allowance.key]

    async def _try(self, request: _Request) -> _Answer:
        """One request on the wire. Raises VenueError only for an answer without measure."""
        try:
            with trio.fail_after(TRY_S_MAX):
                client = self._client(request.allowance.key, request.proxy_url)
                async with client.stream(
                    request.method, request.url, headers=request.headers
                ) as response:
                    return _Answer(
                        status=response.status_code,
                        body=await self._read(request, response),
                        text=response.headers.get("location", ""),
                        retry_after_s=retry_after_s(response.headers),
                    )
        except trio.TooSlowError:
            return _Answer(text=f"no whole answer within {TRY_S_MAX:.0f} s")
        except (httpx.TransportError, httpx.DecodingError) as error:
            return _Answer(text=f"{type(error).__name__}: {_reason(error)}")

    async def _read(self, request: _Request, response: httpx.Response) -> bytes:
        chunks: list[bytes] = []
        size_bytes = 0
        with trio.CancelScope() as scope:
            async for chunk in response.aiter_bytes():  # unpacked: a bomb counts in full
                size_bytes += len(chunk)
                if size_bytes <= BODY_BYTES_MAX:
                    chunks.append(chunk)
                else:
                    scope.cancel()  # leaving the loop would leave httpx's own generators open
        if size_bytes > BODY_BYTES_MAX:
            answer = _Answer(status=response.status_code, body=b"".join(chunks[:1]))
            then = f"cut off at {BODY_BYTES_MAX:,} bytes, the caller asks again later"
            raise VenueError(_tell(request, answer, then))
        return b"".join(chunks)


def _full_url(url: str, params: Params | None) -> httpx.URL:
    return httpx.URL(url, params=params) if params else httpx.URL(url)


def _reason(error: BaseException) -> str:
    """What the nearest cause says that says something: a refused certificate lies deep."""
    while not str(error) and (cause := error.__cause__ or error.__context__):
        error = cause
    return str(error)


def _lasting(message: str) -> VenueError:
    error = VenueError(message)
    error.retry = False
    return error


def _tell(request: _Request, answer: _Answer, then: str) -> str:
    """What, where, the venue's words, what happens next; without secrets, on one line."""
    said = f"HTTP {answer.status}" if answer.status else "no answer"
    text, body = answer.text, answer.body
    if request.secret:  # venues repeat what they do not like; cut later, or half of it might stay
        text = text.replace(request.secret, HIDDEN)
        body = body.replace(request.secret.encode(), HIDDEN.encode())
    if text:
        said += f" ({text})"
    if body:
        said += f": {body[:SAMPLE_BYTES].decode('utf-8', 'replace')}"
    where = f"{request.who}: {request.method} {request.url}"
    return " ".join(redact_text(f"{where}: {said}; {then}").split())
