"""What is proven seen, per instrument (DESIGN R1)."""

from typing import Literal, final

Verdict = Literal["new", "repeat", "jump", "late", "reset"]
Ids = tuple[int, int]

class SeenIds: ...

@final
class Sequence:
    def observe(self, trade_id: int, exchange_ns: int = 0) -> tuple[Verdict, Ids | None]: ...
    def observe_range(
        self, first: int, last: int, exchange_ns: int = 0
    ) -> tuple[Ids | None, Ids | None]: ...
    def forget(self, first: int, last: int) -> bool: ...
    @property
    def missing(self) -> list[Ids]: ...
    @property
    def seen(self) -> Ids: ...
