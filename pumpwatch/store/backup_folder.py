"""The backup folder of this machine: one folder per backup beside the objects they share. Blocking.

objects/ab/ab12….zst     contents, by their sha256
20260131T031000Z/        manifest.json (never changes), state.json
scratch/                 while a backup is tested
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import structlog

from pumpwatch.errors import BackupError, DamagedBackupError
from pumpwatch.store.backup_manifest import (
    BROKEN,
    RUNNING,
    Manifest,
    State,
    seal,
    unseal_manifest,
    unseal_state,
)
from pumpwatch.store.backup_objects import Objects
from pumpwatch.store.backup_remote import MANIFEST_FILE, STATE_FILE
from pumpwatch.store.partitions import NS_PER_S
from pumpwatch.whole_file import sync_path

log = structlog.get_logger()

NAME = re.compile(r"\d{8}T\d{6}Z(-\d+)?")
SCRATCH = "scratch"


class BackupFolder:
    """Reads and writes what stands there."""

    def __init__(self, folder: Path, objects: Objects) -> None:
        self.folder = folder
        self.objects = objects

    @property
    def scratch(self) -> Path:
        """Where a scratch server's data_dir is made."""
        return self.folder / SCRATCH

    def new_name(self, now_ns: int) -> str:
        """By the second, in UTC; a second one of the same second gets a number."""
        name = datetime.fromtimestamp(now_ns // NS_PER_S, UTC).strftime("%Y%m%dT%H%M%SZ")
        for number in range(1, 1000):
            candidate = name if number == 1 else f"{name}-{number}"
            if not (self.folder / candidate).exists():
                return candidate
        raise BackupError(f"{self.folder}: too many backups of the same second")

    def states(self) -> list[State]:
        """Of all backups here, oldest first; one that cannot be read counts as broken."""
        found = []
        for path in self.folder.glob("*"):
            if NAME.fullmatch(path.name) and path.is_dir():
                try:
                    found.append(self.state(path.name))
                except BackupError as error:
                    found.append(_unreadable(path, str(error)))
        return sorted(found, key=lambda state: (state.created_ns, state.name))

    def state(self, name: str) -> State:
        """Of one backup. Raises BackupError where there is none, or it is damaged."""
        return unseal_state(self._read(name, STATE_FILE), f"{self.folder / name / STATE_FILE}")

    def manifest(self, name: str) -> Manifest:
        """Of one backup. Raises BackupError."""
        place = f"{self.folder / name / MANIFEST_FILE}"
        data = self._read(name, MANIFEST_FILE)
        wanted = self.state(name).manifest_sha256
        if hashlib.sha256(data).hexdigest() != wanted:
            raise DamagedBackupError(f"{place}: is not the one that was written")
        return unseal_manifest(data, place)

    def _read(self, name: str, file: str) -> bytes:
        if NAME.fullmatch(name) is None or not (self.folder / name).is_dir():
            raise BackupError(
                f"no backup {name} in {self.folder}: `pumpwatch backup list` shows what there is"
            )
        try:
            return (self.folder / name / file).read_bytes()
        except OSError as error:
            raise DamagedBackupError(
                f"{self.folder / name / file}: cannot be read: {error.strerror}"
            ) from None

    def write_state(self, state: State) -> None:
        """Put it in place, to the disk. Raises OSError."""
        self._write(state.name, STATE_FILE, seal(state))

    def write_manifest(self, manifest: Manifest) -> str:
        """Put it in place; returns the sha256 that the state must name. Raises OSError."""
        data = seal(manifest)
        self._write(manifest.name, MANIFEST_FILE, data)
        return hashlib.sha256(data).hexdigest()

    def _write(self, name: str, file: str, data: bytes) -> None:
        place = self.folder / name
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = place / f".{file}.part"
        with part.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        part.replace(place / file)
        for folder in (place, self.folder):
            sync_path(folder)

    # --- away -------------------------------------------------------------------------------------

    def remove(self, name: str) -> None:
        """Take a backup away; its objects go with the next sweep. Raises OSError."""
        place = self.folder / name
        (place / STATE_FILE).unlink(missing_ok=True)  # first: then it is none
        shutil.rmtree(place, ignore_errors=False)

    def remove_unfinished(self) -> list[str]:
        """Those that say they run; the caller has the lock, so none of them does."""
        gone = [state.name for state in self.states() if state.state == RUNNING]
        gone += [
            path.name
            for path in self.folder.glob("*")
            if NAME.fullmatch(path.name) and not (path / STATE_FILE).exists()
        ]
        for name in gone:
            self.remove(name)
        return gone

    def sweep(self) -> int:
        """Remove objects that no backup needs; freed bytes. Raises OSError.

        A manifest that is damaged needs nothing any more: it cannot be restored.
        """
        wanted: set[str] = set()
        for state in self.states():
            try:
                wanted |= self.manifest(state.name).objects().keys()
            except DamagedBackupError as error:
                log.error("backup_manifest_damaged", name=state.name, message=str(error))  # noqa: TRY400
            except BackupError as error:  # of another format: it is not ours to judge
                log.warning("sweep_skipped", message=str(error))
                return 0
        return self.objects.sweep(frozenset(wanted))

    def condemn(self, damaged: dict[str, str]) -> list[str]:
        """Remove damaged objects, and call every backup that needs one broken; their names.

        The next backup then stores these contents anew, where the database still has them.
        ``damaged``: object -> what is wrong.
        """
        broken = []
        for state in self.states():
            try:
                needed = self.manifest(state.name).objects()
            except BackupError:
                continue
            found = [text for sha256, text in damaged.items() if sha256 in needed]
            if found:
                state.state, state.error = BROKEN, found[0]
                self.write_state(state)
                broken.append(state.name)
        for sha256 in damaged:
            self.objects.path(sha256).unlink(missing_ok=True)
        return broken


def _unreadable(path: Path, error: str) -> State:
    moment = datetime.strptime(path.name[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return State(
        name=path.name, state=BROKEN, created_ns=int(moment.timestamp()) * NS_PER_S, error=error
    )
