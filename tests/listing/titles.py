"""The titles of tests/samples/listing_titles.tsv, and titles made by the known forms."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

SAMPLES = Path(__file__).parent.parent / "samples"


@dataclass(frozen=True)
class Titled:
    """A title and the coins that must be read from it."""

    source: str
    title: str
    symbols: tuple[str, ...]


def sample_titles() -> list[Titled]:
    """The 73 titles."""
    with (SAMPLES / "listing_titles.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    made = [
        Titled(row["source"], row["title"], tuple(filter(None, row["symbols"].split(","))))
        for row in rows
    ]
    assert [bool(one.symbols) for one in made] == [row["krw_listing"] == "1" for row in rows]
    return made


SYMBOLS = st.text("ABCDEFGHXYZ0123456789", min_size=1, max_size=15)
NAMES = st.text("가나다라마바 ABCabc", min_size=1, max_size=12).map(str.strip).filter(bool)
MARKET_LISTS = st.lists(
    st.sampled_from(["KRW", "BTC", "USDT"]), min_size=1, max_size=3, unique=True
)
REMARKS = st.sampled_from(
    [
        "",
        " (거래지원 개시 시점 변경 안내)",
        " (주문 타입 제한 관련 안내)",
        "(매도 최저가 기준 가격 안내)",
    ]
)


@st.composite
def coins(draw: st.DrawFn) -> list[tuple[str, str, list[str]]]:
    """Name with maybe another bracket in it, symbol, market list of its own."""
    symbols = draw(st.lists(SYMBOLS, min_size=1, max_size=5, unique=True))
    return [
        (draw(NAMES) + draw(st.sampled_from(["", "(리플)", "(Smart Chain)"])), symbol,
         draw(MARKET_LISTS))
        for symbol in symbols
    ]  # fmt: skip


@st.composite
def upbit_titles(draw: st.DrawFn) -> Titled:
    """A title in one of Upbit's forms, and what it says."""
    listed, shared = draw(coins()), draw(MARKET_LISTS)
    prefix, remark = draw(st.sampled_from(["", "[거래] "])), draw(REMARKS)
    form = draw(st.integers(0, 3))
    names = ", ".join(f"{name}({symbol})" for name, symbol, _ in listed)
    markets = ", ".join(shared)
    symbols = tuple(symbol for _, symbol, _ in listed) if "KRW" in shared else ()
    if form == 0:
        title = f"{names} 신규 거래지원 안내 ({markets} 마켓)"
    elif form == 1:
        title = f"{names} {markets} 마켓 디지털 자산 추가"
    elif form == 2:
        title = f"{markets} 마켓 디지털 자산 추가 ({', '.join(symbol for _, symbol, _ in listed)})"
    else:
        title = ", ".join(
            f"{name}({symbol})({', '.join(own)} 마켓)" for name, symbol, own in listed
        )
        title += draw(st.sampled_from([" 신규 거래지원 안내", " 디지털 자산 추가"]))
        symbols = tuple(symbol for _, symbol, own in listed if "KRW" in own)
    return Titled("upbit", prefix + title + remark, symbols)


@st.composite
def bithumb_titles(draw: st.DrawFn) -> Titled:
    """A title in Bithumb's form."""
    listed = draw(coins())
    prefix = draw(st.sampled_from(["", "[마켓 추가] "]))
    suffix = draw(st.sampled_from(["", " (거래 수수료 무료)", "(이벤트)"]))
    names = ", ".join(f"{name}({symbol})" for name, symbol, _ in listed)
    symbols = tuple(symbol for _, symbol, _ in listed)
    return Titled("bithumb", f"{prefix}{names} 원화 마켓 추가{suffix}", symbols)
