"""Questions that the database answers: trades, windows, listings, gaps."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Response, get
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, QueryParameter

from pumpwatch.clock import Clock
from pumpwatch.config import EXCHANGES, MARKET_TYPES, Config
from pumpwatch.dashboard.models import (
    GapsAnswer,
    ListingAnswer,
    ListingsAnswer,
    TradesAnswer,
    WindowAnswer,
)
from pumpwatch.dashboard.parameters import (
    GAP_STATES,
    LIMIT_MAX,
    SECOND_NS,
    SIDE_S_MAX,
    SYMBOL,
    ParameterError,
    Span,
    check_exchange,
    check_market_type,
    check_number,
    check_one_of,
    check_span,
    check_symbol,
)
from pumpwatch.dashboard.questions import OPEN_STATES, RECENT_NS, Questions
from pumpwatch.dashboard.windows import WindowAsker, feed_row, feeds_of
from pumpwatch.moments import iso_ns, parse_iso_ns
from pumpwatch.store.window_model import WindowQuestion


def _query(description: str, name: str | None = None, **schema: Any) -> QueryParameter:
    return QueryParameter(name=name, description=description, **schema)


def _number(low: int, high: int) -> dict[str, Any]:
    """For the schema: handlers check numbers themselves, to say what is allowed."""
    return {"type": "integer", "minimum": low, "maximum": high}


Limit = Annotated[str | None, _query("how many rows at most", schema_extra=_number(1, LIMIT_MAX))]
Exchange = Annotated[str | None, _query("which exchange", schema_extra={"enum": list(EXCHANGES)})]
MarketType = Annotated[
    str | None, _query("which market", schema_extra={"enum": list(MARKET_TYPES)})
]
NAME = {"pattern": f"^{SYMBOL.pattern}$"}
Symbol = Annotated[str | None, _query("BASE+QUOTE, as BTCUSDT", schema_extra=NAME)]
Coin = Annotated[
    str | None, _query("a coin, as PEPE: all its symbols on all feeds", schema_extra=NAME)
]
Moment = Annotated[str | None, _query("ISO 8601 in UTC")]
From = Annotated[str | None, _query("ISO 8601 in UTC, included", "from")]
To = Annotated[str | None, _query("ISO 8601 in UTC, excluded", "to")]
Seconds = Annotated[
    str | None, _query("around at, in seconds", schema_extra=_number(0, SIDE_S_MAX))
]


def _json(head: msgspec.Struct, trades: bytes) -> Response[bytes]:
    """An answer whose rows are JSON already: they take the place of its empty list."""
    body = msgspec.json.encode(head).replace(b'"trades":[]', b'"trades":' + trades, 1)
    return Response(body, media_type="application/json")


@get(
    "/api/trades/recent",
    summary="The newest trades",
    responses={200: ResponseSpec(TradesAnswer, generate_examples=False, description="Trades")},
)
async def trades_recent(
    state: State,
    limit: Limit = None,
    exchange: Exchange = None,
    market_type: MarketType = None,
    symbol: Symbol = None,
) -> Response[Any]:
    """Of the last hour, newest first."""
    rows_max = check_number("limit", limit, 100, 1, LIMIT_MAX)
    check_exchange(exchange)
    check_market_type(market_type)
    check_symbol("symbol", symbol)
    if symbol is None:  # of all symbols: what comes first by time is the table's to say
        questions: Questions = state.questions
        clock: Clock = state.clock
        trades = await questions.recent(
            clock.wall_ns(), limit=rows_max, exchange=exchange, market_type=market_type
        )
        return Response(
            TradesAnswer(trades=trades, count=len(trades), limit=rows_max, source="database")
        )
    windows: WindowAsker = state.windows
    feeds = feeds_of(exchange, market_type)
    answer = await windows.recent(symbol, feeds, RECENT_NS, rows_max)
    head = TradesAnswer(
        trades=[], count=min(len(answer), rows_max), limit=rows_max, source=answer.source
    )
    return _json(head, answer.trades.json(rows_max, newest_first=True))


@get(
    "/api/trades/window",
    summary="The trades around a moment",
    responses={200: ResponseSpec(WindowAnswer, generate_examples=False, description="Trades")},
)
async def trades_window(
    state: State,
    symbol: Symbol = None,
    coin: Coin = None,
    at: Moment = None,
    before_s: Seconds = None,
    after_s: Seconds = None,
    start: From = None,
    end: To = None,
    limit: Limit = None,
) -> Response[Any]:
    """Of a symbol, or of a coin on all feeds: around ``at``, or between ``from`` and ``to``."""
    config: Config = state.config
    windows: WindowAsker = state.windows
    if (symbol is None) == (coin is None):
        raise ParameterError("symbol", "either symbol or coin")
    span = check_span(
        at=at, before_s=before_s, after_s=after_s, start=start, end=end,
        before_default_s=config.listing.before_s, after_default_s=config.listing.after_s,
    )  # fmt: skip
    rows_max = check_number("limit", limit, LIMIT_MAX, 1, LIMIT_MAX)
    check_symbol("symbol", symbol)
    check_symbol("coin", coin)
    question = WindowQuestion(
        from_ns=span.from_ns, to_ns=span.to_ns, coin=coin or "",
        symbols=() if symbol is None else (symbol,),
    )  # fmt: skip
    answer, truncated = await windows.head(question, rows_max)
    symbols = [symbol] if symbol is not None else answer.symbols
    if not symbols:
        raise NotFoundException(detail=f"no feed has listed an instrument of {coin}")
    head = WindowAnswer(
        symbols=symbols,
        start=iso_ns(span.from_ns),
        end=iso_ns(span.to_ns),
        trades=[],
        count=min(len(answer), rows_max),
        limit=rows_max,
        truncated=truncated,
        source=answer.source,
        feeds=[feed_row(one) for one in answer.feeds if one.instruments or one.rows],
    )
    return _json(head, answer.trades.json(rows_max))


@get("/api/gaps", summary="The ledger of holes")
async def gaps(
    state: State,
    limit: Limit = None,
    gap_state: Annotated[str | None, _query("open, all, or one of the states", "state")] = None,
    exchange: Exchange = None,
    market_type: MarketType = None,
    symbol: Symbol = None,
) -> GapsAnswer:
    """Newest first; without ``state`` those that are open."""
    questions: Questions = state.questions
    groups = {"open": OPEN_STATES, "all": GAP_STATES, **{name: (name,) for name in GAP_STATES}}
    chosen = check_one_of("state", gap_state, groups) or "open"
    rows_max = check_number("limit", limit, 100, 1, LIMIT_MAX)
    found = await questions.gaps(
        limit=rows_max,
        states=groups[chosen],
        exchange=check_exchange(exchange),
        market_type=check_market_type(market_type),
        symbol=check_symbol("symbol", symbol),
    )
    return GapsAnswer(gaps=found, count=len(found), limit=rows_max)


@get("/api/listings", summary="Announced coins")
async def listings(state: State, limit: Limit = None) -> ListingsAnswer:
    """Newest first."""
    questions: Questions = state.questions
    rows_max = check_number("limit", limit, 50, 1, LIMIT_MAX)
    found = await questions.listings(rows_max)
    return ListingsAnswer(listings=found, count=len(found), limit=rows_max)


@get("/api/listings/{source:str}/{notice_id:str}/{coin_symbol:str}", summary="One announced coin")
async def listing(
    state: State, source: FromPath[str], notice_id: FromPath[str], coin_symbol: FromPath[str]
) -> ListingAnswer:
    """With the rows that each feed has in its window."""
    config: Config = state.config
    questions: Questions = state.questions
    for name, text in (("source", source), ("notice_id", notice_id), ("symbol", coin_symbol)):
        check_symbol(name, text)
    found = await questions.listing(source, notice_id, coin_symbol)
    if found is None:
        raise NotFoundException(detail="no such listing")
    at_ns = parse_iso_ns(found.announced_at or found.detected_at)
    assert at_ns is not None
    span = Span(
        at_ns - config.listing.before_s * SECOND_NS, at_ns + config.listing.after_s * SECOND_NS
    )
    symbols = await questions.symbols_of(coin_symbol)
    return ListingAnswer(
        listing=found,
        bundle=str(bundle) if (bundle := (found.certificate or {}).get("bundle")) else None,
        start=iso_ns(span.from_ns),
        end=iso_ns(span.to_ns),
        rows_by_feed=await questions.rows_by_feed(symbols, span),
        symbols=symbols,
    )


HANDLERS: list[HTTPRouteHandler] = [trades_recent, trades_window, gaps, listings, listing]
