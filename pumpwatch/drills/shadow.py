"""Two readers of one event (D-13): the old store and the table, compared all the time.

Everything must be equal; then one price of the old store is changed, and both sides of it must be
kept. Meanwhile windows are asked for: no answer waits for a comparison. ``count`` is the windows
that are compared by hand.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import msgspec
import trio

from pumpwatch.clock import SystemClock
from pumpwatch.daemon_client import ask_window
from pumpwatch.drills.by_feed import reckon_by_feed
from pumpwatch.drills.old_store import SIDE_NS, settings, standing, write_event
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.stage import DaemonProcess, is_subscribed, stage_of
from pumpwatch.drills.timing import quantiles_ms
from pumpwatch.drills.verbs import say
from pumpwatch.migrate_verbs import FOLDER
from pumpwatch.store.window_model import WindowQuestion

COINS = ("BTC", "ETH")
WARM_S = 25.0  # an event has a past and an end
ASKED = 100


async def run(order: Order) -> Outcome:
    """Record, write the old store, compare; see the module."""
    outcome = Outcome()
    old = order.folder / "old"
    old.mkdir(parents=True)
    toml = settings(old)
    async with stage_of(order, toml) as (simulator, daemon):
        daemon.start()
        await daemon.until(is_subscribed, "subscribed")
        await trio.sleep(WARM_S)
        at_ns = SystemClock().wall_ns() - SIDE_NS
        await simulator.stop_generating()
        await daemon.until(lambda now: not now["store"]["pending_rows"], "applied")
        rows = sum([await write_event(old, coin, simulator, at_ns) for coin in COINS])
        times = await _ask(daemon, at_ns)
        told = await standing(daemon, lambda told: told["windows"] >= 10, "compared")
        code, compared, complaint = await say(
            daemon, "migrate", "shadow", "--windows", str(order.count), "--seed", str(order.seed)
        )
        outcome.expect(code == 0, f"a difference: {complaint} {compared}")
        _spoil(old, random.Random(order.seed))
        found, _, _ = await say(daemon, "migrate", "shadow", "--windows", str(order.count))
        outcome.expect(found == 1, f"a changed price is not seen: exit code {found}")
        kept = _kept(daemon.data_dir / FOLDER / "differences.jsonl")
        await reckon_by_feed(order, outcome, simulator, daemon)
    differing = [one for one in kept if one["old"] and one["new"]]
    outcome.expect(bool(differing), "no difference is kept with both sides")
    equal = sum(feed["equal"] for feed in told["feeds"].values())
    outcome.expect(equal > 0, "no row was compared by the daemon")
    only_old = sum(feed["only_old"] + feed["differing"] for feed in told["feeds"].values())
    outcome.expect(only_old == 0, f"the daemon found {only_old} differences")
    outcome.figures |= {
        "event_rows": rows, "windows_by_daemon": told["windows"], "rows_equal": equal,
        "windows_by_hand": order.count, "kept": len(differing), "answers": quantiles_ms(times),
    }  # fmt: skip
    return outcome


async def _ask(daemon: DaemonProcess, at_ns: int) -> list[float]:
    """Seconds of each answer, while windows are compared."""
    times = []
    for number in range(ASKED):
        question = WindowQuestion(
            symbols=(f"{COINS[0]}USDT",), from_ns=at_ns - SIDE_NS + number, to_ns=at_ns
        )
        begun_s = trio.current_time()
        await trio.to_thread.run_sync(ask_window, daemon.config, question, 1000)
        times.append(trio.current_time() - begun_s)
        await trio.sleep(0.05)
    return times


def _spoil(old: Path, rng: random.Random) -> None:
    """One event's prices in one feed are others from now on."""
    paths = sorted(old.glob(f"{COINS[0]}_*/raw/*/spot.json"))
    path, records = next(
        (path, records) for path in paths if (records := json.loads(path.read_text()))
    )
    for record in rng.sample(records, max(1, len(records) // 2)):
        record["price"] = str(float(record["price"]) * 2)
    path.write_text(json.dumps(records))


def _kept(path: Path) -> list[dict[str, Any]]:
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [
        one for line in lines for feed in msgspec.json.decode(line)["feeds"] for one in feed["kept"]
    ]
