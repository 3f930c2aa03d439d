"""Recorded messages changed and spelled in strange ways: what a parser must not be confused by.

A message is drawn as one seed: changes of values, members added, dropped and repeated, any key
order, white space, escapes, numbers in quotes and strings without. About half of the messages keep
the venue's own spelling, so that the parsers' known spelling and general walk are both met.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from tests._fast.plain_json import DECODER, NUMBER, Number

NUMBERS = (
    "0", "-0", "-1", "1", "1.50", "0.1", "00.1", ".5", "1.", "01", "+1", "", " 1", "1 ", "NaN",
    "Infinity", "1e5", "1.2E-5", "7.2500e-2", "1e", "1e+", "1e9999", "1e10000", "0e99999", "1e-400",
    "12e-10000", "1_0", "0x1", "-", "9" * 38, "9" * 39, "1" + "0" * 50, "0." + "0" * 60 + "1",
    "0." + "3" * 38, "0." + "3" * 39, "9" * 19, "1" + "0" * 19, "1234567890123456789.5",
    "9223372036854775807", "9223372036854775808", "1790000000", "1790000000.5", "1790000000000",
    "-1790000000000", "1.79e12", "1790000000000000", "1790000000000.123456",
    "1790000000000.1234567", "1262304000000", "1262303999999", "4102444800000",
)  # fmt: skip
TEXTS = (
    "buy", "Sell", "sell", "Buy", "BUY", "trade", "aggTrade", "trades", "trades-all", "update",
    "subscribe", "spot.trades", "futures.trades", "pong", "5-9", "7-7", "9-5", "0-3", "05-9", "5-",
    "5-9 ", "-5-9", "5-9223372036854775808", "ADL", "NA", "INSURANCE_FUND", "NEW", "BTCUSDT",
    "币安人生_USDT", "a\U0001f600b", 'q"\\/\b\f\n\r\t\x00', "", "\ud800", "x\udfff",
)  # fmt: skip
OTHERS: tuple[Any, ...] = (True, False, None, [], {}, [[]], {"": None}, [{}])
NAMES = (
    "x", "", "币", "t ", "seqId", "stream", 'k"\\', "\ud83d", "source", "M", "st", "trade_mode",
    "time",
)  # fmt: skip
ESCAPES = {"\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t", '"': '"', "\\": "\\", "/": "/"}


class Members(list[tuple[str, Any]]):
    """An object whose keys may be repeated."""


def wild_value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.random()
    if kind < 0.3:
        return Number(rng.choice([text for text in NUMBERS if NUMBER.fullmatch(text)]))
    if kind < 0.6 or depth > 3:
        return rng.choice(TEXTS + NUMBERS)
    if kind < 0.7:
        return rng.choice(OTHERS)
    if kind < 0.85:
        return [wild_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    names = rng.choices((*NAMES, "p", "data", "id", "result", "e"), k=rng.randrange(4))
    return Members((name, wild_value(rng, depth + 1)) for name in names)


def changed_leaf(value: Any, rng: random.Random) -> Any:
    """Another value, mostly of the same sort."""
    if rng.random() < 0.15:
        return wild_value(rng)
    if isinstance(value, str) and NUMBER.fullmatch(value):
        text = rng.choice(NUMBERS)
        if rng.random() < 0.3:
            text = str(rng.randrange(10 ** rng.randrange(1, 22)))
        return Number(text) if isinstance(value, Number) and NUMBER.fullmatch(text) else text
    if isinstance(value, str):
        return rng.choice(TEXTS)
    return rng.choice(OTHERS)


def changed(value: Any, rng: random.Random, rate: float) -> Any:
    """A copy in which values are changed and members added, dropped and repeated."""
    if isinstance(value, list):
        rows = [changed(item, rng, rate) for item in value]
        return rows + copy.deepcopy(rows) if rng.random() < rate else rows
    if not isinstance(value, dict):
        return changed_leaf(value, rng) if rng.random() < rate else value
    members = Members()
    for name, item in value.items():
        if rng.random() < rate / 3:
            continue
        if rng.random() < rate / 3:
            members.append((name, changed(item, rng, 1.0)))  # must not count: repeated below
        members.append((name, changed(item, rng, rate)))
        if rng.random() < rate:
            members.append((rng.choice(NAMES), wild_value(rng)))
    return members


class Speller:
    """Writes JSON; ``wildness`` 0 is the compact form that venues send."""

    def __init__(self, rng: random.Random, wildness: float) -> None:
        self.rng = rng
        self.wildness = wildness

    def chance(self) -> bool:
        return self.rng.random() < self.wildness

    def space(self) -> str:
        if not self.chance():
            return ""
        return "".join(self.rng.choices(" \t\n\r", k=self.rng.randrange(3)))

    def string(self, text: str) -> str:
        pieces = []
        for char in text:
            must = char in '"\\' or ord(char) < 0x20 or 0xD800 <= ord(char) < 0xE000
            if not must and not self.chance():
                pieces.append(char)
            elif char in ESCAPES and self.rng.random() < 0.5:
                pieces.append("\\" + ESCAPES[char])
            else:
                units = json.dumps(char)[1:-1] if ord(char) > 0xFFFF else f"\\u{ord(char):04x}"
                if self.rng.random() < 0.5:
                    units = units.upper().replace("\\U", "\\u")
                pieces.append(units)
        return '"' + "".join(pieces) + '"'

    def write(self, value: Any) -> str:
        return self.space() + self.value(value) + self.space()

    def value(self, value: Any) -> str:
        if isinstance(value, Number):
            return self.string(value) if self.chance() else str(value)
        if isinstance(value, str):
            return value if NUMBER.fullmatch(value) and self.chance() else self.string(value)
        if isinstance(value, list) and not isinstance(value, Members):
            return "[" + ",".join(map(self.write, value) if value else [self.space()]) + "]"
        if isinstance(value, dict):
            value = Members(value.items())
        if isinstance(value, Members):
            return "{" + self.members(value) + "}"
        return {True: "true", False: "false", None: "null"}[value]

    def members(self, members: Members) -> str:
        if self.chance():
            self.shuffle(members)
        return ",".join(
            self.space() + self.string(name) + self.space() + ":" + self.write(item)
            for name, item in members
        )

    def shuffle(self, members: Members) -> None:
        """Any order, but repeated keys stay in theirs: the last one counts."""
        places = list(range(len(members)))
        self.rng.shuffle(places)
        shuffled = [members[place] for place in places]
        for name in {name for name, _ in members}:
            items = iter([item for other, item in members if other == name])
            shuffled = [(n, next(items)) if n == name else (n, item) for n, item in shuffled]
        members[:] = shuffled


def strange_message(lines: Sequence[bytes], seed: int) -> bytes:
    """One recorded message, changed and spelled by the seed."""
    rng = random.Random(seed)
    document, _ = DECODER.raw_decode(rng.choice(lines).decode())
    document = changed(document, rng, rng.choice([0.0, 0.02, 0.1, 0.3]))
    text = Speller(rng, rng.choice([0.0, 0.0, 0.05, 0.3])).write(document)
    if rng.random() < 0.05:
        text += rng.choice([text, "pong", "{}", "[]", "x", "null", "\n", "}"])
    return text.encode("utf-8", "surrogatepass")


def strange_messages(lines: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Recorded messages, changed and spelled anyhow."""
    objects = [line for line in lines if line.startswith(b"{")]
    return st.integers(0, 2**48).map(lambda seed: strange_message(objects, seed))
