"""A kill at every point where the spool changes its folder, and within every write.

A life of a spool is played once; each of its steps on the disk is noted together with what the
counters called spooled at that moment. Then every state that the disk went through is opened anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pumpwatch._fast import parse_binance
from pumpwatch.model import Record
from pumpwatch.store import spool_files
from pumpwatch.store.spool import Spool
from pumpwatch.store.spool_files import Cursor
from pumpwatch.store.spool_positions import alive_record
from tests._fast.driving import NOW_NS, Drive
from tests.capture.rig import trade_frame
from tests.store.records import GAPS, TRADES, WALL_NS, contents, held, kill, new_spool, record

pytestmark = pytest.mark.usefixtures("inline_threads")

FEED = 1
SEGMENT_BYTES = 1500  # of a few records: it rolls in the middle of the life
STEP_BYTES = 7  # of a write are between two cuts; its ends are always among them

Files = dict[str, bytes]


@dataclass
class Life:
    """What was promised, and every state of the disk with what was promised by then."""

    folder: Path
    drive: Drive = field(default_factory=lambda: Drive(parse_binance.SPOT, "BTCUSDT"))
    spool: Spool | None = None
    appended: int = 0  # trades are numbered from 1
    released: int = 0
    states: list[tuple[str, Files, int, int]] = field(default_factory=list)

    @property
    def promised(self) -> int:
        return self.spool.spooled_by_feed[FEED] + self.base if self.spool else 0

    base: int = 0  # of earlier starts

    def note(self, what: str, files: Files) -> None:
        self.states.append((what, files, self.promised, self.released))

    def trades(self, count: int) -> Record:
        numbers = range(self.appended + 1, self.appended + count + 1)
        self.drive.intake.feed(b"".join(map(trade_frame, numbers)), NOW_NS)
        payload, rows, _ = self.drive.rows.take()
        self.drive.intake.take_news()
        self.appended += count
        return Record(table=TRADES, feed=FEED, rows=rows, payload=payload)

    async def open(self) -> Spool:
        self.base = self.promised
        self.spool = None
        spool = new_spool(self.folder, contiguous=[FEED])
        await spool.open()
        self.spool = spool
        return spool


def watched(life: Life, patch: pytest.MonkeyPatch) -> None:
    """Note the folder before and after every call that changes it, and every part of a write."""
    real_write = os.pwritev

    def pwritev(fd: int, buffers: Sequence[Any], offset: int) -> int:
        text = b"".join(bytes(buffer) for buffer in buffers)
        name = Path(os.readlink(f"/proc/self/fd/{fd}")).name
        before = contents(life.folder)
        for cut in sorted({*range(0, len(text), STEP_BYTES), len(text)}):
            image = before[name][:offset].ljust(offset, b"\0") + text[:cut]
            life.note(f"{name} {offset}+{cut}", before | {name: image})
        return real_write(fd, buffers, offset)

    patch.setattr(os, "pwritev", pwritev)
    for owner, call in ((os, "ftruncate"), (Path, "unlink"), (Path, "rename"), (os, "open")):
        patch.setattr(owner, call, around(life, call, getattr(owner, call)))


def around(life: Life, call: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def changed(*args: Any, **more: Any) -> Any:
        answer = real(*args, **more)
        life.note(f"after {call} {args[0]}", contents(life.folder))
        return answer

    return changed


async def play(life: Life) -> None:
    """Rows, side rows, alive notes; rolls, releases, a kill, an orderly end, a new beginning."""
    spool = await life.open()
    for count in (1, 3, 2, 4):
        for one in (life.trades(count), record([count], GAPS), alive_record({FEED: WALL_NS})):
            spool.append(one)
        assert spool.write_now() == 0
    kill(spool)
    spool = await life.open()
    for count in (2, 3, 1):
        spool.append(life.trades(count))
        assert spool.write_now() == 0
    life.released = life.promised
    active = spool.files.active
    end = Cursor(active.number, active.size_bytes)
    await spool.release({TRADES: end, GAPS: end})
    spool.append(life.trades(2))
    assert spool.write_now() == 0
    await spool.seal({TRADES: end, GAPS: end})
    spool = await life.open()
    spool.append(life.trades(1))
    life.released = life.appended  # seal may let all of it go
    end = Cursor(spool.files.active.number + 1, 0)
    await spool.seal({TRADES: end, GAPS: end})


async def test_whatever_write_a_kill_cuts_no_spooled_row_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = Life(tmp_path / "life")
    life.folder.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(spool_files, "SEGMENT_BYTES_MAX", SEGMENT_BYTES)
        watched(life, patch)
        await play(life)
    assert len({what.split()[0] for what, *_ in life.states}) > 4  # segments and kinds of calls
    seen: set[tuple[tuple[str, bytes], ...]] = set()
    for number, (what, files, promised, released) in enumerate(life.states):
        key = (*sorted(files.items()), ("", f"{promised} {released}".encode()))
        if key in seen:
            continue
        seen.add(key)
        folder = tmp_path / f"{number:06d}"
        folder.mkdir()
        for name, data in files.items():
            (folder / name).write_bytes(data)
        await check(folder, what, promised, released, life.appended)
    assert len(seen) > 300


async def check(folder: Path, what: str, promised: int, released: int, appended: int) -> None:
    spool = new_spool(folder, contiguous=[FEED])
    await spool.open()
    found = [int(line.split(b'trade_id="')[1].split(b'"')[0]) for line in held(spool)]
    assert found == sorted(set(found)), what
    assert found == list(range(found[0], found[-1] + 1)) if found else promised <= released, what
    assert not found or (found[0] <= released + 1 and promised <= found[-1] <= appended), what
    # A write that nobody was told of is a tail, never damage; and nothing is told as lost.
    assert all(hole.is_tail for _, hole in spool.damage), (what, spool.damage)
    assert not spool.losses, what
    stood = spool.files.stood.positions.get(FEED, "BTCUSDT")
    stood_at = stood.seen_to if stood else 0
    assert promised <= stood_at <= appended, (what, promised, stood_at)
    assert not found or stood_at == found[-1], what
    kill(spool)
