"""Bybit: what it says, what it lists, what we ask of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from pumpwatch.errors import VenueError
from pumpwatch.venues import bybit
from pumpwatch.venues.bybit import FUTURES, SPOT, read_linear_list, read_reply, read_spot_list
from pumpwatch.venues.spec import NOTICE, FeedSpec, Listed, Reply, ReplyKind, TradeIds
from tests.venues.feed_checks import (
    body,
    check_below,
    check_scales,
    json_values,
    longest_symbols,
    ping,
    replies,
    request,
    rest_sample,
)

BOTH = pytest.mark.parametrize("spec", [SPOT, FUTURES], ids=lambda spec: spec.name)
INVALID = "Invalid topic: invalid.topic.BTCUSDT"
PONGS = [Reply(ReplyKind.PONG, "78630463144691"), Reply(ReplyKind.PONG)]


def test_recorded_spot_replies() -> None:
    assert replies(SPOT) == [
        Reply(ReplyKind.ACCEPTED, "4000001"),
        Reply(ReplyKind.ACCEPTED),  # without req_id
        Reply(ReplyKind.REFUSED, "2000001", text="args size >10"),
        Reply(ReplyKind.REFUSED, text=INVALID),
        *PONGS,
    ]


def test_recorded_futures_replies() -> None:
    assert replies(FUTURES) == [
        Reply(ReplyKind.ACCEPTED, "4000001"),
        Reply(ReplyKind.ACCEPTED),  # with an empty req_id
        Reply(ReplyKind.REFUSED, text=INVALID),
        *reversed(PONGS),
    ]


def refusal(said: str) -> Reply:
    return read_reply({"success": False, "ret_msg": said, "req_id": "7", "op": "subscribe"})


def test_a_refusal_names_the_one_topic_at_fault() -> None:
    said = "error:handler not found,topic:publicTrade.NEWCUSDT"
    assert refusal(said) == Reply(ReplyKind.REFUSED, "7", ("NEWCUSDT",), said)
    assert refusal("Invalid symbol :[publicTrade.NEWCUSDT]").symbols == ("NEWCUSDT",)


def test_a_refusal_that_repeats_the_request_names_nobody() -> None:
    """Else the good ones would be given up with the bad one."""
    reply = refusal("Invalid topics: [publicTrade.BTCUSDT,publicTrade.NEWCUSDT]")
    assert (reply.kind, reply.symbols) == (ReplyKind.REFUSED, ())


def test_asking_too_fast_is_no_refusal() -> None:
    assert refusal("Too many visits!").kind is ReplyKind.BUSY


def test_other_sockets_spell_the_pong_otherwise() -> None:
    assert read_reply({"op": "pong", "args": ["1789875217841"]}).kind is ReplyKind.PONG


def test_a_ping_that_is_no_pong_is_none() -> None:
    assert read_reply({"op": "ping", "success": True, "ret_msg": ""}).kind is ReplyKind.NOTICE


def test_what_is_not_known_is_told_to_the_log() -> None:
    assert "auth" in read_reply({"op": "auth", "success": True}).text
    assert read_reply("hello").text == "'hello'"
    assert read_reply({"topic": "publicTrade.BTCUSDT", "data": []}) == NOTICE


@given(json_values("op", "success", "ret_msg", "req_id", "subscribe", "ping", "pong", "data"))
def test_no_message_breaks_the_reader(message: Any) -> None:
    assert isinstance(read_reply(message), Reply)


# --- instruments ----------------------------------------------------------------------------------


def test_recorded_spot_list() -> None:
    page = read_spot_list(rest_sample("bybit_instruments_spot"))
    assert page.listed == [
        Listed(venue_symbol="BTCUSDT", base="BTC", quote="USDT", status="trading"),
        Listed(venue_symbol="ETHUSDT", base="ETH", quote="USDT", status="trading"),
    ]
    assert (page.refused, page.next_cursor) == ([], "")
    check_scales(SPOT, page.listed[0])


def test_recorded_linear_list() -> None:
    page = read_linear_list(rest_sample("bybit_instruments_linear"))
    assert page.listed == [
        Listed(
            venue_symbol="10000NFTUSDT", base="10000NFT", quote="USDT", status="trading",
            starts_s=1_643_007_175,
        ),
        Listed(
            venue_symbol="1000BONKUSDT", base="1000BONK", quote="USDT", status="trading",
            starts_s=1_672_971_039,
        ),
    ]  # fmt: skip
    assert (page.refused, page.next_cursor) == ([], "")


def contract(name: str, **fields: Any) -> dict[str, Any]:
    entry = {"symbol": name, "contractType": "LinearPerpetual", "status": "Trading",
             "baseCoin": "BTC", "quoteCoin": "USDT", "settleCoin": "USDT"}  # fmt: skip
    return {**entry, **fields}


def linear(*entries: Any, **fields: Any) -> bytes:
    result = {"category": "linear", "list": list(entries), **fields}
    return body({"retCode": 0, "retMsg": "OK", "result": result})


def test_only_perpetuals_in_their_quote_coin_are_ours() -> None:
    page = read_linear_list(linear(
        contract("BTCUSDT"),
        contract("BTCUSDT-25DEC26", contractType="LinearFutures"),
        contract("BTCPERP", quoteCoin="USDC", settleCoin="USDC"),
        contract("BTCUSD", quoteCoin="USD", settleCoin="BTC"),
    ))  # fmt: skip
    assert [(one.venue_symbol, one.quote) for one in page.listed] == [
        ("BTCUSDT", "USDT"), ("BTCPERP", "USDC"),
    ]  # fmt: skip
    assert page.refused == []
    check_scales(FUTURES, page.listed[0])


@pytest.mark.parametrize(("status", "ours"), [
    ("Trading", "trading"), ("PreLaunch", "prelaunch"), ("Delivering", "halted"),
    ("Settling", "halted"), ("Closed", "ended"),
])  # fmt: skip
def test_statuses(status: str, ours: str) -> None:
    [listed] = read_linear_list(linear(contract("BTCUSDT", status=status))).listed
    assert listed.status == ours


def test_a_status_that_is_not_known_is_named() -> None:
    page = read_linear_list(linear(contract("BTCUSDT", status="Resting")))
    assert (page.listed, page.refused) == ([], ["BTCUSDT: status is 'Resting'"])


def test_the_cursor_is_handed_on_decoded() -> None:
    """It comes ready for a URL; encoded twice it would name no page."""
    page = read_linear_list(linear(contract("A"), nextPageCursor="first%3DAUSDT%26last%3DBUSDT"))
    assert page.next_cursor == "first=AUSDT&last=BUSDT"


def test_a_cursor_that_is_no_text_is_an_error() -> None:
    with pytest.raises(VenueError, match="nextPageCursor"):
        read_linear_list(linear(contract("A"), nextPageCursor=500))


def test_broken_entries_are_named_and_the_others_read() -> None:
    without_base = contract("BADUSDT")
    del without_base["baseCoin"]
    page = read_linear_list(linear(without_base, "no object", contract("BTCUSDT", status=3),
                                   contract("ETHUSDT")))  # fmt: skip
    assert [one.venue_symbol for one in page.listed] == ["ETHUSDT"]
    assert page.refused[0] == "BADUSDT: no 'baseCoin'"
    assert page.refused[1].startswith("'no object': ")
    assert page.refused[2] == "BTCUSDT: status is 3"


@pytest.mark.parametrize("read", [read_spot_list, read_linear_list])
@pytest.mark.parametrize("answer", [
    b"<html>", body({"retCode": 10006, "retMsg": "Too many visits!", "result": {}}), body([]),
])  # fmt: skip
def test_an_answer_without_a_list_is_an_error(read: Any, answer: bytes) -> None:
    with pytest.raises(VenueError, match="Bybit's instrument list"):
        read(answer)


# --- requests and limits --------------------------------------------------------------------------


@BOTH
def test_subscription(spec: FeedSpec) -> None:
    assert request(spec, "BTCUSDT", "ETHUSDT", request_id=5) == {
        "req_id": "5", "op": "subscribe", "args": ["publicTrade.BTCUSDT", "publicTrade.ETHUSDT"],
    }  # fmt: skip


@BOTH
def test_ping(spec: FeedSpec) -> None:
    assert ping(spec, 9) == {"req_id": "9", "op": "ping"}
    assert spec.keepalive.interval_s <= 20 < spec.keepalive.silence_s < 600


def test_spot_takes_ten_args() -> None:
    assert SPOT.subscribe.symbols_per_request_max == 10


@BOTH
def test_the_args_of_a_connection_stay_below_21000_characters(spec: FeedSpec) -> None:
    symbols = longest_symbols(spec.symbols_per_connection)
    args = request(spec, *symbols)["args"]
    assert len(args) == spec.symbols_per_connection
    assert len(json.dumps(args, separators=(",", ":"))) < 21_000


@BOTH
def test_budgets_stay_below_the_limits(spec: FeedSpec) -> None:
    check_below(spec.connects, 500, 300)
    check_below(spec.rest_allowance, 600, 5)
    assert spec.ban_s >= 600
    assert spec.connections_max == 1000


def test_the_feeds_share_their_budgets() -> None:
    assert SPOT.connects == FUTURES.connects
    assert SPOT.rest_allowance == FUTURES.rest_allowance
    assert SPOT.connects.key != SPOT.rest_allowance.key


def test_addresses() -> None:
    assert SPOT.websocket_url == "wss://stream.bybit.com/v5/public/spot"
    assert FUTURES.websocket_url == "wss://stream.bybit.com/v5/public/linear"
    assert SPOT.rest_url == FUTURES.rest_url == "https://api.bybit.com"


@pytest.mark.parametrize(("spec", "category", "rows"), [(SPOT, "spot", 60),
                                                        (FUTURES, "linear", 1000)])  # fmt: skip
def test_what_rest_reaches(spec: FeedSpec, category: str, rows: int) -> None:
    assert spec.recent.path == "/v5/market/recent-trade"
    assert spec.recent.params == {"category": category, "limit": str(rows)}
    assert (spec.recent.rows_max, spec.recent.newest_first) == (rows, True)
    assert spec.history is None
    assert spec.instruments.params["category"] == category
    assert spec.volumes is not None
    assert spec.volumes.params == {"category": category}


def test_only_linear_has_pages() -> None:
    assert SPOT.instruments.cursor_param == ""
    assert FUTURES.instruments.cursor_param == "cursor"
    assert FUTURES.instruments.params["limit"] == "1000"


@BOTH
def test_what_the_ids_prove(spec: FeedSpec) -> None:
    assert spec.ids is TradeIds.OPAQUE
    assert not spec.prelaunch_has_feed
    assert spec.parser.feed == spec.name == f"{spec.exchange}_{spec.market_type}"
    assert spec.read_reply is bybit.read_reply
