from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from pumpwatch._fast.instruments import InstrumentTable
from pumpwatch.capture.instruments import PAGES_MAX, fetch_listing, split_multiplier
from pumpwatch.config import FeedConfig
from pumpwatch.errors import VenueError
from pumpwatch.model import Instrument
from pumpwatch.venues import FEEDS_BY_NAME
from pumpwatch.venues.spec import FeedSpec, Listed, ListPage, ListRequest, Params, VolumeRequest
from tests.capture.specs import feed_spec

NOBODY: tuple[None, None] = (None, None)


class PageRest:
    """Answers from a table of (path, cursor) and keeps what was asked."""

    def __init__(self, bodies: Mapping[tuple[str, str], bytes]) -> None:
        self.asked: list[tuple[str, dict[str, str], float]] = []
        self._bodies = bodies

    async def get(
        self, source: FeedSpec, path: str, params: Params | None = None, weight: float = 1
    ) -> bytes:
        params = dict(params or {})
        self.asked.append((path, params, weight))
        body = self._bodies.get((path, params.get("cursor", "")))
        if body is None:
            raise VenueError(f"{source.name}: {path}: 503")
        return body

    async def post(
        self, source: FeedSpec, path: str, params: Params | None = None, weight: float = 1
    ) -> bytes:
        raise AssertionError("instruments are not posted")


def entry(name: str, **changes: Any) -> dict[str, Any]:
    base, _, quote = name.partition("-")
    facts = {"venue_symbol": name, "base": base, "quote": quote, "status": "trading"}
    return facts | changes


def page(*entries: dict[str, Any], refused: list[str] | None = None, cursor: str = "") -> bytes:
    return json.dumps({"list": entries, "refused": refused or [], "next": cursor}).encode()


def read_page(body: bytes) -> ListPage:
    document = json.loads(body)
    listed = [Listed(**one) for one in document["list"]]
    return ListPage(listed=listed, refused=document["refused"], next_cursor=document["next"])


REQUEST = ListRequest(
    path="/list", params={"limit": "1000"}, cursor_param="cursor", weight=7, read=read_page
)


def spec_of(**changes: Any) -> FeedSpec:
    return feed_spec(**({"instruments": REQUEST} | changes))


async def fetch(
    *entries: dict[str, Any],
    krw_coins: tuple[set[str] | None, set[str] | None] = NOBODY,
    spec: FeedSpec | None = None,
    **config: Any,
) -> list[Instrument]:
    rest = PageRest({("/list", ""): page(*entries)})
    return (
        await fetch_listing(spec or spec_of(), rest, FeedConfig(**config), krw_coins)
    ).instruments


@pytest.mark.parametrize(
    ("is_first", "before", "status"),
    [
        (True, {}, "halted"),  # it may have stood there for years
        (True, {"A-USDT": "prelaunch"}, "prelaunch"),  # as an earlier run knew it
        (False, {}, "prelaunch"),  # it was not there before
        (False, {"A-USDT": "prelaunch"}, "prelaunch"),
        (False, {"A-USDT": "trading"}, "halted"),
        (False, {"A-USDT": "halted"}, "halted"),
        (False, {"A-USDT": "ended"}, "halted"),
    ],
)
async def test_what_is_new_and_does_not_trade_yet_is_about_to(
    is_first: bool, before: dict[str, str], status: str
) -> None:
    rest = PageRest({("/list", ""): page(entry("A-USDT", status="halted"), entry("B-USDT"))})
    listing = await fetch_listing(
        spec_of(), rest, FeedConfig(), NOBODY, is_first=is_first, before=before
    )
    assert listing.statuses == {"A-USDT": status, "B-USDT": "trading"}
    named = {one.venue_symbol: one.status for one in listing.instruments}
    assert named == {"B-USDT": "trading"} | ({"A-USDT": status} if status == "prelaunch" else {})


def symbols(instruments: list[Instrument]) -> list[str]:
    return [one.symbol for one in instruments]


# --- tickers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "coin", "unit"),
    [
        ("BTC", "BTC", 1), ("1000PEPE", "PEPE", 1000), ("1000000MOG", "MOG", 10**6),
        ("10000SATS", "SATS", 10**4), ("1MBABYDOGE", "BABYDOGE", 10**6),
        ("10000000AIDOGE", "AIDOGE", 10**7), ("SHIB1000", "SHIB", 1000), ("1000币安", "币安", 1000),
        # coins whose names only look like it
        ("1INCH", "1INCH", 1), ("1000X", "1000X", 1), ("100X", "100X", 1), ("1000", "1000", 1),
        ("2Z", "2Z", 1), ("0G", "0G", 1), ("4", "4", 1), ("API3", "API3", 1), ("1MIL", "1MIL", 1),
        ("1001PEPE", "1001PEPE", 1), ("币安人生", "币安人生", 1),
    ],
)  # fmt: skip
def test_the_coin_behind_a_ticker(base: str, coin: str, unit: int) -> None:
    assert split_multiplier(base) == (coin, unit)


@given(st.from_regex(r"[A-Z]{2,8}[0-9]?", fullmatch=True), st.integers(3, 8))
def test_any_power_of_ten_in_front_is_the_unit(coin: str, zeros: int) -> None:
    assert split_multiplier(f"1{'0' * zeros}{coin}") == (coin, 10**zeros)
    assert split_multiplier(coin) == (coin, 1)


# --- the list -------------------------------------------------------------------------------------


async def test_facts_of_the_list_become_an_instrument() -> None:
    listed = entry("1000PEPE-USDT", contract_value="10", price_exponent=-8, volume_quote=5.0)
    (found,) = await fetch(listed, krw_coins=({"PEPE"}, {"BTC"}))
    assert found == Instrument(
        feed="binance_spot", venue_symbol="1000PEPE-USDT", symbol="1000PEPEUSDT", base="1000PEPE",
        quote="USDT", coin="PEPE", unit=1000, contract_value="10", price_exponent=-8,
        krw_upbit=True, krw_bithumb=False, volume_quote=5.0,
    )  # fmt: skip


async def test_what_is_not_known_of_the_boards_stays_unknown() -> None:
    (found,) = await fetch(entry("BTC-USDT"), krw_coins=(None, {"BTC"}))
    assert (found.krw_upbit, found.krw_bithumb) == (None, True)
    (found,) = await fetch(entry("BTC-USDT"), krw_coins=(set(), None))
    assert (found.krw_upbit, found.krw_bithumb) == (False, None)


async def test_quotes_and_globs_choose_with_capitals_counting() -> None:
    listed = [entry("BTC-USDT"), entry("ETH-USDT"), entry("BTC-USDC"), entry("btc-USDT")]
    assert symbols(await fetch(*listed)) == ["BTCUSDT", "ETHUSDT", "btcUSDT"]
    assert symbols(await fetch(*listed, quotes=("USDC", "USDT"), symbols=("BTC*",))) == [
        "BTCUSDT", "BTCUSDC",
    ]  # fmt: skip
    assert symbols(await fetch(*listed, symbols=("[BE]T[CH]USDT", "b*"))) == [
        "BTCUSDT", "ETHUSDT", "btcUSDT",
    ]  # fmt: skip
    assert await fetch(*listed, symbols=("XRPUSDT",)) == []


async def test_only_what_trades_or_soon_will() -> None:
    listed = [
        entry(f"{status}-USDT", status=status)
        for status in ("trading", "prelaunch", "halted", "ended")
    ]
    assert symbols(await fetch(*listed)) == ["tradingUSDT", "prelaunchUSDT"]


async def test_the_list_names_what_is_not_recorded_too_and_a_poll_repeats_nothing() -> None:
    entries = [entry("A-USDT"), entry("B-BTC"), entry("C-USDT", status="halted")]
    rest = PageRest({("/list", ""): page(*entries, refused=["bad"])})
    volumes = VolumeRequest(path="/volumes", symbol_key="s", volume_key="v")
    with capture_logs() as logs:
        found = await fetch_listing(
            spec_of(volumes=volumes), rest, FeedConfig(), NOBODY, is_first=False,
            before={"C-USDT": "halted"},
        )  # fmt: skip
    assert found.statuses == {"A-USDT": "trading", "B-BTC": "trading", "C-USDT": "halted"}
    assert [path for path, _, _ in rest.asked] == ["/list"]
    assert logs == []


async def test_of_two_with_one_symbol_the_first_that_trades_stays() -> None:
    old, new, other = "OLD-USDT", "NEW-USDT", "OTHER-USDT"
    same = {"base": "A", "quote": "USDT"}
    with capture_logs() as logs:
        found = await fetch(
            entry(old, **same, status="prelaunch"), entry("B-USDT"), entry(new, **same),
            entry(other, **same),
        )  # fmt: skip
    assert [one.venue_symbol for one in found] == [new, "B-USDT"]
    (told,) = [line for line in logs if line["event"] == "symbols_listed_twice"]
    assert told["entries"] == 2


async def test_refused_entries_are_told_once_with_the_first_reasons() -> None:
    refused = [f"X{number}: status is 'new'" for number in range(20)]
    bad = [
        entry("A B-USDT"), entry("C,D-USDT"), entry("N" * 60 + "-USDT"),
        entry("ZERO-USDT", contract_value="0"), entry("FAR-USDT", price_exponent=-70),
        entry("FAR2-USDT", price_exponent=2**40), entry("HALF\ud800-USDT"),
    ]  # fmt: skip
    rest = PageRest({("/list", ""): page(*bad, entry("BTC-USDT"), refused=refused)})
    with capture_logs() as logs:
        found = (await fetch_listing(spec_of(), rest, FeedConfig(), NOBODY)).instruments
    assert symbols(found) == ["BTCUSDT"]
    (told,) = [line for line in logs if line["event"] == "instruments_refused"]
    assert told["entries"] == len(refused) + len(bad)
    assert told["first"] == refused[:5]


@given(st.lists(st.tuples(st.text(max_size=70), st.text(max_size=5)), max_size=9))
async def test_whatever_is_returned_the_road_can_take(listed: list[tuple[str, str]]) -> None:
    entries = [
        entry(name, base=name, quote="USDT", contract_value=value or "1") for name, value in listed
    ]
    table = InstrumentTable("binance", "spot")
    for one in await fetch(*entries):
        table.add(one.venue_symbol, one.symbol, one.contract_value, one.price_exponent)


async def test_pages_are_followed_by_their_cursors() -> None:
    rest = PageRest({
        ("/list", ""): page(entry("A-USDT"), cursor="two"),
        ("/list", "two"): page(entry("B-USDT"), cursor="three"),
        ("/list", "three"): page(entry("C-USDT")),
    })  # fmt: skip
    found = (await fetch_listing(spec_of(), rest, FeedConfig(), NOBODY)).instruments
    assert symbols(found) == ["AUSDT", "BUSDT", "CUSDT"]
    assert rest.asked == [
        ("/list", {"limit": "1000"}, 7), ("/list", {"limit": "1000", "cursor": "two"}, 7),
        ("/list", {"limit": "1000", "cursor": "three"}, 7),
    ]  # fmt: skip


async def test_a_list_without_end_is_an_error() -> None:
    rest = PageRest({("/list", at): page(entry("A-USDT"), cursor="again") for at in ("", "again")})
    with pytest.raises(VenueError, match="does not end"):
        await fetch_listing(spec_of(), rest, FeedConfig(), NOBODY)
    assert len(rest.asked) == PAGES_MAX


async def test_a_list_of_one_page_ignores_cursors() -> None:
    request = ListRequest(path="/list", read=read_page)
    rest = PageRest({("/list", ""): page(entry("A-USDT"), cursor="more")})
    spec = spec_of(instruments=request)
    assert symbols((await fetch_listing(spec, rest, FeedConfig(), NOBODY)).instruments) == ["AUSDT"]


async def test_a_venue_that_fails_is_told_as_it_is() -> None:
    with pytest.raises(VenueError, match="503"):
        await fetch_listing(spec_of(), PageRest({}), FeedConfig(), NOBODY)


async def test_r21_lists_are_read_in_a_thread() -> None:
    threads: set[int] = set()

    def read(body: bytes) -> ListPage:
        threads.add(threading.get_ident())
        return read_page(body)

    request = ListRequest(path="/list", read=read)
    assert len(await fetch(entry("BTC-USDT"), spec=spec_of(instruments=request))) == 1
    assert threads
    assert threading.get_ident() not in threads


# --- volumes --------------------------------------------------------------------------------------

VOLUMES = VolumeRequest(
    path="/volumes", weight=3, rows=("result", "list"), symbol_key="name", volume_key="turnover"
)


async def fetch_with_volumes(body: bytes | None, request: VolumeRequest = VOLUMES) -> list[float]:
    listed = [entry("A-USDT", volume_quote=1.0), entry("B-USDT"), entry("C-USDT")]
    bodies = {("/list", ""): page(*listed)}
    if body is not None:
        bodies["/volumes", ""] = body
    rest = PageRest(bodies)
    found = (await fetch_listing(spec_of(volumes=request), rest, FeedConfig(), NOBODY)).instruments
    assert rest.asked[-1] == ("/volumes", {}, 3)
    return [one.volume_quote for one in found]


async def test_volumes_come_from_where_they_are() -> None:
    rows = [{"name": "A-USDT", "turnover": "12.5", "last": "2"}, "noise", {"turnover": 3},
            {"name": "C-USDT", "turnover": 7, "last": "3"}]  # fmt: skip
    body = json.dumps({"result": {"list": rows}}).encode()
    assert await fetch_with_volumes(body) == [12.5, 0.0, 7.0]
    priced = VolumeRequest(
        path="/volumes", weight=3, rows=("result", "list"), symbol_key="name",
        volume_key="turnover", price_key="last",
    )  # fmt: skip
    assert await fetch_with_volumes(body, priced) == [25.0, 0.0, 21.0]


@pytest.mark.parametrize("body", [None, b"<html>", b"[]", b'{"result":{"list":7}}'])
async def test_without_volumes_the_list_is_still_good(body: bytes | None) -> None:
    with capture_logs() as logs:
        assert await fetch_with_volumes(body) == [1.0, 0.0, 0.0]
    assert [line["event"] for line in logs] == ["volumes_failed"]


# --- recorded lists -------------------------------------------------------------------------------

LISTS = Path(__file__).parents[1] / "samples" / "rest"


@pytest.mark.parametrize(
    ("feed", "file"),
    [
        ("binance_spot", "binance_spot_exchangeInfo.json"),
        ("binance_futures", "binance_futures_exchangeInfo.json"),
        ("bybit_spot", "bybit_instruments_spot.json"),
        ("bybit_futures", "bybit_instruments_linear.json"),
        ("okx_spot", "okx_instruments_spot.json"),
        ("okx_futures", "okx_instruments_swap.json"),
        ("kucoin_spot", "kucoin_symbols.json"),
        ("kucoin_futures", "kucoin_contracts_active.json"),
        ("gate_spot", "gate_currency_pairs.json"),
        ("gate_futures", "gate_futures_contracts.json"),
    ],
)
async def test_recorded_lists(feed: str, file: str) -> None:
    spec = FEEDS_BY_NAME[feed]
    rest = PageRest({(spec.instruments.path, ""): (LISTS / file).read_bytes()})
    config = FeedConfig(quotes=("USDT", "BTC", "ETH", "USDC", "USD"))
    found = (await fetch_listing(spec, rest, config, ({"BTC"}, set()))).instruments
    assert found
    assert len({one.symbol for one in found}) == len({one.venue_symbol for one in found})
    assert {one.feed for one in found} == {feed}
    assert all(one.krw_upbit is (one.coin == "BTC") for one in found)
    table = InstrumentTable(spec.exchange, spec.market_type)
    for one in found:
        table.add(one.venue_symbol, one.symbol, one.contract_value, one.price_exponent)
