"""Binance: acks without symbols, planned ends, exchangeInfo of both markets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pumpwatch.errors import VenueError
from pumpwatch.venues import FEEDS
from pumpwatch.venues.binance import FUTURES, SPOT, read_aggregated, read_reply
from pumpwatch.venues.spec import FeedSpec, IdsTold, Listed, Reply, ReplyKind
from tests.venues.sample_replies import by_symbol, replies, rest_body

MALFORMED = "2 Invalid request: streams must be an array"


def pair(**changes: Any) -> dict[str, Any]:
    return {
        "symbol": "AUSDT",
        "status": "TRADING",
        "baseAsset": "A",
        "quoteAsset": "USDT",
        **changes,
    }


def contract(**changes: Any) -> dict[str, Any]:
    return pair(**{"contractType": "PERPETUAL", "marginAsset": "USDT", **changes})


def listed(spec: FeedSpec, *entries: Any) -> list[Listed]:
    page = spec.instruments.read(json.dumps({"symbols": entries}).encode())
    assert not page.refused
    return page.listed


def test_recorded_replies_of_spot() -> None:
    found = replies(SPOT)
    assert found.pop(1) == Reply(ReplyKind.ACCEPTED, "5000001")
    assert found.pop(2) == Reply(ReplyKind.REFUSED, "5000001", (), MALFORMED)
    for line in (67, 68):  # wrapped by a combined stream, and bare
        assert found.pop(line) == Reply(ReplyKind.PLANNED_END, text="serverShutdown")
    assert set(found) == {64, 65, 66}  # events of other streams
    assert {reply.kind for reply in found.values()} == {ReplyKind.NOTICE}


def test_recorded_replies_of_futures() -> None:
    found = replies(FUTURES)
    assert found.pop(1) == Reply(ReplyKind.ACCEPTED, "1")
    assert found.pop(2) == Reply(ReplyKind.REFUSED, "5000001", (), MALFORMED)
    assert len(found) >= 6  # aggTrade
    assert {reply.kind for reply in found.values()} == {ReplyKind.NOTICE}


@pytest.mark.parametrize(
    "message", [{"code": 3, "msg": "Invalid JSON"}, {"error": {"code": 3, "msg": "Invalid JSON"}}]
)
def test_a_refusal_that_names_no_request(message: Any) -> None:
    assert read_reply(message) == Reply(ReplyKind.REFUSED, "", (), "3 Invalid JSON")


@pytest.mark.parametrize(
    "message", [{"id": 1}, {"result": None}, {"result": ["a"], "id": 1}, [], "x"]
)
def test_what_is_no_ack_is_not_taken_for_one(message: Any) -> None:
    assert read_reply(message).kind is ReplyKind.NOTICE


def test_recorded_list_of_spot() -> None:
    page = SPOT.instruments.read(rest_body("binance_spot_exchangeInfo.json"))
    assert page.refused == []
    assert by_symbol(page).keys() == {"BTCUSDT", "ETHUSDT", "BTCSTUSDT"}
    assert by_symbol(page)["BTCSTUSDT"] == Listed(
        venue_symbol="BTCSTUSDT", base="BTCST", quote="USDT", status="trading"
    )


def test_recorded_list_of_futures_leaves_dated_contracts_out() -> None:
    page = FUTURES.instruments.read(rest_body("binance_futures_exchangeInfo.json"))
    assert page.refused == []
    found = by_symbol(page)
    assert found.keys() == {"BTCUSDT", "ETHUSDT", "BTCSTUSDT"}
    assert found["ETHUSDT"] == Listed(
        venue_symbol="ETHUSDT", base="ETH", quote="USDT", status="trading", starts_s=1569398400
    )
    assert found["BTCSTUSDT"].status == "prelaunch"  # it has no contractType yet


@pytest.mark.parametrize("margin", ["BTC", "USDC"])
def test_futures_with_another_margin_are_not_ours(margin: str) -> None:
    assert listed(FUTURES, contract(marginAsset=margin)) == []


def test_futures_that_are_no_perpetual_are_not_ours() -> None:
    assert listed(
        FUTURES,
        contract(contractType="CURRENT_QUARTER"),
        contract(contractType=""),
        contract(contractType="", status="PENDING_TRADING", symbol="AUSDT_270326"),
    ) == []  # fmt: skip


@pytest.mark.parametrize(
    ("word", "status"), [("TRADING", "trading"), ("HALT", "halted"), ("BREAK", "halted"),
                         ("CANCEL_ONLY", "halted")]
)  # fmt: skip
def test_statuses_of_spot(word: str, status: str) -> None:
    assert [one.status for one in listed(SPOT, pair(status=word))] == [status]


@pytest.mark.parametrize(
    ("word", "status"), [("PENDING_TRADING", "prelaunch"), ("TRADING", "trading"),
                         ("TRADING_HALT", "halted"), ("SETTLING", "ended"), ("CLOSE", "ended")]
)  # fmt: skip
def test_statuses_of_futures(word: str, status: str) -> None:
    assert [one.status for one in listed(FUTURES, contract(status=word))] == [status]


def test_an_entry_that_cannot_be_read_is_named_and_the_others_are_kept() -> None:
    entries = [
        pair(),
        pair(symbol="BUSDT", status="SIDEWAYS"),
        pair(symbol="CUSDT", baseAsset=1),
        7,
    ]
    page = SPOT.instruments.read(json.dumps({"symbols": entries}).encode())
    assert [one.venue_symbol for one in page.listed] == ["AUSDT"]
    assert page.refused[:2] == ["BUSDT: status is 'SIDEWAYS'", "CUSDT: baseAsset is 1"]
    assert page.refused[2].startswith("7: ")


@pytest.mark.parametrize("body", [b"", b"{}", b'{"code":-1003,"msg":"Too many"}', b'{"symbols":1}'])
@pytest.mark.parametrize("spec", [SPOT, FUTURES], ids=lambda spec: spec.name)
def test_an_answer_without_a_list_is_an_error_that_names_the_feed(
    spec: FeedSpec, body: bytes
) -> None:
    with pytest.raises(VenueError, match=f"{spec.name} exchangeInfo"):
        spec.instruments.read(body)


def test_symbols_are_asked_for_in_lower_case() -> None:
    text = SPOT.subscribe.render(("BTCUSDT", "币安人生USDT"), 7, 0)
    assert text == '{"method":"SUBSCRIBE","params":["btcusdt@trade","币安人生usdt@trade"],"id":7}'


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b'{"e":"aggTrade","E":1785701708157,"s":"BTCUSDT","a":3,"p":"1.5","q":"2","nq":"2",'
         b'"f":7947574407,"l":7947574410,"T":1785701708156,"m":false}',
         IdsTold("BTCUSDT", 7_947_574_407, 7_947_574_410)),
        (b'{"e":"aggTrade","s":"BTCUSDT","f":5,"l":4}', None),
        (b'{"e":"trade","s":"BTCUSDT","t":5}', None),
        (b'{"result":null,"id":1}', None), (b"[]", None), (b"\xff", None), (b"", None),
        (b'{"e":"aggTrade","s":"BTCUSDT","f":"5","l":"6"}', None),
    ],
)  # fmt: skip
def test_aggregated_trades_tell_which_ids_there_are(
    message: bytes, expected: IdsTold | None
) -> None:
    assert read_aggregated(message) == expected


def test_the_witness_is_beside_the_public_route_or_nowhere() -> None:
    witness = FUTURES.witness
    assert witness is not None
    assert witness.url_beside(FUTURES.websocket_url) == "wss://fstream.binance.com/market/ws"
    assert witness.url_beside("wss://fstream.binance.com/ws") == ""
    text = witness.subscribe.render(("BTCUSDT", "1000PEPEUSDT"), 1, 0)
    assert json.loads(text)["params"] == ["btcusdt@aggTrade", "1000pepeusdt@aggTrade"]
    assert all(one.witness is None for one in FEEDS if one is not FUTURES)


def test_futures_trades_are_on_the_public_route_only() -> None:
    assert FUTURES.websocket_url.endswith("/public/ws")
    assert FUTURES.history is not None
    assert FUTURES.history.needs_api_key
