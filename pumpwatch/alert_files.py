"""The alerts' folder, data_dir/alerts: what outlives a restart, silences, history."""

from __future__ import annotations

from pathlib import Path

import msgspec
import structlog

from pumpwatch.alert_book import Memory, Message
from pumpwatch.whole_file import write_whole

log = structlog.get_logger()

FOLDER = "alerts"
HISTORY_BYTES_MAX = 4 * 2**20  # then it becomes history.old.jsonl, and the older one goes


class Delivery(msgspec.Struct, kw_only=True):
    """One message that one target has not taken yet."""

    message: Message
    target: str  # the target's name (a digest of its URL: the URL holds secrets)
    tries: int = 0
    next_ns: int = 0
    error: str = ""


class Kept(msgspec.Struct, kw_only=True):
    """state.json."""

    memory: Memory
    outbox: list[Delivery] = []


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the history."""

    at_ns: int
    kind: str
    severity: str
    rule: str
    subject: str
    title: str
    body: str


class AlertFiles:
    """Reads and writes them; blocking, small."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / FOLDER
        self._state = self._folder / "state.json"
        self._silences = self._folder / "silences.json"
        self._history = self._folder / "history.jsonl"
        self._silences_seen: tuple[int, dict[str, int]] = (-1, {})

    def read_state(self) -> Kept:
        """What an earlier run left; a file that cannot be read is said and begun anew."""
        try:
            return msgspec.json.decode(self._state.read_bytes(), type=Kept)
        except FileNotFoundError:
            pass
        except (OSError, msgspec.DecodeError) as error:
            log.warning("alert_state_unreadable", file=str(self._state), error=str(error))
        return Kept(memory=Memory())

    def write_state(self, kept: Kept) -> None:
        """Keep it. Raises OSError."""
        write_whole(self._state, msgspec.json.encode(kept))

    def silences(self) -> dict[str, int]:
        """Rule, or rule/subject -> until when (ns)."""
        try:
            changed_ns = self._silences.stat().st_mtime_ns
            if changed_ns != self._silences_seen[0]:
                found = msgspec.json.decode(self._silences.read_bytes(), type=dict[str, int])
                self._silences_seen = (changed_ns, found)
        except FileNotFoundError:
            self._silences_seen = (-1, {})
        except (OSError, msgspec.DecodeError) as error:
            log.warning("silences_unreadable", file=str(self._silences), error=str(error))
        return self._silences_seen[1]

    def silence(self, name: str, until_ns: int, now_ns: int) -> None:
        """Silence a rule (or rule/subject); until_ns in the past ends it. Raises OSError."""
        kept = {key: until for key, until in self.silences().items() if until > now_ns}
        kept.pop(name, None)
        if until_ns > now_ns:
            kept[name] = until_ns
        write_whole(self._silences, msgspec.json.encode(kept))

    def note(self, messages: list[Message]) -> None:
        """Append to the history. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._history.exists() and self._history.stat().st_size > HISTORY_BYTES_MAX:
            self._history.replace(self._history.with_suffix(".old.jsonl"))
        with self._history.open("ab") as file:
            for message in messages:
                file.write(msgspec.json.encode(message) + b"\n")

    def history(self, limit: int) -> list[Entry]:
        """The newest entries, newest first."""
        found: list[Entry] = []
        for path in (self._history, self._history.with_suffix(".old.jsonl")):
            if not path.exists():
                continue
            for line in reversed(path.read_bytes().splitlines()):
                if len(found) >= limit:
                    return found
                try:
                    found.append(msgspec.json.decode(line, type=Entry))
                except msgspec.DecodeError:
                    continue  # the last line of a crash
        return found
