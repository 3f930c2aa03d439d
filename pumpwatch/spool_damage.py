"""Trades that the spool's disk took, into the ledger: no hole is silent (promise 3).

Such rows are lost at once and nobody asks a venue for them: the hour in memory still holds them, so
that a venue's list beside it would seem to show that nothing is missing.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from pumpwatch.capture.feed_state import FeedState
from pumpwatch.capture.ledger import ANY_SYMBOL, SPOOL_DAMAGE, Ledger
from pumpwatch.store.spool import Spool
from pumpwatch.store.spool_losses import Loss

LOOK_S = 1.0


async def tell_losses(spool: Spool, feeds: Sequence[FeedState], ledger: Ledger) -> None:
    """Write what the spool finds lost into the ledger, until cancelled."""
    while True:
        while spool.losses:
            tell(spool.losses.popleft(), feeds, ledger)
        await trio.sleep(LOOK_S)


def tell(loss: Loss, feeds: Sequence[FeedState], ledger: Ledger) -> None:
    """A row for each symbol; one for each feed where nobody knows whose rows they were."""
    reason = f"{loss.rows if loss.rows >= 0 else 'unknown'} rows of {loss.segment} were damaged"
    for feed in feeds:
        name = feed.spec.name
        symbols = {symbol for one, symbol in loss.symbols if one == name}
        for symbol in sorted(symbols) if loss.symbols else [ANY_SYMBOL]:
            gap_id = ledger.suspect(feed.spec, symbol, SPOOL_DAMAGE, loss.from_ns, loss.to_ns)
            ledger.lost(gap_id, reason)
