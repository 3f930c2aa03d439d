"""Where each symbol stands, as the spool's own records tell it (DESIGN R3)."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from pumpwatch._fast.sequence cimport Position
from pumpwatch._fast.trade_lines cimport Head

cdef enum:
    FEEDS_MAX = 64

cdef struct Standing:
    Position position
    int64_t received_ns         # the highest
    int64_t rows
    char* symbol                # as in the lines, escaped
    uint64_t hash
    uint32_t symbol_bytes
    uint8_t feed

cdef class SpoolPositions:
    cdef Standing* standings
    cdef readonly uint32_t count
    cdef uint32_t capacity
    cdef uint32_t* slots        # open addressing: place in standings + 1, 0 = free
    cdef uint32_t mask
    cdef uint8_t contiguous[FEEDS_MAX]
    cdef Head heads[FEEDS_MAX]
    cdef readonly int64_t unread  # lines that are not as ilp.pyx writes them
    cdef int parts              # of the set that is being loaded, and how many came
    cdef int parts_loaded

    cdef bint read_lines(self, int feed, const char* text, Py_ssize_t size) noexcept nogil
    cdef Standing* find(self, int feed, const char* symbol, Py_ssize_t size, uint64_t hash) noexcept nogil
    cdef Standing* stand(self, int feed, const char* symbol, Py_ssize_t size) noexcept nogil
    cdef bint grow(self) noexcept nogil
    cdef void forget(self) noexcept
