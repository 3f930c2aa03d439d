"""Upbit's and Bithumb's notice boards and market lists, by script."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

import trio

from pumpwatch.clock import Clock
from pumpwatch.errors import UsageError
from pumpwatch.sim.board_script import Action, read_script
from pumpwatch.sim.board_socket import PATH, BoardSockets
from pumpwatch.sim.notices import (
    NEVER_NS,
    NS,
    NoticeBoard,
    Posted,
    kst_text,
    opening_body,
    socket_text,
)
from pumpwatch.sim.venue import NOT_FOUND, Answer, Budget, Request, json_answer

BOARDS = ("upbit", "bithumb")
WON_COINS = {
    "upbit": ("BTC", "ETH", "XRP", "SOL", "DOGE", "ADA", "TRX", "LINK", "AVAX", "DOT"),
    "bithumb": ("BTC", "ETH", "XRP", "SOL", "DOGE", "BNB", "SHIB", "LTC", "GRT"),
}
OTHER_MARKETS = {"upbit": ("BTC-ETH", "USDT-BTC", "USDT-PEPE"), "bithumb": ("BTC-ETH",)}
LISTING_CATEGORY = {"upbit": "거래", "bithumb": "마켓 추가"}
MARKETS_PATH = "/v1/market/all"
# Bithumb: 1 request a second, and redirects for bursts; one more, as two clocks do not tick alike.
BITHUMB_BURST, BITHUMB_WINDOW_S = 2, 1.0
REFUSAL_BODY = {"error": {"name": "refused", "message": "by the simulator's script"}}


@dataclass
class Fault:
    """Answers that the script wants instead of the real ones."""

    action: Action
    until_s: float
    left: int

    def applies(self, path: str, now_s: float) -> bool:
        """Whether it is this request's turn; it is counted."""
        if not path.startswith(self.action.path) or (self.until_s and now_s >= self.until_s):
            return False
        if self.until_s:
            return True
        self.left -= 1
        return self.left >= 0


class Boards:
    """Both boards of one run: ``answer`` and ``sockets`` for clients, ``run`` for the script."""

    def __init__(
        self, clock: Clock, rng: random.Random, *, limits: bool = True, time_scale: float = 1.0
    ) -> None:
        self._clock = clock
        now_ns = clock.wall_ns()
        self.boards = {name: NoticeBoard(name, now_ns, rng) for name in BOARDS}
        self.markets = {
            name: [f"KRW-{coin}" for coin in WON_COINS[name]] + list(OTHER_MARKETS[name])
            for name in BOARDS
        }
        self.sockets = BoardSockets(time_scale)
        self.requests: dict[str, Counter[str]] = {name: Counter() for name in BOARDS}
        self._budget = Budget(BITHUMB_BURST, BITHUMB_WINDOW_S) if limits else None
        self._faults: dict[str, list[Fault]] = {name: [] for name in BOARDS}
        self._skew_ns = dict.fromkeys(BOARDS, 0)
        self._by_key: dict[tuple[str, str], Posted] = {
            (name, "old"): self.boards[name].notices[-50] for name in BOARDS
        }
        self._due: list[tuple[float, Action]] = []
        self._scripted: list[tuple[str, Posted]] = []
        self._wake = trio.Event()

    # --- for clients ------------------------------------------------------------------------------

    def answer(self, name: str, request: Request) -> Answer:
        """A REST request; every answer says the board's time, as the real ones do."""
        answer = self._refusal(name, request) or self._content(name, request)
        self.requests[name][f"{request.path} {answer.status}"] += 1
        date = formatdate((self._clock.wall_ns() + self._skew_ns[name]) // NS, usegmt=True)
        return Answer(answer.status, answer.body, (*answer.headers, ("date", date)))

    def listen_at(self, host: str, port: int, *, tls: bool = False) -> dict[str, dict[str, str]]:
        """What belongs into [listing.upbit] and [listing.bithumb]."""
        scheme = "s" if tls else ""
        upbit, bithumb = (f"http{scheme}://{host}:{port}/{name}" for name in BOARDS)
        socket = f"ws{scheme}://{host}:{port}/upbit{PATH}"
        return {
            "upbit": {"api_url": upbit, "markets_url": upbit, "websocket_url": socket},
            "bithumb": {"api_url": bithumb},
        }

    def control(self, request: Request) -> Answer:
        """POST /control/boards: a script, from now on. GET: what was scripted and asked."""
        if request.method == "GET":
            return json_answer(self.stats())
        if request.method != "POST":
            return NOT_FOUND
        try:
            actions = read_script(request.body)
            self.play(actions)
        except UsageError as error:
            return json_answer({"message": str(error)}, 400)
        return json_answer({"actions": len(actions)})

    def stats(self) -> dict[str, Any]:
        """The scripted notices with what a detector must find, and the requests so far."""
        return {
            "notices": [
                {
                    "board": name,
                    "id": str(posted.number),
                    "uuid": posted.uuid,
                    "title": posted.title,
                    "symbols": posted.symbols,
                    "first_published_ns": posted.first_ns,
                    "first_listed_at": kst_text(posted.first_ns),
                }
                for name, posted in self._scripted
            ],
            "requests": {name: dict(counts) for name, counts in self.requests.items()},
            "sockets": {"connects": self.sockets.connects, "refused": self.sockets.refused},
            "waiting": len(self._due),
        }

    def _refusal(self, name: str, request: Request) -> Answer | None:
        now_s = trio.current_time()
        location = f"https://{name}.invalid{request.path}"
        for fault in self._faults[name]:
            if fault.applies(request.path, now_s):
                headers: list[tuple[str, str]] = []
                if fault.action.retry_after_s is not None:
                    headers.append(("retry-after", f"{fault.action.retry_after_s:.0f}"))
                if 300 <= fault.action.status < 400:
                    headers.append(("location", location))
                body = json_answer(REFUSAL_BODY).body
                return Answer(fault.action.status, body, tuple(headers))
        if name == "bithumb" and self._budget is not None and not self._budget.take(now_s):
            return Answer(302, b"", (("location", location),))
        return None

    def _content(self, name: str, request: Request) -> Answer:
        if request.path == MARKETS_PATH and request.method == "GET":
            return self._market_list(name, request)
        try:
            return self.boards[name].answer(request, self._clock.wall_ns())
        except ValueError:  # a number in the query that is none
            return json_answer({"message": "malformed request"}, 400)

    def _market_list(self, name: str, request: Request) -> Answer:
        rows: list[dict[str, object]] = [
            {"market": one, "korean_name": one.split("-")[1], "english_name": one.split("-")[1]}
            for one in self.markets[name]
        ]
        if "true" in (request.query.get("isDetails"), request.query.get("is_details")):
            for row in rows:
                row["market_event"] = {"warning": False}
        return json_answer(rows)

    # --- the script -------------------------------------------------------------------------------

    def play(self, actions: list[Action]) -> None:
        """Take a script; its times count from now. Raises UsageError for a key nobody named."""
        keys = set(self._by_key) | {(one.board, one.key) for _, one in self._due}
        for action in actions:
            if action.do in ("edit", "withdraw") and (action.board, action.key) not in keys:
                raise UsageError(f"boards' script: no notice {action.key!r} on {action.board}")
            keys.add((action.board, action.key))
        now_s = trio.current_time()
        self._due += [(now_s + action.at_s, action) for action in actions]
        self._due.sort(key=lambda due: due[0])
        self._wake.set()

    async def run(self) -> None:
        """Do what is due, for ever."""
        while True:
            while self._due and self._due[0][0] <= trio.current_time():
                _, action = self._due.pop(0)
                await self._do(action)
            self._wake = trio.Event()
            with trio.move_on_at(self._due[0][0] if self._due else float("inf")):
                await self._wake.wait()

    async def _do(self, action: Action) -> None:
        name = action.board
        match action.do:
            case "publish":
                await self._publish(action)
            case "edit":
                await self._edit(action)
            case "withdraw":
                self.boards[name].notices.remove(self._by_key[name, action.key])
            case "market":
                self.markets[name].append(f"{action.quote}-{action.coin}")
            case "unmarket":
                self.markets[name].remove(f"{action.quote}-{action.coin}")
            case "refuse":
                until_s = trio.current_time() + action.for_s if action.for_s else 0.0
                self._faults[name].append(Fault(action, until_s, max(action.count, 1)))
            case "clock":
                self._skew_ns[name] = int(action.skew_s * NS)
            case "drop_sockets":
                self.sockets.drop()

    async def _publish(self, action: Action) -> None:
        name = action.board
        first_ns = self._now_ns(name) - int(action.late_s * NS)
        opening_ns = first_ns + int(action.opening_s * NS)
        web_from_ns = self._clock.wall_ns() + int(action.web_lag_s * NS)
        if "web" not in action.channels:
            web_from_ns = NEVER_NS
        posted = self.boards[name].publish(
            action.title, action.category or LISTING_CATEGORY[name], first_ns,
            body=opening_body(action.symbols, opening_ns) if action.opening_s else "",
            symbols=action.symbols,
            web_from_ns=web_from_ns,
        )  # fmt: skip
        self._by_key[name, action.key] = posted
        self._scripted.append((name, posted))
        if name == "upbit" and "socket" in action.channels:
            await self.sockets.tell(socket_text(posted, self._now_ns(name), is_created=True))

    async def _edit(self, action: Action) -> None:
        name = action.board
        posted = self._by_key[name, action.key]
        body = ""
        if action.opening_s:
            body = opening_body(posted.symbols, posted.first_ns + int(action.opening_s * NS))
        self.boards[name].edit(posted, self._now_ns(name), action.title, body)
        if name == "upbit" and "socket" in action.channels:
            await self.sockets.tell(socket_text(posted, self._now_ns(name), is_created=False))

    def _now_ns(self, name: str) -> int:
        return self._clock.wall_ns() + self._skew_ns[name]
