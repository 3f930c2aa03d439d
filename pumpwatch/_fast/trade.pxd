"""The structs that a trade is while it is on the road: fixed size, no Python object.

Text fields are slices of the message (or of ``Batch.scratch`` where an escape had to be undone):
they are valid until the next message is parsed, which is why a batch is turned into ILP before.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from *:
    """
    typedef unsigned __int128 pw_uint128;
    """
    # The C compiler sees 128 bits; Cython only needs to know that it is an unsigned integer.
    ctypedef unsigned long long uint128 "pw_uint128"

cdef enum ParseStatus:
    PARSE_TRADES = 0       # at least one row was appended to the batch
    PARSE_OTHER = 1        # well-formed, but no trade: an ack, a pong, a notice, another channel
    PARSE_MALFORMED = 2    # cannot be understood: quarantine the whole message
    PARSE_FULL = 3         # the batch has no room: a message larger than FRAME_BYTES_MAX, or a bug

cdef enum TradeKind:
    KIND_ORDINARY = 0      # stored as NULL
    KIND_BLOCK = 1
    KIND_RPI = 2
    KIND_ADL = 3
    KIND_INSURANCE = 4
    KIND_NOT_AVAILABLE = 5  # Binance futures X = NA: not executed on the book
    KIND_INTERNAL = 6       # Gate is_internal: ADL or insurance takeover

cdef struct Decimal:
    uint128 mantissa        # at most 38 digits; trailing zeros may still be in it
    int32_t exponent        # value = mantissa * 10**exponent

cdef struct Trade:
    Decimal price
    Decimal quantity        # as the venue sends it, without sign; contracts on contract feeds
    int64_t exchange_ns     # the venue's trade time, ns since 1970 UTC
    uint64_t order_id       # the number that is contiguous per instrument; 0 where there is none
    uint64_t range_first    # not 0: the message stands for range_first..order_id, it is no single trade
    int64_t sequence_number  # the venue's own order number (DESIGN section 4); 0 where there is none
    const char* symbol      # the venue's name as on the wire
    const char* id          # the trade id's text; NULL where the venue gives none (Phemex)
    uint32_t symbol_bytes
    uint32_t id_bytes
    uint32_t instrument     # number in the InstrumentTable; set after parsing
    uint8_t is_sell         # taker side
    uint8_t kind            # TradeKind
    uint8_t is_backfill     # 1 from REST: origin=backfill; 2 from a daily file: origin=archive

cdef struct Batch:
    Trade* trades
    Py_ssize_t count
    Py_ssize_t capacity
    char* scratch           # unescaped text of the present message
    Py_ssize_t scratch_used
    Py_ssize_t scratch_capacity
    uint8_t is_snapshot     # the message says that it repeats recent history (Phemex)


cdef inline Trade* batch_next(Batch* batch) noexcept nogil:
    """The next free row, zeroed; NULL when the batch is full. The caller counts it by ``batch.count += 1``."""
    cdef Trade* trade
    if batch.count >= batch.capacity:
        return NULL
    trade = &batch.trades[batch.count]
    trade.order_id = 0
    trade.range_first = 0
    trade.sequence_number = 0
    trade.exchange_ns = 0
    trade.symbol = NULL
    trade.id = NULL
    trade.symbol_bytes = 0
    trade.id_bytes = 0
    trade.is_sell = 0
    trade.kind = KIND_ORDINARY
    trade.is_backfill = 0
    return trade
