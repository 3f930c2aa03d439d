"""One feed's market whose trades are told, not drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pumpwatch.sim.digits import taken_apart
from pumpwatch.sim.instruments import Instrument
from pumpwatch.sim.market import Market
from pumpwatch.sim.tape import NewRows
from pumpwatch.sim.told import (
    ToldInstrument,
    ToldMessage,
    ToldTrade,
    entry_of,
    message_text,
    unit_of,
)
from pumpwatch.sim.venue import Recorded, Venue


class ReplayMarket(Market):
    """The venue's big two, which stay quiet, and what was recorded.

    Nothing is on the tape before it was told: lists and greetings know what a client could have
    seen.
    """

    def __init__(
        self, venue: Venue, seed: int, number: int, told: Sequence[ToldInstrument]
    ) -> None:
        self._told = [one for one in told if one.feed == venue.name]
        super().__init__(venue, seed, number)

    def instruments_of(self, venue: Venue) -> list[Instrument]:
        """What was recorded, each like one that the venue has, behind the rest of its list."""
        listed = venue.instruments()
        model = next(one for one in listed if one.status == "trading" and one.coin == "ETH")
        names = {one.venue_symbol for one in self._told}
        found = [one for one in listed if one.venue_symbol not in names]
        for one in self._told:
            mantissa, decimals = taken_apart(unit_of(one, venue))
            found.append(replace(
                model, venue_symbol=one.venue_symbol, base=one.base, quote=one.quote,
                coin=one.coin, contract_mantissa=mantissa, contract_decimals=decimals,
                number_offset=0, listed=dict(model.listed),
            ))  # fmt: skip
        return [replace(one, index=index) for index, one in enumerate(found)]

    def _open_symbol(self, instrument: Instrument, now_ns: int) -> list[Recorded]:
        """It has no past but what was told."""
        return []

    @property
    def is_behind(self) -> bool:
        """A reader is far behind."""
        limit = self.venue.settings.backlog_bytes_max
        return any(link.backlog_bytes > limit for link, _ in self._links())

    def tell(self, message: ToldMessage) -> None:
        """It happens now, and all who are subscribed hear of it."""
        rows = message.rows
        instrument = self.by_name[rows[0].venue_symbol]
        symbol, tape = instrument.index, self.tape
        entries = [entry_of(told, instrument, self.venue) for told in rows]
        first = tape.add_entries(symbol, entries)
        numbers = [number_of(told) for told in rows]
        batch = tape.add_rows(symbol, NewRows(
            ns=np.array([told.timestamp_ns for told in rows], dtype=np.int64),
            number=np.array(numbers, dtype=np.int64),
            sequence=np.array([told.sequence_number for told in rows], dtype=np.int64),
            pool=np.arange(first, first + len(rows)),
        ))  # fmt: skip
        tape.next_number[symbol] = max(int(tape.next_number[symbol]), max(numbers) + 1)
        latest = max(told.sequence_number for told in rows)
        tape.next_sequence[symbol] = max(int(tape.next_sequence[symbol]), latest)
        for dialect in self._told_dialects():
            if message.text:
                text = self.venue.spell(message.text, dialect.name)
            else:
                text = message_text(self.venue, instrument, rows, entries, dialect.name)
            dialect.send_text(symbol, text, batch, np.arange(len(rows)))


def number_of(told: ToldTrade) -> int:
    """The order number by which lists are asked; 0: it has none."""
    if told.sequence_number or not told.trade_id.isdecimal():
        return told.sequence_number
    return int(told.trade_id)
