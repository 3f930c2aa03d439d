"""Positions out of the spool's own records: what a plain reading and what the road say (R3)."""

from __future__ import annotations

import random
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch._fast import parse_binance, parse_bybit, parse_gate, parse_okx
from pumpwatch._fast.positions import SpoolPosition, SpoolPositions
from pumpwatch._fast.sequence import Sequence
from tests._fast.driving import (
    NOW_NS,
    SECOND_NS,
    Drive,
    as_bytes,
    binance_trade,
    bybit_trades,
    gate_trade,
    okx_trade,
)
from tests._fast.ilp_reading import read_lines
from tests.strategies import TEXT, decimal_texts, frame

CONTIGUOUS = frozenset({1, 3, 4})
SYMBOLS = ("AAA-USDT", "BBB-USDT")
ODD_SYMBOLS = ("币安人生USDT", "a,b=c d\\e")  # as the table has them
DAYS_S = 100 * 86_400
HEAD_BYTES = 16
CRC_AT = 12


class Plain:
    """The same, read slowly: every line's fields, one Sequence a symbol."""

    def __init__(self) -> None:
        self.sequences: dict[tuple[int, str], Sequence] = {}
        self.rest: dict[tuple[int, str], list[int]] = {}

    def apply(self, feed: int, payload: bytes) -> None:
        for line in read_lines(payload):
            key = feed, line.symbols["symbol"]
            number, received = line.fields["sequence_number"], line.fields["received_at"]
            assert isinstance(number, int)
            assert isinstance(received, int)
            sequence = self.sequences.setdefault(key, Sequence())
            if number and feed in CONTIGUOUS:
                sequence.observe(number, line.timestamp_ns)
            last_ns, received_ns, rows = self.rest.get(key, [0, 0, 0])
            self.rest[key] = [max(last_ns, line.timestamp_ns), max(received_ns, received), rows + 1]

    def standing(self) -> dict[tuple[int, str], SpoolPosition]:
        return {
            key: SpoolPosition(*sequence.seen, *self.rest[key], sequence.missing)
            for key, sequence in self.sequences.items()
        }


def standing(positions: SpoolPositions) -> dict[tuple[int, str], SpoolPosition]:
    """All positions; asking for one gives the same."""
    found = {(feed, symbol): position for feed, symbol, position in positions}
    assert len(found) == len(positions) == positions.count
    assert all(positions.get(*key) == position for key, position in found.items())
    return found


class Feeds:
    """Roads of four feeds, and the records that they leave."""

    def __init__(self) -> None:
        parsers = (parse_binance.SPOT, parse_bybit.SPOT, parse_okx.SPOT, parse_gate.SPOT)
        self.drives = {
            number: Drive(parser, history_s=DAYS_S, feed=number)
            for number, parser in enumerate(parsers, start=1)
        }
        for drive in self.drives.values():
            for symbol in (*SYMBOLS, "odd1", "odd2"):
                table_symbol = {"odd1": ODD_SYMBOLS[0], "odd2": ODD_SYMBOLS[1]}.get(symbol, symbol)
                drive.table.add(symbol, table_symbol)
        self.records: list[tuple[int, bytes]] = []

    def trade(self, feed: int, place: int, number: int, ns: int, price: str, late_ns: int) -> None:
        symbol = (*SYMBOLS, "odd1", "odd2")[place]
        message: Any
        if feed == 1:
            message = binance_trade(number, ns=ns, symbol=symbol, price=price)
        elif feed == 2:
            message = bybit_trades([(f"{number}", price, price)], ms=ns // 10**6, symbol=symbol)
        elif feed == 3:
            message = okx_trade(number, ns=ns, symbol=symbol, quantity=price)
        else:
            message = gate_trade(number, number, ns=ns, symbol=symbol)
        self.drives[feed].intake.feed(frame(TEXT, as_bytes(message)), NOW_NS + late_ns)

    def flush(self, feed: int) -> None:
        payload, rows, _ = self.drives[feed].rows.take()
        if rows:
            self.records.append((feed, payload))

    def applied(self, to: Any) -> Any:
        for feed in self.drives:
            self.flush(feed)
        for feed, payload in self.records:
            to.apply(feed, payload)
        return to


# Ids that jump, come late and again; times that rise, fall, and let ids begin anew.
trades = st.lists(
    st.tuples(
        st.integers(1, 4), st.integers(0, 3), st.integers(1, 60),
        st.one_of(st.integers(0, 900), st.integers(0, 600_000)).map(lambda ms: NOW_NS + ms * 10**6),
        decimal_texts(digits_max=38), st.integers(0, 10**9),
    ),
    max_size=60,
)  # fmt: skip


@settings(deadline=None)
@given(trades, st.sets(st.integers(0, 60)))
def test_equal_to_a_plain_reading_and_to_the_roads(taken: list[Any], flushed_at: set[int]) -> None:
    feeds = Feeds()
    for place, (feed, *trade) in enumerate(taken):
        feeds.trade(feed, *trade)
        if place in flushed_at:
            feeds.flush(feed)
    positions = feeds.applied(SpoolPositions(CONTIGUOUS))
    assert positions.unread == 0
    found = standing(positions)
    assert found == feeds.applied(Plain()).standing()
    for feed, drive in feeds.drives.items():
        for number, symbol in enumerate(drive.table.symbols):
            seen_from, seen_to, last_ns, missing = drive.table.position(number)
            position = positions.get(feed, symbol) or SpoolPosition(0, 0, 0, 0, 0, [])
            assert position[:3] == (seen_from, seen_to, last_ns)
            assert position.missing == missing
            assert position.rows == drive.table.rows(number)
    assert all(
        (position.seen_to > 0) == (feed in CONTIGUOUS) for (feed, _), position in found.items()
    )


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 3)), max_size=40))
def test_a_merged_range_is_never_called_seen(steps: list[tuple[int, int]]) -> None:
    # It leaves no line (R7): only the rows' own ids may count as spooled.
    feeds = Feeds()
    drive = feeds.drives[4]
    for first, width in steps:
        message = gate_trade(first, first + width, symbol=SYMBOLS[0])
        drive.intake.feed(frame(TEXT, as_bytes(message)), NOW_NS)
    positions = feeds.applied(SpoolPositions(CONTIGUOUS))
    rows = {
        line.fields["sequence_number"]
        for _, payload in feeds.records
        for line in read_lines(payload)
    }
    position = positions.get(4, SYMBOLS[0])
    if position is None:
        assert rows == set()
        return
    missing = {number for low, high in position.missing for number in range(low, high + 1)}
    assert set(range(position.seen_from, position.seen_to + 1)) - missing <= rows


def test_many_symbols() -> None:
    # The table grows, and each keeps its place in it.
    drive = Drive(parse_bybit.SPOT, *(f"S{number}USDT" for number in range(2_000)))
    for number in range(2_000):
        drive.intake.feed(
            frame(TEXT, as_bytes(bybit_trades([("1", "2", "3")], symbol=f"S{number}USDT"))), NOW_NS
        )
    payload, _, _ = drive.rows.take()
    positions = SpoolPositions(())
    positions.apply(2, payload)
    positions.apply(5, payload)
    assert len(standing(positions)) == 4_000
    assert positions.get(2, "S1999USDT") == SpoolPosition(0, 0, NOW_NS, NOW_NS, 1, [])
    assert positions.get(2, "S2000USDT") is None
    assert positions.get(3, "S1USDT") is None


# --- what is no line of ours ----------------------------------------------------------------------


def one_line(number: int = 7, price: str = "1.5") -> bytes:
    drive = Drive(parse_okx.SPOT, SYMBOLS[0])
    drive.intake.feed(
        frame(TEXT, as_bytes(okx_trade(number, symbol=SYMBOLS[0], price=price))), NOW_NS
    )
    return bytes(drive.rows.take()[0])


@settings(deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=400), st.just(one_line())), max_size=6))
def test_any_bytes_are_taken(pieces: list[bytes]) -> None:
    positions = SpoolPositions({3})
    positions.apply(3, b"".join(pieces))
    again = SpoolPositions({3})
    for payload in positions.encode():
        again.load(payload)
    assert standing(again) == standing(positions)


@settings(deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 8))
def test_a_broken_line_costs_no_other_and_is_counted(rng: random.Random, count: int) -> None:
    lines = [one_line(number) for number in range(1, 6)]
    broken = bytearray(lines[2])
    for _ in range(count):
        broken[rng.randrange(len(broken))] = rng.randrange(256)
    positions = SpoolPositions({3})
    positions.apply(3, b"".join([*lines[:2], bytes(broken)]))
    position = positions.get(3, SYMBOLS[0])
    assert position is not None
    assert position.rows >= 2
    assert sum(row[2].rows for row in positions) + positions.unread >= 3


@pytest.mark.parametrize(
    "broken",
    [b"\n", b"x\n", b"trades\n", b"trades,symbol=A price==\x10\n\n\n\n\n\n\n\n\n",
     b"trades,exchange=o,symbol= price=1\n",
     b"other" + one_line()[6:], one_line().replace(b"price", b"prize"),
     one_line().replace(b"sequence_number=7i", b"sequence_number=-7i"),
     one_line().replace(b"sequence_number=7i", b"sequence_number=07i"),
     one_line().replace(b"n ", b"n 9"), b's,t=a b="\n\n" 1\n',
     b"s,t=a b==\x10\n\n\n\n\n\n\n\n 1\n"],
)  # fmt: skip
def test_lines_that_are_not_ours(broken: bytes) -> None:
    positions = SpoolPositions({3})
    positions.apply(3, one_line(1) + broken + one_line(2))
    assert positions.unread == 1
    assert positions.get(3, SYMBOLS[0]) == SpoolPosition(1, 2, NOW_NS, NOW_NS, 2, [])


def test_a_line_that_is_cut_is_not_read() -> None:
    line = one_line(price="1." + "7" * 30)
    for size in range(1, len(line)):
        positions = SpoolPositions({3})
        positions.apply(3, line[:size])
        assert (len(positions), positions.unread) == (0, 1)


def test_backfilled_rows_fill_holes() -> None:
    positions = SpoolPositions({3})
    positions.apply(3, one_line(10) + one_line(15))
    positions.apply(3, one_line(12).replace(b"origin=stream", b"origin=backfill,kind=block"))
    assert positions.get(3, SYMBOLS[0]) == SpoolPosition(
        10, 15, NOW_NS, NOW_NS, 3, [(11, 11), (13, 14)]
    )


@pytest.mark.parametrize("feed", [0, -1, 64, 1000])
def test_numbers_of_no_feed_are_refused(feed: int) -> None:
    with pytest.raises(ValueError, match="feed number"):
        SpoolPositions([feed])
    with pytest.raises(ValueError, match="feed number"):
        SpoolPositions([]).apply(feed, b"")
    with pytest.raises(ValueError, match="feed number"):
        SpoolPositions([]).get(feed, "X")


# --- in records -----------------------------------------------------------------------------------


@settings(deadline=None)
@given(trades, st.sampled_from([1, 200, 10_000]), trades)
def test_what_is_encoded_is_loaded(taken: list[Any], bytes_max: int, before: list[Any]) -> None:
    feeds, other = Feeds(), Feeds()
    for trade in taken:
        feeds.trade(*trade)
    for trade in before:
        other.trade(*trade)
    positions = feeds.applied(SpoolPositions(CONTIGUOUS))
    loaded = other.applied(SpoolPositions(CONTIGUOUS))  # all of this is replaced
    payloads = positions.encode(bytes_max)
    assert bytes_max == 1 or all(len(payload) <= max(bytes_max, 200) for payload in payloads)
    for place, payload in enumerate(payloads, start=1):
        loaded.load(payload)
        assert loaded.is_whole == (place == len(payloads))
    assert standing(loaded) == standing(positions)
    # And it goes on from there.
    feeds.records.clear()
    feeds.trade(3, 0, 77, NOW_NS + SECOND_NS, "1", 0)
    feeds.applied(positions)
    feeds.records = feeds.records[:]
    for feed, payload in feeds.records:
        loaded.apply(feed, payload)
    assert standing(loaded) == standing(positions)


def some_payload() -> bytes:
    positions = SpoolPositions({3})
    positions.apply(3, one_line(10) + one_line(15) + one_line(20))
    positions.apply(2, one_line(1))
    (payload,) = positions.encode()
    return payload


def test_parts_out_of_order_are_refused() -> None:
    positions = SpoolPositions({3})
    positions.apply(3, one_line(1))
    positions.apply(2, one_line(1))
    first, second = positions.encode(1)
    loaded = SpoolPositions({3})
    with pytest.raises(ValueError, match="does not follow"):
        loaded.load(second)
    loaded.load(first)
    assert not loaded.is_whole
    loaded.load(first)  # a new set begins
    loaded.load(second)
    assert loaded.is_whole
    with pytest.raises(ValueError, match="does not follow"):
        loaded.load(second)
    assert standing(loaded) == standing(positions)


def test_a_symbol_in_two_parts_is_refused() -> None:
    positions = SpoolPositions({3})
    positions.apply(3, one_line(1))
    positions.apply(2, one_line(1))
    first, _ = positions.encode(1)
    loaded = SpoolPositions({3})
    loaded.load(first)
    with pytest.raises(ValueError, match="two parts"):
        loaded.load(sealed(first[:2] + b"\1\0" + first[4:]))
    assert (len(loaded), loaded.is_whole) == (1, False)


def sealed(payload: bytes) -> bytes:
    """The payload with the checksum that it should have."""
    blank = payload[:CRC_AT] + bytes(4) + payload[HEAD_BYTES:]
    return payload[:CRC_AT] + zlib.crc32(blank).to_bytes(4, "little") + payload[HEAD_BYTES:]


def test_every_flipped_bit_is_refused_and_changes_nothing() -> None:
    payload = some_payload()
    assert sealed(payload) == payload
    positions = SpoolPositions({3})
    positions.load(payload)
    before = standing(positions)
    for place in range(len(payload) * 8):
        damaged = bytearray(payload)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(ValueError, match="positions"):
            positions.load(bytes(damaged))
    for size in range(len(payload)):
        with pytest.raises(ValueError, match="positions"):
            positions.load(payload[:size])
        with pytest.raises(ValueError, match="positions"):
            positions.load(sealed(payload[: max(size, HEAD_BYTES)]))
    with pytest.raises(ValueError, match="too many"):
        positions.load(sealed(payload + b"\0"))
    assert standing(positions) == before


@settings(deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 6))
def test_payloads_that_nobody_encoded(rng: random.Random, count: int) -> None:
    # With a right checksum: refused, or taken as something that stands on its own feet.
    damaged = bytearray(some_payload())
    for _ in range(count):
        damaged[rng.randrange(HEAD_BYTES, len(damaged))] = rng.choice(
            [0, 1, 255, rng.randrange(256)]
        )
    positions = SpoolPositions({3})
    try:
        positions.load(sealed(bytes(damaged)))
    except ValueError:
        assert len(positions) == 0
        return
    for feed, _, position in positions:
        assert 1 <= feed < 64
        ends = [number for hole in position.missing for number in hole]
        assert ends == sorted(ends)
        assert all(position.seen_from <= number < position.seen_to for number in ends)
    again = SpoolPositions({3})
    for payload in positions.encode():
        again.load(payload)
    assert standing(again) == standing(positions)


def test_a_payload_of_another_kind_or_version_is_refused() -> None:
    payload = some_payload()
    for place in (0, 1):
        other = payload[:place] + b"\2" + payload[place + 1 :]
        with pytest.raises(ValueError, match="kind"):
            SpoolPositions({3}).load(sealed(other))


def test_nothing_is_one_payload_too() -> None:
    (payload,) = SpoolPositions(()).encode()
    positions = SpoolPositions({3})
    positions.apply(3, one_line())
    positions.load(payload)
    assert standing(positions) == {}
    assert positions.is_whole
