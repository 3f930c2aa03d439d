"""OKX: acks for each arg, errors that name the symbol in words, contract values."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pumpwatch.errors import VenueError
from pumpwatch.venues.okx import FUTURES, SPOT, read_reply
from pumpwatch.venues.spec import FeedSpec, Listed, Reply, ReplyKind
from tests.venues.sample_replies import by_symbol, replies, rest_body

UNKNOWN = (
    "60018 Wrong URL or channel:index-tickers, instId:NEAR-USDT-SWAP doesn't exist. Please use the"
    " correct URL, channel and parameters referring to API document."
)
CLOSING = "64008 The connection will soon be closed for a service upgrade. Please reconnect."


def swap(**changes: Any) -> dict[str, Any]:
    return {
        "instId": "A-USDT-SWAP", "state": "live", "ctType": "linear", "settleCcy": "USDT",
        "ctVal": "0.1", "ctMult": "1", "ctValCcy": "A", "listTime": "", **changes,
    }  # fmt: skip


def listed(spec: FeedSpec, *entries: Any) -> list[Listed]:
    page = spec.instruments.read(json.dumps({"code": "0", "data": entries}).encode())
    assert not page.refused
    return page.listed


def test_recorded_replies_of_spot() -> None:
    found = replies(SPOT)
    assert found.pop(1) == Reply(ReplyKind.ACCEPTED, "", ("BTC-USDT",))
    assert found.pop(2) == Reply(ReplyKind.ACCEPTED, "", ("BTC-USD",))
    assert found.pop(3) == Reply(ReplyKind.ACCEPTED, "1512", ("BTC-USDT",))
    assert found.pop(4) == Reply(ReplyKind.REFUSED, "", ("NEAR-USDT-SWAP",), UNKNOWN)
    malformed = found.pop(5)
    assert (malformed.kind, malformed.symbols) == (ReplyKind.REFUSED, ())
    assert malformed.text.startswith("60012 Invalid request: ")
    assert found.pop(6) == Reply(ReplyKind.PONG)
    assert found.pop(7) == Reply(ReplyKind.PLANNED_END, text=CLOSING, within_s=60)
    assert not found


def test_recorded_replies_of_futures() -> None:
    assert replies(FUTURES) == {
        1: Reply(ReplyKind.ACCEPTED, "", ("UNI-USD-SWAP",)),
        2: Reply(ReplyKind.REFUSED, "", ("NEAR-USDT-SWAP",), UNKNOWN),
        3: Reply(ReplyKind.PONG),
        4: Reply(ReplyKind.PLANNED_END, text=CLOSING, within_s=60),
    }


@pytest.mark.parametrize("code", ["60014", "50011", "64007"])
def test_asked_too_fast_is_no_refusal(code: str) -> None:
    message = {"id": "4", "event": "error", "code": code, "msg": "Requests too frequent."}
    assert read_reply(message) == Reply(
        ReplyKind.BUSY, "4", text=f"{code} Requests too frequent."
    )  # fmt: skip


@pytest.mark.parametrize(
    "message",
    [
        "Pong", None, {}, {"event": "subscribe", "arg": {}}, {"event": "subscribe", "arg": None},
        {"event": "subscribe", "arg": {"instId": 5}},
        {"event": "unsubscribe", "arg": {"instId": "A"}},
        {"event": "notice", "code": "64009", "msg": "else"},
        {"event": "channel-conn-count", "channel": "orders", "connCount": "2"},
    ],
)  # fmt: skip
def test_what_says_nothing_about_our_symbols_is_a_notice(message: Any) -> None:
    assert read_reply(message).kind is ReplyKind.NOTICE


def test_recorded_list_of_spot() -> None:
    page = SPOT.instruments.read(rest_body("okx_instruments_spot.json"))
    assert page.refused == []
    assert by_symbol(page).keys() == {"BTC-USDT", "ETH-USDT", "SHIB-USDT"}
    assert by_symbol(page)["SHIB-USDT"] == Listed(
        venue_symbol="SHIB-USDT", base="SHIB", quote="USDT", status="trading", starts_s=1620452410
    )


def test_recorded_list_of_swaps_has_contract_values_and_no_inverse_ones() -> None:
    page = FUTURES.instruments.read(rest_body("okx_instruments_swap.json"))
    assert page.refused == []
    assert {one.venue_symbol: one.contract_value for one in page.listed} == {
        "BTC-USDT-SWAP": "0.01", "ETH-USDT-SWAP": "0.1", "DOGE-USDT-SWAP": "1000",
        "SHIB-USDT-SWAP": "1000000",
    }  # fmt: skip
    bitcoin = by_symbol(page)["BTC-USDT-SWAP"]
    assert (bitcoin.base, bitcoin.quote, bitcoin.status) == ("BTC", "USDT", "trading")


@pytest.mark.parametrize(
    ("value", "multiplier", "product"),
    [("0.01", "10", "0.1"), ("1000000", "1", "1000000"), ("0.00000001", "1", "0.00000001"),
     ("2.5E-7", "3", "0.00000075"), ("0.10", "1.0", "0.1")],
)  # fmt: skip
def test_the_contract_value_is_an_exact_product(value: str, multiplier: str, product: str) -> None:
    assert [
        one.contract_value for one in listed(FUTURES, swap(ctVal=value, ctMult=multiplier))
    ] == [product]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"ctVal": "0"}, "ctVal is '0'"), ({"ctVal": ""}, "ctVal is ''"),
     ({"ctVal": "-1"}, "ctVal is '-1'"), ({"ctMult": "NaN"}, "ctMult is 'NaN'"),
     ({"ctMult": "Infinity"}, "ctMult is 'Infinity'"), ({"ctValCcy": "USD"}, "ctValCcy is 'USD'"),
     ({"state": "rebase"}, "state is 'rebase'")],
)  # fmt: skip
def test_a_swap_that_cannot_be_counted_in_base_coins_is_refused(
    changes: dict[str, str], reason: str
) -> None:
    body = json.dumps(
        {"code": "0", "data": [swap(**changes), swap(instId="B-USDT-SWAP", ctValCcy="B")]}
    )
    page = FUTURES.instruments.read(body.encode())
    assert page.refused == [f"A-USDT-SWAP: {reason}"]
    assert [one.base for one in page.listed] == ["B"]


@pytest.mark.parametrize(
    "changes",
    [{"ctType": "inverse"}, {"settleCcy": "A"}, {"state": "test"}, {"instId": "A-USD_UM-SWAP"}],
)
def test_other_swaps_are_not_ours(changes: dict[str, str]) -> None:
    assert listed(FUTURES, swap(**changes)) == []


@pytest.mark.parametrize(
    ("word", "status"),
    [("live", "trading"), ("preopen", "prelaunch"), ("suspend", "halted"), ("expired", "ended")],
)
def test_statuses(word: str, status: str) -> None:
    assert [one.status for one in listed(FUTURES, swap(state=word))] == [status]


@pytest.mark.parametrize(
    "body", [b"x", b"[]", b'{"code":"0"}', b'{"code":"50011","msg":"Too Many Requests","data":[]}']
)
@pytest.mark.parametrize("spec", [SPOT, FUTURES], ids=lambda spec: spec.name)
def test_an_error_is_never_an_empty_list(spec: FeedSpec, body: bytes) -> None:
    with pytest.raises(VenueError, match=f"{spec.name} instruments"):
        spec.instruments.read(body)


def test_both_feeds_ask_for_single_fills_where_they_are() -> None:
    for spec, symbol in ((SPOT, "BTC-USDT"), (FUTURES, "BTC-USDT-SWAP")):
        assert spec.websocket_url.endswith("/ws/v5/business")
        assert json.loads(spec.subscribe.render((symbol,), 1, 0)) == {
            "id": "1", "op": "subscribe", "args": [{"channel": "trades-all", "instId": symbol}],
        }  # fmt: skip
        assert spec.keepalive.ping == "ping"  # four bytes, no JSON
