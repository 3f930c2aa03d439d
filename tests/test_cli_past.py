"""What ``listings backfill`` prints: a line an instrument, and why not all was to be had."""

from __future__ import annotations

import msgspec
import pytest

from pumpwatch.cli_past import print_past, progress
from pumpwatch.errors import EXIT_GOOD, EXIT_NO
from pumpwatch.listing.events import ListingEvent
from pumpwatch.past_journal import FeedHad, Journal, PastEvent

NS = 10**9
EVENT = ListingEvent(
    source="upbit", notice_id="1", symbol="AVA", title="", url="", channel="backfill",
    announced_ns=1_790_000_000 * NS, detected_ns=1_790_000_001 * NS, state="historic",
)  # fmt: skip
FEEDS = [
    FeedHad(feed="okx_spot", symbol="AVAUSDT", from_list=1_234,
            reached_ns=1_789_990_000 * NS, is_window_reached=True),
    FeedHad(feed="bybit_spot", symbol="AVAUSDT", text="the venue shows no trades so old"),
    FeedHad(feed="gate_spot", text="no instrument of this coin is known"),
]  # fmt: skip


def journal(**other: object) -> Journal:
    past = PastEvent(event=EVENT, state="stored", bundle="AVA_20260921_141320", feeds=FEEDS)
    facts = {"since_ns": 1_789_000_000 * NS, "source": "upbit", "state": "done", "notices": 3,
             "events": [past]} | other  # fmt: skip
    return Journal(**facts)  # type: ignore[arg-type]


def test_what_was_to_be_had(capsys: pytest.CaptureFixture[str]) -> None:
    told = msgspec.json.encode(journal(doubts=["7 'AVA (': no closing bracket"])).decode()
    assert print_past(told, as_json=False) == EXIT_GOOD
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["AVA", "2026-09-21T14:13:20", "AVA_20260921_141320"]
    assert ["okx_spot", "AVAUSDT", "1,234", "0", "whole", "2026-09-21T11:26:40"] in lines
    assert lines[3][-7:] == ["the", "venue", "shows", "no", "trades", "so", "old"]
    assert ["no", "instrument", "of", "this", "coin", "is", "known", "on", "gate_spot"] in lines
    assert lines[-2][-3:] == ["no", "closing", "bracket"]
    assert lines[-1][:3] == ["3", "notices", "since"]


def test_files_that_are_not_out_are_asked_for_again(capsys: pytest.CaptureFixture[str]) -> None:
    again = PastEvent(event=EVENT, state="stored", feeds=FEEDS, again_ns=1_790_058_600 * NS)
    told = msgspec.json.encode(journal(events=[again])).decode()
    assert print_past(told, as_json=False) == EXIT_GOOD
    assert "asked for again on 2026-09-22T06:30" in capsys.readouterr().out


def test_what_failed_is_an_exit_code_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    failed = PastEvent(event=EVENT, state="failed", error="the disk is full")
    told = msgspec.json.encode(journal(events=[failed])).decode()
    assert print_past(told, as_json=False) == EXIT_NO
    assert "the disk is full" in capsys.readouterr().out


def test_progress_says_what_it_waits_for() -> None:
    asked = journal(state="notices", page=4, note="page 4: HTTP 429; again in 30 s")
    assert progress(asked) == "page 4 of upbit, 3 notices: page 4: HTTP 429; again in 30 s"
    waiting = PastEvent(event=EVENT)
    assert progress(journal(state="events", events=[waiting])) == "event 1 of 1"
