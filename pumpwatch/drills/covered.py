"""What is absent, and whether the ledger says so, sans-IO (promise 3)."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from pumpwatch.model import Gap
from pumpwatch.tally import KEY

# Rows of these states say that something is missing; a filled or empty hole says that nothing is.
SAYS_MISSING = frozenset({"suspected", "confirmed", "lost"})
ENDLESS_NS = 2**63 - 1
GAP_TYPES = {
    "feed": pl.String, "symbol": pl.String, "from_ns": pl.Int64, "to_ns": pl.Int64,
}  # fmt: skip


def uncovered(absent: pl.DataFrame, gaps: Iterable[Gap]) -> pl.DataFrame:
    """The rows of ``absent`` (KEY) in whose moment no hole of their symbol is known."""
    spans = pl.DataFrame(
        [
            (gap.feed, gap.symbol, gap.from_ns, gap.to_ns or ENDLESS_NS)
            for gap in gaps
            if gap.state in SAYS_MISSING
        ],
        schema=GAP_TYPES, orient="row",
    )  # fmt: skip
    covered = absent.join(spans, on=["feed", "symbol"], how="inner").filter(
        pl.col("exchange_ns").is_between("from_ns", "to_ns")
    )
    return absent.join(covered, on=KEY, how="anti")
