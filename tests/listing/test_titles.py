"""Titles: the 73 recorded ones, all forms at random, doubts instead of guesses, garbage."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pumpwatch.listing.titles import SYMBOL, TitleReading, read_bithumb_title, read_upbit_title
from tests.listing.titles import Titled, bithumb_titles, sample_titles, upbit_titles

TETHER = "테더 USDT, KRW 마켓 추가 안내"


def read(source: str, title: str) -> TitleReading:
    return read_upbit_title(title) if source == "upbit" else read_bithumb_title(title)


@pytest.mark.parametrize("sample", sample_titles(), ids=lambda sample: sample.title[:40])
def test_every_recorded_title(sample: Titled) -> None:
    reading = read(sample.source, sample.title)
    assert reading.symbols == sample.symbols
    assert reading.is_krw_listing == bool(sample.symbols)
    assert bool(reading.doubt) == (sample.title == TETHER)


def test_there_are_73_of_them() -> None:
    samples = sample_titles()
    assert len(samples) == 73
    assert sum(bool(sample.symbols) for sample in samples) == 33


@given(upbit_titles() | bithumb_titles())
def test_every_form_with_any_coins(made: Titled) -> None:
    assert read(made.source, made.title) == TitleReading(made.symbols)


@given(upbit_titles() | bithumb_titles())
def test_forms_of_unicode_make_no_difference(made: Titled) -> None:
    wide = made.title.translate({ord("("): 0xFF08, ord(")"): 0xFF09, ord(" "): 0x3000})
    decomposed = unicodedata.normalize("NFD", wide)
    assert read(made.source, decomposed) == TitleReading(made.symbols)


@pytest.mark.parametrize(
    "title",
    [
        TETHER,
        "에이(A) 신규 거래지원 안내",  # no market list
        "에이, 비(B) 신규 거래지원 안내 (KRW 마켓)",  # a coin without symbol
        "에이(A) 비(B) 신규 거래지원 안내 (KRW 마켓)",  # two coins, or a name?
        "에이(A) 등 신규 거래지원 안내 (KRW 마켓)",  # "and others"
        "에이(A), 비(B)(KRW 마켓) 신규 거래지원 안내",  # whose list is it?
        "에이(A)(KRW 마켓) 신규 거래지원 안내 (BTC 마켓)",
        "에이(A) 신규 거래지원 안내 (KRW 마켓) (BTC 마켓)",
        "에이(A) 신규 거래지원 안내 (KRW, EUR 마켓)",
        "에이(stETH) KRW 마켓 디지털 자산 추가",
        "에이((A) KRW 마켓 디지털 자산 추가",
        "에이 KRW 마켓 디지털 자산 추가",
        "에이 EUR, KRW 마켓 디지털 자산 추가",
        "에이(A) KRW 마켓 디지털 자산 추가 (B)",
        "KRW 마켓 디지털 자산 추가",
        "KRW 마켓 디지털 자산 추가 (8월 15일)",
        "자유의 날개(WING) 신규 거래지원 안내 (KRW 마켓)",  # 유의 inside a name
        "에이(A) 신규 거래지원 취소 안내 (KRW 마켓)",
        "에이(A) 신규 거래지원 안내 (KRW 마켓) (거래지원 취소 안내)",
        "에이(A) KRW 마켓 신규 지원",
        "KRW 마켓 추가: " + "에이(A), " * 200,
    ],
)
def test_what_cannot_be_read_as_a_whole_is_a_doubt(title: str) -> None:
    reading = read_upbit_title(title)
    assert reading.doubt
    assert reading.symbols == ()


@pytest.mark.parametrize(
    "title",
    [
        "",
        "에이(A) KRW 마켓 거래지원 종료 안내",  # the original took it for a listing (F-33)
        "에이(A) BTC 마켓 신규 거래지원 종료 안내",
        "[이벤트] 에이(A) 신규 거래지원 기념 KRW 마켓 이벤트",
        "에이(A) 신규 거래지원 기념 이벤트! (KRW 마켓)",
        "KRW 마켓 거래 수수료 안내",
        "KRW 마켓 추가 기념 이벤트",
    ],
)
def test_other_news_of_upbit(title: str) -> None:
    assert read_upbit_title(title) == TitleReading()


@pytest.mark.parametrize(
    ("title", "categories", "symbols", "is_doubtful"),
    [
        ("에이(A) 원화 마켓 추가", ("마켓 추가",), ("A",), False),
        ("에이(A) 원화 마켓 추가", ("안내",), (), True),
        ("에이(A) 원화 마켓 추가", ("이벤트",), (), False),
        ("에이(A) 원화 마켓 추가", ("이벤트", "마켓 추가"), ("A",), False),
        ("에이(A) 원화, BTC 마켓 추가", ("마켓 추가",), ("A",), False),
        ("에이(A) BTC 마켓 추가", ("마켓 추가",), (), False),
        ("에이 원화 마켓 추가", ("마켓 추가",), (), True),
        ("에이(A) 원화 마켓 추가 일정 변경", ("마켓 추가",), (), True),
        ("에이(A) 원화 마켓 추가 (취소)", ("마켓 추가",), (), True),
        ("에이(A) 원화마켓 추가 기념 이벤트", ("이벤트",), (), False),
        ("신규 가상자산 소개", ("마켓 추가",), (), True),
        ("에이(A) 거래지원 종료", ("거래지원종료",), (), False),
    ],
)
def test_bithumbs_categories(
    title: str, categories: tuple[str, ...], symbols: tuple[str, ...], is_doubtful: bool
) -> None:
    reading = read_bithumb_title(title, categories)
    assert reading.symbols == symbols
    assert bool(reading.doubt) == is_doubtful


def test_a_listing_under_events_is_a_doubt() -> None:
    title = "에이(A) 신규 거래지원 안내 (KRW 마켓)"
    assert read_upbit_title(title, "이벤트").doubt
    for category in ("거래", "trade", "안내", ""):
        assert read_upbit_title(title, category).symbols == ("A",)


PIECES = st.sampled_from(
    ["KRW", "원화", "BTC", " ", ", ", "(", ")", "[거래]", "마켓", "신규 거래지원", "안내", "추가",
     "디지털 자산 추가", "Market Support for ", "에이", "A", "종료", "이벤트!", "\u0000", "\ud800"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=80))
@example("(" * 5_000 + "KRW 마켓 추가")
@example("KRW," * 20_000 + " 마켓 디지털 자산 추가")
@example("가 안내)" * 20_000)
def test_garbage_is_never_an_error_nor_a_guess(title: str) -> None:
    for reading in (read_upbit_title(title), read_bithumb_title(title)):
        assert not (reading.symbols and reading.doubt)
        assert len(set(reading.symbols)) == len(reading.symbols)
        plain = unicodedata.normalize("NFKC", title)
        for symbol in reading.symbols:
            assert SYMBOL.fullmatch(symbol)
            assert symbol in plain
        if reading.symbols:
            assert "KRW" in plain or "원화" in plain
