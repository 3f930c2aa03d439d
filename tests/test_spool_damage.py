"""Trades that the disk took become rows of the ledger, once, and lost at once."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

import trio
from trio.testing import MockClock

from pumpwatch.spool_damage import tell_losses
from pumpwatch.store.spool_losses import Loss
from tests.capture.rig import Rig
from tests.capture.specs import feed_spec

FROM_NS, TO_NS = 1_790_000_000_000_000_000, 1_790_000_001_000_000_000


def loss(rows: int = 3, symbols: frozenset[tuple[str, str]] = frozenset()) -> Loss:
    return Loss(
        segment="000000000007.seg", rows=rows, from_ns=FROM_NS, to_ns=TO_NS, symbols=symbols
    )


async def told(rig: Rig, *losses: Loss) -> list[tuple[Any, ...]]:
    spool: Any = SimpleNamespace(losses=deque(losses))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell_losses, spool, [rig.feed], rig.ledger)
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    last = {gap.gap_id: gap for gap in rig.side.ledger}
    return [
        (gap.symbol, gap.cause, gap.state, gap.from_ns, gap.to_ns, gap.reason)
        for gap in last.values()
    ]


REASON = "3 rows of 000000000007.seg were damaged"


async def test_each_symbol_has_its_row(autojump_clock: MockClock) -> None:
    rig = Rig(feed_spec(), ["BTCUSDT"])
    hit = frozenset(
        {("binance_spot", "ETHUSDT"), ("binance_spot", "BTCUSDT"), ("okx_spot", "XRPUSDT")}
    )
    assert await told(rig, loss(symbols=hit)) == [
        (symbol, "spool_damage", "lost", FROM_NS, TO_NS, REASON)
        for symbol in ("BTCUSDT", "ETHUSDT")
    ]
    assert rig.ledger.due() == []  # the hour in memory has them: no list would show them missing


async def test_where_nobody_knows_it_may_be_any_symbol(autojump_clock: MockClock) -> None:
    rig = Rig(feed_spec(), ["BTCUSDT"])
    assert await told(rig, loss()) == [("*", "spool_damage", "lost", FROM_NS, TO_NS, REASON)]


async def test_a_loss_of_other_feeds_is_none_of_this_one(autojump_clock: MockClock) -> None:
    rig = Rig(feed_spec(), ["BTCUSDT"])
    assert await told(rig, loss(symbols=frozenset({("okx_spot", "BTCUSDT")}))) == []
