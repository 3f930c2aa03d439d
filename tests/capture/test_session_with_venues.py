"""Every feed's conversation with its simulated venue, which enforces the documented limits."""

from __future__ import annotations

import random
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

import pytest

from pumpwatch.capture.session import Event, Fault, PlannedEnd, Session, SymbolRefused
from pumpwatch.sim import venue as sim
from pumpwatch.sim.exchange import Exchange
from pumpwatch.sim.settings import SimSettings
from pumpwatch.venues import FEEDS
from pumpwatch.venues.spec import FeedSpec, Target
from tests.capture.specs import FixedClock, talk

TEXT_OPCODE = 1
ACKS_ANYTHING = {"binance_spot", "binance_futures"}  # an unknown stream is acked and stays silent
NO_SUCH = ("NOSUCH1USDT", "NOSUCH2USDT")


class SimulatedVenue:
    """One connection to a feed of the simulator, without sockets."""

    def __init__(self, spec: FeedSpec) -> None:
        settings = SimSettings(symbols=spec.symbols_per_connection, feeds=(spec.name,))
        exchange = Exchange(settings, FixedClock())
        exchange.listen_at("127.0.0.1", 1)
        self.venue = exchange.venues[spec.name]
        self.target = self._target(spec)
        parts = urlsplit(self.target.url)
        opened = self.venue.open_session(
            sim.Upgrade(
                parts.path.removeprefix(f"/{spec.name}") or "/",
                dict(parse_qsl(parts.query)),
                {name.lower(): value for name, value in spec.headers},
            ),
            0.0,
        )
        assert isinstance(opened, sim.Session)
        self.session = opened
        self.ends: list[sim.End] = []

    def _target(self, spec: FeedSpec) -> Target:
        if spec.token is None:
            return Target(url=self.venue.websocket_base_url + self.venue.websocket_path)
        request = sim.Request("POST", spec.token.path, {}, {})
        answer = self.venue.answer(request, 0.0)
        return spec.token.read(answer.body, spec.keepalive, random.Random(1))

    def greet(self, session: Session) -> None:
        for _, reply in self._replies(self.session.opened(0.0), 0.0):
            session.receive(reply, 0.0)

    def answer(self, text: str, now_s: float) -> Iterator[tuple[float, bytes]]:
        yield from self._replies(self.session.frame_came(TEXT_OPCODE, now_s), now_s)
        yield from self._replies(self.session.received(text, now_s), now_s)

    def _replies(self, actions: list[sim.Action], now_s: float) -> Iterator[tuple[float, bytes]]:
        for action in actions:
            if isinstance(action, sim.Send):
                yield now_s + 0.05, action.text.encode()
            elif isinstance(action, sim.End):
                self.ends.append(action)


def converse(spec: FeedSpec, extra: tuple[str, ...]) -> tuple[SimulatedVenue, Session, list[Event]]:
    """An hour of one connection with all that it may carry, and with ``extra`` names among it.

    Less than the silence limit where only the venue pings: control frames are none of a session's.
    """
    venue = SimulatedVenue(spec)
    trading = [
        one.venue_symbol for one in venue.venue.market.instruments if one.status == "trading"
    ]
    symbols = [*trading[: spec.symbols_per_connection - len(extra)], *extra]
    random.Random(7).shuffle(symbols)
    session = Session(
        spec, symbols, rng=random.Random(1), clock=FixedClock(), keepalive=venue.target.keepalive
    )
    venue.greet(session)
    until_s = 3600 if spec.keepalive.ping is not None else spec.keepalive.silence_s / 2
    events = [event for _, event in talk(session, venue, until_s=until_s)]
    assert session.subscribed - set(extra) == {*symbols} - {*extra} == {*venue.session.subscribed}
    return venue, session, events


@pytest.mark.parametrize("spec", FEEDS, ids=lambda spec: spec.name)
def test_a_full_connection_is_subscribed_and_kept_within_the_venue_s_limits(spec: FeedSpec) -> None:
    venue, _, events = converse(spec, ())
    assert not venue.ends
    assert not any(isinstance(event, Fault | PlannedEnd | SymbolRefused) for event in events)


@pytest.mark.parametrize("spec", FEEDS, ids=lambda spec: spec.name)
def test_unknown_symbols_cost_no_good_one_its_place(spec: FeedSpec) -> None:
    venue, session, events = converse(spec, NO_SUCH)
    assert not venue.ends
    refused = {event.symbol for event in events if isinstance(event, SymbolRefused)}
    if spec.name in ACKS_ANYTHING:
        assert session.subscribed >= {*NO_SUCH}
    else:
        assert refused == {*NO_SUCH}
