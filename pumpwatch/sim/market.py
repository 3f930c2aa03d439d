"""One feed's market: who is subscribed to what, and the trades that they get."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from pumpwatch.sim.dialect import Dialect, Flags
from pumpwatch.sim.digits import Ints, uuid_texts, uuid_words
from pumpwatch.sim.filters import StreamFilter
from pumpwatch.sim.frames import (
    EPOCH_MARGIN_NS,
    EPOCH_NS,
    Columns,
    rollover,
    write_out,
)
from pumpwatch.sim.generate import SEQUENCE_STEP_MAX, Draw, Generator
from pumpwatch.sim.instruments import Entry, Instrument, PriceWalk, Status, sum_of, unborn
from pumpwatch.sim.opening import PAST_ENTRIES_MAX, past_ages, past_length, prepare, repeated
from pumpwatch.sim.outgoing import Chunk, SharedStream, push_undelivered, single_chunk
from pumpwatch.sim.recorded import read_samples
from pumpwatch.sim.tape import NewRows, Tape, Trade
from pumpwatch.sim.venue import Recorded, RecordedRow, Venue

# Templates of a symbol: combinations of side, price and quantity in use at a time.
PER_SYMBOL, PER_SYMBOL_OF_MANY, MANY_SYMBOLS = 32, 8, 100
GENERATIONS_MAX = 20  # of entries per symbol; then the old ones come again: memory stays bounded
SHALLOW_ROWS = 1024
SNAPSHOT_DEPTH_ROWS = 8192  # more than a snapshot: what waits for a slow reader is still known
SECOND_NS = 10**9
PUMPED_GENERATIONS_MAX = 2000  # a quarter of an hour without a price that comes again
LIFTED_BUY_SHARE = 0.8  # of what is traded while a price is lifted
NO_ENTRY = Entry(False, 1, 0, 1, 0)
NEWBORN_NUMBER = 1_000  # the first id of an instrument that is new, where ids count up


class Market:
    """Trades of one feed."""

    def __init__(self, venue: Venue, seed: int, number: int) -> None:
        self.venue = venue
        self.name = venue.name
        self.instruments = self.instruments_of(venue)
        if venue.settings.newborns:
            self.instruments += unborn(self.instruments, venue.settings.newborns)
        self.by_name = {one.venue_symbol: one for one in self.listed}
        self.rng = random.Random(seed * 1000 + number)
        self.tape = Tape(
            self.instruments, self._depth(), follows_delivery=venue.greeting != "nothing"
        )
        count = len(self.instruments)
        self.keys = np.array([self.rng.getrandbits(64) for _ in range(count)], dtype=np.uint64)
        self.offsets = np.array([one.number_offset for one in self.instruments], dtype=np.int64)
        steps_ns = np.array([venue.step_ns(one) for one in self.instruments], dtype=np.int64)
        self._per_symbol = PER_SYMBOL if count <= MANY_SYMBOLS else PER_SYMBOL_OF_MANY
        self.generator = Generator(
            self.tape, venue.flow, np.random.default_rng((seed, number)), self._per_symbol, steps_ns
        )
        self._past_rng = np.random.default_rng((seed, number, 1))
        self.dialects: dict[str, Dialect] = {}
        self._walks: dict[int, PriceWalk] = {}
        self._first_entries: dict[int, list[int]] = {}  # of each generation
        self._generation = [0] * count
        self._limits = np.full((2, count), np.iinfo(np.int64).max, dtype=np.int64)
        self._epoch = 0
        self._now_ns = 0
        self.filter = StreamFilter(np.random.default_rng((seed, number, 2)))
        self._late: list[tuple[int, SharedStream, Chunk]] = []
        self._early: list[tuple[SharedStream, str, int]] = []  # subscribed, and not trading yet
        self._newborn = {one.index for one in self.instruments if one.status == "unlisted"}
        self.unborn = set(self._newborn)  # not announced, nor about to be
        self._goes_on = np.zeros(count, dtype=np.bool_)  # trades without a subscriber too
        self._ended = np.zeros(count, dtype=np.bool_)
        self._recorded: dict[str, list[Recorded]] = {}
        if venue.settings.recorded:
            self._recorded = read_samples(venue.name, venue.read_recorded)

    def instruments_of(self, venue: Venue) -> list[Instrument]:
        """What the feed has."""
        return venue.instruments()

    def _depth(self) -> int:
        if self.venue.has_deep_history:
            return self.venue.settings.depth_rows
        return SNAPSHOT_DEPTH_ROWS if self.venue.greeting == "snapshot" else SHALLOW_ROWS

    # --- what there is ----------------------------------------------------------------------------

    @property
    def listed(self) -> list[Instrument]:
        """What the venue's list shows."""
        return [one for one in self.instruments if one.status != "unlisted"]

    def set_status(self, symbol: int, status: Status) -> Instrument:
        """From now on the instrument is in this state; returns it as it is now."""
        instrument = self.instruments[symbol] = replace(self.instruments[symbol], status=status)
        self._ended[symbol] = status in ("ended", "unlisted")
        if status == "unlisted":
            self.by_name.pop(instrument.venue_symbol, None)
        else:
            self.by_name[instrument.venue_symbol] = instrument
        return instrument

    def begin(self, symbol: int, now_ns: int, *, is_listed: bool) -> None:
        """An instrument's first trade, whether or not anybody listens."""
        if is_listed:
            self.set_status(symbol, "trading")
        self._ended[symbol] = False
        self._goes_on[symbol] = True
        self._open_symbol(self.instruments[symbol], now_ns)
        early = [one for one in self._early if one[2] == symbol]
        self._early = [one for one in self._early if one[2] != symbol]
        for link, dialect, _ in early:
            self.subscribe(link, dialect, self.instruments[symbol], now_ns)
        self.advance(np.array([symbol]), np.array([1]), now_ns, now_ns + 1)

    # --- subscribing ------------------------------------------------------------------------------

    def subscribe(
        self, link: SharedStream, dialect_name: str, instrument: Instrument, now_ns: int
    ) -> None:
        """Greet as the venue does; from now on the link gets this instrument's trades."""
        if instrument.status != "trading":  # accepted, but nothing comes before it trades
            self._early.append((link, dialect_name, instrument.index))
            return
        messages = self._open_symbol(instrument, now_ns)
        dialect = self._dialect(dialect_name)
        self._greet(link, dialect_name, instrument, now_ns)
        dialect.set_wanted(link, instrument.index, wanted=True)
        for message in messages:
            self._play(message, instrument)

    def unsubscribe(self, link: SharedStream, dialect_name: str, instrument: Instrument) -> None:
        """No more of this instrument's trades."""
        self._dialect(dialect_name).set_wanted(link, instrument.index, wanted=False)
        self._early = [one for one in self._early if one[::2] != (link, instrument.index)]

    def drop(self, link: SharedStream) -> None:
        """The connection is gone."""
        for dialect in self.dialects.values():
            dialect.drop(link)
        self._early = [one for one in self._early if one[0] is not link]

    def subscriptions(self) -> int:
        """How many there are, over all connections."""
        return sum(int(wants.sum()) for _, wants in self._links())

    def _links(self) -> Iterator[tuple[SharedStream, Flags]]:
        for dialect in self.dialects.values():
            yield from zip(dialect.links, dialect.wants, strict=True)

    # --- a symbol's beginning ---------------------------------------------------------------------

    def _open_symbol(self, instrument: Instrument, now_ns: int) -> list[Recorded]:
        """Begin a symbol's trading; returns the recorded messages that come first, only once."""
        symbol = instrument.index
        if symbol in self._walks:
            return []
        self._see_time(now_ns)
        self._goes_on[symbol] |= self.venue.settings.goes_on
        recorded = self._recorded.get(instrument.venue_symbol, [])
        messages = prepare(recorded, self.venue, now_ns)
        rows = [row for message in messages for row in message.rows]
        number, sequence = self.venue.first_numbers(instrument, self.rng)
        if symbol in self._newborn and self.venue.flow.is_contiguous:
            number = NEWBORN_NUMBER
        numbers = [row.number for row in rows if row.number]
        self.tape.next_number[symbol] = numbers[0] if numbers else number
        sequences = [row.sequence for row in rows if row.sequence]
        self.tape.next_sequence[symbol] = sequences[0] if sequences else sequence
        # A pumped coin is for people to look at: no quantity of 18 digits among its trades.
        is_pumped = instrument.coin == self.venue.settings.pump
        walk = PriceWalk(instrument, self.rng, 0 if is_pumped else self.venue.long_decimals_max)
        if rows:
            entry = rows[-1].entry
            walk.price = entry.price / 10**entry.price_decimals
        self._walks[symbol] = walk
        self._first_entries[symbol] = []
        self._new_entries(symbol)
        if messages and messages[0].is_snapshot:
            self.tape.add_rows(symbol, self._recorded_rows(symbol, messages.pop(0).rows))
        elif self.venue.greeting != "nothing" and symbol not in self._newborn:
            earliest_ns = min((row.ns for row in rows), default=now_ns)
            self._make_past(symbol, earliest_ns, now_ns)
        return messages

    def _recorded_rows(self, symbol: int, rows: list[RecordedRow]) -> NewRows:
        first = self.tape.add_entries(symbol, [row.entry for row in rows])
        facts = [(row.ns, row.number or 0, row.sequence) for row in rows]
        ns, number, sequence = np.array(facts, dtype=np.int64).T.copy()
        return NewRows(ns, number, sequence, np.arange(first, first + len(rows)))

    def _make_past(self, symbol: int, end_ns: int, now_ns: int) -> None:
        """Trades before the simulation, where a venue tells of them on subscribing."""
        flow, rng = self.venue.flow, self._past_rng
        count = past_length(self.venue, self.rng)
        step_ns = self.venue.step_ns(self.instruments[symbol])
        ages = past_ages(count, now_ns - end_ns, step_ns, rng)
        entries = self._walks[symbol].entries(min(count, PAST_ENTRIES_MAX), 1)
        first = self.tape.add_entries(symbol, entries)
        pool = first + rng.integers(0, len(entries), count)
        if flow.sequences == "number":
            number = sequence = int(self.tape.next_number[symbol]) - count + np.arange(count)
        else:
            number = np.zeros(count, dtype=np.int64)
            sequence = np.full(count, self.tape.next_sequence[symbol])
        same_as = repeated(count, flow.equal_share, rng)
        ns = (now_ns - ages) // step_ns * step_ns
        self.tape.add_rows(symbol, NewRows(ns[same_as], number, sequence, pool[same_as]))

    # --- what is sent on subscribing --------------------------------------------------------------

    def snapshot(self, symbol: int) -> list[Trade]:
        """Recent trades, oldest first; rows of one instant are all in it or none."""
        wanted = self.venue.settings.phemex_snapshot_rows
        trades = self.tape.recent(symbol, wanted + 1)
        if len(trades) <= wanted:
            return trades
        first_ns = trades[0].ns
        return [trade for trade in trades if trade.ns > first_ns]

    def _greet(self, link: SharedStream, dialect: str, instrument: Instrument, now_ns: int) -> None:
        symbol, venue = instrument.index, self.venue
        if venue.greeting == "nothing":
            return
        sequence: int | None = None  # each trade's own
        if venue.greeting == "snapshot":
            trades = self.snapshot(symbol)
            sequence = int(self.tape.next_sequence[symbol])
            text = venue.snapshot_text(instrument, trades[::-1], sequence)
            self.generator.fresh[symbol] = True
        else:
            trades = self.tape.recent(symbol, 1)
            if not trades:
                return
            text = write_out(
                venue.row_text(instrument, trades[0].entry, dialect),
                self._columns_of(symbol, trades[0]).at(0),
            )

        def told(rows: Ints) -> None:
            self.tape.mark_sent_again(symbol, [trades[row] for row in rows], sequence, now_ns)

        link.push(single_chunk(text, len(trades), told))

    def _play(self, message: Recorded, instrument: Instrument) -> None:
        """A recorded message: its trades happen, and all who are subscribed get it."""
        symbol, tape = instrument.index, self.tape
        batch = tape.add_rows(symbol, self._recorded_rows(symbol, message.rows))
        numbers = [row.number + 1 for row in message.rows if row.number]
        tape.next_number[symbol] = max(int(tape.next_number[symbol]), *numbers, 0)
        sequences = [row.sequence for row in message.rows]
        tape.next_sequence[symbol] = max(*sequences, int(tape.next_sequence[symbol]))
        self._render(symbol)
        self.generator.fresh[symbol] = False
        for dialect in self._told_dialects():
            text = self.venue.spell(message.text, dialect.name)
            dialect.send_text(symbol, text, batch, np.arange(len(batch)))

    def play_merged(self, symbol: int, count: int, now_ns: int) -> None:
        """``count`` trades of which the stream tells in one message, so that nobody gets a row."""
        tape, instrument = self.tape, self.instruments[symbol]
        first = int(tape.next_number[symbol])
        number = first + np.arange(count)
        step_ns = self.venue.step_ns(instrument)
        earliest_ns = -(-int(tape.last_ns[symbol]) // step_ns) * step_ns
        ns = np.full(count, max(now_ns // step_ns * step_ns, earliest_ns))
        pool = self.generator.pool_of(symbol) + np.arange(count) % self._per_symbol
        batch = tape.add_rows(symbol, NewRows(ns, number, number, pool))
        tape.next_number[symbol] = tape.next_sequence[symbol] = first + count
        trades = tape.recent(symbol, count)
        entry = sum_of([trade.entry for trade in trades])
        values = self._columns_of(symbol, trades[-1]).at(0)
        text = write_out(self.venue.merged_text(instrument, entry, first), values)
        for dialect in self.dialects.values():
            dialect.send_text(symbol, text, batch, np.arange(0))

    def uuids_of(self, symbol: int, rows: Sequence[int]) -> list[str]:
        """The UUIDs of trades; a thousand take little more than one."""
        keys = self.keys[symbol : symbol + 1]
        return uuid_texts(uuid_words(keys, np.array(rows, dtype=np.int64)))

    # --- templates --------------------------------------------------------------------------------

    def _dialect(self, name: str) -> Dialect:
        if name not in self.dialects:
            dialect = Dialect(self.venue, name, self.tape, self._per_symbol)
            self.dialects[name] = dialect
            for symbol in self._walks:
                self._render_in(dialect, symbol)
        return self.dialects[name]

    def _told_dialects(self) -> list[Dialect]:
        """Those that deliver trades."""
        witness = self.venue.witness_dialect
        return [one for name, one in self.dialects.items() if name != witness]

    def _new_entries(self, symbol: int) -> None:
        """New prices and quantities for a symbol; after some generations the old ones again."""
        firsts = self._first_entries[symbol]
        generation = self._generation[symbol]
        is_pumped = self.instruments[symbol].coin == self.venue.settings.pump
        most = PUMPED_GENERATIONS_MAX if is_pumped else GENERATIONS_MAX
        if generation < most:
            walk = self._walks[symbol]
            walk.step()
            entries = walk.entries(self._per_symbol, self.venue.styles)
            firsts.append(self.tape.add_entries(symbol, entries))
        first = firsts[generation % most]
        self._generation[symbol] = generation + 1
        self.generator.set_pool(symbol, first)
        self._render(symbol)

    def refresh(self, symbol: int) -> None:
        """Let a symbol's price move."""
        if symbol in self._walks:
            self._new_entries(symbol)

    def lift(self, symbol: int, change: float) -> None:
        """Move its price by so much at once, mostly bought; earlier prices do not come again."""
        if symbol not in self._walks:
            return
        walk = self._walks[symbol]
        walk.lift(change)
        entries = walk.entries(self._per_symbol, self.venue.styles, LIFTED_BUY_SHARE)
        first = self.tape.add_entries(symbol, entries)
        self._first_entries[symbol] = [first]
        self._generation[symbol] = 1
        self.generator.set_pool(symbol, first)
        self._render(symbol)

    def _render(self, symbol: int) -> None:
        for dialect in self.dialects.values():
            self._render_in(dialect, symbol)
        for at, numbers in enumerate((self.tape.next_number, self.tape.next_sequence)):
            self._limits[at, symbol] = rollover(int(numbers[symbol]))

    def _render_in(self, dialect: Dialect, symbol: int) -> None:
        tape = self.tape
        next_trade = Trade(
            int(tape.next_row[symbol]), self._now_ns, int(tape.next_number[symbol]),
            int(tape.next_sequence[symbol]), NO_ENTRY,
        )  # fmt: skip
        values = self._columns_of(symbol, next_trade).at(0)
        first = self.generator.pool_of(symbol)
        entries = tape.entries[first : first + self._per_symbol]
        dialect.render(self.instruments[symbol], entries, values)

    def _columns_of(self, symbol: int, trade: Trade) -> Columns:
        facts = (symbol, trade.row, trade.ns, trade.number, trade.sequence)
        symbols, rows, ns, numbers, sequences = np.array(facts, dtype=np.int64).reshape(5, 1)
        return Columns(symbols, rows, ns, numbers, sequences, self.keys, self.offsets)

    # --- trading ----------------------------------------------------------------------------------

    def active(self) -> Ints:
        """Symbols with a subscriber (or that go on without), none of whom is far behind."""
        wanted = np.zeros(len(self.instruments), dtype=np.bool_)
        stuck = np.zeros(len(self.instruments), dtype=np.bool_)
        wanted |= self._goes_on
        limit = self.venue.settings.backlog_bytes_max
        for link, wants in self._links():
            wanted |= wants
            if link.backlog_bytes > limit:
                stuck |= wants
        return np.flatnonzero(wanted & ~stuck & ~self._ended)

    def advance(
        self, symbols: Ints, counts: Ints, start_ns: int, end_ns: int, whole: int = -1
    ) -> int:
        """Trade; returns how many trades there were."""
        start_ns, end_ns = self._within_epoch(start_ns, end_ns)
        counts = self._within_digits(symbols, counts)
        oldest_ns = max(start_ns - SECOND_NS, self._epoch * EPOCH_NS)
        draw = self.generator.draw(
            symbols, counts, start_ns, end_ns, whole=whole, equal_from_ns=oldest_ns
        )
        if draw is None:
            return 0
        self._send(draw, end_ns)
        return len(draw.batch)

    def _send(self, draw: Draw, now_ns: int) -> None:
        split = self.filter.split(draw.batch, now_ns)
        if (witness := self.dialects.get(self.venue.witness_dialect or "-")) is not None:
            witness.send(draw, self.keys, self.offsets, push=push_undelivered)
        for dialect in self._told_dialects():
            if split is None:
                dialect.send(draw, self.keys, self.offsets)
                continue
            dialect.send(draw, self.keys, self.offsets, split.kept)
            dialect.send(draw, self.keys, self.offsets, split.again)
            for due_ns, rows in split.late:

                def keep(link: SharedStream, chunk: Chunk, due_ns: int = due_ns) -> None:
                    self._late.append((due_ns, link, chunk))

                dialect.send(draw, self.keys, self.offsets, rows, keep)

    def send_late(self, now_ns: int) -> None:
        """What was kept back until now goes out."""
        due = [one for one in self._late if one[0] <= now_ns]
        if due:
            self._late = [one for one in self._late if one[0] > now_ns]
            for _, link, chunk in due:
                link.push(chunk)

    def _within_epoch(self, start_ns: int, end_ns: int) -> tuple[int, int]:
        """A tick's times, and when they are sent, all have the higher digits of its end."""
        self._see_time(end_ns)
        limit_ns = (self._epoch + 1) * EPOCH_NS - EPOCH_MARGIN_NS
        start_ns = min(max(start_ns, self._epoch * EPOCH_NS), limit_ns - 1)
        return start_ns, max(start_ns + 1, min(end_ns, limit_ns))

    def _see_time(self, now_ns: int) -> None:
        """Templates hold the higher digits of the present time."""
        self._now_ns = now_ns
        if now_ns // EPOCH_NS != self._epoch:
            self._epoch = now_ns // EPOCH_NS
            for symbol in self._walks:
                self._render(symbol)

    def _within_digits(self, symbols: Ints, counts: Ints) -> Ints:
        """Nor does a number's: contiguous ones stop in front of it, others jump over it."""
        tape, flow = self.tape, self.venue.flow
        steps = (flow.number_step_max, SEQUENCE_STEP_MAX)
        counts = counts.copy()
        for at, numbers in enumerate((tape.next_number, tape.next_sequence)):
            if at == 1 and flow.sequences == "number":
                break
            reach = numbers[symbols] + counts * steps[at]
            for place in np.flatnonzero(reach >= self._limits[at, symbols]).tolist():
                symbol = int(symbols[place])
                limit = int(self._limits[at, symbol])
                if at == 0 and flow.is_contiguous and numbers[symbol] < limit:
                    counts[place] = min(int(counts[place]), limit - int(numbers[symbol]))
                    continue
                numbers[symbol] = max(int(numbers[symbol]), limit)
                self._render(symbol)
        return counts
