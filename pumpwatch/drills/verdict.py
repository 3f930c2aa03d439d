"""What a killed daemon may owe and what it may not, sans-IO: the truth held against the table.

The simulator calls a row delivered when the socket took it. A daemon that is killed never had what
still lay in the kernel's buffers, nor what it had read in its last 10 ms. So a delivered row may be
absent only as part of the killed connection's tail: no later row of its symbol came through the
killed process, and it was traded after the newest row that the process had read of the feed, or in
the moments before (one connection is read after the other). Every other one is missing.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import msgspec
import polars as pl

from pumpwatch.tally import KEY

VALUES = ["side", "price", "quantity"]  # order numbers: a snapshot tells rows under another one
# A row may be sent into a socket whose reader died just now; the next process is not up so soon.
DYING_NS = 1_000_000_000
TURN_NS_MAX = 250_000_000  # seen: 8 ms; a machine without idle time may take longer


class Kill(msgspec.Struct, frozen=True, kw_only=True):
    """One end without an orderly close."""

    started_ns: int  # of the process that was killed; wall time
    at_ns: int  # it was gone by then


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Rows by what became of them."""

    rows: int  # delivered, repeats aside
    missing: int  # absent, and nobody's tail
    duplicate: int
    wrong: int  # stored with another side, price or quantity
    unknown: int  # stored, and never traded
    tail_rows: int  # absent, and allowed to be
    unspooled_ms_max: float  # how much older the oldest is than the newest row that was read
    unread_ms_max: float  # how long before a kill a feed was last read: the kernel had the rest
    examples: list[str]  # of what is missing


def judge(truth: pl.DataFrame, stored: pl.DataFrame, kills: Sequence[Kill]) -> Verdict:
    """Hold the table's rows against what was delivered; ``kills`` in the order of time.

    ``truth`` is in the order of trading within each symbol, as the truth log is.
    """
    wanted = truth.unique(KEY, keep="first", maintain_order=True).select(
        *KEY, "side", pl.col("price").cast(pl.Float64), pl.col("quantity").cast(pl.Float64)
    )
    wanted = wanted.with_columns(pl.int_range(pl.len()).over("feed", "symbol").alias("place"))
    once = stored.unique(KEY, keep="first")
    both = wanted.join(once, on=KEY, how="inner", suffix="_stored")
    wrong = both.filter(
        pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_stored")) for name in VALUES)
    )
    absent = wanted.join(once, on=KEY, how="anti")
    deaths = [_Death(both, kill) for kill in kills]
    missing, tail_ns = _sort_absent(absent, deaths)
    return Verdict(
        rows=len(wanted),
        missing=len(missing),
        duplicate=len(stored) - len(once),
        wrong=len(wrong),
        unknown=len(once.join(wanted, on=KEY, how="anti")),
        tail_rows=len(tail_ns),
        unspooled_ms_max=round(max(tail_ns, default=0) / 1e6, 1),
        unread_ms_max=round(max((death.unread_ns for death in deaths), default=0) / 1e6, 1),
        examples=[f"{feed} {symbol} {trade_id} at {ns}" for feed, symbol, trade_id, ns in missing][
            :5
        ],
    )


class _Death:
    """What a killed process had brought into the table, by symbol and by feed."""

    def __init__(self, both: pl.DataFrame, kill: Kill) -> None:
        self.kill = kill
        seen = both.filter(pl.col("received_ns") <= kill.at_ns)
        last = seen.group_by("feed", "symbol").agg(pl.col("place").max())
        self._places: dict[tuple[str, str], int] = {
            (feed, symbol): place for feed, symbol, place in last.iter_rows()
        }
        own = seen.filter(pl.col("received_ns") >= kill.started_ns)
        by_feed = own.group_by("feed")
        self._newest_ns = dict(by_feed.agg(pl.col("exchange_ns").max()).iter_rows())
        self._read_ns = dict(by_feed.agg(pl.col("received_ns").max()).iter_rows())

    def newest_ns(self, feed: str) -> int:
        """When the newest row was traded that was read of this feed; the start, where none was."""
        return int(self._newest_ns.get(feed, self.kill.started_ns))

    @property
    def unread_ns(self) -> int:
        """From the last read of the feed that was read least to the kill."""
        return self.kill.at_ns - int(min(self._read_ns.values(), default=self.kill.at_ns))

    def is_last(self, feed: str, symbol: str, place: int) -> bool:
        """No later row of the symbol came through."""
        return place > self._places.get((feed, symbol), -1)


def _sort_absent(
    absent: pl.DataFrame, deaths: Sequence[_Death]
) -> tuple[list[tuple[str, str, str, int]], list[int]]:
    """Missing rows; and how much older than the newest row that was read each row of a tail is."""
    missing: list[tuple[str, str, str, int]] = []
    tail_ns: list[int] = []
    ends_ns = [death.kill.at_ns + DYING_NS for death in deaths]
    for feed, symbol, trade_id, ns, place in absent.select(*KEY, "place").iter_rows():
        number = bisect.bisect_left(ends_ns, ns)
        death = deaths[number] if number < len(deaths) else None
        if (
            death is not None
            and death.is_last(feed, symbol, place)
            and ns >= death.newest_ns(feed) - TURN_NS_MAX
        ):
            tail_ns.append(max(0, death.newest_ns(feed) - ns))
        else:
            missing.append((feed, symbol, trade_id, ns))
    return missing, tail_ns
