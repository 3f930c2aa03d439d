from __future__ import annotations

from typing import Any

import pytest

from pumpwatch.health import DATABASE_SILENT_S_MAX, FEED_SILENT_S_MAX, Health, judge
from pumpwatch.standing import Standing, VolumeStanding
from tests.standings import database, process, spool, standing, with_feed


def part(health: Health, name: str) -> str:
    return next(part.state for part in health.parts if part.name == name)


def test_a_daemon_in_good_order_is_ok_and_ready() -> None:
    health = judge(standing())
    assert (health.state, health.is_ready, health.reasons()) == ("ok", True, "")


@pytest.mark.parametrize(
    ("shown", "name", "state", "is_ready"),
    [
        (standing(state="starting"), "daemon", "down", False),
        (standing(process=process(loop_lag_s=5.0)), "daemon", "degraded", True),
        (standing(spool=spool(state="full")), "spool", "down", False),
        (standing(spool=spool(state="failing")), "spool", "down", False),
        (standing(spool=spool(disk_bytes=8000 * 2**20)), "spool", "degraded", True),
        (standing(database=database(state="down", silent_s=1.0)), "database", "down", False),
        (standing(database=database(silent_s=None)), "database", "down", False),
        (standing(database=database(suspended_tables=["trades"])), "database", "down", False),
        (standing(database=database(pending_rows=5, pending_s=31.0)), "database", "down", False),
        (standing(differences=["okx_spot: road"]), "balance", "down", True),
        (standing(volume=VolumeStanding(used_bytes=96, free_bytes=4)), "disk", "down", True),
        (standing(volume=VolumeStanding(used_bytes=90, free_bytes=10)), "disk", "degraded", True),
        (standing(feeds=[]), "feeds", "down", False),
    ],
)
def test_each_part_is_judged(shown: Standing, name: str, state: str, is_ready: bool) -> None:
    health = judge(shown)
    assert (part(health, name), health.is_ready) == (state, is_ready)
    assert health.state == state
    assert name in health.reasons()


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"connections_open": 0}, "down"),
        ({"subscribed": 0}, "down"),
        ({"wanted": 0, "subscribed": 0}, "down"),
        ({"subscribed": 5}, "degraded"),
        ({"silent_s": FEED_SILENT_S_MAX + 1}, "down"),  # open sockets prove nothing
        ({"silent_s": None}, "degraded"),
        ({"state": "paused", "connections_open": 0}, "degraded"),
    ],
)
def test_one_feed_is_judged_and_counted(changes: dict[str, Any], state: str) -> None:
    health = judge(with_feed("gate_futures", **changes))
    assert part(health, "gate_futures") == state
    assert part(health, "feeds") == state
    assert part(health, "gate_spot") == "ok"


def test_an_answer_that_hangs_is_no_answer() -> None:
    """A stopped server keeps its sockets open: only the age of its last answer tells."""
    hung = judge(standing(database=database(state="up", silent_s=DATABASE_SILENT_S_MAX + 0.5)))
    slow = judge(standing(database=database(state="up", silent_s=DATABASE_SILENT_S_MAX - 0.5)))
    assert (part(hung, "database"), part(slow, "database")) == ("down", "ok")
