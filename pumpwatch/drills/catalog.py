"""Which drills there are, and how one is played."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import trio

from pumpwatch.drills import (
    backup,
    blackout,
    burst,
    console,
    crash,
    disk,
    gaps,
    listing,
    newborn,
    outage,
    poison,
    power,
    replace,
    retention,
    shutdown,
    thinned,
)
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.errors import EXIT_GOOD, EXIT_NO, PumpWatchError, UsageError


class Drill(msgspec.Struct, frozen=True):
    """A drill and what its ``--count`` counts."""

    play: Callable[[Order], Awaitable[Outcome]]
    text: str
    counts: str
    count: int  # short form
    count_long: int
    rate_per_s: int


DRILLS = {
    "crash": Drill(
        crash.run, "SIGKILL of the daemon, and a fifth as often of the database",
        "kills of the daemon", 3, 300, 20_000,
    ),
    "gaps": Drill(
        gaps.run, "faults of the feeds: rows kept back, cuts, silences, closed doors",
        "faults", 48, 500, 20_000,
    ),
    "replace": Drill(
        replace.run, "connections that venues end by plan", "ends", 16, 200, 50_000,
    ),
    "newborn": Drill(
        newborn.run, "instruments announced up to a minute before their first trade", "births",
        24, 200, 3_000,
    ),
    "blackout": Drill(
        blackout.run, "all feeds out of reach", "seconds of it", 10, 600, 5_000,
    ),
    "thinned": Drill(
        thinned.run, "streams that keep 1 % back where no id tells", "seconds of it", 90, 600,
        1_200,
    ),
    "outage": Drill(
        outage.run, "the database stopped, killed, hanging, refusing, cut off",
        "outages", 7, 70, 20_000,
    ),
    "disk": Drill(
        disk.run, "a full volume: the database's, or the spool's", "full disks", 2, 20, 5_000,
    ),
    "poison": Drill(
        poison.run, "lines that the server refuses", "poisoned lines", 5, 200, 10_000,
    ),
    "power": Drill(
        power.run, "power cuts and damage, a spool each", "spools", 200, 1_000, 0,
    ),
    "burst": Drill(
        burst.run, "a database at a tenth of the incoming rate", "seconds of it", 20, 300, 20_000,
    ),
    "backup": Drill(
        backup.run, "backups killed, cut, failing, damaged, and under load", "backups", 3, 20,
        20_000,
    ),
    "console": Drill(
        console.run, "what is shown and told while a feed, the database and the disk fail",
        "rounds", 1, 5, 3_000,
    ),
    "retention": Drill(
        retention.run, "40 days on a small disk at 60, 75, 88 and 96 %", "full disks", 1, 5, 8_000,
    ),
    "listing": Drill(
        listing.run, "notices and traps; rows withheld, the daemon killed", "notices", 50, 200,
        1_500,
    ),
    "shutdown": Drill(
        shutdown.run, "SIGTERM under load, every other time twice", "ends", 2, 20, 50_000,
    ),
}  # fmt: skip


def play(
    name: str,
    *,
    seed: int,
    count: int | None,
    is_long: bool,
    rate_per_s: int | None,
    folder: Path | None,
    with_backfill: bool = True,
    with_comparisons: bool = True,
) -> tuple[int, str]:
    """Play one drill; returns the exit code and its JSON line.

    Its folder is kept where the caller named one, or where something did not hold.
    """
    drill = DRILLS.get(name)
    if drill is None:
        raise UsageError(f"no such drill: {name}; there are {', '.join(DRILLS)}")
    place = folder or Path(tempfile.mkdtemp(prefix=f"pumpwatch-{name}-"))
    order = Order(
        folder=place, seed=seed, count=count or (drill.count_long if is_long else drill.count),
        rate_per_s=drill.rate_per_s if rate_per_s is None else rate_per_s,
        with_backfill=with_backfill, with_comparisons=with_comparisons,
    )  # fmt: skip
    # Told to end, it must still end what it started, and unmount what it mounted.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcome, seconds = trio.run(_timed, drill, order)
    if outcome.is_good and folder is None:
        shutil.rmtree(place, ignore_errors=True)
    else:
        outcome.figures["folder"] = str(place)
    return (EXIT_GOOD if outcome.is_good else EXIT_NO), outcome.line(name, seed, seconds)


async def _timed(drill: Drill, order: Order) -> tuple[Outcome, float]:
    begun_s = trio.current_time()
    try:
        outcome = await drill.play(order)
    except* PumpWatchError as group:
        outcome = Outcome(faults=[_first_line(group)])
    return outcome, trio.current_time() - begun_s


def _first_line(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
