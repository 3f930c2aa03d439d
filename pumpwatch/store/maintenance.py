"""The upkeep of a running daemon: retention, cold tier, backups and proofs, each when it is due.

One task runs them one after the other, so that they never meet; the maintenance lock is against
the command line. What fails is told and tried again when it is due again; nothing here ends the
recording.
"""

from __future__ import annotations

import math
from collections import deque
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
from pumpwatch.store.nightly import Nightly
from pumpwatch.store.partitions import DAY_NS, NS_PER_S
from pumpwatch.store.retention import Retention

log = structlog.get_logger()

LOOK_S = 30.0
RETRY_S = 600.0  # after a failure, or where another process has the lock
EMERGENCY_PAUSE_S = 300.0  # between two runs for the disk's sake, while it stays full
ORDERS_KEPT = 100  # whose results can still be asked for


class Told:
    """What the parts told since their last clean run: the alerts that stand (rule -> text)."""

    def __init__(self) -> None:
        self.standing: dict[str, str] = {}
        self._works: dict[str, str] = {}  # rule -> the work that told it
        self._work = ""
        self._fresh: set[str] = set()

    def tell(self, rule: str, text: str) -> None:
        """Something a person should know, at once."""
        log.error("upkeep_alert", rule=rule, message=text)
        self.standing[rule] = text
        self._works[rule] = self._work
        self._fresh.add(rule)

    def begin(self, work: str) -> None:
        """From now on what is told is of this work."""
        self._work, self._fresh = work, set()

    def end(self) -> None:
        """The work was done: what it told before and not again holds no more."""
        for rule in [rule for rule, work in self._works.items() if work == self._work]:
            if rule not in self._fresh:
                del self.standing[rule], self._works[rule]


class Order:
    """Work that somebody asked for; it is done between what is due by itself."""

    def __init__(self, number: int, work: str, run: Callable[[], Awaitable[object]]) -> None:
        self.number = number
        self.work = work
        self.run = run
        self.ended = trio.Event()
        self.result: object = None
        self.error: Exception | None = None


class Orders:
    """Those that wait, and the results of the last ones."""

    def __init__(self) -> None:
        self.arrived = trio.Event()
        self._waiting: deque[Order] = deque()
        self._known: dict[int, Order] = {}
        self._last = 0

    def give(self, work: str, run: Callable[[], Awaitable[object]]) -> Order:
        """Have ``run`` done."""
        self._last += 1
        order = self._known[self._last] = Order(self._last, work, run)
        while len(self._known) > ORDERS_KEPT:
            del self._known[next(iter(self._known))]
        self._waiting.append(order)
        self.arrived.set()
        return order

    def find(self, number: int) -> Order | None:
        """One that was given; None: of another process, or long ago."""
        return self._known.get(number)

    def take(self) -> Order | None:
        """The next one; None: nothing waits."""
        if self._waiting:
            return self._waiting.popleft()
        self.arrived = trio.Event()
        return None


class Upkeep(msgspec.Struct, kw_only=True):
    """The parts; ``backups`` is None where the database is not ours."""

    retention: Retention
    cold: ColdStore
    backups: Backups | None
    disk: DiskWatch
    clock: Clock
    check_interval_s: float
    backup_daily_at: str  # HH:MM, UTC
    nightly: Nightly | None = None
    told: Told = msgspec.field(default_factory=Told)
    orders: Orders = msgspec.field(default_factory=Orders)
    working_on: str = ""  # empty: nothing right now


def next_daily_ns(now_ns: int, daily_at: str) -> int:
    """The next moment of that time of day after now, UTC."""
    of_day_ns = daily_ns(daily_at)
    today_ns = now_ns // DAY_NS * DAY_NS + of_day_ns
    return today_ns if today_ns > now_ns else today_ns + DAY_NS


def daily_ns(daily_at: str) -> int:
    """HH:MM as nanoseconds since midnight."""
    hours, minutes = daily_at.split(":")
    return (int(hours) * 60 + int(minutes)) * 60 * NS_PER_S


async def run_upkeep(upkeep: Upkeep) -> None:
    """Do what is due until cancelled: retention at once, and whenever the disk passes its limit."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(upkeep.disk.run)
        if upkeep.backups is not None:
            await _attempt(upkeep, "backup_recover", upkeep.backups.recover)
        check_at_s = trio.current_time()
        emergency_at_s = -math.inf
        backup_at_ns = next_daily_ns(upkeep.clock.wall_ns(), upkeep.backup_daily_at)
        while True:
            await _carry_out_orders(upkeep)
            now_s = trio.current_time()
            if not upkeep.disk.emergency.is_set():
                emergency_at_s = -math.inf  # the next time nobody waits
            is_emergency = upkeep.disk.emergency.is_set() and now_s >= emergency_at_s
            if now_s >= check_at_s or is_emergency:
                is_done = await _attempt(upkeep, "retention", upkeep.retention.run)
                if is_emergency:
                    emergency_at_s = trio.current_time() + EMERGENCY_PAUSE_S
                is_done = await _attempt(upkeep, "cold", upkeep.cold.run) and is_done
                wait_s = upkeep.check_interval_s if is_done else RETRY_S
                check_at_s = trio.current_time() + min(wait_s, upkeep.check_interval_s)
            if upkeep.clock.wall_ns() >= backup_at_ns:
                now_ns = upkeep.clock.wall_ns()
                is_done = upkeep.backups is None or await _attempt(
                    upkeep, "backup", upkeep.backups.create
                )
                again_ns = now_ns + int(RETRY_S * NS_PER_S)
                tomorrow_ns = next_daily_ns(now_ns, upkeep.backup_daily_at)
                backup_at_ns = tomorrow_ns if is_done else min(again_ns, tomorrow_ns)
            if upkeep.nightly is not None and upkeep.nightly.is_due():
                await _attempt(upkeep, "proof", upkeep.nightly.run)
            await _look_again(upkeep)


async def _carry_out_orders(upkeep: Upkeep) -> None:
    while (order := upkeep.orders.take()) is not None:
        upkeep.told.begin(order.work)
        upkeep.working_on = order.work
        try:
            order.result = await order.run()
        except (PumpWatchError, OSError) as error:
            order.error = error
        else:
            upkeep.told.end()
        upkeep.working_on = ""
        order.ended.set()


async def _look_again(upkeep: Upkeep) -> None:
    """After a while; at once when the disk passes its limit, or somebody asks for something."""
    with trio.move_on_after(LOOK_S):
        async with trio.open_nursery() as nursery:
            if not upkeep.disk.emergency.is_set():
                nursery.start_soon(_end_at, upkeep.disk.emergency, nursery.cancel_scope)
            await upkeep.orders.arrived.wait()
            nursery.cancel_scope.cancel()


async def _end_at(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def _attempt(upkeep: Upkeep, work: str, run: Callable[[], Awaitable[object]]) -> bool:
    """Run; a deliberate error is said, and told by the part itself. False: try again sooner."""
    upkeep.told.begin(work)
    upkeep.working_on = work
    try:
        result = await run()
    except MaintenanceBusyError as error:
        log.warning("upkeep_busy", work=work, message=str(error))
        return False
    except (PumpWatchError, OSError) as error:
        log.error("upkeep_failed", work=work, message=str(error))  # noqa: TRY400
        upkeep.told.end()
        return False
    finally:
        upkeep.working_on = ""
    upkeep.told.end()
    return getattr(result, "state", GOOD) == GOOD
