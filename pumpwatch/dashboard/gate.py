"""The gate in front of the application: access, pace, deadlines, and what every answer carries.

The page must never slow the recording: no more requests a second than ``requests_per_s_max`` are
let through, whoever asks; the others wait their turn, and are turned away when it does not come.
What all callers are given alike (answers.py) goes out from here: routing, reading parameters and
encoding cost several times what sending the finished bytes does.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

import msgspec
import structlog
import trio

from pumpwatch.dashboard.access import COOKIE, OPEN_PATHS, Caller, Policy, judge
from pumpwatch.dashboard.answers import Shared, SharedAnswers
from pumpwatch.dashboard.models import Refusal
from pumpwatch.dashboard.view import SeatView

log = structlog.get_logger()

ANSWER_S_MAX = 10.0
TURN_S_MAX = 5.0  # a request that waits longer for its turn is turned away
AWAY_S = 1.0  # but not at once: who asks again without a pause would cost as much as an answer
PROBES_PER_S_MAX = 20  # orchestrators ask a few times a minute; they never wait behind readers
STRANGERS_PER_S_MAX = 10  # requests that are refused: neither do readers wait behind them
STREAM_PATH = "/api/stream"
STREAMS_MAX = 150
BODY_BYTES_MAX = 64 * 1024
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline';"
        b" frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
)
REFUSALS = {
    "host": (403, "this name is not served here: use 127.0.0.1 or localhost (ssh -L for another"
                  " machine)"),
    "token": (401, "a token is needed: Authorization: Bearer ... (see data_dir/secrets/"
                   "dashboard_token)"),
    "local": (403, "actions are taken from this machine only"),
}  # fmt: skip

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Pace:
    """Lets so many through a second, evenly; a second's worth may come at once."""

    def __init__(self, per_s: float) -> None:
        self._interval_s = 1 / per_s
        self._burst_s = 1.0
        self._next_s = -math.inf

    def turn_s(self, now_s: float) -> float | None:
        """When the caller's turn is; None: later than it would wait for."""
        at_s = max(self._next_s, now_s - self._burst_s)
        if at_s > now_s + TURN_S_MAX:
            return None
        self._next_s = at_s + self._interval_s
        return max(at_s, now_s)


class Gate:
    """An ASGI application around another."""

    def __init__(
        self, app: App, policy: Policy, seat: SeatView, shared: SharedAnswers, *, per_s: float
    ) -> None:
        self._app = app
        self._policy = policy
        self._seat = seat
        self._shared = shared
        self._readers = Pace(per_s)
        self._probes = Pace(PROBES_PER_S_MAX)
        self._strangers = Pace(STRANGERS_PER_S_MAX)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        answer = _Answer(send)
        caller = _caller(scope)
        if self._is_login(caller, scope):
            await answer.redirect_with_cookie(self._policy.token)
        else:
            await self._admit(caller, scope, receive, answer)
        self._count(answer.status)

    def _is_login(self, caller: Caller, scope: Scope) -> bool:
        """``/?token=...``: a browser sends no such header, so the address may carry it once."""
        if caller.path != "/" or not self._policy.needs_token_to_read:
            return False
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        headers = {"authorization": f"Bearer {given}"}
        asked = msgspec.structs.replace(caller, headers={**caller.headers, **headers})
        return bool(given) and judge(self._policy, asked) == "ok"

    async def _admit(self, caller: Caller, scope: Scope, receive: Receive, answer: _Answer) -> None:
        verdict = judge(self._policy, caller)
        if verdict != "ok":
            status, text = REFUSALS[verdict]
            if await self._has_turn(self._strangers, answer):
                await answer.refuse(status, Refusal(error=text))
            return
        if caller.path == STREAM_PATH and self._seat.page_clients >= STREAMS_MAX:
            await answer.turn_away(f"at most {STREAMS_MAX} streams")
            return
        pace = self._probes if caller.path in OPEN_PATHS else self._readers
        if not await self._has_turn(pace, answer):
            return
        found = None
        if caller.method == "GET" and not scope["query_string"]:
            found = self._shared.of(caller.path)
        if found is not None:
            await answer.share(*found, caller.headers.get("if-none-match", ""))
        elif caller.path == STREAM_PATH:
            await self._stream(scope, receive, answer)
        else:
            await self._ask(scope, _Body(receive), answer)

    async def _has_turn(self, pace: Pace, answer: _Answer) -> bool:
        """Wait for the turn; False: it does not come in time, and the caller was told."""
        turn_s = pace.turn_s(trio.current_time())
        if turn_s is None:
            await answer.turn_away("too many requests")
            return False
        await trio.sleep_until(turn_s)
        return True

    async def _ask(self, scope: Scope, body: _Body, answer: _Answer) -> None:
        with trio.move_on_after(ANSWER_S_MAX) as deadline:
            await self._app(scope, body, answer)
        if deadline.cancelled_caught and not answer.status:
            text = f"no answer within {ANSWER_S_MAX:g} s"
            await answer.refuse(503, Refusal(error=text), (b"connection", b"close"))

    async def _stream(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        self._seat.page_clients += 1
        try:
            await self._app(scope, receive, answer)
        finally:
            self._seat.page_clients -= 1

    def _count(self, status: int) -> None:
        outcome = "refused" if status in (401, 403, 429) else f"{status // 100}xx"
        self._seat.page_requests[outcome] = self._seat.page_requests.get(outcome, 0) + 1


class _Answer:
    """The way back: adds headers, remembers the status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            told = list(message.get("headers", ()))
            names = {name for name, _ in told}  # a listing's report has a policy of its own
            message["headers"] = [*told, *(one for one in HEADERS if one[0] not in names)]
        # Whole or not at all: cut off by the deadline in the middle of a message, Hypercorn and h11
        # disagree about where they are. The server bounds each send by itself (SEND_S_MAX).
        with trio.CancelScope(shield=True):
            await self._send(message)

    async def refuse(self, status: int, refusal: Refusal, *more: tuple[bytes, bytes]) -> None:
        """JSON that says why there is no answer."""
        body = msgspec.json.encode(refusal)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *more,
        ]
        await self({"type": "http.response.start", "status": status, "headers": headers})
        await self({"type": "http.response.body", "body": body})

    async def turn_away(self, text: str) -> None:
        """429, after a moment."""
        await trio.sleep(AWAY_S)
        await self.refuse(429, Refusal(error=text), (b"retry-after", b"1"))

    async def share(self, shared: Shared, etag: str, held: str) -> None:
        """A finished answer; nothing but its ETag to who holds it already."""
        is_held = shared.status == 200 and held == etag
        body = b"" if is_held else shared.body
        headers = [
            (b"content-type", shared.media_type.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-cache"),
            (b"etag", etag.encode()),
        ]
        status = 304 if is_held else shared.status
        await self({"type": "http.response.start", "status": status, "headers": headers})
        await self({"type": "http.response.body", "body": body})

    async def redirect_with_cookie(self, token: str) -> None:
        """To the page, with the token in a cookie that scripts cannot read."""
        cookie = f"{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/; Max-Age=2592000"
        headers = [
            (b"location", b"/"), (b"set-cookie", cookie.encode()), (b"content-length", b"0"),
        ]  # fmt: skip
        await self({"type": "http.response.start", "status": 303, "headers": headers})
        await self({"type": "http.response.body", "body": b""})


class _Body:
    """The request's body, which is small or cut off."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._size_bytes = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._size_bytes += len(message.get("body", b""))
            if self._size_bytes > BODY_BYTES_MAX:
                return {"type": "http.disconnect"}
        return message


def _caller(scope: Scope) -> Caller:
    client, server = scope.get("client") or ("", 0), scope.get("server") or ("", 0)
    return Caller(
        peer=str(client[0]),
        server=str(server[0]),
        method=scope["method"],
        path=scope["path"],
        headers={k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]},
    )
