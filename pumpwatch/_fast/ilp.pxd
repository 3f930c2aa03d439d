"""Rows as InfluxDB line protocol: one line per trade, into a buffer that becomes a spool record."""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uint8_t

from pumpwatch._fast.instruments cimport Instrument
from pumpwatch._fast.trade cimport Decimal, Trade, uint128

cdef enum:
    LINE_BYTES_MAX = 1536               # prefix (<= 512), id (<= 256), two numbers (<= 97 each), the rest < 200
    DECIMAL_TEXT_MAX = 96
    PLAIN_SLACK = 48
    RECEIVED_BYTES_MAX = 48

cdef struct Lines:
    char* data
    Py_ssize_t size
    Py_ssize_t capacity
    int64_t rows
    int64_t first_received_ns           # of the first row since the last take
    int64_t inexact                     # values with more than 15 significant digits: stored rounded


cdef class RowBuffer:
    cdef Lines lines


cdef bint lines_reserve(Lines* lines, Py_ssize_t size_bytes) noexcept nogil

# Price and quantity in the table's units; 0 when the product does not fit 128 bits (R15).
cdef bint scale_trade(const Instrument* instrument, Trade* trade) noexcept nogil

# One line. ``trade`` is scaled and has an id. 0 only when there is no memory.
cdef bint put_trade(Lines* lines, const Instrument* instrument, const Trade* trade,
                    const char* received, Py_ssize_t received_bytes) noexcept nogil

# ",received_at=<ns>n " into ``out`` (RECEIVED_BYTES_MAX, which put_trade reads whole); its length.
cdef Py_ssize_t render_received(char* out, int64_t receive_ns) noexcept nogil

# Plain digits without exponent and trailing zeros; 0: too long. ``out`` holds DECIMAL_TEXT_MAX and
# PLAIN_SLACK bytes more, which are overwritten.
cdef Py_ssize_t render_plain(char* out, const Decimal* value) noexcept nogil

# A Phemex row's id, ``side-price-size-ordinal``; 0: too long. ``out`` as for two numbers of render_plain and 32 bytes.
cdef Py_ssize_t render_composed_id(char* out, const Trade* trade, int32_t ordinal) noexcept nogil

cdef void strip_zeros(Decimal* value) noexcept nogil

# Of the first ILP line, its newline included; 0: it has no end. See split_lines.
cdef Py_ssize_t line_bytes(const char* text, Py_ssize_t size) noexcept nogil
