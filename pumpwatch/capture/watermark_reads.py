"""Watermarks of a coin on every feed: what is known without asking, and one look at each list."""

from __future__ import annotations

from collections.abc import Mapping

import structlog
import trio

from pumpwatch.capture.backfill import URGENT, FeedBackfill
from pumpwatch.capture.ledger import ANY_SYMBOL
from pumpwatch.capture.silence import SilenceWatch
from pumpwatch.capture.watermarks import best, by_connection, by_list, by_next_id
from pumpwatch.errors import PumpWatchError
from pumpwatch.model import Gap, Watermark
from pumpwatch.venues.history import Span, first_request

log = structlog.get_logger()

ASK_S_MAX = 15.0  # for all feeds together; who did not answer by then has no mark of this kind


class WatermarkReader:
    """Reads marks of all instruments of a coin; see capture/watermarks.py for what they prove."""

    def __init__(
        self, backfills: Mapping[str, FeedBackfill], watches: Mapping[str, SilenceWatch]
    ) -> None:
        self._backfills = backfills
        self._watches = watches

    def known(self, coin: str, from_ns: int) -> list[Watermark]:
        """What is known now, without asking; ``from_ns``: when the window begins."""
        return [
            self._known(one, name, from_ns)
            for one in self._backfills.values()
            for name in self._names(one, coin)
        ]

    async def read(self, coin: str, from_ns: int, until_ns: int) -> list[Watermark]:
        """Ask each venue once for its list where no strong mark reaches ``until_ns``.

        To be called 5 s (watermarks.LIST_LAG_NS) after ``until_ns`` at the earliest: a list proves
        nothing of its last seconds. Before all other requests; rows that the stream should have
        brought become a hole and are taken in.
        """
        marks: list[Watermark] = []
        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.deadline = trio.current_time() + ASK_S_MAX
            for one in self._backfills.values():
                for name in self._names(one, coin):
                    known = self._known(one, name, from_ns)
                    if known.is_strong and known.to_ns >= until_ns:
                        marks.append(known)
                    else:
                        nursery.start_soon(self._read, one, name, from_ns, marks)
        done = {(mark.feed, mark.symbol) for mark in marks}
        return marks + [
            mark for mark in self.known(coin, from_ns) if (mark.feed, mark.symbol) not in done
        ]

    @staticmethod
    def _names(one: FeedBackfill, coin: str) -> list[str]:
        return [name for name, some in one.feed.instruments.items() if some.coin == coin]

    def _known(self, one: FeedBackfill, name: str, from_ns: int) -> Watermark:
        feed = one.feed
        symbol, coverage = feed.instruments[name].symbol, feed.coverage
        marks = [
            by_next_id(feed.spec.name, symbol, feed.spec.ids, feed.position(symbol)),
            by_connection(
                feed.spec.name, symbol, coverage.since_ns(name), coverage.proof_ns(name), from_ns
            ),
        ]
        return best(marks, self._gaps(one, symbol))

    @staticmethod
    def _gaps(one: FeedBackfill, symbol: str) -> list[Gap]:
        name = one.feed.spec.name
        return [
            gap for gap in one.feed.ledger.open_gaps(name) if gap.symbol in (symbol, ANY_SYMBOL)
        ]

    async def _read(
        self, one: FeedBackfill, name: str, from_ns: int, marks: list[Watermark]
    ) -> None:
        feed = one.feed
        symbol, page = feed.instruments[name].symbol, feed.spec.recent
        asked_ns = feed.clock.wall_ns()
        request = first_request(page, name, Span(from_ns=from_ns, to_ns=asked_ns))
        known = self._known(one, name, from_ns)
        try:
            answer, _ = await one.asker.ask(request, (URGENT, 0.0))
            found, held = await one.by_time.compare(name, answer.trades, page, from_ns)
        except PumpWatchError as error:
            log.info("watermark_not_read", feed=feed.spec.name, symbol=symbol, message=str(error))
            marks.append(known)
            return
        listed = by_list(
            feed.spec.name, symbol, found, [row.exchange_ns for row in held],
            from_ns=from_ns, asked_ns=asked_ns,
        )  # fmt: skip
        if not listed.proof:
            log.info("watermark_not_proven", feed=feed.spec.name, symbol=symbol,
                     message=listed.detail)  # fmt: skip
            if name in feed.coverage.wanted:
                await self._watches[feed.spec.name].check(name, trio.current_time())
            known = self._known(one, name, from_ns)
        marks.append(best([known, listed], self._gaps(one, symbol)))
