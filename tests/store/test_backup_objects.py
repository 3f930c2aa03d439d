"""Objects: stored once, read back whole, every changed byte found; with and without a key."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from pumpwatch.errors import ConfigError, DamagedBackupError
from pumpwatch.store.backup_objects import (
    CHUNK_BYTES,
    HashingWriter,
    Key,
    Objects,
    Stored,
    Wanted,
    check_object,
    make_key,
    read_key,
    read_object,
    unpack,
)

MIB = 1 << 20
SIZES = (0, 1, 1000, MIB, 3 * MIB + 17)


@pytest.fixture(params=["plain", "encrypted"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    key = make_key(tmp_path / "key") if request.param == "encrypted" else None
    return Objects(tmp_path / "backups", key)


def content(size: int) -> bytes:
    """Half noise, half zeros."""
    return os.urandom(size // 2) + bytes(size - size // 2)


def put(objects: Objects, tmp_path: Path, data: bytes, name: str = "file") -> Stored:
    (tmp_path / name).write_bytes(data)
    return objects.put(tmp_path / name)


def wanted(stored: Stored) -> Wanted:
    return Wanted(stored.sha256, stored.size_bytes, stored.stored_sha256)


@pytest.mark.parametrize("size", SIZES)
def test_a_content_comes_back_and_is_stored_once(
    objects: Objects, tmp_path: Path, size: int
) -> None:
    data = content(size)
    first = put(objects, tmp_path, data)
    again = put(objects, tmp_path, data, "other")
    assert (first.is_new, again.is_new) == (True, False)
    assert again.stored_sha256 == first.stored_sha256
    assert len(list(objects.names())) == 1
    unpack(objects, objects.key, wanted(first), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data
    assert objects.has(first.sha256, first.stored_bytes)
    assert not objects.has(first.sha256, first.stored_bytes + 1)


@pytest.mark.parametrize("size", SIZES)
def test_twenty_of_twenty_changed_bytes_are_found(
    objects: Objects, tmp_path: Path, size: int
) -> None:
    stored = put(objects, tmp_path, content(size))
    path = objects.path(stored.sha256)
    sound = path.read_bytes()
    rng = random.Random(size)
    for _ in range(20):
        damaged = bytearray(sound)
        damaged[rng.randrange(len(sound))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(DamagedBackupError, match=stored.sha256):
            check_object(objects, objects.key, wanted(stored))
    path.write_bytes(sound[: len(sound) // 2])
    with pytest.raises(DamagedBackupError):
        check_object(objects, objects.key, wanted(stored))
    path.unlink()
    with pytest.raises(DamagedBackupError, match="No such file"):
        check_object(objects, objects.key, wanted(stored))


def test_a_damaged_object_is_replaced_by_a_sound_one(objects: Objects, tmp_path: Path) -> None:
    data = content(5000)
    path = objects.path(put(objects, tmp_path, data).sha256)
    path.write_bytes(path.read_bytes()[:-7])
    stored = put(objects, tmp_path, data)
    assert stored.is_new
    check_object(objects, objects.key, wanted(stored))


def test_zeros_take_no_room_when_they_are_unpacked(objects: Objects, tmp_path: Path) -> None:
    stored = put(objects, tmp_path, bytes(16 * MIB))
    assert stored.stored_bytes < 10_000
    unpack(objects, objects.key, wanted(stored), tmp_path / "out")
    stat = (tmp_path / "out").stat()
    assert (stat.st_size, stat.st_blocks) == (16 * MIB, 0)


def test_nothing_is_readable_without_the_key(tmp_path: Path) -> None:
    secret = b"BTCUSDT" * 100
    objects = Objects(tmp_path / "backups", make_key(tmp_path / "key"))
    stored = put(objects, tmp_path, secret)
    assert objects.path(stored.sha256).read_bytes().startswith(b"age-encryption.org/v1")
    other = make_key(tmp_path / "other")
    with pytest.raises(DamagedBackupError, match="of another key"):
        check_object(objects, other, wanted(stored))
    # With another key it is another object: both can be read by whom they are for.
    theirs = Objects(tmp_path / "backups", other)
    assert put(theirs, tmp_path, secret).is_new
    check_object(objects, objects.key, wanted(stored))


def test_a_key_file_is_private_never_overwritten_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "backup"
    key = make_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_key(path).public == key.public
    assert key.public in path.read_text()
    with pytest.raises(ConfigError, match="exists, and is never overwritten"):
        make_key(path)
    for text in ("", "AGE-SECRET-KEY-1NONSENSE\n", f"{path.read_text()}{path.read_text()}"):
        (tmp_path / "bad").write_text(text)
        with pytest.raises(ConfigError, match=r"one line AGE-SECRET-KEY-1\.\.\."):
            read_key(tmp_path / "bad")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_key(tmp_path / "none")


def test_a_sweep_takes_what_nobody_needs_and_what_was_left_half_done(
    objects: Objects, tmp_path: Path
) -> None:
    kept = put(objects, tmp_path, b"kept")
    gone = put(objects, tmp_path, b"gone")
    part = objects.folder / "77-1.part"
    part.write_bytes(b"half")
    assert objects.sweep(frozenset({kept.sha256})) == gone.stored_bytes + 4
    assert [sha256 for sha256, _ in objects.names()] == [kept.sha256]
    assert not part.exists()


def test_a_failing_disk_is_not_taken_for_damage(objects: Objects, tmp_path: Path) -> None:
    stored = put(objects, tmp_path, os.urandom(MIB))
    with Path("/dev/full").open("wb", buffering=0) as full:
        sink = HashingWriter(full)
        with pytest.raises(OSError, match="No space left"):
            read_object(objects, objects.key, stored.sha256, sink)


def test_a_key_is_not_shown_by_mistake(tmp_path: Path) -> None:
    key = make_key(tmp_path / "key")
    assert isinstance(key, Key)
    assert "AGE-SECRET-KEY" not in repr(key) + key.public


def test_zeros_are_not_counted_as_read_or_written(tmp_path: Path) -> None:
    """A file that the server still writes to ends in zeros: a limit must not wait for them."""
    content = b"row" * CHUNK_BYTES + bytes(9 * CHUNK_BYTES)
    (tmp_path / "price.d").write_bytes(content)
    objects = Objects(tmp_path / "backups", None)
    read: list[int] = []
    stored = objects.put(tmp_path / "price.d", read.append)
    assert stored.size_bytes == len(content)
    assert sum(read) == 3 * CHUNK_BYTES
    written: list[int] = []
    unpack(objects, None, wanted(stored), tmp_path / "back", written.append)
    assert (tmp_path / "back").read_bytes() == content
    assert 3 * CHUNK_BYTES <= sum(written) <= 4 * CHUNK_BYTES
