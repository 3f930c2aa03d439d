"""Controls: each guarantee switched off, the check that shows it must fail. On: it must hold.

Every check returns what was sent and what came of it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from trio.testing import MockClock

from pumpwatch.store import segment, spool_files
from pumpwatch.store.progress import TableProgress, WalState
from pumpwatch.store.side_tables import SideTables
from pumpwatch.store.spool_files import Cursor, SpoolFiles
from pumpwatch.store.spool_recovery import Recovered
from tests.store.fake_server import POISON, FakeServer, lost_answer, status
from tests.store.records import (
    TRADES,
    SetClock,
    flip,
    held,
    lines_of,
    opened,
    record,
    records_in,
    reopened,
    write,
)
from tests.store.road import balance_of, running

pytestmark = pytest.mark.usefixtures("inline_threads")

Rows = Counter[bytes]


async def check_damage_is_noticed(folder: Path) -> tuple[Rows, Rows]:
    """A bit flips on the disk: the row must not come through as another one."""
    spool = await opened(folder)
    write(spool, record([1]), record([2]), record([3]))
    path = spool.files.active.path
    flip(path, records_in(path)[1].payload_offset + 3)
    return Counter(lines_of(TRADES, [1, 3])), Counter(held(spool))


async def check_nothing_is_lost_in_a_kill(folder: Path) -> tuple[Rows, Rows]:
    server = FakeServer()
    server.faults.extend([status(503)] * 1000)
    async with running(folder, server.client(), server) as road:
        road.append(1, 2, 3)
        await road.spool.written()
        await road.kill()
    server.faults.clear()
    async with running(folder, server.client(), server) as road:
        road.append(4)
        await road.until_applied()
    return Counter(lines_of(TRADES, [1, 2, 3, 4])), Counter(server.stored("trades"))


async def check_nothing_is_lost_in_a_power_cut(folder: Path) -> tuple[Rows, Rows]:
    """With fsync_ms = 0 whatever the counters call spooled is safe."""
    disk = ForgetfulDisk()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", disk.fsync)
        spool = await opened(folder, fsync_s=0)
        write(spool, record([1]), record([2]))
        assert spool.spooled_by_feed == {1: 2}
    disk.cut_power(folder)
    return Counter(lines_of(TRADES, [1, 2])), Counter(held(await reopened(spool)))


async def check_a_204_is_not_taken_for_applied(folder: Path) -> tuple[Rows, Rows]:
    """The table is dropped with its WAL after the 204s, and made anew."""
    server = FakeServer()
    server.applies_at_once = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool_files, "SEGMENT_BYTES_MAX", 100)  # a segment a record
        async with running(folder, server.client(), server) as road:
            for serial in range(10):
                road.append(serial)
                await road.spool.written()
            await road.until(lambda: balance_of(road)[0] == 10)
            await road.watch.look()
            await road.watch.look()
            server.create("trades")
            server.applies_at_once = True
            await road.watch.look()
            await road.until_applied()
    return Counter(lines_of(TRADES, range(10))), Counter(server.stored("trades"))


async def check_a_refused_row_is_kept(folder: Path) -> tuple[Rows, Rows]:
    """What is not in the table is in quarantine."""
    server = FakeServer()
    side: list[SideTables] = []
    feed = SimpleNamespace(exchange="okx", market_type="spot")

    def quarantine(road):  # type: ignore[no-untyped-def]
        side.append(SideTables(road.spool, SetClock(), [feed], folder / "quarantine"))
        return side[0].refused_line

    async with running(
        folder, server.client(), server, names=["trades", "quarantine"], quarantine=quarantine
    ) as road:
        road.append(1, 3)
        road.append(2, text="poi" + "son")
        with pytest.MonkeyPatch.context() as patch:
            # Its text stands in the quarantine row, which the fake must not refuse.
            patch.setattr("tests.store.fake_server.POISON", f'"{POISON}"')
            await road.until_applied()
    found = server.stored("trades")
    for row in server.stored("quarantine"):
        text = row.decode().split('raw="')[1].split('",detail')[0].replace("\\", "").strip()
        found.append(text.encode() + b"\n")
    return Counter([*lines_of(TRADES, [1, 3]), *lines_of(TRADES, [2], text=POISON)]), Counter(found)


async def check_nothing_is_stored_twice(folder: Path) -> tuple[Rows, Rows]:
    """The answer is lost after the rows are stored, and the same bytes are sent again."""
    server = FakeServer()
    server.faults.extend([lost_answer] * 3)
    async with running(folder, server.client(), server) as road:
        road.append(1, 2, 3)
        await road.until_applied()
    return Counter(lines_of(TRADES, [1, 2, 3])), Counter(server.stored("trades"))


# --- the switches ---------------------------------------------------------------------------------


def without_crc(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(segment, "zlib", SimpleNamespace(crc32=lambda *_: 0))


def without_replay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(spool_files, "recover", lambda folder: Recovered())


def without_fsync(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SpoolFiles, "fsync", lambda files: None)


def released_on_204(patch: pytest.MonkeyPatch) -> None:
    real = TableProgress.observe

    def observe(
        progress: TableProgress, seen: WalState, accepted: tuple[Cursor, Counter[int]]
    ) -> bool:
        is_same = real(progress, seen, accepted)
        if is_same:
            progress.applied = progress.accepted
        return is_same

    patch.setattr(TableProgress, "observe", observe)


def without_quarantine(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SideTables, "refused_line", lambda *_: None)


def without_dedup(patch: pytest.MonkeyPatch) -> None:
    real = FakeServer.create

    def create(server: FakeServer, name: str) -> None:
        real(server, name)
        server.tables[name].dedup = False

    patch.setattr(FakeServer, "create", create)


CONTROLS: list[
    tuple[Callable[[Path], Awaitable[tuple[Rows, Rows]]], Callable[[pytest.MonkeyPatch], None]]
] = [
    (check_damage_is_noticed, without_crc),
    (check_nothing_is_lost_in_a_kill, without_replay),
    (check_nothing_is_lost_in_a_power_cut, without_fsync),
    (check_a_204_is_not_taken_for_applied, released_on_204),
    (check_a_refused_row_is_kept, without_quarantine),
    (check_nothing_is_stored_twice, without_dedup),
]


@pytest.mark.parametrize("is_on", [True, False], ids=["on", "off"])
@pytest.mark.parametrize(("check", "switch_off"), CONTROLS, ids=lambda one: one.__name__)
async def test_the_check_holds_with_the_guarantee_and_fails_without(
    check: Callable[[Path], Awaitable[tuple[Rows, Rows]]],
    switch_off: Callable[[pytest.MonkeyPatch], None],
    is_on: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
) -> None:
    if not is_on:
        switch_off(monkeypatch)
    expected, found = await check(tmp_path)
    assert (found == expected) is is_on


class ForgetfulDisk:
    """Loses at a power cut what no fsync has asked for."""

    def __init__(self) -> None:
        self._real = os.fsync
        self._safe: dict[int, int] = {}  # inode -> bytes

    def fsync(self, fd: int) -> None:
        self._real(fd)
        state = os.fstat(fd)
        self._safe[state.st_ino] = state.st_size

    def cut_power(self, folder: Path) -> None:
        for path in folder.glob("*.seg"):
            os.truncate(path, self._safe.get(path.stat().st_ino, 0))
