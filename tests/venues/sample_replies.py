"""The recorded messages and lists that the venues' tests read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pumpwatch.venues.spec import FeedSpec, Listed, ListPage, Reply

SAMPLES = Path(__file__).parents[1] / "samples"


def replies(spec: FeedSpec) -> dict[int, Reply]:
    """What the feed's own reader makes of each recorded line without trades, by line number."""
    lines = (SAMPLES / f"{spec.name}.jsonl").read_bytes().splitlines()
    return {
        number: spec.read_reply(decoded(line))
        for number, line in enumerate(lines, 1)
        if spec.parser.parse(line)[0] == "other"
    }


def decoded(line: bytes) -> Any:
    """As sessions hand messages on: JSON, or the text where it is none."""
    try:
        return json.loads(line)
    except ValueError:
        return line.decode()


def rest_body(name: str) -> bytes:
    """A recorded REST answer."""
    return (SAMPLES / "rest" / name).read_bytes()


def by_symbol(page: ListPage) -> dict[str, Listed]:
    return {one.venue_symbol: one for one in page.listed}
