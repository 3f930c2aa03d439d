"""What the tests of Bybit, KuCoin and Phemex share: recorded answers, our requests, budgets."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import strategies as st

from pumpwatch.venues.spec import Allowance, FeedSpec, Listed, Reply, fill
from tests._fast.parser_laws import SAMPLES, sample_lines, table

UNIX_S = 1_600_000_000
SYMBOL_CHARS_MAX = 40  # the longest that the rest of PumpWatch takes


def rest_sample(name: str) -> bytes:
    """The body of a recorded REST answer."""
    return (SAMPLES / "rest" / f"{name}.json").read_bytes()


def body(document: Any) -> bytes:
    """A REST answer of our own making."""
    return json.dumps(document).encode()


def replies(spec: FeedSpec) -> list[Reply]:
    """What the feed's recorded messages without a trade say, in order."""
    lines = [line for line in sample_lines(spec.name) if spec.parser.parse(line)[0] == "other"]
    return [spec.read_reply(msgspec.json.decode(line)) for line in lines]


def check_scales(spec: FeedSpec, listed: Listed) -> None:
    """The instrument is as the table says with which the parsers' samples were worked out."""
    rows = [row for row in table("instruments.tsv") if row["feed"] == spec.name]
    [row] = [row for row in rows if row["venue_symbol"] == listed.venue_symbol]
    assert (listed.base, listed.quote) == (row["base"], row["quote"])
    assert listed.contract_value == row["contract_value"]
    assert listed.price_exponent == int(row["price_exponent"])


def ping(spec: FeedSpec, request_id: int) -> Any:
    """Our ping, decoded."""
    assert spec.keepalive.ping is not None
    return json.loads(fill(spec.keepalive.ping, request_id, UNIX_S))


def request(spec: FeedSpec, *symbols: str, request_id: int = 1) -> Any:
    """Our subscription, decoded."""
    return json.loads(spec.subscribe.render(symbols, request_id, UNIX_S))


def longest_symbols(count: int) -> tuple[str, ...]:
    """Names as long as any, all different."""
    return tuple(f"{number:0{SYMBOL_CHARS_MAX}}" for number in range(count))


def check_below(allowance: Allowance, units: float, per_s: float) -> None:
    """No span of ``per_s`` sees more than ``units``, nor is all of it spent at once."""
    assert allowance.per_s == per_s
    assert allowance.burst < allowance.units < units


def json_values(*words: str) -> st.SearchStrategy[Any]:
    """Any JSON; objects prefer ``words`` as keys and values, so that they look like replies."""
    known = st.sampled_from(words)
    leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | known
    return st.recursive(
        leaves | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(known, inner, max_size=4),
        max_leaves=8,
    )
