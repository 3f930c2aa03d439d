"""Opening times in the text of notices."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.listing.bodies import opening_times
from pumpwatch.listing.notices import KST, NS

PUBLISHED = datetime(2026, 12, 31, 14, 0, tzinfo=KST)
PUBLISHED_NS = int(PUBLISHED.timestamp()) * NS


def opens(html: str, *symbols: str) -> dict[str, int]:
    return opening_times(html, symbols or ("A",), PUBLISHED_NS)


def at(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=KST).timestamp()) * NS  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("거래지원 개시 시점 : 2026-12-31 17:00 KST (예정)", (2026, 12, 31, 17, 0)),
        ("거래지원 개시 시점: 2026년 12월 31일 17:30 예정", (2026, 12, 31, 17, 30)),
        ("거래 시작 : 12월 31일(목) 오후 5시", (2026, 12, 31, 17, 0)),
        ("거래 오픈 : 1월 2일 오전 9시 30분", (2027, 1, 2, 9, 30)),  # the year is the next one
        ("거래지원 개시 2027.01.01 12:00", (2027, 1, 1, 12, 0)),
        ("Trading starts: 2027/01/01 09:00 KST", (2027, 1, 1, 9, 0)),
        ("<b>거래지원 개시</b> 시점은 2026-12-31T18:00 입니다", (2026, 12, 31, 18, 0)),
    ],
)
def test_a_sentence_for_all_coins(text: str, moment: tuple[int, ...]) -> None:
    assert opens(f"<p>안내드립니다.</p><p>{text}</p>", "A", "B") == {
        "A": at(*moment),
        "B": at(*moment),
    }


@pytest.mark.parametrize(
    "html",
    [
        "",
        "<p>거래지원 개시 시점은 추후 안내드립니다.</p>",
        "<p>2026-12-31 17:00</p>",  # of what?
        "<p>거래지원 개시 : 2021-01-01 09:00</p>",  # long ago
        "<p>거래지원 개시 : 13월 45일 99:99</p>",
        "<p>거래지원 개시</p><p>입금 개시 : 2026-12-31 15:00</p>",  # deposits open
        "<script>거래지원 개시 2026-12-31 17:00</script>",
    ],
)
def test_nothing_is_made_up(html: str) -> None:
    assert opens(html) == {}


def test_a_row_of_its_own_counts_before_the_sentence() -> None:
    html = (
        "<p>거래지원 개시 시점 : 2026-12-31 17:00 KST</p><table>"
        "<tr><th>디지털 자산</th><th>마켓</th><th>개시</th></tr>"
        "<tr><td>에이비(AB)</td><td>KRW</td><td>2026-12-31 18:00</td></tr>"
        "<tr><td>에이(A)</td><td>KRW</td><td>2026-12-31 19:00</td></tr></table>"
        "<p>A 입금 : 2026-12-31 15:00</p>"
    )
    found = opens(html, "A", "AB", "C")
    assert found == {
        "A": at(2026, 12, 31, 19, 0), "AB": at(2026, 12, 31, 18, 0), "C": at(2026, 12, 31, 17, 0),
    }  # fmt: skip


@given(st.text(max_size=300), st.timedeltas(timedelta(0), timedelta(days=59)))
def test_any_text_around_a_time(noise: str, ahead: timedelta) -> None:
    assert isinstance(opens(noise, "A", "(", "KRW"), dict)
    moment = (PUBLISHED + ahead).replace(second=0, microsecond=0)
    html = f"<p>거래지원 개시 : {moment:%Y-%m-%d %H:%M}</p>"
    assert opens(html) == {"A": int(moment.timestamp()) * NS}
