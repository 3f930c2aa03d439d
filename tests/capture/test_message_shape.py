"""What changed about a message, in words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pumpwatch.capture.message_shape import (
    COMPARED_PER_S_MAX,
    NAMED_NS,
    NO_JSON,
    OTHER,
    SAME_SHAPE,
    SECOND_NS,
    MessageShape,
    changes_between,
    shape_of,
)
from pumpwatch.venues import FEEDS
from pumpwatch.venues.spec import FeedSpec

START_NS = 1_790_000_000_000_000_000


def members(document: Any) -> list[tuple[dict[str, Any], str]]:
    """Every object of a message and each of its members."""
    if isinstance(document, dict):
        found = [(document, name) for name in document]
        return found + [pair for value in document.values() for pair in members(value)]
    if isinstance(document, list):
        return [pair for value in document[:1] for pair in members(value)]
    return []


@pytest.mark.parametrize("spec", FEEDS, ids=lambda spec: spec.name)
def test_a_renamed_member_is_named_on_every_feed(spec: FeedSpec) -> None:
    count = len(members(json.loads(spec.example)))
    assert count >= 4
    for number in range(count):
        document = json.loads(spec.example)
        place, name = members(document)[number]
        if isinstance(place[name], dict | list):
            continue
        place["zz"] = place.pop(name)
        told = MessageShape(spec.example).change(json.dumps(document).encode(), START_NS)
        assert told == f"{name} is called zz", spec.name


@pytest.mark.parametrize("spec", FEEDS, ids=lambda spec: spec.name)
def test_the_example_is_a_message_with_trades(spec: FeedSpec) -> None:
    status, _, trades = spec.parser.parse(spec.example)
    assert (status, len(trades)) == ("trades", 1)
    assert MessageShape(spec.example).change(spec.example, START_NS) == SAME_SHAPE


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ({"e": "trade", "p": 1.5, "q": "2"}, "p became a number"),
        ({"e": "trade", "p": "1"}, "q is gone"),
        ({"e": "trade", "p": None, "q": ["2"]}, "p became null, q became a list, 0 is new"),
        ({"e": "trade", "z": 1, "q": "2"}, "p is gone, z is new"),
        ({"e": "trade", "p": "1", "q": "2", "new": 5}, SAME_SHAPE),
        ({"a": 1, "b": 2, "c": 3}, OTHER),
        ([1, 2], OTHER),
    ],
)
def test_a_change_in_words(now: Any, told: str) -> None:
    known = shape_of({"e": "trade", "p": "1", "q": "2"})
    assert changes_between(known, shape_of(now)) == told.replace("0 is new", "q.0 is new")


def test_rows_are_told_by_place() -> None:
    known = shape_of({"trades": [[1, "Buy", "2"], [3, "Sell", "4"]]})
    assert known["trades[].2"] == "a text"
    now = shape_of({"trades": [[1, "Buy", 2]]})
    assert changes_between(known, now) == "trades[].2 became a number"


def test_what_is_no_json_is_said() -> None:
    shape = MessageShape(b"{}")
    assert shape.change(b'{"e":', START_NS) == NO_JSON
    assert shape.change(b"\xff", START_NS) == NO_JSON


def test_the_change_of_most_messages_is_named_until_it_is_over() -> None:
    shape = MessageShape(b'{"p":"1"}')
    assert shape.named(START_NS) == ""
    shape.change(b"{", START_NS)
    for number in range(3):
        shape.change(b'{"p":1}', START_NS + number)
    assert shape.named(START_NS + NAMED_NS) == "p became a number"
    assert shape.named(START_NS + NAMED_NS + SECOND_NS) == ""


def test_a_flood_is_compared_so_often_and_no_more() -> None:
    shape = MessageShape(b'{"p":"1"}')
    for _ in range(COMPARED_PER_S_MAX):
        assert shape.change(b'{"p":1}', START_NS) == "p became a number"
    assert shape.change(b"{", START_NS) == "p became a number"
    assert shape.change(b"{", START_NS + SECOND_NS) == NO_JSON
