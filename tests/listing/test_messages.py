from __future__ import annotations

import json

from pumpwatch.listing.certificate import certify
from pumpwatch.listing.evidence import SymbolRows
from pumpwatch.listing.messages import LINES_MAX, Move, document, listed_text, proven_text
from tests.listing.bundles import AT_NS, NS, WINDOW, event, evidence


def test_several_coins_of_one_notice_are_one_message() -> None:
    events = [event(symbol="AA", opening_ns=AT_NS + 3600 * NS), event(symbol="BB")]
    moves = {"AA": [Move(feed="okx_spot", first=1.0, highest=1.5, last=1.4),
                    Move(feed="gate_spot", first=1.0, highest=1.1, last=1.1)]}  # fmt: skip
    title, body = listed_text(events, {"AA": ["okx_spot", "gate_spot"]}, moves, AT_NS + 3 * NS)
    assert title == "upbit lists AA, BB against KRW"
    assert "seen 3.0 s later by upbit_web" in body
    assert "AA: +50.0 % on okx_spot so far, 1 to 1.5, now 1.4" in body
    assert "AA: 2 of 12 feeds have it: okx_spot, gate_spot" in body
    assert "BB: 0 of 12 feeds have it: no feed" in body
    assert "AA: trading opens 2026-09-21T15:13Z" in body
    assert "https://upbit.com/77" in body
    assert "LATE" not in body


def test_a_late_message_says_how_late() -> None:
    for late_s, words in ((13, "13 s"), (960, "16 min"), (7200, "2.0 h")):
        _, body = listed_text([event()], {}, {}, AT_NS + late_s * NS)
        assert f"LATE by {words}" in body


def test_a_verdict_has_eight_lines_at_most() -> None:
    names = ("okx_spot", "gate_futures", "phemex_spot", "bybit_spot", "kucoin_spot")
    feeds = [evidence(name, {"PODUSDT": SymbolRows()}, "0", price=1.0) for name in names]
    feeds[1].price, feeds[2].rest = 9.0, None
    whole = certify(
        event(), WINDOW, feeds, software="3", revision=1, state="partial", missing=list("abcd"),
        made_at_ns=1, kept_to_ns=1,
    )  # fmt: skip
    title, body = proven_text(whole, "bundle: listings/POD", "")
    assert title == f"POD (upbit, announcement): {whole.verdict}"
    assert len(body.splitlines()) <= LINES_MAX
    assert body.splitlines()[-1] == "bundle: listings/POD"
    assert "perhaps another coin of this name: gate_futures" in body
    assert "waits for: a; b; c" in body
    assert "now partial" in proven_text(whole, "x", "complete: 5 proven")[0]


def test_machines_get_one_document() -> None:
    told = json.loads(document("listed", [event()]))
    assert told["type"] == "listed"
    (only,) = told["events"]
    assert (only["symbol"], only["announced_ns"], only["trigger_delay_ms"]) == ("POD", AT_NS, 3000)
    assert only["opening_at"] is None
