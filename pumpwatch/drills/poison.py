"""Lines that the server refuses: to quarantine with its words, while all others are stored.

The proxy makes every so many-th trade one with a text where a number belongs.
"""

from __future__ import annotations

import random

import polars as pl
import trio

from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.reckoning import pending, reckon
from pumpwatch.drills.spooled import KEY_TYPES, key_of
from pumpwatch.drills.stage import DaemonProcess, external_stage, is_subscribed
from pumpwatch.store.server import running_address
from pumpwatch.store.sql import Sql

POISON_S_MAX = 300.0
QUARANTINE_S_MAX = 30.0
WATCH_S = 0.2


async def run(order: Order) -> Outcome:
    """Poison about ``count`` lines, one a second; see the module."""
    outcome = Outcome()
    rng = random.Random(order.seed)
    seed = rng.randrange(1 << 31)
    async with external_stage(order.folder, seed, order.rate_per_s) as parts:
        proxy, daemon = parts.proxy, parts.daemon
        daemon.start()
        await daemon.until(is_subscribed, "subscribed")
        # Few enough that no request holds more than the ten that R8 takes for bad lines.
        proxy.poison_one_in = order.rate_per_s
        with trio.move_on_after(POISON_S_MAX):
            while len(proxy.poisoned) < order.count:  # noqa: ASYNC110 - the proxy has no event
                await trio.sleep(WATCH_S)
        await parts.simulator.stop_generating()
        await daemon.until(lambda status: not pending(status), "drained")
        proxy.poison_one_in = 0
        poisoned = pl.DataFrame(list(proxy.poisoned), schema=KEY_TYPES, orient="row")
        quarantined, words = await _quarantined(daemon, len(poisoned))
        await reckon(outcome, parts.simulator, daemon, quarantined=quarantined)
    outcome.expect(len(poisoned) > 0, "no line was poisoned")
    same = set(poisoned.iter_rows()) == set(quarantined.iter_rows())
    outcome.expect(same, f"{len(poisoned)} lines poisoned, {len(quarantined)} in quarantine")
    is_said = all("sequence_number" in text for text in words)
    outcome.expect(is_said, "a refused line is without the server's words")
    outcome.figures = {"poisoned": len(poisoned), "quarantined": len(quarantined),
                       "server_says": words[0][:120] if words else ""}  # fmt: skip
    return outcome


async def _quarantined(daemon: DaemonProcess, wanted: int) -> tuple[pl.DataFrame, list[str]]:
    """Keys of the refused lines in the table of quarantine, and the server's words for each."""
    sql = Sql(running_address(daemon.config), readonly=True)
    rows: list[tuple[str, str]] = []
    try:
        with trio.move_on_after(QUARANTINE_S_MAX):
            while len(rows) < wanted:
                rows = [
                    (raw, detail)
                    for raw, detail in await sql.query(
                        "SELECT raw, detail FROM quarantine WHERE reason = 'refused'"
                    )
                ]
                await trio.sleep(WATCH_S)
    finally:
        await sql.aclose()
    keys = [key_of(raw.encode("utf-8", "replace")) for raw, _ in rows]
    return pl.DataFrame(keys, schema=KEY_TYPES, orient="row"), [detail for _, detail in rows]
