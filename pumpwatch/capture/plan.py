"""Which instruments share a connection, and which find no place. Sans I/O, no chance in it."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from math import ceil

import msgspec

from pumpwatch.model import Instrument
from pumpwatch.venues.spec import FeedSpec


class Plan(msgspec.Struct, frozen=True):
    """The instruments of each connection, and those that the limits leave out."""

    connections: tuple[tuple[Instrument, ...], ...]
    left_out: tuple[Instrument, ...] = ()  # the one that should come in first stands first


def room_of(spec: FeedSpec) -> int:
    """How many instruments we put on one connection."""
    room = spec.symbols_per_connection
    if spec.subscriptions_max:
        room = min(room, spec.subscriptions_max)
    assert room > 0
    return room


def slots_max(connections_max: int) -> int:
    """How many connections may carry symbols all the time; 0: as many as are needed.

    One of a limited number stays free, so that a successor can deliver before the old one ends
    (R12). Of one there is none to spare.
    """
    return connections_max - 1 if connections_max > 1 else connections_max


def plan_connections(
    spec: FeedSpec, instruments: Sequence[Instrument], *, connections_max: int, redundancy: int
) -> Plan:
    """Share instruments out over connections, busy and quiet ones on each.

    ``connections_max`` 0: as many as are needed. ``redundancy`` 2: each instrument on two different
    connections; a limit holds for both together, so there is room for half as many. With a limit of
    one connection there is one copy.
    """
    per_connection = room_of(spec)
    copies = min(redundancy, connections_max) if connections_max else redundancy
    assert copies > 0

    count = copies * ceil(len(instruments) / per_connection)
    taken, left_out = list(instruments), []
    if connections_max and count > connections_max:
        room = connections_max * per_connection // copies
        ranked = sorted(instruments, key=rank)
        taken, left_out = ranked[:room], ranked[room:]
        count = min(connections_max, copies * len(taken))  # none without a member
    return Plan(_deal(taken, count, copies), tuple(left_out))


def rank(instrument: Instrument) -> tuple[int, float, str]:
    """Candidates first: coins that Upbit or Bithumb could still list, best those that both could.

    Then volume. A market list that is not known makes nobody a candidate.
    """
    boards = (instrument.krw_upbit is False) + (instrument.krw_bithumb is False)
    return -boards, -instrument.volume_quote, instrument.venue_symbol


def _deal(
    instruments: list[Instrument], count: int, copies: int
) -> tuple[tuple[Instrument, ...], ...]:
    """By volume, the busiest first, each to the connections with the fewest and quietest members.

    Fewest first keeps the numbers of members within one of each other, so no connection overflows.
    """
    members: list[list[Instrument]] = [[] for _ in range(count)]
    heap = [(0, 0.0, number) for number in range(count)]
    for instrument in sorted(instruments, key=lambda one: (-one.volume_quote, one.venue_symbol)):
        for had, volume, number in [heapq.heappop(heap) for _ in range(copies)]:
            members[number].append(instrument)
            heapq.heappush(heap, (had + 1, volume + instrument.volume_quote, number))
    return tuple(tuple(some) for some in members)
