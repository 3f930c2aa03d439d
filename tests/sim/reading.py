"""What clients got, read plainly, in the form of the truth log; no code of the simulator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal, localcontext
from typing import NamedTuple

import polars as pl

from tests._fast import (
    plain_binance,
    plain_bybit,
    plain_gate,
    plain_kucoin,
    plain_okx,
    plain_phemex,
)
from tests._fast.plain_json import Reading
from tests.sim.driving import plain

READERS: dict[str, Callable[[bytes], Reading]] = {
    "binance_spot": plain_binance.read,
    "binance_futures": plain_binance.read,
    "bybit_spot": plain_bybit.read,
    "bybit_futures": plain_bybit.read,
    "okx_spot": plain_okx.read,
    "okx_futures": plain_okx.read,
    "kucoin_spot": plain_kucoin.read_spot,
    "kucoin_futures": plain_kucoin.read_futures,
    "gate_spot": plain_gate.read_spot,
    "gate_futures": plain_gate.read_futures,
    "phemex_spot": plain_phemex.read_spot,
    "phemex_futures": plain_phemex.read_futures,
}
DIGITS = 80


class Seen(NamedTuple):
    """One trade: every field that the wire and the truth both have."""

    symbol: str
    trade_id: str  # "" where the venue gives none
    exchange_ns: int
    side: str
    price: str
    quantity: str  # base coins
    sequence: int


def read_texts(feed: str, texts: Iterable[str], values: dict[str, Decimal]) -> list[Seen]:
    """The trades of these messages in order; each must be understood."""
    found: list[Seen] = []
    for text in texts:
        status, _, rows = READERS[feed](text.encode())
        assert status != "malformed", text
        for row in rows:
            assert row["range_first"] == 0, text
            scale = Decimal("1e-8") if feed == "phemex_spot" else Decimal(1)
            with localcontext(prec=DIGITS):
                price = plain(Decimal(row["price"]) * scale)
                quantity = plain(Decimal(row["quantity"]) * values[row["symbol"]])
            found.append(
                Seen(row["symbol"], row["trade_id"] or "", row["exchange_ns"], row["side"], price,
                     quantity, row["sequence_number"])
            )  # fmt: skip
    return found


def truth_rows(frame: pl.DataFrame, *, has_ids: bool) -> list[Seen]:
    """The truth's rows in its order."""
    return [
        Seen(row["venue_symbol"], row["trade_id"] if has_ids else "", row["exchange_ns"],
             row["side"], row["price"], row["quantity"], row["sequence_number"])
        for row in frame.iter_rows(named=True)
    ]  # fmt: skip


def difference(got: Iterable[Seen], want: Iterable[Seen]) -> str:
    """What the two have in different numbers; "" when they are equal as multisets."""
    left, right = Counter(got), Counter(want)
    if left == right:
        return ""
    more, less = list((left - right).items()), list((right - left).items())
    return f"{len(more)} only on the wire: {more[:3]}, {len(less)} only in the truth: {less[:3]}"
