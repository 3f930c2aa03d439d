"""Trades that damage takes lie within what is told of them, whatever broke."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from pumpwatch.clock import SystemClock
from pumpwatch.drills.power import KINDS, POWER, _break
from pumpwatch.model import Record
from pumpwatch.store.spool_losses import Loss
from tests.store.records import (
    GAPS,
    TRADES,
    flip,
    held,
    kill,
    opened,
    read_all,
    record,
    records_in,
    reopened,
    segment_names,
    write,
)

pytestmark = pytest.mark.usefixtures("inline_threads")

SEEDS = 150
STEP_NS = 10_000
AT_NS = 0  # as the files are dated: set anew for each test
MINUTE_NS = 60_000_000_000
FEEDS = (("okx", "spot"), ("bybit", "futures"), ("phemex", "spot"))
DAMAGE = sorted(set(KINDS) - {POWER})


@pytest.fixture(autouse=True)
def traded_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are written soon after they were traded."""
    monkeypatch.setitem(globals(), "AT_NS", SystemClock().wall_ns())


def trade(number: int, feed: int = 1, symbol: str = "BTCUSDT") -> bytes:
    exchange, market_type = FEEDS[feed - 1]
    return (
        f"trades,exchange={exchange},market_type={market_type},symbol={symbol},side=buy"
        f' price=1.0,trade_id="{number}" {AT_NS + number * STEP_NS}\n'
    ).encode()


def trades(numbers: Iterable[int], feed: int = 1, symbol: str = "BTCUSDT") -> Record:
    lines = [trade(number, feed, symbol) for number in numbers]
    return Record(table=TRADES, feed=feed, rows=len(lines), payload=b"".join(lines))


def is_told(line: bytes, losses: Iterable[Loss]) -> bool:
    exchange, market_type, symbol = (
        part.split("=")[1] for part in line.decode().split(" ")[0].split(",")[1:4]
    )
    at_ns = int(line.rsplit(b" ", 1)[1])
    key = (f"{exchange}_{market_type}", symbol)
    return any(
        loss.from_ns <= at_ns <= loss.to_ns and (not loss.symbols or key in loss.symbols)
        for loss in losses
    )


async def test_a_flipped_bit_names_the_symbols_and_their_minute(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    for first in range(0, 100_000, 10_000):
        write(spool, trades(range(first, first + 3), feed=2, symbol="ETHUSDT"))
    path = spool.files.active.path
    hit = records_in(path)[5]
    flip(path, hit.payload_offset + len(trade(0, 2, "ETHUSDT")) - 1 - 19)  # a time loses its sense
    spool = await reopened(spool)
    (loss,) = spool.losses
    assert (loss.segment, loss.rows) == (path.name, 3)
    assert loss.symbols == {("bybit_futures", "ETHUSDT")}
    assert AT_NS + 40_000 * STEP_NS - MINUTE_NS < loss.from_ns < AT_NS + 50_000 * STEP_NS
    assert loss.to_ns > AT_NS + 50_000 * STEP_NS


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.usefixtures("small_segments")
async def test_every_row_that_damage_took_is_told(kind: str, tmp_path: Path) -> None:
    taken = 0
    for seed in range(SEEDS // len(DAMAGE)):
        rng = random.Random(seed)
        folder = tmp_path / str(seed)
        spool = await opened(folder)
        for number in range(0, 12 * 1000, 1000):
            feed = rng.randint(1, 3)
            numbers = range(number, number + rng.randint(1, 4))
            write(spool, trades(numbers, feed, rng.choice(["BTCUSDT", "ETHUSDT"])))
        rows = held(spool)
        kill(spool)
        _break(sorted(folder.glob("*.seg")), kind, rng)
        spool = await opened(folder)
        found = set(held(spool))
        lost = [row for row in rows if row not in found]
        # What was written last and cut off is a torn tail: nobody knows of it (promise 1).
        is_tail = any(hole.is_tail for _, hole in spool.damage) or not spool.damage
        assert is_tail or all(is_told(row, spool.losses) for row in lost), f"seed {seed}"
        taken += len(lost) * (not is_tail)
        kill(spool)
    assert taken > 0


async def test_damage_that_a_reader_meets_is_told_as_well(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    write(spool, trades([1]), trades([2, 3], feed=3), trades([4]))
    path = spool.files.active.path
    flip(path, records_in(path)[1].offset + 9)
    await read_all(spool)
    (loss,) = spool.losses
    assert (loss.rows, loss.symbols) == (2, {("phemex_spot", "BTCUSDT")})
    assert is_told(trade(2, 3), [loss])


async def test_without_a_readable_line_it_may_have_been_anybodys(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    write(spool, trades([1]), trades([2, 3]), trades([4]))
    path = spool.files.active.path
    hit = records_in(path)[1]
    data = path.read_bytes()
    path.write_bytes(data[: hit.offset] + bytes(hit.end - hit.offset) + data[hit.end :])
    spool = await reopened(spool)
    (loss,) = spool.losses
    assert (loss.rows, loss.symbols) == (2, frozenset())
    assert is_told(trade(2), [loss])


async def test_a_segment_that_is_gone_was_anybodys(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    for number in range(3):
        write(spool, trades([number]))
        spool.files.roll()
    kill(spool)
    (tmp_path / segment_names(tmp_path)[1]).unlink()
    spool = await opened(tmp_path)
    (loss,) = spool.losses
    assert (loss.segment, loss.rows, loss.symbols) == ("000000000002.seg", 1, frozenset())


async def test_a_small_tables_damage_takes_no_trades(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    write(spool, trades([1]), record([1], GAPS), trades([2]))
    path = spool.files.active.path
    flip(path, records_in(path)[1].payload_offset + 3)
    spool = await reopened(spool)
    assert sum(hole.rows for _, hole in spool.damage) == 1
    assert list(spool.losses) == []


async def test_a_torn_tail_is_no_loss(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    write(spool, trades([1]), trades([2]))
    path = spool.files.active.path
    kill(spool)
    path.write_bytes(path.read_bytes()[:-3])
    spool = await opened(tmp_path)
    assert list(spool.losses) == []
