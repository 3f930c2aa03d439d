"""What changed about messages that cannot be read any more, in words. Sans-IO.

A message is held beside the feed's own example (``FeedSpec.example``), member by member: names and
JSON types, never values. "p became a number", "p is gone, z is new".
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

CHANGES_MAX = 3  # that are named; a message with more is another one
COMPARED_PER_S_MAX = 50  # of one feed: a flood is of the kind that was seen last
SECOND_NS = 10**9
NAMED_NS = 300 * SECOND_NS  # a change that was not seen for so long is over

NO_JSON = "it is no JSON"
SAME_SHAPE = "the same members, and a value that cannot be read"
OTHER = "it is another message than a trade"
WORDS = {bool: "true or false", int: "a number", float: "a number", str: "a text",
         dict: "an object", list: "a list", type(None): "null"}  # fmt: skip

_UNREAD = msgspec.UNSET


def shape_of(document: object, path: str = "") -> dict[str, str]:
    """Every member's JSON type by its path: ``{"data[].p": "a text"}``.

    Of a list of objects or lists the first element stands for all; a list of plain values is a
    row, whose members are told by their place: ``trades_p[].2``.
    """
    shape = {path: WORDS[type(document)]} if path else {}
    if isinstance(document, dict):
        for name, value in document.items():
            shape |= shape_of(value, f"{path}.{name}" if path else str(name))
    elif isinstance(document, list) and document:
        if isinstance(document[0], dict | list):
            shape |= shape_of(document[0], f"{path}[]")
        else:
            for place, value in enumerate(document):
                shape[f"{path}.{place}"] = WORDS[type(value)]
    return shape


def changes_between(known: dict[str, str], now: dict[str, str]) -> str:
    """How a message differs from what is known, in words."""
    gone = [path for path in known if path not in now]
    new = [path for path in now if path not in known]
    told = [
        f"{_short(path)} became {now[path]}"
        for path in known
        if now.get(path, known[path]) != known[path]
    ]
    if len(gone) == len(new) == 1 and known[gone[0]] == now[new[0]]:
        told.append(f"{_short(gone[0])} is called {_short(new[0])}")
    else:
        told += [f"{_short(path)} is gone" for path in gone]
        told += [f"{_short(path)} is new" for path in new if told]
    if not told:
        return SAME_SHAPE
    return ", ".join(told) if len(told) <= CHANGES_MAX else OTHER


def _short(path: str) -> str:
    """A member's own name; a row's place with its list: ``trades_p[].2``."""
    name = path.rsplit(".", 1)[-1]
    return path if name.isdigit() else name.removesuffix("[]")


class MessageShape:
    """One feed's messages: the known shape, and what was seen of changes lately."""

    def __init__(self, example: bytes) -> None:
        self._known = shape_of(_decode(example))
        self._second = -1
        self._compared = 0
        self._last = ""
        self._seen_ns: dict[str, int] = {}
        self._seen: Counter[str] = Counter()

    def change(self, raw: bytes, at_ns: int) -> str:
        """What is other about a message that could not be read."""
        if at_ns // SECOND_NS != self._second:
            self._second, self._compared = at_ns // SECOND_NS, 0
        self._compared += 1
        if self._compared <= COMPARED_PER_S_MAX:
            document = _decode(raw)
            self._last = (
                NO_JSON if document is _UNREAD else changes_between(self._known, shape_of(document))
            )
        self._seen[self._last] += 1
        self._seen_ns[self._last] = at_ns
        return self._last

    def named(self, now_ns: int) -> str:
        """The change that most messages of the last minutes show; "": there were none."""
        for text in [one for one, at_ns in self._seen_ns.items() if now_ns - at_ns > NAMED_NS]:
            del self._seen_ns[text], self._seen[text]
        return max(self._seen, key=lambda one: self._seen[one], default="")


def _decode(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _UNREAD
