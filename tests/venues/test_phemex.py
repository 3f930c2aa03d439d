"""Phemex: what it says, what it lists and how it counts, what we ask of it."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given

from pumpwatch.errors import VenueError
from pumpwatch.venues.phemex import (
    FUTURES,
    SPOT,
    read_perpetual_list,
    read_reply,
    read_spot_list,
)
from pumpwatch.venues.spec import (
    NOTICE,
    FeedSpec,
    Listed,
    ListPage,
    OnSubscribing,
    Reply,
    ReplyKind,
    TradeIds,
)
from tests.venues.feed_checks import (
    body,
    check_below,
    check_scales,
    json_values,
    ping,
    replies,
    request,
    rest_sample,
)

BOTH = pytest.mark.parametrize("spec", [SPOT, FUTURES], ids=lambda spec: spec.name)


@BOTH
def test_recorded_replies(spec: FeedSpec) -> None:
    assert replies(spec) == [
        Reply(ReplyKind.ACCEPTED, "1"),
        Reply(ReplyKind.PONG, "0"),
        Reply(ReplyKind.REFUSED, "1", text="6001 invalid argument"),
    ]


def test_an_error_without_an_id_names_none() -> None:
    answer = {"error": {"code": 6001, "message": "invalid argument"}, "id": None, "result": None}
    assert read_reply(answer) == Reply(ReplyKind.REFUSED, text="6001 invalid argument")


def test_the_other_markets_trades_are_no_replies() -> None:
    line = {"sequence": 1, "symbol": "sSOLUSDT", "trades": [[1, "Buy", 1, 1]], "type": "snapshot"}
    assert read_reply(line) == NOTICE


def test_a_result_that_is_no_success_is_no_ack() -> None:
    reply = read_reply({"error": None, "id": 1, "result": {"status": "pending"}})
    assert reply.kind is ReplyKind.NOTICE
    assert "pending" in reply.text
    assert read_reply("hello").text == "'hello'"


@given(json_values("id", "error", "result", "status", "success", "pong", "code", "message"))
def test_no_message_breaks_the_reader(message: Any) -> None:
    assert isinstance(read_reply(message), Reply)


# --- instruments ----------------------------------------------------------------------------------


def test_recorded_spot_list() -> None:
    """The coin-margined BTCUSD of the same list is none of ours."""
    page = read_spot_list(rest_sample("phemex_products_2021"))
    assert page.listed == [
        Listed(
            venue_symbol=name, base=base, quote="USDT", status="trading",
            contract_value="0.00000001", price_exponent=-8,
        )
        for name, base in (("sBTCUSDT", "BTC"), ("sLINKUSDT", "LINK"))
    ]  # fmt: skip
    assert page.refused == []
    check_scales(SPOT, page.listed[0])


def test_a_list_from_before_the_perpetuals_is_an_error() -> None:
    with pytest.raises(VenueError, match=r"no list of data\.perpProductsV2"):
        read_perpetual_list(rest_sample("phemex_products_2021"))


def pair(name: str, base: str, quote: str = "USDT", **fields: Any) -> dict[str, Any]:
    return {"symbol": name, "type": "Spot", "baseCurrency": base, "quoteCurrency": quote,
            "status": "Listed", **fields}  # fmt: skip


def perpetual(name: str, base: str, quote: str = "USDT", **fields: Any) -> dict[str, Any]:
    return {"symbol": name, "type": "PerpetualV2", "contractUnderlyingAssets": base,
            "settleCurrency": quote, "quoteCurrency": quote, "baseCurrency": base,
            "priceScale": 0, "ratioScale": 0, "status": "Listed", **fields}  # fmt: skip


def products(
    pairs: list[Any] | None = None,
    perpetuals: list[Any] | None = None,
    scales: dict[str, Any] | None = None,
) -> bytes:
    scales = scales or {"USDT": 8, "USD": 4, "OL": 8, "SOL": 8, "BTC": 8, "SHIB": 2}
    currencies = [{"currency": coin, "valueScale": scale} for coin, scale in scales.items()]
    return body({"code": 0, "msg": "OK", "data": {
        "ratioScale": 8, "currencies": currencies, "products": pairs or [],
        "perpProductsV2": perpetuals or [],
    }})  # fmt: skip


def names(page: ListPage) -> list[tuple[str, str]]:
    assert page.refused == []
    return [(one.venue_symbol, one.base) for one in page.listed]


def test_the_type_tells_spot_from_perpetual_never_the_letter() -> None:
    """sOLUSDT is spot of OL, SOLUSDT the perpetual of SOL, sSOLUSDT spot of SOL."""
    pairs = [pair("sOLUSDT", "OL"), pair("sSOLUSDT", "SOL")]
    perpetuals = [perpetual("SOLUSDT", "SOL"), perpetual("OLUSDT", "OL")]
    answer = products(pairs, perpetuals)
    assert names(read_spot_list(answer)) == [("sOLUSDT", "OL"), ("sSOLUSDT", "SOL")]
    assert names(read_perpetual_list(answer)) == [("SOLUSDT", "SOL"), ("OLUSDT", "OL")]
    mixed = products([*pairs, *perpetuals], [*perpetuals, *pairs])
    assert names(read_spot_list(mixed)) == names(read_spot_list(answer))
    assert [one.venue_symbol for one in read_perpetual_list(mixed).listed] == ["SOLUSDT", "OLUSDT"]


def test_prices_and_quantities_come_out_in_coins() -> None:
    [listed] = read_spot_list(products([pair("sOLUSDT", "OL")])).listed
    message = (
        b'{"sequence":1,"symbol":"sOLUSDT","trades":[[1788346442564928876,"Sell",1228700,'
        b'41250000000]],"type":"incremental"}'
    )
    _, _, [row] = SPOT.parser.parse(message)
    assert row["symbol"] == listed.venue_symbol
    assert Decimal(row["price"]).scaleb(listed.price_exponent) == Decimal("0.012287")
    assert Decimal(row["quantity"]) * Decimal(listed.contract_value) == Decimal("412.5")


def test_price_and_quantity_have_each_its_coins_scale() -> None:
    [listed] = read_spot_list(products([pair("sSHIBUSD", "SHIB", "USD")])).listed
    assert (listed.price_exponent, listed.contract_value) == (-4, "0.01")
    scales = {"SHIB": 0, "USD": 0}
    [listed] = read_spot_list(products([pair("sSHIBUSD", "SHIB", "USD")], scales=scales)).listed
    assert (listed.price_exponent, listed.contract_value) == (0, "1")


@pytest.mark.parametrize("scale", [None, "8", 8.0, True, -1, 19])
def test_a_coin_without_a_usable_scale_is_not_guessed(scale: Any) -> None:
    scales = {"OL": scale, "USDT": 8, "BTC": 8}
    page = read_spot_list(products([pair("sOLUSDT", "OL"), pair("sBTCUSDT", "BTC")], scales=scales))
    assert [one.venue_symbol for one in page.listed] == ["sBTCUSDT"]
    assert page.refused == ["sOLUSDT: no valueScale of OL"]


def test_perpetuals_are_not_scaled() -> None:
    [listed] = read_perpetual_list(
        products(perpetuals=[perpetual("BTCUSDT", "BTC", listTime=1_668_225_600_000)])
    ).listed
    assert listed == Listed(
        venue_symbol="BTCUSDT", base="BTC", quote="USDT", status="trading", starts_s=1_668_225_600
    )
    check_scales(FUTURES, listed)


def test_multiplied_tickers_lose_their_blank() -> None:
    answer = products(perpetuals=[perpetual("u1000SHIBUSDT", "1000 SHIB")])
    assert names(read_perpetual_list(answer)) == [("u1000SHIBUSDT", "1000SHIB")]


def test_only_perpetuals_in_their_quote_coin_are_ours() -> None:
    answer = products(perpetuals=[
        perpetual("BTCUSDC", "BTC", "USDC"),
        perpetual("BTCUSD", "BTC", "USD", settleCurrency="BTC"),
        perpetual("cBTCUSDT", "BTC", type="Perpetual"),
    ])  # fmt: skip
    assert names(read_perpetual_list(answer)) == [("BTCUSDC", "BTC")]


@pytest.mark.parametrize(("status", "ours"), [("Listed", "trading"), ("Delisted", "ended")])
def test_statuses(status: str, ours: str) -> None:
    answer = products([pair("sOLUSDT", "OL", status=status)],
                      [perpetual("SOLUSDT", "SOL", status=status)])  # fmt: skip
    assert read_spot_list(answer).listed[0].status == ours
    assert read_perpetual_list(answer).listed[0].status == ours


def test_a_status_that_is_not_known_is_none_of_trading() -> None:
    """It may come before the first trade, or in between: the instrument is there."""
    answer = products([pair("sOLUSDT", "OL", status="Preview")],
                      [perpetual("SOLUSDT", "SOL", status="Resting")])  # fmt: skip
    for spec in (SPOT, FUTURES):
        page = spec.instruments.read(answer)
        assert ([one.status for one in page.listed], page.refused) == (["halted"], [])
    for word in (None, 3, [], ""):
        page = SPOT.instruments.read(products([pair("sOLUSDT", "OL", status=word)], []))
        assert (page.listed, len(page.refused)) == ([], 1)


def test_broken_entries_are_named_and_the_others_read() -> None:
    page = read_spot_list(
        products([pair("sAUSDT", ""), {"symbol": "sBUSDT"}, 7, pair("sOLUSDT", "OL")])
    )
    assert [one.venue_symbol for one in page.listed] == ["sOLUSDT"]
    assert page.refused[:2] == ["sAUSDT: baseCurrency is ''", "sBUSDT: no 'type'"]
    assert len(page.refused) == 3


@pytest.mark.parametrize("read", [read_spot_list, read_perpetual_list])
@pytest.mark.parametrize("answer", [b"[", body({"code": 11, "msg": "Too many requests"}), body(0)])
def test_an_answer_without_a_list_is_an_error(read: Any, answer: bytes) -> None:
    with pytest.raises(VenueError, match="Phemex's product list"):
        read(answer)


# --- requests and limits --------------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "method", "symbol"), [
    (SPOT, "trade.subscribe", "sOLUSDT"), (FUTURES, "trade_p.subscribe", "SOLUSDT"),
])  # fmt: skip
def test_subscription(spec: FeedSpec, method: str, symbol: str) -> None:
    assert request(spec, symbol, request_id=5) == {"id": 5, "method": method, "params": [symbol]}


@BOTH
def test_one_symbol_a_request(spec: FeedSpec) -> None:
    """More are acked, but not documented: what is acked and never sent would be lost unnoticed."""
    assert spec.subscribe.symbols_per_request_max == 1


@BOTH
def test_ping(spec: FeedSpec) -> None:
    assert ping(spec, 9) == {"id": 9, "method": "server.ping", "params": []}
    assert (spec.keepalive.interval_s, spec.keepalive.unanswered_max) == (5.0, 3)
    assert 15 <= spec.keepalive.silence_s < 30


@BOTH
def test_connections_stay_within_the_limits(spec: FeedSpec) -> None:
    assert spec.symbols_per_connection == spec.subscriptions_max == 20
    assert spec.connections_max == 5
    assert 1 / spec.pace.interval_s + 1 <= 20  # requests in a second, pings among them
    check_below(spec.connects, 200, 300)
    check_below(spec.rest_allowance, 100, 60)


def test_the_feeds_share_address_and_budgets() -> None:
    assert SPOT.websocket_url == FUTURES.websocket_url == "wss://ws.phemex.com"
    assert SPOT.rest_url == FUTURES.rest_url == "https://api.phemex.com"
    assert SPOT.connects == FUTURES.connects
    assert SPOT.rest_allowance == FUTURES.rest_allowance
    assert SPOT.connects.key != SPOT.rest_allowance.key


def test_what_rest_reaches() -> None:
    assert (SPOT.recent.path, FUTURES.recent.path) == ("/md/trade", "/md/v2/trade")
    assert SPOT.recent.newest_first
    assert FUTURES.recent.newest_first
    assert SPOT.instruments.path == FUTURES.instruments.path == "/public/products"
    times = [row[0] for row in json.loads(rest_sample("phemex_md_v2_trade"))["result"]["trades_p"]]
    assert times == sorted(times, reverse=True)


def test_volumes_are_there_for_both() -> None:
    """With 100 symbols at most the busiest must be known."""
    for spec, key in ((SPOT, "turnoverEv"), (FUTURES, "turnoverRv")):
        assert spec.volumes is not None
        assert (spec.volumes.rows, spec.volumes.symbol_key) == (("result",), "symbol")
        assert spec.volumes.volume_key == key


@BOTH
def test_there_are_no_ids_but_a_snapshot(spec: FeedSpec) -> None:
    assert spec.ids is TradeIds.NONE
    assert spec.on_subscribing is OnSubscribing.SNAPSHOT
    assert spec.time_step_ns == 1
    assert spec.parser.feed == spec.name == f"{spec.exchange}_{spec.market_type}"
