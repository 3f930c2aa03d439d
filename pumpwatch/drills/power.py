"""Power cuts and damage: ``count`` spools, each broken in some way, each opened again.

A power cut may take nothing that an fsync has made safe; with ``fsync_ms = 0`` that is everything
the counters call spooled. Other damage may take the rows that it hits, and they must be reported
exactly. Every other row must be there, once, and none that was never written.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path

import msgspec

from pumpwatch.clock import SystemClock
from pumpwatch.drills.forgetful import ForgetfulDisk
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.spooled import TRADES
from pumpwatch.errors import SpoolError
from pumpwatch.model import Record
from pumpwatch.store.schema import SCHEMA_VERSION
from pumpwatch.store.segment import MIB, Damage
from pumpwatch.store.spool import Spool
from pumpwatch.store.spool_read import START

STEPS = (5, 40)  # what is done to a spool before it breaks
ROWS_MAX = 60  # of a record
FEEDS = 3
TEXT_BYTES_MAX = 120
BATCH_ROWS_MAX = 1000

POWER = "power cut"
FLIP = "flipped bit"
CUT = "cut off"
ZEROS = "zeroed pages"
GONE = "missing segment"
KINDS = (POWER, POWER, POWER, FLIP, CUT, ZEROS, GONE)  # half of them are power cuts


class _Written(msgspec.Struct):
    """Rows by what may become of them."""

    safe: list[bytes] = msgspec.field(default_factory=list)
    unsafe: list[bytes] = msgspec.field(default_factory=list)  # since the last fsync


async def run(order: Order) -> Outcome:
    """Break and open again; see the module."""
    outcome = Outcome()
    kinds: Counter[str] = Counter()
    lost_rows = 0
    for number in range(order.count):
        seed = order.seed * 1_000_003 + number
        rng = random.Random(seed)
        kind = rng.choice(KINDS)
        kinds[kind] += 1
        folder = order.folder / f"{number:06d}"
        try:
            rows, lost = await (_cut_power if kind == POWER else _damage)(
                folder, kind, rng, outcome, f"{kind}, seed {seed}"
            )
        except SpoolError as error:
            outcome.faults.append(f"{kind}, seed {seed}: {error}")
            continue
        outcome.rows += rows
        lost_rows += lost
        shutil.rmtree(folder)
    outcome.figures = {"spools": order.count, **kinds, "rows_that_damage_took": lost_rows}
    return outcome


def _new_spool(folder: Path, fsync_s: float) -> Spool:
    return Spool(
        folder, SystemClock(), random.Random(0), schema_version=SCHEMA_VERSION,
        disk_bytes_max=1024 * MIB, fsync_s=fsync_s, buffer_bytes_max=64 * MIB,
    )  # fmt: skip


async def _written(folder: Path, fsync_s: float, rng: random.Random) -> tuple[Spool, _Written]:
    """A spool that was written to, synced and rolled at random; it is still open."""
    spool = _new_spool(folder, fsync_s)
    await spool.open()
    written = _Written()
    serial = 0
    for _ in range(rng.randint(*STEPS)):
        choice = rng.random()
        if choice < 0.1:
            spool.files.roll()
        elif choice < 0.25:
            spool.files.fsync()
            written.safe += written.unsafe
            written.unsafe = []
        else:
            rows = rng.randint(1, ROWS_MAX)
            feed = rng.randint(1, FEEDS)
            text = "x" * rng.randint(0, TEXT_BYTES_MAX)
            lines = [
                f'trades,feed={feed} id={serial + n}i,text="{text}" {serial + n}\n'.encode()
                for n in range(rows)
            ]
            serial += rows
            spool.append(Record(table=TRADES, feed=feed, rows=rows, payload=b"".join(lines)))
            spool.write_now()
            # Without a window whatever the counters call spooled is safe at once.
            (written.unsafe if fsync_s else written.safe).extend(lines)
    return spool, written


async def _cut_power(
    folder: Path, kind: str, rng: random.Random, outcome: Outcome, name: str
) -> tuple[int, int]:
    """Returns the rows that were safe, and how many of the others went."""
    disk = ForgetfulDisk()
    with disk.watching():
        spool, written = await _written(folder / "before", rng.choice([0.0, 1.0]), rng)
        disk.cut_power(folder / "before", folder / "after", rng)
        spool.close()
    found, _ = await _reopened(folder / "after")
    gone = len(set(written.safe) - set(found))
    outcome.missing += gone
    outcome.expect(gone == 0, f"{name}: {gone} synced rows are gone")
    _check_found(found, written.safe + written.unsafe, outcome, name)
    return len(written.safe), len(set(written.unsafe) - set(found))


async def _damage(
    folder: Path, kind: str, rng: random.Random, outcome: Outcome, name: str
) -> tuple[int, int]:
    """Returns the rows that were written, and how many the damage took."""
    spool, written = await _written(folder / "before", 1.0, rng)
    spool.close()
    rows = written.safe + written.unsafe
    segments = sorted((folder / "before").glob("*.seg"))
    hit = _break(segments, kind, rng)
    found, damage = await _reopened(folder / "before")
    lost = [row for row in rows if row not in set(found)]
    reported = sum(max(one.rows, 0) for one in damage)
    # Of the oldest segment nothing but its header says what its first row was.
    is_unknown = any(one.rows < 0 for one in damage)
    outcome.missing += 0 if is_unknown else max(0, len(lost) - reported)
    outcome.expect(
        len(lost) == reported or is_unknown,
        f"{name}: {len(lost)} rows are gone, {reported} were reported",
    )
    outcome.expect(hit or not lost, f"{name}: nothing was broken, rows are gone")
    _check_found(found, rows, outcome, name)
    return len(rows), len(lost)


def _break(segments: list[Path], kind: str, rng: random.Random) -> bool:
    """Damage one of the segments; False where this kind finds none that it could."""
    path = rng.choice(segments)
    data = bytearray(path.read_bytes())
    if kind == GONE:
        # The oldest one's absence is what a release looks like: they go oldest first.
        if len(segments) == 1:
            return False
        rng.choice(segments[1:]).unlink()
        return True
    at = rng.randrange(len(data))
    if kind == FLIP:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == CUT:
        del data[at:]
    else:
        end = min(len(data), at + rng.randint(1, 9000))
        data[at:end] = bytes(end - at)
    path.write_bytes(data)
    return True


def _check_found(found: list[bytes], rows: list[bytes], outcome: Outcome, name: str) -> None:
    """Each once, none that was never written, in order."""
    twice = len(found) - len(set(found))
    outcome.duplicate += twice
    outcome.expect(set(found) <= set(rows), f"{name}: rows that were never written")
    places = {row: place for place, row in enumerate(rows)}
    order = [places[row] for row in found if row in places]
    outcome.expect(order == sorted(order), f"{name}: rows out of order")


async def _reopened(folder: Path) -> tuple[list[bytes], list[Damage]]:
    """All trades that a new start finds in the folder, and the damage that it reports."""
    spool = _new_spool(folder, 1.0)
    recovery = await spool.open()
    lines: list[bytes] = []
    cursor, upto = START, spool.files.table_ends().get(TRADES, START)
    while cursor < upto:
        batch = spool.files.read(TRADES, cursor, upto, BATCH_ROWS_MAX, MIB)
        if batch is None:
            break
        lines += [line for one in batch.payloads for line in bytes(one).splitlines(keepends=True)]
        cursor = batch.end
    damage = [hole for _, hole in recovery.damage]
    damage += [hole for found in spool.files.found for hole in found.holes]
    spool.close()
    return lines, damage
