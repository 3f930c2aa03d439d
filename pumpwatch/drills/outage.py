"""The database out of reach, in every way: stopped, killed, hanging, refusing, cut off.

The faults of the network are the proxy's; SIGSTOP and SIGKILL meet the real server.
"""

from __future__ import annotations

import os
import random
import signal
from typing import Any

import trio

from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.proxy import FAULTS, PASS
from pumpwatch.drills.reckoning import reckon
from pumpwatch.drills.refused import ALERT_S_MAX, Refusal, until_alert
from pumpwatch.drills.stage import ExternalStage, external_stage, is_subscribed

STOPPED = "server stopped"
KILLED = "server killed"
KINDS = (*FAULTS, STOPPED, KILLED)
OUTAGE_S = (2.0, 6.0)
BETWEEN_S = (0.5, 2.0)
RECOVERY_S_MAX = 120.0


async def run(order: Order) -> Outcome:
    """``count`` outages, each kind in turn; see the module."""
    outcome = Outcome()
    rng = random.Random(order.seed)
    alerts_s: dict[str, float] = {}
    rss_mib: list[float] = []
    seed = rng.randrange(1 << 31)
    async with external_stage(order, seed) as parts:
        parts.daemon.start()
        await parts.daemon.until(is_subscribed, "subscribed")
        for number in range(order.count):
            kind = KINDS[(order.seed + number) % len(KINDS)]
            await trio.sleep(rng.uniform(*BETWEEN_S))
            alert_s = await _suffer(parts, kind, rng.uniform(*OUTAGE_S))
            alerts_s[kind] = max(alerts_s.get(kind, 0.0), round(alert_s, 1))
            outcome.expect(alert_s <= ALERT_S_MAX, f"{kind}: alert after {alert_s:.1f} s")
            status = await parts.daemon.until(is_well, f"well after: {kind}", RECOVERY_S_MAX)
            rss_mib.append(status["daemon_rss_mib"])
        await reckon(outcome, parts.simulator, parts.daemon)
        outcome.figures = {
            "outages": order.count, "met_by_requests": parts.proxy.met,
            "server_restarts": parts.server.restarts, "alert_s_max": alerts_s,
            "daemon_rss_mib_max": round(max(rss_mib), 0),
        }  # fmt: skip
    return outcome


async def _suffer(parts: ExternalStage, kind: str, outage_s: float) -> float:
    """One outage; returns how many seconds it took until the daemon's status showed it."""
    pid = parts.server.pid
    if kind == STOPPED and pid is not None:
        os.kill(pid, signal.SIGSTOP)
    elif kind == KILLED and pid is not None:
        os.kill(pid, signal.SIGKILL)
    else:
        parts.proxy.set_mode(kind)
    refusal = Refusal()
    refusal.note()  # nothing gets through from here on
    alert_s = await until_alert(lambda: _is_ill(parts.daemon.status()), refusal, outage_s)
    if kind == STOPPED and pid is not None:
        os.kill(pid, signal.SIGCONT)
    parts.proxy.set_mode(PASS)
    return alert_s


def is_well(document: dict[str, Any]) -> bool:
    """The database answers, and takes rows."""
    store = document["store"]
    return bool(store["database"] == "up" and store["writers"].get("trades") in ("idle", "sending"))


def _is_ill(document: dict[str, Any]) -> bool:
    return bool(document) and not is_well(document)
