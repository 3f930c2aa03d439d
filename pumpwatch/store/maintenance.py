"""The upkeep of a running daemon: retention, cold tier and backups, each when it is due.

One task runs them one after the other, so that they never meet; the maintenance lock is against
the command line. What fails is told and tried again when it is due again; nothing here ends the
recording.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import structlog
import trio

from pumpwatch.clock import Clock
from pumpwatch.errors import MaintenanceBusyError, PumpWatchError
from pumpwatch.store.backup import Backups
from pumpwatch.store.backup_manifest import GOOD
from pumpwatch.store.cold import ColdStore
from pumpwatch.store.disk import DiskWatch
from pumpwatch.store.partitions import DAY_NS, NS_PER_S
from pumpwatch.store.retention import Retention

log = structlog.get_logger()

LOOK_S = 30.0
RETRY_S = 600.0  # after a failure, or where another process has the lock
EMERGENCY_PAUSE_S = 300.0  # between two runs for the disk's sake


class Upkeep(msgspec.Struct, kw_only=True):
    """The parts; ``backups`` is None where the database is not ours."""

    retention: Retention
    cold: ColdStore
    backups: Backups | None
    disk: DiskWatch
    clock: Clock
    check_interval_s: float
    backup_daily_at: str  # HH:MM, UTC


def next_daily_ns(now_ns: int, daily_at: str) -> int:
    """The next moment of that time of day after now, UTC."""
    hours, minutes = daily_at.split(":")
    of_day_ns = (int(hours) * 60 + int(minutes)) * 60 * NS_PER_S
    today_ns = now_ns // DAY_NS * DAY_NS + of_day_ns
    return today_ns if today_ns > now_ns else today_ns + DAY_NS


async def run_upkeep(upkeep: Upkeep) -> None:
    """Do what is due until cancelled: retention at once, and whenever the disk passes its limit."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(upkeep.disk.run)
        if upkeep.backups is not None:
            await _attempt("backup_recover", upkeep.backups.recover)
        check_at_s = trio.current_time()
        emergency_at_s = trio.current_time()
        backup_at_ns = next_daily_ns(upkeep.clock.wall_ns(), upkeep.backup_daily_at)
        while True:
            now_s = trio.current_time()
            is_emergency = upkeep.disk.emergency.is_set() and now_s >= emergency_at_s
            if now_s >= check_at_s or is_emergency:
                is_done = await _attempt("retention", upkeep.retention.run)
                emergency_at_s = trio.current_time() + EMERGENCY_PAUSE_S
                is_done = await _attempt("cold", upkeep.cold.run) and is_done
                wait_s = upkeep.check_interval_s if is_done else RETRY_S
                check_at_s = trio.current_time() + min(wait_s, upkeep.check_interval_s)
            if upkeep.backups is not None and upkeep.clock.wall_ns() >= backup_at_ns:
                now_ns = upkeep.clock.wall_ns()
                is_done = await _attempt("backup", upkeep.backups.create)
                again_ns = now_ns + int(RETRY_S * NS_PER_S)
                daily_ns = next_daily_ns(now_ns, upkeep.backup_daily_at)
                backup_at_ns = daily_ns if is_done else min(again_ns, daily_ns)
            await _look_again(upkeep.disk)


async def _look_again(disk: DiskWatch) -> None:
    """After a while; at once when the disk passes its limit."""
    if disk.emergency.is_set():
        await trio.sleep(LOOK_S)
        return
    with trio.move_on_after(LOOK_S):
        await disk.emergency.wait()


async def _attempt(work: str, run: Callable[[], Awaitable[object]]) -> bool:
    """Run; a deliberate error is said, and told by the part itself. False: try again sooner."""
    try:
        result = await run()
    except MaintenanceBusyError as error:
        log.warning("upkeep_busy", work=work, message=str(error))
        return False
    except PumpWatchError as error:
        log.error("upkeep_failed", work=work, message=str(error))  # noqa: TRY400
        return False
    except OSError as error:
        log.error("upkeep_failed", work=work, message=str(error))  # noqa: TRY400
        return False
    return getattr(result, "state", GOOD) == GOOD
