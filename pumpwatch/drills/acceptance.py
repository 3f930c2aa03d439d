"""The plan's acceptance tests, D-00 to D-18: which drill plays each, and what must hold. Sans-IO.

Beside its target every drill wants that no row is missing and none is there twice.
"""

from __future__ import annotations

OWN = "own"  # stands behind the plan's numbers: drills that the plan does not know

# name -> (number, target)
ACCEPTANCE = {
    "environment": (
        "D-00",
        "row stays, schema once, loopback only, defaults refused, memory given back",
    ),
    "replay": ("D-01", "stored = sent in every field, >= 50,000 rows, none misunderstood"),
    "insert": ("D-03a", ">= 50,000 rows/s applied"),
    "pump": ("D-03b", "drained <= 120 s after the burst, memory <= 4 GiB, windows answered"),
    "hybrid": ("D-03c", "memory and table equal"),
    "query": ("D-04", "p99 < 100 ms warm with rows coming in, answers exact, interval scan"),
    "integrity": ("D-06", "no difference without a reason; what is broken is found"),
    "shadow": ("D-13", "equality 100 %, both sides of a difference kept"),
    "stages": ("D-14", "share of reads exact, stage kept over a kill, criteria enforced"),
    "rollback": ("D-15", "one step back and one alert after three bad checks, none before"),
    "times": ("D-17", "every row with the venue's own time"),
    "soak": ("D-02", "<= 3.6 s uncovered a cut, memory <= 4 GiB and level, descriptors level"),
    "listing": ("D-05", "one event a coin, none for traps, windows whole"),
    "outage": ("D-07", "alert <= 5 s"),
    "poison": ("D-07", "each poisoned line in quarantine, all others in order"),
    "crash": ("D-08", "each absent row in the ledger"),
    "power": ("D-08", "each sound record read again"),
    "shutdown": ("D-09", "ends <= 45 s"),
    "retention": ("D-10", "nothing younger than the floor goes"),
    "disk": ("D-10", "alert <= 5 s"),
    "backup": ("D-11", "what is restored equals its manifest"),
    "console": ("D-12", "status <= 10 s, alert <= 60 s and once"),
    "gaps": ("D-16", "each absent row in the ledger, nothing called filled that is not"),
    "fire": ("", "every trouble told and over, the listing signed, the proof line"),
    "replace": ("D-16", "the successor delivers first: nothing missed, nothing thought so"),
    "newborn": ("D-16", "the first trade stored where the list named it in time"),
    "blackout": ("D-16", "all that the venues' lists still showed comes back"),
    "quarantine": ("", "every renamed row kept whole, and recovered once"),
    "thinned": ("", ">= 90 % of what was kept back is found"),
    "burst": ("", "memory level, drains at twice the incoming rate"),
}
# D-18 is no drill of its own: the trace of memory is a part of these.
TRACED = ("soak", "insert", "pump", "hybrid")
NOTHING = ("", "")


def number_of(drill: str) -> str:
    """The plan's number; "" for a drill of our own."""
    return ACCEPTANCE.get(drill, NOTHING)[0]


def numbers_of(drill: str) -> list[str]:
    """All numbers that a drill is found by."""
    own = number_of(drill)
    return [number for number in (own, "D-18" if drill in TRACED else "") if number]


def target_of(drill: str) -> str:
    """What must hold."""
    return ACCEPTANCE.get(drill, NOTHING)[1]
