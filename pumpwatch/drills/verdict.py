"""What a killed daemon may owe and what it may not, sans-IO: the truth held against the table.

The simulator calls a row delivered when the socket took it. A daemon that is killed never had what
still lay in the kernel's buffers, nor what it had read in its last 10 ms. So a delivered row may be
absent only as part of the killed connection's tail: it was traded shortly before the kill, and no
later row of its symbol came through the killed process. Every other absent row is missing.
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


class Kill(msgspec.Struct, frozen=True, kw_only=True):
    """One end without an orderly close."""

    at_ns: int  # wall time
    tail_ns: int  # how old a row may be that was on its way: the daemon's lag, with a margin


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Rows by what became of them."""

    rows: int  # delivered, repeats aside
    missing: int  # absent, and nobody's tail
    duplicate: int
    wrong: int  # stored with another side, price or quantity
    unknown: int  # stored, and never traded
    tail_rows: int  # absent, and allowed to be
    tail_ms_max: float  # how long before the kill the oldest of them was traded
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
    missing, tail = _sort_absent(absent, both, kills)
    return Verdict(
        rows=len(wanted),
        missing=len(missing),
        duplicate=len(stored) - len(once),
        wrong=len(wrong),
        unknown=len(once.join(wanted, on=KEY, how="anti")),
        tail_rows=len(tail),
        tail_ms_max=round(max((age_ns for *_, age_ns in tail), default=0) / 1e6, 1),
        examples=[f"{feed} {symbol} {trade_id} at {ns}" for feed, symbol, trade_id, ns in missing][
            :5
        ],
    )


def _sort_absent(
    absent: pl.DataFrame, both: pl.DataFrame, kills: Sequence[Kill]
) -> tuple[list[tuple[str, str, str, int]], list[tuple[str, str, int]]]:
    """Absent rows: missing ones, and those of a kill's tail with their age at the kill."""
    missing: list[tuple[str, str, str, int]] = []
    tail: list[tuple[str, str, int]] = []
    ends_ns = [kill.at_ns + DYING_NS for kill in kills]
    last_places: dict[int, dict[tuple[str, str], int]] = {}
    for feed, symbol, trade_id, ns, place in absent.select(*KEY, "place").iter_rows():
        number = bisect.bisect_left(ends_ns, ns)
        if number == len(kills):
            missing.append((feed, symbol, trade_id, ns))
            continue
        kill = kills[number]
        if number not in last_places:
            last_places[number] = _last_places(both, kill.at_ns)
        is_last = place > last_places[number].get((feed, symbol), -1)
        if is_last and ns >= kill.at_ns - kill.tail_ns:
            tail.append((feed, symbol, max(0, kill.at_ns - ns)))
        else:
            missing.append((feed, symbol, trade_id, ns))
    return missing, tail


def _last_places(both: pl.DataFrame, at_ns: int) -> dict[tuple[str, str], int]:
    """Each symbol's last stored row that was received up to ``at_ns``."""
    seen = both.filter(pl.col("received_ns") <= at_ns)
    last = seen.group_by("feed", "symbol").agg(pl.col("place").max())
    return {(feed, symbol): place for feed, symbol, place in last.iter_rows()}
