"""The copy elsewhere: the same folders and names in an object store (s3, gs, az, file).

Blocking: one call per object, in a thread. Because objects are named by their content, an upload
that was cut goes on with what is missing. Credentials come from the environment, as each store's
own tools take them (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, GOOGLE_..., AZURE_...), never from
our settings.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import unquote, urlsplit

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

from pumpwatch.errors import BackupError, DamagedBackupError
from pumpwatch.store.backup_manifest import State, unseal_manifest, unseal_state
from pumpwatch.store.backup_objects import FOLDER, Objects

if TYPE_CHECKING:
    from obstore.store import ObjectStore, RetryConfig

log = structlog.get_logger()

RETRIES_MAX = 5
RETRY_S_MAX = 120.0
PART_BYTES = 8 << 20  # larger objects go in parts
STATE_FILE = "state.json"
MANIFEST_FILE = "manifest.json"


class MissingObjectError(BackupError):
    """The store has no such object."""


class Remote:
    """One place at ``backup.remote_url``."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        try:
            self._store = _open(url)
        except (BaseError, ValueError, OSError) as error:
            raise BackupError(f"backup.remote_url = {url}: {_one_line(error)}") from None

    # --- up ---------------------------------------------------------------------------------------

    def upload_object(self, objects: Objects, sha256: str, sizes: dict[str, int]) -> bool:
        """Put one object there if it is not; False: it was there. Raises BackupError.

        ``sizes``: what lies there already, as ``sizes()`` told. Size and checksum are compared
        with what the store then gives back.
        """
        key, path = objects.relative(sha256), objects.path(sha256)
        if sizes.get(key) == path.stat().st_size:
            return False
        self._put(key, path)
        with path.open("rb") as file:
            wanted = hashlib.file_digest(file, "sha256").hexdigest()
        found = hashlib.sha256()
        for chunk in self._chunks(key):
            found.update(chunk)
        if found.hexdigest() != wanted:
            self._delete([key])
            raise BackupError(f"{self.url}/{key}: it is not what was sent; it was taken away")
        sizes[key] = path.stat().st_size
        return True

    def upload_file(self, name: str, path: Path) -> None:
        """Put one of a backup's own files there (manifest, state). Raises BackupError."""
        key = f"{name}/{path.name}"
        self._put(key, path)
        if b"".join(self._chunks(key)) != path.read_bytes():
            raise BackupError(f"{self.url}/{key}: it is not what was sent")

    def _put(self, key: str, path: Path) -> None:
        try:
            obstore.put(self._store, key, path, chunk_size=PART_BYTES)
        except (BaseError, OSError) as error:
            raise BackupError(f"{self.url}/{key}: cannot be stored: {_one_line(error)}") from None

    # --- down -------------------------------------------------------------------------------------

    def sizes(self) -> dict[str, int]:
        """Every object there and its bytes. Raises BackupError."""
        found: dict[str, int] = {}
        try:
            for batch in obstore.list(self._store, prefix=FOLDER):
                found |= {str(meta["path"]): int(meta["size"]) for meta in batch}
        except (BaseError, OSError) as error:
            raise BackupError(f"{self.url}: cannot be listed: {_one_line(error)}") from None
        return found

    def states(self) -> list[State]:
        """Of the backups there; one that cannot be read is said so, and left out."""
        try:
            names = obstore.list_with_delimiter(self._store)["common_prefixes"]
        except (BaseError, OSError) as error:
            raise BackupError(f"{self.url}: cannot be listed: {_one_line(error)}") from None
        found = []
        for name in sorted(str(name).rstrip("/") for name in names):
            if name != FOLDER:
                key = f"{name}/{STATE_FILE}"
                try:
                    found.append(unseal_state(self.read(key), f"{self.url}/{key}"))
                except MissingObjectError:
                    continue  # an upload that was cut: the state goes last
                except BackupError as error:
                    log.warning("remote_backup_unreadable", name=name, message=str(error))
        return found

    def read(self, key: str) -> bytes:
        """A small file as a whole. Raises BackupError."""
        return b"".join(self._chunks(key))

    def _chunks(self, key: str) -> Iterator[bytes]:
        try:
            for chunk in obstore.get(self._store, key).stream():
                yield bytes(chunk)
        except FileNotFoundError:
            raise MissingObjectError(f"{self.url}/{key}: is not there") from None
        except (BaseError, OSError) as error:
            raise BackupError(f"{self.url}/{key}: cannot be read: {_one_line(error)}") from None

    def source(self, objects: Objects) -> RemoteSource:
        """Where a restore reads objects from."""
        return RemoteSource(self, objects)

    # --- away -------------------------------------------------------------------------------------

    def remove_backup(self, name: str) -> None:
        """Take a backup's own files away, its state first: then it is none. Raises BackupError."""
        self._delete([f"{name}/{STATE_FILE}"])
        self._delete([f"{name}/{MANIFEST_FILE}"])

    def sweep(self, names: Iterable[str]) -> int:
        """Take objects away that none of these backups needs; how many. Raises BackupError."""
        wanted: set[str] = set()
        for name in names:
            key = f"{name}/{MANIFEST_FILE}"
            wanted |= unseal_manifest(self.read(key), f"{self.url}/{key}").objects().keys()
        gone = [key for key in self.sizes() if object_of(key) not in wanted]
        self._delete(gone)
        return len(gone)

    def _delete(self, keys: Iterable[str]) -> None:
        paths = list(keys)
        if not paths:
            return
        try:
            obstore.delete(self._store, paths)
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise BackupError(f"{self.url}: cannot be cleaned: {_one_line(error)}") from None


class RemoteSource:
    """Reads objects over the network (backup_objects.Source)."""

    def __init__(self, remote: Remote, objects: Objects) -> None:
        self._remote = remote
        self._objects = objects

    def open(self, sha256: str) -> BinaryIO:
        """Its stored bytes as they come."""
        key = self._objects.relative(sha256)
        return cast("BinaryIO", io.BufferedReader(_Stream(self._remote._chunks(key), sha256)))


class _Stream(io.RawIOBase):
    """Chunks as a file."""

    def __init__(self, chunks: Iterator[bytes], sha256: str) -> None:
        self._chunks = chunks
        self._left = memoryview(b"")
        self._sha256 = sha256

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            while not self._left:
                self._left = memoryview(next(self._chunks))
        except StopIteration:
            return 0
        except BackupError as error:
            raise DamagedBackupError(f"object {self._sha256}: {error}") from None
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size


def object_of(key: str) -> str:
    """The sha256 in an object's place."""
    return key.rpartition("/")[2].split(".")[0]


def _open(url: str) -> ObjectStore:
    parts = urlsplit(url)
    if parts.scheme == "file":
        return LocalStore(unquote(parts.path), mkdir=True)
    retry: RetryConfig = {
        "max_retries": RETRIES_MAX,
        "retry_timeout": timedelta(seconds=RETRY_S_MAX),
    }
    if parts.scheme == "s3":
        # Plain http is for stores in one's own network; the environment names their address.
        return S3Store.from_url(url, retry_config=retry, client_options={"allow_http": True})
    if parts.scheme == "gs":
        return GCSStore.from_url(url, retry_config=retry)
    return AzureStore.from_url(url, retry_config=retry)


def _one_line(error: BaseException) -> str:
    text = str(error).partition("Debug source:")[0]
    return " ".join(text.split())[:300] or type(error).__name__
