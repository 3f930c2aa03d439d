"""A question about a span of time and its answer: who was asked, what came, what is covered.

Sans I/O. Times are ns since 1970 UTC; a span holds from_ns <= exchange time < to_ns. Rows stand in
canonical order: timestamp, exchange, market_type, symbol, sequence_number, trade_id (as bytes).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from pumpwatch.errors import UsageError
from pumpwatch.model import Gap, Instrument

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    import polars

    from pumpwatch._fast.trade_rows import TradeRows

# old_store: the original's files, while reads move to the database; nothing proves them complete.
Source = Literal["memory", "database", "both", "old_store"]


class WindowQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """Either the instruments of a coin, whatever each feed calls it, or symbols as they are.

    Raises UsageError where it is neither, both, or an empty span.
    """

    from_ns: int
    to_ns: int
    coin: str = ""  # PEPE: 1000PEPEUSDT, too
    symbols: tuple[str, ...] = ()  # BASE+QUOTE, as in the tables
    feeds: tuple[str, ...] = ()  # (): all twelve

    def __post_init__(self) -> None:
        if bool(self.coin) == bool(self.symbols):
            raise UsageError("a window is asked of either a coin or symbols")
        if self.from_ns >= self.to_ns:
            raise UsageError(f"a window from {self.from_ns} to {self.to_ns} ns is empty")


class UsedInstrument(msgspec.Struct, frozen=True, kw_only=True):
    """One instrument of a feed that the answer took rows of, or says why it took none."""

    instrument: Instrument
    first_seen_ns: int = 0  # 0: not known
    is_used: bool = True  # False: its rows are not in the answer, ``note`` says why
    note: str = ""  # "same ticker, another coin", "1 1000PEPE = 1000 PEPE", "ended", ...


class FeedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What one feed has of the window. Without instruments it has none, and ``note`` says so."""

    feed: str
    instruments: tuple[UsedInstrument, ...] = ()
    rows: int = 0
    source: Source = "database"
    # Of this span every row that ever reached us is in the answer; both 0: of none. It says
    # nothing of rows that never reached us: those are the gaps, and the watermark (R10).
    covered_from_ns: int = 0
    covered_to_ns: int = 0
    open_gaps: tuple[Gap, ...] = ()  # suspected or confirmed, and overlapping the window
    note: str = ""

    def covers(self, from_ns: int, to_ns: int) -> bool:
        """Whether all that came of this span is in the answer."""
        return self.covered_from_ns <= from_ns and to_ns <= self.covered_to_ns


class WindowAnswer:
    """Rows of all feeds of a window, with what is known of each feed."""

    def __init__(
        self, question: WindowQuestion, feeds: tuple[FeedAnswer, ...], trades: TradeRows
    ) -> None:
        self.question = question
        self.feeds = feeds  # one for each feed that was asked for, in the order of venues.FEEDS
        self.trades = trades  # columns; what encodes JSON, too
        self.took_s = 0.0

    def __len__(self) -> int:
        return len(self.trades)

    def feed(self, name: str) -> FeedAnswer:
        """One feed's. Raises KeyError where it was not asked for."""
        for answer in self.feeds:
            if answer.feed == name:
                return answer
        raise KeyError(name)

    @property
    def source(self) -> Source:
        """Where the rows came from, all feeds together."""
        sources = {answer.source for answer in self.feeds if answer.instruments or answer.rows}
        return sources.pop() if len(sources) == 1 else "both" if sources else "memory"

    @property
    def symbols(self) -> list[str]:
        """Symbols that rows were taken of."""
        return sorted(
            {used.instrument.symbol
             for answer in self.feeds for used in answer.instruments if used.is_used}
        )  # fmt: skip

    @property
    def labelled(self) -> set[str]:
        """Every symbol that rows were looked for of, also where a feed does not name it."""
        return {label.symbol for label in self.trades.labels}

    @property
    def is_complete(self) -> bool:
        """All that came is in it, and no gap is open: asked again, it would be the same."""
        question = self.question
        return all(
            not answer.open_gaps and answer.covers(question.from_ns, question.to_ns)
            for answer in self.feeds
            if answer.instruments
        )

    def rows(self) -> Iterator[dict[str, Any]]:
        """A dict a row: the columns of ``trades`` in their order, then venue_symbol.

        timestamp and received_at are ns (int); received_at and kind may be None.
        """
        return iter(self.trades.rows())

    def frame(self) -> polars.DataFrame:
        """The same as a data frame; the two times are Datetime("ns", "UTC")."""
        from pumpwatch.store.window_frame import frame  # polars takes 0.2 s to import

        return frame(self.trades)


class WindowStream(Protocol):
    """A window too large to hold, in pieces in canonical order."""

    feeds: tuple[FeedAnswer, ...]  # ``rows`` of each is 0: nobody has counted yet

    def __aiter__(self) -> AsyncIterator[TradeRows]: ...


class WindowReader(Protocol):
    """Who answers. Both raise ServerError when the database is needed and does not answer."""

    async def ask(self, question: WindowQuestion) -> WindowAnswer:
        """The whole window."""
        ...

    def stream(self, question: WindowQuestion) -> AbstractAsyncContextManager[WindowStream]:
        """``async with reader.stream(question) as stream: async for trades in stream``."""
        ...
