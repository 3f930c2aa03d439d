"""Sent against stored: the multiset of trades in the database held against a truth log."""

from __future__ import annotations

import io

import httpx
import msgspec
import polars as pl

from pumpwatch.errors import ServerError
from pumpwatch.store.server import ServerAddress
from pumpwatch.trust import trust_for

EXPORT_TIMEOUT_S = 600.0
KEY = ["feed", "symbol", "trade_id", "exchange_ns"]
VALUES = ["side", "price", "quantity", "sequence_number"]
STORED_SQL = (
    "SELECT concat(exchange, '_', market_type) AS feed, symbol, trade_id,"
    " timestamp::long AS exchange_ns, side, price, quantity, sequence_number,"
    " received_at::long AS received_ns FROM {table}"
)
STORED_SCHEMA: dict[str, type[pl.DataType]] = {
    "feed": pl.String, "symbol": pl.String, "trade_id": pl.String, "exchange_ns": pl.Int64,
    "side": pl.String, "price": pl.Float64, "quantity": pl.Float64, "sequence_number": pl.Int64,
    "received_ns": pl.Int64,
}  # fmt: skip


class FeedTally(msgspec.Struct, frozen=True, kw_only=True):
    """One feed's rows: what was delivered to us and what the table holds."""

    feed: str
    sent: int
    stored: int
    missing: int  # sent, not stored
    duplicate: int  # stored more than once
    different: int  # stored under the right key with another side, price, quantity or order number
    unknown: int  # stored, never sent

    @property
    def is_exact(self) -> bool:
        """True when both multisets are equal."""
        return not (self.missing or self.duplicate or self.different or self.unknown)


async def fetch_stored(
    address: ServerAddress, table: str = "trades", *, feed: str | None = None
) -> pl.DataFrame:
    """Rows of the table, of all feeds or of one: feed, symbol, trade_id, exchange_ns, side, ….

    Raises ServerError when the export fails.
    """
    query = STORED_SQL.format(table=table)
    if feed is not None:
        exchange, _, market_type = feed.partition("_")
        query += f" WHERE exchange = '{exchange}' AND market_type = '{market_type}'"
    async with httpx.AsyncClient(
        base_url=address.http_url,
        auth=httpx.BasicAuth(address.user, address.password),
        timeout=EXPORT_TIMEOUT_S,
        trust_env=False,
        verify=trust_for(address.http_url),
    ) as client:
        try:
            answer = await client.get(
                # As CSV: polars refuses 9.3.4's Parquet of long texts (several dictionary pages).
                "/exp",
                params={"query": query},
            )
        except httpx.HTTPError as error:
            raise ServerError(f"export of {table} failed: {error!r}") from error
    if answer.status_code != 200:
        raise ServerError(
            f"export of {table} failed: HTTP {answer.status_code}: {answer.text[:300]}"
        )
    return pl.read_csv(io.BytesIO(answer.content), schema=STORED_SCHEMA)


def compare(truth: pl.DataFrame, stored: pl.DataFrame, feeds: list[str]) -> list[FeedTally]:
    """Hold stored rows against the truth, feed by feed.

    ``truth`` has the columns of ``fetch_stored`` with price and quantity as exact text. Rows that a
    venue sent twice under one key count once: repeats are the recorder's business to fold.
    """
    wanted = truth.select(
        *KEY, "side", pl.col("price").cast(pl.Float64), pl.col("quantity").cast(pl.Float64),
        pl.col("sequence_number").cast(pl.Int64),
    ).unique(KEY, keep="first")  # fmt: skip
    once = stored.unique(KEY, keep="first")
    both = wanted.join(once, on=KEY, how="inner", suffix="_stored")
    different = both.filter(
        # A stored NULL is a difference, too.
        pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_stored")) for name in VALUES)
    )
    counts = {
        "sent": wanted,
        "stored": stored,
        "once": once,
        "missing": wanted.join(once, on=KEY, how="anti"),
        "unknown": once.join(wanted, on=KEY, how="anti"),
        "different": different,
    }
    by_feed = {
        name: dict(frame.group_by("feed").len().iter_rows()) for name, frame in counts.items()
    }
    return [
        FeedTally(
            feed=feed,
            sent=by_feed["sent"].get(feed, 0),
            stored=by_feed["stored"].get(feed, 0),
            missing=by_feed["missing"].get(feed, 0),
            duplicate=by_feed["stored"].get(feed, 0) - by_feed["once"].get(feed, 0),
            different=by_feed["different"].get(feed, 0),
            unknown=by_feed["unknown"].get(feed, 0),
        )
        for feed in feeds
    ]
