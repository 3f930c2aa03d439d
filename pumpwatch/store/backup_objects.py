"""Contents by their sha256: each is stored once, compressed, and encrypted if there is a key.

Blocking: one call per file, in a thread. An object is put in place whole or not at all. The key
file is an age identity, so that `age --decrypt` opens an object (and zstd what comes out) without
PumpWatch.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import msgspec
import pyrage  # type: ignore[import-untyped]
import structlog
import zstandard

from pumpwatch.errors import ConfigError, DamagedBackupError
from pumpwatch.store.server import write_private

log = structlog.get_logger()

CHUNK_BYTES = 1 << 20
HOLE_BYTES_MIN = 64 * 1024
ZSTD_LEVEL = 3
FOLDER = "objects"
PART = ".part"
KEY_TAG_CHARACTERS = 8


OnContent = Callable[[int], None]  # bytes that are not all zeros were read, or written


def _nothing(content_bytes: int) -> None:
    """Nobody waits for it."""
    del content_bytes


def is_zeros(chunk: bytes) -> bool:
    """A comparison ends at the first byte that differs; counting holds up every other thread."""
    return chunk == bytes(len(chunk))


class Stored(msgspec.Struct, frozen=True):
    """What became of a file."""

    sha256: str
    size_bytes: int
    stored_bytes: int
    stored_sha256: str  # of the object's own bytes: some flips of zstd's head change nothing
    is_new: bool


class Key:
    """A key file: whoever has it reads the backups."""

    def __init__(self, text: str) -> None:
        self.identity = pyrage.x25519.Identity.from_str(text)
        self.recipient = self.identity.to_public()

    @property
    def public(self) -> str:
        """Safe to show; tells which key a backup needs."""
        return str(self.recipient)


def read_key(path: Path) -> Key:
    """The identity of a file as `backup key` or age-keygen writes it. Raises ConfigError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(f"backup.key_file = {path}: cannot be read: {error}") from None
    try:
        (text,) = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        return Key(text)
    except (ValueError, pyrage.IdentityError):
        raise ConfigError(
            f"backup.key_file = {path}: allowed: one line AGE-SECRET-KEY-1... (`pumpwatch backup"
            " key` makes such a file)"
        ) from None


def make_key(path: Path) -> Key:
    """Write a new key file, readable by its owner only. Raises ConfigError where one exists."""
    if path.exists():
        raise ConfigError(f"backup.key_file = {path}: exists, and is never overwritten")
    identity = pyrage.x25519.Identity.generate()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    public = identity.to_public()
    write_private(path, f"# public key: {public}\n{identity}\n")
    return read_key(path)


class Source(Protocol):
    """Where objects can be read from: this machine's folder, or the remote store."""

    def open(self, sha256: str) -> BinaryIO:
        """The stored bytes of an object. Raises DamagedBackupError where it is missing."""
        ...


class Objects:
    """The objects below a backup folder, for one key (or none)."""

    def __init__(self, folder: Path, key: Key | None) -> None:
        self.folder = folder / FOLDER
        self.key = key
        # Another key makes another object of the same content.
        tag = "" if key is None else hashlib.sha256(key.public.encode()).hexdigest()
        self.suffix = f".{tag[:KEY_TAG_CHARACTERS]}.zst.age" if key else ".zst"

    def relative(self, sha256: str) -> str:
        """Below the backup folder, and in the remote store."""
        return f"{FOLDER}/{sha256[:2]}/{sha256}{self.suffix}"

    def path(self, sha256: str) -> Path:
        """Where an object lies."""
        return self.folder / sha256[:2] / f"{sha256}{self.suffix}"

    def has(self, sha256: str, stored_bytes: int) -> bool:
        """Whether it lies here, as large as it was when it was stored."""
        try:
            return self.path(sha256).stat().st_size == stored_bytes
        except OSError:
            return False

    def open(self, sha256: str) -> BinaryIO:
        """As Source says."""
        path = self.path(sha256)
        try:
            return path.open("rb")
        except OSError as error:
            raise DamagedBackupError(f"object {path}: {error.strerror}") from None

    def put(self, file: Path, on_content: OnContent = _nothing) -> Stored:
        """Store a file's content. Raises OSError, FileNotFoundError where it has gone."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = self.folder / f"{os.getpid()}-{file.stat().st_ino}{PART}"
        try:
            with file.open("rb", buffering=0) as raw, part.open("xb") as out:
                reader, writer = HashingReader(raw, on_content), HashingWriter(out)
                with zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True).stream_reader(
                    cast("BinaryIO", reader), read_size=CHUNK_BYTES
                ) as packed:
                    if self.key is None:
                        while chunk := packed.read(CHUNK_BYTES):
                            writer.write(chunk)
                    else:
                        pyrage.encrypt_io(packed, writer, [self.key.recipient])
                out.flush()
                os.fsync(out.fileno())
            return self._place(part, reader, writer)
        finally:
            part.unlink(missing_ok=True)

    def _place(self, part: Path, content: HashingReader, packed: HashingWriter) -> Stored:
        """Put the part in place, unless a sound object of this content lies there already."""
        sha256 = content.hash.hexdigest()
        path = self.path(sha256)
        path.parent.mkdir(exist_ok=True, mode=0o700)
        if path.exists():
            try:
                known = read_object(self, self.key, sha256, HashingWriter(None))
            except DamagedBackupError as error:
                log.error("object_healed", object=sha256, reason=str(error))  # noqa: TRY400
            else:
                # age never writes the same bytes twice, and leaves nothing of a cut file readable.
                if self.key is not None or known.size_bytes == packed.size_bytes:
                    return Stored(
                        sha256, content.size_bytes, known.size_bytes, known.hash.hexdigest(), False
                    )
        part.replace(path)
        return Stored(sha256, content.size_bytes, packed.size_bytes, packed.hash.hexdigest(), True)

    def names(self) -> Iterator[tuple[str, Path]]:
        """Every object here, whatever its key."""
        for path in self.folder.glob("??/*"):
            yield path.name.split(".")[0], path

    def sweep(self, wanted: frozenset[str]) -> int:
        """Remove objects that no backup needs, and parts of unfinished ones; freed bytes."""
        gone = list(self.folder.glob(f"*{PART}"))
        gone += [path for sha256, path in self.names() if sha256 not in wanted]
        freed_bytes = 0
        for path in gone:
            freed_bytes += path.stat().st_size
            path.unlink()
        return freed_bytes


class Wanted(msgspec.Struct, frozen=True):
    """An object as a manifest describes it."""

    sha256: str
    size_bytes: int
    stored_sha256: str


def unpack(
    source: Source, key: Key | None, wanted: Wanted, target: Path, on_content: OnContent = _nothing
) -> None:
    """Write an object's content to a new file, its zeros as holes, and check every byte.

    Raises DamagedBackupError, naming the object, and OSError.
    """
    with target.open("xb") as out:
        sink = HashingWriter(out, on_content)
        stored = read_object(source, key, wanted.sha256, sink)
        out.truncate(sink.size_bytes)
    _compare(wanted, sink, stored)


def check_object(source: Source, key: Key | None, wanted: Wanted) -> None:
    """Read an object, and compare its bytes and its content. Raises DamagedBackupError."""
    sink = HashingWriter(None)
    _compare(wanted, sink, read_object(source, key, wanted.sha256, sink))


def _compare(wanted: Wanted, sink: HashingWriter, stored: HashingReader) -> None:
    found = Wanted(sink.hash.hexdigest(), sink.size_bytes, stored.hash.hexdigest())
    if found != wanted:
        raise DamagedBackupError(f"object {wanted.sha256}: it is not what was stored")


def read_object(source: Source, key: Key | None, sha256: str, sink: HashingWriter) -> HashingReader:
    """Unpack an object into ``sink``; returns what was read of it, to the last byte.

    Raises DamagedBackupError where its content is not that of its name.
    """
    try:
        with source.open(sha256) as file:
            packed = HashingReader(file)
            unpacker = zstandard.ZstdDecompressor().stream_writer(
                cast("BinaryIO", sink), write_size=CHUNK_BYTES
            )
            if key is None:
                while chunk := packed.read(CHUNK_BYTES):
                    unpacker.write(chunk)
            else:
                pyrage.decrypt_io(packed, unpacker, [key.identity])
    except (zstandard.ZstdError, pyrage.DecryptError, ValueError, OSError) as error:
        if sink.failure is not None:  # the disk that it is written to, not the object
            raise sink.failure from None
        raise DamagedBackupError(
            f"object {sha256}: cannot be read ({' '.join(str(error).split())}): damaged, or of"
            " another key"
        ) from None
    if sink.hash.hexdigest() != sha256:
        raise DamagedBackupError(f"object {sha256}: its content is another one")
    return packed


class HashingReader:
    """What zstandard reads from."""

    def __init__(self, file: BinaryIO, on_content: OnContent = _nothing) -> None:
        self._file = file
        self._on_content = on_content
        self.hash = hashlib.sha256()
        self.size_bytes = 0

    def read(self, size: int = -1) -> bytes:
        """As a file; counts and hashes."""
        chunk = self._file.read(size)
        self.hash.update(chunk)
        self.size_bytes += len(chunk)
        # Files that the server still writes to end in zeros, 16 MiB a column by default.
        if not is_zeros(chunk):
            self._on_content(len(chunk))
        return chunk


class HashingWriter:
    """What is written to a file, or only counted; whole blocks of zeros become holes."""

    def __init__(self, file: BinaryIO | None, on_content: OnContent = _nothing) -> None:
        self._file = file
        self._on_content = on_content
        self.hash = hashlib.sha256()
        self.size_bytes = 0
        self.failure: OSError | None = None

    def write(self, chunk: bytes) -> int:
        """As a file; counts and hashes. Raises OSError, and keeps it as ``failure``."""
        self.hash.update(chunk)
        self.size_bytes += len(chunk)
        if self._file is not None:
            try:
                if len(chunk) >= HOLE_BYTES_MIN and is_zeros(chunk):
                    self._file.seek(len(chunk), os.SEEK_CUR)
                else:
                    self._file.write(chunk)
                    self._on_content(len(chunk))
            except OSError as error:
                self.failure = error
                raise
        return len(chunk)

    def flush(self) -> None:
        """Nothing waits here."""
