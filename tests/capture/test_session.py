from __future__ import annotations

import json
import random
from collections.abc import Iterable
from itertools import pairwise
from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch.capture.session import (
    LIFE_SHARES,
    NOTICES_MAX,
    Event,
    Fault,
    Notice,
    PlannedEnd,
    Subscribed,
    SymbolRefused,
)
from pumpwatch.capture.subscriptions import ANSWER_S, ASKS_MAX, BUSY_S_MAX, BUSY_S_MIN, share
from pumpwatch.errors import FeedSilentError
from pumpwatch.venues import FEEDS
from pumpwatch.venues.spec import FeedSpec, Pace, Reply
from tests.capture.specs import (
    WALL_S,
    PlainVenue,
    feed_spec,
    keepalive,
    names,
    session_of,
    subscribe,
    talk,
    tell,
)

FOR_EVERY_FEED = pytest.mark.parametrize("spec", FEEDS, ids=lambda spec: spec.name)


def of_kind(events: Iterable[tuple[float, Event]], kind: type[Event]) -> list[Any]:
    return [event for _, event in events if isinstance(event, kind)]


def wanted(text: str) -> list[str]:
    return list(json.loads(text)["want"])


def request_id(text: str) -> str:
    return str(json.loads(text)["id"])


# --- asking ---------------------------------------------------------------------------------------


def test_all_symbols_are_asked_for_once_in_requests_of_the_allowed_size() -> None:
    symbols = names(20)
    session, venue = session_of(feed_spec(), symbols), PlainVenue()
    events = talk(session, venue, until_s=5)
    assert [len(some) for _, some in venue.requests] == [8, 8, 4]
    assert [symbol for _, some in venue.requests for symbol in some] == symbols
    assert session.subscribed == set(symbols) == venue.taken
    assert of_kind(events, Subscribed) == [
        Subscribed(tuple(symbols[:8])), Subscribed(tuple(symbols[8:16])),
        Subscribed(tuple(symbols[16:])),
    ]  # fmt: skip


def test_a_symbol_that_is_given_twice_is_asked_for_once() -> None:
    session = session_of(feed_spec(), ["AUSDT", "BUSDT", "AUSDT"])
    assert [wanted(text) for text in session.due(0)] == [["AUSDT", "BUSDT"]]


def test_requests_carry_their_own_ids_and_the_time_of_sending() -> None:
    session = session_of(feed_spec(pace=Pace(interval_s=0)), names(9))
    requests = [json.loads(text) for text in session.due(0)]
    assert [request["id"] for request in requests] == [1, 2]
    assert {request["time"] for request in requests} == {WALL_S}


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30), unique=True),
       st.integers(1, 9), st.integers(120, 400))  # fmt: skip
def test_requests_stay_below_the_length_in_bytes(
    symbols: list[str], symbols_max: int, bytes_max: int
) -> None:
    how = subscribe(symbols_per_request_max=symbols_max, text_bytes_max=bytes_max)
    requests = list(share(how, symbols))
    assert [symbol for some in requests for symbol in some] == symbols
    for some in requests:
        text = how.render(some, 123_456_789, WALL_S)
        assert json.loads(text)["want"] == list(some)
        assert len(some) <= symbols_max
        assert len(text.encode()) <= bytes_max or len(some) == 1
    for some, following in pairwise(requests):  # none is broken off early
        longer = how.render((*some, following[0]), 1_000_000_000, 10_000_000_000)
        assert len(some) == symbols_max or len(longer.encode()) + 1 > bytes_max


@FOR_EVERY_FEED
def test_every_feed_spells_its_symbols_within_its_limits(spec: FeedSpec) -> None:
    symbols = [f"S{number}" for number in range(spec.symbols_per_connection)]
    requests = list(share(spec.subscribe, symbols))
    assert [symbol for some in requests for symbol in some] == symbols
    for some in requests:
        text = spec.subscribe.render(some, 1, WALL_S)
        json.loads(text)
        assert len(text.encode()) <= spec.subscribe.text_bytes_max
        assert all(spec.subscribe.spell(symbol) in text for symbol in some)


@given(interval_s=st.sampled_from([0.0, 0.1, 0.5]), requests_max=st.integers(0, 5),
       window_s=st.sampled_from([1.0, 3.0]), ping_s=st.sampled_from([1.0, 5.0]),
       seed=st.integers(0, 999))  # fmt: skip
@settings(deadline=None)
def test_messages_keep_their_distance_and_requests_their_window(
    interval_s: float, requests_max: int, window_s: float, ping_s: float, seed: int
) -> None:
    pace = Pace(interval_s=interval_s, requests_max=requests_max, window_s=window_s)
    spec = feed_spec(
        pace=pace, keepalive=keepalive(interval_s=ping_s), subscribe=subscribe(is_atomic=True)
    )
    venue = PlainVenue(bad=frozenset(["C3USDT"]), tells_bad="nothing", busy_share=0.1, seed=seed)
    session = session_of(spec, names(60), seed)
    talk(session, venue, until_s=60)
    times_s = [at_s for at_s, _ in venue.texts]
    assert all(later >= earlier + interval_s for earlier, later in pairwise(times_s))
    asked_s = [at_s for at_s, _ in venue.requests]
    if requests_max:
        beyond = zip(asked_s, asked_s[requests_max:], strict=False)
        assert all(later >= earlier + window_s for earlier, later in beyond)
    assert len(session.subscribed) == 59


def test_a_venue_that_speaks_first_is_waited_for() -> None:
    session = session_of(feed_spec(subscribe=subscribe(awaits_welcome=True)), names(1))
    assert session.due(0) == []
    assert session.receive(tell("welcome"), 2) == []
    assert [wanted(text) for text in session.due(2)] == [names(1)]
    session.receive(tell("accepted", "1"), 2)
    assert session.due(ANSWER_S + 1) == []
    assert session.take_events() == []


def test_a_venue_that_never_speaks_is_a_fault() -> None:
    session = session_of(feed_spec(subscribe=subscribe(awaits_welcome=True)), names(1))
    assert session.due(0) == []
    assert session.next_deadline_s() == ANSWER_S
    assert session.due(ANSWER_S) == []
    (event,) = session.take_events()
    assert isinstance(event, Fault)
    assert "welcome" in event.text
    assert session.take_events() == []


def test_a_welcome_that_came_before_the_beginning_counts() -> None:
    session = session_of(feed_spec(subscribe=subscribe(awaits_welcome=True)), names(1))
    session.receive(tell("welcome"), 0)
    assert len(session.due(0)) == 1


# --- answers --------------------------------------------------------------------------------------


@given(
    symbols=st.integers(1, 40).map(names),
    bad_share=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    wire=st.sampled_from([
        (True, True, "one"), (True, True, "all"), (True, True, "echo"), (True, True, "nothing"),
        (True, False, "one"), (True, False, "nothing"),
        (False, True, "one"), (False, True, "nothing"), (False, False, "one"),
    ]),
    busy_share=st.sampled_from([0.0, 0.2]),
    delay_s_max=st.sampled_from([0.0, 0.5, 3.0]),
    per_request=st.integers(1, 20),
    seed=st.integers(0, 10_000),
)  # fmt: skip
@settings(deadline=None, max_examples=300)
def test_no_good_symbol_is_lost_and_no_bad_one_kept(
    symbols: list[str], bad_share: float, wire: tuple[bool, bool, str], busy_share: float,
    delay_s_max: float, per_request: int, seed: int,
) -> None:  # fmt: skip
    is_atomic, tells_id, tells_bad = wire
    rng = random.Random(seed)
    bad = frozenset(symbol for symbol in symbols if rng.random() < bad_share)
    how = subscribe(is_atomic=is_atomic, symbols_per_request_max=per_request)
    venue = PlainVenue(
        bad=bad, is_atomic=is_atomic, tells_id=tells_id, tells_bad=tells_bad, seed=seed,
        busy_share=busy_share, delay_s_max=delay_s_max,
    )  # fmt: skip
    session = session_of(feed_spec(subscribe=how), symbols, seed)
    events = talk(session, venue, until_s=7200)
    assert session.subscribed == set(symbols) - bad == venue.taken
    assert sorted(event.symbol for event in of_kind(events, SymbolRefused)) == sorted(bad)
    told = [symbol for event in of_kind(events, Subscribed) for symbol in event.symbols]
    assert sorted(told) == sorted(session.subscribed)
    assert bool(of_kind(events, Fault)) == (bad == set(symbols))


@given(lost_share=st.sampled_from([0.1, 0.4, 0.9]), delay_s_max=st.sampled_from([0.0, 25.0]),
       is_atomic=st.booleans(), tells_bad=st.sampled_from(["one", "nothing"]),
       seed=st.integers(0, 10_000))  # fmt: skip
@settings(deadline=None)
def test_lost_and_late_answers_end_in_a_fault_or_in_the_truth(
    lost_share: float, delay_s_max: float, is_atomic: bool, tells_bad: str, seed: int
) -> None:
    symbols = names(24)
    bad = frozenset(random.Random(seed).sample(symbols, 3))
    venue = PlainVenue(
        bad=bad, is_atomic=is_atomic, tells_bad=tells_bad, lost_share=lost_share,
        delay_s_max=delay_s_max, seed=seed,
    )  # fmt: skip
    no_pings = keepalive(ping=None, silence_s=inf)
    session = session_of(
        feed_spec(subscribe=subscribe(is_atomic=is_atomic), keepalive=no_pings), symbols, seed
    )
    events = talk(session, venue, until_s=7200)
    assert session.subscribed <= venue.taken
    assert {event.symbol for event in of_kind(events, SymbolRefused)} <= bad
    if not of_kind(events, Fault):
        assert session.subscribed == set(symbols) - bad


def test_a_named_symbol_is_dropped_and_the_rest_asked_for_again() -> None:
    symbols = names(8)
    venue = PlainVenue(bad=frozenset([symbols[2]]))
    session = session_of(feed_spec(), symbols)
    events = talk(session, venue, until_s=5)
    assert [some for _, some in venue.requests] == [symbols, symbols[:2] + symbols[3:]]
    assert of_kind(events, SymbolRefused) == [SymbolRefused(symbols[2], "no such thing")]


def test_a_symbol_that_is_not_named_is_found_by_halving() -> None:
    symbols = names(64)
    how = subscribe(symbols_per_request_max=64)
    venue = PlainVenue(bad=frozenset([symbols[37]]), tells_bad="nothing")
    session = session_of(feed_spec(subscribe=how), symbols)
    talk(session, venue, until_s=60)
    assert session.subscribed == set(symbols) - {symbols[37]}
    assert len(venue.requests) == 1 + 2 * 6


def test_names_in_the_wire_s_spelling_are_ours() -> None:
    spec = feed_spec(subscribe=subscribe(lower_case=True))
    session = session_of(spec, ["AUSDT", "BUSDT"])
    (text,) = session.due(0)
    assert wanted(text) == ["ausdt", "busdt"]
    events = session.receive(tell("refused", request_id(text), symbols=("busdt",)), 0)
    assert events == [SymbolRefused("BUSDT", "")]


def test_a_reply_without_an_id_is_about_the_oldest_request() -> None:
    session = session_of(feed_spec(pace=Pace(interval_s=0)), names(16))
    assert len(session.due(0)) == 2
    assert session.receive(tell("accepted"), 0) == [Subscribed(tuple(names(16)[:8]))]
    assert session.receive(tell("accepted"), 0) == [Subscribed(tuple(names(16)[8:]))]
    assert session.receive(tell("accepted"), 0) == []


def test_requests_that_are_answered_symbol_by_symbol_are_not_the_oldest_for_ever() -> None:
    spec = feed_spec(subscribe=subscribe(is_atomic=False), pace=Pace(interval_s=0))
    session = session_of(spec, names(16))
    first, second = session.due(0)
    for symbol in wanted(first):
        session.receive(tell("accepted", symbols=(symbol,)), 0)
    assert session.receive(tell("refused", text="one of them"), 0) == []
    halves = [wanted(text) for text in session.due(0)]
    assert halves == [wanted(second)[:4], wanted(second)[4:]]


def test_a_refusal_without_id_and_name_is_believed_the_second_time() -> None:
    session = session_of(feed_spec(pace=Pace(interval_s=0)), names(1))
    session.due(0)
    assert session.receive(tell("refused", text="what?"), 0) == []
    assert len(session.due(1)) == 1
    first, fault = session.receive(tell("refused", text="what?"), 1)
    assert first == SymbolRefused("C0USDT", "what?")
    assert isinstance(fault, Fault)


def test_a_refusal_of_nothing_that_is_open_is_only_told() -> None:
    session = session_of(feed_spec(), names(1))
    (text,) = session.due(0)
    session.receive(tell("accepted", request_id(text)), 0)
    late = tell("refused", request_id(text), symbols=("C0USDT",))
    assert session.receive(late, 0) == []
    assert session.subscribed == {"C0USDT"}
    unknown = session.receive(tell("refused", "99", text="bad ping"), 0)
    assert unknown == [Notice("refused: bad ping")]


def test_too_fast_is_answered_by_longer_and_longer_pauses() -> None:
    venue = PlainVenue(busy_share=1.0)
    session = session_of(feed_spec(), names(3))
    talk(session, venue, until_s=600)
    assert all(some == names(3) for _, some in venue.requests)
    pauses_s = [later - earlier for (earlier, _), (later, _) in pairwise(venue.requests)]
    longest_s = [min(BUSY_S_MIN * 2**number, BUSY_S_MAX) for number in range(len(pauses_s))]
    assert len(pauses_s) > 10
    for pause_s, most_s in zip(pauses_s, longest_s, strict=True):
        assert most_s / 2 <= pause_s <= most_s
    assert len({pause_s / most_s for pause_s, most_s in zip(pauses_s, longest_s, strict=True)}) > 5


def test_too_fast_holds_back_all_other_requests_and_is_forgotten_when_one_is_taken() -> None:
    session = session_of(feed_spec(), names(16))
    (first,) = session.due(0)
    session.receive(tell("busy", request_id(first)), 0)
    assert session.next_deadline_s() >= BUSY_S_MIN / 2
    assert session.due(BUSY_S_MIN / 2 - 0.01) == []
    (other,) = session.due(BUSY_S_MIN)
    session.receive(tell("busy", request_id(other)), BUSY_S_MIN)
    (third,) = session.due(4)
    session.receive(tell("accepted", request_id(third)), 4)
    (fourth,) = session.due(5)
    session.receive(tell("busy", request_id(fourth)), 5)
    assert wanted(fourth) != wanted(third)
    assert len(session.due(5 + BUSY_S_MIN)) == 1


def test_what_is_unanswered_is_asked_again_and_at_last_a_fault() -> None:
    venue = PlainVenue(lost_share=1.0)
    spec = feed_spec(keepalive=keepalive(ping=None))
    session = session_of(spec, names(3))
    events = talk(session, venue, until_s=ASKS_MAX * ANSWER_S + 0.5)
    assert [at_s for at_s, _ in venue.requests[:ASKS_MAX]] == [0, ANSWER_S, 2 * ANSWER_S]
    ((at_s, fault),) = events
    assert at_s == ASKS_MAX * ANSWER_S
    assert isinstance(fault, Fault)
    assert "C0USDT" in fault.text


def test_an_answer_to_an_earlier_sending_counts() -> None:
    session = session_of(feed_spec(), names(2))
    (first,) = session.due(0)
    (again,) = session.due(ANSWER_S)
    assert wanted(first) == wanted(again)
    assert request_id(first) != request_id(again)
    late = tell("accepted", request_id(first))
    assert session.receive(late, ANSWER_S + 1) == [Subscribed(tuple(names(2)))]
    assert session.receive(tell("accepted", request_id(again)), ANSWER_S + 1) == []


def test_acks_symbol_by_symbol_are_given_time_while_they_come() -> None:
    symbols = names(8)
    session = session_of(feed_spec(subscribe=subscribe(is_atomic=False)), symbols)
    (text,) = session.due(0)
    for number, symbol in enumerate(symbols):
        now_s = number * (ANSWER_S - 1)
        session.heard(now_s)
        session.receive(b"pong", now_s)
        assert not any("want" in text for text in session.due(now_s))
        session.receive(tell("accepted", request_id(text), symbols=(symbol,)), now_s)
    assert session.subscribed == set(symbols)


# --- alive or not ---------------------------------------------------------------------------------


def test_pings_go_out_at_their_interval_with_number_and_time() -> None:
    session, venue = session_of(feed_spec(), names(1)), PlainVenue()
    talk(session, venue, until_s=65)
    pings = [(at_s, json.loads(text)) for at_s, text in venue.texts if "ping" in text]
    assert [at_s for at_s, _ in pings] == [20, 40, 60]
    assert [ping["ping"] for _, ping in pings] == [2, 3, 4]
    assert {ping["time"] for _, ping in pings} == {WALL_S}


def test_a_keepalive_that_the_venue_told_is_used() -> None:
    told = keepalive(interval_s=5, silence_s=15)
    session = session_of(feed_spec(), names(1), keepalive=told)
    session.due(0)
    session.receive(tell("accepted", "1"), 0)
    assert session.next_deadline_s() == 5
    session.due(5)
    with pytest.raises(FeedSilentError, match="15 s"):
        session.due(15)


def test_silence_for_too_long_is_death() -> None:
    session = session_of(feed_spec(keepalive=keepalive(ping=None)), [])
    session.due(0)
    session.heard(7)
    assert session.due(60 + 7 - 0.001) == []
    assert session.next_deadline_s() == 67
    with pytest.raises(FeedSilentError, match=r"binance_spot: not a byte for 60 s"):
        session.due(67)


def test_unanswered_pings_are_death_whatever_else_comes() -> None:
    session = session_of(feed_spec(), [])
    for now_s in range(61):
        session.heard(now_s)
        session.receive(tell("notice"), now_s)
        session.due(now_s)
    session.heard(79.9)
    session.due(79.9)
    with pytest.raises(FeedSilentError, match="3 pings"):
        session.due(80)


def test_any_pong_is_an_answer_to_all_pings() -> None:
    session = session_of(feed_spec(), [])
    for now_s in range(1000):
        session.heard(now_s)
        if now_s % 59 == 0:
            session.receive(b"pong", now_s)
        session.due(now_s)


def test_r9_a_paused_reader_gives_no_verdict_and_goes_on_pinging() -> None:
    session = session_of(feed_spec(), names(1))
    sent = session.due(0)
    now_s, pings = 0.0, 0
    while now_s < 590:
        session.suspend_verdict(True)
        pings += len(session.due(now_s))
        assert now_s < session.next_deadline_s() <= now_s + 1
        now_s = session.next_deadline_s()
    assert pings == 29

    session.suspend_verdict(False)
    assert session.due(now_s) == []
    assert session.take_events() == []
    session.receive(tell("accepted", request_id(sent[0])), now_s)
    assert session.subscribed == {"C0USDT"}
    session.due(now_s + 59.9)
    with pytest.raises(FeedSilentError, match="60 s"):
        session.due(now_s + 60)


def test_r9_pings_of_a_pause_are_not_held_against_the_venue() -> None:
    session = session_of(feed_spec(), [])
    session.due(0)
    for now_s in (20, 40, 60):  # three pings without a pong
        session.heard(now_s)
        session.due(now_s)
    session.suspend_verdict(True)
    session.due(80)
    session.suspend_verdict(False)
    session.suspend_verdict(True)  # paused again before anybody looked
    session.suspend_verdict(False)
    for now_s in (100, 120, 140):
        session.heard(now_s)
        assert len(session.due(now_s)) == 1
    with pytest.raises(FeedSilentError, match="3 pings"):
        session.due(160)


def test_r9_unanswered_requests_are_given_new_time_after_a_pause() -> None:
    session = session_of(feed_spec(keepalive=keepalive(ping=None)), names(1))
    assert len(session.due(0)) == 1
    session.suspend_verdict(True)
    assert session.due(100) == []
    session.suspend_verdict(False)
    assert session.due(200) == []
    assert session.due(200 + ANSWER_S - 0.1) == []
    assert len(session.due(200 + ANSWER_S)) == 1


def test_connections_end_before_the_venue_s_age_limit_and_not_together() -> None:
    ends_s = []
    for seed in range(20):
        spec = feed_spec(life_s=86_400, keepalive=keepalive(ping=None, silence_s=inf))
        session = session_of(spec, [], seed)
        events = talk(session, PlainVenue(), until_s=86_400)
        ((at_s, event),) = events
        assert isinstance(event, PlannedEnd)
        ends_s.append(at_s)
    assert all(LIFE_SHARES[0] * 86_400 <= at_s <= LIFE_SHARES[1] * 86_400 for at_s in ends_s)
    assert len(set(ends_s)) == 20


def test_a_session_that_ended_says_nothing_more() -> None:
    session = session_of(feed_spec(), names(1))
    session.end()
    assert session.due(1e9) == []
    assert session.next_deadline_s() == inf


def test_the_venue_s_own_words_come_through() -> None:
    session = session_of(feed_spec(), names(1))
    session.due(0)
    planned = session.receive(tell("planned_end", text="upgrade", within=60), 0)
    assert planned == [PlannedEnd("upgrade", 60.0)]
    assert session.receive(tell("fault", text="token is expired"), 0) == [Fault("token is expired")]
    assert session.receive(tell("notice", text="hello"), 0) == [Notice("hello")]


# --- strange messages -----------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9)
    | st.sampled_from(["subscribe", "error", "pong", "ack", "trades", "spot.trades", "welcome"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["id", "event", "op", "error", "result", "code", "msg", "data", "type",
                         "channel", "arg", "success", "ret_msg", "req_id", "payload", "status"])
        | st.text(max_size=5), inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


@FOR_EVERY_FEED
@given(message=JSON.map(lambda document: json.dumps(document).encode()) | st.binary(max_size=60))
@settings(deadline=None)
def test_no_message_whatever_raises_or_ends_a_session(spec: FeedSpec, message: bytes) -> None:
    session = session_of(spec, names(5))
    session.receive(tell("welcome"), 0)
    session.due(0)
    session.receive(message, 0)
    session.due(0.5)
    assert not session.is_ended


def test_a_reader_that_stumbles_becomes_a_notice_with_the_text() -> None:
    def stumble(message: Any) -> Reply:
        return Reply(message["kind"]["of"], message["id"])

    session = session_of(feed_spec(read_reply=stumble), names(1))
    (event,) = session.receive(b'{"kind":null,"why":"new"}', 0)
    assert isinstance(event, Notice)
    assert "new" in event.text
    deep = b"[" * 100_000
    assert len(session.receive(deep, 0)) == 1


def test_a_chattering_venue_does_not_fill_the_log() -> None:
    session = session_of(feed_spec(), names(1))
    told = [session.receive(tell("notice", text=f"{number}"), 0) for number in range(1000)]
    assert sum(map(len, told)) == NOTICES_MAX
