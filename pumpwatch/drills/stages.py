"""Reads move by stages (D-14): refused while criteria fail, kept over a kill, by their share.

Writes go on as always: at the end every row is there. ``count`` is the questions asked in each
stage; their share is exact, as each one's way is decided by its text.
"""

from __future__ import annotations

import trio

from pumpwatch.clock import SystemClock
from pumpwatch.daemon_client import ask_window
from pumpwatch.drills.old_store import SIDE_NS, settings, standing, write_event
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.reckoning import reckon
from pumpwatch.drills.stage import DaemonProcess, is_subscribed, stage_of
from pumpwatch.drills.verbs import say
from pumpwatch.drills.verdict import Kill
from pumpwatch.migrate.reads import name_of
from pumpwatch.migrate.stages import share_of
from pumpwatch.store.server import running_address
from pumpwatch.store.sql import Sql
from pumpwatch.store.window_model import WindowQuestion

COIN = "BTC"
SHARES = (0, 10, 50, 100, 100)
KILL_AT_STAGE = 2
WARM_S = 25.0
COMPARISONS = 5
CHANGES_SQL = "SELECT count() FROM operations WHERE operation = 'stage'"


async def run(order: Order) -> Outcome:
    """All stages, one after the other; see the module."""
    outcome = Outcome()
    clock = SystemClock()
    old = order.folder / "old"
    old.mkdir(parents=True)
    toml = settings(old, comparisons=COMPARISONS, is_alone=order.is_alone)
    kills: list[Kill] = []
    shares: dict[str, float] = {}
    async with stage_of(order, toml) as (simulator, daemon):
        started_ns = clock.wall_ns()
        daemon.start()
        await daemon.until(is_subscribed, "subscribed")
        await trio.sleep(WARM_S)
        code, complaint = await _advance(daemon)
        outcome.expect(code != 0, "forward although no window was compared")
        refusals = [complaint]
        # The stream goes on: an event is written of what lies behind.
        at_ns = clock.wall_ns() - SIDE_NS - 5 * 10**9
        await simulator.flush()
        await write_event(old, COIN, simulator, at_ns)
        for number, percent in enumerate(SHARES):
            order.tell(f"stage {number}: {percent} % of reads")
            if number == KILL_AT_STAGE:
                kills.append(Kill(started_ns=started_ns, at_ns=clock.wall_ns()))
                daemon.kill()
                daemon.start()
                await daemon.until(is_subscribed, "subscribed after a kill")
            told = await standing(
                daemon, lambda told, number=number: told["place"]["stage"] == number,  # type: ignore[misc]
                f"in stage {number}",
            )  # fmt: skip
            outcome.expect(told["read_percent"] == percent, f"{told['read_percent']} % of reads")
            shares[str(number)] = await _shares(outcome, daemon, at_ns, order.count, percent)
            if number + 1 < len(SHARES):
                await standing(
                    daemon, lambda told: not told["missing_for_advance"], "allowed to advance"
                )
                code, complaint = await _advance(daemon)
                outcome.expect(code == 0, f"not forward: {complaint}")
        code, complaint = await _advance(daemon)
        outcome.expect(code != 0, "forward from the last stage")
        refusals.append(complaint)
        await daemon.until(lambda now: now["store"]["writers"]["operations"] == "idle", "written")
        sql = Sql(running_address(daemon.config), readonly=True)
        [(changes,)] = await sql.query(CHANGES_SQL)
        await sql.aclose()
        await reckon(outcome, simulator, daemon, kills=kills)
    wanted = len(SHARES) - 1
    outcome.expect(changes == wanted, f"{changes} changes in operations, {wanted} were made")
    outcome.figures |= {
        "shares_percent": shares, "changes": changes, "refusals": refusals, "kills": len(kills),
    }  # fmt: skip
    return outcome


async def _advance(daemon: DaemonProcess) -> tuple[int, str]:
    code, _, complaint = await say(daemon, "migrate", "advance", as_json=False)
    return code, complaint


async def _shares(
    outcome: Outcome, daemon: DaemonProcess, at_ns: int, count: int, percent: int
) -> float:
    """The share of questions that the table answered; each must go where its text says."""
    moved = 0
    for number in range(count):
        question = WindowQuestion(
            symbols=(f"{COIN}USDT",), from_ns=at_ns - SIDE_NS + number, to_ns=at_ns - number
        )
        answer = await trio.to_thread.run_sync(ask_window, daemon.config, question, 1)
        is_moved = answer["source"] != "old_store"
        moved += is_moved
        right = share_of(name_of(question)) < percent
        outcome.expect(is_moved == right, f"{percent} %: question {number} went the other way")
    return round(moved / count * 100, 1)
