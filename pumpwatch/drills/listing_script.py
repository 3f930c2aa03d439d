"""Scripted notices of a drill: listings, traps, and what a detector must find."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec

WITHHELD = (0, 0, 1, 5, 100)  # rows that a feed keeps back around a listing
FORMS = {
    "upbit": (
        "코인({0}) 신규 거래지원 안내 (KRW, BTC, USDT 마켓)",
        "코인({0}) KRW 마켓 디지털 자산 추가",
    ),
    "bithumb": ("코인({0}) 원화 마켓 추가",),
}
TWO = "코인({0}), 동전({1}) 신규 거래지원 안내 (KRW 마켓)"
TRAPS: tuple[dict[str, Any], ...] = (
    {"board": "upbit", "do": "edit", "key": "old"},
    {"board": "upbit", "do": "publish", "title": "코인({0}) 거래지원 종료 안내 (9/14 15:00)"},
    {"board": "upbit", "do": "publish", "category": "이벤트",
     "title": "코인({0}) 거래하고, 총 상금 1 BTC 받아가세요! 트레이딩 이벤트!"},
    {"board": "upbit", "do": "publish", "title": "코인({0}) 신규 거래지원 안내 (BTC, USDT 마켓)"},
    {"board": "bithumb", "do": "publish", "category": "거래유의",
     "title": "코인({0}) 거래유의종목 지정"},
    {"board": "upbit", "do": "refuse", "status": 429, "retry_after_s": 1.0, "count": 2},
    {"board": "upbit", "do": "refuse", "status": 403, "count": 1},
    {"board": "bithumb", "do": "refuse", "status": 302, "count": 2},
)  # fmt: skip


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One action of the boards; ``symbols``: coins that must become events."""

    at_s: float
    actions: tuple[dict[str, Any], ...]
    symbols: tuple[str, ...] = ()
    withheld: int = 0
    withheld_feeds: tuple[str, ...] = ()


def make_notices(
    rng: random.Random, coins: Sequence[str], feeds: Sequence[str], count: int, every_s: float
) -> list[Notice]:
    """``count`` of them: two of three are listings, each coin once; every trap occurs."""
    left = list(coins)
    rng.shuffle(left)
    notices: list[Notice] = []
    traps = [TRAPS[number % len(TRAPS)] for number in range(count // 3)]
    kinds = ["trap"] * len(traps) + ["listing"] * (count - len(traps))
    rng.shuffle(kinds)
    for number, kind in enumerate(kinds):
        at_s = number * every_s
        if kind == "trap":
            trap = dict(traps.pop())
            if "title" in trap:
                trap["title"] = trap["title"].format(left[0])
            notices.append(Notice(at_s=at_s, actions=({**trap, "at_s": at_s},)))
        else:
            notices.append(_listing(rng, left, feeds, number, at_s))
    return notices


def _listing(
    rng: random.Random, left: list[str], feeds: Sequence[str], number: int, at_s: float
) -> Notice:
    board = rng.choice(("upbit", "bithumb"))
    is_double = board == "upbit" and rng.random() < 0.2 and len(left) > 1
    symbols = tuple(left.pop() for _ in range(1 + is_double))
    title = TWO if is_double else rng.choice(FORMS[board])
    action = {
        "board": board, "do": "publish", "key": f"n{number}", "at_s": at_s,
        "title": title.format(*symbols), "symbols": symbols,
        "late_s": rng.choice((0.0, 0.0, 0.0, 4.0, 13.0)),
        "opening_s": rng.choice((0.0, 0.0, 60.0)) if board == "upbit" else 0.0,
    }  # fmt: skip
    withheld = WITHHELD[number % len(WITHHELD)]
    some = tuple(rng.sample(list(feeds), 3)) if withheld else ()
    return Notice(
        at_s=at_s, actions=(action,), symbols=symbols, withheld=withheld, withheld_feeds=some
    )
