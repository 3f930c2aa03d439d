"""What the detectors must remember across restarts, and its file: replaced as a whole, or not.

The table listing_events knows the events too. The file knows in addition which notices were no
listings, so that a restart neither takes an old notice for a new one nor a new one for an old.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from pumpwatch.errors import PumpWatchError
from pumpwatch.listing.events import ListingEvent
from pumpwatch.whole_file import sync_path

FILE_VERSION = 1


class SeenNotice(msgspec.Struct, kw_only=True):
    """A notice that was seen once."""

    notice_id: str  # the one in its events' keys, whichever channel came first
    aliases: list[str]
    channels: list[str]  # which have shown it
    published_ns: int
    edited_ns: int
    text_ns: int = 0  # the edit whose text was asked for
    symbols: list[str] = []  # what its title announced when it was last read


class SourceMemory(msgspec.Struct, kw_only=True):
    """One board. Times are ns since 1970 UTC; 0: never."""

    since_ns: int = 0  # the first look: what was edited into the list from before it is no news
    floor_ns: int = 0  # the first look reached down to here; what sorts below it was there already
    looked_ns: int = 0  # the last good look was asked then
    views: list[str] = []  # the lists that were seen once
    notices: list[SeenNotice] = []


class MarketMemory(msgspec.Struct, kw_only=True):
    """One market list; ``coins`` None: never seen."""

    coins: list[str] | None = None
    looked_ns: int = 0


class Memory(msgspec.Struct, kw_only=True):
    """Everything."""

    version: int = FILE_VERSION
    boards: dict[str, SourceMemory] = {}
    markets: dict[str, MarketMemory] = {}
    events: list[ListingEvent] = []


class MemoryFile:
    """The file on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> Memory | None:
        """What was saved last; None where nothing was.

        Raises PumpWatchError for a file that cannot be read; it is moved aside, for whoever wants
        to know, and the next call returns None.
        """
        try:
            memory = msgspec.json.decode(self.path.read_bytes(), type=Memory)
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            aside = self.path.with_suffix(".damaged")
            os.replace(self.path, aside)
            raise PumpWatchError(
                f"{self.path}: damaged ({error}); moved to {aside.name}, and the boards are seen as"
                " for the first time: a listing of the last minutes may need `listings add`"
            ) from None
        if memory.version > FILE_VERSION:
            raise PumpWatchError(
                f"{self.path}: written by a newer PumpWatch (version {memory.version}, this one"
                f" knows {FILE_VERSION}): run that one"
            )
        return memory

    def save(self, encoded: bytes) -> None:
        """Put ``encode(memory)`` in place, where a power cut leaves it. Blocking."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(encoded)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self.path)
        sync_path(self.path.parent)


def encode(memory: Memory) -> bytes:
    """The file's content."""
    return msgspec.json.encode(memory)
