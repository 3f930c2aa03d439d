"""Segments of messages that could not be read: whole, in order, sound after a kill, bounded."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch.store import message_files
from pumpwatch.store.message_files import (
    OPEN,
    SEALED,
    KeptMessage,
    MessageFiles,
    kept_of,
    read_messages,
    segments_of,
)

FEED = "okx_spot"
START_NS = 1_790_000_000_000_000_000


def message(number: int, raw: bytes = b"") -> KeptMessage:
    return KeptMessage(
        START_NS + number, "malformed", "p is gone", number % 3, raw or b"%d" % number
    )


@pytest.fixture
def files(tmp_path: Path) -> Iterator[MessageFiles]:
    one = MessageFiles(tmp_path)
    yield one
    one.close()


def kept(folder: Path) -> list[KeptMessage]:
    return list(kept_of(folder / FEED))


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=8), seals=st.sets(st.integers(0, 8)))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], seals: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("kept")
    files, wanted = MessageFiles(folder), []
    for at, size in enumerate(sizes):
        block = [message(len(wanted) + i, bytes([i]) * (i + 1)) for i in range(size)]
        files.append(FEED, block)
        wanted += block
        if at in seals:
            files.seal(FEED)
    assert kept(folder) == wanted
    files.close()
    assert kept(folder) == wanted
    again = MessageFiles(folder)
    again.open()
    assert kept(folder) == wanted
    on_disk = sum(path.stat().st_size for path in (folder / FEED).iterdir())
    assert again.bytes_by_feed[FEED] == on_disk


def test_a_name_tells_times_and_count(files: MessageFiles, tmp_path: Path) -> None:
    files.append(FEED, [message(3), message(4), message(9)])
    files.seal(FEED)
    [one] = segments_of(tmp_path / FEED)
    assert (one.first_ns, one.last_ns, one.count) == (START_NS + 3, START_NS + 9, 3)
    assert files.bytes_by_feed[FEED] == one.path.stat().st_size


def test_sealing_packs_small_blocks(files: MessageFiles, tmp_path: Path) -> None:
    for number in range(300):
        files.append(FEED, [message(number, b'{"e":"trade","s":"BTCUSDT","p":"%d"}' % number)])
    before = files.bytes_by_feed[FEED]
    files.seal(FEED)
    assert files.bytes_by_feed[FEED] < before / 10
    assert len(kept(tmp_path)) == 300


def test_a_segment_rolls_when_it_is_large(
    files: MessageFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_files, "SEGMENT_BYTES_MAX", 500)
    for number in range(40):
        files.append(FEED, [message(number)])
    assert len(segments_of(tmp_path / FEED)) >= 3
    assert [one.at_ns for one in kept(tmp_path)] == [START_NS + number for number in range(40)]


@pytest.mark.parametrize("cut", [1, 10, 20])
def test_a_block_that_a_kill_tore_costs_itself_alone(
    files: MessageFiles, tmp_path: Path, cut: int
) -> None:
    files.append(FEED, [message(1)])
    files.append(FEED, [message(2)])
    files.close()
    [path] = (tmp_path / FEED).glob(f"*{OPEN}")
    path.write_bytes(path.read_bytes()[:-cut])
    again = MessageFiles(tmp_path)
    again.open()
    assert kept(tmp_path) == [message(1)]
    again.append(FEED, [message(5)])
    assert kept(tmp_path) == [message(1), message(5)]
    again.close()


def test_a_flipped_bit_is_not_taken_for_a_message(files: MessageFiles, tmp_path: Path) -> None:
    files.append(FEED, [message(1)])
    files.append(FEED, [message(2)])
    files.close()
    [path] = (tmp_path / FEED).iterdir()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert list(read_messages(path)) == [message(1)]


def test_what_stays_replaces_a_segment(files: MessageFiles, tmp_path: Path) -> None:
    files.append(FEED, [message(number) for number in range(10)])
    files.seal(FEED)
    [one] = segments_of(tmp_path / FEED)
    files.replace(FEED, one.path, [message(4)])
    assert kept(tmp_path) == [message(4)]
    [one] = segments_of(tmp_path / FEED)
    files.replace(FEED, one.path, [message(4)])  # nothing was read: the same name
    assert kept(tmp_path) == [message(4)]
    assert files.bytes_by_feed[FEED] == segments_of(tmp_path / FEED)[0].path.stat().st_size
    files.replace(FEED, segments_of(tmp_path / FEED)[0].path, [])
    assert list((tmp_path / FEED).iterdir()) == []
    assert files.bytes_by_feed[FEED] == 0


def test_old_segments_expire_by_their_last_message(files: MessageFiles, tmp_path: Path) -> None:
    for numbers in ((1, 5), (6, 9)):
        files.append(FEED, [message(number) for number in numbers])
        files.seal(FEED)
    files.expire(START_NS + 6)
    assert [one.at_ns - START_NS for one in kept(tmp_path)] == [6, 9]
    assert files.bytes_by_feed[FEED] == segments_of(tmp_path / FEED)[0].path.stat().st_size


def test_a_disk_that_refuses_leaves_whole_blocks(
    files: MessageFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.append(FEED, [message(1)])

    def half(descriptor: int, parts: list[bytes], offset: int) -> None:
        message_files.os.pwrite(descriptor, parts[0][:20], offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(message_files, "write_all", half)
        with pytest.raises(OSError, match="No space"):
            files.append(FEED, [message(2)])
    files.append(FEED, [message(3)])
    files.seal(FEED)
    assert kept(tmp_path) == [message(1), message(3)]


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "00000000000000000001-000001.jsonl.zst").write_bytes(b"refused lines")
    (tmp_path / FEED).mkdir()
    (tmp_path / FEED / f"notes{SEALED}").write_text("somebody's")
    MessageFiles(tmp_path).open()
    assert kept(tmp_path) == []
