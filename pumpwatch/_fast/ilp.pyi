"""Rows as line protocol."""

from pumpwatch._fast.instruments import InstrumentTable
from pumpwatch._fast.parser import Parser

class RowBuffer:
    @property
    def rows(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def inexact_values(self) -> int: ...
    def take(self) -> tuple[bytes, int, int]: ...

def write_lines(
    rows: RowBuffer,
    parser: Parser,
    table: InstrumentTable,
    message: bytes,
    receive_ns: int,
    times: int,
) -> int: ...
def split_lines(payload: bytes) -> list[int]: ...
