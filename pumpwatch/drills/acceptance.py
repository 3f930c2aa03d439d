"""The plan's acceptance tests, D-00 to D-18: which drill plays each, and what must hold. Sans-IO.

Beside its target every drill wants that no row is missing and none is there twice.
"""

from __future__ import annotations

OWN = "own"  # stands behind the plan's numbers: drills that the plan does not know

# name -> (number, target)
ACCEPTANCE = {
    "environment": ("D-00", "the row stays, schema applied once, loopback only, defaults refused"),
    "replay": ("D-01", "stored = sent in every field, >= 50,000 rows, none misunderstood"),
    "insert": ("D-03a", ">= 50,000 rows/s applied"),
    "pump": ("D-03b", "drained <= 120 s after the burst, memory <= 4 GiB, windows answered"),
    "hybrid": ("D-03c", "memory and table equal"),
    "query": ("D-04", "p99 < 100 ms warm with rows coming in, answers exact, interval scan"),
    "integrity": ("D-06", "no difference without a reason; what is broken is found"),
    "shadow": ("D-13", "equality 100 %, both sides of a difference kept"),
    "stages": ("D-14", "share of reads exact, stage kept over a kill, criteria enforced"),
    "rollback": ("D-15", "one step back and one alert after three bad checks, none before"),
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
    "burst": ("", "memory level, drains at twice the incoming rate"),
}
NOTHING = ("", "")


def number_of(drill: str) -> str:
    """The plan's number; "" for a drill of our own."""
    return ACCEPTANCE.get(drill, NOTHING)[0]


def target_of(drill: str) -> str:
    """What must hold."""
    return ACCEPTANCE.get(drill, NOTHING)[1]
