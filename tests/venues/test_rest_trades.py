"""Past trades from REST: every field of the samples, the stream's identity, broken answers."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import compress, pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pumpwatch.errors import VenueError
from pumpwatch.venues import FEEDS, FEEDS_BY_NAME
from pumpwatch.venues.rest_trades import (
    EARLIEST_NS,
    LATEST_NS,
    MICROSECONDS,
    MILLISECONDS,
    NANOSECONDS,
    SECONDS,
    time_ns,
)
from pumpwatch.venues.spec import FeedSpec, RestPage, RestTrade, TradeIds, TradePage
from tests._fast.driving import NOW_NS, Drive, as_bytes
from tests._fast.ilp_reading import Line, read_lines
from tests._fast.spelling import NUMBERS
from tests.strategies import TEXT, frame
from tests.venues.feed_checks import body, json_values, rest_sample
from tests.venues.rest_forms import FORMS, Form, Made

EVERY_FORM = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.feed)
EVERY_FEED = pytest.mark.parametrize("spec", FEEDS, ids=lambda spec: spec.name)


SOME = settings(max_examples=40, deadline=None)  # of each of 12 forms; a road takes a while to make


def pages(spec: FeedSpec) -> list[RestPage]:
    return [page for page in (spec.recent, spec.history) if page is not None]


def read(feed: str, answer: bytes, symbol: str) -> TradePage:
    """What every list of the feed makes of this answer: they all say the same."""
    [first, *others] = [page.read(answer, symbol) for page in pages(FEEDS_BY_NAME[feed])]
    assert all(other == first for other in others)
    return first


# --- the samples, read by eye ---------------------------------------------------------------------

# feed, answer, symbol, then its rows oldest first: id, order id, sequence, side, price, quantity,
# ns. None for an id that the venue does not give.
Expected = list[tuple[str | None, int, int, str, str, str, int]]

SAMPLES: list[tuple[str, bytes, str, Expected]] = [
    ("binance_spot", rest_sample("binance_spot_trades"), "BNBBTC", [
        ("28457", 28457, 28457, "sell", "4.00000100", "12.00000000", 1499865549590_000000),
    ]),
    ("binance_futures", rest_sample("binance_futures_trades"), "BTCUSDT", [
        ("7947579848", 7947579848, 7947579848, "sell", "63440.80", "0.001", 1785702045391_000000),
    ]),
    ("bybit_futures", rest_sample("bybit_recent_trade_linear"), "BTCUSDT", [
        ("a905d5c3-1ed0-4f37-83e4-9c73a2fe2f01", 0, 0, "buy", "27450.50", "0.005",
         1709891679000_000000),
    ]),
    ("okx_spot", rest_sample("okx_market_trades"), "BTC-USDT", [
        ("734864332", 734864332, 734864332, "buy", "102537.9", "0.0000125", 1747087161666_000000),
        ("734864333", 734864333, 734864333, "sell", "102537.9", "0.00013669",
         1747087163557_000000),
    ]),
    ("kucoin_spot", rest_sample("kucoin_spot_histories"), "BTC-USDT", [
        ("10976028003549185", 0, 10976028003549185, "buy", "67122", "0.000025",
         1729177117877000000),
        ("10976028003549188", 0, 10976028003549188, "buy", "67122", "0.01792257",
         1729177117877000000),
        ("10976028003549191", 0, 10976028003549191, "buy", "67122.9", "0.05654289",
         1729177117877000000),
    ]),
    ("kucoin_futures", rest_sample("kucoin_futures_trade_history"), "XBTUSDTM", [
        ("1697915257701", 0, 1697915257701, "sell", "67867.8", "1", 1729242030932000000),
        ("1697915257749", 0, 1697915257749, "sell", "67867.8", "1", 1729242031535000000),
        ("1697915257909", 0, 1697915257909, "sell", "67878", "1", 1729242032152000000),
    ]),
    ("gate_spot", rest_sample("gate_spot_trades"), "BTC_USDT", [
        ("220643972", 220643972, 220643972, "sell", "83818.9", "0.000761", 1790359364969_221000),
    ]),
    ("gate_futures", rest_sample("gate_futures_trades"), "BTC_USDT", [
        ("842236400", 842236400, 842236400, "buy", "83775.5", "9", 1790359375258_000000),
    ]),
    ("phemex_futures", rest_sample("phemex_md_v2_trade"), "BTCUSDT", [
        (None, 0, 77766796, "sell", "20675.5", "0.785", 1666860377636154600),
        (None, 0, 77766796, "buy", "20702.1", "0.949", 1666860389799499000),
    ]),
    # No recording: the rows of a recorded snapshot message in the answer that is documented.
    ("phemex_spot", b'{"error":null,"id":0,"result":{"type":"snapshot","sequence":5,'
     b'"symbol":"sOLUSDT","trades":[[1666860389799499001,"Sell",1228700,41250000000]]}}',
     "sOLUSDT", [(None, 0, 5, "sell", "1228700", "41250000000", 1666860389799499001)]),
]  # fmt: skip


@pytest.mark.parametrize(("feed", "answer", "symbol", "rows"), SAMPLES, ids=[s[0] for s in SAMPLES])
def test_every_field_of_the_samples(feed: str, answer: bytes, symbol: str, rows: Expected) -> None:
    expected = [
        RestTrade(trade_id=row[0], order_id=row[1], sequence_number=row[2],
                  side="sell" if row[3] == "sell" else "buy", price=row[4], quantity=row[5],
                  exchange_ns=row[6])
        for row in rows
    ]  # fmt: skip
    assert read(feed, answer, symbol) == TradePage(trades=expected, refused=[])


# --- one identity (R4) ----------------------------------------------------------------------------


def stream(form: Form, drive: Drive, trades: Sequence[Made]) -> bytes:
    """The lines that these trades give as messages of the stream."""
    for message in form.messages(form.venue_symbol, trades) if trades else ():
        assert drive.intake.feed(frame(TEXT, as_bytes(message)), NOW_NS) == b""
    assert drive.intake.take_kept() == ([], [])
    drive.assert_balance()
    return drive.rows.take()[0]


def backfill(form: Form, drive: Drive, trades: Sequence[Made]) -> tuple[list[str], bytes]:
    """The verdicts on these trades as a REST list, and the lines that they give."""
    page = read(form.feed, form.rest(form.venue_symbol, trades).encode(), form.venue_symbol)
    assert page.refused == []
    verdicts = take(drive, page.trades, form.venue_symbol)
    drive.assert_balance()
    return verdicts, drive.rows.take()[0]


def take(drive: Drive, trades: Sequence[RestTrade], venue_symbol: str) -> list[str]:
    """A list's rows down the road; where there are no ids, each with its ordinal in the list."""
    seen: Counter[tuple[Any, ...]] = Counter()
    verdicts = []
    for one in trades:
        equal = (one.exchange_ns, one.side, Decimal(one.price), Decimal(one.quantity))
        verdicts.append(drive.road.take_backfill(
            venue_symbol, one.side, one.price, one.quantity, one.exchange_ns, one.trade_id,
            one.order_id, one.sequence_number, one.kind, NOW_NS, seen[equal],
        ))  # fmt: skip
        seen[equal] += 1
    return verdicts


@EVERY_FORM
@SOME
@given(data=st.data())
def test_a_trade_gives_the_same_line_from_rest_as_from_the_stream(
    form: Form, data: st.DataObject
) -> None:
    trades = data.draw(form.trades())
    from_stream = stream(form, form.drive(), trades)
    verdicts, from_rest = backfill(form, form.drive(), trades)
    assert verdicts == ["new"] * len(trades)
    # Byte for byte, time, key, side, price, quantity and sequence; only the origin differs.
    assert from_rest.count(b",origin=backfill") == len(trades)
    assert from_rest.replace(b",origin=backfill", b",origin=stream") == from_stream


@EVERY_FORM
@SOME
@given(data=st.data())
def test_rest_adds_what_the_stream_did_not_bring_and_nothing_else(
    form: Form, data: st.DataObject
) -> None:
    trades = data.draw(form.trades())
    heard = data.draw(heard_of(trades, any_of_them=form.has_ids))
    drive = form.drive()
    heard_lines = read_lines(stream(form, drive, heard))
    verdicts, added = backfill(form, drive, trades)
    check_verdicts(form, dict(zip(trades, verdicts, strict=True)), heard)
    assert drive.counts["backfilled"] == verdicts.count("new")
    added_lines = read_lines(added)
    assert {line.symbols.pop("origin") for line in heard_lines} <= {"stream"}
    assert {line.symbols.pop("origin") for line in added_lines} <= {"backfill"}
    expected = read_lines(stream(form, form.drive(), trades))
    for line in expected:
        del line.symbols["origin"]
    # As DEDUP folds them: a row that goes on twice has one key, and nothing in it differs.
    assert all(line in heard_lines for line in added_lines if key(line) in map(key, heard_lines))
    folded = {key(line): line for line in heard_lines + added_lines}
    assert folded == {key(line): line for line in expected}


def check_verdicts(form: Form, verdicts: dict[Made, str], heard: Sequence[Made]) -> None:
    """What was not heard is never a repeat; what was is one, but for what the road forgot (R1)."""
    assert {verdict for one, verdict in verdicts.items() if one not in heard} <= {"new"}
    forgotten = [one for one in heard if verdicts[one] == "new"]
    assert len(forgotten) <= forgotten_max(form)


def forgotten_max(form: Form) -> int:
    """Two rows may share a slot of the table of recent ids, where ids do not count up."""
    counts_up = FEEDS_BY_NAME[form.feed].ids in (TradeIds.CONTIGUOUS, TradeIds.OBSERVED)
    return 0 if counts_up else 4


def heard_of(trades: list[Made], *, any_of_them: bool) -> st.SearchStrategy[list[Made]]:
    """Trades that the stream brings. Where ordinals are the ids it is cut between instants."""
    if any_of_them:
        kept = st.lists(st.booleans(), min_size=len(trades), max_size=len(trades))
        return kept.map(lambda keeps: list(compress(trades, keeps)))
    cuts = [at for at, (one, other) in enumerate(pairwise(trades), 1) if one.ns != other.ns]
    return st.sampled_from([0, *cuts, len(trades)]).map(lambda cut: trades[:cut])


def key(line: Line) -> tuple[Any, ...]:
    return line.timestamp_ns, line.fields["trade_id"]


@EVERY_FORM
@SOME
@given(data=st.data())
def test_the_stream_repeats_what_rest_brought_before(form: Form, data: st.DataObject) -> None:
    trades = data.draw(form.trades())
    drive = form.drive()
    backfill(form, drive, trades)
    assert len(read_lines(stream(form, drive, trades))) <= forgotten_max(form)
    assert drive.counts["repeated"] >= len(trades) - forgotten_max(form)


# --- what cannot be read --------------------------------------------------------------------------


def rows_in(document: Any) -> list[Any]:
    """The list of rows of an answer of any venue."""
    if isinstance(document, list):
        return document
    inner = document.get("data", document.get("result"))
    if isinstance(inner, list):
        return inner
    [rows] = [value for value in inner.values() if isinstance(value, list)]
    return rows


def answer_of(form: Form, count: int = 5) -> Any:
    """A list of trades as decoded JSON, fractions exact."""
    trades = [
        Made(number=7 + at, sequence=70 + 3 * at, ns=NOW_NS + at * 10**6, is_sell=at % 2 == 1,
             price="12", quantity="3")
        for at in range(count)
    ]  # fmt: skip
    return json.loads(form.rest(form.venue_symbol, trades))


@EVERY_FORM
@SOME
@given(data=st.data())
def test_a_broken_row_is_named_and_the_others_are_kept(form: Form, data: st.DataObject) -> None:
    document = answer_of(form)
    whole = read(form.feed, body(document), form.venue_symbol).trades
    rows = rows_in(document)
    at = data.draw(st.integers(0, len(rows) - 1))
    broken = [{}, [], None, 5, "x", True, [1, 2, 3], {"id": "1"}, "\ud800"]
    rows[at] = data.draw(st.sampled_from(broken))
    page = read(form.feed, body(document), form.venue_symbol)
    lost = len(whole) - 1 - at if FEEDS_BY_NAME[form.feed].recent.newest_first else at
    assert page.trades == whole[:lost] + whole[lost + 1 :]
    [reason] = page.refused
    assert reason
    assert page.rows == len(rows)


@EVERY_FORM
@SOME
@given(data=st.data())
def test_a_row_is_read_whole_or_not_at_all(form: Form, data: st.DataObject) -> None:
    """Whatever stands in a value, no trade comes of it that the road could not write."""
    document = answer_of(form, 1)
    [row] = rows_in(document)
    keys = list(row) if isinstance(row, dict) else list(range(len(row)))
    place = data.draw(st.sampled_from(keys))
    row[place] = data.draw(json_values("buy", "1.5", "-3", "1790000000000", "x y", 'q"', "NaN"))
    page = read(form.feed, body(document), form.venue_symbol)
    assert page.rows == 1
    for one in page.trades:
        verdict, *_ = take(form.drive(), [one], form.venue_symbol)
        assert verdict in ("new", "refused:time", "refused:overflow", "refused:malformed")
        assert verdict != "refused:malformed" or len(one.price + one.quantity) > 38


@EVERY_FORM
def test_an_answer_that_is_cut_is_an_error(form: Form) -> None:
    text = body(answer_of(form))
    for size in range(len(text)):
        with pytest.raises(VenueError):
            read(form.feed, text[:size], form.venue_symbol)


@EVERY_FEED
@given(
    document=json_values(
        "code",
        "0",
        "200000",
        "retCode",
        "result",
        "list",
        "data",
        "trades",
        "trades_p",
        "error",
        "symbol",
        "sequence",
    )
)
def test_any_other_answer_is_an_error_or_a_page(spec: FeedSpec, document: Any) -> None:
    for page in pages(spec):
        try:
            rows = page.read(body(document), "X")
        except VenueError:
            continue
        assert rows.trades == []


@pytest.mark.parametrize(("feed", "answer"), [
    ("binance_spot", {"code": -1121, "msg": "Invalid symbol."}),
    ("bybit_spot", {"retCode": 10006, "retMsg": "Too many visits!", "result": {"list": []}}),
    ("bybit_spot", {"retCode": 10001, "retMsg": "params error", "result": {}}),
    ("okx_spot", {"code": "50011", "msg": "Too Many Requests", "data": []}),
    ("kucoin_spot", {"code": "429000", "msg": "Too many requests", "data": []}),
    ("gate_spot", {"label": "INVALID_CURRENCY_PAIR", "message": "unknown"}),
    ("phemex_spot", {"error": {"code": 6001, "message": "invalid argument"}, "result": None}),
])  # fmt: skip
def test_a_refusal_is_no_empty_list(feed: str, answer: Any) -> None:
    with pytest.raises(VenueError):
        read(feed, body(answer), "BTCUSDT")


@EVERY_FORM
def test_an_empty_list_is_a_page(form: Form) -> None:
    answer = form.rest(form.venue_symbol, []).encode()
    assert read(form.feed, answer, form.venue_symbol) == TradePage(trades=[], refused=[])


# Binance and KuCoin name no symbol in their rows.
NAMED = [form for form in FORMS if form.feed.split("_")[0] not in ("binance", "kucoin")]


@pytest.mark.parametrize("form", NAMED, ids=lambda form: form.feed)
def test_rows_of_another_symbol_are_not_taken_for_this_one(form: Form) -> None:
    answer = body(answer_of(form))
    if form.has_ids:
        page = read(form.feed, answer, "OTHER")
        assert (page.trades, len(page.refused)) == ([], 5)
        assert form.venue_symbol in page.refused[0]
    else:  # the list as a whole names its symbol
        with pytest.raises(VenueError, match=form.venue_symbol):
            read(form.feed, answer, "OTHER")


# --- numbers, times, kinds ------------------------------------------------------------------------


def form_of(feed: str) -> Form:
    return next(form for form in FORMS if form.feed == feed)


PRICE_KEYS = {"binance_spot": "price", "bybit_spot": "price", "okx_spot": "px",
              "kucoin_spot": "price", "gate_spot": "price"}  # fmt: skip
STREAM_PRICES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "binance_spot": lambda message: message, "bybit_spot": lambda message: message["data"][0],
    "okx_spot": lambda message: message["data"][0], "kucoin_spot": lambda message: message["data"],
    "gate_spot": lambda message: message["result"],
}  # fmt: skip


@pytest.mark.parametrize("feed", PRICE_KEYS)
@pytest.mark.parametrize("text", NUMBERS)
def test_a_number_is_one_where_the_stream_takes_it_for_one(feed: str, text: str) -> None:
    """And then it is the same number."""
    form = form_of(feed)
    trade = Made(number=7, sequence=70, ns=NOW_NS, is_sell=True, price="PRICE", quantity="2")
    [message] = form.messages(form.venue_symbol, [trade])
    holder = STREAM_PRICES[feed](message)
    holder[next(name for name, value in holder.items() if value == "PRICE")] = text
    heard, asked = form.drive(), form.drive()
    heard.intake.feed(frame(TEXT, as_bytes(message)), NOW_NS)
    document = json.loads(form.rest(form.venue_symbol, [trade]))
    rows_in(document)[0][PRICE_KEYS[feed]] = text
    take(asked, read(feed, body(document), form.venue_symbol).trades, form.venue_symbol)
    from_rest = asked.rows.take()[0]
    assert from_rest.replace(b"=backfill", b"=stream") == heard.rows.take()[0]


@pytest.mark.parametrize("digits", ["0.1", "1234567890.12345678901234567890", "1e-7", "12E5"])
def test_a_number_without_quotes_keeps_its_digits(digits: str) -> None:
    answer = rest_sample("gate_futures_trades").replace(b'"83775.5"', digits.encode())
    [one] = read("gate_futures", answer, "BTC_USDT").trades
    assert Decimal(one.price) == Decimal(digits)


@pytest.mark.parametrize(("seconds", "ns"), [
    ("1790359375.258", 1790359375_258000000), ("1790359375", 1790359375_000000000),
    ("1790359375.2", 1790359375_200000000), ("1.790359375258e9", 1790359375_258000000),
    ("1790359375258", 1790359375_258000000), ("1790359375258.5", 1790359375_258500000),
    ("1790359375.1234567899", 1790359375_123456789), ('"1790359375.258"', 1790359375_258000000),
    ("1790359375." + "9" * 80, 1790359375_999999999),
])  # fmt: skip
def test_gate_futures_times_are_seconds_or_milliseconds(seconds: str, ns: int) -> None:
    answer = rest_sample("gate_futures_trades").replace(
        b'"create_time_ms":1790359375.258', f'"create_time_ms":{seconds}'.encode()
    )
    [one] = read("gate_futures", answer, "BTC_USDT").trades
    assert one.exchange_ns == ns


NO_TIMES = (
    "0", "-1790359375", "1e999999999", "1e-999999999", "4102444800", "1262303999", "true", "null",
    '""', "1" * 200, "[1]",
)  # fmt: skip


@pytest.mark.parametrize("time", NO_TIMES)
def test_a_time_that_is_none_is_refused(time: str) -> None:
    answer = rest_sample("gate_futures_trades").replace(
        b'"create_time_ms":1790359375.258', f'"create_time_ms":{time}'.encode()
    )
    page = read("gate_futures", answer, "BTC_USDT")
    assert page.trades == []
    assert "create_time_ms" in page.refused[0]


@pytest.mark.parametrize(("size", "side", "quantity"), [
    ("9", "buy", "9"), ("-9", "sell", "9"), ('"-0.35"', "sell", "0.35"), ("0", "buy", "0"),
])  # fmt: skip
def test_gate_futures_sizes_are_signed(size: str, side: str, quantity: str) -> None:
    answer = rest_sample("gate_futures_trades").replace(b'"size":9', f'"size":{size}'.encode())
    [one] = read("gate_futures", answer, "BTC_USDT").trades
    assert (one.side, one.quantity) == (side, quantity)


@pytest.mark.parametrize("size", ['"-0"', '"-0.00"', '"--1"', '"+1"', '" 1"', "null"])
def test_a_size_without_a_side_is_refused(size: str) -> None:
    answer = rest_sample("gate_futures_trades").replace(b'"size":9', f'"size":{size}'.encode())
    assert read("gate_futures", answer, "BTC_USDT").trades == []


@pytest.mark.parametrize(("feed", "marks", "kind"), [
    ("binance_futures", {"isRPITrade": True}, "rpi"), ("binance_spot", {}, ""),
    ("bybit_spot", {"isBlockTrade": True}, "block"), ("bybit_spot", {"isRPITrade": True}, "rpi"),
    ("bybit_futures", {"isBlockTrade": True, "isRPITrade": True}, "block"),
    ("gate_futures", {"is_internal": True}, "internal"),
    ("gate_futures", {"is_internal": None}, ""), ("okx_spot", {"source": "1"}, ""),
])  # fmt: skip
def test_kinds_that_rest_knows(feed: str, marks: dict[str, Any], kind: str) -> None:
    form = form_of(feed)
    document = answer_of(form, 1)
    rows_in(document)[0].update(marks)
    [one] = read(feed, body(document), form.venue_symbol).trades
    assert one.kind == kind
    drive = form.drive()
    take(drive, [one], form.venue_symbol)
    [line] = read_lines(drive.rows.take()[0])
    assert line.symbols.get("kind", "") == kind


@pytest.mark.parametrize(
    "form", [form for form in FORMS if "okx" in form.feed], ids=lambda form: form.feed
)
def test_rows_out_of_order_are_put_in_the_order_of_their_ids(form: Form) -> None:
    document = answer_of(form)
    rows = rows_in(document)
    rows[1], rows[3] = rows[3], rows[1]
    page = read(form.feed, body(document), form.venue_symbol)
    assert [one.order_id for one in page.trades] == [7, 8, 9, 10, 11]


def test_bybit_rows_before_2025_have_no_sequence() -> None:
    [one] = read("bybit_futures", rest_sample("bybit_recent_trade_linear"), "BTCUSDT").trades
    assert one.sequence_number == 0


# --- times: the short way and the exact one -------------------------------------------------------

UNITS = (SECONDS, MILLISECONDS, MICROSECONDS, NANOSECONDS)
WRITTEN = st.one_of(
    st.integers(-10, 2**70),
    st.from_regex(r"-?[0-9]{1,22}(\.[0-9]{0,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.builds("{}.{}".format, st.integers(1_262_304_000, 4_102_444_800), st.integers(0, 10**21)),
    st.builds("{}.{}".format, st.integers(10**12, 4 * 10**12), st.integers(0, 10**9)),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=0, max_value=10**19),
)


@given(written=WRITTEN, units=st.permutations(UNITS).map(lambda units: units[:2]))
@example(written="1795664509.123456789987", units=[SECONDS])
@example(written="1795664509689.123456", units=[MILLISECONDS])
@example(written="01795664509", units=[SECONDS])
@example(written="1795664509.", units=[SECONDS])
def test_a_time_is_what_exact_decimals_make_of_it(written: Any, units: list[int]) -> None:
    """Cut below the nanosecond, in the first unit in which it lies between 2010 and 2100."""
    expected = None
    if re.fullmatch(r"(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", str(written)):
        for unit in units:
            ns = int(Fraction(str(written)) * Fraction(10) ** (unit + 9))
            if EARLIEST_NS <= ns < LATEST_NS:
                expected = ns
                break
    if expected is None:
        with pytest.raises(ValueError, match="t is"):
            time_ns({"t": written}, "t", *units)
    else:
        assert time_ns({"t": written}, "t", *units) == expected
