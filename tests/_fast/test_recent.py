"""The memory hour against a plain list of what went to the spool (R16)."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pumpwatch._fast import parse_binance, parse_bybit, parse_phemex
from pumpwatch._fast.recent import OPEN_END_NS, Recent
from pumpwatch._fast.window import ORIGIN_NAMES, Window
from tests._fast.driving import (
    NOW_NS,
    SECOND_NS,
    Drive,
    binance_trade,
    bybit_trades,
    phemex_trades,
)
from tests._fast.ilp_reading import Line
from tests.strategies import decimal_texts, examples

MS_NS = 10**6
MIB = 1024 * 1024
SMALL_CHUNK = 4096  # 56 rows: eviction after a few messages
SYMBOLS = ("AAAUSDT", "BBBUSDT", "CCCUSDT")
DAYS_S = 100 * 86_400
EVER = (0, 2**62)
WINDOW_S = 600
WINDOW_NS = WINDOW_S * SECOND_NS


@dataclass
class Put:
    """One row that went on: the line for the table, and when it came."""

    feed: int
    instrument: int
    line: Line
    received_ns: int

    @property
    def key(self) -> tuple[int, object]:
        return self.line.timestamp_ns, self.line.fields["trade_id"]


class Hour:
    """Three feeds with one Recent, and the list of all that they put."""

    def __init__(self, recent: Recent) -> None:
        self.recent = recent
        self.now_ns = NOW_NS
        self.drives = {
            number: Drive(parser, *SYMBOLS, history_s=DAYS_S, feed=number)
            for number, parser in ((1, parse_binance.SPOT), (2, parse_bybit.SPOT),
                                   (3, parse_phemex.FUTURES))
        }  # fmt: skip
        for drive in self.drives.values():
            assert drive.road.recent is None
            drive.road.recent = recent
        self.puts: list[Put] = []
        self.number = 0

    def message(self, feed: int, instrument: int, offsets_ms: Iterable[int]) -> None:
        """A message of rows that lie ``offsets_ms`` before now."""
        symbol, now_ms = SYMBOLS[instrument], self.now_ns // MS_NS
        texts: list[Any] = []
        for offset in offsets_ms:
            self.number += 1
            price, size = str(self.number), f"0.{self.number}"
            ns = (now_ms - offset) * MS_NS
            if feed == 1:
                texts.append(binance_trade(self.number, ns=ns, symbol=symbol, price=price))
            elif feed == 2:
                row = (f"{self.number}", price, size)
                texts.append(bybit_trades([row], ms=now_ms - offset, symbol=symbol))
            else:
                rows = [(ns, "Sell", price, size)]
                texts.append(phemex_trades(rows, symbol=symbol))
        lines = self.drives[feed].message(*texts, receive_ns=self.now_ns)
        self.puts += [Put(feed, instrument, line, self.now_ns) for line in lines]

    def held(self) -> list[Put]:
        """What must be held: the newest rows, in order of arrival."""
        return self.puts[len(self.puts) - self.recent.rows_held :]

    def evicted(self) -> list[Put]:
        return self.puts[: len(self.puts) - self.recent.rows_held]


def dict_of(put: Put) -> dict[str, Any]:
    """The row as the table would give it back."""
    line = put.line
    return {
        "timestamp_ns": line.timestamp_ns,
        "side": line.symbols["side"],
        "price": float(str(line.fields["price"])),
        "quantity": float(str(line.fields["quantity"])),
        "trade_id": line.fields["trade_id"],
        "sequence_number": line.fields["sequence_number"],
        "received_ns": line.fields["received_at"],
        "origin": line.symbols["origin"],
        "kind": line.symbols.get("kind"),
    }


def window_of(puts: list[Put], feed: int, instrument: int, from_ns: int, to_ns: int) -> list[Any]:
    """The naive answer: by exchange time, then arrival; of one key the last."""
    rows = {
        put.key: (place, put)
        for place, put in enumerate(puts)
        if (put.feed, put.instrument) == (feed, instrument)
        and from_ns <= put.line.timestamp_ns < to_ns
    }
    ordered = sorted(rows.values(), key=lambda item: (item[1].line.timestamp_ns, item[0]))
    return [dict_of(put) for _, put in ordered]


def assert_columns(window: Window) -> None:
    """The columns say what the dicts say."""
    rows = window.rows()
    assert len(window) == len(rows)
    assert list(window.exchange_ns) == [row["timestamp_ns"] for row in rows]
    assert list(window.received_ns) == [row["received_ns"] or 0 for row in rows]
    assert list(window.prices) == [row["price"] for row in rows]
    assert list(window.quantities) == [row["quantity"] for row in rows]
    assert list(window.sequence_numbers) == [row["sequence_number"] for row in rows]
    assert list(window.sells) == [row["side"] == "sell" for row in rows]
    assert window.trade_ids() == [row["trade_id"] for row in rows]
    starts = [0, *window.id_ends]
    cut = [window.id_text[a:b].decode() for a, b in zip(starts, window.id_ends, strict=False)]
    assert cut == window.trade_ids()
    assert [trade_id for _, trade_id, _, _ in window.rows_of()] == window.trade_ids()
    some = {*window.trade_ids()[::2], "none of them"}
    assert window.rows_of(some) == [
        (
            row["timestamp_ns"],
            row["trade_id"],
            ORIGIN_NAMES.index(row["origin"]),
            row["received_ns"] or 0,
        )
        for row in rows
        if row["trade_id"] in some
    ]


# --- against the list -----------------------------------------------------------------------------

places = st.tuples(st.integers(1, 3), st.integers(0, 2))
# Mostly a little late; also by more than prompt rows may be, by most of the window, and ahead.
offsets = st.one_of(
    st.integers(0, 900), st.integers(-9_000, 29_000), st.integers(-600_000, 3_000_000)
)
steps = st.tuples(
    st.one_of(
        st.integers(0, 3_000), st.integers(0, WINDOW_S * 1_500), st.integers(-60_000, -1)
    ),  # ms that our clock moves; also back
    places,
    st.lists(offsets, min_size=1, max_size=8),
    st.sampled_from([1, 1, 2, 9]),  # how often those: enough to fill chunks
)
spans = st.tuples(st.integers(-3_600_000, 3_600_000), st.integers(0, 100_000))


@settings(max_examples=examples(100))
@given(st.lists(steps, max_size=40), st.lists(spans, max_size=6), st.sampled_from([2, 3, 8, 1000]))
def test_it_holds_the_newest_rows_and_gives_them_back(
    taken: list[Any], asked: list[tuple[int, int]], chunks: int
) -> None:
    hour = Hour(Recent(chunks * SMALL_CHUNK, WINDOW_S, SMALL_CHUNK))
    recent = hour.recent
    newest_ns = 0
    for moved_ms, (feed, instrument), offsets_ms, times in taken:
        hour.now_ns += moved_ms * MS_NS
        had_room, gone = recent.bytes_held < chunks * SMALL_CHUNK, len(hour.evicted())
        hour.message(feed, instrument, offsets_ms * times)
        newest_ns = max(newest_ns, hour.now_ns)
        assert recent.bytes_held <= chunks * SMALL_CHUNK
        # There was room all the time: only age takes rows. (Where there was none, the oldest chunk
        # may have gone for it, and the one behind it for its age.)
        if had_room and recent.bytes_held < chunks * SMALL_CHUNK:
            assert all(newest_ns - put.received_ns > WINDOW_NS for put in hour.evicted()[gone:])
    held = hour.held()
    assert recent.rows_unheld == 0
    for feed in hour.drives:
        for instrument in range(len(SYMBOLS)):
            whole = recent.window(feed, instrument, *EVER)
            assert whole.rows() == window_of(held, feed, instrument, *EVER)
            assert_columns(whole)
            for offset_ms, width_ms in asked:
                span = (
                    hour.now_ns + offset_ms * MS_NS,
                    hour.now_ns + (offset_ms + width_ms) * MS_NS,
                )
                wanted = window_of(held, feed, instrument, *span)
                assert recent.window(feed, instrument, *span).rows() == wanted
                ids = [row["trade_id"] for row in wanted]
                assert recent.held_ids(feed, instrument, *span) == ids
            assert_coverage(hour, feed, instrument)


def assert_coverage(hour: Hour, feed: int, instrument: int) -> None:
    """From behind the newest time that was given up, and never before the first row."""
    mine = [put for put in hour.puts if (put.feed, put.instrument) == (feed, instrument)]
    gone = [put for put in hour.evicted() if (put.feed, put.instrument) == (feed, instrument)]
    coverage = hour.recent.coverage(feed, instrument)
    if not mine:
        assert coverage == []
        return
    start_ns = max(put.line.timestamp_ns for put in [mine[0], *gone]) + 1
    assert coverage == [(start_ns, OPEN_END_NS)]
    # What it promises: every row that ever came is in an answer there.
    answer = hour.recent.window(feed, instrument, start_ns, 2**62).rows()
    assert answer == window_of(hour.puts, feed, instrument, start_ns, 2**62)


def test_a_long_chain_is_found_at_any_moment() -> None:
    # More rows than the longest links span, with other instruments between them and some late.
    rng = random.Random(8)
    hour = Hour(Recent(8 * MIB, 3600))
    for _ in range(230):
        hour.now_ns += rng.randrange(1, 4_000) * MS_NS
        hour.message(2, 0, [rng.randrange(0, 2_000) for _ in range(40)])
        hour.message(rng.randrange(1, 4), rng.randrange(3), [rng.randrange(-100, 60_000)])
    for _ in range(60):
        from_ns = NOW_NS + rng.randrange(hour.now_ns - NOW_NS)
        span = (from_ns, from_ns + rng.randrange(20 * SECOND_NS))
        assert hour.recent.window(2, 0, *span).rows() == window_of(hour.puts, 2, 0, *span)


# --- rows come back whole -------------------------------------------------------------------------

UUID = "01234567-89ab-cdef-0123-456789abcdef"
SHORT_IDS = ("0", "1", "12345678", "123456789", "2290000000123456789", "9" * 19, UUID,
             "ffffffff-ffff-ffff-ffff-ffffffffffff")  # fmt: skip
TEXT_IDS = ("00", "01", "0123456789", str(2**64 - 1), "1" + "0" * 19, "99999999999999999999",
            "1" * 21, UUID.upper(), UUID[:-1] + "g", UUID.replace("-", "0"), UUID[1:] + "0",
            "5c35c02703aa673ceec2a168", "a", "1-2", "1234567x", "x2345678", "12345678x", "Z" * 64,
            "1844674407370955161x", "0" * 36)  # fmt: skip


@pytest.mark.parametrize(("ids", "is_text"), [(SHORT_IDS, False), (TEXT_IDS, True)])
def test_ids_come_back_letter_for_letter(ids: tuple[str, ...], is_text: bool) -> None:
    hour = Hour(Recent(MIB, WINDOW_S, SMALL_CHUNK))
    hour.drives[2].message(bybit_trades([(name, "1", "1") for name in ids], symbol=SYMBOLS[0]))
    assert hour.recent.held_ids(2, 0, *EVER) == list(ids)
    assert hour.recent.text_rows == (len(ids) if is_text else 0)


id_texts = st.one_of(
    st.text("0123456789", min_size=1, max_size=22),
    st.uuids().map(str),
    st.text("0123456789abcdefABCDEF-_", min_size=1, max_size=64),
)


@settings(deadline=None)
@given(
    st.lists(id_texts, min_size=1, max_size=30, unique=True),
    st.lists(decimal_texts(digits_max=38, exponent_max=300), min_size=30, max_size=30),
)
def test_any_id_and_any_number(ids: list[str], numbers: list[str]) -> None:
    hour = Hour(Recent(MIB, WINDOW_S, SMALL_CHUNK))
    rows = [(name, number, numbers[-1 - place])
            for place, (name, number) in enumerate(zip(ids, numbers, strict=False))]  # fmt: skip
    lines = hour.drives[2].message(bybit_trades(rows, symbol=SYMBOLS[0]))
    puts = [Put(2, 0, line, NOW_NS) for line in lines]
    assert hour.recent.window(2, 0, *EVER).rows() == window_of(puts, 2, 0, *EVER)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["Buy", "Sell"]),
                  decimal_texts(digits_max=30, exponent_max=20),
                  st.sampled_from(["1", "1.50", "0.000", "25", "12345678901234567890123456789"])),
        min_size=1, max_size=20,
    )
)  # fmt: skip
@example([(0, "Buy", "1.0", "1")] * 3)
def test_composed_ids_are_built_again(rows: list[tuple[int, str, str, str]]) -> None:
    # Equal rows of one nanosecond differ by their ordinal only (R6).
    hour = Hour(Recent(MIB, WINDOW_S, SMALL_CHUNK))
    newest_first = sorted(((NOW_NS + ns, *rest) for ns, *rest in rows), key=lambda row: -row[0])
    lines = hour.drives[3].message(phemex_trades(newest_first, symbol=SYMBOLS[1]))  # type: ignore[arg-type]
    assert len(lines) == len(rows)
    assert hour.recent.window(3, 1, *EVER).rows() == [
        dict_of(Put(3, 1, line, NOW_NS)) for line in lines
    ]
    assert hour.recent.text_rows == 0


def test_kinds_come_back() -> None:
    hour = Hour(Recent(8 * MIB, WINDOW_S))
    block = bybit_trades([("7", "1", "1")], symbol=SYMBOLS[0])
    block["data"][0]["BT"] = True
    (line,) = hour.drives[2].message(block)
    assert line.symbols["kind"] == "block"
    assert [row["kind"] for row in hour.recent.window(2, 0, *EVER).rows()] == ["block"]


def test_a_window_outlives_the_rows() -> None:
    hour = Hour(Recent(2 * SMALL_CHUNK, WINDOW_S, SMALL_CHUNK))
    hour.message(2, 0, [0] * 30)
    window = hour.recent.window(2, 0, *EVER)
    before = window.rows()
    for _ in range(20):
        hour.message(2, 1, [0] * 30)
    assert len(hour.recent.window(2, 0, *EVER)) == 0
    assert window.rows() == before
    assert_columns(window)


def test_the_lines_are_the_same_with_and_without() -> None:
    hour = Hour(Recent(2 * SMALL_CHUNK, WINDOW_S, SMALL_CHUNK))
    alone = Drive(parse_bybit.SPOT, *SYMBOLS)
    for number in range(300):
        rows = [(f"{number}x", "1.5", "2")]
        message = bybit_trades(rows, symbol=SYMBOLS[number % 3])
        assert hour.drives[2].message(message) == alone.message(message)


# --- memory ---------------------------------------------------------------------------------------


def test_memory_grows_by_chunks_and_is_returned_with_age() -> None:
    hour = Hour(Recent(64 * MIB, WINDOW_S, SMALL_CHUNK))
    assert hour.recent.bytes_held == 0
    assert hour.recent.oldest_arrival_ns == 0
    hour.message(2, 0, [0])
    assert hour.recent.bytes_held == SMALL_CHUNK
    assert hour.recent.oldest_arrival_ns == NOW_NS
    hour.message(2, 0, [0] * 40)
    hour.now_ns += WINDOW_NS // 2
    hour.message(2, 0, [0] * 40)
    assert hour.recent.bytes_held == 2 * SMALL_CHUNK
    hour.recent.expire(NOW_NS + WINDOW_NS)
    assert hour.recent.rows_held == 81
    hour.recent.expire(hour.now_ns + WINDOW_NS + 1)
    assert (hour.recent.rows_held, hour.recent.bytes_held) == (0, 0)
    assert hour.recent.coverage(2, 0) == [(hour.now_ns + 1, OPEN_END_NS)]
    hour.message(2, 0, [0])
    assert hour.recent.rows_held == 1


def test_texts_take_room_of_rows() -> None:
    hour = Hour(Recent(MIB, WINDOW_S, SMALL_CHUNK))
    ids = [f"{number:064d}" for number in range(61)]
    hour.drives[2].message(bybit_trades([(name, "1", "1") for name in ids], symbol=SYMBOLS[0]))
    assert hour.recent.bytes_held == 3 * SMALL_CHUNK  # 72 + 64 bytes a row: 30 of them in a chunk
    assert hour.recent.held_ids(2, 0, *EVER) == ids


@pytest.mark.parametrize(
    "arguments",
    [(MIB, 0), (MIB, -1), (MIB, float("nan")), (SMALL_CHUNK, 60, SMALL_CHUNK), (MIB, 60, 100),
     (MIB, 60, 4 * MIB), (0, 60), (-MIB, 60), (2**62, 60, SMALL_CHUNK)],
)  # fmt: skip
def test_impossible_sizes_are_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match=r"window|chunks"):
        Recent(*arguments)


@pytest.mark.parametrize("feed", [0, -1, 64])
def test_numbers_of_no_feed_are_refused(feed: int) -> None:
    recent = Recent(8 * MIB, WINDOW_S)
    with pytest.raises(ValueError, match="feed number"):
        recent.window(feed, 0, *EVER)
    with pytest.raises(ValueError, match="feed number"):
        recent.coverage(feed, 0)
    with pytest.raises(ValueError, match="instrument number"):
        recent.begin(1, 2**31, 0)


def test_what_was_never_put() -> None:
    recent = Recent(8 * MIB, WINDOW_S)
    window = recent.window(5, 70_000, *EVER)
    assert (len(window), window.rows(), window.trade_ids()) == (0, [], [])
    assert_columns(window)
    assert recent.coverage(5, 70_000) == []


@pytest.mark.parametrize("span", [(-(2**63), 2**63 - 1), (0, 2**63 - 1), (-(2**63), 2**62)])
def test_spans_of_any_size(span: tuple[int, int]) -> None:
    hour = Hour(Recent(8 * MIB, WINDOW_S))
    hour.message(2, 0, [0, 40_000])
    assert len(hour.recent.window(2, 0, *span)) == 2
    assert len(hour.recent.window(2, 0, *reversed(span))) == 0  # type: ignore[misc]


# --- coverage -------------------------------------------------------------------------------------

cuts = st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(0, 30)), max_size=25)


@settings(deadline=None)
@given(cuts)
def test_cuts_and_mends_are_sets(marks: list[tuple[bool, int, int]]) -> None:
    hour = Hour(Recent(8 * MIB, WINDOW_S))
    hour.message(2, 0, [0])
    covered = set(range(1, 100))  # nanoseconds behind the first row
    for is_cut, start, width in marks:
        span = (NOW_NS + start, NOW_NS + start + width)
        if is_cut:
            hour.recent.cut(2, 0, *span)
            covered -= set(range(start, start + width))
        else:
            hour.recent.mend(2, 0, *span)
            covered |= set(range(max(start, 1), start + width))
    spans = hour.recent.coverage(2, 0)
    assert spans == sorted(spans)
    assert spans[-1][1] == OPEN_END_NS
    inside = {ns for low, high in spans for ns in range(low - NOW_NS, min(high - NOW_NS, 100))}
    assert inside == covered
    assert all(a[1] < b[0] for a, b in pairwise(spans))
    assert hour.recent.coverage(2, 1) == []
    assert hour.recent.coverage(1, 0) == []


def test_an_open_gap_until_it_is_closed() -> None:
    hour = Hour(Recent(8 * MIB, WINDOW_S))
    hour.message(2, 0, [0])
    hour.recent.cut(2, 0, NOW_NS + 50, OPEN_END_NS)
    assert hour.recent.coverage(2, 0) == [(NOW_NS + 1, NOW_NS + 50)]
    hour.recent.mend(2, 0, NOW_NS + 90, OPEN_END_NS)
    assert hour.recent.coverage(2, 0) == [
        (NOW_NS + 1, NOW_NS + 50), (NOW_NS + 90, OPEN_END_NS),
    ]  # fmt: skip
    hour.recent.mend(2, 0, NOW_NS + 50, NOW_NS + 90)
    assert hour.recent.coverage(2, 0) == [(NOW_NS + 1, OPEN_END_NS)]


def test_a_subscription_covers_what_comes_before_the_first_row() -> None:
    hour = Hour(Recent(2 * SMALL_CHUNK, WINDOW_S, SMALL_CHUNK))
    hour.recent.begin(2, 0, NOW_NS - SECOND_NS)
    assert hour.recent.coverage(2, 0) == [(NOW_NS - SECOND_NS, OPEN_END_NS)]
    hour.message(2, 0, [0])
    hour.recent.begin(2, 0, NOW_NS)  # another connection of the instrument, later
    assert hour.recent.coverage(2, 0) == [(NOW_NS - SECOND_NS, OPEN_END_NS)]
    for _ in range(10):
        hour.message(2, 1, [0] * 40)
    assert hour.recent.coverage(2, 0) == [(NOW_NS + 1, OPEN_END_NS)]


# --- history --------------------------------------------------------------------------------------


def table_row(number: int, ns: int, *, received_ns: int | None = None, **changed: Any) -> Any:
    """A row as the database gives it."""
    row = {"timestamp_ns": ns, "side": "buy", "price": 1.5, "quantity": number / 7,
           "trade_id": str(number), "sequence_number": 7, "received_ns": received_ns,
           "origin": "stream", "kind": None} | changed  # fmt: skip
    return tuple(row.values())


def test_history_and_stream_are_one_answer() -> None:
    hour = Hour(Recent(8 * MIB, WINDOW_S))
    start_ns = NOW_NS - 100 * SECOND_NS
    rows = [table_row(n, start_ns + n * SECOND_NS, received_ns=start_ns + n * SECOND_NS + 5)
            for n in range(60)]  # fmt: skip
    assert hour.recent.load(2, 0, start_ns, start_ns + 60 * SECOND_NS, rows)
    assert hour.recent.coverage(2, 0) == [(start_ns, start_ns + 60 * SECOND_NS)]
    hour.message(2, 0, [0, 1_000])
    got = hour.recent.window(2, 0, *EVER).rows()
    assert [tuple(row.values()) for row in got[:60]] == rows
    assert got[60:] == window_of(hour.puts, 2, 0, *EVER)
    assert hour.recent.coverage(2, 0) == [
        (start_ns, start_ns + 60 * SECOND_NS), (NOW_NS + 1, OPEN_END_NS),
    ]  # fmt: skip
    # Up to where the stream begins: the two meet.
    assert hour.recent.load(2, 0, start_ns + 60 * SECOND_NS, NOW_NS + 1, [])
    assert hour.recent.coverage(2, 0) == [(start_ns, OPEN_END_NS)]


def test_of_a_row_in_both_the_stream_s_stays() -> None:
    hour = Hour(Recent(8 * MIB, WINDOW_S))
    hour.message(2, 0, [0, 5, 0])
    rows = hour.recent.window(2, 0, *EVER).rows()
    loaded = [tuple(row.values()) for row in rows]
    loaded[0] = (*loaded[0][:-2], "backfill", "block")
    others = [table_row(n, NOW_NS) for n in range(20)]  # the same places are others in that ring
    assert hour.recent.load(2, 1, NOW_NS, NOW_NS + 1, others)
    assert hour.recent.load(2, 0, NOW_NS - SECOND_NS, NOW_NS + SECOND_NS, loaded)
    assert hour.recent.rows_held == 26
    assert hour.recent.window(2, 0, *EVER).rows() == rows


def test_composed_ids_of_both_rings_are_one() -> None:
    hour = Hour(Recent(8 * MIB, WINDOW_S))
    hour.drives[3].message(phemex_trades([(NOW_NS, "Buy", "1.0", "2")] * 2, symbol=SYMBOLS[0]))
    rows = hour.recent.window(3, 0, *EVER).rows()
    assert [row["trade_id"] for row in rows] == ["buy-1-2-0", "buy-1-2-1"]
    loaded = [tuple(row.values()) for row in rows]
    assert hour.recent.load(3, 0, NOW_NS, NOW_NS + 1, loaded)
    assert hour.recent.window(3, 0, *EVER).rows() == rows


@settings(deadline=None)
@given(st.lists(st.floats(0, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
@example([0.0, 5e-324, 1.7976931348623157e308, 0.1, 1e22, 1e23, 123456789.123456789, 2.0**53 + 2])
def test_doubles_of_the_table_come_back(numbers: list[float]) -> None:
    recent = Recent(8 * MIB, WINDOW_S)
    rows = [table_row(n, NOW_NS + n, price=number, quantity=number)
            for n, number in enumerate(numbers)]  # fmt: skip
    assert recent.load(2, 0, NOW_NS, NOW_NS + SECOND_NS, rows)
    window = recent.window(2, 0, *EVER)
    assert list(window.prices) == list(window.quantities) == numbers


def test_history_gives_way_to_the_stream() -> None:
    hour = Hour(Recent(6 * SMALL_CHUNK, WINDOW_S, SMALL_CHUNK))
    rows = [
        table_row(n, NOW_NS - SECOND_NS + n, received_ns=NOW_NS - SECOND_NS) for n in range(250)
    ]
    assert hour.recent.load(2, 0, NOW_NS - SECOND_NS, NOW_NS, rows)
    assert hour.recent.bytes_held == 5 * SMALL_CHUNK
    for _ in range(4):
        hour.message(2, 1, [0] * 28)
        assert hour.recent.bytes_held <= 6 * SMALL_CHUNK
    assert len(hour.recent.window(2, 1, *EVER)) == 112  # all of the stream's
    held = len(hour.recent.window(2, 0, *EVER))
    assert held == 250 - 56
    assert hour.recent.coverage(2, 0) == [(NOW_NS - SECOND_NS + 56, NOW_NS)]
    for _ in range(20):
        hour.message(2, 1, [0] * 28)
    assert len(hour.recent.window(2, 0, *EVER)) == 0
    # Behind its last row the database had none: that is still known.
    assert hour.recent.coverage(2, 0) == [(NOW_NS - SECOND_NS + 250, NOW_NS)]
    assert not hour.recent.load(2, 0, NOW_NS - SECOND_NS, NOW_NS, rows)
    assert hour.recent.coverage(2, 0) == [(NOW_NS - SECOND_NS + 250, NOW_NS)]
    assert hour.recent.rows_unheld == 250


def test_history_ages_too() -> None:
    recent = Recent(8 * MIB, WINDOW_S)
    assert recent.load(2, 0, NOW_NS, NOW_NS + 10, [table_row(1, NOW_NS + 4, received_ns=NOW_NS)])
    recent.expire(NOW_NS + WINDOW_NS)
    assert recent.rows_held == 1
    recent.expire(NOW_NS + WINDOW_NS + 1)
    assert (recent.rows_held, recent.bytes_held) == (0, 0)
    assert recent.coverage(2, 0) == [(NOW_NS + 5, NOW_NS + 10)]


@pytest.mark.parametrize(
    "changed",
    [{"side": "both"}, {"price": float("nan")}, {"price": -1.0}, {"quantity": float("inf")},
     {"trade_id": ""}, {"trade_id": "x" * 256}, {"origin": "guess"}, {"kind": "odd"},
     {"timestamp_ns": NOW_NS + SECOND_NS}, {"received_ns": -1}, {"received_ns": 2**62}],
)  # fmt: skip
def test_a_row_that_cannot_be_of_the_table_is_refused(changed: dict[str, Any]) -> None:
    recent = Recent(8 * MIB, WINDOW_S)
    with pytest.raises(ValueError):  # noqa: PT011 - each says what is wrong in its own words
        recent.load(2, 0, NOW_NS, NOW_NS + SECOND_NS, [table_row(1, NOW_NS, **changed)])
    assert recent.coverage(2, 0) == []
