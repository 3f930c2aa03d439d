"""How a venue's lists of past trades are asked for the rows of a hole, without I/O.

``first_request``, then ``next_request`` with each answer until that returns None: the hole's rows
have all been shown, or the venue shows no more. Which of the two it is, and whether the hole may be
closed, the rows say (R2). What a ``RestPage`` takes decides how its lists are walked:

* ids, oldest first (Binance): upwards from the hole's first id; without one, in windows downwards;
* ids, newest first (OKX): downwards from behind the hole's last id, or from the newest;
* times, with pages or an offset (Gate): through a window of whole seconds from its end downwards;
  where no further page is allowed, or pages are ignored, a new window ends where the rows ended;
* nothing (Bybit, KuCoin, Phemex, the ``recent`` lists): one request is all.

Each request goes beyond what was shown before, so that every walk ends; a row that stands at the
edge of two answers may be shown twice, and none in between is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pumpwatch.errors import VenueError
from pumpwatch.venues.spec import FeedSpec, RestPage, RestTrade, TradePage

SECOND_NS = 10**9
# A venue may count its last second whole or not; times may be so much out of the order of the ids.
MARGIN_S = 1
MARGIN_NS = MARGIN_S * SECOND_NS


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """What a hole may span. The edges' own times are in it: a burst may be cut in its middle.

    The two times, exchange time in ns, are those of the rows around the hole, in either order: a
    later row may have an earlier time. ``to_ns`` of a hole that is still open is now.
    """

    first_id: int = 0  # of the missing ids, where they count up; 0: not known
    last_id: int = 0
    from_ns: int = 0  # 0: not known
    to_ns: int

    def __post_init__(self) -> None:
        if self.to_ns <= 0 or not (self.first_id or self.from_ns):
            raise ValueError(f"a hole must begin and end somewhere to be asked for: {self}")

    @property
    def oldest_ns(self) -> int:
        """The earliest time that a missing row may have; 0: not known."""
        return min(self.from_ns, self.to_ns)

    @property
    def newest_ns(self) -> int:
        """The latest time that a missing row may have."""
        return max(self.from_ns, self.to_ns)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One question to a venue, and where it stands on the walk through the hole."""

    page: RestPage
    venue_symbol: str
    span: Span
    from_id: int | None = None  # None: from the newest row on
    end_s: int = 0  # of the window of time
    pages_before: int = 0  # in this window
    rows_before: int = 0
    shown_id: int | None = None  # the lowest id of all earlier answers
    shown_ns: int = 0  # the earliest time of the page before that had any; 0: none had
    last_shown: frozenset[int] = frozenset()  # the ids of the page before, in this window

    @property
    def params(self) -> dict[str, str]:
        """What is sent."""
        page = self.page
        params = {page.symbol_param: self.venue_symbol, **page.params}
        if page.from_id_param and self.from_id is not None:
            params[page.from_id_param] = str(self.from_id)
        if page.from_s_param and self.span.oldest_ns:
            # Farther back than the margin, so that a row from there may show that all is read.
            params[page.from_s_param] = str(self.span.oldest_ns // SECOND_NS - 2 * MARGIN_S)
        if page.to_s_param:
            params[page.to_s_param] = str(self.end_s)
        if page.page_param:
            params[page.page_param] = str(1 + self.pages_before)
        if page.offset_param:
            params[page.offset_param] = str(self.rows_before)
        return params


def pages_to_ask(spec: FeedSpec, *, has_api_key: bool) -> tuple[RestPage, ...]:
    """The lists to walk, in this order; the second only if the first does not reach the start.

    The latest trades come first where they cost less than history.
    """
    history = spec.history
    if history is None or (history.needs_api_key and not has_api_key):
        return (spec.recent,)
    return (spec.recent, history) if spec.recent.weight < history.weight else (history,)


def reaches_start(span: Span, trades: Sequence[RestTrade]) -> bool:
    """Whether these rows, without a hole of their own, go back to where the span begins.

    By id where the span's first is known, else by a row that is earlier than all that is missing.
    """
    if span.first_id:
        return any(0 < trade.order_id <= span.first_id for trade in trades)
    return any(trade.exchange_ns < span.oldest_ns for trade in trades)


def first_request(page: RestPage, venue_symbol: str, span: Span) -> Request:
    """The first question of a walk."""
    request = Request(page=page, venue_symbol=venue_symbol, span=span)
    if page.from_s_param:
        return msgspec.structs.replace(request, end_s=span.newest_ns // SECOND_NS + MARGIN_S)
    if not page.from_id_param:
        return request
    if page.newest_first:
        from_id = span.last_id + 1 if span.last_id else None
    elif span.first_id:
        from_id = span.first_id
    else:
        from_id = max(0, span.last_id + 1 - page.rows_max) if span.last_id else None
    return msgspec.structs.replace(request, from_id=from_id)


def next_request(request: Request, answer: TradePage) -> Request | None:
    """What to ask after this answer; None: the walk is over. Raises VenueError."""
    page = request.page
    if page.from_s_param:
        return _next_in_time(request, answer)
    if not page.from_id_param or not answer.trades:
        return None
    if page.newest_first:
        return _next_below(request, answer.trades)
    if request.span.first_id:
        return _next_above(request, answer.trades)
    return _next_window_below(request, answer)


# --- by id ----------------------------------------------------------------------------------------


def _next_above(request: Request, trades: Sequence[RestTrade]) -> Request | None:
    """Upwards: ``from_id`` itself is shown."""
    span = request.span
    shown_id = max(trade.order_id for trade in trades)
    if span.last_id:
        is_over = shown_id >= span.last_id
    else:
        is_over = any(trade.exchange_ns > span.newest_ns + MARGIN_NS for trade in trades)
    if is_over or request.from_id is None or shown_id < request.from_id:
        return None
    return msgspec.structs.replace(request, from_id=shown_id + 1)


def _next_below(request: Request, trades: Sequence[RestTrade]) -> Request | None:
    """Downwards: what is below ``from_id`` is shown."""
    shown_id = min(trade.order_id for trade in trades)
    if _is_over_start(request.span, trades) or not _is_news(request, trades):
        return None
    return msgspec.structs.replace(request, from_id=shown_id, shown_id=shown_id)


def _next_window_below(request: Request, answer: TradePage) -> Request | None:
    """Downwards in steps of a whole answer, on a list that shows what is above ``from_id``.

    Raises VenueError for an answer that ends below what was shown before: the rows between would be
    left out, and no id would tell.
    """
    ids = [trade.order_id for trade in answer.trades]
    shown_id, rows_max = request.shown_id, request.page.rows_max
    if shown_id is not None and answer.rows < rows_max and max(ids) < shown_id - 1:
        raise VenueError(
            f"{request.page.path} of {request.venue_symbol}: {answer.rows} rows from id "
            f"{request.from_id} end at {max(ids)}; {rows_max} were asked for, and {shown_id} exists"
        )
    if _is_over_start(request.span, answer.trades) or not _is_news(request, answer.trades):
        return None
    if request.from_id == 0:
        return None
    return msgspec.structs.replace(request, from_id=max(0, min(ids) - rows_max), shown_id=min(ids))


def _is_over_start(span: Span, trades: Sequence[RestTrade]) -> bool:
    return reaches_start(span, trades) if span.first_id else _is_earlier(span, trades)


def _is_earlier(span: Span, trades: Sequence[RestTrade]) -> bool:
    """Whether a row is so much earlier than all that is missing that no missing row is below it."""
    return any(trade.exchange_ns < span.oldest_ns - MARGIN_NS for trade in trades)


def _is_news(request: Request, trades: Sequence[RestTrade]) -> bool:
    """Whether the answer goes below what was shown before."""
    if request.shown_id is None:
        return True
    return min(trade.order_id for trade in trades) < request.shown_id


# --- by time --------------------------------------------------------------------------------------


def _next_in_time(request: Request, answer: TradePage) -> Request | None:
    """The next page of this window, or a new one that ends where the rows ended."""
    page = request.page
    if not answer.rows or _is_walked(request, answer):
        return None
    # No row that the page before had not: the venue does not turn pages here.
    shown = frozenset(trade.order_id for trade in answer.trades)
    is_news = not answer.trades or not shown <= request.last_shown
    shown_ns = min((trade.exchange_ns for trade in answer.trades), default=request.shown_ns)
    pages, rows = request.pages_before + 1, request.rows_before + answer.rows
    skipped = pages * page.rows_max if page.page_param else rows
    if is_news and skipped <= page.skip_max:
        return msgspec.structs.replace(
            request, pages_before=pages, rows_before=rows, last_shown=shown, shown_ns=shown_ns
        )
    end_s = shown_ns // SECOND_NS + MARGIN_S
    if not shown_ns or end_s >= request.end_s:
        return None
    return msgspec.structs.replace(
        request,
        end_s=end_s,
        pages_before=0,
        rows_before=0,
        last_shown=frozenset(),
        shown_ns=shown_ns,
    )


def _is_walked(request: Request, answer: TradePage) -> bool:
    """Whether all rows of the span were shown, be the list in the order of ids or of times.

    With its first id shown, an answer that is not full is the last.
    """
    span = request.span
    if not span.first_id:
        return _is_earlier(span, answer.trades)
    is_last = answer.rows < request.page.rows_max or _is_earlier(span, answer.trades)
    return is_last and reaches_start(span, answer.trades)
