"""One feed's market: who is subscribed to what, and the trades that they get."""

from __future__ import annotations

import operator
import random
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pumpwatch.sim.digits import Ints, uuid_texts, uuid_words
from pumpwatch.sim.frames import (
    EPOCH_MARGIN_NS,
    EPOCH_NS,
    HEADER_MIDDLE_MAX,
    HEADER_SHORT_MAX,
    MIDDLE_HEADER_BYTES,
    Columns,
    TemplateSet,
    cut,
    frame,
    header,
    rollover,
    write_out,
)
from pumpwatch.sim.generate import Draw, Generator, Messages
from pumpwatch.sim.instruments import Entry, Instrument, PriceWalk
from pumpwatch.sim.outgoing import Chunk, SharedStream, batch_chunk
from pumpwatch.sim.recorded import move, read_samples, renumber, without_rows
from pumpwatch.sim.tape import HISTORY_NS, Batch, Tape, Trade
from pumpwatch.sim.venue import Recorded, Venue

PER_SYMBOL = 32  # templates: combinations of side, price and quantity in use at a time
GENERATIONS_MAX = 20  # of entries per symbol; then the old ones come again: memory stays bounded
SHALLOW_ROWS = 1024
SECOND_NS = 10**9
# Rows about an hour old are judged by whoever reads them later: none is sent.
DOUBTFUL_NS = (HISTORY_NS - 300 * SECOND_NS, HISTORY_NS + 60 * SECOND_NS)
PUMP_DRIFT = 0.004


@dataclass(eq=False)
class Dialect:
    """One spelling of the feed's messages, and the connections that get it."""

    rows: TemplateSet
    prefixes: TemplateSet | None
    links: list[SharedStream] = field(default_factory=list)
    wants: list[npt.NDArray[np.bool_]] = field(default_factory=list)  # each link's symbols

    def wanted(self, link: SharedStream) -> npt.NDArray[np.bool_]:
        """The link's symbols, for changing."""
        for known, wants in zip(self.links, self.wants, strict=True):
            if known is link:
                return wants
        raise KeyError(link)


class Market:
    """Trades of one feed."""

    def __init__(self, venue: Venue, seed: int, number: int) -> None:
        self.venue = venue
        self.name = venue.name
        self.instruments = venue.instruments()
        self.by_name = {one.venue_symbol: one for one in self.instruments}
        self.rng = random.Random(seed * 1000 + number)
        depth = venue.settings.depth_rows if venue.has_deep_history else SHALLOW_ROWS
        self.tape = Tape(self.instruments, depth, follows_delivery=venue.greeting != "nothing")
        count = len(self.instruments)
        self.keys = np.array([self.rng.getrandbits(64) for _ in range(count)], dtype=np.uint64)
        self.offsets = np.array([one.number_offset for one in self.instruments], dtype=np.int64)
        steps_ns = np.array([venue.step_ns(one) for one in self.instruments], dtype=np.int64)
        self.generator = Generator(
            self.tape, venue.flow, np.random.default_rng((seed, number)), PER_SYMBOL, steps_ns
        )
        self.dialects: dict[str, Dialect] = {}
        self._walks: dict[int, PriceWalk] = {}
        self._first_entries: dict[int, list[int]] = {}  # of each generation
        self._generation = [0] * count
        self._limits = np.full((2, count), np.iinfo(np.int64).max, dtype=np.int64)
        self._epoch = 0
        self._now_ns = 0
        self._recorded: dict[str, list[Recorded]] = {}
        if venue.settings.recorded:
            self._recorded = read_samples(venue.name, venue.read_recorded)

    # --- subscribing ------------------------------------------------------------------------------

    def subscribe(
        self, link: SharedStream, dialect_name: str, instrument: Instrument, now_ns: int
    ) -> None:
        """Greet as the venue does; from now on the link gets this instrument's trades."""
        symbol = instrument.index
        if instrument.status != "trading":
            return  # accepted, but nothing comes before it trades
        messages = self.open_symbol(instrument, now_ns)
        dialect = self._dialect(dialect_name)
        if link not in dialect.links:
            dialect.links.append(link)
            dialect.wants.append(np.zeros(len(self.instruments), dtype=np.bool_))
        self._greet(link, dialect_name, instrument, now_ns)
        dialect.wanted(link)[symbol] = True
        for message in messages:
            self._play(message, instrument)

    def unsubscribe(self, link: SharedStream, dialect_name: str, instrument: Instrument) -> None:
        """No more of this instrument's trades."""
        dialect = self._dialect(dialect_name)
        if link in dialect.links:
            dialect.wanted(link)[instrument.index] = False

    def uuid_of(self, symbol: int, row: int) -> str:
        """The UUID of a trade."""
        keys = self.keys[symbol : symbol + 1]
        return uuid_texts(uuid_words(keys, np.array([row], dtype=np.int64)))[0]

    def drop(self, link: SharedStream) -> None:
        """The connection is gone."""
        for dialect in self.dialects.values():
            if link in dialect.links:
                at = dialect.links.index(link)
                del dialect.links[at], dialect.wants[at]

    def subscriptions(self) -> int:
        """How many there are, over all connections."""
        return sum(int(w.sum()) for dialect in self.dialects.values() for w in dialect.wants)

    def open_symbol(self, instrument: Instrument, now_ns: int) -> list[Recorded]:
        """Begin a symbol's trading; returns the recorded messages that come first, only once."""
        symbol = instrument.index
        if symbol in self._walks:
            return []
        self._see_time(now_ns)
        messages = self._prepare_recorded(instrument, now_ns)
        rows = [row for message in messages for row in message.rows]
        number, sequence = self.venue.first_numbers(instrument, self.rng)
        numbers = [row.number for row in rows if row.number]
        self.tape.next_number[symbol] = numbers[0] if numbers else number
        sequences = [row.sequence for row in rows if row.sequence]
        self.tape.next_sequence[symbol] = sequences[0] if sequences else sequence
        walk = PriceWalk(instrument, self.rng, self.venue.long_decimals_max)
        if rows:
            entry = rows[-1].entry
            walk.price = entry.price / 10**entry.price_decimals
        self._walks[symbol] = walk
        self._first_entries[symbol] = []
        self._new_entries(symbol)
        if messages and messages[0].is_snapshot:
            first = messages.pop(0)
            recorded = [(row.ns, row.number or 0, row.sequence, row.entry) for row in first.rows]
            self.tape.add_rows(symbol, recorded)
        elif self.venue.greeting != "nothing":
            earliest_ns = min((row.ns for row in rows), default=now_ns)
            self._make_past(symbol, earliest_ns, now_ns)
        return messages

    def _prepare_recorded(self, instrument: Instrument, now_ns: int) -> list[Recorded]:
        messages = self._recorded.get(instrument.venue_symbol, [])
        if not messages:
            return []
        messages = move(messages, now_ns)
        pattern = self.venue.number_pattern
        if pattern is not None:
            messages = renumber(messages, pattern)
        low_ns, high_ns = now_ns - DOUBTFUL_NS[1], now_ns - DOUBTFUL_NS[0]
        return [
            without_rows(message, lambda row: low_ns <= row.ns <= high_ns)
            if message.is_snapshot
            else message
            for message in messages
        ]

    def _make_past(self, symbol: int, end_ns: int, now_ns: int) -> None:
        """Trades before the simulation, where a venue tells of them on subscribing."""
        rng = self.rng
        count = 1 if self.venue.greeting == "latest" else rng.randint(20, self._snapshot_rows())
        mean_ns = 10 ** rng.uniform(8.5, 10.2)
        ages: list[int] = []
        age = now_ns - end_ns + SECOND_NS
        for _ in range(count):
            age += int(rng.expovariate(1.0) * mean_ns) + 1
            if DOUBTFUL_NS[0] <= age <= DOUBTFUL_NS[1]:
                age += DOUBTFUL_NS[1] - DOUBTFUL_NS[0]
            ages.append(age)
        step_ns = self.venue.step_ns(self.instruments[symbol])
        entries = self._walks[symbol].entries(count, 1)
        number, sequence = self.tape.next_number[symbol], self.tape.next_sequence[symbol]
        first = int(number) - count
        rows = [
            ((now_ns - age) // step_ns * step_ns,
             first + at if self.venue.flow.sequences == "number" else 0,
             first + at if self.venue.flow.sequences == "number" else int(sequence),
             entries[at])
            for at, age in enumerate(reversed(ages))
        ]  # fmt: skip
        for at in range(1, count):
            if self.venue.flow.equal_share and rng.random() < self.venue.flow.equal_share:
                rows[at] = rows[at - 1]
        self.tape.add_rows(symbol, rows)

    # --- what is sent on subscribing --------------------------------------------------------------

    def _snapshot_rows(self) -> int:
        return self.venue.settings.phemex_snapshot_rows

    def snapshot(self, symbol: int) -> list[Trade]:
        """Recent trades, oldest first; rows of one instant are all in it or none."""
        wanted = self._snapshot_rows()
        trades = self.tape.recent(symbol, min(wanted + 1, self.tape.depth))
        if len(trades) <= wanted:
            return trades
        first_ns = trades[0].ns
        return [trade for trade in trades if trade.ns > first_ns]

    def _greet(
        self, link: SharedStream, dialect: str, instrument: Instrument, now_ns: int
    ) -> None:
        symbol, venue = instrument.index, self.venue
        if venue.greeting == "nothing":
            return
        if venue.greeting == "snapshot":
            trades = self.snapshot(symbol)
            sequence = int(self.tape.next_sequence[symbol])
            text = venue.snapshot_text(instrument, trades[::-1], sequence)
            self.generator.fresh[symbol] = True
        else:
            trades, sequence = self.tape.recent(symbol, 1), -1
            text = write_out(
                venue.row_text(instrument, trades[0].entry, dialect),
                self._columns_of(symbol, trades[0]).at(0),
            )

        def told(rows: Ints) -> None:
            again = None if sequence < 0 else sequence
            self.tape.mark_sent_again(symbol, [trades[row] for row in rows], again, now_ns)

        data = frame(text)
        link.push(
            Chunk(data, np.array([len(data)]), np.array([len(trades)]), told,
                  np.arange(len(trades)), None)
        )  # fmt: skip

    def _columns_of(self, symbol: int, trade: Trade) -> Columns:
        return Columns(
            *(np.array([value], dtype=np.int64) for value in
              (symbol, trade.row, trade.ns, trade.number, trade.sequence)),
            self.keys, self.offsets,
        )  # fmt: skip

    def _play(self, message: Recorded, instrument: Instrument) -> None:
        """A recorded message: its trades happen, and all who are subscribed get it."""
        symbol = instrument.index
        rows = [(row.ns, row.number or 0, row.sequence, row.entry) for row in message.rows]
        batch = self.tape.add_rows(symbol, rows)
        if self.venue.flow.sequences == "number":
            numbers = [row.number for row in message.rows if row.number]
            self._set_next(symbol, max([int(self.tape.next_number[symbol]) - 1, *numbers]) + 1)
        sequences = [row.sequence for row in message.rows]
        self.tape.next_sequence[symbol] = max(*sequences, int(self.tape.next_sequence[symbol]))
        self._render(symbol)
        self.generator.fresh[symbol] = False
        for name, dialect in self.dialects.items():
            data = frame(self.venue.spell(message.text, name))
            for link, wants in zip(dialect.links, dialect.wants, strict=True):
                if wants[symbol]:
                    ends, until = np.array([len(data)]), np.array([len(batch)])
                    rows_at = np.arange(len(batch))
                    link.push(batch_chunk(self.tape, batch, data, ends, until, rows_at))

    def _set_next(self, symbol: int, number: int) -> None:
        self.tape.next_number[symbol] = number

    # --- templates --------------------------------------------------------------------------------

    def _dialect(self, name: str) -> Dialect:
        if name not in self.dialects:
            count, is_many = len(self.instruments), self.venue.flow.rows_max > 1
            dialect = Dialect(
                rows=TemplateSet(
                    count, PER_SYMBOL, framed=not is_many,
                    spare_bytes=max(1, len(self.venue.suffix)) if is_many else 0,
                ),
                prefixes=TemplateSet(count, 1, framed=False) if is_many else None,
            )  # fmt: skip
            self.dialects[name] = dialect
            for symbol in self._walks:
                self._render_in(dialect, name, symbol)
        return self.dialects[name]

    def _new_entries(self, symbol: int) -> None:
        """New prices and quantities for a symbol; after some generations the old ones again."""
        firsts = self._first_entries[symbol]
        generation = self._generation[symbol]
        if generation < GENERATIONS_MAX:
            walk = self._walks[symbol]
            is_pumped = self.instruments[symbol].coin == self.venue.settings.pump
            walk.step(PUMP_DRIFT if is_pumped else 0.0)
            entries = walk.entries(PER_SYMBOL, self.venue.styles)
            firsts.append(self.tape.add_entries(symbol, entries))
        first = firsts[generation % GENERATIONS_MAX]
        self._generation[symbol] = generation + 1
        self.generator.pool[symbol * PER_SYMBOL : (symbol + 1) * PER_SYMBOL] = np.arange(
            first, first + PER_SYMBOL
        )
        self._render(symbol)

    def refresh(self, symbol: int) -> None:
        """Let a symbol's price move."""
        if symbol in self._walks:
            self._new_entries(symbol)

    def _render(self, symbol: int) -> None:
        for name, dialect in self.dialects.items():
            self._render_in(dialect, name, symbol)
        for at, numbers in enumerate((self.tape.next_number, self.tape.next_sequence)):
            self._limits[at, symbol] = rollover(int(numbers[symbol]))

    def _render_in(self, dialect: Dialect, name: str, symbol: int) -> None:
        tape, instrument = self.tape, self.instruments[symbol]
        trade = Trade(
            int(tape.next_row[symbol]), self._now_ns,
            int(tape.next_number[symbol]), int(tape.next_sequence[symbol]), Entry(False, 1, 0, 1, 0),
        )  # fmt: skip
        values = self._columns_of(symbol, trade).at(0)
        pool = self.generator.pool[symbol * PER_SYMBOL : (symbol + 1) * PER_SYMBOL]
        texts = [self.venue.row_text(instrument, tape.entries[at], name) for at in pool]
        dialect.rows.render(symbol, texts, values)
        if dialect.prefixes is not None:
            text = " " * MIDDLE_HEADER_BYTES + self.venue.prefix_text(instrument, name)
            dialect.prefixes.render(symbol, [text], values)

    # --- trading ----------------------------------------------------------------------------------

    def active(self) -> Ints:
        """Symbols with a subscriber, none of whom is far behind."""
        if not self.dialects:
            return np.zeros(0, dtype=np.int64)
        wanted = np.zeros(len(self.instruments), dtype=np.bool_)
        stuck = np.zeros(len(self.instruments), dtype=np.bool_)
        limit = self.venue.settings.backlog_bytes_max
        for dialect in self.dialects.values():
            for link, wants in zip(dialect.links, dialect.wants, strict=True):
                wanted |= wants
                if link.backlog_bytes > limit:
                    stuck |= wants
        return np.flatnonzero(wanted & ~stuck)

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
        for dialect in self.dialects.values():
            if dialect.links:
                self._send(dialect, draw)
        return len(draw.batch)

    def _within_epoch(self, start_ns: int, end_ns: int) -> tuple[int, int]:
        """A tick does not cross the point where the times' higher digits change."""
        if start_ns // EPOCH_NS == self._epoch < end_ns // EPOCH_NS:
            end_ns = start_ns
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
        steps = (flow.number_step_max, 60)
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

    def _send(self, dialect: Dialect, draw: Draw) -> None:
        batch = draw.batch
        columns = Columns(
            batch.symbol, batch.row, batch.ns, batch.number, batch.sequence, self.keys, self.offsets
        )
        rows = dialect.rows.fill(draw.template, columns)
        lengths = dialect.rows.length[draw.template].astype(np.int64)
        if draw.messages is None:
            pieces = cut(rows)
            for link, wants in zip(dialect.links, dialect.wants, strict=True):
                self._push_single(link, wants, batch, pieces, lengths)
            return
        assert dialect.prefixes is not None
        pieces, frame_bytes = self._bundle(dialect, draw.messages, rows, lengths)
        for link, wants in zip(dialect.links, dialect.wants, strict=True):
            self._push_bundled(link, wants, batch, draw.messages, pieces, frame_bytes)

    def _push_single(
        self,
        link: SharedStream,
        wants: npt.NDArray[np.bool_],
        batch: Batch,
        pieces: list[bytes],
        lengths: Ints,
    ) -> None:
        chosen = np.flatnonzero(wants[batch.symbol])
        if not len(chosen):
            return
        if len(chosen) < len(pieces):
            pieces = _pick(pieces, chosen)
            lengths = lengths[chosen]
        until = np.arange(1, len(chosen) + 1)
        data = b"".join(pieces)
        link.push(batch_chunk(self.tape, batch, data, np.cumsum(lengths), until, chosen))

    def _bundle(
        self, dialect: Dialect, messages: Messages, rows: npt.NDArray[np.uint8], lengths: Ints
    ) -> tuple[list[bytes], Ints]:
        """The messages' pieces (prefixes, then rows) and each frame's size."""
        assert dialect.prefixes is not None
        total, width = rows.shape
        suffix = np.frombuffer(self.venue.suffix.encode(), dtype=np.uint8)
        ends = np.arange(total) * width + lengths
        last = np.cumsum(messages.rows) - 1
        flat = rows.reshape(-1)
        flat[ends] = ord(",")
        flat[ends[last][:, None] + np.arange(len(suffix))] = suffix
        sizes = lengths + 1
        sizes[last] += len(suffix) - 1
        columns = Columns(
            messages.symbol, np.zeros_like(messages.ns), messages.ns, messages.sequence,
            messages.sequence, self.keys, self.offsets,
        )  # fmt: skip
        heads = dialect.prefixes.fill(messages.symbol, columns)
        payload = (
            dialect.prefixes.length[messages.symbol]
            - MIDDLE_HEADER_BYTES
            + np.add.reduceat(sizes, last - messages.rows + 1)
        )
        heads[:, 0], heads[:, 1] = 0x81, 126
        heads[:, 2], heads[:, 3] = payload >> 8 & 0xFF, payload & 0xFF
        pieces = cut(heads)
        frame_bytes = payload + MIDDLE_HEADER_BYTES
        is_other = (payload <= HEADER_SHORT_MAX) | (payload > HEADER_MIDDLE_MAX)
        for at in np.flatnonzero(is_other).tolist():
            head = header(int(payload[at]))
            pieces[at] = head + pieces[at][MIDDLE_HEADER_BYTES:]
            frame_bytes[at] = payload[at] + len(head)
        return pieces + cut(rows), frame_bytes

    def _push_bundled(
        self,
        link: SharedStream,
        wants: npt.NDArray[np.bool_],
        batch: Batch,
        messages: Messages,
        pieces: list[bytes],
        frame_bytes: Ints,
    ) -> None:
        chosen = np.flatnonzero(wants[messages.symbol])
        if not len(chosen):
            return
        counts = messages.rows[chosen]
        starts = (np.cumsum(messages.rows) - messages.rows)[chosen]
        with_head = counts + 1
        ends = np.cumsum(with_head)
        nth = np.arange(int(ends[-1])) - np.repeat(ends - with_head, with_head)
        rows = np.repeat(starts, with_head) + nth - 1
        order = np.where(nth == 0, np.repeat(chosen, with_head), rows + len(messages.rows))
        data = b"".join(_pick(pieces, order))
        link.push(
            batch_chunk(self.tape, batch, data, np.cumsum(frame_bytes[chosen]),
                        np.cumsum(counts), rows[nth > 0])
        )  # fmt: skip


def _pick(pieces: list[bytes], chosen: Ints) -> list[bytes] | tuple[bytes, ...]:
    if len(chosen) == 1:
        return [pieces[int(chosen[0])]]
    picked: tuple[bytes, ...] = operator.itemgetter(*chosen.tolist())(pieces)
    return picked
