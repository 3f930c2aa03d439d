"""Gate: payloads that fail as a whole, symbols in any script, statuses and contract values."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pumpwatch.errors import VenueError
from pumpwatch.venues.gate import FUTURES, SPOT, read_reply
from pumpwatch.venues.spec import FeedSpec, Listed, Reply, ReplyKind, fill
from tests.venues.sample_replies import by_symbol, replies, rest_body

UPGRADE = "The connection will soon be closed for a service upgrade. Please reconnect."
CJK = "币安人生_USDT"


def pair(**changes: Any) -> dict[str, Any]:
    return {"id": "A_USDT", "base": "A", "quote": "USDT", "trade_status": "tradable", **changes}


def contract(**changes: Any) -> dict[str, Any]:
    return {"name": "A_USDT", "type": "direct", "quanto_multiplier": "0.01", "status": "trading",
            "in_delisting": False, **changes}  # fmt: skip


def listed(spec: FeedSpec, *entries: Any) -> list[Listed]:
    page = spec.instruments.read(json.dumps(entries).encode())
    assert not page.refused
    return page.listed


def refusal(message: str, **changes: Any) -> dict[str, Any]:
    return {
        "time": 1, "id": 3, "channel": "spot.trades", "event": "subscribe",
        "payload": ["BTC_USDT", CJK], "error": {"code": 2, "message": message},
        "result": {"status": "fail"}, **changes,
    }  # fmt: skip


def test_recorded_replies_of_spot() -> None:
    found = replies(SPOT)
    assert found.pop(1) == Reply(ReplyKind.ACCEPTED, text="success")
    assert found.pop(2).kind is ReplyKind.NOTICE  # of another channel
    assert found.pop(3) == Reply(ReplyKind.REFUSED, "", (CJK,), f"2 unknown currency pair {CJK}")
    assert found.pop(4) == Reply(ReplyKind.PONG)
    assert found.pop(5) == Reply(ReplyKind.PLANNED_END, text=UPGRADE)
    assert not found


def test_recorded_replies_of_futures() -> None:
    found = replies(FUTURES)
    assert found.pop(1) == Reply(ReplyKind.ACCEPTED, text="success")
    assert found.pop(2) == Reply(ReplyKind.ACCEPTED, "-999", ("ETH_USDT",), "success")
    assert found.pop(3).kind is ReplyKind.NOTICE  # candlesticks are none of ours
    assert found.pop(4) == Reply(ReplyKind.PONG)
    assert found.pop(5) == Reply(ReplyKind.PLANNED_END, text=UPGRADE)
    assert not found


@pytest.mark.parametrize(
    ("said", "symbols"),
    [
        (f"unknown currency pair {CJK}", (CJK,)),
        (f"unknown currency pair: {CJK}.", (CJK,)),
        ("unknown contract BTC_USDT", ("BTC_USDT",)),
        (f'invalid argument: currency_pair "{CJK}"', (CJK,)),
        ("unknown currency pair ETH_USDT", ()),  # was not asked for
        ("unknown currency pair", ()),
    ],
)
def test_a_refusal_names_the_one_that_is_to_blame(said: str, symbols: tuple[str, ...]) -> None:
    assert read_reply(refusal(said)) == Reply(ReplyKind.REFUSED, "3", symbols, f"2 {said}")


def test_without_an_echo_the_symbol_is_taken_from_the_text() -> None:
    for message in (
        refusal("unknown contract ETH_USDT", payload=None),
        refusal("_ETH_USDT", payload=[]),
    ):
        (symbol,) = read_reply(message).symbols
        assert symbol.endswith("ETH_USDT")


def test_refusals_that_no_symbol_is_to_blame_for() -> None:
    malformed = refusal("", error={"code": 1, "message": "request payload BTC_USDT is no schema"})
    assert read_reply(malformed).symbols == ()
    assert read_reply(malformed).kind is ReplyKind.REFUSED
    assert read_reply(refusal("", error="what")) == Reply(ReplyKind.REFUSED, "3", (), "what")
    failed = refusal("", error=None)
    assert read_reply(failed) == Reply(ReplyKind.REFUSED, "3", ("BTC_USDT", CJK), "fail")


def test_trouble_of_the_server_is_asked_again() -> None:
    message = refusal("", error={"code": 3, "message": "server error BTC_USDT"})
    assert read_reply(message) == Reply(ReplyKind.BUSY, "3", text="3 server error BTC_USDT")


def test_a_wrong_clock_is_not_held_against_the_symbols() -> None:
    reply = read_reply(refusal("invalid timestamp"))
    assert (reply.kind, reply.symbols) == (ReplyKind.FAULT, ())
    assert "clock" in reply.text


@pytest.mark.parametrize(
    "message",
    [
        None, "pong", {}, {"channel": 5}, {"channel": "spot.trades", "event": "unsubscribe",
                                          "result": {"status": "success"}},
        {"channel": "spot.system", "event": "update", "result": {"type": "news"}},
        {"channel": "spot.trades", "event": "subscribe", "result": None},
    ],
)  # fmt: skip
def test_what_says_nothing_about_our_symbols_is_a_notice(message: Any) -> None:
    assert read_reply(message).kind is ReplyKind.NOTICE


def test_recorded_list_of_spot() -> None:
    page = SPOT.instruments.read(rest_body("gate_currency_pairs.json"))
    assert page.refused == []
    assert by_symbol(page).keys() == {"ETH_USDT", "NEO_BTC", "BTC_USDT", "FAST_USDT"}
    assert by_symbol(page)["NEO_BTC"] == Listed(
        venue_symbol="NEO_BTC", base="NEO", quote="BTC", status="trading"
    )


def test_recorded_list_of_futures() -> None:
    page = FUTURES.instruments.read(rest_body("gate_futures_contracts.json"))
    assert page.refused == []
    assert {one.venue_symbol: one.contract_value for one in page.listed} == {
        "ETH_USDT": "0.01", "SHIB_USDT": "10000", "PEPE_USDT": "10000000", "BTC_USDT": "0.0001",
        "DOGE_USDT": "10",
    }  # fmt: skip
    assert by_symbol(page)["PEPE_USDT"].base == "PEPE"
    assert {one.status for one in page.listed} == {"trading"}  # there was no ``status`` in 2023


@pytest.mark.parametrize(
    ("changes", "status", "starts_s"),
    [
        ({}, "trading", 0),
        ({"trade_status": "buyable"}, "trading", 0),
        ({"trade_status": "sellable", "buy_start": 1_800_000_000}, "trading", 1_800_000_000),
        ({"trade_status": "untradable"}, "halted", 0),
        ({"trade_status": "untradable", "sell_start": 5, "buy_start": 9}, "prelaunch", 9),
        ({"trade_status": "untradable", "buy_start": 9, "delisting_time": 99}, "ended", 9),
    ],
)
def test_statuses_of_pairs(changes: dict[str, Any], status: str, starts_s: int) -> None:
    (one,) = listed(SPOT, pair(**changes))
    assert (one.status, one.starts_s) == (status, starts_s)


@pytest.mark.parametrize(
    ("word", "status"),
    [("prelaunch", "prelaunch"), ("trading", "trading"), ("delisting", "trading"),
     ("delisted", "ended")],
)  # fmt: skip
def test_statuses_of_contracts(word: str, status: str) -> None:
    assert [one.status for one in listed(FUTURES, contract(status=word))] == [status]


def test_the_last_underscore_divides_a_contract() -> None:
    (one,) = listed(FUTURES, contract(name="A_B_USDT"))
    assert (one.base, one.quote) == ("A_B", "USDT")


def test_inverse_contracts_are_not_ours() -> None:
    assert listed(FUTURES, contract(type="inverse", quanto_multiplier="0")) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"quanto_multiplier": "0"}, "quanto_multiplier is '0'"),
        ({"status": "odd"}, "status is 'odd'"),
    ],
)
def test_a_contract_that_cannot_be_counted_is_refused(changes: Any, reason: str) -> None:
    page = FUTURES.instruments.read(json.dumps([contract(**changes), contract()]).encode())
    assert page.refused == [f"A_USDT: {reason}"]
    assert len(page.listed) == 1


@pytest.mark.parametrize("body", [b"", b'{"label":"TOO_MANY_REQUESTS","message":"x"}', b"7"])
@pytest.mark.parametrize("spec", [SPOT, FUTURES], ids=lambda spec: spec.name)
def test_an_answer_without_a_list_is_an_error(spec: FeedSpec, body: bytes) -> None:
    with pytest.raises(VenueError, match=f"{spec.name} c"):
        spec.instruments.read(body)


def test_requests_carry_their_time_and_pings_no_event() -> None:
    for spec, market in ((SPOT, "spot"), (FUTURES, "futures")):
        request = json.loads(spec.subscribe.render((CJK, "BTC_USDT"), 4, 1_790_000_000))
        assert request == {
            "time": 1_790_000_000, "id": 4, "channel": f"{market}.trades", "event": "subscribe",
            "payload": [CJK, "BTC_USDT"],
        }  # fmt: skip
        assert spec.keepalive.ping is not None
        ping = json.loads(fill(spec.keepalive.ping, 5, 1_790_000_001))
        assert ping == {"time": 1_790_000_001, "channel": f"{market}.ping"}


def test_sizes_are_asked_for_with_decimals() -> None:
    assert FUTURES.headers == FUTURES.rest_headers == (("X-Gate-Size-Decimal", "1"),)
    assert SPOT.headers == SPOT.rest_headers == ()


def test_ids_of_futures_find_holes_and_prove_nothing() -> None:
    assert (SPOT.ids.value, FUTURES.ids.value) == ("contiguous", "observed")
