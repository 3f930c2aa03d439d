"""Which instruments there are, from one list of the venue to the next. Sans I/O.

What a list adds is believed at once. What it no longer shows is believed at once only where that is
little: a list that was cut short must not end hundreds of subscriptions (R21).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from pumpwatch.model import Instrument, InstrumentState

SHRINKAGE_SHARE_MAX = 0.2  # beyond both, a list that lacks instruments
SHRINKAGE_MAX = 20  # needs a second one that lacks them too

# What makes a new row of the table; volumes change all the time.
FACTS = ("symbol", "base", "quote", "coin", "unit", "contract_value", "price_exponent", "status")
FLAGS = ("krw_upbit", "krw_bithumb")  # not known is no change


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What a list says that the one before did not."""

    since_ns: int  # when the one before came; 0: there was none
    added: list[Instrument]  # to be subscribed from now on
    begun: list[Instrument]  # that were known, and trade now
    gone: list[Instrument]
    revalued: list[tuple[Instrument, Instrument]]  # R13: what their contract was, and is
    states: list[InstrumentState]  # rows for the table
    held_back: int = 0  # instruments that are missing, and not believed to be gone yet


class Roster:
    """One feed's instruments; ``known`` is what earlier runs wrote down."""

    def __init__(self, known: Iterable[InstrumentState] = ()) -> None:
        self.present: dict[str, Instrument] = {}  # by venue symbol
        self._states = {one.instrument.venue_symbol: one for one in known}
        self._missing: set[str] = set()  # in the list before
        self._listed_ns = 0

    def known(self) -> list[InstrumentState]:
        """What was last written down of each."""
        return list(self._states.values())

    def take(
        self, instruments: Iterable[Instrument], statuses: Mapping[str, str], now_ns: int
    ) -> Changes:
        """Compare a list with the one before.

        ``statuses`` holds everything that is listed: only what is not in it, or ended, is gone.
        """
        listed = {one.venue_symbol: one for one in instruments}
        absent = self._absent(listed, statuses)
        gone = self._believed(absent)
        self._missing = absent
        before = dict(self.present)
        was = before or {name: state.instrument for name, state in self._states.items()}
        ended = [self.present.pop(name) for name in sorted(gone)]
        self.present.update(listed)
        both = [(was[name], one) for name, one in listed.items() if name in was]
        changes = Changes(
            since_ns=self._listed_ns,
            added=[one for name, one in listed.items() if name not in before],
            begun=[new for old, new in both if old.status != "trading" == new.status],
            gone=ended,
            revalued=[pair for pair in both if _value(pair[0]) != _value(pair[1])],
            states=self._new_states(listed, statuses, absent - gone, now_ns),
            held_back=len(absent - gone),
        )
        self._listed_ns = now_ns
        return changes

    def _absent(self, listed: Mapping[str, Instrument], statuses: Mapping[str, str]) -> set[str]:
        return {
            name
            for name in self.present
            if name not in listed and statuses.get(name, "ended") == "ended"
        }

    def _believed(self, absent: set[str]) -> set[str]:
        share_max = SHRINKAGE_SHARE_MAX * len(self.present)
        if len(absent) > SHRINKAGE_MAX and len(absent) > share_max:
            return absent & self._missing
        return absent

    def _new_states(
        self,
        listed: Mapping[str, Instrument],
        statuses: Mapping[str, str],
        held_back: set[str],
        now_ns: int,
    ) -> list[InstrumentState]:
        now = list(listed.values())
        for name, state in self._states.items():
            # Instruments that the settings do not want are in ``statuses`` too: those did not end.
            if name not in listed and name not in held_back:
                status = statuses.get(name, "ended")
                now.append(msgspec.structs.replace(state.instrument, status=status))
        fresh = [new for one in now if (new := self._next_state(one, now_ns)) is not None]
        self._states.update({new.instrument.venue_symbol: new for new in fresh})
        return fresh

    def _next_state(self, instrument: Instrument, now_ns: int) -> InstrumentState | None:
        old = self._states.get(instrument.venue_symbol)
        if old is None:
            return InstrumentState(
                instrument=instrument, valid_from_ns=now_ns, first_seen_ns=now_ns
            )
        was = old.instrument
        is_same = all(getattr(was, name) == getattr(instrument, name) for name in FACTS) and all(
            getattr(instrument, name) in (None, getattr(was, name)) for name in FLAGS
        )
        if is_same:
            return None
        return InstrumentState(
            instrument=instrument,
            valid_from_ns=max(now_ns, old.valid_from_ns + 1),
            first_seen_ns=old.first_seen_ns,
            revision=old.revision + 1,
        )


def _value(instrument: Instrument) -> tuple[str, int]:
    """What turns the wire's numbers into prices and base coins."""
    return instrument.contract_value, instrument.price_exponent
