"""Every parsed row's way: instrument, time, scale, history, repeats and jumps, line.

Order matters. A row is judged a repeat only by what went on before it (R1); history is skipped
only where it cannot lie in a hole (R5); a row that is refused is counted and its message kept.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

from pumpwatch._fast.ilp cimport (
    DECIMAL_TEXT_MAX, PLAIN_SLACK, put_trade, render_plain, scale_trade, strip_zeros,
)
from pumpwatch._fast.instruments cimport NO_INSTRUMENT, Instrument, hash_bytes
from pumpwatch._fast.ordinals cimport ordinals_free, ordinals_new, ordinals_take
from pumpwatch._fast.parser cimport batch_free, batch_init
from pumpwatch._fast.sequence cimport (
    VERDICT_JUMP, VERDICT_REPEAT, VERDICT_RESET, Position, Verdict, observe_id, observe_range,
)
from pumpwatch._fast.words cimport put_digits

cdef enum:
    BATCH_ROWS = 65536          # a row takes at least 20 bytes of a message of at most 1 MiB
    SCRATCH_BYTES = 1048592     # a message's text unescaped is never longer than the message
    NEWS_MAX = 65536
    FEEDS_MAX = 64

cdef uint64_t HASH_SPREAD = 0x9E3779B97F4A7C15ULL         # odd, bits everywhere: keeps small numbers apart
cdef uint64_t HASH_SPREAD_SIDE = 0xD6E8FEB86659FD93ULL
cdef int64_t EARLIEST_NS = 1262304000000000000      # 2010-01-01: no venue is older
cdef int64_t FUTURE_NS = 86400000000000             # a row a day ahead would make its own partition


cdef bint lane_reserve(Lane* lane, uint32_t instruments) noexcept nogil:
    cdef uint8_t* met
    cdef int64_t* held_ns
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
    ordinals = <Ordinals**>realloc(lane.ordinals, capacity * sizeof(Ordinals*))
    if ordinals == NULL:
        return 0
    lane.ordinals = ordinals
    memset(met + lane.capacity, 0, capacity - lane.capacity)
    memset(ordinals + lane.capacity, 0, (capacity - lane.capacity) * sizeof(Ordinals*))
    lane.capacity = capacity
    return 1


cdef void lane_free(Lane* lane) noexcept:
    cdef uint32_t i
    for i in range(lane.capacity):
        if lane.ordinals[i] != NULL:
            ordinals_free(lane.ordinals[i])
    free(lane.ordinals)
    free(lane.held_ns)
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


cdef Py_ssize_t render_composed_id(char* out, const Trade* trade, int32_t ordinal) noexcept nogil:
    """``side-price-size-ordinal``, numbers as normalised text (DESIGN section 4); 0: too long."""
    cdef Py_ssize_t size = 4, part
    if trade.is_sell:
        memcpy(out, "sell-", 5)
        size = 5
    else:
        memcpy(out, "buy-", 4)
    part = render_plain(out + size, &trade.price)
    if part == 0:
        return 0
    size += part
    out[size] = c'-'
    size += 1
    part = render_plain(out + size, &trade.quantity)
    if part == 0:
        return 0
    size += part
    out[size] = c'-'
    return size + 1 + put_digits(out + size + 1, <uint64_t>ordinal)


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
        for i in range(self.batch.count):
            if self.batch.trades[i].instrument != NO_INSTRUMENT:
                lane.met[self.batch.trades[i].instrument] = 1
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
        if self.batch.is_snapshot or not lane.met[trade.instrument]:
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
