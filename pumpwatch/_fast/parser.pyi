"""Parser handles, and a slow way in for tests and tools."""

from typing import Literal, TypedDict, final

Status = Literal["trades", "other", "malformed", "full"]

STATUS_NAMES: tuple[Status, ...]
KIND_NAMES: tuple[str | None, ...]

class ParsedTrade(TypedDict):
    symbol: str
    side: Literal["buy", "sell"]
    price: str
    quantity: str
    exchange_ns: int
    trade_id: str | None
    order_id: int
    range_first: int
    sequence_number: int
    kind: str | None

@final
class Parser:
    @property
    def feed(self) -> str: ...
    def parse(self, message: bytes) -> tuple[Status, bool, list[ParsedTrade]]: ...
