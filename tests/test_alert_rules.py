from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from pumpwatch.alert_rules import RULE_NAMES, RULES, find_signals
from pumpwatch.standing import (
    DetectorStanding,
    DiskStanding,
    HourStanding,
    ListingStanding,
    OperationStanding,
    Standing,
    TablesStanding,
    UpkeepStanding,
    VolumeStanding,
    WriterStanding,
)
from tests.standings import (
    backfill,
    connection,
    database,
    feed,
    process,
    spool,
    standing,
    with_feed,
)

ROOT = Path(__file__).parents[1]


def listing(**changes: Any) -> ListingStanding:
    shown = ListingStanding(
        source="upbit", notice_id="7", symbol="ABC", title="ABC comes", url="https://x",
        announced_at="2026-11-25T08:30:00Z", detected_at="2026-11-25T08:30:05Z",
        trigger_delay_ms=None, state="complete", collected_trades=1, exchanges_with_data=1,
        certificate=None,
    )  # fmt: skip
    return msgspec.structs.replace(shown, **changes)


def with_tables(**changes: Any) -> Standing:
    tables = TablesStanding(
        asked_at="", gaps=[], gaps_open={}, gaps_lost={}, listings=[], operations=[], disk_bytes=0
    )
    return standing(tables=msgspec.structs.replace(tables, **changes))


def with_upkeep(**changes: Any) -> Standing:
    return standing(upkeep=UpkeepStanding(**changes))


def disk(name: str, level: str) -> DiskStanding:
    return DiskStanding(name=name, path=f"/data/{name}", level=level, used_share=0.8, free_bytes=9)


def backup(result: str, finished_at: str | None = "x") -> OperationStanding:
    return OperationStanding(
        started_at="x", finished_at=finished_at, operation="backup", subject="", result=result,
        detail="",
    )  # fmt: skip


def test_nothing_holds_of_a_daemon_in_good_order() -> None:
    assert find_signals(standing()) == {}
    assert (
        find_signals(with_tables(gaps_lost={"okx_spot": 0}, operations=[backup("verified")])) == {}
    )
    assert find_signals(with_feed("okx_spot", state="paused", connections_open=0)) == {}


ALL_DOWN = [feed(shown.feed, connections_open=0) for shown in standing().feeds]
CASES: list[tuple[str, str, Standing]] = [
    ("network_down", "", standing(feeds=ALL_DOWN)),
    ("feed_down", "okx_spot", with_feed("okx_spot", subscribed=0)),
    ("feed_silent", "okx_spot", with_feed("okx_spot", silent_s=61.0)),
    ("connection_down", "okx_spot/3",
     with_feed("okx_spot", connections=[connection(3, state="waiting")])),
    ("symbols_missing", "okx_spot", with_feed("okx_spot", subscribed=9)),
    ("gap_lost", "okx_spot", with_tables(gaps_lost={"okx_spot": 2})),
    ("symbol_mute", "okx_spot/BTCUSDT",
     with_feed("okx_spot", backfill=backfill(mute_symbols=["BTCUSDT"]))),
    ("symbol_mute", "okx_spot",  # many at once have one cause, and are told once
     with_feed("okx_spot", backfill=backfill(mute_symbols=["A", "B", "C", "D"]))),
    ("route_silent", "okx_spot", with_feed("okx_spot", route="wss://elsewhere/ws")),
    ("messages_changed", "okx_spot", with_feed("okx_spot", change="px became a number")),
    ("rest_times_differ", "okx_spot", with_feed("okx_spot", backfill=backfill(times_apart=1))),
    ("window_differs", "", standing(hour=HourStanding(comparisons=9, differences=1))),
    ("balance_broken", "okx_spot", standing(differences=["okx_spot: road: 5 parsed"])),
    ("spool_filling", "", standing(spool=spool(disk_bytes=5000 * 2**20))),
    ("spool_stopped", "", standing(spool=spool(state="full"))),
    ("spool_stopped", "", standing(spool=spool(state="failing"))),
    ("spool_damaged", "", standing(spool=spool(damaged=1))),
    ("database_down", "", standing(database=database(state="down"))),
    ("database_down", "", standing(database=database(state="down", silent_s=50.0, pending_s=51.0))),
    ("database_suspended", "trades", standing(database=database(suspended_tables=["trades"]))),
    ("database_lagging", "", standing(database=database(pending_s=31.0))),
    ("writer_faulty", "trades", standing(writers=[
        WriterStanding(table="trades", state="faulty", requests=1, retries=1, error="no table")])),
    ("disk_filling", "", standing(volume=VolumeStanding(used_bytes=71, free_bytes=29))),
    ("disk_full", "", standing(volume=VolumeStanding(used_bytes=86, free_bytes=14))),
    ("disk_filling", "spool", with_upkeep(disks=[disk("spool", "warn")])),
    ("disk_full", "backups", with_upkeep(disks=[disk("backups", "emergency")])),
    ("disk_emergency", "", with_upkeep(told={"disk_emergency": "days go"})),
    ("disk_floor", "", with_upkeep(told={"disk_floor": "nothing more may go"})),
    ("writers_stopped", "", with_upkeep(writers_stopped=True)),
    ("retention_refused", "", with_upkeep(told={"retention_refused": "the clock"})),
    ("retention_failed", "", with_upkeep(told={"retention_failed": "no answer"})),
    ("cold_failed", "", with_upkeep(told={"cold_failed": "other rows"})),
    ("migration_rolled_back", "change 7", with_upkeep(
        told={"migration_rolled_back/change 7": "slow reads"})),
    ("backup_failed", "", with_upkeep(told={"backup_failed": "no room"})),
    ("backup_broken", "", with_upkeep(told={"backup_broken": "a byte"})),
    ("backup_not_rotated", "", with_upkeep(told={"backup_not_rotated": "read-only"})),
    ("memory_high", "", standing(process=process(rss_bytes=4000 * 2**20))),
    ("clock_offset", "", standing(feeds=[feed(f.feed, lag_ms=-900.0) for f in standing().feeds])),
    ("loop_late", "", standing(process=process(loop_lag_s=1.5))),
    ("detector_blind", "upbit notices", standing(detectors=[
        DetectorStanding(name="upbit notices", interval_s=6.0, silent_s=61.0, error="")])),
    ("listing_partial", "upbit/7/ABC", with_tables(listings=[listing(
        state="partial", detected_at="2026-01-01T00:00:00Z")])),
    ("backup_failed", "", with_tables(operations=[backup("running", None), backup("failed")])),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "subject", "shown"), CASES, ids=[case[0] for case in CASES])
def test_each_rule_finds_what_it_is_about(rule: str, subject: str, shown: Standing) -> None:
    found = find_signals(shown)
    assert (rule, subject) in found
    assert found[rule, subject]
    explained = {
        key for r, s in found if (r, s) != (rule, subject)
        for key in next(x for x in RULES if x.name == r).above(s)
    }  # fmt: skip
    others = set(found) - {(rule, subject)}
    assert not others or (rule, subject) in explained, "what else holds is explained by it"


def test_every_rule_has_a_case() -> None:
    assert {case[0] for case in CASES} == set(RULE_NAMES)


def test_one_slow_feed_is_no_wrong_clock() -> None:
    assert ("clock_offset", "") not in find_signals(with_feed("okx_spot", lag_ms=-5000.0))


def test_parents_are_rules_and_stand_before_their_children() -> None:
    for place, rule in enumerate(RULES):
        for parent, _ in rule.above("okx_spot/3"):
            assert RULE_NAMES.index(parent) != place
            is_first = RULE_NAMES.index(parent) < place
            assert is_first or rule.hold_s > 0, f"{rule.name} would be told before {parent}"


def test_every_rule_is_in_operations() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    assert [name for name in RULE_NAMES if f"| `{name}` |" not in text] == []
