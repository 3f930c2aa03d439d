"""An event's folder of the original, on disk: which files it has, of which event and feed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from pumpwatch.errors import UsageError
from pumpwatch.migrate.legacy import EXCHANGES, MARKET_TYPES

FOLDER_NAME = re.compile(r"(?P<symbol>[^\s_/]{1,40})_(?P<day>\d{8})_(?P<clock>\d{6})")
METADATA = "metadata.json"
RAW = "raw"
MS_NS = 1_000_000
EPOCH_UTC = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class RawFile(msgspec.Struct, frozen=True):
    """A file with the trades of one feed."""

    path: Path
    exchange: str
    market_type: str


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What the original wrote of an event; both generations of its field names."""

    symbol: str = ""
    title: str = ""
    url: str = ""
    markets: tuple[str, ...] = ()
    announced_ns: int = 0
    detected_ns: int = 0
    problem: str = ""  # why there is none


class EventFolder(msgspec.Struct, frozen=True, kw_only=True):
    """A folder, not read yet but for its metadata."""

    path: Path
    symbol: str  # of the folder's name
    metadata: Metadata
    files: tuple[RawFile, ...]
    strangers: tuple[str, ...]  # files below raw/ that belong to no feed

    @property
    def name(self) -> str:
        """Unique among siblings: the event's id."""
        return self.path.name

    def digest(self) -> str:
        """Of names and contents: what was imported is known again. Raises OSError."""
        whole = hashlib.sha256()
        for path in [self.path / METADATA, *(file.path for file in self.files)]:
            if path.exists():
                whole.update(str(path.relative_to(self.path)).encode() + b"\0")
                whole.update(hashlib.sha256(path.read_bytes()).digest())
        return whole.hexdigest()


def find_folders(root: Path) -> list[EventFolder]:
    """Event folders at ``root`` or right below it. Raises UsageError where there are none."""
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder; name the original's data folder or one event's")
    found = [one for one in [root, *sorted(root.iterdir())] if _is_event(one)]
    if not found:
        raise UsageError(
            f"{root}: no event folder in it; they are named SYMBOL_YYYYMMDD_HHMMSS and have a"
            " folder raw"
        )
    return [_open(one) for one in found]


def _is_event(path: Path) -> bool:
    return FOLDER_NAME.fullmatch(path.name) is not None and (path / RAW).is_dir()


def _open(path: Path) -> EventFolder:
    match = FOLDER_NAME.fullmatch(path.name)
    assert match is not None
    files, strangers = [], []
    for one in sorted(p for p in (path / RAW).rglob("*") if p.is_file()):
        feed = _feed_of(one.relative_to(path / RAW))
        if feed is None:
            strangers.append(str(one.relative_to(path)))
        else:
            files.append(RawFile(one, *feed))
    return EventFolder(
        path=path, symbol=match["symbol"].upper(), metadata=read_metadata(path / METADATA),
        files=tuple(files), strangers=tuple(strangers),
    )  # fmt: skip


def _feed_of(below_raw: Path) -> tuple[str, str] | None:
    """``okx/spot.json`` and ``okx_spot.json`` -> ("okx", "spot")."""
    parts = (*below_raw.parent.parts, *below_raw.stem.split("_"))
    if below_raw.suffix != ".json" or len(parts) != 2:
        return None
    exchange, market_type = parts
    is_feed = exchange in EXCHANGES and market_type in MARKET_TYPES
    return (exchange, market_type) if is_feed else None


def read_metadata(path: Path) -> Metadata:
    """Never raises: an event without it is imported all the same, and says so."""
    try:
        told = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as error:
        return Metadata(problem=f"{METADATA}: {error}")
    markets = told.get("markets")
    return Metadata(
        symbol=_text(told, "symbol").upper(),
        title=_text(told, "title", "notice_title"),
        url=_text(told, "notice_url"),
        markets=tuple(str(one) for one in markets) if isinstance(markets, list) else (),
        announced_ns=next(_moments(told, "announced_at", "trigger_time", "listing_time"), 0),
        detected_ns=next(_moments(told, "detected_at", "created_at"), 0),
    )


def _text(told: dict[str, Any], *names: str) -> str:
    return next((value for name in names if isinstance(value := told.get(name), str)), "")


def _moments(told: dict[str, Any], *names: str) -> Iterator[int]:
    """Times as ns since 1970: RFC 3339 text with its zone, or milliseconds."""
    for name in names:
        value = told.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            yield value * MS_NS
        elif isinstance(value, str) and (moment_ns := rfc3339_ns(value)) > 0:
            yield moment_ns


RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII
)


def rfc3339_ns(text: str) -> int:
    """``2025-09-22T13:50:00.5+09:00`` as ns since 1970 UTC; 0 where it is none, or before 1970."""
    match = RFC3339.fullmatch(text)
    if match is None:
        return 0
    second, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(second + ("+00:00" if zone == "Z" else zone))
    except ValueError:
        return 0
    seconds = int((moment - EPOCH_UTC).total_seconds())
    return max(seconds * 10**9 + int((fraction or "").ljust(9, "0")), 0)
