"""A feed's instruments as the road needs them: name -> number -> ILP prefix, scales, position."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from pumpwatch._fast.sequence cimport Position
from pumpwatch._fast.trade cimport Trade, uint128

cdef enum:
    NO_INSTRUMENT = 0xFFFFFFFF

cdef struct Instrument:
    char* name                  # the venue's name as on the wire
    char* prefixes[6]           # "trades,exchange=…,market_type=…,symbol=…,side=…,origin=…", see prefix_of
    uint64_t hash
    uint32_t name_bytes
    uint32_t prefix_bytes[6]
    int32_t price_exponent
    int32_t contract_exponent
    uint8_t is_scaled           # contract value is not 1 or price exponent not 0
    uint128 contract_mantissa
    int64_t rows                # spooled since the start, for status and silence
    int64_t received_ns         # of the last trade
    Position position


cdef inline int prefix_of(const Trade* trade) noexcept nogil:
    """Which of an instrument's prefixes a row has: buys and sells of the stream, of REST, of archives."""
    return trade.is_sell + 2 * trade.is_backfill


cdef class InstrumentTable:
    cdef Instrument* instruments
    cdef readonly uint32_t count
    cdef uint32_t capacity
    cdef uint32_t* slots        # open addressing: instrument number + 1, 0 = free
    cdef uint32_t mask
    cdef readonly str exchange
    cdef readonly str market_type
    cdef readonly list symbols  # BASE+QUOTE by number

    cdef uint32_t find(self, const char* name, Py_ssize_t size) noexcept nogil
    cdef object append_new(self, bytes name, str symbol)
    cdef int grow_slots(self) except -1


cdef uint64_t hash_bytes(const char* text, Py_ssize_t size, uint64_t seed) noexcept nogil
