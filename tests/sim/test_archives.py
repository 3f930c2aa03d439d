"""Daily files: the same trades as the venue's lists, with the stream's keys; and spoilt ones."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from pumpwatch.errors import VenueError
from pumpwatch.sim.archives import FORMS
from pumpwatch.sim.venue import Request
from pumpwatch.venues import FEEDS, FEEDS_BY_NAME
from pumpwatch.venues.archives import read_file
from pumpwatch.venues.spec import RestTrade
from tests.sim.driving import START_NS, Stage, traded

DAY = f"{datetime.fromtimestamp(START_NS // 10**9, UTC):%Y-%m-%d}"


def test_every_feed_with_archives_is_served() -> None:
    assert {spec.name for spec in FEEDS if spec.archive is not None} == set(FORMS)


async def fetch(stage: Stage, feed: str, symbol: str, day: str = DAY, **query: str) -> bytes:
    request = Request("GET", f"/archive/{symbol}/{day}", query, {})
    answer = await stage.exchange.answer(feed, request)
    return answer.body if answer.status == 200 else b""


def read(feed: str, body: bytes) -> list[RestTrade]:
    spec = FEEDS_BY_NAME[feed]
    assert spec.archive is not None
    return list(read_file(spec.archive, body, spec.time_step_ns))


def facts(trade: RestTrade) -> tuple[object, ...]:
    return trade.exchange_ns, trade.side, Decimal(trade.price), Decimal(trade.quantity)


@pytest.mark.parametrize("feed", sorted(FORMS))
async def test_a_file_holds_what_the_list_holds_under_the_same_keys(
    feed: str, autojump_clock: object
) -> None:
    spec = FEEDS_BY_NAME[feed]
    assert spec.archive is not None
    async with traded(feed, 3, symbols=2, rate_per_s=200.0) as (stage, symbol):
        page = spec.recent
        query = {page.symbol_param: symbol, **page.params}
        headers = {"x-gate-size-decimal": "1"}
        answer = await stage.exchange.answer(feed, Request("GET", page.path, query, headers))
        listed = page.read(answer.body, symbol).trades
        filed = read(feed, await fetch(stage, feed, symbol))
        assert len(listed) > 20
        assert len(filed) >= len(listed)
        last = filed[-len(listed) :]
        assert [facts(one) for one in last] == [facts(one) for one in listed]
        if spec.archive.has_stream_ids:
            assert [one.trade_id for one in last] == [one.trade_id for one in listed]
        assert await fetch(stage, feed, symbol, "2020-01-01") == b""
        with_holes = read(feed, await fetch(stage, feed, symbol, holes="3"))
        assert 0.5 < len(with_holes) / len(filed) < 0.8
        wrong = read(feed, await fetch(stage, feed, symbol, wrong="3"))
        same = sum(facts(a) == facts(b) for a, b in zip(filed, wrong, strict=True))
        assert 0.5 < same / len(filed) < 0.8


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"PK\x03\x04 no zip", "unpacked"),
        (b"\x1f\x8b no gzip", "unpacked"),
        (b"<html>not found</html>", "row"),
        (b"1,2,x,0,1790000000000,True\n", "qty"),
        (b"1,2,3\n", "row 1"),
        (b"\xff\xfe\n", "row"),
    ],
)
def test_what_is_no_such_file_is_refused(body: bytes, what: str) -> None:
    with pytest.raises(VenueError, match=what):
        read("binance_spot", body)


def test_an_empty_file_has_no_trades() -> None:
    assert read("binance_spot", b"") == []
    assert read("binance_spot", b"id,price,qty,quoteQty,time,isBuyerMaker,isBestMatch\n") == []


def test_microseconds_become_the_stream_s_milliseconds() -> None:
    [trade] = read("binance_spot", b"7,1.5,2,3,1790000000123456,False,True\n")
    assert (trade.exchange_ns, trade.side, trade.order_id) == (1_790_000_000_123_000_000, "buy", 7)
