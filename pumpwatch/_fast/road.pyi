"""A feed's road: what every parsed row goes through before it is an ILP line."""

from pumpwatch._fast.ilp import RowBuffer
from pumpwatch._fast.instruments import InstrumentTable
from pumpwatch._fast.parser import Parser
from pumpwatch._fast.recent import Recent

REFUSALS: dict[int, str]
NEWS_NAMES: tuple[str, ...]

News = tuple[str, int, int, int, int, int]  # cause, instrument, first id, last id, from_ns, to_ns

class VenueClock:
    def says_ours_is_slow(self, receive_ns: int) -> bool: ...

class FeedRoad:
    def __init__(
        self,
        parser: Parser,
        instruments: InstrumentTable,
        rows: RowBuffer,
        clock: VenueClock,
        feed: int,
        history_ns: int,
    ) -> None: ...
    @property
    def instruments(self) -> InstrumentTable: ...
    @property
    def rows(self) -> RowBuffer: ...
    @property
    def feed(self) -> int: ...
    @property
    def last_exchange_ns(self) -> int: ...
    @property
    def last_receive_ns(self) -> int: ...
    recent: Recent | None
    def counts_now(self) -> dict[str, int]: ...
    def take_backfill(
        self,
        venue_symbol: str,
        side: str,
        price: str,
        quantity: str,
        exchange_ns: int,
        trade_id: str | None,
        order_id: int,
        sequence_number: int,
        kind: str,
        received_ns: int,
        ordinal: int = -1,
    ) -> str: ...
    def begin_again(self) -> None: ...
    def take_again(
        self, message: bytes, received_ns: int, now_ns: int
    ) -> tuple[str, int, int, int]: ...
    def take_backfill_news(self) -> list[News]: ...
