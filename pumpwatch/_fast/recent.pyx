"""The memory hour for Python: windows of one instrument, and from when on they are complete.

Two rings: what the roads put, and what was read back from the database after a restart. They share
the memory; history gives way. A window holds what the table would hold: rows of one key are folded,
the later one stays (promise 2).
"""
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free

from pumpwatch._fast.ring cimport CHUNK_BYTES, FEEDS_MAX, FoundRows, Origin, Ring, Row, Track
from pumpwatch._fast.trade cimport Decimal, Trade
from pumpwatch._fast.window cimport Window, make_window

from pumpwatch._fast.parser import KIND_NAMES
from pumpwatch._fast.window import ORIGIN_NAMES, SIDES
from pumpwatch.spans import joined, without

cdef enum:
    ID_BYTES_MAX = 255
    INSTRUMENTS_MAX = 1000000           # far beyond any venue's list

cdef uint64_t FROM_LIVE = 1ULL << 63    # arrived after all that was read back
cdef int64_t TIME_MAX_NS = 1LL << 62    # year 2116

OPEN_END_NS = INT64_MAX                 # of a span that has no end yet
_KIND_NUMBERS = {name: number for number, name in enumerate(KIND_NAMES)}
_ORIGIN_NUMBERS = {name: number for number, name in enumerate(ORIGIN_NAMES)}


cdef int as_decimal(double value, Decimal* decimal) except -1:
    """The shortest digits that read back as ``value``: the wire's own, where it had up to 15."""
    cdef bint is_fraction = 0
    cdef Py_UCS4 char
    if not 0 <= value <= 1.7976931348623157e308:
        raise ValueError(f"{value!r} is no price or quantity")
    digits, _, exponent = repr(value).partition("e")
    decimal.mantissa = 0
    decimal.exponent = int(exponent or 0)
    for char in digits:
        if char == u".":
            is_fraction = 1
            continue
        decimal.mantissa = decimal.mantissa * 10 + <uint64_t>(<int>char - 48)
        decimal.exponent -= is_fraction
    return 0


cdef int check_place(int feed, uint32_t instrument) except -1:
    if not 1 <= feed < FEEDS_MAX:
        raise ValueError(f"feed number {feed} is not in 1..{FEEDS_MAX - 1}")
    if instrument > INSTRUMENTS_MAX:
        raise ValueError(f"instrument number {instrument} is none of a feed's")
    return 0


cdef class Recent:
    """The rows of the last ``window_s`` seconds by arrival, at most ``max_bytes`` of them.

    A few hundred bytes per instrument come on top. Memory is taken and returned in chunks of
    ``chunk_bytes``. For one thread: who feeds the roads also asks.
    """

    def __cinit__(self, int64_t max_bytes, double window_s, Py_ssize_t chunk_bytes=CHUNK_BYTES):
        if not 0 < window_s <= 1e9:
            raise ValueError(f"a window of {window_s} s holds nothing")
        cdef int64_t window_ns = <int64_t>(window_s * 1e9)
        self.live = Ring(max_bytes, window_ns, chunk_bytes)
        self.history = Ring(max_bytes, window_ns, chunk_bytes)
        self.live.lender = self.history
        self.cuts = {}
        self.loaded = {}

    cdef bint put(self, int feed, const Trade* trade, int64_t receive_ns, int32_t ordinal,
                  Origin origin) noexcept nogil:
        return self.live.put(feed, trade, receive_ns, ordinal, origin)

    # --- what is held -----------------------------------------------------------------------------

    @property
    def rows_held(self):
        """Rows in both rings; a row that came twice counts twice."""
        return self.live.rows + self.history.rows

    @property
    def rows_unheld(self):
        """Rows that found no memory; they cut the coverage."""
        return self.live.unheld + self.history.unheld

    @property
    def text_rows(self):
        """Rows held with a trade id that fits no short form."""
        return self.live.text_rows + self.history.text_rows

    @property
    def bytes_held(self):
        """Memory of all chunks."""
        return (self.live.next - self.live.first + self.history.next - self.history.first) * self.live.chunk_bytes

    @property
    def oldest_arrival_ns(self):
        """When the oldest row of the roads came that is still held; 0: there is none."""
        if self.live.first == self.live.next:
            return 0
        return (<Row*>self.live.chunks[self.live.first & self.live.mask].data).receive_ns

    def expire(self, int64_t now_ns):
        """Give up what is too old, also while nothing new comes."""
        self.live.expire(now_ns)
        self.history.expire(now_ns)

    def window(self, int feed, uint32_t instrument, int64_t from_ns, int64_t to_ns) -> Window:
        """Rows with from_ns <= exchange time < to_ns. Whether they are all: see ``coverage``."""
        return self.collect(feed, instrument, from_ns, to_ns)

    def held_ids(self, int feed, uint32_t instrument, int64_t from_ns, int64_t to_ns) -> list:
        """The trade ids of a window, in its order."""
        return self.collect(feed, instrument, from_ns, to_ns).trade_ids()

    cdef Window collect(self, int feed, uint32_t instrument, int64_t from_ns, int64_t to_ns):
        cdef FoundRows found
        cdef Py_ssize_t i
        check_place(feed, instrument)
        from_ns, to_ns = max(from_ns, -TIME_MAX_NS), min(to_ns, TIME_MAX_NS)
        found.rows = NULL
        found.count = found.capacity = 0
        try:
            # The newer ring first, as each chain is walked: the newest row first.
            if not self.live.collect(feed, instrument, from_ns, to_ns, &found):
                raise MemoryError(f"no room for a window of {found.count} rows")
            for i in range(found.count):
                found.rows[i].order |= FROM_LIVE
            if not self.history.collect(feed, instrument, from_ns, to_ns, &found):
                raise MemoryError(f"no room for a window of {found.count} rows")
            return make_window(feed, instrument, &found)
        finally:
            free(found.rows)

    # --- coverage ---------------------------------------------------------------------------------

    def coverage(self, int feed, uint32_t instrument):
        """Spans of exchange time, ``[(from_ns, to_ns)]``, of which all rows that ever came are held.

        The last one has no end (OPEN_END_NS): what the venue has not sent yet is not known here (R10).
        A span begins behind the newest row that was given up, never before the first that came.
        """
        check_place(feed, instrument)
        cdef Track* live = self.live.track(feed, instrument)
        cdef int64_t floor_ns = <int64_t>self.given_up_ns(feed, instrument) + 1, start_ns = INT64_MAX
        if live != NULL:
            start_ns = max(live.begun_ns, <int64_t>live.evicted_ns + 1)
        spans = without(self.loaded.get((feed, instrument), []), -TIME_MAX_NS, floor_ns)
        if start_ns < INT64_MAX:
            spans = joined([*spans, (start_ns, OPEN_END_NS)])
        for low, high in self.cuts.get((feed, instrument), []):
            spans = without(spans, low, high)
        return spans

    def given_up_ns(self, int feed, uint32_t instrument):
        """Newest exchange time of the rows that are not held any more; -TIME_MAX_NS: all are."""
        check_place(feed, instrument)
        cdef Track* live = self.live.track(feed, instrument)
        cdef Track* history = self.history.track(feed, instrument)
        cdef int64_t newest_ns = -TIME_MAX_NS
        if live != NULL:
            newest_ns = max(newest_ns, live.evicted_ns)
        if history != NULL:
            newest_ns = max(newest_ns, history.evicted_ns)
        return newest_ns

    def begin(self, int feed, uint32_t instrument, int64_t from_ns):
        """From here on all trades come: the venue said so (the subscription is acknowledged).

        Without it an instrument is covered only behind its first row.
        """
        check_place(feed, instrument)
        cdef Track* track = self.live.make_track(feed, instrument)
        if track == NULL:
            raise MemoryError("no room for an instrument")
        track.begun_ns = min(track.begun_ns, from_ns)

    def cut(self, int feed, uint32_t instrument, int64_t from_ns, int64_t to_ns):
        """Rows of this span may be missing: a gap, ``to_ns`` OPEN_END_NS while it is open."""
        check_place(feed, instrument)
        self.cuts[feed, instrument] = joined([*self._live_cuts(feed, instrument), (from_ns, to_ns)])

    def mend(self, int feed, uint32_t instrument, int64_t from_ns, int64_t to_ns):
        """The gap is closed and its rows came: takes back what ``cut`` said of the span."""
        check_place(feed, instrument)
        self.cuts[feed, instrument] = without(self._live_cuts(feed, instrument), from_ns, to_ns)

    def _live_cuts(self, int feed, uint32_t instrument):
        """Cuts that still mean something: others end before anything that is held."""
        cdef Track* track = self.live.track(feed, instrument)
        cdef int64_t floor_ns = -TIME_MAX_NS if track == NULL else track.evicted_ns
        return [span for span in self.cuts.get((feed, instrument), []) if span[1] > floor_ns]

    # --- history ----------------------------------------------------------------------------------

    def load(self, int feed, uint32_t instrument, int64_t from_ns, int64_t to_ns, rows):
        """Take in what the database holds of a span, all of it, oldest first.

        Rows are tuples as ``Window.rows`` has them: (timestamp_ns, side, price, quantity, trade_id,
        sequence_number, received_ns or None, origin, kind or None). Returns False, and the span is not
        covered, where memory is left only for what the roads bring. Raises ValueError for a row that
        cannot be of the table or of the span; then nothing is covered either.
        """
        check_place(feed, instrument)
        cdef uint64_t live_chunks = self.live.next - self.live.first
        cdef bint is_held = 1
        # One chunk stays free for the roads, else the next row would take it back at once.
        self.history.chunks_max = max(self.live.chunks_max, live_chunks + 1) - live_chunks - 1
        for row in rows:
            if not from_ns <= row[0] < to_ns:
                raise ValueError(f"a row of {row[0]} ns is not in the span {from_ns} to {to_ns}")
            is_held = self._load_row(feed, instrument, row) and is_held
        if is_held:
            key = feed, instrument
            self.loaded[key] = joined([*self.loaded.get(key, []), (from_ns, to_ns)])
        return bool(is_held)

    def _load_row(self, int feed, uint32_t instrument, row):
        cdef Trade trade
        exchange_ns, side, price, quantity, trade_id, sequence_number, received_ns, origin, kind = row
        text = trade_id.encode()
        if not 0 < len(text) <= ID_BYTES_MAX:
            raise ValueError(f"a trade id of {len(text)} bytes")
        if not 0 <= exchange_ns < TIME_MAX_NS or not 0 <= (received_ns or 0) < TIME_MAX_NS:
            raise ValueError(f"{exchange_ns} and {received_ns} ns are no times of a trade")
        as_decimal(price, &trade.price)
        as_decimal(quantity, &trade.quantity)
        trade.exchange_ns = exchange_ns
        trade.sequence_number = sequence_number
        trade.instrument = instrument
        trade.is_sell = SIDES.index(side)
        trade.kind = _number(_KIND_NUMBERS, kind)
        trade.id = text
        trade.id_bytes = <uint32_t>len(text)
        return self.history.put(feed, &trade, received_ns or 0, -1, <Origin><int>_number(_ORIGIN_NUMBERS, origin))


def _number(numbers, name):
    if name not in numbers:
        raise ValueError(f"{name!r} is none of {', '.join(map(str, numbers))}")
    return numbers[name]
