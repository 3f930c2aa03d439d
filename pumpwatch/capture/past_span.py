"""A span of long ago out of a venue's lists: found by its time, walked back from its end.

Where a list is asked by id, the id behind the span is searched for: some twenty requests, however
old the span is. What the venue no longer shows is said, not raised.
"""

from __future__ import annotations

import msgspec

from pumpwatch.capture.asking import PastTrades
from pumpwatch.capture.overlap import Listed, name_rows, without_cut_instant
from pumpwatch.errors import VenueError
from pumpwatch.model import Instrument
from pumpwatch.turnstile import Priority
from pumpwatch.venues.history import Request, Span, first_request, next_request
from pumpwatch.venues.spec import FeedSpec, RestPage, RestTrade, TradePage

PROBES_MAX = 60  # ids have 64 bits; interpolation needs fewer
REQUESTS_MAX = 2_000  # of one instrument
TOO_OLD = "the venue shows no trades so old"


class SpanRead(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue showed of a span."""

    rows: list[Listed]  # of the span, oldest first
    reached_ns: int  # nothing is missing from here on to the span's end; its end: nothing was shown
    requests: int
    text: str  # why not all of it; "" if it is

    @property
    def is_whole(self) -> bool:
        """Whether the venue showed all of it."""
        return not self.text


class PastReader:
    """Asks for one instrument's past, behind everybody else."""

    def __init__(
        self, rest: PastTrades, spec: FeedSpec, instrument: Instrument, *, has_api_key: bool,
        priority: Priority,
    ) -> None:  # fmt: skip
        self._rest, self._spec, self._instrument = rest, spec, instrument
        self._priority = priority
        history = spec.history
        is_open = history is not None and (has_api_key or not history.needs_api_key)
        self._history = history if is_open else None
        self._requests = 0

    async def read(self, from_ns: int, to_ns: int) -> SpanRead:
        """Rows with from <= time < to, as far as they are shown."""
        shown: list[RestTrade] = []
        text = ""
        try:
            page = self._history or self._spec.recent
            span = Span(from_ns=from_ns, to_ns=to_ns)
            if page.from_id_param:
                last_id = await self._id_behind(page, to_ns)
                if last_id == 0:
                    return self._answer([], from_ns, to_ns, TOO_OLD)
                span = msgspec.structs.replace(span, last_id=last_id)
            text = await self._walk(first_request(page, self._name, span), shown)
        except VenueError as error:
            text = str(error)[:200]
        return self._answer(shown, from_ns, to_ns, text)

    @property
    def _name(self) -> str:
        return self._instrument.venue_symbol

    def _answer(self, shown: list[RestTrade], from_ns: int, to_ns: int, text: str) -> SpanRead:
        unique = {(one.order_id, one.trade_id, number if one.trade_id is None else 0): one
                  for number, one in enumerate(shown)}  # fmt: skip
        trades = sorted(unique.values(), key=lambda one: (one.exchange_ns, one.order_id))
        rows = without_cut_instant(name_rows(trades, self._instrument))
        is_whole = any(one.exchange_ns < from_ns for one in trades) and not text
        inside = [row for row in rows if from_ns <= row.exchange_ns < to_ns]
        reached_ns = from_ns
        if not is_whole:
            text = text or TOO_OLD
            # Of the oldest instant that is shown some rows may not be.
            reached_ns = inside[0].exchange_ns + 1 if inside else to_ns
        return SpanRead(rows=inside, reached_ns=reached_ns, requests=self._requests, text=text)

    async def _ask(self, request: Request) -> TradePage:
        page = request.page
        self._requests += 1
        body = await self._rest.get(
            self._spec, page.path, request.params, page.weight, priority=self._priority,
            needs_api_key=page.needs_api_key,
        )  # fmt: skip
        return page.read(body, self._name)

    async def _walk(self, request: Request | None, shown: list[RestTrade]) -> str:
        """Down to before the span, or as far as the venue goes; why it ended early."""
        while request is not None:
            if self._requests >= REQUESTS_MAX:
                return f"more than {REQUESTS_MAX} requests"
            answer = await self._ask(request)
            shown += answer.trades
            request = next_request(request, answer)
        return ""

    # --- by id ------------------------------------------------------------------------------------

    async def _id_behind(self, page: RestPage, to_ns: int) -> int:
        """The last id that may have traded before ``to_ns``; 0: the venue goes not so far back."""
        recent = await self._ask(Request(page=self._spec.recent, venue_symbol=self._name,
                                         span=Span(from_ns=1, to_ns=to_ns)))  # fmt: skip
        known = [(one.order_id, one.exchange_ns) for one in recent.trades]
        if not known:
            return 0
        high = max(known)
        if high[1] < to_ns:
            return high[0]
        low = max((one for one in known if one[1] < to_ns), default=(0, 0))
        step = page.rows_max
        while not low[0]:
            number = max(1, high[0] - step)
            found = await self._probe(page, number, to_ns)
            if found is None:
                return 0
            if found[1] < to_ns:
                low = found
            elif number == 1 or found[0] >= high[0]:
                return 0
            else:
                high, step = found, step * 4
        for _ in range(PROBES_MAX):
            if high[0] - low[0] <= page.rows_max:
                break
            number = _between(low, high, to_ns)
            found = await self._probe(page, number, to_ns)
            if found is None or not low[0] < found[0] < high[0]:
                break
            low, high = (found, high) if found[1] < to_ns else (low, found)
        return high[0]

    async def _probe(self, page: RestPage, number: int, to_ns: int) -> tuple[int, int] | None:
        """The id and the time of the row at an id; None: nothing is shown there."""
        span = Span(from_ns=1, to_ns=to_ns)
        from_id = number + 1 if page.newest_first else number
        answer = await self._ask(
            Request(page=page, venue_symbol=self._name, span=span, from_id=from_id)
        )
        rows = [(one.order_id, one.exchange_ns) for one in answer.trades]
        if not rows:
            return None
        return max(rows) if page.newest_first else min(rows)


def _between(low: tuple[int, int], high: tuple[int, int], to_ns: int) -> int:
    """An id between two known ones: by time, but never too near to either."""
    share = (to_ns - low[1]) / max(1, high[1] - low[1])
    share = min(0.9, max(0.1, share))
    return low[0] + max(1, int((high[0] - low[0]) * share))
