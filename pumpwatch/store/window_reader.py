"""Answers: trades of a coin or of symbols in a span of time, from memory, the database, or both.

Memory answers where it held every row of the span; for the rest one statement asks the database for
all feeds. Of rows that both have, the table's stay. Complete answers are kept for who asks again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import trio

from pumpwatch._fast.recent import OPEN_END_NS
from pumpwatch._fast.trade_rows import Label, RowsBuilder, TradeRows
from pumpwatch.clock import Clock
from pumpwatch.config import FEED_NAMES
from pumpwatch.errors import StatementError, UsageError
from pumpwatch.model import Gap
from pumpwatch.rates import TimesBySource
from pumpwatch.spans import Spans, common, covers, joined, without
from pumpwatch.store.instrument_rows import read_instruments
from pumpwatch.store.window_cache import WindowCache
from pumpwatch.store.window_instruments import UNLISTED, InstrumentIndex, Meant
from pumpwatch.store.window_model import FeedAnswer, Source, WindowAnswer, WindowQuestion

if TYPE_CHECKING:
    from pumpwatch._fast.window import Window

ANY_SYMBOL = "*"  # of a gap: any of the feed's
ROWS_MAX = 2_000_000  # of one answer, about 200 MiB; more is for ``stream``
PIECE_NS = 100_000_000  # a stream's first piece; its first rows are wanted at once
PIECE_ROWS = 20_000  # what the pieces behind it are sized for
PIECE_GROWTH_MAX = 8
REFRESH_S = 5.0  # for how long the table of instruments is believed, where no daemon tells changes
# A venue's row may be so long on its way; before that an answer is not taken for the last word.
SETTLED_NS = 60 * 10**9
TIMED_AS = {"memory": "memory", "database": "sql", "both": "both", "old_store": "old_store"}
ROW_SQL = (
    "SELECT exchange, market_type, symbol, timestamp::long, side, price, quantity, trade_id,"
    " sequence_number, received_at::long, origin, kind FROM trades"
    " WHERE timestamp >= cast(%s AS TIMESTAMP_NS) AND timestamp < cast(%s AS TIMESTAMP_NS)"
    " AND ({symbols}){feeds} LIMIT %s"
)


class SqlAccess(Protocol):
    """What is asked of the database."""

    async def query(self, sql: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Rows of a question."""
        ...

    async def query_dicts(self, sql: str, params: Sequence[object] = ()) -> list[dict[str, Any]]:
        """As query, each row by its columns' names."""
        ...


class Memory(Protocol):
    """The memory hour, seen from here."""

    def look(
        self, feed: str, venue_symbol: str, from_ns: int, to_ns: int
    ) -> tuple[Window, Spans] | None:
        """Rows of a span, and of which spans all that came are held; None: not an instrument."""
        ...


class _Piece(msgspec.Struct, frozen=True):
    """A span's rows, and what is covered of each feed."""

    trades: TradeRows
    sources: dict[str, Source]
    covered: dict[str, tuple[int, int]]


class Windows:
    """Answers questions; see window_model.WindowReader.

    Without ``memory`` all comes from the database, and the instruments from its table. ``gaps``
    gives the open rows of the ledger, ``applied_ns`` the exchange time before which the table has
    all that came, 0 where nobody knows. ``under_way`` gives the holes whose rows were brought, and
    may not be in the table yet though they are older than that.
    """

    def __init__(
        self,
        sql: SqlAccess,
        clock: Clock,
        times: TimesBySource,
        *,
        index: InstrumentIndex | None = None,
        memory: Memory | None = None,
        gaps: Callable[[], Sequence[Gap]] = tuple,
        applied_ns: Callable[[], int] = lambda: 0,
        under_way: Callable[[], Sequence[Gap]] = tuple,
        feeds: Sequence[str] = FEED_NAMES,
    ) -> None:
        self.cache = WindowCache()
        self.index = InstrumentIndex() if index is None else index
        self._sql = sql
        self._clock = clock
        self._times = times
        self._memory = memory
        self._gaps = gaps
        self._applied_ns = applied_ns
        self._under_way = under_way
        self._feeds = feeds
        self._is_told = index is not None
        self._refreshed_s: float | None = None

    # --- asking -----------------------------------------------------------------------------------

    async def ask(self, question: WindowQuestion) -> WindowAnswer:
        """All rows of the window.

        Raises UsageError where they are more than ROWS_MAX, ServerError where the database is
        needed and does not answer.
        """
        started_s = trio.current_time()
        kept = self.cache.get(question)
        if kept is not None:
            self._times.note("cache", trio.current_time() - started_s)
            return kept
        answer = await self.ask_anew(question)
        answer.took_s = trio.current_time() - started_s
        self._note(answer)
        if self._is_settled(answer):
            self.cache.put(answer)
        return answer

    async def ask_anew(self, question: WindowQuestion, *, use_memory: bool = True) -> WindowAnswer:
        """As ``ask``, whatever is kept; without memory it is what the table says."""
        meant = await self._meant(question)
        memory = self._memory if use_memory else None
        piece = await self._piece(question, meant, question.from_ns, question.to_ns, memory)
        return self._answer(question, meant, piece)

    async def head(self, question: WindowQuestion, rows_max: int) -> tuple[WindowAnswer, bool]:
        """At least the first ``rows_max`` rows, and whether there are more of them."""
        kept = self.cache.get(question)
        if kept is not None or question.to_ns - question.from_ns <= PIECE_NS * 600:
            answer = await self.ask(question)
            return answer, len(answer) > rows_max
        started_s = trio.current_time()
        meant = await self._meant(question)
        builder_rows = 0
        piece: _Piece | None = None
        async for from_ns, piece in self.pieces(question, meant, whole=True):
            builder_rows = len(piece.trades)
            if builder_rows > rows_max or from_ns >= question.to_ns:
                break
        assert piece is not None
        answer = self._answer(question, meant, piece)
        answer.took_s = trio.current_time() - started_s
        self._note(answer)
        return answer, builder_rows > rows_max

    async def symbols_of(self, question: WindowQuestion) -> list[str]:
        """Symbols that a question means, on any feed."""
        meant = await self._meant(question)
        return sorted({label.symbol for one in meant for label in one.labels})

    async def answer_of(
        self, question: WindowQuestion, rows: Iterable[tuple[Any, ...]], source: Source
    ) -> WindowAnswer:
        """Rows of another table, or of another store, as an answer; nothing is called covered.

        ``rows`` have the columns of ROW_SQL; those of symbols that are not meant are left out.
        """
        meant = await self._meant(question)
        labels = sorted((label for one in meant for label in one.labels), key=lambda one: one[:3])
        builder = RowsBuilder(labels)
        _add_rows(builder, rows)
        piece = _Piece(
            trades=builder.build(),
            sources={one.feed: source for one in meant},
            covered={one.feed: (0, 0) for one in meant},
        )
        return self._answer(question, meant, piece)

    @asynccontextmanager
    async def stream(self, question: WindowQuestion) -> AsyncIterator[WindowPieces]:
        """A window in pieces of about PIECE_ROWS rows, in canonical order; the first comes soon."""
        meant = await self._meant(question)
        yield WindowPieces(self, question, meant)

    async def recent(
        self, symbol: str, feeds: tuple[str, ...], span_ns: int, rows_max: int
    ) -> WindowAnswer:
        """The newest rows of a symbol, at least ``rows_max`` where the span has them."""
        started_s = trio.current_time()
        to_ns = self._clock.wall_ns() + SETTLED_NS  # a venue's clock may be ahead of ours
        width_ns = SETTLED_NS * 2
        while True:
            question = WindowQuestion(
                symbols=(symbol,), from_ns=max(to_ns - width_ns, to_ns - span_ns, 0), to_ns=to_ns,
                feeds=feeds,
            )  # fmt: skip
            answer = await self.ask_anew(question)
            if len(answer) >= rows_max or width_ns >= span_ns:
                answer.took_s = trio.current_time() - started_s
                self._note(answer)
                return answer
            width_ns *= 4

    def _note(self, answer: WindowAnswer) -> None:
        self._times.note(TIMED_AS[answer.source], answer.took_s)

    async def _meant(self, question: WindowQuestion) -> list[Meant]:
        if not self._is_told:
            now_s = trio.current_time()
            if self._refreshed_s is None or now_s - self._refreshed_s >= REFRESH_S:
                self.index.update(await read_instruments(self._sql))
                self._refreshed_s = now_s
        unknown = set(question.feeds) - set(self._feeds)
        if unknown:
            raise UsageError(f"{', '.join(sorted(unknown))}: no such feed")
        return self.index.meant(question, question.feeds or self._feeds)

    # --- one span ---------------------------------------------------------------------------------

    async def _piece(
        self,
        question: WindowQuestion,
        meant: Sequence[Meant],
        from_ns: int,
        to_ns: int,
        memory: Memory | None,
    ) -> _Piece:
        now_ns = self._clock.wall_ns()
        labels = sorted((label for one in meant for label in one.labels), key=lambda one: one[:3])
        builder = RowsBuilder(labels)
        held: dict[tuple[str, str], Spans] = {}
        unlisted: list[Label] = []
        for number, label in enumerate(labels):
            feed = f"{label.exchange}_{label.market_type}"
            names = next(one for one in meant if one.feed == feed).names(label.symbol)
            spans = _look(memory, builder, number, feed, names, from_ns, to_ns)
            held[(feed, label.symbol)] = spans
            if not names:
                unlisted.append(label)
        asked = [
            label
            for label in labels
            if not covers(held[_key(label)], from_ns, min(to_ns, max(now_ns, from_ns + 1)))
        ]
        if memory is not None and len(unlisted) < len(labels) and asked == unlisted:
            asked = []  # what traded in the hour that memory holds is an instrument of its feed
        # Before the question: what is applied later may be in it.
        applied_ns = self._applied_ns()
        under_way = [
            gap
            for gap in self._under_way()
            if gap.from_ns < to_ns and (gap.to_ns or OPEN_END_NS) >= from_ns
        ]
        if asked:
            rows = await self._sql.query(*_statement(asked, from_ns, to_ns, question.feeds))
            if len(rows) > ROWS_MAX:
                raise UsageError(f"a window of more than {ROWS_MAX:,} rows: stream it, or ask less")
            _add_rows(builder, rows)
        return _Piece(
            trades=builder.build(),
            sources={one.feed: _source(one, asked, held) for one in meant},
            covered={
                one.feed: _covered(one, asked, held, from_ns, to_ns, now_ns, applied_ns, under_way)
                for one in meant
            },
        )

    async def pieces(
        self, question: WindowQuestion, meant: Sequence[Meant], *, whole: bool = False
    ) -> AsyncIterator[tuple[int, _Piece]]:
        """Pieces, and where the next one begins; ``whole``: each is all from the beginning on."""
        from_ns, width_ns = question.from_ns, PIECE_NS
        while from_ns < question.to_ns:
            to_ns = min(from_ns + width_ns, question.to_ns)
            start_ns = question.from_ns if whole else from_ns
            piece = await self._piece(question, meant, start_ns, to_ns, self._memory)
            yield to_ns, piece
            rows = max(len(piece.trades), 1)
            growth = min(PIECE_GROWTH_MAX, PIECE_ROWS / rows)
            width_ns = max(int(width_ns * growth), 1_000_000)
            from_ns = to_ns

    # --- what is said of it -----------------------------------------------------------------------

    def _answer(
        self, question: WindowQuestion, meant: Sequence[Meant], piece: _Piece
    ) -> WindowAnswer:
        counts: dict[str, int] = {}
        for label, rows in zip(piece.trades.labels, piece.trades.counts(), strict=True):
            feed = f"{label.exchange}_{label.market_type}"
            counts[feed] = counts.get(feed, 0) + rows
        return WindowAnswer(
            question,
            tuple(
                self.feed_answer(question, one, counts.get(one.feed, 0), piece.sources[one.feed],
                                 piece.covered[one.feed])
                for one in meant
            ),
            piece.trades,
        )  # fmt: skip

    def feed_answer(
        self,
        question: WindowQuestion,
        meant: Meant,
        rows: int,
        source: Source,
        covered: tuple[int, int],
    ) -> FeedAnswer:
        """What is known of one feed."""
        symbols = {label.symbol for label in meant.labels}
        used = [one for one in meant.used if one.is_used]
        note = ""
        if not used:
            note = UNLISTED if rows else "no instrument"
        return FeedAnswer(
            feed=meant.feed,
            instruments=meant.used,
            rows=rows,
            source=source,
            covered_from_ns=covered[0],
            covered_to_ns=covered[1],
            open_gaps=tuple(_overlapping(self._gaps(), meant.feed, symbols, question)),
            note=note,
        )

    def _is_settled(self, answer: WindowAnswer) -> bool:
        age_ns = self._clock.wall_ns() - answer.question.to_ns
        return age_ns >= SETTLED_NS and answer.is_complete


class WindowPieces:
    """See window_model.WindowStream."""

    def __init__(self, windows: Windows, question: WindowQuestion, meant: list[Meant]) -> None:
        self.feeds = tuple(
            windows.feed_answer(question, one, 0, "database", (0, 0)) for one in meant
        )
        self._windows = windows
        self._question = question
        self._meant = meant

    async def __aiter__(self) -> AsyncIterator[TradeRows]:
        async for _, piece in self._windows.pieces(self._question, self._meant):
            if len(piece.trades):
                yield piece.trades


def _add_rows(builder: RowsBuilder, rows: Iterable[tuple[Any, ...]]) -> None:
    try:
        builder.add_table(rows)
    except ValueError as error:
        raise StatementError(f"the table has a row that is none of ours: {error}") from error


def _key(label: Label) -> tuple[str, str]:
    return (f"{label.exchange}_{label.market_type}", label.symbol)


def _look(
    memory: Memory | None, builder: RowsBuilder, number: int, feed: str, names: list[str],
    from_ns: int, to_ns: int,
) -> Spans:  # fmt: skip
    """Rows of memory into the builder; returns of which spans they are all."""
    spans: Spans | None = None
    for name in names if memory is not None else ():
        assert memory is not None
        found = memory.look(feed, name, from_ns, to_ns)
        if found is None:
            return []
        builder.add_window(number, found[0], from_ns, to_ns)
        spans = found[1] if spans is None else list(common(spans, found[1]))
    return spans or []


def _statement(
    labels: list[Label], from_ns: int, to_ns: int, feeds: tuple[str, ...]
) -> tuple[str, list[object]]:
    symbols = sorted({label.symbol for label in labels})
    params: list[object] = [from_ns, to_ns, *symbols]
    narrowed = ""
    if len(feeds) == 1:
        exchange, _, market_type = feeds[0].partition("_")
        narrowed = " AND exchange = %s AND market_type = %s"
        params += [exchange, market_type]
    # Not IN: there the server takes a text that begins with a brace for an array.
    wanted = " OR ".join(["symbol = %s"] * len(symbols))
    return ROW_SQL.format(symbols=wanted, feeds=narrowed), [*params, ROWS_MAX + 1]


def _source(meant: Meant, asked: list[Label], held: dict[tuple[str, str], Spans]) -> Source:
    from_table = [label for label in meant.labels if label in asked]
    if not from_table:
        return "memory"
    in_memory = len(from_table) < len(meant.labels) or any(held[_key(one)] for one in from_table)
    return "both" if in_memory else "database"


def _covered(
    meant: Meant, asked: list[Label], held: dict[tuple[str, str], Spans],
    from_ns: int, to_ns: int, now_ns: int, applied_ns: int, under_way: Sequence[Gap],
) -> tuple[int, int]:  # fmt: skip
    """The span of which all symbols' rows that reached us are in the answer."""
    end_ns = min(to_ns, now_ns)
    spans: Spans = [(from_ns, end_ns)]
    for label in meant.labels:
        own = [(low, min(high, now_ns)) for low, high in held[_key(label)]]
        if label in asked and applied_ns > from_ns:
            stored = [(from_ns, applied_ns)]
            for gap in under_way:
                if gap.feed == meant.feed and gap.symbol in (label.symbol, ANY_SYMBOL):
                    stored = without(stored, gap.from_ns, (gap.to_ns or OPEN_END_NS) + 1)
            own = joined([*own, *stored])
        spans = list(common(spans, own))
    return max(spans, key=lambda span: span[1] - span[0], default=(0, 0))


def _overlapping(
    gaps: Sequence[Gap], feed: str, symbols: set[str], question: WindowQuestion
) -> Iterator[Gap]:
    for gap in gaps:
        if gap.feed != feed or (gap.symbol not in symbols and gap.symbol != ANY_SYMBOL):
            continue
        if gap.from_ns < question.to_ns and (gap.to_ns or OPEN_END_NS) > question.from_ns:
            yield gap
