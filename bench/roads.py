"""One feed's road as the daemon builds it, and the bytes that go down it."""

from __future__ import annotations

from bench.messages import SECOND_NS, START_NS, Form, Stream, frame
from pumpwatch._fast.ilp import RowBuffer
from pumpwatch._fast.instruments import InstrumentTable
from pumpwatch._fast.intake import Intake
from pumpwatch._fast.road import FeedRoad, VenueClock

CHUNK_BYTES = 65536  # what a busy socket gives at once
FLUSH_BYTES = 256 * 1024  # a spool record (DESIGN section 3 step 6)
HISTORY_NS = 3600 * SECOND_NS
RECEIVE_NS = START_NS + 60 * SECOND_NS


class Road:
    """A fresh connection of a feed: nothing seen, all instruments known."""

    def __init__(
        self, form: Form, stream: Stream, feed: int = 1, history_ns: int = HISTORY_NS
    ) -> None:
        exchange, market_type = form.feed.split("_")
        self.table = InstrumentTable(exchange, market_type)
        for market in stream.markets:
            symbol = f"{market.base}USDT"
            self.table.add(
                form.symbol(market.base), symbol, form.contract_value, form.price_exponent
            )
        self.rows = RowBuffer()
        self.road = FeedRoad(form.parser, self.table, self.rows, VenueClock(), feed, history_ns)
        self.intake = Intake(self.road)

    def feed(self, chunk: bytes) -> None:
        """One chunk through."""
        self.intake.feed(chunk, RECEIVE_NS)

    def run(self, chunks: list[bytes]) -> int:
        """All chunks through, lines taken out as the spool takes them; returns the rows."""
        taken = 0
        for chunk in chunks:
            self.feed(chunk)
            if self.rows.size_bytes >= FLUSH_BYTES:
                taken += self.rows.take()[1]
        return taken + self.rows.take()[1]

    def check(self, rows: int) -> None:
        """All went on, nothing was told: else the figure is of something else."""
        assert not self.intake.has_news, (
            self.intake.take_kept()[1][:1],
            self.intake.take_news()[:1],
        )
        assert self.road.counts_now()["passed"] == rows, self.road.counts_now()


def chunks_of(messages: list[bytes]) -> list[bytes]:
    """The messages framed, in chunks that cut frames anywhere."""
    data = b"".join(map(frame, messages))
    return [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]
