"""A feed's road: what every parsed row goes through before it is an ILP line."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from pumpwatch._fast.ilp cimport RECEIVED_BYTES_MAX, RowBuffer
from pumpwatch._fast.instruments cimport InstrumentTable
from pumpwatch._fast.ordinals cimport Ordinals
from pumpwatch._fast.parser cimport Parser
from pumpwatch._fast.recent cimport Recent
from pumpwatch._fast.sequence cimport IdRange, SeenIds
from pumpwatch._fast.trade cimport Batch, Decimal, Trade

cdef enum NewsKind:
    NEWS_JUMP = 0           # ids first..last are missing before a trade
    NEWS_RESET = 1          # the ids began anew
    NEWS_RANGE = 2          # the venue merged first..last into one message (Gate, OKX; R7)
    NEWS_UNALIGNED = 3      # a snapshot and the messages after it do not meet (Phemex; R6)

cdef enum Refusal:
    REFUSED_NOT = 0
    REFUSED_SYMBOL = 1      # no such instrument in the list
    REFUSED_TIME = 2        # before 2010 or more than a day ahead
    REFUSED_OVERFLOW = 3    # the quantity does not fit 128 bits (R15)
    REFUSED_MEMORY = 4

cdef enum:
    TALLY_SPANS = 8
    TALLY_SHIFT = 33        # a span is 2**33 ns of exchange time, 8.6 s

cdef struct News:
    NewsKind kind
    uint32_t instrument
    uint64_t first
    uint64_t last
    int64_t from_ns         # last trade before the hole; 0: none
    int64_t to_ns           # the trade that showed it

cdef struct Counts:         # messages are messages, all else is rows (promise 5)
    int64_t messages
    int64_t other           # messages that are no trades
    int64_t quarantined_messages
    int64_t parsed
    int64_t passed          # into the lines; "spooled" is what the spool wrote
    int64_t repeated
    int64_t history_skipped
    int64_t quarantined
    int64_t ranges          # messages that stand for several trades: no rows
    int64_t backfilled      # of those passed: from REST

cdef struct Lane:           # what one connection knows beyond its feed
    uint8_t* met            # by instrument: a row came on this connection
    int64_t* held_ns        # by instrument: the newest row held before its first message or snapshot
    int64_t* heard_ns       # by instrument: when its last row came on this connection, our clock; 0: none
    uint32_t* tally         # by instrument: rows of each of the last TALLY_SPANS spans; NULL: not counted
    Ordinals** ordinals     # by instrument, on venues without trade ids
    uint32_t capacity
    News* news
    Py_ssize_t news_count
    Py_ssize_t news_capacity
    char received[RECEIVED_BYTES_MAX]  # ",received_at=…n " of the present chunk
    Py_ssize_t received_bytes
    int64_t receive_ns
    int64_t newest_ns       # exchange time of the newest trade that came on this connection; 0: none did
    int64_t brought_ns      # when trades came last, our clock; 0: none did
    int64_t emptied_ns      # when a read last left nothing unread in the socket, our clock


cdef class VenueClock:
    cdef int64_t newest_ns[64]          # by feed number: the trade time last seen
    cdef bint ours_is_slow(self, int64_t receive_ns) noexcept nogil


cdef class FeedRoad:
    cdef readonly InstrumentTable instruments
    cdef readonly RowBuffer rows
    cdef readonly int feed              # number of the feed, 1 to 63
    cdef SeenIds seen
    cdef Parser parser
    cdef VenueClock clock
    cdef Batch batch
    cdef int64_t* row_ns                # of the present message, for the ordinals
    cdef uint64_t* row_keys
    cdef int32_t* row_ordinals
    cdef int64_t history_ns
    cdef Counts counts
    cdef Lane past                      # REST's rows have no connection; this is theirs
    cdef readonly int64_t last_exchange_ns
    cdef readonly int64_t last_receive_ns
    cdef public Recent recent           # the memory hour; None: not kept

    # The batch's rows onward: into the lines, or counted as what they are. Returns the first refusal.
    cdef Refusal take_batch(self, Lane* lane, int64_t* refused_rows) noexcept nogil
    cdef Refusal take_row(self, Lane* lane, Trade* trade, int32_t ordinal) noexcept nogil
    cdef void take_range(self, Lane* lane, Trade* trade) noexcept nogil
    cdef bint judge_id(self, Lane* lane, Trade* trade) noexcept nogil
    cdef void count_ordinals(self, Lane* lane) noexcept nogil
    cdef void count_run(self, Lane* lane, Py_ssize_t first, Py_ssize_t count) noexcept nogil
    cdef Refusal take_past(self, Trade* trade, int32_t ordinal) noexcept nogil


# From now on the lane counts its rows by span; 0: no memory.
cdef bint lane_begin_tally(Lane* lane) noexcept nogil
cdef bint lane_reserve(Lane* lane, uint32_t instruments) noexcept nogil
cdef void lane_free(Lane* lane) noexcept
cdef list lane_take_news(Lane* lane)
