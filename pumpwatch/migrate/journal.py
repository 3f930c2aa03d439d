"""Which folders were imported, and with which content: an interrupted import goes on there."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pumpwatch.whole_file import write_whole


class Entry(msgspec.Struct, frozen=True):
    """A folder that was stored to its end."""

    digest: str  # of its files
    read: int
    stored: int
    repeated: int
    refused: int


class Journal:
    """``migrate/imported.json`` below data_dir, written anew after each folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[str, Entry] = {}
        if path.exists():
            self._entries = msgspec.json.decode(path.read_bytes(), type=dict[str, Entry])

    def find(self, folder: str, digest: str) -> Entry | None:
        """The entry of a folder that has not changed since."""
        entry = self._entries.get(folder)
        return entry if entry is not None and entry.digest == digest else None

    def note(self, folder: str, entry: Entry) -> None:
        """Raises OSError."""
        self._entries[folder] = entry
        write_whole(self._path, msgspec.json.format(msgspec.json.encode(self._entries), indent=1))
