"""Listings that a person names: files in a folder, from the command line to the daemon.

The daemon owns the spool, so the command line cannot write the event itself. A file waits until a
daemon takes it, and is removed only when its event is on disk.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from pumpwatch.errors import PumpWatchError

FOLDER = "listing_requests"


class ListingRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A coin and the time of its announcement, ns since 1970 UTC."""

    symbol: str
    announced_ns: int
    note: str = ""


def put_request(data_dir: Path, request: ListingRequest) -> Path:
    """Leave a request for the daemon; returns its file, which the daemon removes."""
    folder = data_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{request.announced_ns}-{request.symbol}.json"
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(msgspec.json.encode(request))
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
    return path


def waiting_requests(data_dir: Path) -> list[Path]:
    """Files that wait, oldest announcement first."""
    return sorted((data_dir / FOLDER).glob("*.json"))


def read_request(path: Path) -> ListingRequest:
    """One file. Raises PumpWatchError for one that is no request; it is moved aside."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ListingRequest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        aside = path.with_suffix(".refused")
        os.replace(path, aside)
        raise PumpWatchError(
            f"{path.name}: no request for a listing ({error}): see {aside}"
        ) from None
