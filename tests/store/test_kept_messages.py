"""Messages on their way to their files: within 10 ms, synced, bounded, none lost by a bad disk."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel

from pumpwatch.store import kept_messages, message_files
from pumpwatch.store.kept_messages import WRITE_S, KeptMessages
from pumpwatch.store.message_files import KeptMessage, MessageFiles, kept_of
from tests.store.records import SetClock

FEED = "okx_spot"
Store = Callable[..., KeptMessages]


@pytest.fixture
def store() -> Iterator[Store]:
    """Makes them; their files are closed at the end."""
    made: list[KeptMessages] = []

    def make(folder: Path, **changes: Any) -> KeptMessages:
        facts: dict[str, Any] = {"feed_bytes_max": 1 << 20, "keep_days": 30, "fsync_s": 1.0}
        made.append(KeptMessages(MessageFiles(folder), SetClock(), **(facts | changes)))
        return made[-1]

    yield make
    for one in made:
        one.files.close()


def message(number: int) -> KeptMessage:
    return KeptMessage(SetClock().wall_ns() + number, "malformed", "", 0, b"%d" % number)


def numbers(folder: Path) -> list[int]:
    return [int(one.raw) for one in kept_of(folder / FEED)]


async def test_a_message_is_on_the_disk_soon_and_needs_no_end(store: Store, tmp_path: Path) -> None:
    """A SIGKILL would find it there: it is in the file, not in this process."""
    one = store(tmp_path)
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        for number in range(5):
            assert one.keep(FEED, message(number))
        with trio.fail_after(60):
            while numbers(tmp_path) != [0, 1, 2, 3, 4]:  # noqa: ASYNC110 - a file has no event
                await trio.sleep(WRITE_S)
        nursery.cancel_scope.cancel()


async def test_the_end_writes_what_waits(store: Store, tmp_path: Path) -> None:
    one = store(tmp_path)
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        await trio.lowlevel.checkpoint()
        one.keep(FEED, message(1))
        nursery.cancel_scope.cancel()
    assert numbers(tmp_path) == [1]


def test_a_second_signal_writes_what_waits(store: Store, tmp_path: Path) -> None:
    one = store(tmp_path)
    one.keep(FEED, message(1))
    one.write_now()
    assert numbers(tmp_path) == [1]


async def test_what_was_written_is_synced(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(message_files.os, "fsync", synced.append)
    one = store(tmp_path, fsync_s=0.0)
    one.keep(FEED, message(1))
    assert await one.written()
    assert len(synced) == 1
    late = store(tmp_path / "late", fsync_s=1.0)
    late.keep(FEED, message(1))
    assert await late.written()
    assert len(synced) == 1  # the loop's turn
    late.files.fsync()
    assert len(synced) == 2


async def test_a_feed_at_its_limit_keeps_no_more_and_others_do(
    store: Store, tmp_path: Path
) -> None:
    one = store(tmp_path, feed_bytes_max=200)
    kept = 0
    while one.keep(FEED, message(kept)):
        kept += 1
        assert await one.written()
    assert 0 < kept < 10
    assert (one.kept[FEED], one.not_kept[FEED]) == (kept, 1)
    assert one.keep("gate_spot", message(1))
    assert numbers(tmp_path) == list(range(kept))


async def test_a_disk_that_refuses_loses_nothing_and_the_buffer_is_bounded(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = store(tmp_path)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(kept_messages, "BUFFER_BYTES_MAX", 3)
    with monkeypatch.context() as patch:
        patch.setattr(message_files, "write_all", refuse)
        assert one.keep(FEED, message(1))
        assert not await one.written()
        assert one.keep(FEED, message(2))
        assert not await one.written()
        assert one.keep(FEED, message(3))
        assert not one.keep(FEED, message(4))
    assert await one.written()
    assert numbers(tmp_path) == [1, 2, 3]
    assert one.keep(FEED, message(5))


async def test_sealing_hands_over_all_that_came(store: Store, tmp_path: Path) -> None:
    one = store(tmp_path)
    one.keep(FEED, message(1))
    [segment] = await one.seal(FEED)
    assert segment.count == 1
    one.keep(FEED, message(2))
    assert await one.written()
    assert await one.seal("gate_spot") == []
    await one.replace(FEED, segment, [])
    assert numbers(tmp_path) == [2]
