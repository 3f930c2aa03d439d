"""A venue of the tests' own: a FeedSpec with a plain wire, and the other side of it."""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from pumpwatch._fast import parse_binance
from pumpwatch.capture.session import Event, Session
from pumpwatch.model import Instrument
from pumpwatch.venues.spec import (
    Allowance,
    FeedSpec,
    Keepalive,
    ListPage,
    ListRequest,
    Pace,
    Reply,
    ReplyKind,
    RestPage,
    Subscribe,
    TradeIds,
    TradePage,
)

WALL_S = 1_790_000_000
SUBSCRIBE = Subscribe(
    text='{"id":{id},"time":{time},"want":[{args}]}',
    arg='"{symbol}"',
    symbols_per_request_max=8,
)
KEEPALIVE = Keepalive(ping='{"ping":{id},"time":{time}}', interval_s=20, silence_s=60)
PACE = Pace(interval_s=0.1)


class FixedClock:
    def wall_ns(self) -> int:
        return WALL_S * 10**9


def read_reply(message: Any) -> Reply:
    """The replies of ``tell``; "pong" is no JSON, as OKX has it."""
    if message == "pong":
        return Reply(ReplyKind.PONG)
    kind = ReplyKind(message["kind"])
    return Reply(kind, message["id"], tuple(message["symbols"]), message["text"], message["within"])


def tell(
    kind: str,
    request_id: str = "",
    *,
    symbols: tuple[str, ...] = (),
    text: str = "",
    within: float = 0,
) -> bytes:
    return json.dumps(
        {"kind": kind, "id": request_id, "symbols": symbols, "text": text, "within": within}
    ).encode()


def no_list(body: bytes) -> ListPage:
    raise AssertionError(body)


def feed_spec(**changes: Any) -> FeedSpec:
    """A binance_spot whose conversation is the plain one above."""
    allowance = Allowance(key="plain", units=100, per_s=1, burst=100)
    spec = FeedSpec(
        name="binance_spot", exchange="binance", market_type="spot", parser=parse_binance.SPOT,
        example=b'{"e":"trade","s":"BTCUSDT","t":1,"p":"1","q":"1","T":1,"m":true}',
        websocket_url="ws://127.0.0.1:1/ws", subscribe=SUBSCRIBE, read_reply=read_reply,
        keepalive=KEEPALIVE, pace=PACE, symbols_per_connection=100, connect_interval_s=0,
        connects=allowance, rest_url="http://127.0.0.1:1", rest_allowance=allowance,
        instruments=ListRequest(path="/list", read=no_list),
        recent=RestPage(
            path="/recent", symbol_param="symbol", rows_max=10, newest_first=True,
            read=lambda body, symbol: TradePage(trades=[], refused=[]),
        ),
        ids=TradeIds.CONTIGUOUS, time_step_ns=10**6,
    )  # fmt: skip
    return msgspec.structs.replace(spec, **changes)


def subscribe(**changes: Any) -> Subscribe:
    return msgspec.structs.replace(SUBSCRIBE, **changes)


def keepalive(**changes: Any) -> Keepalive:
    return msgspec.structs.replace(KEEPALIVE, **changes)


def instrument(venue_symbol: str, **changes: Any) -> Instrument:
    facts: dict[str, Any] = {
        "feed": "binance_spot", "venue_symbol": venue_symbol, "symbol": venue_symbol,
        "base": venue_symbol.removesuffix("USDT"), "quote": "USDT",
        "coin": venue_symbol.removesuffix("USDT"),
    }  # fmt: skip
    return Instrument(**(facts | changes))


def names(count: int) -> list[str]:
    return [f"C{number}USDT" for number in range(count)]


def session_of(spec: FeedSpec, symbols: list[str], seed: int = 1, **changes: Any) -> Session:
    return Session(spec, symbols, rng=random.Random(seed), clock=FixedClock(), **changes)


class PlainVenue:
    """Answers requests in order, with chance where it is told to; what it took is in ``taken``."""

    def __init__(
        self,
        *,
        bad: frozenset[str] = frozenset(),
        is_atomic: bool = True,
        tells_id: bool = True,
        tells_bad: str = "one",  # of an atomic refusal: one, all, echo, nothing
        busy_share: float = 0.0,
        lost_share: float = 0.0,
        delay_s_max: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.taken: set[str] = set()
        self.requests: list[tuple[float, list[str]]] = []
        self.texts: list[tuple[float, str]] = []
        self._bad = bad
        self._is_atomic = is_atomic
        self._tells_id = tells_id
        self._tells_bad = tells_bad
        self._busy_share = busy_share
        self._lost_share = lost_share
        self._delay_s_max = delay_s_max
        self._rng = random.Random(seed)
        self._last_reply_s = 0.0

    def answer(self, text: str, now_s: float) -> Iterator[tuple[float, bytes]]:
        """The replies and when they arrive; never in another order than the requests."""
        self.texts.append((now_s, text))
        request = json.loads(text)
        if "ping" in request:
            replies = [b"pong"]
        else:
            self.requests.append((now_s, request["want"]))
            replies = list(self._subscribe(request["want"], str(request["id"])))
        arrival_s = now_s + self._rng.uniform(0, self._delay_s_max)
        self._last_reply_s = max(self._last_reply_s, arrival_s)
        for reply in replies:
            if self._rng.random() >= self._lost_share:
                yield self._last_reply_s, reply

    def _subscribe(self, wanted: list[str], request_id: str) -> Iterator[bytes]:
        shown_id = request_id if self._tells_id else ""
        bad = [symbol for symbol in wanted if symbol in self._bad]
        if self._rng.random() < self._busy_share:
            yield tell("busy", shown_id)
        elif not self._is_atomic:
            for symbol in wanted:
                if symbol in self._bad:
                    symbols = () if self._tells_bad == "nothing" else (symbol,)
                    yield tell("refused", shown_id, symbols=symbols, text="no such thing")
                else:
                    self.taken.add(symbol)
                    yield tell("accepted", shown_id, symbols=(symbol,))
        elif bad:
            shown = {"one": bad[:1], "all": bad, "echo": wanted, "nothing": []}[self._tells_bad]
            yield tell("refused", shown_id, symbols=tuple(shown), text="no such thing")
        else:
            self.taken.update(wanted)
            yield tell("accepted", shown_id)


class AnsweringVenue(Protocol):
    """The other side of ``talk``."""

    def answer(self, text: str, now_s: float) -> Iterator[tuple[float, bytes]]: ...


def talk(
    session: Session, venue: AnsweringVenue, *, until_s: float, start_s: float = 0.0
) -> list[tuple[float, Event]]:
    """Run both sides in virtual time; the session's events, until it ends with a fault."""
    events: list[tuple[float, Event]] = []
    replies: list[tuple[float, int, bytes]] = []
    now_s, number = start_s, 0
    while now_s <= until_s:
        while replies and replies[0][0] <= now_s:
            session.heard(now_s)
            told = session.receive(heapq.heappop(replies)[2], now_s)
            events += [(now_s, event) for event in told]
        texts = session.due(now_s)
        events += [(now_s, event) for event in session.take_events()]
        for text in texts:
            for at_s, reply in venue.answer(text, now_s):
                number += 1
                heapq.heappush(replies, (at_s, number, reply))
        deadline_s = session.next_deadline_s()
        assert deadline_s > now_s  # else the caller would turn without end
        now_s = min([deadline_s, *(at_s for at_s, _, _ in replies[:1])])
    return events
