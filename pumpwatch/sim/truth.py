"""The truth log: every trade that was delivered, as compact columns; texts are made on reading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from pumpwatch.sim.digits import uuid_texts, uuid_words
from pumpwatch.sim.market import Market
from pumpwatch.sim.tape import DELIVERED, WITHHELD

ROW = np.dtype(
    [("symbol", "u2"), ("row", "u4"), ("ns", "i8"), ("number", "i8"), ("sequence", "i8"),
     ("pool", "u4"), ("delivered", "u1")]
)  # fmt: skip
LATE = np.dtype([("symbol", "u2"), ("row", "u4"), ("sequence", "i8"), ("history", "u1")])
META_FILE = "truth.json"
SCHEMA = {
    "feed": pl.String, "symbol": pl.String, "venue_symbol": pl.String, "trade_id": pl.String,
    "exchange_ns": pl.Int64, "side": pl.String, "price": pl.String, "quantity": pl.String,
    "sequence_number": pl.Int64, "history": pl.Boolean,
}  # fmt: skip
SAME_ROW = ["symbol_index", "exchange_ns", "side", "price", "quantity"]


class TruthLog:
    """Writes what the markets traded; without a folder it only forgets."""

    def __init__(self, folder: Path | None, markets: list[Market]) -> None:
        self._folder = folder
        self._markets = markets
        self._files = 0
        self._entries = dict.fromkeys((market.name for market in markets), 0)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            meta = {market.name: _meta_of(market) for market in markets}
            text = json.dumps(meta, ensure_ascii=False)
            (folder / META_FILE).write_text(text, encoding="utf-8")

    def flush(self) -> dict[str, int]:
        """Write all trades whose fate is known; returns how many, and how many are on their way."""
        written = waiting = 0
        for market in self._markets:
            tape = market.tape
            ready = [batch for batch in tape.batches if not batch.open_chunks]
            tape.batches = [batch for batch in tape.batches if batch.open_chunks]
            waiting += sum(len(batch) for batch in tape.batches)
            late, tape.late = tape.late, []
            count = sum(len(batch) for batch in ready)
            written += count
            if self._folder is None or not (count or late):
                continue
            self._files += 1
            self._write_entries(market, self._folder)
            if late:
                name = f"{market.name}-late-{self._files:07d}.npy"
                np.save(self._folder / name, np.array(late, dtype=LATE))
            if count:
                rows = np.empty(count, dtype=ROW)
                for column in ROW.names or ():
                    rows[column] = np.concatenate([getattr(batch, column) for batch in ready])
                np.save(self._folder / f"{market.name}-rows-{self._files:07d}.npy", rows)
        return {"written": written, "waiting": waiting}

    def _write_entries(self, market: Market, folder: Path) -> None:
        first = self._entries[market.name]
        tape = market.tape
        if first == len(tape.entries):
            return
        self._entries[market.name] = len(tape.entries)
        lines = [
            f"{entry.side}\t{entry.price_text}\t{market.instruments[symbol].base_quantity(entry)}"
            f"\t{entry.trade_id}\n"
            for symbol, entry in zip(tape.entry_symbols[first:], tape.entries[first:], strict=True)
        ]
        with (folder / f"{market.name}-entries.tsv").open("a", encoding="utf-8") as file:
            file.writelines(lines)


def _meta_of(market: Market) -> dict[str, Any]:
    return {
        "ids": market.venue.id_kind,
        "symbols": [one.symbol for one in market.instruments],
        "venue_symbols": [one.venue_symbol for one in market.instruments],
        "keys": [int(key) for key in market.keys],
        "offsets": [int(offset) for offset in market.offsets],
    }


def load_truth(
    folder: Path | str, *, everything: bool = False, only: str | None = None
) -> pl.DataFrame:
    """What a truth folder holds, a row per trade, feed by feed in the order of trading.

    ``only``: this feed; a long run's truth is larger than memory.

    Price and quantity (base coins) are exact texts. ``history``: first delivered when older than an
    hour. ``everything`` adds trades that nobody got, and the columns ``delivered`` and ``withheld``
    (kept back on the stream on purpose, and told by nothing else since).
    """
    folder = Path(folder)
    meta = json.loads((folder / META_FILE).read_text(encoding="utf-8"))
    frames = [
        found
        for feed, facts in meta.items()
        if only in (None, feed)
        and (found := _load_feed(folder, feed, facts, everything)) is not None
    ]
    more = {"delivered": pl.Boolean, "withheld": pl.Boolean} if everything else {}
    schema = {**SCHEMA, **more}
    return pl.concat(frames) if frames else pl.DataFrame(schema=schema)


def _read(folder: Path, pattern: str, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    parts = [np.load(path) for path in sorted(folder.glob(pattern))]
    return np.concatenate(parts) if parts else np.empty(0, dtype=kind)


def _load_feed(
    folder: Path, feed: str, facts: dict[str, Any], everything: bool
) -> pl.DataFrame | None:
    rows = _read(folder, f"{feed}-rows-*.npy", ROW)
    if not len(rows):
        return None
    late = _read(folder, f"{feed}-late-*.npy", LATE)
    lines = (folder / f"{feed}-entries.tsv").read_text(encoding="utf-8").splitlines()
    entries = pl.DataFrame(
        [line.split("\t") for line in lines],
        schema=dict.fromkeys(("side", "price", "quantity", "own_id"), pl.String), orient="row",
    )  # fmt: skip
    frame = pl.DataFrame({name: rows[name] for name in ROW.names or ()}).with_columns(
        (pl.col("delivered") == DELIVERED).alias("delivered"),
        (pl.col("delivered") == WITHHELD).alias("withheld"),
    )
    frame = frame.hstack(entries[rows["pool"].astype(np.int64)])
    frame = frame.rename({"symbol": "symbol_index", "ns": "exchange_ns"})
    frame = frame.sort("symbol_index", "row")
    frame = _with_late(frame, late)
    frame = frame.with_columns(_ids(frame, facts).alias("trade_id"))
    if not everything:
        frame = frame.filter("delivered")
    names = ("symbols", "venue_symbols")
    symbols, venue_symbols = (pl.Series(facts[name], dtype=pl.String) for name in names)
    index = frame["symbol_index"].to_numpy()
    return frame.select(
        pl.lit(feed).alias("feed"),
        symbols[index].alias("symbol"),
        venue_symbols[index].alias("venue_symbol"),
        "trade_id", "exchange_ns", "side", "price", "quantity",
        pl.col("sequence").alias("sequence_number"),
        "history",
        *([pl.col("delivered"), pl.col("withheld") & ~pl.col("delivered")] if everything else []),
    )  # fmt: skip


def _with_late(frame: pl.DataFrame, late: npt.NDArray[Any]) -> pl.DataFrame:
    """Rows that a snapshot delivered first have its sequence."""
    if not len(late):
        return frame.with_columns(pl.lit(value=False).alias("history"))
    other = pl.DataFrame({name: late[name] for name in LATE.names or ()})
    other = other.rename({"symbol": "symbol_index", "sequence": "late_sequence"}).unique(
        ["symbol_index", "row"], keep="first", maintain_order=True
    )
    joined = frame.join(other, on=["symbol_index", "row"], how="left", maintain_order="left")
    is_late = pl.col("late_sequence").is_not_null()
    return joined.with_columns(
        pl.when(is_late).then("late_sequence").otherwise("sequence").alias("sequence"),
        (pl.col("delivered") | is_late).alias("delivered"),
        (pl.col("history").fill_null(0) != 0).alias("history"),
    ).drop("late_sequence")


def _ids(frame: pl.DataFrame, facts: dict[str, Any]) -> pl.Series:
    if facts["ids"] == "ordinal":
        ordinal = pl.int_range(pl.len()).over(SAME_ROW)
        return frame.select(
            pl.concat_str("side", "price", "quantity", ordinal.cast(pl.String), separator="-")
        ).to_series()
    index = frame["symbol_index"].to_numpy()
    if facts["ids"] == "uuid":
        keys = np.array(facts["keys"], dtype=np.uint64)[index]
        drawn = pl.Series(uuid_texts(uuid_words(keys, frame["row"].to_numpy())), dtype=pl.String)
    else:
        offsets = np.array(facts["offsets"], dtype=np.int64)[index]
        drawn = pl.Series(frame["number"].to_numpy() + offsets).cast(pl.String)
    has_own = frame["own_id"] != ""
    return frame["own_id"].zip_with(has_own, drawn)
