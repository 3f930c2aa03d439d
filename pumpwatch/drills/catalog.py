"""Which drills there are, and how one is played. A new one is one line of ``DRILLS``."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import trio

from pumpwatch.config import FEED_NAMES
from pumpwatch.drills import (
    backup,
    blackout,
    burst,
    console,
    crash,
    disk,
    environment,
    fire,
    gaps,
    hybrid,
    insert,
    integrity,
    listing,
    newborn,
    outage,
    poison,
    power,
    pump,
    quarantine,
    query,
    replace,
    replay,
    retention,
    rollback,
    shadow,
    shutdown,
    soak,
    stages,
    thinned,
    times,
)
from pumpwatch.drills.acceptance import OWN, number_of, numbers_of, target_of
from pumpwatch.drills.outcome import Control, Order, Outcome
from pumpwatch.errors import EXIT_GOOD, EXIT_NO, PumpWatchError, UsageError

TELL_S = 30.0  # between two lines that say that it goes on


class Drill(msgspec.Struct, frozen=True):
    """A drill and what its ``--count`` counts."""

    play: Callable[[Order], Awaitable[Outcome]]
    text: str
    counts: str
    count: int  # short form
    count_long: int
    rate_per_s: int
    control: Control | None = None


DRILLS = {
    "crash": Drill(
        crash.run, "SIGKILL of the daemon, and a fifth as often of the database",
        "kills of the daemon", 3, 300, 20_000,
    ),
    "gaps": Drill(
        gaps.run, "faults of the feeds: rows kept back, cuts, silences, closed doors",
        "faults", 48, 500, 20_000, gaps.CONTROL,
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
        thinned.run, "streams that keep 1 % back where no id tells", "seconds of it", 15, 600,
        800, thinned.CONTROL,
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
    "quarantine": Drill(
        quarantine.run, "members of messages renamed, then read again",
        "seconds with other names", 8, 600, 5_000,
    ),
    "listing": Drill(
        listing.run, "notices and traps; rows withheld, the daemon killed", "notices", 50, 200,
        1_500,
    ),
    "shutdown": Drill(
        shutdown.run, "SIGTERM under load, every other time twice", "ends", 2, 20, 50_000,
    ),
    "environment": Drill(
        environment.run, "the database as we make it, made again", "times again", 1, 5, 0,
    ),
    "replay": Drill(
        replay.run, "recorded messages of all feeds, then more of their kind", "seconds", 30, 300,
        3_000,
    ),
    "insert": Drill(
        insert.run, "as fast as it goes, from socket to applied", "seconds", 20, 60, 120_000,
    ),
    "pump": Drill(
        pump.run, "calm, 30 times that, 10 times that, calm", "seconds of burst", 10, 60, 5_000,
    ),
    "hybrid": Drill(
        hybrid.run, "memory and table asked for the same windows", "seconds", 30, 300, 5_000,
    ),
    "query": Drill(
        query.run, "windows of a table of 30 days, cold, warm, with rows coming in",
        "rows a second in the table", 2, 20, 5_000,
    ),
    "integrity": Drill(
        integrity.run, "verify on a whole record, and on one with an id gone", "seconds", 30, 300,
        2_000,
    ),
    "shadow": Drill(
        shadow.run, "the old store and the table compared", "windows by hand", 50, 1_000, 1_000,
    ),
    "stages": Drill(
        stages.run, "reads move by stages, over a kill", "questions a stage", 50, 500, 1_000,
    ),
    "rollback": Drill(
        rollback.run, "failing reads, slow reads, a full disk", "rounds", 1, 3, 1_000,
    ),
    "times": Drill(
        times.run, "the venues' clocks ahead and behind, trades out of order", "seconds each", 12,
        120, 2_000,
    ),
    "fire": Drill(
        fire.run, "a bad day for operators, with its timeline and proof", "minutes", 3, 20, 2_000,
    ),
    "soak": Drill(
        soak.run, "a steady rate for long, with pumps, cuts, restarts, kills", "minutes", 20, 120,
        5_000,
    ),
}  # fmt: skip

# What they prove has nothing to do with which feeds there are.
ANY_FEEDS = frozenset({
    "backup", "burst", "console", "crash", "disk", "fire", "hybrid", "insert", "outage", "poison",
    "pump", "query", "retention", "rollback", "shadow", "shutdown", "soak", "stages",
})  # fmt: skip


def in_order() -> list[str]:
    """By the plan's numbers; our own ones at the end."""
    return sorted(DRILLS, key=lambda name: (number_of(name) or OWN, list(DRILLS).index(name)))


def find(words: Sequence[str]) -> list[str]:
    """Names of drills; a word may be a name or one of the plan's numbers. Raises UsageError."""
    found: list[str] = []
    for word in words:
        named = [name for name in in_order() if word in (name, *numbers_of(name))]
        if not named:
            raise UsageError(f"no such drill: {word}; there are {', '.join(DRILLS)}")
        found += [name for name in named if name not in found]
    return found


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
    is_control: bool = False,
    feeds: Sequence[str] = FEED_NAMES,
    is_alone: bool = True,
) -> tuple[int, str]:
    """Play one drill, or its control; returns the exit code and its JSON line. Raises UsageError.

    Progress goes to stderr.

    Its folder is kept where the caller named one, or where something did not hold.
    """
    drill = DRILLS.get(name)
    if drill is None:
        raise UsageError(f"no such drill: {name}; there are {', '.join(DRILLS)}")
    control = drill.control if is_control else None
    if is_control and control is None:
        named = ", ".join(one for one in in_order() if DRILLS[one].control)
        raise UsageError(f"drill {name} has no control; these do: {named}")
    unknown = [feed for feed in feeds if feed not in FEED_NAMES]
    if unknown or not feeds:
        what = f"no such feed: {', '.join(unknown)}" if unknown else "no feed is named"
        raise UsageError(f"--feeds: {what}; there are {', '.join(FEED_NAMES)}")
    if name not in ANY_FEEDS and len(set(feeds)) < len(FEED_NAMES):
        raise UsageError(
            f"drill {name} plays all feeds; --feeds is for {', '.join(sorted(ANY_FEEDS))}"
        )
    without = control.without if control is not None else ""
    place = folder or Path(tempfile.mkdtemp(prefix=f"pumpwatch-{name}-"))
    order = Order(
        folder=place, seed=seed, count=count or (drill.count_long if is_long else drill.count),
        rate_per_s=drill.rate_per_s if rate_per_s is None else rate_per_s,
        with_backfill=with_backfill and without != "backfill",
        with_comparisons=with_comparisons and without != "comparisons",
        feeds=tuple(name for name in FEED_NAMES if name in feeds), is_alone=is_alone,
        tell=lambda text: _tell(name, text),
    )  # fmt: skip
    # Told to end, it must still end what it started, and unmount what it mounted.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcome, seconds = trio.run(_timed, name, drill, order)
    if control is not None:
        outcome = control.judge(outcome)
    if outcome.is_good and folder is None:
        shutil.rmtree(place, ignore_errors=True)
    else:
        outcome.figures["folder"] = str(place)
    line = outcome.line(name, seed, seconds, number=number_of(name), target=target_of(name))
    return (EXIT_GOOD if outcome.is_good else EXIT_NO), line


def _tell(name: str, text: str) -> None:
    sys.stderr.write(f"drill {name}: {text}\n")
    sys.stderr.flush()


async def _timed(name: str, drill: Drill, order: Order) -> tuple[Outcome, float]:
    begun_s = trio.current_time()
    order.tell(f"{order.count} {drill.counts}, seed {order.seed}")
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_tell_time, order)
            outcome = await drill.play(order)
            nursery.cancel_scope.cancel()
    except* PumpWatchError as group:
        outcome = Outcome(faults=[_first_line(group)])
    return outcome, trio.current_time() - begun_s


async def _tell_time(order: Order) -> None:
    """It goes on: how long it took so far."""
    begun_s = trio.current_time()
    while True:
        await trio.sleep(TELL_S)
        order.tell(f"{trio.current_time() - begun_s:.0f} s")


def _first_line(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
