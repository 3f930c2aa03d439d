"""Past notices become events, each once, back to a day; what is in doubt is named."""

from __future__ import annotations

from typing import Any

from pumpwatch.listing.notices import Notice, NoticePage
from pumpwatch.listing.past_notices import PastNotices

NS = 10**9
DAY_NS = 86_400 * NS
NOW_NS = 1_790_000_000 * NS
LISTING = "코인({}) KRW 마켓 디지털 자산 추가"


def notice(number: int, title: str, days_ago: float, **other: Any) -> Notice:
    published_ns = NOW_NS - int(days_ago * DAY_NS)
    facts: dict[str, Any] = {
        "source": "upbit", "channel": "upbit_web", "notice_id": str(number),
        "aliases": (f"id:{number}",), "title": title, "categories": ("거래",), "url": "",
        "first_published_ns": published_ns, "edited_ns": published_ns, "sort_ns": published_ns,
        "is_edited": False,
    }  # fmt: skip
    return Notice(**(facts | other))


def walk(days: float = 10.0, known: frozenset[str] = frozenset()) -> PastNotices:
    return PastNotices(NOW_NS - int(days * DAY_NS), lambda key: key[2] in known)


def test_listings_alone_become_events_and_known_ones_do_not() -> None:
    page = NoticePage((
        notice(9, LISTING.format("AVA"), 1),
        notice(8, "코인(TT) 거래지원 종료 안내 (9/14 15:00)", 2),
        notice(7, LISTING.format("OLD"), 3), notice(6, LISTING.format("POD"), 4),
    ))  # fmt: skip
    past = walk(known=frozenset({"OLD"}))
    events = past.take(page, NOW_NS, is_full=True)
    assert [(one.symbol, one.state, one.notice_id) for one in events] == [
        ("AVA", "historic", "9"), ("POD", "historic", "6"),
    ]  # fmt: skip
    assert events[0].announced_ns == NOW_NS - DAY_NS
    assert (past.notices, past.is_done) == (4, False)


def test_an_edit_lifts_an_old_notice_and_changes_no_time() -> None:
    lifted = notice(3, LISTING.format("AGO"), 30, sort_ns=NOW_NS, edited_ns=NOW_NS, is_edited=True)
    lately = notice(4, LISTING.format("NEW"), 5, sort_ns=NOW_NS, edited_ns=NOW_NS, is_edited=True)
    past = walk()
    events = past.take(NoticePage((lately, lifted)), NOW_NS, is_full=True)
    assert [one.symbol for one in events] == ["NEW"]
    assert events[0].announced_ns == NOW_NS - 5 * DAY_NS
    assert not past.is_done  # both stand where the newest stand: what follows may be younger


def test_it_ends_behind_the_day_and_at_the_last_page() -> None:
    past = walk()
    past.take(NoticePage((notice(9, "x", 2),)), NOW_NS, is_full=True)
    assert not past.is_done
    past.take(NoticePage((notice(5, LISTING.format("AGO"), 11),)), NOW_NS, is_full=True)
    assert past.is_done
    short = walk()
    short.take(NoticePage((notice(9, "x", 2),)), NOW_NS, is_full=False)
    assert short.is_done


def test_a_notice_that_moved_to_the_next_page_is_one() -> None:
    past, twice = walk(), notice(9, LISTING.format("AVA"), 1)
    assert len(past.take(NoticePage((twice,)), NOW_NS, is_full=True)) == 1
    assert past.take(NoticePage((twice,)), NOW_NS, is_full=True) == []


def test_what_cannot_be_read_is_for_a_person() -> None:
    doubtful = notice(9, "에이다(ADA KRW 마켓 디지털 자산 추가", 1)
    past = walk()
    assert past.take(NoticePage((doubtful,), ("no id: {}",)), NOW_NS, is_full=False) == []
    assert len(past.doubts) == 2
