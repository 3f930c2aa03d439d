"""Full disks: the database's volume and the daemon's own, in turn, each a small tmpfs.

A full database volume suspends its tables or makes the server refuse; a full spool volume makes the
daemon stop reading its sockets. Once there is room all rows must be there. Needs root, for mount.

The server takes room ahead, so that a full volume may hurt nobody for a while: of the database an
alert is due from the first row that it refused or did not apply, and the volume is full until then.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import trio

from pumpwatch.drills.outage import is_well
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.reckoning import pending, reckon
from pumpwatch.drills.refused import ALERT_S_MAX, until_alert, watch_refusal
from pumpwatch.drills.stage import DaemonProcess, external_stage, is_subscribed
from pumpwatch.errors import DrillError

# The server takes 16 MiB a column of every partition that it writes to; in the first hour of a run
# late rows open a second one. 1,536 MiB were full without any ballast (seed 201).
DATABASE_MIB = 3072
SPOOL_MIB = 1536
FULL_S = (3.0, 8.0)
BETWEEN_S = (1.0, 3.0)
RECOVERY_S_MAX = 180.0
REST_S = 3.0  # as many rows as come in so long may be pending after the recovery
PAGE_BYTES = 4096
BALLAST = "ballast"
SUSPENDED = "table_suspended"
# What the daemon's log says of each volume.
EVENTS = {
    "database": (SUSPENDED, "writer_retrying", "writer_faulty", "writer_waiting"),
    "spool": ("spool_state",),
}


async def run(order: Order) -> Outcome:
    """Fill a volume ``count`` times; see the module."""
    outcome = Outcome()
    rng = random.Random(order.seed)
    alerts_s = dict.fromkeys(EVENTS, 0.0)
    refused_s = dict.fromkeys(EVENTS, 0.0)  # how long it took rows without any room
    rest = int(order.rate_per_s * REST_S)
    volumes = {"database": order.folder / "server", "spool": order.folder / "run" / "data"}
    with volume(volumes["database"], DATABASE_MIB), volume(volumes["spool"], SPOOL_MIB):
        seed = rng.randrange(1 << 31)
        async with external_stage(order, seed, server_dir=volumes["database"]) as parts:
            daemon = parts.daemon
            daemon.start()
            await daemon.until(is_subscribed, "subscribed")
            for number in range(order.count):
                name = list(volumes)[(order.seed + number) % len(volumes)]
                await trio.sleep(rng.uniform(*BETWEEN_S))
                known = len(daemon.log_file.read_bytes())
                full_s = rng.uniform(*FULL_S)
                async with watch_refusal(parts.proxy, parts.server.address) as refusal:
                    with ballast(volumes[name]):
                        full_at_s = trio.current_time()  # making it takes seconds
                        if name == "spool":
                            refusal.note()
                        alert_s = await until_alert(
                            partial(_has_told, daemon, known, EVENTS[name]), refusal, full_s
                        )
                outcome.expect(alert_s <= ALERT_S_MAX, f"{name}: alert after {alert_s:.1f} s")
                alerts_s[name] = max(alerts_s[name], round(alert_s, 1))
                if refusal.first_s is not None:
                    refused_s[name] = max(refused_s[name], round(refusal.first_s - full_at_s, 1))
                await daemon.until(
                    lambda now, rest=rest: is_well(now) and pending(now) <= rest,  # type: ignore[misc]
                    f"well after a full {name} volume", RECOVERY_S_MAX,
                )  # fmt: skip
            await reckon(outcome, parts.simulator, daemon)
            suspended = daemon.log_file.read_text().count(SUSPENDED)
            outcome.figures = {
                "full_disks": order.count, "tables_suspended": suspended,
                "server_restarts": parts.server.restarts, "alert_s_max": alerts_s,
                "refused_s_max": refused_s,
            }  # fmt: skip
    return outcome


@contextmanager
def volume(place: Path, size_mib: int) -> Iterator[None]:
    """A file system of its own at ``place``, gone afterwards. Raises DrillError."""
    place.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DrillError(f"no tmpfs at {place}: {done.stderr.strip()} (mount needs root)")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


@contextmanager
def ballast(place: Path) -> Iterator[None]:
    """No byte is free at ``place`` when this begins; what others free meanwhile is free."""
    path = place / BALLAST
    try:
        with path.open("wb") as file:
            _fill(file.fileno(), place)
        yield
    finally:
        path.unlink()


@contextmanager
def filled(place: Path, share: float) -> Iterator[None]:
    """The file system of ``place`` is used by this share of it while this lasts."""
    usage = shutil.disk_usage(place)
    path = place / BALLAST
    try:
        with path.open("wb") as file:
            _fill(file.fileno(), place, int(usage.total * share) - usage.used)
        yield
    finally:
        path.unlink(missing_ok=True)


def _fill(fd: int, place: Path, most_bytes: int = sys.maxsize) -> None:
    """Take what is free in halves: what others take meanwhile is no fault of ours."""
    size, step = 0, min(shutil.disk_usage(place).free, most_bytes)
    while step >= PAGE_BYTES:
        try:
            os.posix_fallocate(fd, size, step)
            size += step
        except OSError:
            step //= 2
        step = min(step, most_bytes - size)


def _has_told(daemon: DaemonProcess, known_bytes: int, events: tuple[str, ...]) -> bool:
    """By the log behind ``known_bytes``, and not by the status: that lies on the full volume."""
    text = daemon.log_file.read_bytes()[known_bytes:].decode("utf-8", "replace")
    return any(f'"{event}"' in text for event in events)
