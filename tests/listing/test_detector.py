"""One event for each new listing and none for anything else, however the boards are seen."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.listing.detector import missing_rows
from pumpwatch.listing.events import ListingEvent
from pumpwatch.listing.notices import NS, NoticePage
from tests.listing.making import (
    DAY_S,
    DELISTED,
    NOW_NS,
    OLD,
    POD,
    TETHER,
    TWO,
    Bench,
    bithumb,
    look,
    on_socket,
    upbit,
)


@pytest.fixture
def bench() -> Bench:
    """A detector that has seen Upbit's first page once."""
    bench = Bench()
    bench.web(0, *OLD)
    return bench


def test_the_event_of_a_new_notice(bench: Bench) -> None:
    bench.web(6, *OLD)
    found = bench.web(12, upbit(200, POD, 8), *OLD)
    assert found.events == [
        ListingEvent(
            source="upbit", notice_id="200", symbol="POD", title=POD,
            url="https://upbit.com/service_center/notice?id=20000000", channel="upbit_web",
            announced_ns=NOW_NS + 8 * NS, detected_ns=NOW_NS + 12 * NS,
            last_absent_ns=NOW_NS + 6 * NS - NS // 5,  # asked then, and it was not there
        )
    ]  # fmt: skip
    assert found.events[0].trigger_delay_ms == 4_000
    assert found.texts == ["200"]
    assert found.must_save
    again = bench.web(18, upbit(200, POD, 8), *OLD)
    assert (again.listed, again.alerts, again.texts) == ([], [], [])
    assert not again.must_save


def test_a_cold_start_only_seeds() -> None:
    bench = Bench()
    found = bench.web(0, upbit(200, POD, -1), *OLD)
    assert (found.listed, found.alerts, found.seeded) == ([], [], 21)
    # Control: the same notice is one when the board was seen before.
    assert Bench().web(0, *OLD).seeded == 20
    warm = Bench()
    warm.web(0, *OLD)
    assert warm.web(6, upbit(200, POD, -1), *OLD).events


def test_several_coins_are_one_event_each_told_together(bench: Bench) -> None:
    found = bench.web(6, upbit(200, TWO, 5), *OLD)
    assert [[event.symbol for event in coins] for coins in found.listed] == [["A", "B"]]
    assert bench.found() == [("upbit", "200", "A"), ("upbit", "200", "B")]


@pytest.mark.parametrize("title", [DELISTED, "쑨(SOON) 신규 거래지원 안내 (BTC, USDT 마켓)"])
def test_other_news_are_nothing(bench: Bench, title: str) -> None:
    found = bench.web(6, upbit(200, title, 5), *OLD)
    assert (found.listed, found.alerts) == ([], [])


def test_a_title_nobody_can_read_is_an_alert_once(bench: Bench) -> None:
    for at_s in (6, 12):
        found = bench.web(at_s, upbit(200, TETHER, 5), *OLD)
        assert found.listed == []
    assert bench.alerts == ["ambiguous_title"]


# --- edits, and notices from below ----------------------------------------------------------------


def test_an_edit_that_lifts_an_old_notice_is_nothing(bench: Bench) -> None:
    lifted = upbit(50, POD + " (거래지원 개시 시점 변경 안내)", -7 * DAY_S / 24, edited_s=5)
    found = bench.web(6, lifted, *OLD)
    assert (found.listed, found.alerts) == ([], [])
    # Control: published after our first look and edited before the second, it is an event.
    new = upbit(201, TWO, 2, edited_s=5)
    assert len(bench.web(12, new, lifted, *OLD).events) == 2


def test_an_edit_of_a_seen_notice_is_nothing(bench: Bench) -> None:
    bench.web(6, upbit(200, POD, 5), *OLD)
    for edit in range(3):
        edited = upbit(200, POD + f" (변경 {edit} 안내)", 5, edited_s=100 + edit)
        found = bench.web(110 + edit, edited, *OLD)
        assert (found.listed, found.alerts, found.revised) == ([], [], [])
        assert found.texts == ["200"]  # the opening may have moved
    assert bench.found() == [("upbit", "200", "POD")]


def test_a_notice_from_behind_the_page_is_nothing(bench: Bench) -> None:
    below = upbit(40, POD, -20.5 * DAY_S)
    found = Bench(bench.memory, late_s_max=30 * DAY_S).web(6, *OLD[1:], below)
    assert (found.listed, found.alerts) == ([], [])
    # Control: on top of the page it is new, whatever its age.
    other = upbit(41, TWO, -20.5 * DAY_S)
    assert Bench(bench.memory, late_s_max=30 * DAY_S).web(12, other, *OLD[1:]).events


def test_a_seen_notice_that_becomes_a_listing_is_an_alert(bench: Bench) -> None:
    bench.web(6, upbit(200, "쑨(SOON) 신규 거래지원 안내 (BTC 마켓)", 5), *OLD)
    now_won = upbit(200, "쑨(SOON) 신규 거래지원 안내 (KRW, BTC 마켓)", 5, edited_s=60)
    assert bench.web(66, now_won, *OLD).listed == []
    bench.web(72, now_won, *OLD)
    assert bench.alerts == ["edited_into_listing"]


def test_a_listing_that_is_called_off_is_an_alert(bench: Bench) -> None:
    bench.web(6, upbit(200, POD, 5), *OLD)
    off = upbit(200, POD + " (거래지원 취소 안내)", 5, edited_s=60)
    bench.web(66, off, *OLD)
    assert bench.alerts == ["edited_listing"]
    assert bench.found() == [("upbit", "200", "POD")]


# --- late, early, wrong clocks --------------------------------------------------------------------


@pytest.mark.parametrize("late_s", [0, 13, 16 * 60, 2 * 3600])
def test_late_detection_keeps_the_time(bench: Bench, late_s: float) -> None:
    found = bench.web(6, upbit(200, POD, 6 - late_s), *OLD)
    assert [event.announced_ns for event in found.events] == [NOW_NS + int((6 - late_s) * NS)]
    assert found.events[0].trigger_delay_ms == late_s * 1000


def test_older_than_the_limit_is_an_alert(bench: Bench) -> None:
    found = bench.web(6, upbit(200, POD, 5 - DAY_S), *OLD)
    assert (found.listed, bench.alerts) == ([], ["too_old"])
    limit = Bench(bench.memory, late_s_max=2 * DAY_S)
    assert limit.web(12, upbit(201, POD, 5 - DAY_S), *OLD).events


def test_our_clock_may_be_wrong(bench: Bench) -> None:
    # Ours is two days ahead: by the board's clock the notice is a second old.
    ahead = bench.web(6, upbit(200, POD, 5 - 2 * DAY_S), *OLD, venue_ahead_s=-2 * DAY_S)
    assert [event.symbol for event in ahead.events] == ["POD"]
    # Ours is two days behind: the delay is below 0, and the event there all the same.
    behind = bench.web(12, upbit(201, TWO, 11 + 2 * DAY_S), *OLD, venue_ahead_s=2 * DAY_S)
    assert [event.symbol for event in behind.events] == ["A", "B"]
    assert behind.events[0].trigger_delay_ms < 0
    assert bench.alerts == []


def test_published_in_the_future_is_an_alert(bench: Bench) -> None:
    assert bench.web(6, upbit(200, POD, 6 + 300), *OLD).events  # within what clocks differ
    assert bench.web(12, upbit(201, TWO, 6 + 4000), *OLD).listed == []
    assert bench.alerts == ["future"]


def test_a_moved_publication_moves_the_event(bench: Bench) -> None:
    bench.web(0, source="bithumb", view="notices", is_full=False)
    first = bench.web(6, bithumb(9, "에이(A) 원화 마켓 추가", 5), source="bithumb", view="notices")
    moved = bench.web(9, bithumb(9, "에이(A) 원화 마켓 추가", 65), source="bithumb", view="notices")
    assert moved.listed == []
    assert moved.revised == [first.events[0].revised(announced_ns=NOW_NS + 65 * NS)]
    assert moved.revised[0].revision == 2


# --- two channels, two boards ---------------------------------------------------------------------


@pytest.mark.parametrize("is_web_first", [True, False])
def test_web_and_socket_are_one_event(bench: Bench, is_web_first: bool) -> None:
    notice = upbit(200, TWO, 5)
    first, second = (
        (bench.web(6, notice, *OLD), bench.socket(7, notice))
        if is_web_first
        else (bench.socket(6, notice), bench.web(7, notice, *OLD))
    )
    assert [event.channel for event in first.events] == [
        "upbit_web" if is_web_first else "upbit_socket"
    ] * 2
    assert second.listed == []
    assert len(bench.found()) == 2
    assert first.texts + second.texts == ["200"]  # by the number, which only the web knows
    assert {name: list(delays) for name, delays in bench.detector.delays_ms.items()} == {
        "upbit_web": [1_000 if is_web_first else 2_000],
        "upbit_socket": [2_000 if is_web_first else 1_000],
    }
    assert bench.web(13, notice, *OLD).listed == []
    assert len(bench.detector.opening("upbit", "id:200", {"A": 1, "B": 1}).revised) == 2
    # Control: without a common name they are two.
    stranger = msgspec.structs.replace(on_socket(notice), aliases=("uuid:1",), notice_id="1")
    found = bench.detector.socket(stranger, look(20), is_created=True)
    assert len(found.events) == 2


def test_the_socket_needs_no_seed_but_knows_edits() -> None:
    bench = Bench()
    assert bench.socket(5, upbit(200, POD, 4, edited_s=4.9)).events
    lifted = upbit(50, TWO, -3600, edited_s=6)
    assert bench.socket(7, lifted, is_created=False).listed == []
    recent = upbit(201, TWO, 8, edited_s=9)  # created while the socket was away
    assert len(bench.socket(10, recent, is_created=False).events) == 2


def test_an_edit_seen_by_the_socket_first_is_read_by_the_web(bench: Bench) -> None:
    bench.web(6, upbit(200, POD, 5), *OLD)
    edited = upbit(200, POD, 5, edited_s=60)
    assert bench.socket(61, edited, is_created=False).texts == []
    assert bench.web(66, edited, *OLD).texts == ["200"]


def test_the_same_coin_on_both_boards_is_two_events(bench: Bench) -> None:
    bench.web(0, source="bithumb", view="notices", is_full=False)
    bench.web(6, upbit(200, POD, 5), *OLD)
    bench.web(6, bithumb(200, "돌핀(POD) 원화 마켓 추가", 5), source="bithumb", view="notices")
    assert bench.found() == [("upbit", "200", "POD"), ("bithumb", "200", "POD")]


def test_the_list_of_all_categories_finds_what_is_filed_elsewhere(bench: Bench) -> None:
    """Its first look seeds only what the list of listings would not have shown."""
    filed_elsewhere = upbit(199, TWO, -60, category="안내")
    found = bench.web(6, upbit(200, POD, 5), filed_elsewhere, *OLD, view="all")
    assert [event.symbol for event in found.events] == ["POD"]
    later = upbit(201, "씨(C) 신규 거래지원 안내 (KRW 마켓)", 11, category="안내")
    found = bench.web(12, later, filed_elsewhere, *OLD, view="all")
    assert [event.symbol for event in found.events] == ["C"]


def test_looks_that_say_nothing_of_absence(bench: Bench) -> None:
    bench.web(6, *OLD[:3], is_first=False)  # a later page
    assert bench.detector.looked_ns("upbit") == NOW_NS - NS // 5
    bench.detector.unchanged("upbit", look(12))  # 304
    assert bench.detector.looked_ns("upbit") == NOW_NS + 12 * NS - NS // 5


def test_whether_a_page_reaches_back(bench: Bench) -> None:
    fresh = [upbit(300 + n, POD, n) for n in range(20)]
    assert not bench.detector.reaches_back("upbit", NoticePage(tuple(fresh)))
    assert bench.detector.reaches_back("upbit", NoticePage((*fresh, OLD[0])))
    assert Bench().detector.reaches_back("upbit", NoticePage(tuple(fresh)))  # cold


# --- memory ---------------------------------------------------------------------------------------


def test_a_restart_knows_what_was_seen(bench: Bench) -> None:
    bench.web(6, upbit(200, POD, 5), *OLD)
    again = bench.restarted()
    assert again.found() == bench.found()
    assert again.web(12, upbit(200, POD, 5), *OLD).listed == []
    assert [e.symbol for e in again.web(18, upbit(201, TWO, 8), *OLD).events] == ["A", "B"]
    # Control: without the file it would have been seeded.
    assert Bench().web(18, upbit(201, TWO, 8), *OLD).listed == []


def test_a_notice_from_while_we_were_away_is_an_event(bench: Bench) -> None:
    again = bench.restarted()
    found = again.web(2 * 3600, upbit(200, POD, 60), *OLD)
    assert found.events[0].announced_ns == NOW_NS + 60 * NS
    assert found.events[0].last_absent_ns == NOW_NS - NS // 5  # the last look before the stop


def test_the_table_alone_is_enough_against_doubles(bench: Bench) -> None:
    """A crash between the row and the file: the notice is not new once more."""
    before = bench.restarted()
    web = bench.web(6, upbit(200, TWO, 5), *OLD).events
    sock = bench.socket(8, upbit(202, POD, 7)).events
    crashed = Bench(before.memory, stored=[*web, *sock])
    notices = [upbit(202, POD, 7), upbit(200, TWO, 5)]
    assert crashed.web(12, *notices, *OLD).listed == []
    assert crashed.socket(13, notices[1]).listed == []
    # Control: with neither it is found again.
    assert len(before.web(12, *notices, *OLD).events) == 3


def test_rows_that_the_table_misses() -> None:
    old, new = (event("A"), event("B"))
    newer = old.revised(state="complete", collected_trades=5)
    assert missing_rows([old, new], [newer]) == [new]
    assert missing_rows([newer, new], [old, new]) == [newer]
    assert missing_rows([], [old]) == []


def event(symbol: str) -> ListingEvent:
    return ListingEvent(
        source="upbit", notice_id="1", symbol=symbol, title="t", url="u", channel="upbit_web",
        announced_ns=1, detected_ns=2,
    )  # fmt: skip


def test_what_is_very_old_is_forgotten_unless_it_is_shown() -> None:
    bench = Bench()
    ancient = [upbit(n, POD, -200 * DAY_S + n) for n in range(300)]
    bench.web(-200 * DAY_S + 300, *ancient)
    bench.web(0, *ancient[:20])
    assert len(bench.memory.boards["upbit"].notices) == 20
    assert bench.web(6, *ancient[:20]).alerts == []  # still known


# --- openings, by hand ----------------------------------------------------------------------------


def test_openings_revise_the_event(bench: Bench) -> None:
    bench.web(6, upbit(200, TWO, 5), *OLD)
    found = bench.detector.opening("upbit", "id:200", {"A": NOW_NS + 3600 * NS})
    assert [(e.symbol, e.opening_ns, e.revision) for e in found.revised] == [
        ("A", NOW_NS + 3600 * NS, 2)
    ]
    assert bench.detector.opening("upbit", "id:200", {"A": NOW_NS + 3600 * NS}).revised == []
    assert bench.detector.opening("upbit", "id:7", {"A": 1}).revised == []


def test_a_listing_by_hand_is_one_event(bench: Bench) -> None:
    found = bench.detector.add("SOMI", NOW_NS - 60 * NS, NOW_NS, "")
    assert [e.key for e in found.events] == [("manual", str(NOW_NS - 60 * NS), "SOMI")]
    assert bench.detector.add("SOMI", NOW_NS - 60 * NS, NOW_NS + NS, "again").listed == []
    assert bench.detector.add("SOMI", NOW_NS, NOW_NS + NS, "").events


# --- everything at once ---------------------------------------------------------------------------


@given(st.integers(0, 2**32))
def test_any_history_gives_each_listing_once(seed: int) -> None:
    """Publications, edits, delistings, polls, messages, restarts in any order."""
    rng = random.Random(seed)
    bench = Bench()
    bench.web(0, *OLD)
    board = list(OLD)
    expected: set[tuple[str, str]] = set()
    for step in range(1, 40):
        at_s = step * 6.0
        what = rng.random()
        if what < 0.3:
            coin = f"C{step}"
            number = 1000 + step
            notice = upbit(number, f"코인({coin}) KRW 마켓 디지털 자산 추가", at_s - 1)
            expected.add((str(notice.first_published_ns), coin))
            board.insert(0, notice)
            if rng.random() < 0.5:
                bench.socket(at_s - 0.5, notice)
        elif what < 0.5:
            board.insert(0, upbit(1000 + step, rng.choice([DELISTED, TETHER]), at_s - 1))
        elif what < 0.8:
            place = rng.randrange(len(board))
            at_ns = NOW_NS + int(at_s * NS)
            edited = msgspec.structs.replace(
                board.pop(place), edited_ns=at_ns, sort_ns=at_ns, is_edited=True
            )
            board.insert(0, edited)
            if rng.random() < 0.5:
                bench.socket(at_s, edited, is_created=False)
        elif what < 0.9:
            bench = bench.restarted()
        if rng.random() < 0.8:
            bench.web(at_s, *board[:20])
    bench.web(300, *board[:20])
    bench.web(306, *board[20:40], is_first=False)
    bench.web(312, *board[40:], is_first=False)
    found = [(str(e.announced_ns), e.symbol) for e in bench.book.all()]
    assert sorted(found) == sorted(expected), seed
