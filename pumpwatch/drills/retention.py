"""Retention on a small disk: 40 days and a listing of 35 days ago, at 60, 75, 88 and 96 %.

Where one full disk is asked for it is the short form: 10 smaller days, and a listing of 9 days ago.

Old days go by age, then for the disk's sake, never below the floor; the listing's window, the
events and the ledger stay; at 96 % the writers stop, rows wait in the spool and then in the
sockets, and all of it goes on by itself. Needs root, for mount.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import trio

from pumpwatch.clock import SystemClock
from pumpwatch.drills.months import (
    BURST_S,
    SYMBOL,
    add_listing,
    ask,
    database_before,
    day_of,
    fill_days,
    rows_by_day,
)
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.reckoning import pending, reckon
from pumpwatch.drills.stage import DaemonProcess, is_subscribed, parsed_rows, stage_of
from pumpwatch.drills.verbs import say
from pumpwatch.errors import DrillError
from pumpwatch.listing.window import KEPT_NS
from pumpwatch.moments import iso_ns
from pumpwatch.sim.process import Simulator
from pumpwatch.store.disk import Level, measure
from pumpwatch.store.partitions import DAY_NS, HOUR_NS, NS_PER_S
from pumpwatch.store.retention import HASTE_NS_MIN

WINDOW_S = 20
SPOOL_MIB = 256  # the least that settings allow
LEVEL_S_MAX = 60.0
RUN_S_MAX = 120.0
ROUNDS_MAX = 12  # of filling the disk again, until the floor is reached
FULL_S_MAX = 400.0  # until the spool has reached its limit
FILLING_PER_S = 40_000  # rows until then: minutes of waiting prove nothing
FULL_S = 5.0
RECOVERY_S_MAX = 180.0
# A step that drops days, on a busy machine, and the time in which it would leave an hour.
STEP_S = 40.0 + HASTE_NS_MIN / NS_PER_S
DRILL_S = 480.0  # all of it: days are counted back from today
PURGED_S = 35.0  # then the server has removed the log of what it applied
MIB = 1 << 20
SETTINGS = """
[retention]
days = {keep}
emergency_days = {emergency}
floor_days = {floor}
cold_hours = 960
[spool]
disk_max_mib = {spool_mib}
"""


class Plan(NamedTuple):
    """How many days there are, what goes when, and a disk of which five days are 5 %."""

    volume_mib: int = 6144  # the server takes 1.6 GB at once, 16 MiB for each column it writes to
    rows_per_hour: int = 27_000  # some 60 MB a day
    days: int = 40
    listing: int = 35  # days ago
    keep: int = 30
    emergency: int = 25  # five days less: enough to leave the level at which they go
    floor: int = 7


SHORT = Plan(
    volume_mib=4608, rows_per_hour=20_000, days=10, listing=9, keep=8, emergency=3, floor=2
)


async def run(order: Order) -> Outcome:
    """All four levels, the last one ``count`` times; see the module."""
    outcome = Outcome()
    await away_from(DAY_NS, DRILL_S, order)
    seed, plan = order.seed, SHORT if order.count == 1 else Plan()
    toml = SETTINGS.format(**plan._asdict(), spool_mib=SPOOL_MIB)
    async with stage_of(order, toml) as (simulator, daemon):
        disk = daemon.data_dir / "questdb"
        act = _Act(order, outcome, simulator, daemon, disk, plan)
        await act.prepare(seed)
        made = await trio.to_thread.run_sync(disk.rename, disk.with_name("made"))
        with image_volume(disk, plan.volume_mib):
            try:
                await trio.run_process(["cp", "-a", "--sparse=always", f"{made}/.", str(disk)])
                shutil.rmtree(made)
                await away_from(HOUR_NS, STEP_S, order)
                daemon.start()
                await daemon.until(is_subscribed, "subscribed")
                await act.by_age()
                await act.nothing_to_do()
                await away_from(HOUR_NS, STEP_S, order)
                await act.for_the_disk()
                await away_from(HOUR_NS, STEP_S, order)
                await act.down_to_the_floor()
                for _ in range(order.count):
                    await act.stopped()
                await act.refused()
                await reckon(outcome, simulator, daemon, not_traded=SYMBOL)
                outcome.figures |= act.figures | {"full_disks": order.count}
            finally:
                daemon.end_hard()  # before its disk goes
    return outcome


async def away_from(unit_ns: int, needed_s: float, order: Order) -> None:
    """Wait for the next hour (or day) where less than ``needed_s`` are left until then.

    Before an hour's end the last hour of a list stays for the next run (retention.ttl_hours), and
    what these steps expect are whole days.
    """
    left_s = (unit_ns - SystemClock().wall_ns() % unit_ns) / NS_PER_S
    if left_s < needed_s:
        order.tell(f"{left_s:.0f} s until the next {'hour' if unit_ns == HOUR_NS else 'day'}")
        await trio.sleep(left_s + 1)


@contextmanager
def image_volume(place: Path, size_mib: int) -> Iterator[None]:
    """A file system of its own at ``place``, in a file beside it. Raises DrillError.

    As ``disk.volume``, but larger than memory would like.
    """
    place.mkdir(parents=True, exist_ok=True)
    image = place.with_name("image.ext4")
    with image.open("wb") as file:
        file.truncate(size_mib * MIB)
    try:
        for command in (
            ["mkfs.ext4", "-q", "-F", "-m", "0", str(image)],
            ["mount", "-o", "loop", str(image), str(place)],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise DrillError(f"{command[0]}: {done.stderr.strip()} (needs root)")
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", str(place)], check=False)
    finally:
        image.unlink()


class _Act:
    """The steps, in order; each knows what the ones before have left."""

    def __init__(
        self, order: Order, outcome: Outcome, simulator: Simulator, daemon: DaemonProcess,
        disk: Path, plan: Plan,
    ) -> None:  # fmt: skip
        self.order = order
        self.plan = plan
        self.outcome = outcome
        self.simulator = simulator
        self.daemon = daemon
        self.disk = disk
        self.now_ns = SystemClock().wall_ns()
        listed_ns = day_of(self.now_ns, plan.listing)
        self.listing_ns = listed_ns + 12 * HOUR_NS + BURST_S // 2 * NS_PER_S
        self.rows_per_day = 24 * plan.rows_per_hour
        self.figures: dict[str, Any] = {}

    async def prepare(self, seed: int) -> None:
        """The days, the listing and its hole."""
        self.order.tell(f"{self.plan.days} days are written")
        async with database_before(self.daemon.config) as sql:
            rows = await fill_days(
                sql, day_of(self.now_ns, self.plan.days), day_of(self.now_ns, 0),
                rows_per_hour=self.plan.rows_per_hour, seed=seed,
            )  # fmt: skip
            await add_listing(sql, self.listing_ns)
            await trio.sleep(PURGED_S)
        self.figures["rows_before"] = rows

    # --- steps ------------------------------------------------------------------------------------

    async def by_age(self) -> None:
        """60 %: what is older goes at the start, the last day to keep stays, the window too."""
        await self.until_days(self.plan.keep, "60 %")
        self.order.tell("60 %")
        with self.filled(60):
            await self.until_level(Level.OK)
            await self.verb("retention", "run")
            self.expect("disk_emergency" not in self.told(), "60 %: an emergency was told")
            await self.check_days(self.plan.keep, "60 %")

    async def nothing_to_do(self) -> None:
        """75 %: a warning, and nothing goes."""
        self.order.tell("75 %")
        with self.filled(75):
            await self.until_level(Level.WARN)
            await self.verb("retention", "run")
            await self.check_days(self.plan.keep, "75 %")

    async def for_the_disk(self) -> None:
        """88 %: an alert, then the days beyond the emergency's, and no more than these."""
        known = len(self.daemon.log_file.read_bytes())
        self.order.tell("88 %")
        with self.filled(88):
            await self.until_days(self.plan.emergency, "88 %")
            log = self.daemon.log_file.read_bytes()[known:].decode("utf-8", "replace")
            told, dropped = log.find('"disk_emergency"'), log.find('"partitions_drop"')
            self.expect(0 <= told < dropped, "88 %: days went before anybody was told")
            await self.check_days(self.plan.emergency, "88 %")

    async def down_to_the_floor(self) -> None:
        """As long as the disk stays full the oldest days go, never those of the floor."""
        self.order.tell("down to the floor")
        for _ in range(ROUNDS_MAX):
            with self.filled(93):
                await self.until_level(Level.EMERGENCY)
                await self.verb("retention", "run")
                left = len(await rows_by_day(self.daemon))
                await self.check_days(left, "floor")
                if left == self.plan.floor and "disk_floor" in self.told(fresh=True):
                    break
        else:
            self.expect(False, f"the floor was not reached in {ROUNDS_MAX} rounds")
        self.expect(
            len(await rows_by_day(self.daemon)) == self.plan.floor, "days below the floor are gone"
        )

    async def stopped(self) -> None:
        """96 %: the writers stop, the spool fills, the sockets wait; then all goes on by itself."""
        self.order.tell("96 %")
        with self.filled(96.5):
            await self.daemon.until(
                lambda now: now["upkeep"]["writers_stopped"], "stopped", LEVEL_S_MAX
            )
            first, is_held = self.daemon.status(), False
            with trio.move_on_after(LEVEL_S_MAX):
                while not is_held:  # what was sent before is applied first
                    await trio.sleep(FULL_S)
                    second = self.daemon.status()
                    is_held = (
                        parsed_rows(second) > parsed_rows(first)
                        and second["store"]["applied_rows"] == first["store"]["applied_rows"]
                    )
                    first = second
            self.expect(
                is_held, "96 %: rows went on to the database, or did not go on to the spool"
            )
            await self.simulator.set_rate(max(FILLING_PER_S, self.order.rate_per_s))
            full = await self.daemon.until(
                lambda now: now["store"]["spool_state"] == "full", "full", FULL_S_MAX
            )
            await self.simulator.set_rate(self.order.rate_per_s)
            await trio.sleep(FULL_S)
            self.figures["spool_mib_max"] = round(full["store"]["spool_mib"], 1)
            limit_mib = SPOOL_MIB + 64  # urgent records may go beyond (spool.py)
            self.expect(full["store"]["spool_mib"] <= limit_mib, "96 %: the spool passed its limit")
        begun_s = trio.current_time()
        await self.daemon.until(
            lambda now: not now["upkeep"]["writers_stopped"]
            and now["store"]["spool_state"] == "open"
            and pending(now) < full["store"]["pending_rows"] / 2,
            "well again", RECOVERY_S_MAX,
        )  # fmt: skip
        self.figures["recovery_s"] = round(trio.current_time() - begun_s, 1)
        await self.check_days(self.plan.floor, "96 %")

    async def refused(self) -> None:
        """A cut-off in the future, and one above the floor."""
        for days_back in (-self.plan.keep, self.plan.floor // 2):
            before = iso_ns(day_of(self.now_ns, days_back))[:19] + "Z"
            code, _ = await self.try_verb("retention", "run", "--before", before)
            self.expect(code == 1, f"the cut-off {before} was taken: exit code {code}")
        await self.check_days(self.plan.floor, "refused")

    # --- what must hold ---------------------------------------------------------------------------

    def expect(self, holds: bool, rule: str) -> None:
        """Note a rule that does not hold."""
        self.outcome.expect(holds, rule)

    async def check_days(self, days: int, step: str) -> None:
        """So many whole days before today are there, row by row, and what is kept for ever is."""
        found = await rows_by_day(self.daemon)
        wanted = {day_of(self.now_ns, back): self.rows_per_day for back in range(1, days + 1)}
        if found != wanted:
            odd = {iso_ns(day)[:10]: rows for day, rows in sorted(found.items() ^ wanted.items())}
            self.expect(False, f"{step}: other days than the last {days}: {odd}")
        from_ns = self.listing_ns - WINDOW_S * NS_PER_S
        to_ns = self.listing_ns + WINDOW_S * NS_PER_S
        step_ns = BURST_S * NS_PER_S // self.plan.rows_per_hour
        rows = to_ns // step_ns - (from_ns - 1) // step_ns
        # Where the listing's bundle was written before the day went, an hour on both sides is kept.
        hour = f"{self.listing_ns - KEPT_NS} AND {self.listing_ns + KEPT_NS}"
        for what, count in (
            (f"event_trades WHERE timestamp::long BETWEEN {from_ns} AND {to_ns}", rows),
            (f"event_trades WHERE timestamp::long NOT BETWEEN {hour}", 0),
            ("listing_events", 1),
        ):
            ((kept,),) = await ask(self.daemon, f"SELECT count() FROM {what}")
            self.expect(kept == count, f"{step}: {what} has {kept} rows, not {count}")
        ((holes,),) = await ask(
            self.daemon, "SELECT count() FROM feed_gaps WHERE gap_id = %s", "old-1"
        )
        self.expect(holes == 1, f"{step}: the ledger's old row is gone")

    def told(self, *, fresh: bool = False) -> dict[str, str]:
        """What the upkeep complains of; ``fresh``: also what the log has said."""
        told: dict[str, str] = dict(self.daemon.status().get("upkeep", {}).get("told", {}))
        if fresh and '"disk_floor"' in self.daemon.log_file.read_text(errors="replace"):
            told.setdefault("disk_floor", "")
        return told

    async def until_days(self, days: int, step: str) -> None:
        """Wait until so many days are left, or time is up (then check_days says what is there)."""
        with trio.move_on_after(RUN_S_MAX):
            while len(await rows_by_day(self.daemon)) > days:  # noqa: ASYNC110
                await trio.sleep(1)
            await self.daemon.until(lambda now: now["upkeep"]["working_on"] == "", step)

    async def until_level(self, level: Level) -> None:
        """Wait until the daemon sees the database's disk there."""
        await self.daemon.until(
            lambda now: any(
                disk["name"] == "database" and disk["level"] == level.name.lower()
                for disk in now["upkeep"]["disks"]
            ),
            f"at {level.name}", LEVEL_S_MAX,
        )  # fmt: skip

    # --- hands ------------------------------------------------------------------------------------

    @contextmanager
    def filled(self, percent: float) -> Iterator[None]:
        """The disk is so full at the beginning of the block."""
        path = self.disk / "ballast"
        usage = measure(self.disk)
        usable = usage.used_bytes + usage.available_bytes
        size = int(usable * percent / 100) - usage.used_bytes
        try:
            if size > 0:
                with path.open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, size)
            else:
                self.expect(False, f"the disk is fuller than {percent} % already")
            yield
        finally:
            path.unlink(missing_ok=True)

    async def verb(self, *words: str) -> Any:
        """Its JSON; a verb that fails is a rule that does not hold."""
        code, document = await self.try_verb(*words)
        self.expect(code == 0, f"{' '.join(words)}: exit code {code}")
        return document

    async def try_verb(self, *words: str) -> tuple[int, Any]:
        """Exit code and JSON of a verb, in a process of its own."""
        code, document, _ = await say(self.daemon, *words)
        return code, document
