"""What a report is made of: a bundle's certificate, event and rows, as plain columns. Blocking."""

from __future__ import annotations

from pathlib import Path

import msgspec
import polars as pl

from pumpwatch.errors import BundleError
from pumpwatch.listing.bundle import BARS, EVENT, KEPT
from pumpwatch.listing.certificate import Certificate
from pumpwatch.listing.events import ListingEvent
from pumpwatch.listing.evidence import Window
from pumpwatch.listing.verify import read_certificate

SECOND_NS = 10**9
MARKET_SYMBOL = "BTCUSDT"  # what a return is adjusted by
# One coin's trades; ``price`` and ``coins`` are per coin, also where a base is 1,000 of them.
TRADE_SCHEMA = pl.Schema({
    "feed": pl.String, "at_ns": pl.Int64, "received_ns": pl.Int64, "price": pl.Float64,
    "coins": pl.Float64, "quote": pl.Float64, "is_buy": pl.Boolean, "symbol": pl.String,
    "trade_id": pl.String, "is_live": pl.Boolean,
})  # fmt: skip
# Whole seconds relative to the window's centre: -1 is the last one before it.
BAR_SCHEMA = pl.Schema({
    "feed": pl.String, "second": pl.Int64, "open": pl.Float64, "high": pl.Float64,
    "low": pl.Float64, "close": pl.Float64, "coins": pl.Float64, "trades": pl.Int64,
    "buy_coins": pl.Float64,
})  # fmt: skip


class Material(msgspec.Struct, frozen=True, kw_only=True):
    """All that a report may use."""

    certificate: Certificate
    event: ListingEvent
    trades: pl.DataFrame  # of the coin, an hour before on; TRADE_SCHEMA, by feed and time
    past: pl.DataFrame  # of the coin, 1-s bars before ``trades`` begins; BAR_SCHEMA
    market: pl.DataFrame  # 1-s bars of BTC, all that is held; BAR_SCHEMA

    @property
    def window(self) -> Window:
        """Of the certificate."""
        return self.certificate.window

    @property
    def suspects(self) -> frozenset[str]:
        """Feeds that may trade another coin of this name: kept, but in no aggregate."""
        return frozenset(one.feed for one in self.certificate.feeds if one.is_suspect_identity)

    @property
    def inside(self) -> pl.DataFrame:
        """The window's trades."""
        at = pl.col("at_ns")
        return self.trades.filter((at >= self.window.from_ns) & (at < self.window.to_ns))

    def counted(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Without the suspects' rows."""
        return frame.filter(~pl.col("feed").is_in(sorted(self.suspects)))


def read_material(folder: Path) -> Material:
    """From a bundle, or one that is being made. Raises BundleError."""
    certificate, _ = read_certificate(folder)
    path = folder / EVENT
    try:
        event = msgspec.json.decode(path.read_bytes(), type=_EventFile).event
        kept = pl.read_parquet(folder / KEPT)
        bars = pl.read_parquet(folder / BARS)
    except (OSError, msgspec.DecodeError, pl.exceptions.PolarsError) as error:
        raise BundleError(f"{folder}: {error}") from None
    units = {
        (feed.feed, one.symbol): one.unit for feed in certificate.feeds for one in feed.instruments
    }
    at_ns = certificate.window.at_ns
    trades = trades_of(kept, units)
    bars = bars_of(bars, units, at_ns)
    first_ns = trades["at_ns"].min()
    first = (first_ns - at_ns) // SECOND_NS if isinstance(first_ns, int) else 0
    of_market = kept.filter(pl.col("symbol") == MARKET_SYMBOL)
    pairs = {(str(feed), MARKET_SYMBOL): 1 for feed in of_market["feed"].unique()}
    names = list(BAR_SCHEMA)
    market = pl.concat(
        [seconds_of(trades_of(of_market, pairs), at_ns),
         bars.filter(pl.col("symbol") == MARKET_SYMBOL).select(names)]
    ).unique(["feed", "second"], keep="first", maintain_order=True)  # fmt: skip
    is_past = (pl.col("second") < first) & pl.col("is_coin")
    return Material(
        certificate=certificate, event=event, trades=trades,
        past=bars.filter(is_past).select(names), market=market.sort("feed", "second"),
    )  # fmt: skip


class _EventFile(msgspec.Struct):
    event: ListingEvent


def trades_of(kept: pl.DataFrame, units: dict[tuple[str, str], int]) -> pl.DataFrame:
    """A bundle's rows of these instruments, per coin; the order of rows is kept within a feed."""
    pairs = pl.concat_str("feed", "symbol", separator=" ")
    price = pl.col("price") / pl.col("unit")
    return (
        kept.filter(pairs.is_in([" ".join(one) for one in units]))
        .select(
            "feed",
            pl.col("timestamp").cast(pl.Int64).alias("at_ns"),
            pl.col("received_at").cast(pl.Int64).alias("received_ns"),
            price.alias("price"),
            (pl.col("quantity") * pl.col("unit")).alias("coins"),
            (pl.col("price") * pl.col("quantity")).alias("quote"),
            (pl.col("side") == "buy").fill_null(value=False).alias("is_buy"),
            "symbol",
            "trade_id",
            ((pl.col("origin") == "stream") & pl.col("received_at").is_not_null()).alias("is_live"),
        )
        .cast(TRADE_SCHEMA)
        .sort("feed", "at_ns", maintain_order=True)
    )


def seconds_of(trades: pl.DataFrame, at_ns: int) -> pl.DataFrame:
    """Trades as 1-second bars."""
    return (
        trades.group_by("feed", ((pl.col("at_ns") - at_ns) // SECOND_NS).alias("second"))
        .agg(
            pl.col("price").first().alias("open"),
            pl.col("price").max().alias("high"),
            pl.col("price").min().alias("low"),
            pl.col("price").last().alias("close"),
            pl.col("coins").sum(),
            pl.len().alias("trades"),
            pl.col("coins").filter("is_buy").sum().alias("buy_coins"),
        )
        .cast(BAR_SCHEMA)
        .sort("feed", "second")
    )


def bars_of(bars: pl.DataFrame, units: dict[tuple[str, str], int], at_ns: int) -> pl.DataFrame:
    """The bundle's 1-second bars per coin; ``is_coin``: of the listed coin, by ``units``."""
    known = pl.DataFrame(
        [(*pair, unit, True) for pair, unit in units.items()],
        schema={"feed": pl.String, "symbol": pl.String, "unit": pl.Int64, "is_coin": pl.Boolean},
        orient="row",
    )
    unit = pl.col("unit").fill_null(1)
    prices = ("open", "high", "low", "close")
    return (
        bars.with_columns(feed=pl.concat_str("exchange", "market_type", separator="_"))
        .join(known, on=["feed", "symbol"], how="left", maintain_order="left")
        .select(
            "feed",
            ((pl.col("timestamp").cast(pl.Int64) - at_ns) // SECOND_NS).alias("second"),
            *((pl.col(name) / unit).alias(name) for name in prices),
            (pl.col("volume") * unit).alias("coins"),
            pl.col("trade_count").alias("trades"),
            (pl.col("buy_volume") * unit).alias("buy_coins"),
            "symbol",
            pl.col("is_coin").fill_null(value=False),
        )
        .cast(BAR_SCHEMA)
    )
