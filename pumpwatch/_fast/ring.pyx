"""The ring's storage: places, chains, links, eviction.

A row's place is its chunk's number and its index there, one 64-bit number that only grows, so that a
link is a distance of places and needs 32 bits however long the ring runs. Each instrument has two
chains. The prompt one holds rows that came near their exchange time, no clock going back between them:
walks of it are bounded by arrival, and longer links lead quickly to any moment. All other rows (late,
backfilled, far ahead) are strays, and a walk looks at every one: so an answer lacks none of either.
"""
from libc.stdint cimport INT64_MAX, INT64_MIN, int8_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

from pumpwatch._fast.ilp cimport render_composed_id, strip_zeros
from pumpwatch._fast.short_ids cimport put_uuid, read_number, read_uuid
from pumpwatch._fast.trade cimport Decimal, Trade
from pumpwatch._fast.words cimport put_digits

cdef extern from *:
    """
    #include <sys/mman.h>
    static void *pw_map_pages(size_t size) {
        void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return data == MAP_FAILED ? NULL : data;
    }
    static void pw_prefer_huge(void *data, size_t size) {
    #ifdef MADV_HUGEPAGE
        madvise(data, size, MADV_HUGEPAGE);
    #endif
    }
    static void pw_unmap_pages(void *data, size_t size) { munmap(data, size); }
    """
    char* map_pages "pw_map_pages"(size_t size) noexcept nogil
    void prefer_huge "pw_prefer_huge"(char* data, size_t size) noexcept nogil
    void unmap_pages "pw_unmap_pages"(char* data, size_t size) noexcept nogil

cdef enum:
    INDEX_BITS = 15                     # CHUNK_BYTES // ROW_BYTES < 2**15
    CHUNK_BYTES_MIN = 4096
    WIDE_EXPONENT = -128
    EXPONENT_MAX = 127
    NEAR = 64                           # every 64th row of a chain leads 64 rows back
    FAR = 4096                          # the ones behind them lead to the last 4096th

cdef uint64_t INDEX_MASK = (1 << INDEX_BITS) - 1
cdef uint64_t CHUNKS_MAX = 1 << 16      # 128 GiB; a distance of places fits 32 bits
cdef int64_t LATE_NS = 30000000000      # prompt rows came at most this long after their exchange time,
cdef int64_t EARLY_NS = 10000000000     # or before it: a venue's clock and ours


cdef char* map_chunk(size_t size) noexcept nogil:
    """Fresh zeroed pages of their own, so that giving them up returns them; NULL: none."""
    cdef char* data
    cdef size_t before
    if size % CHUNK_BYTES:
        return map_pages(size)
    # One page for all of it where it lies at a multiple of its size: walks then miss no page table.
    data = map_pages(size + CHUNK_BYTES)
    if data == NULL:
        return NULL
    before = (CHUNK_BYTES - <size_t>data % CHUNK_BYTES) % CHUNK_BYTES
    if before:
        unmap_pages(data, before)
    if CHUNK_BYTES - before:
        unmap_pages(data + before + size, CHUNK_BYTES - before)
    prefer_huge(data + before, size)
    return data + before


# --- numbers --------------------------------------------------------------------------------------


cdef bint is_narrow(Decimal* value) noexcept nogil:
    """Fits a row's 64 and 8 bits, if need be without its zeros."""
    if value.mantissa >> 64 == 0 and -EXPONENT_MAX <= value.exponent <= EXPONENT_MAX:
        return 1
    strip_zeros(value)
    return value.mantissa >> 64 == 0 and -EXPONENT_MAX <= value.exponent <= EXPONENT_MAX


cdef void row_decimals(const Row* row, const char* data, Decimal* price, Decimal* quantity) noexcept nogil:
    if row.price_exponent == WIDE_EXPONENT:
        memcpy(price, data + row.price, sizeof(Decimal))
        memcpy(quantity, data + row.price + sizeof(Decimal), sizeof(Decimal))
        return
    price.mantissa = row.price
    price.exponent = row.price_exponent
    quantity.mantissa = row.quantity
    quantity.exponent = row.quantity_exponent


# --- ids ------------------------------------------------------------------------------------------


cdef Py_ssize_t row_id(const Row* row, const char* data, char* out) noexcept nogil:
    cdef IdForm form = row_id_form(row)
    cdef Trade trade
    if form == ID_NUMBER:
        return put_digits(out, row.id_low)
    if form == ID_UUID:
        return put_uuid(out, row.id_low, row.id_high)
    if form == ID_TEXT:
        memcpy(out, data + row.id_low, row.id_high)
        return <Py_ssize_t>row.id_high
    trade.is_sell = row_is_sell(row)
    row_decimals(row, data, &trade.price, &trade.quantity)
    return render_composed_id(out, &trade, <int32_t>row.id_low)


cdef IdForm read_form(const Trade* trade, int32_t ordinal, uint64_t* low, uint64_t* high) noexcept nogil:
    """How the id is kept; of a text, ``high`` is its length."""
    if ordinal >= 0:
        low[0] = <uint64_t>ordinal
        return ID_COMPOSED
    if read_number(trade.id, trade.id_bytes, low):
        return ID_NUMBER
    if read_uuid(trade.id, trade.id_bytes, low, high):
        return ID_UUID
    high[0] = trade.id_bytes
    return ID_TEXT


# --- the ring -------------------------------------------------------------------------------------


cdef bint found_reserve(FoundRows* found) noexcept nogil:
    cdef Py_ssize_t capacity = found.capacity * 2 if found.capacity else 1024
    cdef Found* rows
    if found.count < found.capacity:
        return 1
    rows = <Found*>realloc(found.rows, capacity * sizeof(Found))
    if rows == NULL:
        return 0
    found.rows = rows
    found.capacity = capacity
    return 1


cdef uint32_t put_text(Chunk* chunk, const void* text, uint32_t size) noexcept nogil:
    """The bytes in front of the chunk's other texts; where they lie."""
    chunk.text_at -= size
    memcpy(chunk.data + chunk.text_at, text, size)
    return chunk.text_at


cdef void put_wide(Chunk* chunk, Row* row, const Decimal* price, const Decimal* quantity) noexcept nogil:
    put_text(chunk, quantity, sizeof(Decimal))
    row.price = put_text(chunk, price, sizeof(Decimal))
    row.quantity = 0
    row.price_exponent = row.quantity_exponent = WIDE_EXPONENT


cdef void link(Track* track, Row* row, uint64_t place, uint64_t held) noexcept nogil:
    """Put the row at the head of its chain; places before ``held`` are given up."""
    cdef uint64_t target = 0, at = track.prompt_rows
    row.skip = 0
    if (row.receive_ns < track.prompt_ns or row.exchange_ns > row.receive_ns + EARLY_NS
            or row.exchange_ns < row.receive_ns - LATE_NS):
        row.back = <uint32_t>(place - track.stray) if track.stray >= held else 0
        track.stray = place
        return
    row.back = <uint32_t>(place - track.prompt) if track.prompt >= held else 0
    if at % NEAR == 0:
        target = track.anchors[0]
        track.anchors[0] = place
    elif at % NEAR == 1:
        target = track.anchors[1]
        if at % FAR == 1:
            track.anchors[1] = place
    if target >= held:
        row.skip = <uint32_t>(place - target)
    track.prompt = place
    track.prompt_ns = row.receive_ns
    track.prompt_rows += 1


cdef class Ring:
    """Rows of at most ``max_bytes`` and of about ``window_ns``; more is held only until a chunk is whole.

    Not for several threads: who puts also reads.
    """

    def __cinit__(self, int64_t max_bytes, int64_t window_ns, Py_ssize_t chunk_bytes):
        cdef uint64_t slots = 4
        if sizeof(Row) != ROW_BYTES:
            raise AssertionError(f"a row is {sizeof(Row)} bytes, not {ROW_BYTES}")
        if not CHUNK_BYTES_MIN <= chunk_bytes <= CHUNK_BYTES or chunk_bytes % CHUNK_BYTES_MIN:
            raise ValueError(f"chunks of {chunk_bytes} bytes: from {CHUNK_BYTES_MIN} to {CHUNK_BYTES} are possible")
        if not 2 <= max_bytes // chunk_bytes <= <int64_t>CHUNKS_MAX:
            raise ValueError(f"{max_bytes} bytes are not 2 to {CHUNKS_MAX} chunks of {chunk_bytes}")
        if window_ns <= 0:
            raise ValueError(f"a window of {window_ns} ns holds nothing")
        self.chunks_max = max_bytes // chunk_bytes
        while slots < self.chunks_max:
            slots *= 2
        self.chunks = <Chunk*>calloc(slots, sizeof(Chunk))
        if self.chunks == NULL:
            raise MemoryError("no room for a ring")
        self.mask = slots - 1
        self.first = self.next = 1
        self.chunk_bytes = chunk_bytes
        self.window_ns = window_ns
        self.expires_ns = INT64_MAX

    def __dealloc__(self):
        cdef int feed
        if self.chunks != NULL:
            while self.first < self.next:
                unmap_pages(self.chunks[self.first & self.mask].data, self.chunk_bytes)
                self.first += 1
        free(self.chunks)
        for feed in range(FEEDS_MAX):
            free(self.tracks[feed])

    cdef Track* track(self, int feed, uint32_t instrument) noexcept nogil:
        if instrument >= self.track_counts[feed]:
            return NULL
        return &self.tracks[feed][instrument]

    cdef Track* make_track(self, int feed, uint32_t instrument) noexcept nogil:
        cdef uint32_t count = self.track_counts[feed], wanted, i
        cdef Track* tracks
        if instrument >= count:
            wanted = instrument + 64 + instrument // 2
            tracks = <Track*>realloc(self.tracks[feed], wanted * sizeof(Track))
            if tracks == NULL:
                return NULL
            memset(&tracks[count], 0, (wanted - count) * sizeof(Track))
            for i in range(count, wanted):
                tracks[i].begun_ns = INT64_MAX
                tracks[i].evicted_ns = INT64_MIN
            self.tracks[feed] = tracks
            self.track_counts[feed] = wanted
        return &self.tracks[feed][instrument]

    cdef bint put(self, int feed, const Trade* trade, int64_t receive_ns, int32_t ordinal,
                  Origin origin) noexcept nogil:
        cdef Track* track = self.make_track(feed, trade.instrument)
        cdef Decimal price = trade.price, quantity = trade.quantity
        cdef uint64_t low = 0, high = 0
        cdef IdForm form
        cdef bint is_wide = not (is_narrow(&price) and is_narrow(&quantity))
        cdef Chunk* chunk
        cdef Row* row
        if track == NULL:
            self.unheld += 1
            return 0
        if track.begun_ns == INT64_MAX and origin == ORIGIN_STREAM:
            track.begun_ns = trade.exchange_ns + 1  # others of that moment may have come before us
        form = read_form(trade, ordinal, &low, &high)
        chunk = self.room(receive_ns, (2 * sizeof(Decimal) if is_wide else 0) + (high if form == ID_TEXT else 0))
        if chunk == NULL:
            self.unheld += 1
            track.evicted_ns = max(track.evicted_ns, trade.exchange_ns)
            return 0
        row = <Row*>(chunk.data + chunk.rows * ROW_BYTES)
        row.exchange_ns = trade.exchange_ns
        row.receive_ns = receive_ns
        row.sequence_number = trade.sequence_number
        row.instrument = trade.instrument
        row.feed = <uint8_t>feed
        row.marks = <uint8_t>((trade.is_sell != 0) | form << 1 | origin << 3 | trade.kind << 5)
        if is_wide:
            put_wide(chunk, row, &price, &quantity)
        else:
            row.price = <uint64_t>price.mantissa
            row.quantity = <uint64_t>quantity.mantissa
            row.price_exponent = <int8_t>price.exponent
            row.quantity_exponent = <int8_t>quantity.exponent
        if form == ID_TEXT:
            low = put_text(chunk, trade.id, <uint32_t>high)
            self.text_rows += 1
        row.id_low = low
        row.id_high = high
        link(track, row, (self.next - 1) << INDEX_BITS | chunk.rows, self.first << INDEX_BITS)
        chunk.rows += 1
        self.rows += 1
        return 1

    cdef Chunk* room(self, int64_t receive_ns, uint64_t text_bytes) noexcept nogil:
        """The newest chunk, with room for a row and its texts; NULL: no memory."""
        cdef Chunk* chunk
        if receive_ns > self.expires_ns:
            self.expire(receive_ns)
        chunk = &self.chunks[(self.next - 1) & self.mask]
        if self.first == self.next or (chunk.rows + 1) * ROW_BYTES + text_bytes > chunk.text_at:
            if ROW_BYTES + text_bytes > <uint64_t>self.chunk_bytes or not self.begin_chunk():
                return NULL
            chunk = &self.chunks[(self.next - 1) & self.mask]
        if receive_ns > chunk.newest_ns:
            chunk.newest_ns = receive_ns
            if self.first == self.next - 1:
                self.expires_ns = receive_ns + self.window_ns
        return chunk

    cdef bint begin_chunk(self) noexcept nogil:
        """A new newest chunk, from what is allowed, else from the lender's rows, else from the oldest rows."""
        cdef char* data = NULL
        cdef Chunk* chunk
        cdef uint64_t lent = 0
        if self.lender is not None:
            lent = self.lender.next - self.lender.first
        if self.next - self.first + lent < self.chunks_max:
            data = map_chunk(self.chunk_bytes)
        if data == NULL and lent:
            data = self.lender.evict()
        if data == NULL and self.first < self.next:
            data = self.evict()
        if data == NULL:
            return 0
        chunk = &self.chunks[self.next & self.mask]
        chunk.data = data
        chunk.rows = 0
        chunk.text_at = <uint32_t>self.chunk_bytes
        chunk.newest_ns = 0
        self.next += 1
        return 1

    cdef char* evict(self) noexcept nogil:
        """Give the oldest chunk's rows up; returns its memory."""
        cdef Chunk* chunk = &self.chunks[self.first & self.mask]
        cdef const Row* row = <const Row*>chunk.data
        cdef Track* track
        cdef uint32_t i
        for i in range(chunk.rows):
            track = &self.tracks[row[i].feed][row[i].instrument]
            if row[i].exchange_ns > track.evicted_ns:
                track.evicted_ns = row[i].exchange_ns
            self.text_rows -= row_id_form(&row[i]) == ID_TEXT
        self.rows -= chunk.rows
        self.first += 1
        if self.first == self.next:
            self.expires_ns = INT64_MAX
        else:
            self.expires_ns = self.chunks[self.first & self.mask].newest_ns + self.window_ns
        return chunk.data

    cdef void expire(self, int64_t now_ns) noexcept nogil:
        while now_ns > self.expires_ns:
            unmap_pages(self.evict(), self.chunk_bytes)

    # --- reading ----------------------------------------------------------------------------------

    cdef bint collect(self, int feed, uint32_t instrument, int64_t from_ns, int64_t to_ns,
                      FoundRows* found) noexcept nogil:
        cdef Track* track = self.track(feed, instrument)
        if track == NULL or from_ns >= to_ns:
            return 1
        return (self.walk(self.leap(track, to_ns + LATE_NS), from_ns, to_ns, from_ns - EARLY_NS, found)
                and self.walk(track.stray, from_ns, to_ns, INT64_MIN, found))

    cdef bint walk(self, uint64_t place, int64_t from_ns, int64_t to_ns, int64_t stop_ns,
                   FoundRows* found) noexcept nogil:
        """From ``place`` back to the first row that came before ``stop_ns``."""
        cdef const Row* row
        cdef const char* data
        cdef Found* entry
        while place >> INDEX_BITS >= self.first:
            data = self.chunks[place >> INDEX_BITS & self.mask].data
            row = <const Row*>(data + (place & INDEX_MASK) * ROW_BYTES)
            if row.receive_ns < stop_ns:
                return 1
            if from_ns <= row.exchange_ns < to_ns:
                if not found_reserve(found):
                    return 0
                entry = &found.rows[found.count]
                entry.exchange_ns = row.exchange_ns
                entry.order = place
                entry.row = row[0]
                entry.data = data
                found.count += 1
            if row.back == 0:
                return 1
            place -= row.back
        return 1

    cdef uint64_t leap(self, const Track* track, int64_t receive_ns) noexcept nogil:
        """The newest prompt row that came at ``receive_ns`` or before; 0: none is held."""
        cdef uint64_t place = track.prompt, target
        cdef const Row* row
        cdef const Row* far
        while place >> INDEX_BITS >= self.first:
            row = <const Row*>(self.chunks[place >> INDEX_BITS & self.mask].data + (place & INDEX_MASK) * ROW_BYTES)
            if row.receive_ns <= receive_ns:
                return place
            target = place - row.skip
            if row.skip and target >> INDEX_BITS >= self.first:
                far = <const Row*>(
                    self.chunks[target >> INDEX_BITS & self.mask].data + (target & INDEX_MASK) * ROW_BYTES)
                if far.receive_ns > receive_ns:
                    place = target
                    continue
            if row.back == 0:
                return 0
            place -= row.back
        return 0
