"""A listing's bundle: rows streamed into a staged folder, proven, signed, put in place at once.

Blocking: it runs in a thread. However many rows a window has, only one piece of them is in memory.
docs/bundle.md describes what lies in the folder.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import polars as pl

from pumpwatch.listing import standalone_verify
from pumpwatch.listing.canonical import canonical_line
from pumpwatch.listing.certificate import Certificate
from pumpwatch.listing.events import ListingEvent
from pumpwatch.listing.evidence import NEAR_NS, SymbolRows, Window
from pumpwatch.listing.legacy_json import (
    RAW_BETWEEN,
    RAW_HEAD,
    RAW_TAIL,
    metadata,
    raw_trade,
)
from pumpwatch.listing.signing import Signer
from pumpwatch.moments import iso_ns
from pumpwatch.whole_file import sync_path

LAYOUT = 1
MANIFEST, CERTIFICATE, EVENT = "manifest.json", "certificate.json", "event.json"
TRADES, KEPT, BARS = "trades.parquet", "kept/trades.parquet", "kept/bars_1s.parquet"
FRAMES = "frames"
PIECES = ".pieces"  # rows on their way into one file
ROW_GROUP_ROWS = 100_000
READ_BYTES = 1 << 20
TEXTS = {  # what a stranger needs to check it
    "verify.py": Path(standalone_verify.__file__),
    "VERIFY.md": Path(__file__).with_name("VERIFY.md"),
}
SCHEMA: dict[str, Any] = {
    "timestamp": pl.Datetime("ns", "UTC"), "exchange": pl.String, "market_type": pl.String,
    "symbol": pl.String, "side": pl.String, "price": pl.Float64, "quantity": pl.Float64,
    "trade_id": pl.String, "sequence_number": pl.Int64, "received_at": pl.Datetime("ns", "UTC"),
    "origin": pl.String, "kind": pl.String, "venue_symbol": pl.String, "feed": pl.String,
    "unit": pl.Int64,
}  # fmt: skip
BARS_SCHEMA: dict[str, Any] = {
    "timestamp": pl.Datetime("ns", "UTC"), "exchange": pl.String, "market_type": pl.String,
    "symbol": pl.String, "open": pl.Float64, "high": pl.Float64, "low": pl.Float64,
    "close": pl.Float64, "volume": pl.Float64, "trade_count": pl.Int64, "buy_volume": pl.Float64,
}  # fmt: skip


def bundle_name(symbol: str, window: Window) -> str:
    """``AVA_20260131_130000``: the coin and the UTC second of the window's centre."""
    moment = iso_ns(window.at_ns)
    return f"{symbol}_{moment[:10].replace('-', '')}_{moment[11:19].replace(':', '')}"


class _RawFile:
    """One feed's list, written a row at a time; and the digest of its canonical lines."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("wb")
        self._file.write(RAW_HEAD)
        self._is_empty = True
        self.digest = hashlib.sha256()

    def add(self, row: Mapping[str, Any], trigger_ns: int) -> None:
        if not self._is_empty:
            self._file.write(RAW_BETWEEN)
        self._is_empty = False
        self._file.write(raw_trade(row, trigger_ns))
        self.digest.update(canonical_line(row))

    def close(self) -> None:
        if not self._file.closed:
            self._file.write(RAW_TAIL)
            self._file.close()


class BundleDraft:
    """A bundle that is being made in a folder of its own."""

    def __init__(
        self, folder: Path, event: ListingEvent, window: Window, feeds: Iterable[str],
        units: Mapping[tuple[str, str], int],
    ) -> None:  # fmt: skip
        """``units``: coins per base of every (feed, symbol) that is the coin. Raises OSError."""
        self.folder = folder
        self.event = event
        self.window = window
        self.units = units
        self.rows: dict[tuple[str, str], SymbolRows] = {key: SymbolRows() for key in units}
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("raw", "kept", PIECES):
            (folder / name).mkdir(parents=True, mode=0o755)
        self._raw = {name: _RawFile(folder / "raw" / f"{name}.json") for name in feeds}
        self._pieces = {TRADES: 0, KEPT: 0, BARS: 0}

    # --- rows -------------------------------------------------------------------------------------

    def add(self, frame: pl.DataFrame) -> None:
        """Rows of the coin in canonical order, of the window and of the kept span around it."""
        frame = self._complete(frame)
        self._piece(KEPT, frame)
        at = pl.col("timestamp").cast(pl.Int64)
        low_ns, high_ns = self.window.from_ns, self.window.to_ns
        is_near = (at >= low_ns - NEAR_NS) & (at < high_ns + NEAR_NS)
        self._note_around(frame.filter(~is_near))
        inside = frame.filter((at >= low_ns) & (at < high_ns))
        self._piece(TRADES, inside)
        times = [pl.col(name).cast(pl.Int64) for name in ("timestamp", "received_at")]
        for row in frame.filter(is_near).with_columns(times).iter_rows(named=True):
            tally = self.rows.get((row["feed"], row["symbol"]))
            if tally is None:
                continue
            tally.take(row, self.window)
            if low_ns <= row["timestamp"] < high_ns:
                self._raw[row["feed"]].add(row, self.window.at_ns)

    def add_other(self, frame: pl.DataFrame) -> None:
        """Rows of another coin (BTC, ETH) of the kept span."""
        self._piece(KEPT, self._complete(frame))

    def add_bars(self, frame: pl.DataFrame) -> None:
        """1-second bars."""
        self._piece(
            BARS, frame.select(pl.col(name).cast(kind) for name, kind in BARS_SCHEMA.items())
        )

    def _complete(self, frame: pl.DataFrame) -> pl.DataFrame:
        frame = frame.with_columns(
            feed=pl.concat_str("exchange", "market_type", separator="_").cast(pl.String)
        )
        if self.units:
            units = pl.DataFrame(
                [(*key, unit) for key, unit in self.units.items()],
                schema={"feed": pl.String, "symbol": pl.String, "unit": pl.Int64}, orient="row",
            )  # fmt: skip
            frame = frame.with_columns(pl.col("symbol").cast(pl.String)).join(
                units, on=["feed", "symbol"], how="left", maintain_order="left"
            )
        else:
            frame = frame.with_columns(unit=pl.lit(1))
        return frame.with_columns(pl.col("unit").fill_null(1)).select(
            pl.col(name).cast(kind) for name, kind in SCHEMA.items()
        )

    def _note_around(self, frame: pl.DataFrame) -> None:
        is_before = pl.col("timestamp").cast(pl.Int64) < self.window.from_ns
        number = pl.col("sequence_number")
        found = frame.group_by("feed", "symbol").agg(
            number.filter(is_before).max().alias("before"),
            number.filter(~is_before).min().alias("after"),
        )
        for feed, symbol, before, after in found.iter_rows():
            tally = self.rows.get((feed, symbol))
            if tally is not None:
                tally.note_around(before or 0, after or 0)

    def _piece(self, name: str, frame: pl.DataFrame) -> None:
        if len(frame):
            number = self._pieces[name]
            self._pieces[name] += 1
            path = self.folder / PIECES / f"{Path(name).as_posix().replace('/', '-')}-{number:06d}"
            frame.write_ipc(path)

    def end_rows(self) -> None:
        """All rows were added: write what was waiting in pieces."""
        for raw in self._raw.values():
            raw.close()
        for name, schema in ((TRADES, SCHEMA), (KEPT, SCHEMA), (BARS, BARS_SCHEMA)):
            pattern = f"{name.replace('/', '-')}-*"
            pieces = sorted((self.folder / PIECES).glob(pattern))
            _write_parquet(self.folder / name, pieces, schema)
        shutil.rmtree(self.folder / PIECES)

    def digests(self) -> dict[str, str]:
        """sha256 of each feed's canonical rows."""
        return {name: raw.digest.hexdigest() for name, raw in self._raw.items()}

    def prices_before(self) -> dict[str, float]:
        """The median price of one coin per feed in the hour before the window's centre."""
        at = pl.col("timestamp").cast(pl.Int64)
        coin = pl.struct("feed", "symbol").is_in([{"feed": f, "symbol": s} for f, s in self.units])
        found = (
            pl.scan_parquet(self.folder / KEPT)
            .filter(coin & (at < self.window.at_ns))
            .group_by("feed")
            .agg((pl.col("price") / pl.col("unit")).median())
            .collect()
        )
        return {str(feed): float(price) for feed, price in found.iter_rows()}

    def lags(self) -> dict[str, tuple[int, int]]:
        """Per feed the least and the median of received - traded in the window, in ns."""
        is_live = (pl.col("origin") == "stream") & pl.col("received_at").is_not_null()
        lag = (pl.col("received_at") - pl.col("timestamp")).dt.total_nanoseconds()
        found = (
            pl.scan_parquet(self.folder / TRADES)
            .filter(is_live)
            .group_by("feed")
            .agg(lag.min().alias("least"), lag.median().alias("median"))
            .collect()
        )
        return {str(feed): (int(least), int(median)) for feed, least, median in found.iter_rows()}

    # --- the folder -------------------------------------------------------------------------------

    def write_facts(self, certificate: Certificate, signer: Signer) -> None:
        """Everything but the report, the frames and the manifest."""
        folder, window = self.folder, self.window
        told = msgspec.to_builtins(self.event)
        for name in ("state", "collected_trades", "exchanges_with_data", "certificate", "revision"):
            del told[name]
        document = msgspec.json.encode({"event": told, "window": window})
        (folder / EVENT).write_bytes(msgspec.json.format(document) + b"\n")
        (folder / CERTIFICATE).write_bytes(signer.sign(certificate))
        (folder / "metadata.json").write_bytes(metadata(self.event, window.at_ns, window.to_ns))
        for name, source in TEXTS.items():
            shutil.copyfile(source, folder / name)

    def discard(self) -> None:
        """Leave nothing behind."""
        for raw in self._raw.values():
            raw.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _write_parquet(path: Path, pieces: list[Path], schema: Mapping[str, Any]) -> None:
    options: dict[str, Any] = {
        "compression": "zstd", "compression_level": 3, "row_group_size": ROW_GROUP_ROWS,
        "statistics": True,
    }  # fmt: skip
    if pieces:
        pl.scan_ipc(pieces, memory_map=False).sink_parquet(path, maintain_order=True, **options)
    else:
        pl.DataFrame(schema=schema).write_parquet(path, **options)


# --- manifest -------------------------------------------------------------------------------------


def files_below(folder: Path) -> list[str]:
    """Every file, as a path from the folder, in order."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def file_digest(path: Path) -> dict[str, Any]:
    """Bytes and sha256. Raises OSError."""
    whole, length = hashlib.sha256(), 0
    with path.open("rb") as file:
        while part := file.read(READ_BYTES):
            whole.update(part)
            length += len(part)
    return {"bytes": length, "sha256": whole.hexdigest()}


def seal(folder: Path, signer: Signer, name: str) -> None:
    """Write the signed manifest; the frames have one of their own. Raises OSError."""
    if (folder / FRAMES).is_dir():
        seal_frames(folder / FRAMES, signer, name)
    (folder / MANIFEST).unlink(missing_ok=True)
    listed = {
        one: file_digest(folder / one)
        for one in files_below(folder)
        if not one.startswith(f"{FRAMES}/")
    }
    content = {"layout": LAYOUT, "bundle": name, "part": "bundle", "files": listed}
    (folder / MANIFEST).write_bytes(signer.sign(content))


def seal_frames(frames: Path, signer: Signer, name: str) -> None:
    """Write the signed manifest of a bundle's frames. Raises OSError."""
    (frames / MANIFEST).unlink(missing_ok=True)
    listed = {one: file_digest(frames / one) for one in files_below(frames)}
    content = {"layout": LAYOUT, "bundle": name, "part": FRAMES, "files": listed}
    (frames / MANIFEST).write_bytes(signer.sign(content))


def put_in_place(staged: Path, place: Path, old: Path) -> None:
    """Make the staged folder the bundle; the one before goes to ``old``. Raises OSError.

    Between the two renames a crash leaves no bundle, and then the next start makes it again.
    """
    for one in [*staged.rglob("*"), staged]:
        sync_path(one)
    old.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        shutil.rmtree(old, ignore_errors=True)
        place.rename(old)
    staged.rename(place)
    sync_path(place.parent)
    sync_path(old.parent)
