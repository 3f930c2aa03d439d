"""Reads trades' lines again, as ilp.pyx writes them."""
from libc.stdint cimport uint64_t

from pumpwatch._fast.cursor cimport Cursor

cdef enum:
    HEAD_BYTES_MAX = 256
    SYMBOL_BYTES_MAX = 512      # a line's prefix is not longer

cdef struct Head:               # what a feed's lines begin with, up to the symbol
    char text[HEAD_BYTES_MAX]
    Py_ssize_t size             # 0: no line was read yet

cdef struct LineFacts:           # what of one line a position needs
    const char* symbol
    Py_ssize_t symbol_bytes
    uint64_t sequence_number
    uint64_t received_ns
    uint64_t exchange_ns


# What stands before the symbol in this line; 0: it is none of ours.
cdef bint learn_head(Head* head, const Cursor* line) noexcept nogil

# One line that begins with ``head``, its newline included; 0: it is not as ilp.pyx writes it.
cdef bint take_line(Cursor* cur, const Head* head, LineFacts* row) noexcept nogil
