"""Lines that the server refuses: to quarantine with its words, while all others are stored.

The proxy makes every so many-th trade one with a text where a number belongs, and sees whether the
others still go in the order in which they were received, instrument by instrument.
"""

from __future__ import annotations

import random
import re
import zlib
from collections import OrderedDict

import polars as pl
import trio

from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.reckoning import pending, reckon
from pumpwatch.drills.spooled import HEAD, KEY_TYPES, TRADE_ID, key_of, lines_of
from pumpwatch.drills.stage import DaemonProcess, external_stage, is_subscribed
from pumpwatch.store.server import running_address
from pumpwatch.store.sql import Sql

POISON_S_MAX = 300.0
QUARANTINE_S_MAX = 30.0
WATCH_S = 0.2
RECEIVED = re.compile(rb",received_at=(\d+)n")
REMEMBERED_ROWS = 500_000  # of several requests: what was stored by parts comes again as a whole


class Arrivals:
    """The order in which rows were stored, instrument by instrument, sans-IO."""

    def __init__(self) -> None:
        self.rows = 0
        self.out_of_order: list[str] = []
        self._last: dict[tuple[bytes, ...], int] = {}  # when the latest was received
        self._known: OrderedDict[int, None] = OrderedDict()

    def note(self, body: bytes) -> None:
        """The lines of one request were stored now; those that were before do not count."""
        if not body.startswith(b"trades,"):
            return
        for line in lines_of(body):
            name = zlib.crc32(line)
            if name in self._known:
                continue
            self._known[name] = None
            head, received, trade_id = (
                HEAD.match(line),
                RECEIVED.search(line),
                TRADE_ID.search(line),
            )
            assert head is not None
            assert received is not None
            assert trade_id is not None
            self.rows += 1
            at_ns, last_ns = int(received[1]), self._last.get(head.groups(), 0)
            if at_ns < last_ns:
                self.out_of_order.append(f"{head[0].decode()} {trade_id[1].decode()}")
            self._last[head.groups()] = max(at_ns, last_ns)
        while len(self._known) > REMEMBERED_ROWS:
            self._known.popitem(last=False)


async def run(order: Order) -> Outcome:
    """Poison about ``count`` lines, one a second; see the module."""
    outcome = Outcome()
    rng = random.Random(order.seed)
    seed = rng.randrange(1 << 31)
    async with external_stage(order, seed) as parts:
        proxy, daemon, arrivals = parts.proxy, parts.daemon, Arrivals()
        proxy.on_stored = arrivals.note
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
    shuffled = arrivals.out_of_order
    outcome.expect(not shuffled, f"{len(shuffled)} rows out of order: {shuffled[:3]}")
    outcome.expect(arrivals.rows > 0, "no row went through the proxy")
    outcome.figures = {"poisoned": len(poisoned), "quarantined": len(quarantined),
                       "in_order": arrivals.rows - len(shuffled),
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
