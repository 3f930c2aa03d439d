"""Every parsed row's way: instrument, time, scale, history, repeats and jumps, line.

Order matters. A row is judged a repeat only by what went on before it (R1); history is skipped
only where it cannot lie in a hole (R5); a row that is refused is counted and its message kept.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset

from pumpwatch._fast.cursor cimport is_plain_id
from pumpwatch._fast.ilp cimport (
    DECIMAL_TEXT_MAX, PLAIN_SLACK, put_trade, render_composed_id, render_received, scale_trade, strip_zeros,
)
from pumpwatch._fast.instruments cimport NO_INSTRUMENT, Instrument, hash_bytes
from pumpwatch._fast.ordinals cimport ordinals_free, ordinals_new, ordinals_take
from pumpwatch._fast.members cimport Value, read_decimal
from pumpwatch._fast.parser cimport batch_free, batch_init, parse_message
from pumpwatch._fast.ring cimport ORIGIN_ARCHIVE, ORIGIN_BACKFILL, ORIGIN_STREAM, Origin
from pumpwatch._fast.sequence cimport (
    VERDICT_JUMP, VERDICT_REPEAT, VERDICT_RESET, Position, Verdict, observe_id, observe_range,
)
from pumpwatch._fast.trade cimport PARSE_TRADES, ParseStatus

from pumpwatch._fast.parser import KIND_NAMES, STATUS_NAMES

REFUSALS = {1: "unknown_symbol", 2: "time", 3: "overflow", 4: "memory"}
NEWS_NAMES = ("id_jump", "id_reset", "merged_range", "unaligned")

cdef enum:
    BATCH_ROWS = 65536          # a row takes at least 20 bytes of a message of at most 1 MiB
    SCRATCH_BYTES = 1048592     # a message's text unescaped is never longer than the message
    NEWS_MAX = 65536
    FEEDS_MAX = 64

cdef Origin[3] ORIGINS      # by Trade.is_backfill
ORIGINS[:] = [ORIGIN_STREAM, ORIGIN_BACKFILL, ORIGIN_ARCHIVE]
cdef uint64_t HASH_SPREAD = 0x9E3779B97F4A7C15ULL         # odd, bits everywhere: keeps small numbers apart
cdef uint64_t HASH_SPREAD_SIDE = 0xD6E8FEB86659FD93ULL
cdef int64_t EARLIEST_NS = 1262304000000000000      # 2010-01-01: no venue is older
cdef int64_t FUTURE_NS = 86400000000000             # a row a day ahead would make its own partition


cdef bint lane_reserve(Lane* lane, uint32_t instruments) noexcept nogil:
    cdef uint8_t* met
    cdef int64_t* held_ns
    cdef int64_t* heard_ns
    cdef uint32_t* tally
    cdef Ordinals** ordinals
    cdef uint32_t capacity
    if instruments <= lane.capacity:
        return 1
    capacity = instruments + 256
    met = <uint8_t*>realloc(lane.met, capacity)
    if met == NULL:
        return 0
    lane.met = met
    held_ns = <int64_t*>realloc(lane.held_ns, capacity * sizeof(int64_t))
    if held_ns == NULL:
        return 0
    lane.held_ns = held_ns
    heard_ns = <int64_t*>realloc(lane.heard_ns, capacity * sizeof(int64_t))
    if heard_ns == NULL:
        return 0
    lane.heard_ns = heard_ns
    if lane.tally != NULL:
        tally = <uint32_t*>realloc(lane.tally, capacity * TALLY_SPANS * sizeof(uint32_t))
        if tally == NULL:
            return 0
        lane.tally = tally
        memset(tally + lane.capacity * TALLY_SPANS, 0, (capacity - lane.capacity) * TALLY_SPANS * sizeof(uint32_t))
    ordinals = <Ordinals**>realloc(lane.ordinals, capacity * sizeof(Ordinals*))
    if ordinals == NULL:
        return 0
    lane.ordinals = ordinals
    memset(met + lane.capacity, 0, capacity - lane.capacity)
    memset(held_ns + lane.capacity, 0, (capacity - lane.capacity) * sizeof(int64_t))
    memset(heard_ns + lane.capacity, 0, (capacity - lane.capacity) * sizeof(int64_t))
    memset(ordinals + lane.capacity, 0, (capacity - lane.capacity) * sizeof(Ordinals*))
    lane.capacity = capacity
    return 1


cdef bint lane_begin_tally(Lane* lane) noexcept nogil:
    if lane.tally == NULL:
        lane.tally = <uint32_t*>calloc(max(lane.capacity, 1) * TALLY_SPANS, sizeof(uint32_t))
    return lane.tally != NULL


cdef inline void count_row(Lane* lane, const Trade* trade) noexcept nogil:
    # A row that is much older than its arrival would fall into a span that was read already.
    cdef int64_t age = (lane.receive_ns >> TALLY_SHIFT) - (trade.exchange_ns >> TALLY_SHIFT)
    if -1 <= age <= 2:
        lane.tally[trade.instrument * TALLY_SPANS + ((trade.exchange_ns >> TALLY_SHIFT) & (TALLY_SPANS - 1))] += 1


cdef void lane_free(Lane* lane) noexcept:
    cdef uint32_t i
    for i in range(lane.capacity):
        if lane.ordinals[i] != NULL:
            ordinals_free(lane.ordinals[i])
    free(lane.ordinals)
    free(lane.held_ns)
    free(lane.heard_ns)
    free(lane.tally)
    free(lane.met)
    free(lane.news)
    memset(lane, 0, sizeof(Lane))


cdef void tell(Lane* lane, NewsKind kind, uint32_t instrument, IdRange hole, int64_t from_ns, int64_t to_ns) noexcept nogil:
    cdef News* news
    cdef Py_ssize_t capacity
    if lane.news_count == lane.news_capacity:
        if lane.news_capacity >= NEWS_MAX:
            return
        capacity = lane.news_capacity * 2 if lane.news_capacity else 64
        news = <News*>realloc(lane.news, capacity * sizeof(News))
        if news == NULL:
            return
        lane.news = news
        lane.news_capacity = capacity
    news = &lane.news[lane.news_count]
    news.kind = kind
    news.instrument = instrument
    news.first = hole.first
    news.last = hole.last
    news.from_ns = from_ns
    news.to_ns = to_ns
    lane.news_count += 1


cdef list lane_take_news(Lane* lane):
    cdef Py_ssize_t i
    cdef News* news
    told = []
    for i in range(lane.news_count):
        news = &lane.news[i]
        told.append((NEWS_NAMES[news.kind], news.instrument, news.first, news.last, news.from_ns, news.to_ns))
    lane.news_count = 0
    return told


cdef class VenueClock:
    """What time the venues believe it is, to tell a far-future row from a slow clock of ours (R20)."""

    cdef bint ours_is_slow(self, int64_t receive_ns) noexcept nogil:
        cdef int i, heard = 0, ahead = 0
        for i in range(FEEDS_MAX):
            if self.newest_ns[i]:
                heard += 1
                if self.newest_ns[i] > receive_ns + FUTURE_NS:
                    ahead += 1
        return ahead >= 2 and ahead * 2 >= heard

    def says_ours_is_slow(self, int64_t receive_ns):
        """True when at least two and half of the feeds are more than a day ahead of our clock."""
        return bool(self.ours_is_slow(receive_ns))


cdef inline uint64_t mixed(uint64_t total, uint64_t word) noexcept nogil:
    total = (total ^ word) * HASH_SPREAD_SIDE
    return total ^ (total >> 32)


cdef uint64_t row_key(Trade* trade) noexcept nogil:
    """Side, price and size as one number. Strips both numbers, which leaves their values as they are."""
    cdef uint64_t key = trade.is_sell * HASH_SPREAD
    strip_zeros(&trade.price)
    strip_zeros(&trade.quantity)
    key = mixed(key, <uint64_t>trade.price.mantissa)
    key = mixed(key, <uint64_t>(trade.price.mantissa >> 64))
    key = mixed(key, <uint64_t>trade.quantity.mantissa)
    key = mixed(key, <uint64_t>(trade.quantity.mantissa >> 64))
    return mixed(key, <uint64_t><uint32_t>trade.price.exponent << 32 | <uint32_t>trade.quantity.exponent)


cdef bint read_amount(bytes text, Decimal* value):
    """A number >= 0 in JSON's grammar, nothing around it."""
    cdef Value whole
    whole.at = text
    whole.end = whole.at + len(text)
    return len(text) > 0 and whole.at[0] != c'"' and read_decimal(whole, NULL, value)


cdef class FeedRoad:
    """What all connections of one feed share: instruments, lines, recent ids, counters."""

    def __cinit__(self, Parser parser, InstrumentTable instruments, RowBuffer rows, VenueClock clock,
                  int feed, int64_t history_ns):
        if not 1 <= feed < FEEDS_MAX:
            raise ValueError(f"feed number {feed} is not in 1..{FEEDS_MAX - 1}")
        self.parser = parser
        self.instruments = instruments
        self.rows = rows
        self.clock = clock
        self.feed = feed
        self.history_ns = history_ns
        self.seen = SeenIds()
        batch_init(&self.batch, BATCH_ROWS, SCRATCH_BYTES)
        self.row_ns = <int64_t*>calloc(BATCH_ROWS, sizeof(int64_t))
        self.row_keys = <uint64_t*>calloc(BATCH_ROWS, sizeof(uint64_t))
        self.row_ordinals = <int32_t*>calloc(BATCH_ROWS, sizeof(int32_t))
        if self.row_ns == NULL or self.row_keys == NULL or self.row_ordinals == NULL:
            raise MemoryError("no room for a feed")

    def __dealloc__(self):
        batch_free(&self.batch)
        lane_free(&self.past)
        free(self.row_ns)
        free(self.row_keys)
        free(self.row_ordinals)

    def counts_now(self):
        """The balance's capture side, in rows but for the first three: a dict of ints."""
        return self.counts

    cdef Refusal take_batch(self, Lane* lane, int64_t* refused_rows) noexcept nogil:
        cdef Py_ssize_t i
        cdef uint32_t number
        cdef Trade* trade
        cdef Refusal refusal, first = REFUSED_NOT
        refused_rows[0] = 0
        if self.batch.count == 0:
            return REFUSED_NOT
        if not lane_reserve(lane, self.instruments.count):
            refused_rows[0] = self.batch.count
            self.counts.parsed += self.batch.count
            self.counts.quarantined += self.batch.count
            return REFUSED_MEMORY
        self.clock.newest_ns[self.feed] = self.batch.trades[self.batch.count - 1].exchange_ns
        for i in range(self.batch.count):
            trade = &self.batch.trades[i]
            number = self.instruments.find(trade.symbol, trade.symbol_bytes)
            trade.instrument = number
            # Before the loop: a row of this message is no proof that an equally old one is held (R5).
            if number != NO_INSTRUMENT and (self.batch.is_snapshot or not lane.met[number]):
                lane.held_ns[number] = self.instruments.instruments[number].position.last_ns
        if self.batch.trades[0].id == NULL:
            self.count_ordinals(lane)
        for i in range(self.batch.count):
            trade = &self.batch.trades[i]
            refusal = self.take_row(lane, trade, self.row_ordinals[i])
            if refusal != REFUSED_NOT:
                refused_rows[0] += 1
                if first == REFUSED_NOT:
                    first = refusal
        self.counts.quarantined += refused_rows[0]
        # After the loop: a first message's rows are all judged as first ones.
        lane.brought_ns = lane.receive_ns
        for i in range(self.batch.count):
            lane.newest_ns = max(lane.newest_ns, self.batch.trades[i].exchange_ns)
            if self.batch.trades[i].instrument != NO_INSTRUMENT:
                lane.met[self.batch.trades[i].instrument] = 1
                lane.heard_ns[self.batch.trades[i].instrument] = lane.receive_ns
                if lane.tally != NULL:
                    count_row(lane, &self.batch.trades[i])
        self.last_receive_ns = lane.receive_ns
        return first

    cdef void count_ordinals(self, Lane* lane) noexcept nogil:
        """Ordinals of a message without ids, instrument by instrument; 0 where they cannot be counted."""
        cdef Py_ssize_t i, first = 0
        cdef Trade* trade
        for i in range(self.batch.count):
            trade = &self.batch.trades[i]
            self.row_ordinals[i] = 0
            self.row_ns[i] = trade.exchange_ns
            self.row_keys[i] = row_key(trade)
        for i in range(1, self.batch.count + 1):
            if i == self.batch.count or self.batch.trades[i].instrument != self.batch.trades[first].instrument:
                self.count_run(lane, first, i - first)
                first = i

    cdef void count_run(self, Lane* lane, Py_ssize_t first, Py_ssize_t count) noexcept nogil:
        """Ordinals of neighbouring rows of one instrument."""
        cdef uint32_t number = self.batch.trades[first].instrument
        cdef IdRange none
        if number == NO_INSTRUMENT:
            return
        if lane.ordinals[number] == NULL:
            lane.ordinals[number] = ordinals_new()
            if lane.ordinals[number] == NULL:
                return
        if not ordinals_take(lane.ordinals[number], self.row_ns + first, self.row_keys + first, count,
                             self.batch.is_snapshot, self.row_ordinals + first):
            none.first = 0
            none.last = 0
            tell(lane, NEWS_UNALIGNED, number, none, self.instruments.instruments[number].position.last_ns,
                 self.batch.trades[first].exchange_ns)

    cdef void take_range(self, Lane* lane, Trade* trade) noexcept nogil:
        """A message that stands for several trades (R7): no row, its ids are a hole."""
        cdef Position* position = &self.instruments.instruments[trade.instrument].position
        cdef int64_t last_ns = position.last_ns
        cdef IdRange skipped, merged
        cdef Verdict verdict = observe_range(
            position, trade.range_first, trade.order_id, trade.exchange_ns, &skipped, &merged)
        if verdict == VERDICT_REPEAT:
            return
        if verdict == VERDICT_RESET:
            tell(lane, NEWS_RESET, trade.instrument, merged, last_ns, trade.exchange_ns)
        if skipped.last:
            tell(lane, NEWS_JUMP, trade.instrument, skipped, last_ns, trade.exchange_ns)
        tell(lane, NEWS_RANGE, trade.instrument, merged, last_ns, trade.exchange_ns)

    cdef Refusal take_row(self, Lane* lane, Trade* trade, int32_t ordinal) noexcept nogil:
        cdef Instrument* instrument
        cdef char id_text[2 * DECIMAL_TEXT_MAX + PLAIN_SLACK + 32]
        cdef int64_t last_ns
        if trade.range_first and trade.instrument != NO_INSTRUMENT:
            self.counts.ranges += 1
            self.take_range(lane, trade)
            return REFUSED_NOT
        self.counts.parsed += 1
        if trade.instrument == NO_INSTRUMENT:
            return REFUSED_SYMBOL
        if trade.exchange_ns < EARLIEST_NS:
            return REFUSED_TIME
        if trade.exchange_ns > lane.receive_ns + FUTURE_NS and not self.clock.ours_is_slow(lane.receive_ns):
            return REFUSED_TIME
        instrument = &self.instruments.instruments[trade.instrument]
        if not scale_trade(instrument, trade):
            return REFUSED_OVERFLOW
        # REST's history was asked for.
        if (self.batch.is_snapshot or not lane.met[trade.instrument]) and not trade.is_backfill:
            last_ns = lane.held_ns[trade.instrument]
            if trade.exchange_ns < lane.receive_ns - self.history_ns and (last_ns == 0 or trade.exchange_ns < last_ns):
                self.counts.history_skipped += 1
                return REFUSED_NOT
        if ordinal < 0 and trade.id == NULL:
            self.counts.repeated += 1
            return REFUSED_NOT
        if trade.id == NULL:
            trade.id_bytes = <uint32_t>render_composed_id(id_text, trade, ordinal)
            if trade.id_bytes == 0:
                return REFUSED_OVERFLOW
            trade.id = id_text
        if not self.judge_id(lane, trade):
            self.counts.repeated += 1
            return REFUSED_NOT
        if self.rows.lines.rows == 0:
            self.rows.lines.first_received_ns = lane.receive_ns
        if not put_trade(&self.rows.lines, instrument, trade, lane.received, lane.received_bytes):
            return REFUSED_MEMORY
        if self.recent is not None:
            self.recent.put(self.feed, trade, lane.receive_ns, ordinal if trade.id == id_text else -1,
                            ORIGINS[trade.is_backfill])
        instrument.rows += 1
        instrument.received_ns = lane.receive_ns
        self.counts.passed += 1
        self.last_exchange_ns = trade.exchange_ns
        return REFUSED_NOT

    cdef bint judge_id(self, Lane* lane, Trade* trade) noexcept nogil:
        """1 when the row goes on, 0 when it is proven seen. Jumps and resets are told."""
        cdef Instrument* instrument = &self.instruments.instruments[trade.instrument]
        cdef IdRange hole
        cdef Verdict verdict
        cdef int64_t last_ns = instrument.position.last_ns
        cdef uint64_t key
        if trade.order_id:
            verdict = observe_id(&instrument.position, trade.order_id, trade.exchange_ns, &hole)
            if verdict == VERDICT_JUMP:
                tell(lane, NEWS_JUMP, trade.instrument, hole, last_ns, trade.exchange_ns)
            elif verdict == VERDICT_RESET:
                hole.first = trade.order_id
                hole.last = trade.order_id
                tell(lane, NEWS_RESET, trade.instrument, hole, last_ns, trade.exchange_ns)
            return verdict != VERDICT_REPEAT
        # Spread: a plain number would meet the low bits of the time, and two instruments' rows would agree.
        key = hash_bytes(<const char*>&trade.exchange_ns, 8, (<uint64_t>trade.instrument + 1) * HASH_SPREAD)
        key = hash_bytes(trade.id, trade.id_bytes, key)
        if self.seen.seen_before(key):
            return 0
        if trade.exchange_ns > last_ns:
            instrument.position.last_ns = trade.exchange_ns
        return 1

    # --- rows from REST -------------------------------------------------------------------------------

    def take_backfill(self, str venue_symbol, str side, str price, str quantity, int64_t exchange_ns, trade_id,
                      uint64_t order_id, int64_t sequence_number, str kind, int64_t received_ns,
                      int32_t ordinal=-1, bint is_archive=0) -> str:
        """Take one row of a REST list the way of the stream's rows (R4), as origin=backfill,
        or as origin=archive.

        Price and quantity are exact texts in the venue's units, ``kind`` a name or "",
        ``received_ns`` our clock when the answer was whole. ``trade_id`` is None where the venue has
        none; then ``ordinal`` is the row's among its equals of that nanosecond (R6), -1: the caller
        knows it as held.

        Returns "new", "repeat" (proven seen, no line), or "refused:" with the reason that a message
        of the stream would go to quarantine for. History is not skipped: it was asked for. Holes
        that the row shows are in ``take_backfill_news``. Raises ValueError for a side, kind or
        ``received_ns`` that is none.
        """
        cdef Trade trade
        cdef Refusal refusal
        cdef int64_t passed = self.counts.passed
        if received_ns <= 0:
            raise ValueError(f"received_ns {received_ns} is no time")
        name, text = venue_symbol.encode(), b"" if trade_id is None else trade_id.encode()
        memset(&trade, 0, sizeof(Trade))
        trade.is_sell = ("buy", "sell").index(side)
        trade.kind = KIND_NAMES.index(kind or None)
        trade.is_backfill = 2 if is_archive else 1
        trade.exchange_ns = exchange_ns
        trade.order_id = order_id
        trade.sequence_number = sequence_number
        if trade_id is not None:
            trade.id = text
            trade.id_bytes = <uint32_t>len(text)
        if (sequence_number < 0 or not read_amount(price.encode(), &trade.price)
                or not read_amount(quantity.encode(), &trade.quantity)
                or (trade.id != NULL and not is_plain_id(trade.id, trade.id_bytes))):
            self.counts.parsed += 1
            self.counts.quarantined += 1
            return "refused:malformed"
        trade.instrument = self.instruments.find(name, len(name))
        self.past.receive_ns = received_ns
        self.past.received_bytes = render_received(self.past.received, received_ns)
        refusal = self.take_past(&trade, ordinal)
        if refusal != REFUSED_NOT:
            self.counts.quarantined += 1
            return "refused:" + REFUSALS[refusal]
        if self.counts.passed == passed:
            return "repeat"
        self.counts.backfilled += 1
        return "new"

    cdef Refusal take_past(self, Trade* trade, int32_t ordinal) noexcept nogil:
        """A row of REST onward; it is no sign of life of the stream."""
        cdef Refusal refusal
        cdef int64_t last_exchange_ns = self.last_exchange_ns, received_ns = 0
        if not lane_reserve(&self.past, self.instruments.count):
            self.counts.parsed += 1
            return REFUSED_MEMORY
        if trade.instrument != NO_INSTRUMENT:
            received_ns = self.instruments.instruments[trade.instrument].received_ns
        refusal = self.take_row(&self.past, trade, ordinal)
        if trade.instrument != NO_INSTRUMENT:
            self.instruments.instruments[trade.instrument].received_ns = received_ns
        self.last_exchange_ns = last_exchange_ns
        return refusal

    def note_recounted(self, int64_t rows):
        """So many rows that are stored already go to the spool again, with other quantities (R13)."""
        self.counts.parsed += rows
        self.counts.passed += rows

    # --- messages of the stream that nobody could read then -------------------------------------------

    def begin_again(self):
        """Before the first of several messages that are read again: ordinals count from 0 (R6)."""
        cdef uint32_t i
        for i in range(self.past.capacity):
            if self.past.ordinals[i] != NULL:
                ordinals_free(self.past.ordinals[i])
                self.past.ordinals[i] = NULL

    def take_again(self, bytes message, int64_t received_ns, int64_t now_ns):
        """Read a whole message that came at ``received_ns`` and could not be read then.

        Its rows go the way of the stream's, as origin=backfill, with that time as received_at; in the
        memory hour they arrive now. Returns ``(verdict, new, repeated, refused)``: the parser's
        verdict ("trades", "other", "malformed", "full") and rows. Holes that they show are in
        ``take_backfill_news``. Raises ValueError for a time that is none.
        """
        cdef const char* text = message
        cdef Py_ssize_t i, size = len(message)
        cdef int64_t passed = self.counts.passed, repeated = self.counts.repeated, refused = 0
        cdef ParseStatus status
        if not 0 < received_ns <= now_ns:
            raise ValueError(f"received_ns {received_ns}, now_ns {now_ns} are no times")
        status = parse_message(self.parser.run, text, size, &self.batch)
        if status != PARSE_TRADES:
            return STATUS_NAMES[<int>status], 0, 0, 0
        self.past.receive_ns = now_ns
        self.past.received_bytes = render_received(self.past.received, received_ns)
        if not lane_reserve(&self.past, self.instruments.count):
            raise MemoryError("no room for a message that is read again")
        for i in range(self.batch.count):
            self.batch.trades[i].is_backfill = 1
            self.batch.trades[i].instrument = self.instruments.find(
                self.batch.trades[i].symbol, self.batch.trades[i].symbol_bytes)
        if self.batch.count and self.batch.trades[0].id == NULL:
            self.count_ordinals(&self.past)
        for i in range(self.batch.count):
            refused += self.take_past(&self.batch.trades[i], self.row_ordinals[i]) != REFUSED_NOT
        self.counts.quarantined += refused
        passed = self.counts.passed - passed
        self.counts.backfilled += passed
        return STATUS_NAMES[<int>status], passed, self.counts.repeated - repeated, refused

    def take_backfill_news(self):
        """Holes that REST's rows showed since the last call, as ``Intake.take_news`` tells them.

        They must be in the ledger before the rows are in the spool (R3).
        """
        return lane_take_news(&self.past)
