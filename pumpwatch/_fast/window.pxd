"""Rows of one instrument, as columns."""
from libc.stdint cimport int64_t, uint32_t

from pumpwatch._fast.ring cimport FoundRows


cdef class Window:
    cdef readonly int feed
    cdef readonly uint32_t instrument
    cdef Py_ssize_t count
    cdef bytes texts                    # the ids, one behind the other
    cdef bytes ends                     # int64: where each id ends
    cdef bytes exchange
    cdef bytes received
    cdef bytes sequence
    cdef bytes price
    cdef bytes amount
    cdef bytes sides
    cdef bytes origin
    cdef bytes kind

    cdef int fill(self, const FoundRows* found, const char* texts, const int64_t* ends) except -1


# ``found`` is put in order; its rows are copied, the caller frees it.
cdef Window make_window(int feed, uint32_t instrument, FoundRows* found)
