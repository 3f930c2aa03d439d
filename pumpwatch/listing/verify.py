"""Checks a bundle, offline: by its own verify.py, its Parquet rows, and whose key it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from pumpwatch.errors import BundleError
from pumpwatch.listing import standalone_verify
from pumpwatch.listing.bundle import CERTIFICATE, TRADES
from pumpwatch.listing.canonical import number_text
from pumpwatch.listing.certificate import Certificate
from pumpwatch.listing.signing import KEY_HEX, PUBLIC_KEY_FILE, read_signed

FIELDS = ("timestamp", "exchange", "market_type", "symbol", "trade_id", "side", "price",
          "quantity", "sequence_number")  # fmt: skip


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was found."""

    bundle: str
    faults: list[str]
    key: str = ""  # that signed it
    is_own_key: bool | None = None  # None: there is none to compare with
    certificate: Certificate | None = None

    @property
    def is_sound(self) -> bool:
        """Nothing was changed since it was signed."""
        return not self.faults


def read_certificate(folder: Path) -> tuple[Certificate, str]:
    """A bundle's certificate and the key that signed it. Raises BundleError."""
    path = folder / CERTIFICATE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{folder}: no bundle: {error}") from None
    signed = read_signed(data, str(path))
    try:
        return msgspec.convert(signed["content"], Certificate), signed["key"]
    except msgspec.ValidationError as error:
        raise BundleError(f"{path}: another version's certificate: {error}") from None


def own_key(data_dir: Path) -> str:
    """The public key of this installation; "": it has made none yet."""
    try:
        text = (data_dir / PUBLIC_KEY_FILE).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return text if KEY_HEX.fullmatch(text) else ""


def verify_bundle(folder: Path, *, key_hex: str = "", own_key_hex: str = "") -> Verdict:
    """Check all of it; ``key_hex``: the key that must have signed it. Blocking.

    Raises BundleError where the folder holds no certificate that can be read.
    """
    faults = standalone_verify.check(folder, key_hex or None)
    try:
        certificate, key = read_certificate(folder)
    except BundleError as error:
        if not (folder / CERTIFICATE).exists():
            raise
        return Verdict(bundle=str(folder), faults=faults or [str(error)])
    if not faults:
        faults = _parquet_faults(folder, certificate)
    is_own = key == own_key_hex if own_key_hex else None
    return Verdict(
        bundle=str(folder), faults=faults, key=key, is_own_key=is_own, certificate=certificate
    )


def _parquet_faults(folder: Path, certificate: Certificate) -> list[str]:
    """Whether trades.parquet has the rows of raw/, feed by feed."""
    faults = []
    for proof in certificate.feeds:
        rows = (
            pl.scan_parquet(folder / TRADES)
            .filter(pl.col("feed") == proof.feed)
            .select(pl.col("timestamp").cast(pl.Int64), *FIELDS[1:])
            .collect()
        )
        told = standalone_verify.read_rows(folder / "raw" / f"{proof.feed}.json")
        same = len(rows) == proof.rows and all(
            row == _raw_fields(other) for row, other in zip(_texts(rows), told, strict=True)
        )
        if not same:
            faults.append(f"{proof.feed}: {TRADES} has other rows than raw/")
    return faults


def _texts(rows: pl.DataFrame) -> list[tuple[Any, ...]]:
    return [
        (*row[:6], number_text(row[6]), number_text(row[7]), row[8]) for row in rows.iter_rows()
    ]


def _raw_fields(row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["timestamp_ns"], *(row[name] for name in FIELDS[1:]))
